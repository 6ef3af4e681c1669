"""The relay: what is published, in which order, and that nothing is lost."""

import asyncio
from dataclasses import replace

import pytest

from service.domain.outbox import SHARDS, OutboxKind, OutboxRecord, OutboxRow, shard_of
from service.domain.publishing import Delivery, Message
from tests.support.fake_outbox import Broker, FakePublisher, render
from tests.support.relay_bench import Bench, letter
from workers.relay import Relay
from workers.relay_settings import RelaySettings

RESULT = "result"


async def test_rows_go_out_in_order_and_are_deleted() -> None:
    bench = Bench()
    bench.outbox.put(OutboxRecord(OutboxKind.WAKE, b"a"))
    bench.outbox.finish(b"a")
    bench.outbox.put(letter(b"k", b"1"))
    bench.outbox.put(letter(b"k", b"2"))
    bench.outbox.delete(b"b")
    await bench.relay().turn()
    assert bench.broker.log == [
        Message("wake", b"a", None),
        Message(RESULT, b"a", b"ra"),
        Message("dead_letter", b"k", b"1"),
        Message("dead_letter", b"k", b"2"),
        Message(RESULT, b"b", None),
    ]
    assert not bench.outbox.rows
    assert len(bench.telemetry.rows) == 5


async def test_with_nothing_to_do_no_publisher_is_made_anew_and_leases_are_renewed_now_and_then() -> None:
    bench = Bench()
    relay = bench.relay()
    await bench.turns(relay, 10)
    assert len(bench.broker.publishers) == 1
    assert bench.outbox.asked["hold"] == 4
    assert await relay.turn() == bench.settings.poll


async def test_a_full_batch_is_followed_by_the_next_at_once() -> None:
    bench = Bench(rows=3)
    for number in range(7):
        bench.outbox.put(letter(b"%d" % number, b"v"))
    relay = bench.relay()
    assert [await relay.turn() for _ in range(4)] == [None, None, 0.0, bench.settings.poll]
    assert len(bench.broker.log) == 7


@pytest.mark.parametrize("fate", ["lost", "written", "late"])
async def test_after_an_unknown_outcome_the_publisher_is_closed_and_the_rows_are_sent_again(fate: str) -> None:
    bench = Bench()
    fates = iter([fate])
    bench.broker.fate = lambda _message: next(fates, Delivery.SENT)
    bench.outbox.put(letter(b"k", b"1"))
    bench.outbox.put(letter(b"k", b"2"))
    await bench.turns(bench.relay())
    first, second = bench.broker.publishers
    assert first.closed
    assert not second.closed
    assert bench.broker.bodies()[-2:] == [b"1", b"2"]
    assert not bench.outbox.rows


@pytest.mark.parametrize("fate", ["lost", "written", "late"])
async def test_a_result_of_unknown_outcome_never_follows_its_tombstone(fate: str) -> None:
    bench = Bench()
    bench.outbox.finish(b"a")
    relay = bench.relay()

    async def deleted() -> None:
        bench.broker.during = None
        bench.outbox.delete(b"a")

    bench.broker.during = deleted
    fates = iter([fate])
    bench.broker.fate = lambda _message: next(fates, Delivery.SENT)
    await bench.turns(relay)
    newest = bench.broker.newest(RESULT, b"a")
    assert newest is not None
    assert newest.value is None
    assert bench.broker.bodies().count(None) == 1
    assert not bench.outbox.rows


async def test_what_a_stopped_process_sends_after_its_lease_is_put_right() -> None:
    bench = Bench()
    bench.outbox.finish(b"a")
    stopped, other = bench.relay("stopped"), bench.relay("other", Broker(log=bench.broker.log).make)

    async def asleep() -> None:
        bench.broker.during = None
        bench.broker.fate = lambda _message: Delivery.SENT
        bench.now += 100
        await bench.turns(other)
        bench.outbox.delete(b"a")
        await bench.turns(other)
        assert bench.broker.bodies() == [b"ra", None]

    bench.broker.during = asleep
    bench.broker.fate = lambda _message: "slow"
    await stopped.turn()
    assert bench.broker.bodies() == [b"ra", None, b"ra"]
    for _ in range(30):
        await stopped.turn()
        await other.turn()
        bench.now += 1
    assert bench.broker.bodies() == [b"ra", None, b"ra", None]
    assert bench.telemetry.repaired == 1


async def test_what_is_late_but_was_nobody_elses_is_not_sent_again() -> None:
    bench = Bench()
    bench.outbox.finish(b"a")

    async def asleep() -> None:
        bench.now += 13.0

    bench.broker.during = asleep
    relay = bench.relay()
    await bench.turns(relay)
    assert bench.telemetry.repaired == 0
    assert bench.broker.bodies() == [b"ra"]


async def test_a_deleted_jobs_result_is_not_sent() -> None:
    bench = Bench()
    bench.outbox.finish(b"a")
    del bench.outbox.over[b"a"]
    await bench.relay().turn()
    assert not bench.broker.log
    assert not bench.outbox.rows
    assert [row.record.key for row in bench.telemetry.forgotten] == [b"a"]


