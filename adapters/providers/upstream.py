"""Calls endpoints: dialect, credentials, HTTP and stream decoding joined. One call is one exchange, no retries."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal

import httpx
from multidict import CIMultiDict
from yarl import URL

from adapters.providers import auth, spans
from adapters.providers.dialect import Decoder, Dialect, UpstreamRequest
from adapters.providers.exchange import Exchange
from adapters.providers.faults import Bounds, failure_of
from adapters.providers.http import HttpClient, HttpSettings, address
from adapters.providers.identity.identities import Identities
from adapters.providers.secrets import SecretError, Secrets
from adapters.providers.sound import checked
from service.domain.calls import CallContext
from service.domain.catalog import Auth, Endpoint, Provider
from service.domain.events import Event
from service.domain.failure import Failure, FailureKind, UpstreamError
from service.domain.generation import Generation
from service.domain.tracing import TRACEPARENT, TRACESTATE, Span

_MOST_OF_AN_ERROR: Final = 256 * 1024
_WHO_ARE_YOU: Final = 401
_MOST_URLS: Final = 4096
_STREAMS: Final = frozenset(
    {"text/event-stream", "application/vnd.amazon.eventstream", "application/octet-stream", ""}
)
"""Content types that are decoded as a stream at once. Behind any other the first bytes decide: an error, a whole
answer from someone who can't stream, or events under a wrong name, which OpenAI's own clients don't look at."""
_TOO_MUCH: Final = "its streamed answer grew larger than upstream.max_stream_bytes allows"
_FIELDS: Final = (b"data:", b"event:", b"id:", b"retry:", b":")
_LONGEST_FIELD: Final = max(map(len, _FIELDS))


