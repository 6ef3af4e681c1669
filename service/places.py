"""One call's place at an endpoint that declares how many calls it bears, and the attempts that found none.

Which endpoint is tried next, and for how long a call waits, is decided in service/attempts.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.attempt_errors import Busy
from service.capacity import Capacity, Slot
from service.domain.ports import Telemetry
from service.domain.routing import Attempt


class Places:
    """Holds one place at most. `busy` are the attempts that were passed over and not made since."""

    __slots__ = ("_background", "_capacity", "_slot", "_telemetry", "busy")

    def __init__(self, capacity: Capacity, telemetry: Telemetry, *, background: bool) -> None:
        self._capacity = capacity
        self._telemetry = telemetry
        self._background = background
        self._slot: Slot | None = None
        self.busy: tuple[Busy, ...] = ()

    def lacks(self, attempt: Attempt) -> bool:
        """Whether the attempt needs a place that is not held."""
        return self._slot is None and attempt.endpoint.concurrency is not None

    def free(self, attempt: Attempt) -> bool:
        """Whether there is a place for it now; if not, it is passed over."""
        if attempt.endpoint.concurrency is None:
            return True
        note = self._capacity.busy(attempt.endpoint, background=self._background)
        if note is not None:
            self.pass_over(attempt, note)
        return note is None

    def enter(self, attempt: Attempt) -> bool:
        """Takes a place for it, where one is needed; if there is none, it is passed over."""
        if attempt.endpoint.concurrency is None:
            return True
        self._slot = self._capacity.enter(attempt.endpoint, background=self._background)
        if self._slot is None:
            self.pass_over(attempt)
        return self._slot is not None

    def pass_over(self, attempt: Attempt, note: str | None = None) -> None:
        """Notes that the attempt was not made, as its endpoint was full."""
        note = note or self._capacity.busy(attempt.endpoint, background=self._background) or "busy"
        self.busy += (Busy(attempt, note),)
        self._telemetry.passed_over(attempt.endpoint)

    def drop(self, attempt: Attempt) -> None:
        """The attempt is one that was passed over no longer."""
        self.busy = tuple(each for each in self.busy if each.attempt is not attempt)

    async def wait(self, attempts: Sequence[Attempt], seconds: float) -> Attempt | None:
        """Of `attempts`, the first whose endpoint has a place free, which is then held; None: not in time."""
        endpoints = [attempt.endpoint for attempt in attempts]
        self._slot = slot = await self._capacity.wait(endpoints, seconds, background=self._background)
        if slot is None:
            return None
        taken = next(attempt for attempt in attempts if attempt.endpoint.id == slot.endpoint_id)
        self.drop(taken)
        return taken

    def leave(self) -> None:
        """Gives back the place that is held. Idempotent; there may be none."""
        slot = self._slot
        if slot is not None:
            self._slot = None
            self._capacity.leave(slot)
