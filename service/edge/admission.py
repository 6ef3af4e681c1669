"""Which calls are under way, and whether new ones are taken: shared by both doors, asked by the drain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from service.domain.errors import Reason, ServiceError
from service.domain.ports import RequestTelemetry


class Admission:
    """Counts calls and refuses new ones once `close` was called. Used from one event loop."""

    def __init__(self, telemetry: RequestTelemetry, clock: Callable[[], float]) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._open = True
        self._idle = asyncio.Event()
        self._idle.set()
        self.in_flight = 0

    @property
    def is_open(self) -> bool:
        """Whether new calls are taken."""
        return self._open

    def enter(self) -> float:
        """Admits a call and gives the time at which it began.

        Raises:
            ServiceError: SHUTTING_DOWN.
        """
        if not self._open:
            raise ServiceError(Reason.SHUTTING_DOWN, "this process is shutting down: send the call again")
        self.in_flight += 1
        self._idle.clear()
        self._telemetry.request_started()
        return self._clock()

    def leave(self, door: str, method: str, outcome: str, started: float) -> float:
        """Ends an admitted call; gives its duration in seconds."""
        self.in_flight -= 1
        if self.in_flight == 0:
            self._idle.set()
        seconds = self._clock() - started
        self._telemetry.request_finished(door, method, outcome, seconds)
        return seconds

    def close(self) -> None:
        """Refuses new calls from now on."""
        self._open = False

    async def drained(self, seconds: float) -> bool:
        """Waits until no call is under way, at most `seconds`; tells whether that came about."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
