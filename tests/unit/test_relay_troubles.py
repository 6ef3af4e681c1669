"""Relays that reach no broker, fail by what nobody thought of, or stop: others go on, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from adapters.database.outbox_rows import row_of
from service.domain.outbox import SHARDS, OutboxKind
from service.domain.publishing import Delivery
from service.edge.kafka.results import OutTopics, Results
from tests.support.fake_outbox import Broker, FakePublisher, render
from tests.support.relay_bench import Bench, letter, owners
from workers.relay import Relay


@pytest.mark.parametrize("fault", [RuntimeError("secret"), asyncio.CancelledError()])
async def test_whatever_a_publisher_fails_by_it_is_closed_and_the_next_one_sends(fault: BaseException) -> None:
    bench = Bench()
    bench.outbox.finish(b"a")
    relay = bench.relay()
    bench.broker.fault = fault
    await bench.turns(relay, 3)
    assert all(publisher.closed for publisher in bench.broker.publishers)
    assert bench.telemetry.errors == [fault] * 3
    bench.broker.fault = None
    await bench.turns(relay, 3)
    assert bench.broker.bodies() == [b"ra"]
    assert not bench.outbox.rows


@pytest.mark.parametrize("fault", [RuntimeError(), asyncio.CancelledError()])
async def test_whatever_a_publisher_can_not_be_made_or_started_by_it_is_tried_again(fault: BaseException) -> None:
    bench = Bench()
    bench.outbox.finish(b"a")

    class WontStart(FakePublisher):
        async def start(self) -> None:
            raise fault

        async def aclose(self) -> None:
            raise fault

    def not_even_made() -> FakePublisher:
        raise fault

    makers: list[Callable[[], FakePublisher]] = [lambda: WontStart(bench.broker), not_even_made]
    await bench.turns(bench.relay(make=lambda: (makers.pop() if makers else bench.broker.make)()), 4)
    assert bench.telemetry.errors == [fault] * 3
    assert not bench.outbox.rows


async def test_a_turn_that_crashes_ends_neither_the_relay_nor_what_it_publishes() -> None:
    bench = Bench()
    bench.settings = replace(bench.settings, poll=0.001, gather=0.001)
    relay = Relay("r", bench.outbox, bench.broker.make, render, bench.telemetry, settings=lambda: bench.settings)
    read, fault = bench.outbox.pending, ValueError("a row of a newer version")
    faults = [fault, fault]

    async def crashes(*args: object, **kwargs: object) -> object:
        if faults:
            raise faults.pop()
        return await read(*args, **kwargs)  # type: ignore[arg-type]

    bench.outbox.pending = crashes  # type: ignore[assignment,method-assign]
    bench.outbox.finish(b"a")
    task = asyncio.create_task(relay.run())
    async with asyncio.timeout(5):
        while bench.outbox.rows:
            await asyncio.sleep(0.001)
        await relay.leave()
        await task
    assert bench.telemetry.crashed_turns == [fault, fault]
    assert [publisher.closed for publisher in bench.broker.publishers] == [True] * 3


async def test_rows_of_a_newer_version_wait_for_it_and_stop_no_others() -> None:
    newer = row_of((1, 3, "progress", None, "resp_1", 2, 0.5, None, None, None, None))
    assert (newer.record.kind, newer.record.key) == (OutboxKind.UNKNOWN, b"resp_1")
    bench = Bench()
    bench.render = Results(OutTopics("jobs", "results", "dlq")).render
    bench.outbox.put(newer.record)
    bench.outbox.put(letter(b"k", b"1"))
    await bench.turns(bench.relay(), 10)
    assert bench.broker.bodies() == [b"1"]
    assert [row.record for row, _ in bench.outbox.rows.values()] == [newer.record]
    assert [kind for kind, _ in bench.telemetry.crashes] == [OutboxKind.UNKNOWN]


async def test_a_relay_ends_also_when_it_can_not_say_that_it_does() -> None:
    bench = Bench()
    fault = ZeroDivisionError()

    async def crashes(_name: str) -> None:
        raise fault

    bench.outbox.leave = crashes  # type: ignore[assignment,method-assign]
    relay = bench.relay()
    task = asyncio.create_task(relay.run())
    async with asyncio.timeout(5):
        await relay.leave()
        await task
    assert set(bench.telemetry.crashed_turns) == {fault}


async def test_who_never_reached_the_broker_holds_no_shard_and_does_not_count() -> None:
    bench = Bench()
    lost = bench.relay("lost", Broker(away=True).make)
    await bench.turns(lost, 30)
    assert bench.outbox.asked["hold"] == 0
    await bench.turns(bench.relay("well"), 1)
    assert bench.telemetry.held == [SHARDS]


async def test_who_reaches_the_broker_no_more_keeps_its_shards_for_a_while_and_then_leaves_them_to_others() -> (
    None
):
    bench = Bench()
    other, alone = bench.relay("other"), Broker(log=bench.broker.log)
    lost = bench.relay("lost", alone.make)
    for _ in range(8):
        await lost.turn()
        await other.turn()
        bench.now += 1
    assert owners(bench) == {"lost", "other"}
    alone.away = True
    began = bench.now
    for number in range(50):
        bench.outbox.put(letter(b"%d" % number, b"v"))
    while bench.outbox.rows and bench.now - began < 100:
        if bench.now - began < bench.settings.patience:
            assert owners(bench) == {"lost", "other"}
        await lost.turn()
        await other.turn()
        bench.now += 1
    assert bench.now - began < bench.settings.patience + 2 * bench.settings.renew
    assert set(bench.outbox.relays) == {"other"}
    # What waits in the broker's neighbourhood is tried again, and the shards are shared once it is back.
    alone.away = False
    for _ in range(20):
        await lost.turn()
        await other.turn()
        bench.now += 1
    assert owners(bench) == {"lost", "other"}


async def test_who_can_connect_but_gets_nothing_sent_has_others_try_now_and_then() -> None:
    bench = Bench()
    bench.broker.fate = lambda _message: "lost"
    bench.outbox.finish(b"a")
    relay = bench.relay()
    began = bench.now
    await bench.turns(relay, 10)
    assert owners(bench) == {"r"}
    for _ in range(70):
        await relay.turn()
        # A try that is in vain is the only one for a while.
        assert owners(bench) == set() or bench.now - began <= bench.settings.patience
        bench.now += 1
    assert bench.telemetry.held.count(0) == 1 + (80 - 16) // bench.settings.away
    bench.broker.fate = lambda _message: Delivery.SENT
    await bench.turns(relay, 12)
    assert bench.broker.bodies() == [b"ra"]


async def test_an_outage_that_ended_counts_no_more() -> None:
    bench = Bench()
    relay = bench.relay()
    for number in range(5):
        bench.outbox.put(letter(b"%d" % number, b"v"))
        for is_away in (True, False):
            bench.broker.away = is_away
            await bench.turns(relay, 10)
            assert owners(bench) == {"r"} or not number
    assert not bench.outbox.rows


class WontClose(FakePublisher):
    """One that is still at it when nobody waits any more."""

    async def aclose(self) -> None:
        await asyncio.sleep(60)


async def test_shards_of_which_something_may_be_under_way_are_left_to_no_one_before_their_leases_end() -> None:
    bench = Bench(close=0.01)
    bench.outbox.finish(b"a")
    relay = bench.relay(make=lambda: WontClose(bench.broker))
    await relay.turn()
    relay.stop()
    await relay.run()
    assert bench.outbox.asked["leave"] == 0
    assert owners(bench) == {"r"}
    assert [type(error) for error in bench.telemetry.errors] == [TimeoutError]


async def test_who_stands_aside_while_something_may_be_under_way_lets_its_leases_run_out() -> None:
    bench = Bench(close=0.01, patience=1.0)
    bench.broker.fate = lambda _message: "lost"
    bench.outbox.finish(b"a")
    relay = bench.relay(make=lambda: WontClose(bench.broker))
    await bench.turns(relay, 4)
    assert bench.outbox.asked["leave"] == 0
    assert bench.telemetry.held[-1] == 0
    assert owners(bench) == {"r"}
    bench.now += bench.settings.lease
    assert owners(bench) == set()


async def test_nothing_is_sent_that_might_not_be_over_when_the_lease_is() -> None:
    bench = Bench()
    bench.outbox.finish(b"a")
    relay = bench.relay()
    hold = bench.outbox.hold

    async def slow(name: str, lease: float) -> object:
        held = await hold(name, lease)
        bench.now += 6.0
        return held

    bench.outbox.hold = slow  # type: ignore[assignment,method-assign]
    assert await relay.turn() == 0.1
    assert not bench.broker.log
    assert len(bench.outbox.rows) == 1
    bench.outbox.hold = hold  # type: ignore[method-assign]
    await bench.turns(relay, 2)
    assert bench.broker.bodies() == [b"ra"]


async def test_what_went_out_too_late_is_put_right_by_one_that_stops_before_it_could_be() -> None:
    bench = Bench()
    bench.outbox.finish(b"a")
    late, other = bench.relay("late"), bench.relay("other", Broker(log=bench.broker.log).make)

    async def asleep() -> None:
        bench.broker.during = None
        bench.now += 100
        await bench.turns(other)
        bench.outbox.delete(b"a")
        await bench.turns(other)
        bench.outbox.down = 1

    bench.broker.during = asleep
    bench.broker.fate = lambda _message: "slow"
    await late.turn()
    assert bench.broker.bodies() == [b"ra", None, b"ra"]
    late.stop()
    await late.run()
    await bench.turns(other)
    assert bench.broker.bodies() == [b"ra", None, b"ra", None]


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Bench, Relay]]:
    """A relay that looks on its own only every minute, and is to end within seconds."""
    bench = Bench()
    bench.settings = replace(bench.settings, poll=60.0, gather=0.001)
    relay = Relay("r", bench.outbox, bench.broker.make, render, bench.telemetry, settings=lambda: bench.settings)
    task = asyncio.create_task(relay.run())
    async with asyncio.timeout(5):
        while not bench.outbox.asked["pending"]:
            await asyncio.sleep(0.001)
        yield bench, relay
        await task


async def test_a_relay_that_drains_publishes_what_came_before_and_leaves_at_once() -> None:
    async with running() as (bench, relay):
        bench.settings = replace(bench.settings, rows=2)
        for number in range(9):
            bench.outbox.put(letter(b"%d" % number, b"v"))
        await relay.drain(60.0)
    assert not bench.outbox.rows
    assert owners(bench) == set()
    assert bench.outbox.asked["stats"] == 0


async def test_a_turn_that_began_before_says_nothing_of_what_is_to_be_drained() -> None:
    async with running() as (bench, relay):
        bench.settings = replace(bench.settings, gather=0.1)
        read = bench.outbox.pending

        async def late(*args: object, **kwargs: object) -> object:
            bench.outbox.pending = read  # type: ignore[method-assign]
            rows = await read(*args, **kwargs)  # type: ignore[arg-type]
            bench.outbox.finish(b"a")
            draining.append(asyncio.create_task(relay.drain(60.0)))
            await asyncio.sleep(0.01)
            return rows

        draining: list[asyncio.Task[None]] = []
        bench.outbox.pending = late  # type: ignore[assignment,method-assign]
        relay.wake()
        while not draining:
            await asyncio.sleep(0.001)
        await draining[0]
    assert bench.broker.bodies() == [b"ra"]


async def test_a_relay_that_drains_what_never_goes_leaves_after_the_time_it_was_given() -> None:
    async with running() as (bench, relay):
        bench.broker.away = True
        bench.outbox.finish(b"a")
        await relay.drain(0.05)
    assert len(bench.outbox.rows) == 1
    assert owners(bench) == set()