class HttpUpstream:
    """`ports.Upstream` over HTTP, for all dialects. Belongs to one event loop; `aclose` it there."""

    def __init__(
        self,
        dialects: Mapping[str, Dialect],
        secrets: Secrets,
        *,
        user_agent: str = "eurouter",
        settings: HttpSettings | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dialects = dialects
        self._secrets = secrets
        self._user_agent = user_agent
        self._settings = settings or HttpSettings()
        self._client = HttpClient(self._settings, tls=tls)
        self._identities = Identities(secrets, self._settings.ca_file)
        self._clock = clock
        self._urls: dict[tuple[str, str], URL] = {}

    async def call(self, endpoint: Endpoint, generation: Generation, context: CallContext) -> Sequence[Event]:
        """A whole answer, as events.

        Raises:
            UpstreamError: anything that went wrong.
            ServiceError: the dialect can't write a value of the request.
        """
        dialect = self._dialects[endpoint.provider.dialect]
        request = dialect.build(generation, endpoint, stream=False)
        exchange = await self._send(dialect, endpoint.provider, request, context)
        try:
            return checked(dialect.read(await exchange.read_all(self._settings.max_answer_bytes)))
        finally:
            exchange.close()

    async def open(self, endpoint: Endpoint, generation: Generation, context: CallContext) -> HttpEventSource:
        """A streamed answer; returns when the provider's status and headers are there.

        Raises:
            UpstreamError: anything that went wrong so far, an error in the body of a 200 included.
            ServiceError: the dialect can't write a value of the request.
        """
        dialect = self._dialects[endpoint.provider.dialect]
        request = dialect.build(generation, endpoint, stream=True)
        exchange = await self._send(dialect, endpoint.provider, request, context)
        decoder, most = dialect.decoder(), self._settings.max_stream_bytes
        if exchange.media_type in _STREAMS:
            return HttpEventSource(exchange, decoder, most)
        try:
            opening = await _opening(exchange)
            if opening.startswith(_FIELDS):
                return HttpEventSource(exchange, decoder, most - len(opening), checked(decoder.feed(opening)))
            events = checked(dialect.read(opening + await exchange.read_all(self._settings.max_answer_bytes)))
        except BaseException:
            exchange.close()
            raise
        exchange.close()
        return HttpEventSource(exchange, None, 0, events)

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._identities.aclose()
        await self._client.aclose()

    async def _send(
        self, dialect: Dialect, provider: Provider, request: UpstreamRequest, context: CallContext
    ) -> Exchange:
        """Posts; returns an exchange whose status is 2xx, to be closed by the caller."""
        bounds = self._bounds(provider, context)
        headers: CIMultiDict[str] = CIMultiDict(
            (
                ("user-agent", self._user_agent),
                ("accept", "application/json"),
                # What a provider would save in bytes, both sides would pay in CPU and a stream in latency.
                ("accept-encoding", "identity"),
            )
        )
        headers.update(request.headers)
        headers.update(provider.quirks.headers)
        path = provider.quirks.path or request.path
        if isinstance(provider.auth, Auth):
            secret = self._secret(provider.slug, provider.auth)
            query = auth.apply(provider.auth, secret, headers)
            url = self._url(provider.base_url, path, query, bounds)
            secrets: tuple[str, ...] = (secret,)
        else:
            url = self._url(provider.base_url, path, "", bounds)
            secrets = await self._identities.sign(provider.auth, str(url), headers, request.body, bounds)
        span = None if context.span is None else spans.begin(context.span, provider.base_url, path)
        if provider.ours:
            headers.update(_trace(context, span))
        sent = self._client.post(url, headers, request.body, bounds, context.permit)
        exchange = await (sent if span is None else spans.answered(span, sent, bounds))
        if 200 <= exchange.status < 300:
            return exchange
        try:
            body = await exchange.read_some(_MOST_OF_AN_ERROR)
            # Masked before anything is cut: the beginning of a key would not be known as one.
            failure = dialect.classify(exchange.status, exchange.headers, _masked(secrets, body))
        finally:
            exchange.close()
        if exchange.status == _WHO_ARE_YOU and not isinstance(provider.auth, Auth):
            self._identities.refused(provider.auth)
        raise UpstreamError(_without(secrets, failure))

    def _bounds(self, provider: Provider, context: CallContext) -> Bounds:
        remaining = context.deadline - self._clock()
        due_to: Literal["total", "deadline"] = "deadline" if remaining < provider.timeouts.total else "total"
        due = asyncio.get_running_loop().time() + min(remaining, provider.timeouts.total)
        bounds = Bounds(provider.slug, provider.timeouts, due, due_to)
        if remaining <= 0:
            raise UpstreamError(bounds.late("deadline"))
        return bounds

    def _secret(self, slug: str, by: Auth) -> str:
        if by.kind == "none":
            return ""
        try:
            return self._secrets.resolve(by.secret)
        except SecretError as exc:
            text = f"provider {slug} has no credentials: {exc}"
            raise UpstreamError(Failure(FailureKind.AUTH, text)) from None

    def _url(self, base: str, path: str, query: str, bounds: Bounds) -> URL:
        if query:
            separator = "&" if "?" in path else "?"
            return _read(f"{base.rstrip('/')}{path}{separator}{query}", bounds)
        url = self._urls.get((base, path))
        if url is None:
            if len(self._urls) >= _MOST_URLS:
                self._urls.clear()
            url = self._urls[base, path] = _read(f"{base.rstrip('/')}{path}", bounds)
        return url


class HttpEventSource:
    """`ports.EventSource` over one exchange: one network read, one batch. `left` bytes may come yet."""

    __slots__ = ("_decoder", "_exchange", "_left", "_ready")

    def __init__(
        self, exchange: Exchange, decoder: Decoder | None, left: int, ready: Sequence[Event] = ()
    ) -> None:
        self._exchange = exchange
        self._decoder = decoder
        self._left = left
        self._ready = ready

    async def next(self) -> Sequence[Event]:
        """The next events; empty only at the clean end.

        Raises:
            UpstreamError: the stream failed or was cut; nothing may be read after it.
        """
        if self._ready:
            ready, self._ready = self._ready, ()
            return ready
        decoder = self._decoder
        if decoder is None:
            return ()
        lost = None
        while True:
            try:
                data = await self._exchange.read()
            except UpstreamError as error:
                lost = error.failure
                break
            if not data:
                break
            self._left -= len(data)
            try:
                if self._left < 0:
                    raise UpstreamError(Failure(FailureKind.PROTOCOL, _TOO_MUCH))
                events = checked(decoder.feed(data))
            except UpstreamError:
                self._end()
                raise
            if events:
                return events
        self._end()
        return _last_events(decoder, lost)

    async def settle(self, seconds: float) -> None:
        """Lets up to `seconds` pass so that events gather for one batch; returns early at the stream's end."""
        if not self._ready and self._decoder is not None:
            await self._exchange.settle(seconds)

    async def aclose(self) -> None:
        """Ends the upstream call now, if it is not over. Idempotent."""
        self._ready = ()
        self._end()

    def _end(self) -> None:
        self._decoder = None
        self._exchange.close()


def _read(text: str, bounds: Bounds) -> URL:
    try:
        return address(text)
    except httpx.InvalidURL as error:
        failure = failure_of(error, bounds, answering=False)
    # Raised out here so that no chain leads to the exception that holds the address, and with it a key.
    raise UpstreamError(failure)


async def _opening(exchange: Exchange) -> bytes:
    """As much of the body as tells whether it is an event stream; it may be less, or empty, at the body's end."""
    opening = b""
    while len(opening) < _LONGEST_FIELD and (data := await exchange.read()):
        opening += data
    return opening


def _last_events(decoder: Decoder, lost: Failure | None) -> Sequence[Event]:
    """The decoder's last events; a connection that was lost after the terminal marker takes nothing away."""
    try:
        return checked(decoder.end())
    except UpstreamError as error:
        # The provider's own error, held back behind good events, says more than the connection's loss.
        if lost is None or error.failure.kind is not FailureKind.CUT:
            raise
    raise UpstreamError(lost)


def _trace(context: CallContext, span: Span | None) -> list[tuple[str, str]]:
    source = context if span is None else span
    named = (
        ("x-request-id", context.request_id),
        (TRACEPARENT, source.traceparent),
        (TRACESTATE, source.tracestate),
    )
    return [(name, value) for name, value in named if value]


def _masked(secrets: tuple[str, ...], body: bytes) -> bytes:
    """The body of an error without these keys and tokens, as they stand there or with JSON's escaped slashes."""
    for secret in filter(None, secrets):
        for form in (secret, secret.replace("/", "\\/")):
            body = body.replace(form.encode(), b"[key]")
    return body


def _without(secrets: tuple[str, ...], failure: Failure) -> Failure:
    """The failure, its message free of the keys and tokens that were escaped in the body in some other way."""
    message = failure.message
    for secret in secrets:
        if secret and secret in message:
            message = message.replace(secret, "[key]")
    return failure if message is failure.message else replace(failure, message=message)
