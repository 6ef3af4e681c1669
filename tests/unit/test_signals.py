"""Hints: who is told of what, once, and what followers make of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from adapters.database.outbox_mode import OutboxMode
from adapters.database.signalling import SOON_SECONDS, SignallingJobs, SignallingResponses
from adapters.database.signals import MANY, Hints, LocalSignals
from adapters.database.signals_postgres import payloads, read
from service.api.responses.follow import Followers, FollowTimes, GoneError
from service.domain.job_queries import JobFilter
from service.domain.job_store import Append, EventPage, LoggedEvent, NewJob
from service.domain.jobs import JobState
from service.domain.signals import Signals
from service.domain.stored import NewResponse, StoreError
from tests.support.fake_jobs import FakeJobs
from tests.support.working import until

NEVER = FollowTimes(poll=1000.0, slow=1000.0, hinted=1000.0)


class Told:
    """What a listener was told, in order: "work", "outbox", "missed" or an id."""

    def __init__(self, signals: Signals) -> None:
        self.all: list[str] = []
        signals.listen(
            on_work=lambda: self.all.append("work"),
            on_outbox=lambda: self.all.append("outbox"),
            on_news=self.all.append,
            on_missed=lambda: self.all.append("missed"),
        )

    async def then(self) -> list[str]:
        """All so far, once the loop has turned."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        told, self.all[:] = sorted(self.all), []
        return told


class HeardSignals(LocalSignals):
    """Signals that come from everywhere."""

    @property
    def hears(self) -> bool:
        return True


class Log(FakeJobs):
    """One response's log. Reads may be held: `reading` says how many are under way, `hold` keeps them there."""

    def __init__(self, state: JobState = JobState.IN_PROGRESS) -> None:
        super().__init__()
        self.bodies: list[bytes] = []
        self.state: JobState | None = state
        self.reads = self.reading = 0
        self.hold: asyncio.Event | None = None

    def write(self, *bodies: bytes, end: bool = False) -> None:
        self.bodies += bodies
        if end:
            self.state = JobState.COMPLETED

    async def events(self, owner: str, job_id: str, after: int, limit: int) -> EventPage:
        self._ask("events")
        self.reads += 1
        found = [LoggedEvent(n, body) for n, body in enumerate(self.bodies) if n > after]
        page = EventPage(found[:limit], self.state)
        self.reading += 1
        if self.hold is not None:
            await self.hold.wait()
        self.reading -= 1
        return page


def new(job_id: str = "resp_1", **fields: Any) -> NewJob:
    response = NewResponse(job_id, "a", None, "queued", b"", b"", 60.0)
    return NewJob(response, "responses", b"request", [b"created", b"queued"], **fields)


async def told_after(seconds: float, told: Told) -> list[str]:
    await asyncio.sleep(seconds)
    return await told.then()


# In one process.


async def test_hints_of_one_turn_are_told_once_and_to_everybody() -> None:
    signals = LocalSignals()
    first, second = Told(signals), Told(signals)
    for _ in range(100):
        signals.work()
        signals.news(["resp_1", "resp_2"])
    assert not first.all
    assert await first.then() == await second.then() == ["resp_1", "resp_2", "work"]
    signals.news(iter(["resp_1"]))
    assert await first.then() == ["resp_1"]


async def test_more_news_than_can_be_named_says_that_everything_is_to_be_looked_at() -> None:
    signals = LocalSignals()
    told = Told(signals)
    signals.news(f"resp_{number}" for number in range(MANY))
    assert len(await told.then()) == MANY
    signals.news(f"resp_{number}" for number in range(MANY + 1))
    signals.news(["resp_1"])
    assert await told.then() == ["missed"]


@pytest.mark.parametrize("news", [Hints(ids={"resp_1"}), Hints(everything=True)], ids=["one", "many"])
def test_between_hints_of_work_one_of_the_outbox_goes_along_with_news_only(news: Hints) -> None:
    waiting = Hints(work=True, outbox=True)
    assert not waiting.take(work=False)
    assert waiting == Hints(work=True, outbox=True)
    waiting.everything, waiting.ids = news.everything, set(news.ids)
    assert waiting.take(work=False) == replace(news, outbox=True)
    assert waiting == Hints(work=True)
    waiting.outbox = True
    assert waiting.take() == Hints(work=True, outbox=True)
    assert not waiting


