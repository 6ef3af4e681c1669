"""An outbox in memory, a broker that is one list, and publishers that fail as they are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from service.domain.jobs import JobState
from service.domain.outbox import (
    SHARDS,
    FinishedJob,
    OutboxKind,
    OutboxRecord,
    OutboxRow,
    OutboxStats,
    ShardLease,
    shard_of,
    share_out,
)
from service.domain.publishing import Delivery, Message, PublisherError
from service.domain.stored import StoreError


@dataclass
class Owner:
    """Whose a shard is."""

    name: str | None = None
    epoch: int = 0
    until: float = 0.0


class FakeOutbox:
    """Outbox. `over` are jobs whose result waits or was sent; `down` makes the next so many calls fail."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.rows: dict[int, tuple[OutboxRow, float]] = {}
        self.over: dict[bytes, int] = {}
        self.shards = [Owner() for _ in range(SHARDS)]
        self.relays: dict[str, float] = {}
        self.down = 0
        self.asked: Counter[str] = Counter()
        self.repaired = 0
        self._numbers = count(1)

    def put(self, record: OutboxRecord) -> int:
        """Writes a row as a transaction of the service does."""
        number = next(self._numbers)
        row = OutboxRow(number, shard_of(record.key or b""), record, 0.0)
        self.rows[number] = (row, self.clock())
        return number

    def finish(self, key: bytes, version: int = 1, topic: str | None = None) -> int:
        """A job ends."""
        self.over[key] = version
        return self.put(OutboxRecord(OutboxKind.RESULT, key, topic=topic, version=version))

    def delete(self, key: bytes, topic: str | None = None) -> int:
        """A job is deleted, and its older rows with it."""
        version = self.over.pop(key, 0) + 1
        self.rows = {n: one for n, one in self.rows.items() if one[0].record.key != key}
        return self.put(OutboxRecord(OutboxKind.TOMBSTONE, key, topic=topic, version=version))

    async def add(self, records: Sequence[OutboxRecord]) -> None:
        self._ask("add")
        for record in records:
            self.put(record)

    async def hold(self, relay: str, lease: float) -> Mapping[int, int]:
        self._ask("hold")
        now = self.clock()
        self.relays = {name: until for name, until in self.relays.items() if until > now} | {relay: now + lease}
        leases = [ShardLease(n, one.name, one.epoch, one.until > now) for n, one in enumerate(self.shards)]
        shares = share_out(leases, relay, len(self.relays))
        for shard in shares.leave:
            self.shards[shard] = replace(self.shards[shard], name=None, until=0.0)
        for shard in shares.take:
            self.shards[shard] = Owner(relay, self.shards[shard].epoch + 1, now + lease)
        for shard in shares.keep:
            self.shards[shard].until = now + lease
        return {shard: self.shards[shard].epoch for shard in (*shares.keep, *shares.take)}

    async def leave(self, relay: str) -> None:
        self._ask("leave")
        for shard, one in enumerate(self.shards):
            if one.name == relay:
                self.shards[shard] = replace(one, name=None, until=0.0)
        self.relays.pop(relay, None)

    async def pending(
        self,
        held: Mapping[int, int],
        limit: int,
        *,
        most_bytes: int,
        most_body: int,
        without: Iterable[int] = (),
        resting: Iterable[str] = (),
    ) -> Sequence[OutboxRow]:
        self._ask("pending")
        left_out, rest = set(without), set(resting)
        found = [
            self._read(row, written)
            for number, (row, written) in sorted(self.rows.items())
            if self._owns(held, row) and number not in left_out and row.destination not in rest
        ]
        return found[:limit]

    async def sent(self, rows: Sequence[OutboxRow], held: Mapping[int, int]) -> frozenset[int]:
        self._ask("sent")
        for row in rows:
            if self._owns(held, row):
                self.rows.pop(row.id, None)
        return frozenset(row.shard for row in rows if not self._owns(held, row))

    async def again(self, rows: Sequence[OutboxRow]) -> None:
        self._ask("again")
        for row in rows:
            record, key = row.record, row.record.key
            if record.kind not in (OutboxKind.RESULT, OutboxKind.TOMBSTONE) or key is None:
                continue
            self.repaired += 1
            if key in self.over:
                self.put(OutboxRecord(OutboxKind.RESULT, key, topic=record.topic, version=self.over[key]))
            else:
                version = record.version + (record.kind is OutboxKind.RESULT)
                self.put(OutboxRecord(OutboxKind.TOMBSTONE, key, topic=record.topic, version=version))

    async def stats(self) -> OutboxStats:
        self._ask("stats")
        ages = [self.clock() - written for _, written in self.rows.values()]
        return OutboxStats(len(ages), max(ages, default=None))

    def _read(self, row: OutboxRow, written: float) -> OutboxRow:
        key, finished = row.record.key, None
        if row.record.kind is OutboxKind.RESULT and key in self.over:
            text = key.decode()
            finished = FinishedJob(
                text, "a", "responses", JobState.COMPLETED, row.record.version, 1, b"r" + key, b""
            )
        return replace(row, age=self.clock() - written, finished=finished)

    def _owns(self, held: Mapping[int, int], row: OutboxRow) -> bool:
        return row.shard in held and self.shards[row.shard].epoch == held[row.shard]

    def _ask(self, what: str) -> None:
        self.asked[what] += 1
        if self.down:
            self.down -= 1
            raise StoreError("the database is away")


