"""Whatever fails, nothing is lost, and the newest value of a key in its topic is that of its newest row."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.outbox import OutboxKind, OutboxRecord, ShardLease, Shares, share_out
from service.domain.publishing import Delivery, Message
from tests.support.fake_outbox import Broker, FakeOutbox, RecordingRelayTelemetry, render
from workers.relay import Relay
from workers.relay_settings import RelaySettings

RELAYS = 2
KEYS = [b"a", b"b", b"c"]
FATES = [
    *(Delivery.SENT, Delivery.SENT, Delivery.SENT, Delivery.UNKNOWN, Delivery.TOO_LARGE, Delivery.REFUSED),
    *("lost", "written", "late", "slow", "slow"),
]

key = st.sampled_from(KEYS)
seconds = st.sampled_from([0.1, 1.0, 4.0, 11.0, 20.0])
simple = st.one_of(
    st.tuples(st.just("finish"), key),
    st.tuples(st.just("delete"), key),
    st.tuples(st.just("letter"), key),
    st.tuples(st.just("pass"), seconds),
    st.tuples(st.just("down"), st.integers(1, 3)),
)
plain_turn = st.tuples(st.just("turn"), st.integers(0, RELAYS - 1), st.lists(st.sampled_from(FATES), max_size=6))
# While a relay sends, others go on, and time passes: it is stopped, or its machine sleeps.
turn_with_others = st.tuples(
    st.just("turn during"),
    st.integers(0, RELAYS - 1),
    st.lists(st.sampled_from(FATES), max_size=6),
    st.lists(st.one_of(simple, plain_turn), max_size=6),
)


def sleep(number: int, name: bytes, fates: list[Any]) -> tuple[Any, ...]:
    """A relay sends a result, is stopped for longer than its lease, and goes on after its tombstone."""
    other: list[Any] = [("turn", (number + 1) % RELAYS, [])] * 4
    return ("turn during", number, fates, [("pass", 20.0), *other, ("delete", name), ("pass", 4.0), *other])


asleep = st.builds(sleep, st.integers(0, RELAYS - 1), key, st.lists(st.sampled_from(FATES), max_size=6))
away = st.tuples(st.just("away"), st.integers(0, RELAYS - 1), st.booleans())
crash = st.tuples(st.just("crash"), st.integers(0, RELAYS - 1), st.booleans())
steps = st.lists(
    st.one_of(simple, simple, plain_turn, plain_turn, turn_with_others, asleep, crash, away), max_size=30
)


class Play:
    """Jobs that end and are deleted, records that come in, relays that stop and crash."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.outbox = FakeOutbox(lambda: self.now)
        self.log: list[Message] = []
        self.telemetry = RecordingRelayTelemetry()
        self.names = 0
        self.brokers = [Broker(log=self.log) for _ in range(RELAYS)]
        self.relays = [self.relay(number) for number in range(RELAYS)]
        self.letters: dict[bytes, list[bytes]] = {}
        self.newest: dict[bytes, bytes | None] = {}
        self.turning: set[int] = set()

    def relay(self, number: int) -> Relay:
        self.names += 1
        settings = RelaySettings(rows=4)
        return Relay(
            f"relay-{self.names}",
            self.outbox,
            self.brokers[number].make,
            render,
            self.telemetry,
            settings=lambda: settings,
            clock=lambda: self.now,
        )

    async def step(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("finish", bytes() as name) if name not in self.newest:
                self.outbox.finish(name)
                self.newest[name] = b"r" + name
            case ("delete", bytes() as name) if self.newest.get(name, b"") is not None:
                self.outbox.delete(name)
                self.newest[name] = None
            case ("letter", bytes() as name):
                value = b"%d" % len(self.letters.setdefault(name, []))
                self.letters[name].append(value)
                self.outbox.put(OutboxRecord(OutboxKind.DEAD_LETTER, b"k" + name, value=value))
            case ("pass", float() as passed):
                self.now += passed
            case ("down", int() as calls):
                self.outbox.down = calls
            case ("turn", int() as number, list() as fates):
                await self.turn(number, fates, None)
            case ("turn during", int() as number, list() as fates, list() as others):
                await self.turn(number, fates, lambda: self.all(others))
            case ("away", int() as number, bool() as is_away):
                self.brokers[number].away = is_away
            case ("crash", int() as number, bool() as written) if number not in self.turning:
                await self.crash(number, written=written)

    async def all(self, some: list[tuple[Any, ...]]) -> None:
        for one in some:
            await self.step(one)

    async def turn(self, number: int, fates: list[Any], during: Callable[[], Awaitable[None]] | None) -> None:
        if number in self.turning:
            return
        self.turning.add(number)
        left = iter(fates)
        broker = self.brokers[number]
        broker.fate = lambda _message: next(left, Delivery.SENT)
        broker.during = during
        await self.relays[number].turn()
        broker.fate, broker.during = (lambda _message: Delivery.SENT), None
        self.turning.discard(number)

    async def crash(self, number: int, *, written: bool) -> None:
        """What was under way arrives at once, or never: not after the lease.

        One that came too late and could not tell the database yet does not crash as well.
        """
        if self.relays[number]._unsure:
            return
        for publisher in self.brokers[number].publishers:
            if written:
                await publisher.aclose()
        self.brokers[number] = Broker(log=self.log)
        self.relays[number] = self.relay(number)

    async def end(self, without: int | None = None, seconds: int = 150) -> None:
        """Everything works, but for one relay's way to the broker; in the end nothing waits."""
        self.outbox.down = 0
        for number, broker in enumerate(self.brokers):
            broker.away = number == without
        for _ in range(seconds):
            for relay in self.relays:
                await relay.turn()
            self.now += 1.0
        assert not self.outbox.rows
        # Whatever was not closed may still write what it had.
        for broker in self.brokers:
            for publisher in broker.publishers:
                await publisher.aclose()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(some=steps)
async def test_the_newest_value_of_a_key_is_that_of_its_newest_row(some: list[tuple[Any, ...]]) -> None:
    play = Play()
    await play.all(some)
    await play.end()
    assert_told(play)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(some=steps, without=st.integers(0, RELAYS - 1))
async def test_of_two_relays_one_without_a_broker_everything_is_published_in_time(
    some: list[tuple[Any, ...]], without: int
) -> None:
    play = Play()
    await play.all(some)
    # What a broker found too large waits for a minute; patience and leases are what is left.
    await play.end(without, 100)
    assert_told(play)
    # One that was idle finds out now.
    for number in range(32):
        play.outbox.put(OutboxRecord(OutboxKind.DEAD_LETTER, b"%d" % number, value=b"later"))
    await play.end(without, 40)
    assert play.relays[without]._name not in play.outbox.relays


def assert_told(play: Play) -> None:
    """The topics say what the database says."""
    newest = {(one.topic, one.key): one.value for one in play.log}
    for name, value in play.newest.items():
        # A result whose content was too large goes without.
        found = newest["result", name]
        assert found == value or (found, value is None) == (b"small", False)
    for name, values in play.letters.items():
        sent = [one.value for one in play.log if one.key == b"k" + name]
        assert len(set(sent) - {b"small"}) + sent.count(b"small") >= len(values)
        # Nobody keeps dead letters in order when a relay comes too late: they say where they stood.
        assert play.telemetry.repaired or sent[-1] in (values[-1], b"small")
    assert not play.telemetry.crashes


shards = st.lists(
    st.tuples(st.sampled_from([None, "me", "you", "they"]), st.integers(0, 5), st.booleans()),
    min_size=1,
    max_size=16,
)


@given(shards, st.integers(1, 20))
def test_shares_take_nothing_from_others_and_never_more_than_a_share(
    some: list[tuple[str | None, int, bool]], relays: int
) -> None:
    leases = [
        ShardLease(number, owner, epoch, live and owner is not None)
        for number, (owner, epoch, live) in enumerate(some)
    ]
    shares = share_out(leases, "me", relays)
    share = -(-len(leases) // relays)
    mine = {one.shard for one in leases if one.live and one.owner == "me"}
    free = {one.shard for one in leases if not one.live}
    assert isinstance(shares, Shares)
    assert set(shares.keep) | set(shares.leave) == mine
    assert set(shares.take) <= free
    assert len(shares.keep) + len(shares.take) == min(share, len(mine) + len(free))
    assert not shares.leave or not shares.take


@given(st.integers(1, 20))
def test_relays_that_take_turns_come_to_hold_every_shard_once(relays: int) -> None:
    owners: list[str | None] = [None] * 16
    names = [f"r{number}" for number in range(relays)]
    for _ in range(3):
        for name in names:
            leases = [ShardLease(number, owner, 0, owner is not None) for number, owner in enumerate(owners)]
            shares = share_out(leases, name, relays)
            for shard in shares.leave:
                owners[shard] = None
            for shard in shares.take:
                owners[shard] = name
    assert None not in owners
    counts = [owners.count(name) for name in names]
    assert max(counts) <= -(-16 // relays)
