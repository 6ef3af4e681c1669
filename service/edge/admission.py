"""Which calls are under way, and whether more are taken: shared by both doors, asked by the drain.

Probes and gRPC's health don't come here: they are answered however much there is to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from service.domain.errors import Reason, ServiceError
from service.domain.ports import RequestTelemetry

_MIB: Final = 1024 * 1024
# Bytes: a few large requests that come in slowly must not shut the door on all others, which max_calls bounds.
_SMALL: Final = 16 * 1024
# Seconds: long enough that a client asks another replica first, short enough that it comes again to this one.
_COME_AGAIN: Final = 1.0


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """What one process takes at a time: calls, and bytes of all their requests together."""

    calls: int = 3000
    request_bytes: int = 96 * _MIB


class Admission:
    """Counts calls; refuses what is beyond `limits`, and all once `close` was called. Used from one event loop."""

    def __init__(
        self,
        telemetry: RequestTelemetry,
        clock: Callable[[], float],
        limits: Callable[[], AdmissionLimits] = AdmissionLimits,
    ) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._limits = limits
        self._open = True
        self._idle = asyncio.Event()
        self._idle.set()
        self._sizes: dict[asyncio.Task[object], int] = {}
        self._ended: set[asyncio.Task[object]] = set()
        self.in_flight = 0
        self.request_bytes = 0

    def offer(self, door: str, method: str, *, asks: bool) -> None:
        """Calls of this method may come; `asks`: they are passed on to providers."""
        self._telemetry.request_offered(door, method, asks=asks)

    def enter(self, size: int = 0) -> float:
        """Admits the call that the current task runs, and gives the time at which it began.

        `size` are the bytes of its request, as far as they are known.

        Raises:
            ServiceError: SHUTTING_DOWN, OVERLOADED.
        """
        if not self._open:
            raise ServiceError(Reason.SHUTTING_DOWN, "this process is shutting down: send the call again")
        limits = self._limits()
        if self.in_flight >= limits.calls:
            raise _overloaded(f"this process has {self.in_flight} calls under way, and takes no more (max_calls)")
        self._check_room(self.request_bytes, size, limits)
        self.in_flight += 1
        self._idle.clear()
        task = asyncio.current_task()
        if task is not None:
            self._sizes[task] = size
            self.request_bytes += size
        self._telemetry.request_started()
        return self._clock()

    def weigh(self, size: int) -> None:
        """The request of the call that the current task runs has so many bytes; what was said before may be less.

        Raises:
            ServiceError: OVERLOADED.
        """
        task = asyncio.current_task()
        before = size if task is None else self._sizes.get(task, size)
        if task is None or size <= before:
            return
        others = self.request_bytes - before
        self._check_room(others, size, self._limits())
        self._sizes[task] = size
        self.request_bytes = others + size

    def _check_room(self, others: int, size: int, limits: AdmissionLimits) -> None:
        # One alone is always taken: how large it may be is said for each door.
        if size > _SMALL and others and others + size > limits.request_bytes:
            text = f"the requests under way in this process leave no room for {size} bytes (max_request_bytes)"
            raise _overloaded(text)

    def leave(self, door: str, method: str, outcome: str, started: float | None) -> float:
        """Ends a call that was admitted, or that was not (`started` None); gives its duration in seconds."""
        if started is None:
            self._telemetry.request_refused(door, method, outcome)
            return 0.0
        self.in_flight -= 1
        task = asyncio.current_task()
        if task is not None:
            self.request_bytes -= self._sizes.pop(task, 0)
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
        self._ended |= self._sizes.keys()
        for task in self._sizes:
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


def _overloaded(why: str) -> ServiceError:
    return ServiceError(Reason.OVERLOADED, f"{why}: send the call again", retry_after=_COME_AGAIN)
