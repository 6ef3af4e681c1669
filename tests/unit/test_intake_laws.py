"""Whatever fails, whoever comes and goes: nothing is committed before it is accepted, and nothing is skipped."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.consuming import Place, Record
from service.domain.stored import StoreError
from tests.support.fake_consumer import FakeAcceptance, FakeGroup, RecordingConsumingTelemetry, records
from tests.support.virtual_time import run
from workers.intake import IntakeLoop
from workers.intake_progress import Progress
from workers.intake_settings import IntakeSettings

PLACES: list[Place] = [("a", 0), ("a", 1), ("b", 0)]

place = st.sampled_from(PLACES)
starts = st.lists(st.sampled_from(["ok", "error", "crash", "cancelled", "hang", "deaf"]), max_size=3)
polls = st.lists(
    st.sampled_from(["ok", "ok", "ok", "leak", "leak", "error", "crash", "hang", "deaf", "slow", "rebalance"]),
    max_size=12,
)
commits = st.lists(
    st.sampled_from(
        ["ok", "ok", "error", "crash", "hang", "deaf", "slow", "rebalance", "stored error", "stored hang"]
    ),
    max_size=8,
)
fates = st.lists(st.sampled_from(["ok", "ok", "later", "store", "half", "all", "crash", "slow"]), max_size=12)
step = st.one_of(
    st.tuples(st.just("add"), place, st.integers(1, 30)),
    st.tuples(st.just("pass"), st.sampled_from([0.01, 0.3, 2.0, 8.5, 30.0])),
    st.tuples(st.just("elsewhere"), st.sets(place, max_size=3)),
    st.tuples(st.just("other member"), place, st.integers(1, 20)),
    st.tuples(st.just("poison"), place, st.integers(0, 40), st.integers(1, 12)),
    st.tuples(st.just("refuse"), place, st.integers(0, 40)),
    st.tuples(st.just("early"), place, st.integers(0, 40), st.integers(1, 5)),
    st.tuples(st.just("waiting"), st.sampled_from([0, 15, 19, 30, None])),
    st.tuples(st.just("polls"), polls),
    st.tuples(st.just("commits"), commits),
    st.tuples(st.just("accepts"), fates),
    st.tuples(st.just("leave")),
    st.tuples(st.just("cancel")),
)
steps = st.lists(step, max_size=25)


class Play:
    """A topic's life with one process of ours that may be replaced, and members elsewhere."""

    def __init__(self) -> None:
        self.group = FakeGroup({place: records(place, 7) for place in PLACES})
        self.acceptance = FakeAcceptance(self.group)
        self.telemetry = RecordingConsumingTelemetry()
        self.waiting: int | None = 0
        self.begin()

    def begin(self) -> None:
        """Another process."""
        settings = IntakeSettings(
            batch=5,
            batch_bytes=6,
            poll=2.0,
            stuck=10.0,
            watch=2.0,
            longest_wait=5.0,
            high_water=20,
            check=2.0,
            longest_retry=2.0,
            longest_aside=5.0,
            most_aside=6,
        )
        self.loop = IntakeLoop(
            self.group.make,
            self.acceptance,
            self.runnable,
            self.telemetry,
            settings=lambda: settings,
            clock=asyncio.get_running_loop().time,
        )
        self.running = asyncio.create_task(self.loop.run())

    async def runnable(self) -> int:
        await asyncio.sleep(0.01)
        if self.waiting is None:
            raise StoreError("away")
        return self.waiting

    async def step(self, step: tuple[Any, ...]) -> None:
        group = self.group
        match step:
            case ("add", place, count):
                group.logs[place] += records(place, count, first=len(group.logs[place]))
            case ("pass", seconds):
                await asyncio.sleep(seconds)
            case ("elsewhere", places):
                group.rebalance(places)
            case ("other member", place, count) if place in group.elsewhere:
                group.other_member(place, count)
            case ("waiting", jobs):
                self.waiting = jobs
            case (("poison" | "refuse" | "early"), place, offset, *_) if offset < len(group.logs[place]):
                self.spoil(step[0], group.logs[place][offset], *step[3:])
            case ("polls", words):
                group.polls.extend(words)
            case ("commits", words):
                group.commits.extend(words)
            case ("accepts", words):
                self.acceptance.fates.extend(words)
            case ("leave",):
                await self.loop.leave()
                await self.running
                self.begin()
            case ("cancel",):
                self.running.cancel()
                await asyncio.wait((self.running,))
                self.begin()
            case _:
                return

    def spoil(self, how: str, record: Record, times: int = 1) -> None:
        """From now on there is something about a record."""
        match how:
            case "poison":
                self.acceptance.poison[record] = times
            case "refuse":
                self.acceptance.refused.add(record)
            case _:
                self.acceptance.early[record] = times

    async def end(self) -> None:
        """Everything works, and all partitions are ours again: in the end nothing waits."""
        self.acceptance.refused.clear()
        await self.settle()
        assert self.group.done
        await self.loop.leave()
        await self.running

    async def settle(self) -> None:
        """All but certain records works for a while."""
        group = self.group
        for words in (group.starts, group.polls, group.commits, self.acceptance.fates):
            words.clear()
        self.waiting = 0
        for _ in range(3):
            group.rebalance()
            for place, log in group.logs.items():
                log += records(place, 1, first=len(log))
            # Whoever is deaf comes to himself meanwhile, and is not heard.
            await asyncio.sleep(100)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=starts, some=steps)
