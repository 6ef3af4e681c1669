"""Plays an encoded answer on a connection: pace, delays and faults. Knows no wire format's bytes."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from aiohttp import web
from aiohttp.http import HttpVersion11

from .script import Cut, ErrorIn200, Garbage, HttpError, Reset, Script, SlowFirstByte, Stall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .journal import Entry
    from .wire import Encoded, Whole, WireFormat

_JSON = "application/json"
_WRITE_BYTES = 64 * 1024
# uvloop's clock and timers count whole milliseconds: what is nearer than half of one is due, or it would spin.
_TIMER_SLACK = 0.0005
_RST = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Performance:
    """One answer to play."""

    request: web.Request
    entry: Entry
    wire: WireFormat
    script: Script
    headers: dict[str, str]
    stamp: bytes

    async def stream(self, encoded: Encoded) -> web.StreamResponse:
        """Plays a stream; returns when it ended, never for a fault that keeps or drops the connection."""
        fault = self.script.fault
        if early := await self._early_end(streaming=True):
            return early
        response = await self._begin(web.StreamResponse(), self.wire.stream_content_type)
        if isinstance(fault, SlowFirstByte) and fault.headers_first:
            await asyncio.sleep(fault.seconds)
        if isinstance(fault, Garbage) and fault.after_tokens == 0:
            await response.write(fault.data)
            await response.write_eof()
            return response
        await self._tokens(response, encoded, tokens_before(self.script))
        match fault:
            case None | SlowFirstByte() | HttpError():
                await response.write(encoded.tail.replace(encoded.mark, self.stamp))
                await response.write_eof()
                self.entry.finished = True
            case Cut():
                await response.write_eof()
            case Stall():
                await _forever()
            case Reset():
                await self._hang_up(reset=True)
            case Garbage():
                await response.write(fault.data)
                await response.write_eof()
            case ErrorIn200():
                await response.write(self.wire.error_event(fault.reason, fault.message))
                await response.write_eof()
            case _:
                assert_never(fault)
        return response

    async def whole(self, whole: Whole) -> web.StreamResponse:
        """Plays an answer that is not streamed; a fault in its middle comes after the first half."""
        fault = self.script.fault
        if early := await self._early_end(streaming=False):
            return early
        body = whole.body.replace(whole.mark, self.stamp)
        if isinstance(fault, Garbage):
            return self._json(200, fault.data)
        held = isinstance(fault, SlowFirstByte) and fault.headers_first
        if fault is None or (isinstance(fault, SlowFirstByte) and not held):
            self.entry.finished = True
            return self._json(200, body)
        response = web.StreamResponse()
        response.content_length = len(body)
        await self._begin(response, _JSON)
        if isinstance(fault, SlowFirstByte):
            await asyncio.sleep(fault.seconds)
            await response.write(body)
            await response.write_eof()
            self.entry.finished = True
            return response
        await response.write(body[: len(body) // 2])
        if isinstance(fault, Stall):
            await _forever()
        await self._hang_up(reset=isinstance(fault, Reset))
        return response

    async def _early_end(self, *, streaming: bool) -> web.StreamResponse | None:
        """Waits for the first byte; the answers that need no body of the script."""
        script, fault = self.script, self.script.fault
        wait = script.first_byte_delay if streaming else script.whole_latency()
        if isinstance(fault, SlowFirstByte) and not fault.headers_first:
            wait += fault.seconds
        if isinstance(fault, HttpError):
            wait = script.first_byte_delay
        if wait > 0:
            await asyncio.sleep(wait)
        if isinstance(fault, HttpError):
            body = fault.body
            if body is None:
                body = self.wire.error(fault.status, fault.reason, fault.message)
            self.entry.finished = True
            return self._json(fault.status, body, dict(fault.headers))
        if isinstance(fault, ErrorIn200) and (fault.after_tokens is None or not streaming):
            self.entry.finished = True
            return self._json(200, self.wire.error(500, fault.reason, fault.message))
        if isinstance(fault, Reset) and fault.after_tokens is None:
            await self._hang_up(reset=True)
        return None

    def _json(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> web.Response:
        self.entry.status = status
        return web.Response(
            status=status, body=body, headers={"content-type": _JSON, **self.headers, **(headers or {})}
        )

    async def _begin(self, response: web.StreamResponse, content_type: str) -> web.StreamResponse:
        response.headers.update(self.headers)
        response.headers["content-type"] = content_type
        self.entry.status = 200
        await response.prepare(self.request)
        return response

    async def _tokens(self, response: web.StreamResponse, encoded: Encoded, count: int | None) -> None:
        frames = encoded.tokens if count is None else encoded.tokens[:count]
        mark, stamp = encoded.mark, self.stamp
        if self.script.pace > 0:
            await response.write(encoded.head.replace(mark, stamp))
            transport = self.request.transport
            if transport is None or transport.is_closing():
                raise ConnectionResetError("the client left")
            chunked = self.request.version >= HttpVersion11
            pacer = _Pacer(transport, frames, (mark, stamp), self.script.pace, self.entry, chunked=chunked)
            await pacer.run()
            return
        data = b"".join((encoded.head, *frames)).replace(mark, stamp)
        for at in range(0, len(data), _WRITE_BYTES):
            await response.write(data[at : at + _WRITE_BYTES])
        self.entry.tokens_sent = len(frames)

    async def _hang_up(self, *, reset: bool) -> None:
        """Drops the connection; never returns, because losing the connection cancels the handler."""
        transport = self.request.transport
        self.entry.hung_up = True
        if transport is not None:
            while transport.get_write_buffer_size():  # noqa: ASYNC110 - a transport signals no empty buffer
                await asyncio.sleep(0.001)
            if reset:
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
                transport.abort()
            else:
                transport.close()
        await _forever()


class _Pacer:
    """Writes one token a tick straight to the transport: no task switch and no drain per token.

    Ticks are due at fixed times from the first one on; a late tick writes what is overdue.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        frames: Sequence[bytes],
        mark_and_stamp: tuple[bytes, bytes],
        pace: float,
        entry: Entry,
        *,
        chunked: bool,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._frames = frames
        self._mark, self._stamp = mark_and_stamp
        self._pace = pace
        self._entry = entry
        self._chunked = chunked
        self._at = 0
        self._due = self._loop.time()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Returns when the last token is written; cancelling it stops the ticks."""
        self._tick()
        try:
            await self._done
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _tick(self) -> None:
        now = self._loop.time()
        while self._at < len(self._frames):
            if self._due - now > _TIMER_SLACK:
                self._timer = self._loop.call_at(self._due, self._tick)
                return
            if self._transport.is_closing():
                return  # losing the connection cancels the handler, and with it this
            frame = self._frames[self._at].replace(self._mark, self._stamp)
            self._transport.write(b"%x\r\n%b\r\n" % (len(frame), frame) if self._chunked else frame)
            self._at += 1
            self._due += self._pace
            self._entry.tokens_sent = self._at
        if not self._done.done():
            self._done.set_result(None)


def tokens_before(script: Script) -> int | None:
    """How many tokens a stream sends before its fault; None: all of them."""
    match script.fault:
        case Cut(count) | Stall(count) | Garbage(count) | ErrorIn200(count) | Reset(count):
            return count
        case _:
            return None


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()
