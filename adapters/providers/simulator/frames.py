"""Writes application/vnd.amazon.eventstream: a prelude with its CRC, string headers, a payload, a CRC of all.

The layout is what botocore's parser reads (botocore/eventstream.py). Reading is not this module's business.
"""

from __future__ import annotations

import struct
from binascii import crc32
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_STRING = 7  # the type of a header whose value is a string
_CRCS_AND_LENGTHS = 16


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One frame."""
    written = b"".join(_header(name.encode(), value.encode()) for name, value in headers.items())
    prelude = struct.pack("!II", _CRCS_AND_LENGTHS + len(written) + len(payload), len(written))
    head = prelude + struct.pack("!I", crc32(prelude)) + written + payload
    return head + struct.pack("!I", crc32(head))


def event(kind: str, payload: bytes) -> bytes:
    """An event with a JSON payload."""
    return frame({":event-type": kind, ":content-type": "application/json", ":message-type": "event"}, payload)


def exception(kind: str, payload: bytes) -> bytes:
    """An exception with a JSON payload: how a stream fails after status 200."""
    return frame(
        {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}, payload
    )


def _header(name: bytes, value: bytes) -> bytes:
    return struct.pack(f"!B{len(name)}sBH{len(value)}s", len(name), name, _STRING, len(value), value)
