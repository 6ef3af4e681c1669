"""An HTTP/1.1 client that costs as little as Python allows: one request, again and again, on one connection."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Final, cast

from bench.h2 import CallFailedError
from bench.traffic import FIRST_TOKEN

if TYPE_CHECKING:
    from collections.abc import Mapping

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD_END, _CRLF = b"\r\n\r\n", b"\r\n"
_OK: Final = b"HTTP/1.1 200"
_EVENT: Final = b"data: "
_FAILURES: Final = (b"event: error\n", b"event: response.failed\n", b'data: {"error"')
"""How a stream that began with 200 says that it failed: the Responses API's ways, and chat's."""


class HttpExchange:
    """One exchange. `messages` are events of a stream, 1 for a whole answer; times as in `GrpcCall`."""

    __slots__ = ("bytes", "done", "first_at", "messages", "started")

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.done = done
        self.started = time.perf_counter()
        self.first_at = 0.0
        self.messages = 0
        self.bytes = 0


class HttpConnection(asyncio.Protocol):
    """One connection that posts one body to one path. One exchange at a time."""

    def __init__(self, path: str, authority: str, headers: Mapping[str, str], body: bytes) -> None:
        fields = {
            "host": authority,
            "content-type": "application/json",
            "content-length": str(len(body)),
            "user-agent": "eurouter-bench",
            **headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._request = f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body
        self._transport: asyncio.Transport | None = None
        self._exchange: HttpExchange | None = None
        self._head = b""
        self._in_body = False
        self._left: int | None = None  # bytes of the body or chunk that are still to come; None: read a size
        self._chunked = False
        self._line = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports don't say that they are asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def call(self) -> HttpExchange:
        """Begins an exchange; `done` of what it returns ends with it.

        Raises:
            CallFailedError: the connection is closed.
        """
        if self._transport is None or self._transport.is_closing():
            raise CallFailedError("the connection is closed")
        self._head, self._in_body, self._line = b"", False, b""
        self._exchange = exchange = HttpExchange(self._loop.create_future())
        self._transport.write(self._request)
        return exchange

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if not self._in_body:
            # The blank line that ends a chunked answer may come late: it is not the next answer's.
            self._head = (self._head + data).lstrip(_CRLF)
            end = self._head.find(_HEAD_END)
            if end < 0:
                return
            head, data = self._head[:end], self._head[end + 4 :]
            if not head.startswith(_OK):
                self._end(self._head[:600].decode(errors="replace"))
                self.close()
                return
            length = _LENGTH.search(head)
            self._chunked = length is None
            self._left = None if length is None else int(length[1])
            self._in_body = True
        exchange.bytes += len(data)
        if not exchange.first_at and FIRST_TOKEN in data:
            exchange.first_at = time.perf_counter()
        exchange.messages += data.count(_EVENT)
        if self._chunked and (failure := next((mark for mark in _FAILURES if mark in data), None)):
            self._end(data[data.find(failure) :][:600].decode(errors="replace"))
            self.close()
        elif self._over(data):
            if not self._chunked:
                exchange.messages = 1
            self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"the connection was lost: {exc}")

    def close(self) -> None:
        """Closes the connection; an exchange under way fails."""
        if self._transport is not None:
            self._transport.close()

    def _over(self, data: bytes) -> bool:
        """Moves on by these bytes; whether the body is whole now."""
        at, end = 0, len(data)
        while at < end:
            if self._left is not None:
                step = min(self._left, end - at)
                self._left -= step
                at += step
                if self._left == 0:
                    if not self._chunked:
                        return True
                    self._left = None
                continue
            line_end = data.find(b"\n", at)
            if line_end < 0:
                self._line += data[at:]
                return False
            line = (self._line + data[at:line_end]).strip()
            self._line = b""
            at = line_end + 1
            size = int(line.partition(b";")[0], 16)
            if size == 0:
                # What follows is the blank line after the last chunk; without trailers nothing else comes.
                return True
            self._left = size + len(_CRLF)
        return not self._chunked and self._left == 0

    def _end(self, failure: str | None) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None or exchange.done.done():
            return
        if failure is None:
            exchange.done.set_result(None)
        else:
            exchange.done.set_exception(CallFailedError(failure))
