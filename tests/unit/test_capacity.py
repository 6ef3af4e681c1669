"""Places at endpoints: who gets one, who waits, what is left of those who go away."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from service.capacity import Capacity, Slot, most_background
from service.domain.catalog import Endpoint
from tests.support.catalogs import catalog, endpoint, model
from tests.support.upstreams import RecordingTelemetry


def bears(calls: int | None, slug: str = "a") -> Endpoint:
    return replace(endpoint(slug), concurrency=calls)


class World:
    """Places at endpoints, and calls that wait for them as tasks."""

    def __init__(self, share: float = 0.8) -> None:
        self.telemetry = RecordingTelemetry()
        self.share = share
        self.capacity = Capacity(self.telemetry, lambda: self.share)
        self.served: list[str] = []

    def fill(self, row: Endpoint, *, background: bool = False) -> list[Slot]:
        """Takes places until there is none."""
        taken = []
        while (slot := self.capacity.enter(row, background=background)) is not None:
            taken.append(slot)
        return taken

    async def line_up(
        self, name: str, *rows: Endpoint, background: bool = False, seconds: float = 5.0
    ) -> asyncio.Task[Slot | None]:
        """A call that waits; `served` gets its name when it has its place."""

        async def waits() -> Slot | None:
            slot = await self.capacity.wait(rows, seconds, background=background)
            if slot is not None:
                self.served.append(name)
            return slot

        task = asyncio.create_task(waits())
        await turns()
        return task


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def got(task: asyncio.Task[Slot | None]) -> Slot:
    slot = task.result()
    assert slot is not None
    return slot


def test_an_endpoint_takes_as_many_calls_as_it_declares() -> None:
    w, row = World(), bears(2)
    first, _ = w.fill(row)
    assert w.capacity.busy(row) == "busy: 2 of 2 calls under way"
    w.capacity.leave(first)
    assert w.capacity.busy(row) is None
    assert w.capacity.enter(row) is not None
    assert w.telemetry.in_flight == {row.id: 2}


def test_endpoints_are_counted_each_for_itself() -> None:
    w = World()
    w.fill(bears(1, "a"))
    assert w.capacity.enter(bears(1, "b")) is not None


@pytest.mark.parametrize(
    ("limit", "share", "most"),
    [(5, 0.8, 4), (1, 0.8, 1), (2, 0.8, 1), (10, 0.8, 8), (3, 0.01, 1), (7, 1.0, 7), (100, 0.29, 29)],
)
def test_background_calls_have_their_share_and_at_least_one_place(limit: int, share: float, most: int) -> None:
    w, row = World(share), bears(limit)
    assert most_background(limit, share) == most
    assert len(w.fill(row, background=True)) == most
    assert len(w.fill(row)) == limit - most


def test_what_stands_in_the_way_of_background_calls_alone_is_said() -> None:
    w, row = World(), bears(5)
    w.fill(row, background=True)
    assert w.capacity.busy(row, background=True) == "busy: 4 of 4 background calls under way"
    assert w.capacity.busy(row) is None
    w.fill(row)
    assert w.capacity.busy(row, background=True) == "busy: 5 of 5 calls under way"


async def test_who_came_first_is_served_first_and_nobody_overtakes() -> None:
    w, row = World(), bears(1)
    (held,) = w.fill(row)
    tasks = [await w.line_up(name, row) for name in ("first", "second", "third")]
    w.capacity.leave(held)
    # The place is the first one's already, before it had a turn to notice.
    assert w.capacity.enter(row) is None
    await turns()
    assert w.served == ["first"]
    for task in tasks[:2]:
        w.capacity.leave(got(task))
        await turns()
    assert w.served == ["first", "second", "third"]


async def test_a_background_call_that_may_not_is_passed_over_in_the_line_and_keeps_its_turn() -> None:
    w, row = World(0.5), bears(2)
    (job,) = w.fill(row, background=True)
    (person,) = w.fill(row)
    late_job = await w.line_up("job", row, background=True)
    late_person = await w.line_up("person", row)
    w.capacity.leave(person)
    await turns()
    assert (w.served, late_job.done()) == (["person"], False)
    w.capacity.leave(job)
    await turns()
    assert w.served == ["person", "job"]
    assert late_person.done()
    assert w.capacity.busy(row) == "busy: 2 of 2 calls under way"


async def test_waiting_ends_after_its_time_without_a_place() -> None:
    w, row = World(), bears(1)
    (held,) = w.fill(row)
    task = await w.line_up("late", row, seconds=0.01)
    assert await task is None
    w.capacity.leave(held)
    assert w.capacity.enter(row) is not None


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_without_time_to_wait_only_a_free_place_counts(seconds: float) -> None:
    w, row = World(), bears(1)
    held = await w.capacity.wait([row], seconds)
    assert held is not None
    assert await w.capacity.wait([row], seconds) is None
    w.capacity.leave(held)


async def test_one_that_leaves_the_line_gives_its_turn_on() -> None:
    w, row = World(), bears(1)
    (held,) = w.fill(row)
    first = await w.line_up("first", row)
    second = await w.line_up("second", row)
    first.cancel()
    await turns()
    w.capacity.leave(held)
    await turns()
    assert w.served == ["second"]
    assert second.done()


async def test_one_that_is_cancelled_in_the_moment_of_its_turn_gives_the_place_on() -> None:
    w, row = World(), bears(1)
    (held,) = w.fill(row)
    first = await w.line_up("first", row)
    second = await w.line_up("second", row)
    w.capacity.leave(held)  # the place is the first one's now
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await turns()
    assert w.served == ["second"]
    w.capacity.leave(got(second))
    assert w.telemetry.in_flight == {row.id: 0}


async def test_a_call_that_waits_at_several_takes_the_first_free_place_and_no_second() -> None:
    w, a, b = World(), bears(1, "a"), bears(1, "b")
    (at_a,), (at_b,) = w.fill(a), w.fill(b)
    either = await w.line_up("either", a, b)
    only_a = await w.line_up("only a", a)
    w.capacity.leave(at_b)
    w.capacity.leave(at_a)  # before "either" had a turn to leave this line
    await turns()
    assert w.served == ["either", "only a"]
    assert (got(either).endpoint_id, got(only_a).endpoint_id) == (b.id, a.id)


async def test_a_place_that_is_free_by_now_is_taken_without_waiting_in_the_plans_order() -> None:
    w, a, b = World(), bears(1, "a"), bears(1, "b")
    w.fill(a)
    slot = await w.capacity.wait([a, b], 5.0)
    assert slot == Slot(b.id, background=False)


async def test_more_places_by_another_catalogue_go_to_those_who_wait() -> None:
    w, row = World(), bears(1)
    w.capacity.declare(catalog(model("vendor/model", row)))
    w.fill(row)
    for name in ("first", "second", "third"):
        await w.line_up(name, row)
    w.capacity.declare(catalog(model("vendor/model", bears(3))))
    await turns()
    assert w.served == ["first", "second"]
    # A call that began with the old catalogue is measured by the new number as well.
    assert w.capacity.busy(row) == "busy: 3 of 3 calls under way"


async def test_fewer_places_end_no_call_and_let_nobody_in_until_enough_have_ended() -> None:
    w, row = World(), bears(3)
    slots = w.fill(row)
    w.capacity.declare(catalog(model("vendor/model", bears(1))))
    await w.line_up("late", row)
    for slot in slots[:2]:
        w.capacity.leave(slot)
        await turns()
        assert not w.served
    w.capacity.leave(slots[2])
    await turns()
    assert w.served == ["late"]


async def test_an_endpoint_that_no_longer_declares_a_number_lets_everybody_in() -> None:
    w, row = World(), bears(1)
    (held,) = w.fill(row)
    await w.line_up("waits", row)
    w.capacity.declare(catalog(model("vendor/model", bears(None))))
    await turns()
    assert w.served == ["waits"]
    assert w.capacity.enter(row) is not None
    assert w.capacity.busy(row) is None
    w.capacity.leave(held)
    assert w.telemetry.in_flight == {row.id: 2}


async def test_a_background_share_is_of_the_number_that_counts_now() -> None:
    w, row = World(0.5), bears(2)
    assert len(w.fill(row, background=True)) == 1
    w.capacity.declare(catalog(model("vendor/model", bears(8))))
    assert len(w.fill(row, background=True)) == 3


async def test_a_larger_share_goes_to_those_who_wait_in_their_order_and_to_no_newcomer() -> None:
    w, row = World(0.2), bears(5)
    w.fill(row, background=True)
    for name in ("first", "second", "third"):
        await w.line_up(name, row, background=True)
    w.share = 0.6
    w.capacity.reconsider()
    assert w.capacity.enter(row, background=True) is None
    await turns()
    assert w.served == ["first", "second"]
    assert w.capacity.busy(row, background=True) == "busy: 3 of 3 background calls under way"


async def test_a_smaller_share_ends_no_call_and_lets_nobody_in_until_enough_have_ended() -> None:
    w, row = World(0.6), bears(5)
    slots = w.fill(row, background=True)
    w.share = 0.2
    w.capacity.reconsider()
    await w.line_up("late", row, background=True)
    for slot in slots[:2]:
        w.capacity.leave(slot)
        await turns()
        assert not w.served
    w.capacity.leave(slots[2])
    await turns()
    assert w.served == ["late"]
