"""Comment lines that keep idle event streams alive through proxies: one timer for all streams of a process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import web

COMMENT = b": keep-alive\n\n"


class Heartbeats:
    """Writes a comment to each registered stream that has been idle for `seconds()`."""

    def __init__(self, seconds: Callable[[], float], clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._streams: dict[web.StreamResponse, _Watched] = {}

    def add(self, stream: web.StreamResponse, transport: asyncio.WriteTransport | None) -> None:
        """Watches `stream`, which goes out on `transport`, from now on."""
        self._streams[stream] = _Watched(transport, self._clock())

    def wrote(self, stream: web.StreamResponse) -> None:
        """Something went out on `stream`."""
        self._streams[stream].last = self._clock()

    def remove(self, stream: web.StreamResponse) -> None:
        """Forgets `stream`; to be called before its end is written."""
        self._streams.pop(stream, None)

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await asyncio.sleep(min(1.0, self._seconds() / 4))
            await self.beat()

    async def beat(self) -> None:
        """Writes to the streams that are idle now."""
        now = self._clock()
        limit = self._seconds()
        for stream, watched in list(self._streams.items()):
            if now - watched.last < limit or stream not in self._streams:
                continue
            watched.last = now
            transport = watched.transport
            if transport is None or transport.is_closing() or transport.get_write_buffer_size():
                # Gone, or its client has bytes to read: a comment would wait for it, and the others for that.
                continue
            with suppress(ConnectionError):
                await stream.write(COMMENT)


@dataclass(slots=True)
class _Watched:
    transport: asyncio.WriteTransport | None
    last: float