async def test_a_hint_that_is_given_by_a_listener_is_told_too() -> None:
    signals = LocalSignals()
    told = Told(signals)
    signals.listen(on_work=lambda: signals.news(["resp_1"]))
    signals.work()
    assert await told.then() == ["resp_1", "work"]


async def test_one_process_hears_no_other() -> None:
    signals = LocalSignals()
    assert not signals.hears
    running = asyncio.create_task(signals.run())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


# As they travel.


@pytest.mark.parametrize(
    "hints",
    [
        Hints(),
        Hints(work=True),
        Hints(everything=True),
        Hints(work=True, everything=True),
        Hints(outbox=True),
        Hints(work=True, everything=True, outbox=True),
        Hints(ids={"resp_1"}),
        Hints(work=True, ids={"resp_1", "resp_2"}),
    ],
)
def test_a_payload_says_what_was_meant_and_by_whom(hints: Hints) -> None:
    (payload,) = payloads("me", hints)
    assert read(payload) == ("me", hints)


def test_many_ids_are_split_over_payloads_that_the_server_takes() -> None:
    ids = {f"resp_{number:036x}" for number in range(MANY)}
    told = payloads("0123456789abcdef", Hints(work=True, ids=set(ids)))
    assert 1 < len(told) < 10
    assert max(len(payload.encode()) for payload in told) < 8000
    heard = [read(payload)[1] for payload in told]
    assert [hints.work for hints in heard] == [True] + [False] * (len(told) - 1)
    assert set().union(*(hints.ids for hints in heard)) == ids
    assert sum(len(hints.ids) for hints in heard) == len(ids)


def test_an_id_that_no_response_can_have_does_not_travel() -> None:
    assert payloads("me", Hints(ids={"resp_ü" * 4000, "a b", "\0"})) == ["1 me -"]


@pytest.mark.parametrize("payload", ["", "1", "1 me", "2 me w resp_1", "hello there", " "])
def test_what_cannot_be_read_may_mean_anything(payload: str) -> None:
    assert read(payload) == ("", Hints(work=True, everything=True, outbox=True))


# What a store tells.


async def test_a_job_is_told_of_when_it_may_begin() -> None:
    signals = LocalSignals()
    told = Told(signals)
    jobs = SignallingJobs(FakeJobs(), signals)
    await jobs.accept(new("resp_1"))
    assert await told.then() == ["work"]
    await jobs.accept(new("resp_2", delay=0.05))
    assert await told.then() == []
    assert await told_after(0.1, told) == ["work"]
    timers = _timers_set(lambda: jobs.accept(new("resp_3", delay=SOON_SECONDS + 1)))
    assert await timers == 0
    assert await told.then() == []


async def _timers_set(act: Callable[[], Any]) -> int:
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    before = len(scheduled)
    await act()
    return len(scheduled) - before


async def test_whoever_waits_for_a_job_is_told_of_each_write_and_of_none_that_was_refused() -> None:
    signals = LocalSignals()
    told = Told(signals)
    store = FakeJobs()
    jobs = SignallingJobs(store, signals)
    for number in range(4):
        await jobs.accept(new(f"resp_{number}"))
    await told.then()
    claimed = (await jobs.claim("w", 4, 30.0, 10)).run
    assert await told.then() == []
    held = [(job.id, job.epoch) for job in claimed]
    others = Append("resp_1", 9, 2, [b"x"])
    fenced = await jobs.append([Append("resp_0", 1, 2, [b"x"]), others, Append("resp_2", 1, 2, [])])
    assert fenced == {("resp_1", 9)}
    assert await told.then() == ["resp_0"]
    assert await jobs.finish(Append("resp_0", 1, 3, [b"end"]), JobState.COMPLETED, b"", None)
    assert await told.then() == ["resp_0"]
    assert not await jobs.finish(others, JobState.COMPLETED, b"", None)
    assert await jobs.cancel("a", "resp_1", 1, b"", b"end")
    assert await told.then() == ["resp_1"]
    assert not await jobs.cancel("a", "resp_1", 1, b"", b"end")
    assert await jobs.put_off("resp_2", 1, 0.0, failed=False)
    assert await told.then() == ["work"]
    assert not await jobs.put_off("resp_2", 1, 0.0, failed=False)
    await jobs.hand_back([])
    assert await told.then() == []
    await jobs.hand_back(held[3:])
    assert await told.then() == ["work"]


