"""Places at endpoints under random calls: nothing leaks, nobody is forgotten, nobody overtakes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.capacity import Capacity, Slot, most_background
from service.domain.catalog import Endpoint
from tests.support.catalogs import catalog, endpoint, model
from tests.support.upstreams import RecordingTelemetry

SHARES = (0.1, 0.6, 1.0)
NAMES = ("a", "b")
NUMBERS = st.none() | st.integers(1, 5)
SOME = st.sets(st.sampled_from(NAMES), min_size=1).map(sorted)


@dataclass(eq=False)
class Waiting:
    """A call in line."""

    task: asyncio.Task[Slot | None]
    names: list[str]
    background: bool
    came: int


class Places(RuleBasedStateMachine):
    """Calls come, wait, give up and end; catalogues change the numbers, settings the background's share.

    After each step the event loop runs until nothing moves. The model knows who holds what by what callers were
    told alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.telemetry = RecordingTelemetry()
        self.share = 0.3
        self.capacity = Capacity(self.telemetry, lambda: self.share)
        self.limits: dict[str, int | None] = {}
        self.held: list[Slot] = []
        self.line: list[Waiting] = []
        self.before: list[Waiting] = []
        self.count = 0

    @initialize(numbers=st.tuples(st.integers(1, 5), st.integers(1, 5)))
    def begin(self, numbers: tuple[int, int]) -> None:
        self.change(numbers)

    @rule(numbers=st.tuples(NUMBERS, NUMBERS))
    def change(self, numbers: tuple[int | None, int | None]) -> None:
        self.limits = dict(zip(NAMES, numbers, strict=True))
        rows = [replace(endpoint(name), concurrency=number) for name, number in self.limits.items()]
        self.do(lambda: self.capacity.declare(catalog(model("vendor/model", *rows))))

    @rule(share=st.sampled_from(SHARES), jobs=st.lists(SOME, min_size=2, max_size=5))
    def change_share(self, share: float, jobs: list[list[str]]) -> None:
        """Another share, after background calls came: without them it would seldom concern anybody."""
        for names in jobs:
            self.wait(names, background=True)
        self.share = share
        self.do(self.capacity.reconsider)

    @rule(name=st.sampled_from(NAMES), background=st.booleans())
    def come(self, name: str, background: bool) -> None:
        free = self.fits(name, background)
        slot = self.capacity.enter(self.row(name), background=background)
        assert (slot is not None) == free
        if slot is not None:
            self.held.append(slot)

    @rule(names=SOME, background=st.booleans())
    def wait(self, names: list[str], background: bool) -> None:
        rows = [self.row(name) for name in names]
        self.count += 1

        async def begin() -> asyncio.Task[Slot | None]:
            return asyncio.create_task(self.capacity.wait(rows, 1000.0, background=background))

        self.line.append(Waiting(self.runner.run(begin()), names, background, self.count))
        self.do(lambda: None)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), then_cancel=st.booleans())
    def end(self, data: Any, then_cancel: bool) -> None:
        """A call ends; perhaps the one that gets its place is cancelled before it can notice."""
        slot = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        who = data.draw(st.sampled_from(self.line)) if then_cancel and self.line else None

        def ends() -> None:
            self.capacity.leave(slot)
            if who is not None:
                who.task.cancel()

        self.do(ends)

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def give_up(self, data: Any) -> None:
        who = data.draw(st.sampled_from(self.line))
        self.do(lambda: who.task.cancel())

    @invariant()
    def counts_are_those_of_the_calls(self) -> None:
        for name in NAMES:
            row = self.row(name)
            assert self.telemetry.in_flight.get(row.id, 0) == len(self.at(name))

    @invariant()
    def nobody_waits_for_what_is_free(self) -> None:
        for each in self.line:
            assert not any(self.fits(name, each.background) for name in each.names)

    def teardown(self) -> None:
        while self.held:
            self.do(lambda: self.capacity.leave(self.held.pop()))
        assert not self.line
        assert not any(self.telemetry.in_flight.values())
        for room in self.capacity._rooms.values():
            assert (room.calls, room.background, len(room.waiting)) == (0, 0, 0)
        self.runner.close()

    # --- the model ---

    def row(self, name: str) -> Endpoint:
        # Calls come with rows of older catalogues too: only the declared number counts.
        return replace(endpoint(name), concurrency=1)

    def at(self, name: str, *, background: bool | None = None) -> list[Slot]:
        row = self.row(name)
        mine = [slot for slot in self.held if slot.endpoint_id == row.id]
        return [slot for slot in mine if background is None or slot.background == background]

    def fits(self, name: str, background: bool) -> bool:
        limit = self.limits[name]
        if limit is None:
            return True
        if len(self.at(name)) >= limit:
            return False
        return not background or len(self.at(name, background=True)) < most_background(limit, self.share)

    def do(self, step: Any) -> None:
        """Takes a step, lets everything settle, and sees who was served."""

        async def settled() -> None:
            step()
            for _ in range(10):
                await asyncio.sleep(0)

        self.runner.run(settled())
        over = [each for each in self.line if each.task.done()]
        self.line = [each for each in self.line if not each.task.done()]
        for each in over:
            if each.task.cancelled():
                continue
            slot = each.task.result()
            assert slot is not None
            self.held.append(slot)
            self.nobody_was_overtaken(each, slot)

    def nobody_was_overtaken(self, served: Waiting, slot: Slot) -> None:
        name = next(name for name in NAMES if self.row(name).id == slot.endpoint_id)
        for other in self.line:
            alike = other.background == served.background or served.background
            assert not (alike and name in other.names and other.came < served.came)


TestPlaces = Places.TestCase
TestPlaces.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
