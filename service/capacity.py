"""How many calls are under way at endpoints that declare how many they bear, and who waits for a place there.

Counts of this process alone, on one event loop. No clock and no I/O; which endpoint a call tries, and for how
long it waits, is decided in service/attempts.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from service.domain.catalog import Catalog, Endpoint
from service.domain.ports import Telemetry

BACKGROUND_SHARE: Final = 0.8
"""Of an endpoint's places, what background calls may take together when nothing else is said."""

_ROUNDING: Final = 1e-9


def most_background(limit: int, share: float) -> int:
    """Of `limit` places those that background calls may take together: at least one."""
    # 100 x 0.29 is a little less than 29 in floats.
    return max(1, int(limit * share + _ROUNDING))


@dataclass(frozen=True, slots=True)
class Slot:
    """One place at an endpoint, held by one call: give it back once, by `Capacity.leave`."""

    endpoint_id: str
    background: bool


class Capacity:
    """The places at endpoints. One per process; not for several threads.

    Only endpoints with a `concurrency` may be asked about. Places are handed on in the order in which calls came,
    background calls that have their share passed over. `share` is what they may take, above 0 and at most 1.
    """

    def __init__(self, telemetry: Telemetry, share: Callable[[], float] = lambda: BACKGROUND_SHARE) -> None:
        self._telemetry = telemetry
        self._share = share
        self._declared: Mapping[str, int] | None = None
        self._rooms: dict[str, _Room] = {}

    def declare(self, catalog: Catalog) -> None:
        """From now on the numbers of `catalog` count, for calls that began with another one as well.

        More places go to those who wait. Where there are fewer, calls under way go on, and nobody enters until
        enough of them have ended. Endpoints without a number any more let everybody in.
        """
        endpoints = (endpoint for model in catalog.models.values() for endpoint in model.endpoints)
        self._declared = {e.id: e.concurrency for e in endpoints if e.concurrency is not None}
        for room in self._rooms.values():
            room.limit = self._declared.get(room.endpoint_id)
        self.reconsider()
        self._rooms = {endpoint_id: room for endpoint_id, room in self._rooms.items() if room.calls}

    def reconsider(self) -> None:
        """Gives places to those who wait and may have one by now, in their order. For after `share` has grown."""
        for room in self._rooms.values():
            self._admit(room)

    def enter(self, endpoint: Endpoint, *, background: bool = False) -> Slot | None:
        """A place at `endpoint` at once, or None when it is full."""
        room = self._room(endpoint)
        return self._take(room, background=background) if self._fits(room, background=background) else None

    def leave(self, slot: Slot) -> None:
        """Gives a place back, to the first who waits for it if somebody does."""
        room = self._rooms[slot.endpoint_id]
        room.calls -= 1
        if slot.background:
            room.background -= 1
        self._admit(room)
        self._telemetry.endpoint_in_flight(room.endpoint_id, room.calls)

    async def wait(
        self, endpoints: Sequence[Endpoint], seconds: float, *, background: bool = False
    ) -> Slot | None:
        """The first place that becomes free at one of `endpoints`; None when there was none for `seconds`.

        Cancelled, it leaves the queue, and a place that was just given to it goes to the next.
        """
        for endpoint in endpoints:
            slot = self.enter(endpoint, background=background)
            if slot is not None:
                return slot
        if seconds <= 0:
            return None
        waiter = _Waiter(asyncio.get_running_loop().create_future(), background)
        rooms = [self._room(endpoint) for endpoint in endpoints]
        for room in rooms:
            room.waiting[waiter] = None
        try:
            await asyncio.wait((waiter.given,), timeout=seconds)
        except BaseException:
            if waiter.given.done():
                self.leave(waiter.given.result())
            raise
        finally:
            for room in rooms:
                room.waiting.pop(waiter, None)
        return waiter.given.result() if waiter.given.done() else None

    def busy(self, endpoint: Endpoint, *, background: bool = False) -> str | None:
        """What stands in the way of one more call to `endpoint` now, None when nothing does."""
        room = self._room(endpoint)
        if room.limit is None or self._fits(room, background=background):
            return None
        if room.calls >= room.limit:
            return f"busy: {room.calls} of {room.limit} calls under way"
        share = most_background(room.limit, self._share())
        return f"busy: {room.background} of {share} background calls under way"

    def _room(self, endpoint: Endpoint) -> _Room:
        room = self._rooms.get(endpoint.id)
        if room is None:
            declared = self._declared
            # A call may hold a row of an older catalogue: the one in force counts, as soon as one was told.
            limit = endpoint.concurrency if declared is None else declared.get(endpoint.id)
            room = self._rooms[endpoint.id] = _Room(endpoint.id, limit)
        return room

    def _fits(self, room: _Room, *, background: bool) -> bool:
        if room.limit is None:
            return True
        if room.calls >= room.limit:
            return False
        return not background or room.background < most_background(room.limit, self._share())

    def _take(self, room: _Room, *, background: bool) -> Slot:
        room.calls += 1
        if background:
            room.background += 1
        self._telemetry.endpoint_in_flight(room.endpoint_id, room.calls)
        return Slot(room.endpoint_id, background)

    def _admit(self, room: _Room) -> None:
        """Hands free places on. Whenever this is done nobody who fits waits, so nobody who comes overtakes."""
        while room.waiting and self._fits(room, background=False):
            waiter = next((w for w in room.waiting if self._may_have(w, room)), None)
            if waiter is None:
                return
            del room.waiting[waiter]
            waiter.given.set_result(self._take(room, background=waiter.background))

    def _may_have(self, waiter: _Waiter, room: _Room) -> bool:
        # One that another endpoint gave a place to is here until it has its turn.
        return not waiter.given.done() and self._fits(room, background=waiter.background)


@dataclass(slots=True, eq=False)
class _Waiter:
    """A call in the queues of one or several endpoints: the first that has a place gives it."""

    given: asyncio.Future[Slot]
    background: bool


@dataclass(slots=True)
class _Room:
    """One endpoint. `limit` None: no longer declared. `background` are those of `calls`."""

    endpoint_id: str
    limit: int | None
    calls: int = 0
    background: int = 0
    waiting: dict[_Waiter, None] = field(default_factory=dict)