async def test_old_wake_ups_are_forgotten_and_old_results_are_not() -> None:
    bench = Bench()
    bench.outbox.put(OutboxRecord(OutboxKind.WAKE, b"a"))
    bench.outbox.finish(b"a")
    bench.now += 31
    bench.outbox.put(OutboxRecord(OutboxKind.WAKE, b"b"))
    await bench.relay().turn()
    assert [one.key for one in bench.broker.log] == [b"a", b"b"]
    assert not bench.outbox.rows


async def test_a_result_above_the_limit_goes_without_its_content_and_letters_have_no_limit() -> None:
    bench = Bench(most_value=10)
    bench.outbox.finish(b"x" * 9)
    bench.outbox.finish(b"x" * 10)
    bench.outbox.put(letter(b"k", b"y" * 11))
    await bench.relay().turn()
    assert set(bench.broker.bodies()) == {b"r" + b"x" * 9, b"small", b"y" * 11}


async def test_what_the_broker_finds_too_large_goes_without_its_content_and_keeps_its_order() -> None:
    bench = Bench()
    bench.broker.fate = lambda m: Delivery.TOO_LARGE if len(m.value or b"") > 8 else Delivery.SENT
    bench.outbox.put(letter(b"k", b"x" * 9))
    bench.outbox.put(letter(b"k", b"after"))
    bench.outbox.put(letter(b"other", b"y"))
    await bench.turns(bench.relay())
    assert bench.broker.bodies()[-2:] == [b"small", b"after"]
    assert b"y" in bench.broker.bodies()
    assert not bench.outbox.rows


async def test_what_is_never_taken_is_kept_and_holds_up_nothing_but_its_line() -> None:
    bench = Bench()
    bench.broker.fate = lambda m: Delivery.TOO_LARGE if m.key == b"bad" and m.value != b"2" else Delivery.SENT
    bench.outbox.put(letter(b"bad", b"1"))
    bench.outbox.put(letter(b"bad", b"2"))
    for number in range(5):
        bench.outbox.put(letter(b"%d" % number, b"v"))
    relay = bench.relay()
    await bench.turns(relay, 10)
    assert [row.record.value for row, _ in bench.outbox.rows.values()] == [b"1", b"2"]
    assert {m.key for m in bench.broker.log} >= {b"%d" % number for number in range(5)}
    asked = len(bench.telemetry.failures)
    await bench.turns(relay, 10)
    assert len(bench.telemetry.failures) == asked
    bench.broker.fate = lambda _message: Delivery.SENT
    await bench.turns(relay, 100)
    assert bench.broker.bodies()[-2:] == [b"small", b"2"]
    assert not bench.outbox.rows


async def test_a_topic_that_refuses_rests_and_the_others_go_on() -> None:
    bench = Bench()
    bench.broker.fate = lambda m: Delivery.REFUSED if m.topic == "gone" else Delivery.SENT
    for number in range(5):
        bench.outbox.finish(b"a%d" % number, topic="gone")
        bench.outbox.finish(b"b%d" % number)
    relay = bench.relay()
    await bench.turns(relay, 4)
    assert {m.key for m in bench.broker.log} == {b"b%d" % number for number in range(5)}
    assert len(bench.outbox.rows) == 5
    asked = len(bench.telemetry.failures)
    await bench.turns(relay, 10, 0.1)
    assert len(bench.telemetry.failures) == asked
    bench.broker.fate = lambda _message: Delivery.SENT
    await bench.turns(relay, 10)
    assert not bench.outbox.rows


async def test_a_row_that_can_not_be_rendered_is_kept_and_stops_no_other() -> None:
    bench = Bench()

    def broken(row: OutboxRow, *, small: bool) -> Message | None:
        if row.record.key == b"bad":
            raise ZeroDivisionError
        return None if row.record.key == b"none" else render(row, small=small)

    bench.render = broken
    for key in (b"bad", b"good", b"bad", b"none"):
        bench.outbox.put(letter(key, b"v"))
    relay = bench.relay()
    await bench.turns(relay, 5)
    assert [m.key for m in bench.broker.log] == [b"good"]
    assert [row.record.key for row, _ in bench.outbox.rows.values()] == [b"bad", b"bad"]
    assert {type(error) for _, error in bench.telemetry.crashes} == {ZeroDivisionError}


