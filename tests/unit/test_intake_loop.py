"""The intake loop: batches, failures of the database and of the broker, pauses, hangs, and how it leaves."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from service.domain.consuming import Record
from service.domain.intake import BatchOutcome
from service.domain.stored import StoreError
from tests.support.fake_consumer import (
    FakeAcceptance,
    FakeConsumer,
    FakeGroup,
    RecordingConsumingTelemetry,
    records,
)
from tests.support.virtual_time import run
from workers.intake import IntakeLoop
from workers.intake_ports import IntakeTelemetry
from workers.intake_settings import IntakeSettings

P0, P1 = ("submit", 0), ("submit", 1)


class Bench:
    """A loop with everything around it. Use it within `run`."""

    def __init__(self, counts: Iterable[int] = (10, 10), **changed: Any) -> None:
        self.group = FakeGroup({("submit", n): records(("submit", n), count) for n, count in enumerate(counts)})
        self.acceptance = FakeAcceptance(self.group)
        self.telemetry = RecordingConsumingTelemetry()
        self.settings = replace(IntakeSettings(), **changed)
        self.waiting: int | None = 0
        self.asked: list[float] = []
        self.time = asyncio.get_running_loop().time
        telemetry: IntakeTelemetry = self.telemetry
        self.loop = IntakeLoop(
            self.group.make,
            self.acceptance,
            self.runnable,
            telemetry,
            settings=lambda: self.settings,
            clock=self.time,
        )
        self.running = asyncio.create_task(self.loop.run())

    async def runnable(self) -> int:
        self.asked.append(self.time())
        if self.waiting is None:
            raise StoreError("database away")
        return self.waiting

    def add(self, count: int, place: tuple[str, int] = P0) -> None:
        log = self.group.logs[place]
        log += records(place, count, first=len(log))

    async def until(self, condition: Callable[[], bool], seconds: float = 1000.0) -> None:
        """Until something is so; a failure says what was told."""
        end = self.time() + seconds
        while not condition():
            assert not self.running.done() or self.running.exception() is None
            assert self.time() < end, self.telemetry.told
            await asyncio.sleep(0.01)

    async def end(self) -> None:
        """All is dealt with, and it leaves."""
        await self.until(lambda: self.group.done)
        await self.loop.leave()
        await self.running
        self.check()

    def check(self) -> None:
        assert not self.group.violations
        assert all(consumer.closed for consumer in self.group.consumers)


def bench_test(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """A test in virtual time."""

    async def main() -> None:
        await test()

    def tested() -> None:
        run(main())

    tested.__name__, tested.__doc__ = test.__name__, test.__doc__
    return tested


@bench_test
async def test_records_are_accepted_in_batches_and_then_their_offsets_are_committed() -> None:
    bench = Bench(counts=(700, 30), batch=500)
    await bench.end()
    assert [len(batch) for batch in bench.acceptance.batches] == [500, 230]
    assert bench.group.commit_calls == 2
    assert bench.telemetry.of("read") == [(500,), (230,)]
    assert bench.telemetry.of("stored") == [(500, 0), (230, 0)]
    assert len(bench.telemetry.of("batch")) == 2
    assert not bench.telemetry.of("gave_up")


@bench_test
async def test_a_trickle_is_gathered_and_a_backlog_is_not_kept_waiting() -> None:
    bench = Bench(counts=(0,), gather=0.1)
    await bench.until(lambda: bench.loop.problem() is None)
    began = bench.time()
    for _ in range(50):
        bench.add(1)
        await asyncio.sleep(0.02)
    await bench.until(lambda: bench.group.done)
    assert len(bench.acceptance.batches) <= (bench.time() - began) / 0.1 + 2
    bench.add(5000)
    began = bench.time()
    await bench.until(lambda: bench.group.done)
    assert bench.time() - began < 0.7
    await bench.end()


@pytest.mark.parametrize("fate", ["later", "store", "half", "all"])
def test_what_could_not_be_stored_is_handed_in_again_after_a_growing_wait(fate: str) -> None:
    async def main() -> None:
        bench = Bench()
        bench.waiting = None
        bench.acceptance.fates.extend([fate] * 9)
        handed: list[float] = []
        bench.acceptance.at_each = lambda: handed.append(bench.time())
        await bench.until(lambda: len(handed) == 5)
        assert not bench.group.committed
        assert bench.loop.problem() == "the database was not reached, or is away: records wait in the broker"
        await bench.until(lambda: bench.group.done)
        waits = [after - before for before, after in pairwise(handed)]
        assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5], abs=0.05)
        assert len({tuple(batch) for batch in bench.acceptance.batches}) == 1
        assert (
            bench.telemetry.of("store_failed").count(
                ("accept", "StoreError" if fate == "store" else "TryLaterError")
            )
            == 9
        )
        assert bench.loop.problem() is None
        # It was heard of all the time, and read nothing.
        (consumer,) = bench.group.consumers
        polls = consumer.polled_at
        assert max(after - before for before, after in pairwise(polls)) < 0.7
        assert bench.telemetry.of("paused") == [(True,), (False,)]
        await bench.end()

    run(main())


@bench_test
async def test_records_that_come_out_of_a_paused_consumer_are_not_lost() -> None:
    bench = Bench(counts=(20, 20), batch=5)
    bench.acceptance.fates.extend(["later"] * 3)
    bench.group.polls.extend(["ok", "leak", "leak", "leak", "leak"])
    await bench.end()
    assert len(bench.group.accepted) == 40


@bench_test
async def test_intake_pauses_above_the_high_water_mark_and_reads_on_well_below_it() -> None:
    bench = Bench(counts=(0,), high_water=1000)
    bench.waiting = 1001
    await bench.until(lambda: bench.telemetry.of("paused") == [(True,)])
    bench.add(10)
    for still in (1001, 999, 800):
        bench.waiting = still
        await asyncio.sleep(5)
        assert not bench.acceptance.batches
        assert bench.loop.problem() is None
    bench.waiting = 799
    await bench.until(lambda: bench.group.done, seconds=1.1)
    bench.waiting = 1000
    bench.add(10)
    await bench.until(lambda: bench.group.done, seconds=1.1)
    assert bench.telemetry.of("paused") == [(True,), (False,)]
    # In the group all the time.
    polls = bench.group.consumers[0].polled_at
    assert max(after - before for before, after in pairwise(polls)) < 0.7
    await bench.end()


@bench_test
async def test_what_was_accepted_counts_until_the_database_is_asked_again() -> None:
    bench = Bench(counts=(20_000,), high_water=2000, check=3600.0)
    await bench.until(lambda: ("paused", True) in bench.telemetry.told)
    assert len(bench.group.accepted) == 2500
    assert len(bench.asked) == 1
    bench.loop.stop()
    await bench.running
    bench.check()


@bench_test
async def test_the_database_is_asked_only_now_and_then_and_not_at_all_when_nothing_comes() -> None:
    bench = Bench(counts=(0,))
    await asyncio.sleep(60)
    assert len(bench.asked) == 1
    bench.add(20_000)
    await bench.until(lambda: bench.group.done)
    for _ in range(100):
        bench.add(1)
        await asyncio.sleep(0.1)
    asked = bench.asked[1:]
    assert 10 <= len(asked) <= 22
    assert min(after - before for before, after in pairwise(asked)) >= 0.5
    await bench.end()


@bench_test
async def test_a_pause_stands_while_the_database_is_away_and_when_the_consumer_is_another() -> None:
    bench = Bench(counts=(10,), high_water=5)
    bench.waiting = 6
    await bench.until(lambda: bool(bench.group.consumers) and bench.group.consumers[0].paused)
    bench.waiting = None
    bench.group.polls.append("error")
    await bench.until(lambda: len(bench.group.consumers) == 2 and bench.group.consumers[1].started)
    await asyncio.sleep(30)
    assert bench.group.consumers[1].paused
    assert not bench.acceptance.batches
    assert ("store_failed", "runnable", "StoreError") in bench.telemetry.told
    bench.waiting = 0
    await bench.end()


@bench_test
async def test_a_record_that_crashes_acceptance_stops_neither_its_neighbours_nor_is_it_skipped() -> None:
    bench = Bench(counts=(100, 100))
    poison = bench.group.logs[P0][37]
    bench.acceptance.poison = {poison: 1e9}
    await bench.until(lambda: len(bench.group.accepted) == 199)
    await asyncio.sleep(1)
    assert bench.group.committed == {P0: 37, P1: 100}
    assert bench.telemetry.of("crashed")[:2] == [(200, "ZeroDivisionError"), (1, "ZeroDivisionError")]
    bench.add(50)
    bench.add(50, P1)
    await bench.until(lambda: len(bench.group.accepted) == 299)
    await asyncio.sleep(1)
    assert bench.group.committed == {P0: 37, P1: 150}
    tries = len(bench.telemetry.of("crashed"))
    await asyncio.sleep(600)
    assert 10 < len(bench.telemetry.of("crashed")) - tries < 20
    bench.acceptance.poison = {}
    await bench.end()
    assert bench.telemetry.of("aside")[-2:] == [(0,), (0,)]
    assert not bench.telemetry.of("gave_up")


@bench_test
async def test_what_is_judged_together_is_bounded_in_bytes_and_committed_part_by_part() -> None:
    bench = Bench(counts=(0,), batch_bytes=1000)
    log = bench.group.logs[P0]
    log += [replace(one, value=b"x" * 300, headers=(("h", b"y" * 10),)) for one in records(P0, 7)]
    log.append(replace(records(P0, 1, first=7)[0], value=b"x" * 5000))
    log += [replace(one, key=b"k" * 500) for one in records(P0, 3, first=8)]
    await bench.end()
    assert [len(batch) for batch in bench.acceptance.batches] == [3, 3, 1, 1, 1, 1, 1]
    assert bench.group.commit_calls == 7


@bench_test
async def test_a_batch_that_fails_while_the_database_answers_is_stored_but_for_the_record_that_it_fails_by() -> (
    None
):
    bench = Bench(counts=(100, 100))
    bad = bench.group.logs[P0][37]
    bench.acceptance.refused = {bad}
    began = bench.time()
    await bench.until(lambda: len(bench.group.accepted) == 199, seconds=10)
    assert bench.time() - began < 3
    assert bench.telemetry.of("aside")[-1] == (1,)
    await asyncio.sleep(1)
    assert bench.group.committed == {P0: 37, P1: 100}
    bench.add(50)
    await bench.until(lambda: len(bench.group.accepted) == 249, seconds=5)
    assert bench.loop.problem() is None
    tries = len(bench.acceptance.batches)
    await asyncio.sleep(600)
    assert 10 < len(bench.acceptance.batches) - tries < 20
    bench.acceptance.refused = set()
    await bench.end()
    assert bench.telemetry.of("aside")[-2:] == [(0,), (0,)]
    assert not bench.telemetry.of("crashed")


@bench_test
async def test_records_that_wait_side_by_side_do_not_keep_each_other_from_being_stored() -> None:
    bench = Bench(counts=(40,))
    log = bench.group.logs[P0]
    bench.acceptance.refused = set(log[10:20])
    await bench.until(lambda: bench.telemetry.of("aside")[-1:] == [(10,)])
    bench.acceptance.refused = {log[13]}
    await bench.until(lambda: len(bench.group.accepted) == 39, seconds=130)
    await asyncio.sleep(1)
    assert bench.group.committed == {P0: 13}
    bench.acceptance.refused = set()
    await bench.end()


@bench_test
async def test_a_database_that_answers_and_stores_nothing_costs_few_calls_and_no_more_than_some_records_wait() -> (
    None
):
    bench = Bench(counts=(5000,), most_aside=20)
    bench.acceptance.refused = set(bench.group.logs[P0])
    await asyncio.sleep(600)
    assert not bench.group.committed
    assert set(bench.telemetry.of("aside")) <= {(0,)}
    assert bench.loop.problem() == "the database was not reached, or is away: records wait in the broker"
    assert max(after - before for before, after in pairwise(bench.group.consumers[0].polled_at)) < 0.7
    assert len(bench.acceptance.batches) < 10_000
    bench.acceptance.refused = set()
    await bench.end()


@bench_test
async def test_a_record_that_is_too_early_waits_and_nothing_else_does() -> None:
    bench = Bench(counts=(10, 10))
    early = bench.group.logs[P1][3]
    bench.acceptance.early = {early: 4}
    await bench.until(lambda: len(bench.group.accepted) == 19, seconds=1)
    await asyncio.sleep(0.01)
    assert bench.group.committed == {P0: 10, P1: 3}
    assert not bench.telemetry.of("store_failed")
    bench.add(10, P1)
    await bench.end()
    assert early in bench.group.accepted


@bench_test
async def test_told_to_stop_while_records_are_sifted_it_leaves_soon() -> None:
    bench = Bench(counts=(500,))
    bench.acceptance.refused = set(bench.group.logs[P0])
    slow = bench.acceptance.accept

    async def accept(records: Sequence[Record]) -> BatchOutcome:
        await asyncio.sleep(1)
        return await slow(records)

    bench.acceptance.accept = accept  # type: ignore[method-assign]
    await bench.until(lambda: len(bench.acceptance.batches) == 8)
    began = bench.time()
    await bench.loop.leave()
    assert bench.time() - began < 3
    await bench.running
    bench.check()


@bench_test
async def test_when_everything_crashes_acceptance_reading_stops_and_goes_on_once_it_is_mended() -> None:
    bench = Bench(counts=(500,), batch=50, most_aside=100)
    bench.acceptance.poison = dict.fromkeys(bench.group.logs[P0], 1e9)
    await asyncio.sleep(1000)
    assert bench.telemetry.of("aside")[-1] == (100,)
    assert bench.loop.problem() == (
        "many records can't be judged, by a fault of the service: nothing more is read"
    )
    assert set(bench.group.committed.values()) <= {0}
    bench.acceptance.poison = {}
    await bench.end()


@pytest.mark.parametrize("fate", ["error", "crash", "cancelled", "stored error"])
@pytest.mark.parametrize("where", ["polls", "commits"])
def test_a_consumer_that_fails_is_followed_by_another_and_nothing_is_skipped(where: str, fate: str) -> None:
    async def main() -> None:
        bench = Bench()
        getattr(bench.group, where).append(fate)
        await bench.until(lambda: len(bench.group.consumers) == 2)
        await bench.end()
        reason = "broker" if fate.endswith("error") else "crashed"
        (told,) = bench.telemetry.of("gave_up")
        assert told[0] == reason

    run(main())


@bench_test
async def test_while_the_broker_is_away_it_is_tried_again_after_growing_waits_and_each_failure_is_told_once() -> (
    None
):
    bench = Bench()
    bench.group.starts.extend(["error"] * 9)
    times: list[float] = []
    make = bench.group.make

    def noted() -> FakeConsumer:
        times.append(bench.time())
        return make()

    bench.loop._supervisor._make = noted
    await bench.until(lambda: len(times) == 4)
    assert bench.loop.problem() == "the broker was not reached yet, or is away"
    await bench.end()
    waits = [after - before for before, after in pairwise(times)]
    assert waits == pytest.approx([0.5, 1, 2, 4, 8, 10, 10, 10, 10], abs=0.05)
    assert bench.telemetry.of("gave_up") == [("start", "ConsumerError")] * 9


@bench_test
async def test_a_consumer_that_can_not_even_be_made_stops_nothing() -> None:
    bench = Bench()
    make, left = bench.group.make, deque([OSError("no such file: /secret")])

    def failing() -> FakeConsumer:
        if left:
            raise left.popleft()
        return make()

    bench.loop._supervisor._make = failing
    await bench.end()
    assert bench.telemetry.of("gave_up") == [("start", "OSError")]


@pytest.mark.parametrize("fate", ["hang", "deaf", "stored hang"])
@pytest.mark.parametrize("where", ["starts", "polls", "commits"])
def test_a_call_that_never_returns_costs_a_minute_and_no_record(where: str, fate: str) -> None:
    async def main() -> None:
        bench = Bench()
        getattr(bench.group, where).append(fate)
        await bench.until(lambda: len(bench.group.consumers) == 2, seconds=70)
        assert bench.time() > 60
        assert bench.telemetry.of("gave_up") == [("stuck", "")]
        assert bench.group.consumers[0].closed
        await bench.until(lambda: bench.group.done)
        # Whoever was deaf comes back, and nobody listens.
        await asyncio.sleep(400)
        assert not bench.group.violations
        assert bench.loop.problem() is None
        await bench.end()

    run(main())


@bench_test
async def test_a_consumer_that_does_not_close_is_not_waited_for() -> None:
    bench = Bench()
    await bench.until(lambda: bench.group.done)
    bench.group.consumers[0].close_hangs = True
    bench.group.polls.append("error")
    began = bench.time()
    await bench.until(lambda: len(bench.group.consumers) == 2)
    assert bench.time() - began < 12
    await bench.end()


@bench_test
async def test_a_poll_that_overruns_in_a_rebalance_is_waited_for() -> None:
    bench = Bench()
    bench.group.polls.extend(["slow"] * 5)
    await bench.end()
    assert len(bench.group.consumers) == 1


@bench_test
async def test_the_lag_is_told_while_there_is_a_consumer_and_cleared_with_it() -> None:
    bench = Bench(counts=(10,), high_water=0)
    bench.waiting = 5
    await bench.until(lambda: bool(bench.loop.lag), seconds=5)
    assert bench.loop.lag == {P0: 10}
    await bench.loop.leave()
    assert bench.telemetry.lags[-1] == {}
    assert bench.loop.lag == {}
    bench.check()


@bench_test
async def test_told_to_stop_it_finishes_its_batch_commits_and_leaves() -> None:
    bench = Bench(drain=30.0)
    bench.acceptance.fates.append("slow")
    await bench.until(lambda: bench.acceptance.under_way)
    bench.add(10)
    began = bench.time()
    bench.loop.stop()
    assert bench.loop.problem() == "draining"
    await bench.loop.leave()
    assert 18 < bench.time() - began < 21
    assert bench.group.committed == {P0: 10, P1: 10}
    await bench.running
    bench.check()


@bench_test
async def test_a_batch_that_takes_too_long_is_left_to_others() -> None:
    bench = Bench(drain=10.0)
    bench.acceptance.fates.append("slow")
    await bench.until(lambda: bench.acceptance.under_way)
    began = bench.time()
    await bench.loop.leave()
    assert bench.time() - began < 12
    assert not bench.group.committed
    await bench.running
    assert not bench.telemetry.of("gave_up")
    bench.check()


@bench_test
async def test_told_to_stop_while_the_database_is_away_it_leaves_soon() -> None:
    bench = Bench()
    bench.waiting = None
    bench.acceptance.fates.extend(["later"] * 1000)
    await asyncio.sleep(60)
    began = bench.time()
    await bench.loop.leave()
    assert bench.time() - began < 1
    assert not bench.group.committed
    assert not bench.telemetry.of("gave_up")
    await bench.running
    bench.check()


@bench_test
async def test_told_to_stop_while_the_broker_is_away_it_leaves_at_once() -> None:
    bench = Bench()
    bench.group.starts.extend(["error"] * 1000)
    await asyncio.sleep(60)
    began = bench.time()
    await bench.loop.leave()
    assert bench.time() == began


@bench_test
async def test_cancelled_it_leaves_at_once_and_in_good_order() -> None:
    bench = Bench()
    bench.acceptance.fates.append("slow")
    await bench.until(lambda: bench.acceptance.under_way)
    began = bench.time()
    bench.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bench.running
    assert bench.time() - began < 0.1
    assert not bench.group.committed
    await bench.loop.leave()
    bench.check()


@bench_test
async def test_cancelled_while_a_call_hangs_and_will_not_close_it_leaves_in_bounded_time() -> None:
    bench = Bench()
    bench.group.polls.append("deaf")
    await bench.until(lambda: bool(bench.group.consumers) and bool(bench.group.consumers[0].polled_at))
    bench.group.consumers[0].close_hangs = True
    began = bench.time()
    bench.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bench.running
    assert bench.time() - began < 11.5


@bench_test
async def test_others_in_the_event_loop_are_served_however_much_there_is_to_read() -> None:
    bench = Bench(counts=(50_000,), batch=100, high_water=10**9)
    turns = 0
    while not bench.group.done:
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 500
    await bench.end()


def test_settings_by_which_every_poll_would_hang_are_refused() -> None:
    with pytest.raises(ValueError, match="longer than a poll"):
        IntakeSettings(stuck=0.5)
