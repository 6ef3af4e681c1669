"""Comment lines that keep idle event streams alive through proxies: one timer for all streams of a process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

COMMENT = b": keep-alive\n\n"


class Heartbeats:
    """Writes a comment to each registered stream that has been idle for `seconds()`."""

    def __init__(self, seconds: Callable[[], float], clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._last: dict[web.StreamResponse, float] = {}

    def add(self, stream: web.StreamResponse) -> None:
        """Watches `stream` from now on."""
        self._last[stream] = self._clock()

    def wrote(self, stream: web.StreamResponse) -> None:
        """Something went out on `stream`."""
        self._last[stream] = self._clock()

    def remove(self, stream: web.StreamResponse) -> None:
        """Forgets `stream`."""
        self._last.pop(stream, None)

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await asyncio.sleep(min(1.0, self._seconds() / 4))
            await self.beat()

    async def beat(self) -> None:
        """Writes to the streams that are idle now."""
        now = self._clock()
        limit = self._seconds()
        for stream, last in list(self._last.items()):
            if now - last >= limit and stream in self._last:
                self._last[stream] = now
                try:
                    # A client that reads slowly must not hold up the others' comments.
                    async with asyncio.timeout(0.05):
                        await stream.write(COMMENT)
                except (TimeoutError, ConnectionError):
                    continue