async def test_a_cancel_of_many_is_news_of_each() -> None:
    signals = LocalSignals()
    told = Told(signals)
    jobs = SignallingJobs(FakeJobs(), signals)
    for number in range(3):
        await jobs.accept(new(f"resp_{number}"))
    await told.then()
    assert len(await jobs.cancel_where(JobFilter(), 10)) == 3
    assert await told.then() == ["resp_0", "resp_1", "resp_2"]
    assert not await jobs.cancel_where(JobFilter(), 10)
    assert await told.then() == []


async def test_whoever_publishes_is_told_of_what_is_to_be_published_and_only_where_somebody_does() -> None:
    for outbox in (True, False):
        signals = LocalSignals()
        told = Told(signals)
        store = FakeJobs()
        jobs = SignallingJobs(store, signals, OutboxMode(always=outbox))
        responses = SignallingResponses(store, signals, OutboxMode(always=outbox))
        more = ["outbox"] if outbox else []
        for number in (1, 2, 3):
            await jobs.accept(new(f"resp_{number}"))
        assert await told.then() == [*more, "work"]
        (claimed, *_) = (await jobs.claim("w", 1, 30.0, 10)).run
        await jobs.append([Append(claimed.id, claimed.epoch, claimed.sequence, [b"x"])])
        assert await told.then() == [claimed.id]
        last = Append(claimed.id, claimed.epoch, claimed.sequence + 1, [b"end"])
        await jobs.finish(last, JobState.COMPLETED, b"", None)
        assert await told.then() == [*more, claimed.id]
        await jobs.cancel("a", "resp_2", 0, b"", b"event")
        assert await told.then() == [*more, "resp_2"]
        await jobs.cancel_where(JobFilter(), 10)
        assert await told.then() == [*more, "resp_3"]
        await responses.delete("a", "resp_1")
        assert await told.then() == [*more, "resp_1"]


async def test_a_failed_write_is_told_to_nobody_and_its_error_passes() -> None:
    signals = LocalSignals()
    told = Told(signals)
    store = FakeJobs()
    store.down = True
    with pytest.raises(StoreError):
        await SignallingJobs(store, signals).accept(new())
    assert await told.then() == []


async def test_followers_of_a_deleted_response_are_told() -> None:
    signals = LocalSignals()
    told = Told(signals)
    store = FakeJobs()
    await store.accept(new())
    responses = SignallingResponses(store, signals)
    assert await responses.delete("a", "resp_1")
    assert await told.then() == ["resp_1"]
    assert not await responses.delete("a", "resp_1")
    assert await told.then() == []


# What followers make of it.


async def test_a_hint_brings_an_event_that_no_poll_would() -> None:
    log, signals = Log(), HeardSignals()
    log.write(b"0")
    follower = Followers(log, signals, times=NEVER).follow("a", "resp_1", -1)
    assert [event.body for event in await follower.next()] == [b"0"]
    waiting = asyncio.create_task(follower.next())
    log.write(b"1", end=True)
    await asyncio.sleep(0.02)
    assert not waiting.done()
    signals.news(["resp_2"])
    await asyncio.sleep(0.02)
    assert not waiting.done()
    signals.news(["resp_1"])
    assert [event.body for event in await asyncio.wait_for(waiting, 5)] == [b"1"]
    assert await follower.next() == ()
    follower.aclose()


async def test_a_hint_during_a_read_leads_to_another_read() -> None:
    log, signals = Log(), HeardSignals()
    log.hold = asyncio.Event()
    follower = Followers(log, signals, times=NEVER).follow("a", "resp_1", -1)
    waiting = asyncio.create_task(follower.next())
    await until(lambda: log.reading == 1)
    log.write(b"0", end=True)
    signals.news(["resp_1"])
    await asyncio.sleep(0.01)
    log.hold.set()
    assert [event.body for event in await asyncio.wait_for(waiting, 5)] == [b"0"]
    follower.aclose()


async def test_a_hint_before_the_first_read_is_not_needed() -> None:
    log, signals = Log(), HeardSignals()
    followers = Followers(log, signals, times=NEVER)
    follower = followers.follow("a", "resp_1", -1)
    log.write(b"0", end=True)
    followers.wake("resp_1")
    assert [event.body for event in await asyncio.wait_for(follower.next(), 5)] == [b"0"]
    assert log.reads == 1
    follower.aclose()