def test_nothing_is_committed_before_it_is_accepted_and_nothing_is_skipped(
    first: list[str], some: list[tuple[Any, ...]]
) -> None:
    async def main() -> None:
        play = Play()
        play.group.starts.extend(first)
        for one in some:
            await play.step(one)
        await play.end()
        assert not play.group.violations
        for log in play.group.logs.values():
            assert play.group.accepted.issuperset(log)
        assert all(consumer.closed for consumer in play.group.consumers)

    run(main())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    some=steps.filter(lambda chosen: not any(one[0] == "refuse" for one in chosen)),
    refused=st.lists(st.tuples(place, st.integers(0, 6)), min_size=1, max_size=5, unique=True),
)
def test_records_that_the_store_refuses_for_their_own_sake_stop_no_others_and_are_not_skipped(
    some: list[tuple[Any, ...]], refused: list[tuple[Place, int]]
) -> None:
    async def main() -> None:
        play = Play()
        bad = {play.group.logs[place][offset] for place, offset in refused}
        play.acceptance.refused.update(bad)
        for one in some:
            # Another member has a store of its own.
            if one[0] != "other member":
                await play.step(one)
        await play.settle()
        for place, log in play.group.logs.items():
            assert play.group.accepted.issuperset(set(log) - bad)
            assert play.group.committed[place] == min(
                (one.offset for one in bad if one.place == place), default=len(log)
            )
        await play.end()
        assert not play.group.violations
        assert play.group.accepted >= bad

    run(main())


batches = st.lists(
    st.tuples(place, st.integers(0, 30), st.integers(1, 10), st.sets(st.integers(0, 9)), st.booleans()),
    max_size=20,
)


@given(batches)
def test_no_partition_is_committed_beyond_a_record_that_waits(
    some: list[tuple[Place, int, int, set[int], bool]],
) -> None:
    progress = Progress()
    waiting: set[Record] = set()
    for where, first, count, bad, again in some:
        came = records(where, count, first=first)
        aside = [record for number, record in enumerate(came) if number in bad]
        progress.done(came, aside)
        waiting = (waiting - set(came)) | set(aside)
        if again:
            tried = progress.aside
            still = tried[::2]
            progress.tried(tried, still)
            waiting = set(still)
        assert set(progress.aside) == waiting
        for committed, offset in progress.following.items():
            lowest = min((one.offset for one in waiting if one.place == committed), default=offset)
            assert offset <= lowest
        assert progress.following[where] <= first + count
        progress.committed()
        assert not progress.following


def test_a_record_that_waits_is_no_progress_of_a_topic_that_was_made_anew() -> None:
    progress = Progress()
    old, new = records(("a", 0), 1, first=500), records(("a", 0), 3, timestamp_ms=9)
    progress.done(old, old)
    progress.done(new, [])
    assert progress.following == {("a", 0): 3}
    assert progress.aside == old
