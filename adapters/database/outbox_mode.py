"""Whether what becomes of jobs is written to the outbox: a fact of the database, kept true by those who publish.

A process that publishes nothing works on the same jobs as those that do and must not lose their results. A
database that nobody has published from for a week fills its outbox no more. The statements are not here.
"""

from __future__ import annotations

import asyncio
from typing import Final

KEPT_SECONDS: Final = 7 * 24 * 3600.0
"""The fact stands for so long after whoever publishes was last there."""

RENEWED_SECONDS: Final = 3600.0
"""It is written anew when it is older than this."""

_LEAST_SECONDS: Final = 0.2


class OutboxMode:
    """One for all stores of a process. `always`: it publishes by itself; `on`: its stores tell the outbox now."""

    def __init__(self, *, always: bool = False) -> None:
        self.always = always
        self.on = always
        self._doubted = asyncio.Event()

    def doubt(self) -> None:
        """Somebody tells the outbox: one who doesn't must look. Cheap; in the event loop's thread."""
        if not self.on:
            self._doubted.set()

    async def pause(self, seconds: float) -> None:
        """Until it is time to look again: after so many seconds, or soon when there is a doubt."""
        try:
            async with asyncio.timeout(seconds):
                await asyncio.sleep(min(seconds, _LEAST_SECONDS))
                await self._doubted.wait()
        except TimeoutError:
            pass
        self._doubted.clear()
