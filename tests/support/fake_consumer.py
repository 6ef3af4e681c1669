"""A group's topics in memory, consumers that fail as they are told, and an acceptance that does, too.

What the loops owe is checked as they go: a place is committed only when everything before it was accepted, and a
consumer is asked one thing at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from service.domain.consuming import ConsumerError, Place, Record
from service.domain.intake import BatchOutcome, TryLaterError
from service.domain.stored import StoreError


def records(place: Place, count: int, first: int = 0, timestamp_ms: int = 0) -> list[Record]:
    """So many records of a partition."""
    topic, partition = place
    return [
        Record(topic, partition, offset, timestamp_ms, None, b"%d" % offset)
        for offset in range(first, first + count)
    ]


@dataclass
class FakeGroup:
    """Partitions with their records, the committed places, and what happens to the next calls of its consumers.

    `starts`, `polls` and `commits` are words that `FakeConsumer` knows, used up one by one; then all goes well.
    """

    logs: dict[Place, list[Record]]
    accepted: set[Record] = field(default_factory=set)
    """Records with which a commit may count."""
    committed: dict[Place, int] = field(default_factory=dict)
    starts: deque[str] = field(default_factory=deque)
    polls: deque[str] = field(default_factory=deque)
    commits: deque[str] = field(default_factory=deque)
    elsewhere: set[Place] = field(default_factory=set)
    consumers: list[FakeConsumer] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    commit_calls: int = 0
    _sure: dict[Place, int] = field(default_factory=dict)
    """Everything before was accepted, and stays so."""

    def make(self) -> FakeConsumer:
        """A consumer that is not started."""
        self.consumers.append(FakeConsumer(self))
        return self.consumers[-1]

    @property
    def done(self) -> bool:
        """Whether everything was accepted and committed."""
        return all(self.committed.get(place, 0) == len(log) for place, log in self.logs.items())

    def store(self, following: Mapping[Place, int]) -> None:
        """What a commit does that arrives."""
        for place, offset in following.items():
            if place in self.elsewhere:
                continue
            missing = [
                one for one in self.logs[place][self._sure.get(place, 0) : offset] if one not in self.accepted
            ]
            if missing:
                self.violations.append(f"{place} committed at {offset} without {missing[0].offset}")
            else:
                self._sure[place] = max(offset, self._sure.get(place, 0))
            self.committed[place] = offset

    def rebalance(self, elsewhere: Iterable[Place] = ()) -> None:
        """Other members come or go: everybody begins at the committed places."""
        self.elsewhere = set(elsewhere)
        for consumer in self.consumers:
            consumer.begin()

    def other_member(self, place: Place, count: int) -> None:
        """Whoever has a partition instead of us takes some of it."""
        begin = self.committed.get(place, 0)
        taken = self.logs[place][begin : begin + count]
        self.accepted.update(taken)
        self.committed[place] = begin + len(taken)


class FakeConsumer:
    """Consumer. Words for what happens: "ok"; "error"; "crash", a fault of the client; "cancelled", by nobody;
    "hang", until cancelled; "deaf", for minutes even if cancelled; "slow", 8 s; "rebalance", before it.
    Polls: "leak", which pays no heed to a pause. Commits: "stored error" and "stored hang", which arrived.
    """

    def __init__(self, group: FakeGroup) -> None:
        self.group = group
        self.positions: dict[Place, int] = {}
        self.paused = False
        self.started = self.closed = self.broken = False
        self.polled_at: list[float] = []
        self.close_hangs = False
        self._busy = ""

    def begin(self) -> None:
        """Reads from the committed places."""
        group = self.group
        self.positions = {
            place: group.committed.get(place, 0) for place in group.logs if place not in group.elsewhere
        }

    async def start(self) -> None:
        await self._call("start", self.group.starts)
        self.started = True
        self.begin()

    async def poll(self, most: int, seconds: float) -> Sequence[Record]:
        loop = asyncio.get_running_loop()
        self.polled_at.append(loop.time())
        fate = await self._call("poll", self.group.polls)
        found: list[Record] = []
        if not self.paused or fate == "leak":
            for place, position in self.positions.items():
                some = self.group.logs[place][position : position + most - len(found)]
                self.positions[place] = position + len(some)
                found += some
        if not found:
            await asyncio.sleep(seconds)
        return found

    async def commit(self, following: Mapping[Place, int]) -> None:
        self.group.commit_calls += 1
        following = dict(following)
        if self.group.commits and self.group.commits[0].startswith("stored"):
            self.group.store(following)
        await self._call("commit", self.group.commits)
        self.group.store(following)

    def rewind(self, following: Mapping[Place, int]) -> None:
        self._check("rewind")
        for place, offset in following.items():
            if place in self.positions:
                self.positions[place] = offset

    def pause(self, paused: bool) -> None:
        self.paused = paused

    def lag(self) -> Mapping[Place, int]:
        return {place: len(self.group.logs[place]) - position for place, position in self.positions.items()}

    async def aclose(self) -> None:
        self.closed = True
        if self.close_hangs:
            await asyncio.sleep(3600)

    async def _call(self, what: str, fates: deque[str]) -> str:
        self._check(what)
        self._busy = what
        fate = fates.popleft() if fates else "ok"
        try:
            await self._suffer(fate.removeprefix("stored "))
        except BaseException:
            self.broken = True
            raise
        finally:
            self._busy = ""
        if fate == "rebalance":
            self.group.rebalance(self.group.elsewhere)
        return fate

    async def _suffer(self, fate: str) -> None:
        # Any call may let others run, and none must.
        match fate:
            case "error":
                raise ConsumerError("no broker")
            case "crash":
                raise KeyError("secret")
            case "cancelled":
                raise asyncio.CancelledError
            case "hang":
                await asyncio.Event().wait()
            case "deaf":
                await _deaf()
            case "slow":
                await asyncio.sleep(8)
            case _:
                return

    def _check(self, what: str) -> None:
        if self._busy:
            self.group.violations.append(f"{what} during {self._busy}")
        if self.closed or self.broken:
            self.group.violations.append(f"{what} of a consumer that is of no more use")


async def _deaf() -> None:
    until = asyncio.get_running_loop().time() + 200
    while (left := until - asyncio.get_running_loop().time()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            continue


@dataclass
class FakeAcceptance:
    """Acceptance. Words for what happens: "ok"; "later" and "store", which stored nothing; "half", which stored
    some; "all", which stored everything and could not say so; "crash"; "slow", 20 s.

    `poison` crashes whatever batch it is in, so many times. Of a batch with one that is `refused` some is stored,
    and it is tried later. Those that are `early` are named as such, so many times.
    """

    group: FakeGroup
    fates: deque[str] = field(default_factory=deque)
    poison: dict[Record, float] = field(default_factory=dict)
    refused: set[Record] = field(default_factory=set)
    early: dict[Record, int] = field(default_factory=dict)
    batches: list[Sequence[Record]] = field(default_factory=list)
    at_each: Callable[[], None] = lambda: None
    under_way: bool = False

    async def accept(self, records: Sequence[Record]) -> BatchOutcome:
        """As told."""
        self.batches.append(records)
        self.under_way = True
        self.at_each()
        try:
            return await self._accept(records)
        finally:
            self.under_way = False

    async def _accept(self, records: Sequence[Record]) -> BatchOutcome:
        fate = self.fates.popleft() if self.fates else "ok"
        await asyncio.sleep(20 if fate == "slow" else 0)
        if fate == "later":
            raise TryLaterError
        if fate == "store":
            raise StoreError("database away")
        if fate == "crash":
            raise ValueError("secret")
        bad = [one for one in records if self.poison.get(one, 0) > 0]
        for one in bad:
            self.poison[one] -= 1
        if bad:
            raise ZeroDivisionError("secret")
        if self.refused.intersection(records):
            self.group.accepted.update(set(records[::2]) - self.refused)
            raise TryLaterError
        later = [one for one in records if self.early.get(one, 0) > 0]
        for one in later:
            self.early[one] -= 1
        kept = [one for one in records if one not in later]
        kept = kept[: len(kept) // 2] if fate == "half" else kept
        new = [one for one in kept if one not in self.group.accepted]
        self.group.accepted.update(kept)
        if fate in ("half", "all"):
            raise TryLaterError
        return BatchOutcome(accepted=len(new), repeated=len(kept) - len(new), later=later)


class RecordingConsumingTelemetry:
    """IntakeTelemetry and WakeUpTelemetry: what was told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.lags: list[Mapping[Place, int]] = []

    def gave_up(self, failure: str, error: BaseException | None) -> None:
        self.told.append(("gave_up", failure, type(error).__name__ if error else ""))

    def lag(self, lag: Mapping[Place, int]) -> None:
        self.lags.append(lag)

    def read(self, records: int) -> None:
        self.told.append(("read", records))

    def stored(self, outcome: BatchOutcome) -> None:
        self.told.append(("stored", outcome.accepted, outcome.repeated))

    def batch(self, seconds: float) -> None:
        self.told.append(("batch", seconds))

    def paused(self, paused: bool) -> None:
        self.told.append(("paused", paused))

    def store_failed(self, what: str, error: BaseException) -> None:
        self.told.append(("store_failed", what, type(error).__name__))

    def crashed(self, records: Sequence[Record], error: BaseException) -> None:
        self.told.append(("crashed", len(records), type(error).__name__))

    def aside(self, records: int) -> None:
        self.told.append(("aside", records))

    def hints(self, fresh: int, stale: int) -> None:
        self.told.append(("hints", fresh, stale))

    def of(self, what: str) -> list[tuple[object, ...]]:
        """What was told of one thing."""
        return [tuple(one[1:]) for one in self.told if one[0] == what]
