"""application/vnd.amazon.eventstream, from bytes: framing only. What a frame's payload means stands in stream.

A frame is a prelude (total length, headers' length, CRC of both), headers, a payload and a CRC of all before.
botocore's parser reads the headers, once for each kind of frame. Lengths and CRCs are checked here, by its rules
(botocore/eventstream.py; a test holds the two against each other): its buffer alone takes three times as long as
all the rest of a token, and copies a large frame anew with every read.
"""

from __future__ import annotations

import struct
from binascii import crc32
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from service.domain.failure import Failure, FailureKind, UpstreamError

MAX_FRAME_BYTES: Final = 16 * 1024 * 1024
_MAX_HEADER_BYTES: Final = 128 * 1024
_LONGEST_REMEMBERED: Final = 256
_PRELUDE: Final = struct.Struct("!III")
_PRELUDE_BYTES: Final = _PRELUDE.size
_CRC_BYTES: Final = 4
_LEAST: Final = _PRELUDE_BYTES + _CRC_BYTES


class Kind(NamedTuple):
    """What a frame's headers say. `type`: event, exception, error; `name`: which one; `message`: an error's."""

    type: str
    name: str
    message: str = ""


_NONE: Final = Kind("", "")

Frame: TypeAlias = tuple[Kind, bytes]
"""A frame whose checksums are right: what it is, and its payload."""


class Frames:
    """Push parser: `feed` bytes as they come. Holds at most one unfinished frame."""

    __slots__ = ("_held", "_max", "_need", "_size")

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max = max_frame_bytes
        self._held: list[bytes] = []
        self._size = 0
        self._need = _PRELUDE_BYTES

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes; to be exhausted before the next call.

        Raises:
            UpstreamError: PROTOCOL: a wrong checksum, a frame larger than the limit, headers that are none. Frames
                before the wrong one have been given by then; nothing may be fed after it.
        """
        if self._held:
            self._held.append(data)
            self._size += len(data)
            if self._size < self._need:
                return
            data = b"".join(self._held)
            self._held.clear()
        at, end = 0, len(data)
        kind, before = _NONE, None
        self._need = _PRELUDE_BYTES
        while end - at >= _PRELUDE_BYTES:
            start = at + _PRELUDE_BYTES
            total, headers = _lengths(data[at:start])
            if total > self._max or headers > _MAX_HEADER_BYTES or headers > total - _LEAST:
                raise _broken(f"a frame's lengths ({total}, {headers}) are beyond what is taken")
            if end - at < total:
                self._need = total
                break
            close = at + total - _CRC_BYTES
            at += total
            if crc32(data[at - total : close]) != int.from_bytes(data[close:at], "big"):
                raise _broken("a frame has a wrong checksum")
            named = data[start : start + headers]
            if named != before:
                kind = _remembered(named) if headers <= _LONGEST_REMEMBERED else _read(named)
                before = named
            yield kind, data[start + headers : close]
        if at < end:
            self._held.append(data[at:] if at else data)
            self._size = end - at


@lru_cache(maxsize=1024)
def _lengths(prelude: bytes) -> tuple[int, int]:
    """The frame's length and that of its headers, once the prelude's checksum is right: few lengths come often."""
    total, headers, crc = _PRELUDE.unpack(prelude)
    if crc32(prelude[:8]) != crc:
        raise _broken("a frame's prelude has a wrong checksum")
    return total, headers


def _read(headers: bytes) -> Kind:
    # Loaded by the first stream: a service without Bedrock does not pay for it.
    from botocore.eventstream import EventStreamHeaderParser, ParserError

    try:
        named = EventStreamHeaderParser().parse(headers)
    except (ParserError, struct.error, KeyError, UnicodeDecodeError):
        raise _broken("a frame's headers can't be read") from None
    kind = str(named.get(":message-type", ""))
    if kind == "error":
        return Kind(kind, str(named.get(":error-code", "")), str(named.get(":error-message", "")))
    return Kind(kind, str(named.get(f":{kind}-type", "")))


_remembered: Final = lru_cache(maxsize=128)(_read)


def _broken(what: str) -> UpstreamError:
    return UpstreamError(Failure(FailureKind.PROTOCOL, f"the provider's stream is not an event stream: {what}"))