async def test_while_the_broker_is_away_nothing_is_lost_and_it_is_asked_ever_less_often() -> None:
    bench = Bench()
    bench.broker.away = True
    bench.outbox.finish(b"a")
    relay = bench.relay()
    waits = [await relay.turn() for _ in range(8)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert all(publisher.closed for publisher in bench.broker.publishers)
    bench.broker.away = False
    assert await relay.turn() == 0.0
    assert bench.broker.bodies() == [b"ra"]


async def test_a_publisher_that_hangs_is_left_in_time() -> None:
    bench = Bench(send=0.05, close=0.05, start=0.05)

    class Hangs(FakePublisher):
        async def send(self, messages: object) -> list[Delivery]:
            await asyncio.sleep(60)
            raise AssertionError

        async def aclose(self) -> None:
            await asyncio.sleep(60)

    makers = iter([lambda: Hangs(bench.broker)])
    bench.outbox.finish(b"a")
    relay = bench.relay(make=lambda: next(makers, bench.broker.make)())
    async with asyncio.timeout(5):
        await bench.turns(relay, 4)
    assert bench.broker.bodies() == [b"ra"]
    assert bench.telemetry.failures == [(Delivery.UNKNOWN, RESULT)]


async def test_a_database_that_fails_at_any_call_costs_repeats_and_nothing_else() -> None:
    for call in range(12):
        bench = Bench()
        bench.outbox.finish(b"a")
        bench.outbox.put(letter(b"k", b"1"))
        relay = bench.relay()
        for number in range(4):
            bench.outbox.down = 1 if number == 1 else 0
            for _ in range(call % 3):
                await relay.turn()
                bench.now += 3.1
        await bench.turns(relay)
        assert not bench.outbox.rows
        assert {b"ra", b"1"} == set(bench.broker.bodies())


async def test_rows_that_went_out_are_deleted_later_when_the_database_fails_and_not_sent_again() -> None:
    bench = Bench()
    bench.outbox.finish(b"a")
    relay = bench.relay()

    async def away() -> None:
        bench.outbox.down = 2

    bench.broker.during = away
    await relay.turn()
    bench.broker.during = None
    assert len(bench.outbox.rows) == 1
    await bench.turns(relay)
    assert bench.broker.bodies() == [b"ra"]
    assert not bench.outbox.rows


async def test_two_relays_share_the_shards_and_publish_each_row_once() -> None:
    bench = Bench()
    one, two = bench.relay("one"), bench.relay("two")
    for _ in range(10):
        await one.turn()
        await two.turn()
        bench.now += 1
    for number in range(200):
        bench.outbox.put(letter(b"%d" % number, b"%d" % number))
    await one.turn()
    assert 50 < len(bench.broker.log) < 150
    await two.turn()
    assert sorted(bench.broker.bodies()) == sorted(b"%d" % number for number in range(200))  # type: ignore[type-var]


async def test_a_row_of_a_shard_that_was_lost_while_it_was_read_is_not_sent() -> None:
    bench = Bench()
    relay = bench.relay()
    read = bench.outbox.pending

    async def slow(*args: object, **kwargs: object) -> object:
        rows = await read(*args, **kwargs)  # type: ignore[arg-type]
        bench.now += 20
        bench.outbox.shards[shard_of(b"a")].epoch += 1
        bench.outbox.shards[shard_of(b"a")].name = "other"
        bench.outbox.shards[shard_of(b"a")].until = bench.now + 100
        return rows

    bench.outbox.finish(b"a")
    bench.outbox.pending = slow  # type: ignore[assignment,method-assign]
    await relay.turn()
    assert not bench.broker.log


async def test_a_running_relay_is_woken_and_leaves_its_shards_when_it_stops() -> None:
    bench = Bench(poll=60.0, gather=0.001)
    bench.settings = replace(bench.settings)
    relay = Relay("r", bench.outbox, bench.broker.make, render, bench.telemetry, settings=lambda: bench.settings)
    running = asyncio.create_task(relay.run())
    async with asyncio.timeout(5):
        while not bench.outbox.asked["pending"]:
            await asyncio.sleep(0.001)
        bench.outbox.finish(b"a")
        relay.wake()
        while bench.outbox.rows:
            await asyncio.sleep(0.001)
        await relay.leave()
        await running
    assert bench.broker.bodies() == [b"ra"]
    assert all(shard.name is None for shard in bench.outbox.shards)
    assert bench.broker.publishers[0].closed


async def test_a_cancelled_relay_closes_its_publisher_before_it_gives_its_shards_away() -> None:
    bench = Bench()
    bench.outbox.finish(b"a")
    reached = asyncio.Event()

    async def hangs() -> None:
        reached.set()
        await asyncio.sleep(60)

    bench.broker.during = hangs
    bench.broker.fate = lambda _message: "late"
    relay = bench.relay()
    running = asyncio.create_task(relay.run())
    async with asyncio.timeout(5):
        await reached.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert bench.broker.publishers[0].closed
    assert all(shard.name is None for shard in bench.outbox.shards)
    assert len(bench.outbox.rows) == 1


@pytest.mark.parametrize("bad", [{"lease": 8.0, "send": 5.0, "close": 2.0}, {"lease": 15.0, "renew": 12.0}])
def test_settings_that_would_send_nothing_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="lease"):
        RelaySettings(**bad)  # type: ignore[arg-type]


def test_every_key_has_a_shard_that_never_changes() -> None:
    assert [shard_of(key) for key in (b"", b"resp_1", b"resp_2", b"\xff")] == [3, 10, 10, 8]
    assert {shard_of(b"%d" % number) for number in range(1000)} == set(range(SHARDS))
