"""The one pooled HTTP client for all providers: httpx's API over aiohttp, without httpx's client layer.

HTTP/1.1 with keep-alive and verified TLS; no redirects, no cookies, no proxy or credentials from the
environment, no retries. What an answer means is for others.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from multidict import CIMultiDict
from yarl import URL

if TYPE_CHECKING:
    from aiohttp.connector import Connection

from adapters.providers.exchange import Exchange, raw_response
from adapters.providers.faults import CLIENT_ERRORS, Bounds, failure_of
from service.domain.failure import UpstreamError

_SLICE: Final = 256 * 1024

_permit: ContextVar[Callable[[], None] | None] = ContextVar("permit", default=None)
"""Of the request that this task sends; see `HttpClient.post`."""

_written: ContextVar[str | None] = ContextVar("written", default=None)
"""Its address where that holds percent-encoded characters: aiohttp would decode those that need no encoding, and a
signature is over the address as it was written."""


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The pool's limits.

    `max_connections` over all providers and `max_connections_per_host`: 0 means no limit; a call that finds
    no free connection waits within its provider's `timeouts.connect`. `keepalive`: seconds for which an idle
    connection is kept. `max_answer_bytes` bounds a whole answer, decompressed. `ca_file`: a PEM file of
    authorities to trust in place of the usual ones.
    """

    max_connections: int = 0
    max_connections_per_host: int = 0
    keepalive: float = 30.0
    max_answer_bytes: int = 64 * 1024 * 1024
    ca_file: str | None = None


def trusting(ca_file: str | None) -> ssl.SSLContext:
    """TLS that trusts the authorities in a PEM file, or the usual ones.

    Raises:
        OSError: the file can't be read or holds no certificate.
    """
    if ca_file is not None:
        return ssl.create_default_context(cafile=ca_file)
    # httpx's default verifies against certifi's authorities, which a bare container image has, too.
    return httpx.create_ssl_context(trust_env=False)


class HttpClient:
    """Posts bodies. Belongs to the event loop that first posts; close it there."""

    def __init__(self, settings: HttpSettings, *, tls: ssl.SSLContext | None = None) -> None:
        self._settings = settings
        self._tls = tls or trusting(settings.ca_file)
        self._transport = AiohttpTransport(verify=self._tls, client=self._session, trust_env=False)

    async def post(
        self,
        url: httpx.URL,
        headers: CIMultiDict[str],
        body: bytes,
        bounds: Bounds,
        permit: Callable[[], None] | None = None,
    ) -> Exchange:
        """Sends one request; returns when status and headers of the answer are there, whatever they say.

        `permit` is asked once there is a connection, right before the first byte is written: what it raises ends
        the call with nothing sent.

        Raises:
            UpstreamError: CONNECT, TIMEOUT, PROTOCOL, UNKNOWN.
        """
        token = None if permit is None else _permit.set(permit)
        written = str(url)
        encoded = _written.set(written) if "%" in written else None
        loop = asyncio.get_running_loop()
        request = _request(url, headers, body, bounds)
        limit = None if _is_bounded(bounds, loop.time(), len(body)) else asyncio.timeout_at(bounds.due)
        failure = None
        try:
            if limit is None:
                response = await self._transport.handle_async_request(request)
            else:
                async with limit:
                    response = await self._transport.handle_async_request(request)
        except CLIENT_ERRORS as exc:
            late = limit is not None and limit.expired()
            failure = bounds.late(bounds.due_to) if late else failure_of(exc, bounds, answering=False)
        finally:
            if token is not None:
                _permit.reset(token)
            if encoded is not None:
                _written.reset(encoded)
        if failure is not None:
            # Raised out here so that no chain leads to exceptions that hold the address, and with it a key.
            raise UpstreamError(failure)
        return Exchange(raw_response(response), bounds, loop)

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._transport.aclose()

    def _session(self) -> aiohttp.ClientSession:
        settings = self._settings
        connector = aiohttp.TCPConnector(
            limit=settings.max_connections,
            limit_per_host=settings.max_connections_per_host,
            keepalive_timeout=settings.keepalive,
            ssl=self._tls,
        )
        # A provider's cookies would tie one caller's call to another's.
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), request_class=_Request, trust_env=False
        )


class _Request(aiohttp.ClientRequest):
    def __init__(self, method: str, url: URL, **options: Any) -> None:
        written = _written.get()
        super().__init__(method, url if written is None else URL(written, encoded=True), **options)

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        permit = _permit.get()
        if permit is not None:
            permit()
        return await super().send(conn)


def _is_bounded(bounds: Bounds, now: float, size: int) -> bool:
    """Whether aiohttp's own timers end the call's first phase in time, so that it needs none of ours.

    They watch the connecting and the wait for the first byte, and not the sending, which takes no time for a
    body that the socket's buffer holds.
    """
    return size <= _SLICE and bounds.due - now > bounds.timeouts.connect + bounds.timeouts.first_byte


class _Sliced(httpx.AsyncByteStream):
    """A large body in slices: aiohttp warns of a large body in one piece, whose write holds up the loop."""

    def __init__(self, body: bytes) -> None:
        self._body = memoryview(body)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), _SLICE):
            yield bytes(self._body[start : start + _SLICE])


def _request(url: httpx.URL, headers: CIMultiDict[str], body: bytes, bounds: Bounds) -> httpx.Request:
    connect = bounds.timeouts.connect
    # Counting from the request's end is what aiohttp's read timeout does; the answer's body has its own timer.
    timeout = {"connect": connect, "pool": connect, "read": bounds.timeouts.first_byte}
    extensions: Mapping[str, Any] = {"timeout": timeout}
    request: httpx.Request
    if len(body) > _SLICE:
        headers["content-length"] = str(len(body))
        request = httpx.Request("POST", url, stream=_Sliced(body), extensions=extensions)
    else:
        request = httpx.Request("POST", url, stream=httpx.ByteStream(body), extensions=extensions)
        request.read()
    # The transport hands `headers` to aiohttp as they are: httpx's own kind would be built here only to be
    # copied there, at a fifth of the cost of the whole call.
    request.headers = headers  # type: ignore[assignment]
    return request
