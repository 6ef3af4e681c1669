"""One HTTP exchange after its status line: reading the body, its timeouts, ending it at once.

Nothing here knows providers' formats. A lazily re-armed timer per exchange watches the body: a stream costs
no timer and no task per read.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from typing import Final, NoReturn

import aiohttp

from adapters.providers.faults import CLIENT_ERRORS, Bounds, Limit, failure_of
from service.domain.failure import Failure, FailureKind, UpstreamError

_ZLIB_WINDOW: Final[dict[str, int]] = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_INFLATE_STEP: Final = 1 << 20
_STALL: Final = 0.02


class Exchange:
    """An answer whose status and headers are there. Not safe for concurrent use; `close` it in any case."""

    __slots__ = (
        "_bounds",
        "_closed",
        "_content",
        "_failure",
        "_gate",
        "_inflate",
        "_limit",
        "_loop",
        "_raw",
        "_timer",
        "_waiting_since",
        "headers",
        "status",
    )

    def __init__(self, raw: aiohttp.ClientResponse, bounds: Bounds, loop: asyncio.AbstractEventLoop) -> None:
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers
        self._raw = raw
        self._content = raw.content
        self._bounds = bounds
        self._loop = loop
        self._closed = False
        self._failure: Failure | None = None
        self._gate: asyncio.Future[None] | None = None
        self._limit: Limit = "first_byte"
        self._timer: asyncio.TimerHandle | None = None
        self._waiting_since = 0.0
        self._inflate = self._decompressor()
        if not self._content.is_eof():
            self._watch()

    @property
    def media_type(self) -> str:
        """The content type in lower case, without parameters; "" when there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def read(self) -> bytes:
        """What has arrived, at least one byte; empty at the body's end.

        Raises:
            UpstreamError: TIMEOUT, CUT, PROTOCOL. The connection is closed then.
        """
        while True:
            data = await self._read()
            if self._inflate is not None:
                data = self._inflated(self._inflate, data)
                if not data and not self._content.at_eof():
                    continue
            return data

    async def read_all(self, most: int) -> bytes:
        """The whole body.

        Raises:
            UpstreamError: as `read`; PROTOCOL when the body has more than `most` bytes.
        """
        # Most answers have come together with their status: nothing is left to wait for.
        body = self._content.read_nowait() if self._is_here() else await self._gathered(most)
        if len(body) > most:
            self._fail(Failure(FailureKind.PROTOCOL, f"the answer of {self._bounds.slug} exceeds {most} bytes"))
        return body

    async def read_some(self, most: int) -> bytes:
        """The body's first bytes, about `most` of them, as far as they come: for the bodies of error answers."""
        chunks: list[bytes] = []
        size = 0
        try:
            while size < most and (data := await self.read()):
                chunks.append(data)
                size += len(data)
        except UpstreamError:
            # The status says what happened; a body that breaks off takes nothing away from it.
            pass
        return b"".join(chunks)[:most]

    async def settle(self, seconds: float) -> None:
        """Lets up to `seconds` pass so that more of the body gathers; returns early when all of it is there."""
        if seconds <= 0 or self._closed or self._content.is_eof() or self._content.exception() is not None:
            return
        self._gate = gate = self._loop.create_future()
        handle = self._loop.call_later(seconds, self._open_gate)
        try:
            await gate
        finally:
            handle.cancel()
            self._gate = None

    def close(self) -> None:
        """Ends the exchange now: the provider sees the connection close. After the body's end it does nothing."""
        if self._closed:
            return
        self._closed = True
        self._stop_watch()
        if not self._content.is_eof():
            self._raw.close()

    def _is_here(self) -> bool:
        content = self._content
        return content.is_eof() and content.exception() is None and self._inflate is None and self._failure is None

    async def _gathered(self, most: int) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while size <= most and (data := await self.read()):
            chunks.append(data)
            size += len(data)
        return b"".join(chunks)

    def _decompressor(self) -> zlib._Decompress | None:
        encoding = self.headers.get("content-encoding", "").strip().lower()
        if encoding in ("", "identity"):
            return None
        if encoding not in _ZLIB_WINDOW:
            self._raw.close()
            text = f"{self._bounds.slug} answered in an encoding that was not asked for ({encoding[:20]!r})"
            raise UpstreamError(Failure(FailureKind.PROTOCOL, text))
        return zlib.decompressobj(_ZLIB_WINDOW[encoding])

    def _inflated(self, inflate: zlib._Decompress, data: bytes) -> bytes:
        """Decompresses one read; bounded, so that a few bytes can't become more than the caller looks at."""
        try:
            out = inflate.decompress(inflate.unconsumed_tail + data, _INFLATE_STEP)
        except zlib.error:
            self._fail(Failure(FailureKind.PROTOCOL, f"{self._bounds.slug} sent a broken compressed answer"))
        if not out and not inflate.eof and self._content.at_eof():
            self._fail(Failure(FailureKind.CUT, f"the compressed answer of {self._bounds.slug} broke off"))
        return out

    async def _read(self) -> bytes:
        if self._failure is not None:
            raise UpstreamError(self._failure)
        if self._inflate is not None and self._inflate.unconsumed_tail:
            return b""
        self._waiting_since = self._loop.time()
        data, failure = b"", None
        try:
            data = await self._content.readany()
        except CLIENT_ERRORS as exc:
            failure = self._why(exc)
        finally:
            self._waiting_since = 0.0
        if failure is not None:
            # Raised out here so that no chain leads to exceptions that hold an address, and with it a key.
            self._fail(failure)
        if self._limit == "first_byte":
            self._began()
        return data

    def _why(self, exc: BaseException) -> Failure:
        # The timer ends a read by an exception, too, and knows what ran out.
        return self._failure or failure_of(exc, self._bounds, answering=True)

    def _fail(self, failure: Failure) -> NoReturn:
        self._failure = failure
        self.close()
        raise UpstreamError(failure)

    def _began(self) -> None:
        self._limit = "idle"
        if self._timer is not None and self._bounds.timeouts.idle < self._bounds.timeouts.first_byte:
            self._timer.cancel()
            self._arm(self._loop.time())

    def _watch(self) -> None:
        connection = self._raw.connection
        if connection is not None and connection.protocol is not None:
            # From here on our own timer counts; aiohttp's would be re-armed with every read.
            connection.protocol.read_timeout = None
            connection.protocol.start_timeout()
        self._content.on_eof(self._ended)
        self._arm(self._loop.time())

    def _arm(self, now: float) -> None:
        seconds: float = getattr(self._bounds.timeouts, self._limit)
        due = min(self._bounds.due, (self._waiting_since or now) + seconds)
        self._timer = self._loop.call_at(due, self._tick, due)

    def _tick(self, due: float) -> None:
        self._timer = None
        # libuv's clock has milliseconds: a timer may run up to one before its time.
        now = self._loop.time() + 0.001
        if self._waiting_since and now - due > _STALL:
            # The loop stood still, not the provider: what it sent meanwhile is not read yet.
            self._waiting_since += now - due
        if now >= self._bounds.due:
            self._expire(self._bounds.due_to)
        elif self._waiting_since and now >= self._waiting_since + getattr(self._bounds.timeouts, self._limit):
            self._expire(self._limit)
        else:
            self._arm(now)

    def _expire(self, limit: Limit) -> None:
        self._failure = self._bounds.late(limit)
        self._content.set_exception(aiohttp.SocketTimeoutError())
        self._open_gate()
        self.close()

    def _ended(self) -> None:
        self._stop_watch()
        self._open_gate()

    def _open_gate(self) -> None:
        if self._gate is not None and not self._gate.done():
            self._gate.set_result(None)

    def _stop_watch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