async def test_everybody_looks_when_hints_were_missed() -> None:
    log, signals = Log(), HeardSignals()
    followers = Followers(log, signals, times=NEVER)
    followed = [followers.follow("a", f"resp_{number}", -1) for number in range(5)]
    waiting = [asyncio.create_task(follower.next()) for follower in followed]
    await until(lambda: log.reads == 5)
    log.write(b"0", end=True)
    signals.missed()
    assert all(await asyncio.wait_for(asyncio.gather(*waiting), 5))
    for follower in followed:
        follower.aclose()


async def test_many_followers_share_a_reader_and_a_hint_costs_one_read() -> None:
    log, signals = Log(), HeardSignals()
    followers = Followers(log, signals, times=NEVER)
    followed = [followers.follow("a", "resp_1", -1) for _ in range(50)]
    waiting = [asyncio.create_task(follower.next()) for follower in followed]
    await until(lambda: log.reads == 1)
    log.write(b"0")
    signals.news(["resp_1"])
    assert all(await asyncio.wait_for(asyncio.gather(*waiting), 5))
    assert log.reads == 2
    for follower in followed:
        follower.aclose()


@pytest.mark.parametrize(("hinted", "most", "least"), [(True, 3, 1), (False, 1000, 10)])
async def test_where_hints_come_an_idle_follower_reads_seldom(hinted: bool, most: int, least: int) -> None:
    log = Log()
    signals = HeardSignals() if hinted else LocalSignals()
    times = FollowTimes(poll=0.01, slow=0.01, hinted=1000.0)
    follower = Followers(log, signals, times=times).follow("a", "resp_1", -1)
    log.write(b"0")
    await follower.next()
    waiting = asyncio.create_task(follower.next())
    log.write(b"1")
    signals.news(["resp_1"])
    await asyncio.wait_for(waiting, 5)
    log.reads = 0
    await asyncio.sleep(0.5)
    assert least - 1 <= log.reads <= most
    follower.aclose()


async def test_a_lost_hint_is_made_up_by_looking() -> None:
    log = Log()
    times = FollowTimes(poll=0.01, slow=1000.0, hinted=0.02)
    follower = Followers(log, HeardSignals(), times=times).follow("a", "resp_1", -1)
    for number in range(5):
        log.write(b"%d" % number)
        assert [event.sequence for event in await asyncio.wait_for(follower.next(), 5)] == [number]
    follower.aclose()


async def test_a_writer_whose_hints_do_not_come_is_followed_by_quick_looks() -> None:
    log = Log()
    times = FollowTimes(poll=0.01, slow=1000.0, hinted=1000.0)
    follower = Followers(log, HeardSignals(), times=times).follow("a", "resp_1", -1)
    log.write(b"0")
    await follower.next()
    for number in range(1, 20):
        await asyncio.sleep(0.005)
        log.write(b"%d" % number)
        await asyncio.wait_for(follower.next(), 5)
    follower.aclose()


async def test_a_follower_of_a_deleted_response_is_told_at_once() -> None:
    log, signals = Log(), HeardSignals()
    follower = Followers(log, signals, times=NEVER).follow("a", "resp_1", -1)
    waiting = asyncio.create_task(follower.next())
    await until(lambda: log.reads == 1)
    log.state = None
    signals.news(["resp_1"])
    with pytest.raises(GoneError):
        await asyncio.wait_for(waiting, 5)
    follower.aclose()


async def test_followers_that_left_are_forgotten() -> None:
    log, signals = Log(), HeardSignals()
    followers = Followers(log, signals, times=NEVER)
    for _ in range(3):
        leaving = [followers.follow(owner, f"resp_{n}", -1) for n in range(10) for owner in ("a", "b")]
        await asyncio.sleep(0)
        for follower in leaving:
            follower.aclose()
    again = followers.follow("a", "resp_1", -1)
    await asyncio.sleep(0.01)
    assert set(followers._readers) == {"resp_1"}
    log.write(b"0", end=True)
    signals.news(["resp_1"])
    assert await asyncio.wait_for(again.next(), 5)
    again.aclose()
    await asyncio.sleep(0.01)
    assert not followers._readers


async def test_the_database_being_away_costs_nothing_but_time() -> None:
    log = Log()
    follower = Followers(log, times=replace(NEVER, slow=0.01, patience=5.0)).follow("a", "resp_1", -1)
    log.down = True
    waiting = asyncio.create_task(follower.next())
    await asyncio.sleep(0.05)
    log.down = False
    log.write(b"0", end=True)
    assert await asyncio.wait_for(waiting, 5)
    follower.aclose()
