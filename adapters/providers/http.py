"""The one pooled HTTP client for all providers, over aiohttp.

HTTP/1.1 with keep-alive and verified TLS; no redirects, no cookies, no proxy or credentials from the
environment, no retries. What an answer means is for others.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import httpx
from multidict import CIMultiDict
from yarl import URL

if TYPE_CHECKING:
    from aiohttp.connector import Connection

from adapters.providers.exchange import Exchange
from adapters.providers.faults import CLIENT_ERRORS, Bounds, failure_of
from service.domain.failure import UpstreamError

_SLICE: Final = 256 * 1024

_permit: ContextVar[Callable[[], None] | None] = ContextVar("permit", default=None)
"""Of the request that this task sends; see `HttpClient.post`."""


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The pool's limits.

    `max_connections` over all providers and `max_connections_per_host`: 0 means no limit; a call that finds
    no free connection waits within its provider's `timeouts.connect`. `keepalive`: seconds for which an idle
    connection is kept. `max_answer_bytes` bounds a whole answer, `max_stream_bytes` a streamed one, both
    decompressed. `ca_file`: a PEM file of authorities to trust in place of the usual ones.
    """

    max_connections: int = 0
    max_connections_per_host: int = 0
    keepalive: float = 30.0
    max_answer_bytes: int = 64 * 1024 * 1024
    max_stream_bytes: int = 64 * 1024 * 1024
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
        self._opened: aiohttp.ClientSession | None = None

    async def post(
        self,
        url: URL,
        headers: CIMultiDict[str],
        body: bytes,
        bounds: Bounds,
        permit: Callable[[], None] | None = None,
    ) -> Exchange:
        """Sends one request; returns when status and headers of the answer are there, whatever they say.

        `url` goes out as it is written: make it by `address`. `permit` is asked once there is a connection, right
        before the first byte is written: what it raises ends the call with nothing sent.

        Raises:
            UpstreamError: CONNECT, TIMEOUT, PROTOCOL, UNKNOWN.
        """
        loop = asyncio.get_running_loop()
        limit = None if _is_bounded(bounds, loop.time(), len(body)) else asyncio.timeout_at(bounds.due)
        token = None if permit is None else _permit.set(permit)
        failure = None
        try:
            if limit is None:
                response = await self._send(url, headers, body, bounds)
            else:
                async with limit:
                    response = await self._send(url, headers, body, bounds)
        except CLIENT_ERRORS as exc:
            late = limit is not None and limit.expired()
            failure = bounds.late(bounds.due_to) if late else failure_of(exc, bounds, answering=False)
        finally:
            if token is not None:
                _permit.reset(token)
        if failure is not None:
            # Raised out here so that no chain leads to exceptions that hold the address, and with it a key.
            raise UpstreamError(failure)
        return Exchange(response, bounds, loop)

    async def aclose(self) -> None:
        """Closes all connections."""
        if self._opened is not None:
            await self._opened.close()

    def _send(
        self, url: URL, headers: CIMultiDict[str], body: bytes, bounds: Bounds
    ) -> Awaitable[aiohttp.ClientResponse]:
        session = self._opened
        if session is None:
            session = self._opened = self._session()
        data: bytes | AsyncIterator[bytes] = body
        if len(body) > _SLICE:
            headers["content-length"] = str(len(body))
            data = _sliced(body)
        connect, first_byte = bounds.timeouts.connect, bounds.timeouts.first_byte
        # Counting from the request's end is what aiohttp's read timeout does; the answer's body has its own timer.
        timeout = aiohttp.ClientTimeout(connect=connect, sock_connect=connect, sock_read=first_byte)
        return session.post(url, headers=headers, data=data, allow_redirects=False, timeout=timeout)

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
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_Request,
            auto_decompress=False,
            trust_env=False,
        )


class _Request(aiohttp.ClientRequest):
    def send(self, conn: Connection) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        permit = _permit.get()
        if permit is not None:
            permit()
        return super().send(conn)


def address(text: str) -> URL:
    """An address whose parts are encoded where they must be, and kept as they are written where they need not.

    A signature is over the address as it was written; aiohttp would decode what needs no encoding.

    Raises:
        httpx.InvalidURL: it is none.
    """
    written = str(httpx.URL(text))
    try:
        return URL(written, encoded=True)
    except ValueError as error:
        raise httpx.InvalidURL(str(error)) from None


def _is_bounded(bounds: Bounds, now: float, size: int) -> bool:
    """Whether aiohttp's own timers end the call's first phase in time, so that it needs none of ours.

    They watch the connecting and the wait for the first byte, and not the sending, which takes no time for a
    body that the socket's buffer holds.
    """
    return size <= _SLICE and bounds.due - now > bounds.timeouts.connect + bounds.timeouts.first_byte


async def _sliced(body: bytes) -> AsyncIterator[bytes]:
    """A large body in slices: aiohttp warns of a large body in one piece, whose write holds up the loop."""
    view = memoryview(body)
    for start in range(0, len(view), _SLICE):
        yield bytes(view[start : start + _SLICE])
