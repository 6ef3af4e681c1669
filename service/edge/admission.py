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
        self._tasks: set[asyncio.Task[object]] = set()
        self._ended: set[asyncio.Task[object]] = set()
        self.in_flight = 0

    def enter(self) -> float:
        """Admits the call that the current task runs, and gives the time at which it began.

        Raises:
            ServiceError: SHUTTING_DOWN.
        """
        if not self._open:
            raise ServiceError(Reason.SHUTTING_DOWN, "this process is shutting down: send the call again")
        self.in_flight += 1
        self._idle.clear()
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        self._telemetry.request_started()
        return self._clock()

    def leave(self, door: str, method: str, outcome: str, started: float | None) -> float:
        """Ends a call that was admitted, or that was not (`started` None); gives its duration in seconds."""
        if started is None:
            self._telemetry.request_refused(door, method, outcome)
            return 0.0
        self.in_flight -= 1
        task = asyncio.current_task()
        if task is not None:
            self._tasks.discard(task)
            self._ended.discard(task)
        if self.in_flight == 0:
            self._idle.set()
        seconds = self._clock() - started
        self._telemetry.request_finished(door, method, outcome, seconds)
        return seconds

    def close(self) -> None:
        """Refuses new calls from now on."""
        self._open = False

    def end_rest(self) -> None:
        """Cancels the calls that are still under way; `interruption` tells them why."""
        self._ended |= self._tasks
        for task in self._tasks:
            task.cancel()

    def interruption(self) -> ServiceError | None:
        """For a call that was cancelled: what to tell its client when `end_rest` did it.

        The task may go on then, to say so; None when the cancellation came from elsewhere.
        """
        task = asyncio.current_task()
        if task is None or task not in self._ended:
            return None
        self._ended.discard(task)
        task.uncancel()
        return ServiceError(Reason.SHUTTING_DOWN, "this process had to stop before the answer was complete")

    async def drained(self, seconds: float) -> bool:
        """Waits until no call is under way, at most `seconds`; tells whether that came about."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
