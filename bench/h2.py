"""A gRPC client that costs as little as Python allows, so that a load fits on one core beside the upstream.

It speaks what a load needs of HTTP/2 (RFC 9113) and of gRPC's framing: headers are literals or our own table
entries, the server may not use a header table, its windows never fill. Messages are counted, not decoded;
`verify` decodes a few with the real client first.
"""

from __future__ import annotations

import asyncio
import struct
import time
from typing import TYPE_CHECKING, Final, cast

from bench.traffic import FIRST_TOKEN

if TYPE_CHECKING:
    from collections.abc import Sequence

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 0x1, 0x4, 0x1
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _INITIAL_WINDOW_SIZE = 1, 2, 4
_LARGEST_WINDOW: Final = 2**31 - 1
_DEFAULT_WINDOW: Final = 65_535
_REPLENISH: Final = 2**29
_FIRST_DYNAMIC_INDEX: Final = 62
_POST, _SCHEME_HTTP = b"\x83", b"\x86"  # entries of HPACK's static table
_PREFIX_BYTES: Final = 5
_CANCEL: Final = (8).to_bytes(4)
_STATUS_OK: Final = b"\x0bgrpc-status\x010"


class CallFailedError(Exception):
    """A call that did not end with status OK; the text is what the trailers or the connection said."""


class GrpcCall:
    """One call under way or over. Times are `time.perf_counter()` seconds, `first_at` 0 before the first token."""

    __slots__ = ("_head", "_need", "bytes", "done", "first_at", "messages", "started")

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.done = done
        self.started = time.perf_counter()
        self.first_at = 0.0
        self.messages = 0
        self.bytes = 0
        self._need = 0
        self._head = b""

    def feed(self, payload: bytes) -> None:
        """Counts the messages whose bytes these are."""
        end = len(payload)
        self.bytes += end
        if not self.first_at and FIRST_TOKEN in payload:
            self.first_at = time.perf_counter()
        at = 0
        while at < end:
            if self._need:
                step = min(self._need, end - at)
                self._need -= step
                at += step
                continue
            missing = _PREFIX_BYTES - len(self._head)
            self._head += payload[at : at + missing]
            at += missing
            if len(self._head) == _PREFIX_BYTES:
                self._need = int.from_bytes(self._head[1:])
                self._head = b""
                self.messages += 1


class GrpcConnection(asyncio.Protocol):
    """One HTTP/2 connection that calls one method with one request, again and again.

    `leave`: a call is over, well, as soon as its first message has come; what would follow is not wanted.
    """

    def __init__(
        self,
        path: str,
        authority: str,
        metadata: Sequence[tuple[str, str]],
        message: bytes,
        *,
        leave: bool = False,
    ) -> None:
        fields = (
            (":path", path),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("grpc-accept-encoding", "identity, deflate, gzip"),
            ("user-agent", "eurouter-bench"),
            *metadata,
        )
        # The first request puts the fields into the server's table, later ones name their places there.
        self._first_headers = _POST + _SCHEME_HTTP + b"".join(_literal(name, value) for name, value in fields)
        last = _FIRST_DYNAMIC_INDEX + len(fields) - 1
        self._headers = _POST + _SCHEME_HTTP + bytes(0x80 | (last - at) for at in range(len(fields)))
        self._body = b"\x00" + len(message).to_bytes(4) + message
        self._leave = leave
        self._calls: dict[int, GrpcCall] = {}
        self._next_stream = 1
        self._rest = b""
        self._window = _DEFAULT_WINDOW
        self._received = 0
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports don't say that they are asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        wishes = ((_HEADER_TABLE_SIZE, 0), (_ENABLE_PUSH, 0), (_INITIAL_WINDOW_SIZE, _LARGEST_WINDOW))
        settings = b"".join(struct.pack(">HI", name, value) for name, value in wishes)
        widen = (_LARGEST_WINDOW - _DEFAULT_WINDOW).to_bytes(4)
        self._write(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, widen))

    def call(self) -> GrpcCall:
        """Begins a call; `done` of what it returns ends with it.

        Raises:
            CallFailedError: the connection is closed, or the server reads so slowly that its window is full.
        """
        if self._transport is None or self._transport.is_closing():
            raise CallFailedError("the connection is closed")
        self._window -= len(self._body)
        if self._window < 0:
            raise CallFailedError("the server's window is full")
        stream = self._next_stream
        self._next_stream += 2
        call = self._calls[stream] = GrpcCall(self._loop.create_future())
        headers = self._first_headers if stream == 1 else self._headers
        self._transport.write(
            _frame(_HEADERS, _END_HEADERS, stream, headers) + _frame(_DATA, _END_STREAM, stream, self._body)
        )
        return call

    def data_received(self, data: bytes) -> None:
        buffer = self._rest + data if self._rest else data
        at, end = 0, len(buffer)
        while end - at >= 9:
            length = int.from_bytes(buffer[at : at + 3])
            following = at + 9 + length
            if following > end:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            stream = int.from_bytes(buffer[at + 5 : at + 9])
            self._frame_received(kind, flags, stream, buffer[at + 9 : following])
            at = following
        self._rest = buffer[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        for call in self._calls.values():
            self._end(call, f"the connection was lost: {exc}")
        self._calls.clear()

    def close(self) -> None:
        """Closes the connection; calls under way fail."""
        if self._transport is not None:
            self._transport.close()

    def _frame_received(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _DATA:
            self._replenish(len(payload))
        if stream:
            call = self._calls.get(stream)
            if call is not None:  # else it was left, and this was on its way
                self._call_frame_received(call, kind, flags, stream, payload)
        elif kind == _SETTINGS and not flags & _ACK:
            self._write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._write(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW_UPDATE:
            self._window += int.from_bytes(payload)
        elif kind == _GOAWAY:
            self.close()

    def _call_frame_received(self, call: GrpcCall, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _DATA:
            call.feed(payload)
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            failure = None if _STATUS_OK in payload else _readable(payload)
        elif kind == _RST_STREAM:
            failure = "the server reset the stream"
        elif self._leave and call.messages:
            failure = None
            self._write(_frame(_RST_STREAM, 0, stream, _CANCEL))
        else:
            return
        del self._calls[stream]
        self._end(call, failure)

    def _replenish(self, count: int) -> None:
        self._received += count
        if self._received >= _REPLENISH:
            self._write(_frame(_WINDOW_UPDATE, 0, 0, self._received.to_bytes(4)))
            self._received = 0

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    @staticmethod
    def _end(call: GrpcCall, failure: str | None) -> None:
        if call.done.done():
            return
        if failure is None:
            call.done.set_result(None)
        else:
            call.done.set_exception(CallFailedError(failure))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _literal(name: str, value: str) -> bytes:
    """A header field that also enters the receiver's table; all of ours are short."""
    return b"\x40" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()


def _readable(payload: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else " " for byte in payload)[:600]
