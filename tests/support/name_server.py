"""A name server on loopback that answers every question for an address with the same list: a headless service."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

_TYPE_A, _CLASS_IN, _TTL = 1, 1, 5
_ANSWER_NO_ERROR = 0x8580
_HEADER = struct.Struct("!6H")


def answer(query: bytes, addresses: Sequence[str]) -> bytes:
    """The reply to a query with one question: IPv4 addresses for type A, nothing for other types (RFC 1035)."""
    identifier, *_ = _HEADER.unpack_from(query)
    end = query.index(b"\0", _HEADER.size) + 5
    question = query[_HEADER.size : end]
    (kind,) = struct.unpack_from("!H", question, len(question) - 4)
    listed = addresses if kind == _TYPE_A else ()
    # 0xC00C points at the name in the question.
    records = (struct.pack("!HHHIH", 0xC00C, _TYPE_A, _CLASS_IN, _TTL, 4) + socket.inet_aton(ip) for ip in listed)
    return _HEADER.pack(identifier, _ANSWER_NO_ERROR, 1, len(listed), 0, 0) + question + b"".join(records)


class _Answers(asyncio.DatagramProtocol):
    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The selector loop's transport is no subclass of it.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(answer(data, self._addresses), addr)


@asynccontextmanager
async def name_server(*addresses: str) -> AsyncIterator[str]:
    """Answer on a free port while the context lasts; yields `host:port`."""
    async with changing_names(addresses) as names:
        yield names


@asynccontextmanager
async def changing_names(addresses: Sequence[str]) -> AsyncIterator[str]:
    """As `name_server`, with what stands in a list at the time of each question."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Answers(addresses), local_addr=("127.0.0.1", 0))
    try:
        host, port = transport.get_extra_info("sockname")
        yield f"{host}:{port}"
    finally:
        transport.close()
