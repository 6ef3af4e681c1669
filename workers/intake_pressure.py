"""Whether so many jobs wait to be run that taking more is of no use. They wait in the broker as well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from service.domain.stored import StoreError
from workers.intake_settings import IntakeSettings

_NEVER: Final = float("-inf")


class Pressure:
    """Goes by what the database says now and then, and by what was accepted here since.

    `runnable` says how many jobs may be run now; it may raise StoreError. `clock` is monotonic.
    """

    def __init__(self, runnable: Callable[[], Awaitable[int]], clock: Callable[[], float]) -> None:
        self._runnable = runnable
        self._clock = clock
        self._known = 0
        self._since = 0
        self._asked = _NEVER
        self.high = False

    def accepted(self, jobs: int) -> None:
        """So many jobs came to the others."""
        self._since += jobs

    async def answers(self) -> bool:
        """Whether the database does."""
        try:
            self._known = await self._runnable()
        except StoreError:
            return False
        self._since = 0
        self._asked = self._clock()
        return True

    async def look(self, settings: IntakeSettings) -> None:
        """Decides anew; asks the database when the last answer is old.

        Raises:
            StoreError: it doesn't answer. What was decided last stands.
        """
        now = self._clock()
        if now - self._asked >= settings.check:
            self._asked = now
            self._known = await self._runnable()
            self._since = 0
        jobs = self._known + self._since
        if jobs > settings.high_water:
            self.high = True
        elif jobs < settings.high_water * settings.low_water:
            self.high = False