@dataclass
class Broker:
    """All that was published, in order. `fate` says what becomes of a message, `during` runs inside every send.

    One that is `away` lets nobody start, and nothing that is sent to it arrives. `fault` is raised by every send.
    """

    log: list[Message] = field(default_factory=list)
    fate: Callable[[Message], Delivery | str] = lambda _message: Delivery.SENT
    during: Callable[[], Awaitable[None]] | None = None
    away: bool = False
    fault: BaseException | None = None
    publishers: list[FakePublisher] = field(default_factory=list)

    def make(self) -> FakePublisher:
        self.publishers.append(FakePublisher(self))
        return self.publishers[-1]

    def newest(self, topic: str, key: bytes) -> Message | None:
        """The last message of a key."""
        return next((one for one in reversed(self.log) if (one.topic, one.key) == (topic, key)), None)

    def bodies(self) -> list[bytes | None]:
        """The values, in order."""
        return [one.value for one in self.log]


class FakePublisher:
    """Publisher. Three fates beside the deliveries are unknown outcomes: "lost", "written", and "late".

    What is late is written when the publisher is closed; that is the worst moment for it. "slow" is sent, but only
    after all that goes on `during` the send.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.started = self.closed = False
        self._late: list[Message] = []
        self._slow: list[Message] = []

    async def start(self) -> None:
        assert not self.started
        self.started = True
        if self.broker.away:
            raise PublisherError("nobody answers")

    async def send(self, messages: Sequence[Message]) -> Sequence[Delivery]:
        assert self.started and not self.closed
        if self.broker.fault is not None:
            raise self.broker.fault
        self._slow = []
        outcomes = [self._one(message) for message in messages]
        if self.broker.during is not None:
            await self.broker.during()
        self.broker.log += self._slow
        return outcomes

    def _one(self, message: Message) -> Delivery:
        fate = "lost" if self.broker.away else self.broker.fate(message)
        if fate == Delivery.SENT and any(
            (one.topic, one.key) == (message.topic, message.key) for one in self._slow
        ):
            fate = "slow"
        if fate in (Delivery.SENT, "written"):
            self.broker.log.append(message)
        if fate == "late":
            self._late.append(message)
        if fate == "slow":
            self._slow.append(message)
            return Delivery.SENT
        return Delivery.UNKNOWN if fate in ("lost", "written", "late") else Delivery(fate)

    async def aclose(self) -> None:
        self.closed = True
        self.broker.log += self._late
        self._late.clear()


def render(row: OutboxRow, *, small: bool) -> Message | None:
    """Results say what their job says."""
    record = row.record
    kind = OutboxKind.RESULT if record.kind is OutboxKind.TOMBSTONE else record.kind
    value = record.value
    if record.kind is OutboxKind.RESULT:
        assert row.finished is not None
        value = b"small" if small else row.finished.response
    elif small and record.kind is not OutboxKind.TOMBSTONE:
        value = b"small"
    return Message(record.topic or kind.value, record.key, value)


class RecordingRelayTelemetry:
    """RelayTelemetry as lists."""

    def __init__(self) -> None:
        self.held: list[int] = []
        self.rows: list[OutboxRow] = []
        self.forgotten: list[OutboxRow] = []
        self.failures: list[tuple[Delivery, str]] = []
        self.repaired = 0
        self.store_failures = 0
        self.errors: list[BaseException] = []
        self.crashes: list[tuple[OutboxKind, BaseException]] = []
        self.crashed_turns: list[BaseException] = []

    def holds(self, shards: int) -> None:
        self.held.append(shards)

    def sent(self, rows: Sequence[OutboxRow]) -> None:
        self.rows += rows

    def dropped(self, rows: Sequence[OutboxRow]) -> None:
        self.forgotten += rows

    def failed(self, delivery: Delivery, topic: str) -> None:
        self.failures.append((delivery, topic))

    def late(self, rows: int) -> None:
        self.repaired += rows

    def store_failed(self, what: str) -> None:
        self.store_failures += 1

    def publisher_failed(self, error: BaseException) -> None:
        self.errors.append(error)

    def turn_crashed(self, error: BaseException) -> None:
        self.crashed_turns.append(error)

    def crashed(self, kind: OutboxKind, error: BaseException) -> None:
        self.crashes.append((kind, error))
