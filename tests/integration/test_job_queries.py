"""Lists, counts, statistics and the cancel of many jobs: one list, run on SQLite and on PostgreSQL."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from sqlite3 import connect
from typing import Any

import asyncpg
import pytest

from adapters.database.url import SqliteTarget, parse_url
from service.domain.job_queries import JobFilter, JobPlace, ListedJob, PriorityStats
from service.domain.job_store import Append, ClaimedJob, LoggedEvent, Priority
from service.domain.jobs import TERMINAL, JobState
from tests.support.job_worlds import CAP, LEASE, World, world, write

ALL = JobFilter()
MINE = JobFilter(owner="a")
QUEUED, RUNNING, CANCELLED = JobState.QUEUED, JobState.IN_PROGRESS, JobState.CANCELLED


@pytest.fixture(name="w")
async def a_world(database_url: str) -> AsyncIterator[World]:
    async with world(database_url) as made:
        yield made


async def listed(w: World, which: JobFilter, size: int) -> list[ListedJob]:
    """All that pass, page by page."""
    found: list[ListedJob] = []
    after: JobPlace | None = None
    while page := await w.store.list_jobs(which, size, after):
        found += page
        after = page[-1].place
    return found


async def ids(w: World, which: JobFilter, size: int = 100) -> list[str]:
    return [job.id for job in await listed(w, which, size)]


async def finish(w: World, job: ClaimedJob) -> None:
    assert await w.store.finish(write(job, b"end"), JobState.COMPLETED, b"done", None)


async def cancel_all(w: World, which: JobFilter, limit: int = 100) -> list[str]:
    """Until nothing is left."""
    gone: list[str] = []
    while some := await w.store.cancel_where(which, limit):
        assert len(some) <= limit
        gone += some
    return gone


def about(seconds: float) -> Any:
    return pytest.approx(seconds, abs=2.0)


async def now_of(w: World) -> float:
    """The store's time."""
    return w.clock[0] if w.url.startswith("sqlite") else datetime.now(UTC).timestamp()


async def test_a_listed_job_says_how_it_stands_and_nothing_of_its_content(w: World) -> None:
    await w.accept(1, priority=Priority.BULK, group="g", delay=5.0, start_within=50.0)
    now = await now_of(w)
    (job,) = await w.store.list_jobs(MINE, 10, None)
    assert (job.id, job.owner, job.api, job.state) == ("resp_1", "a", "responses", QUEUED)
    assert (job.priority, job.group) == (Priority.BULK, "g")
    assert job.start_before is not None
    times = (job.created_at, job.not_before, job.start_before)
    assert times == pytest.approx((now, now + 5, now + 50), abs=3.0)
    assert (job.epoch, job.losses, job.failed_attempts, job.events) == (0, 0, 0, 2)
    await w.wait(6)
    claimed = await w.claim_one()
    await w.store.append([write(claimed, b"x", b"y")])
    assert await w.store.put_off(claimed.id, claimed.epoch, 1.0, failed=True)
    (job,) = await w.store.list_jobs(MINE, 10, None)
    assert (job.state, job.epoch, job.failed_attempts, job.events) == (QUEUED, 1, 1, 4)


async def test_lists_are_by_owner_and_newest_first_in_any_state(w: World) -> None:
    await w.accept_all([1, 2, 3], owner="b")
    await w.accept_all([4, 5, 6, 7], owner="a")
    for job in (await w.store.claim("w", 3, LEASE, CAP)).run[:2]:
        await finish(w, job)
    assert await ids(w, ALL) == ["resp_7", "resp_6", "resp_5", "resp_4", "resp_3", "resp_2", "resp_1"]
    for size in (1, 2, 3, 7):
        assert await ids(w, ALL, size) == await ids(w, ALL)
        assert await ids(w, JobFilter("b"), size) == ["resp_3", "resp_2", "resp_1"]


async def test_filters_are_anded(w: World) -> None:
    await w.accept_all([1, 2], group="red")
    await w.accept_all([3], group="blue")
    await w.accept_all([4])
    await w.accept_all([5], owner="b", group="red")
    assert await w.claim(1) == ["resp_1"]
    assert await ids(w, JobFilter(group="red")) == ["resp_2", "resp_1", "resp_5"]
    assert await ids(w, JobFilter("a", "red")) == ["resp_2", "resp_1"]
    assert await ids(w, JobFilter("a", "red", frozenset({RUNNING}))) == ["resp_1"]
    assert await ids(w, JobFilter("a", None, frozenset({QUEUED}))) == ["resp_4", "resp_3", "resp_2"]
    assert await ids(w, JobFilter(None, None, frozenset({RUNNING, QUEUED})), 2) == await ids(w, ALL)
    assert await ids(w, JobFilter("nobody")) == await ids(w, JobFilter(group="none")) == []


async def test_jobs_of_the_same_moment_are_paged_without_gap_or_repeat(w: World) -> None:
    for number in range(30):
        await w.accept(number)
    moment = "1000000.0" if w.url.startswith("sqlite") else "'2026-01-01T00:00:00.123457Z'"
    await w.execute(f"UPDATE jobs SET created_at = {moment}")
    whole = await ids(w, MINE)
    assert whole == sorted(whole, reverse=True)
    assert [await ids(w, MINE, size) for size in (1, 7)] == [whole, whole]


async def test_what_is_accepted_while_somebody_pages_makes_no_gap_and_no_repeat(w: World) -> None:
    numbers = range(2500)
    for begin in range(0, 2500, 100):
        await asyncio.gather(*(w.store.accept(w.new(n, owner="abc"[n % 3])) for n in numbers[begin : begin + 100]))
    before = set(await ids(w, ALL, 1000))
    assert len(before) == 2500
    seen: list[str] = []
    after: JobPlace | None = None
    later = iter(range(3000, 9000))
    while page := await w.store.list_jobs(ALL, 300, after):
        seen += [job.id for job in page]
        after = page[-1].place
        await asyncio.gather(*(w.store.accept(w.new(next(later), owner=owner)) for owner in "abc" * 3))
        for job in (await w.store.claim("w", 5, LEASE, CAP)).run:
            await finish(w, job)
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


async def test_counts_are_by_state_and_have_every_state_of_the_filter(w: World) -> None:
    await w.accept_all([1, 2, 3], group="g")
    await w.accept_all([4], owner="b")
    await finish(w, await w.claim_one())
    await w.claim_one()
    none = dict.fromkeys(JobState, 0)
    assert await w.store.count_jobs(MINE) == {**none, JobState.COMPLETED: 1, RUNNING: 1, QUEUED: 1}
    assert await w.store.count_jobs(ALL) == {**none, JobState.COMPLETED: 1, RUNNING: 1, QUEUED: 2}
    assert await w.store.count_jobs(JobFilter("a", "g", frozenset({QUEUED}))) == {QUEUED: 1}
    assert await w.store.count_jobs(JobFilter("nobody")) == none


async def test_statistics_tell_runnable_from_waiting(w: World) -> None:
    await w.accept(1, priority=Priority.HIGH)
    await w.wait(20)
    await w.accept(2)
    await w.accept(3, owner="b", delay=100.0)
    await w.accept(4, priority=Priority.BULK, owner="b")
    await w.accept(5, priority=Priority.BULK, owner="b", start_within=5.0)
    await w.wait(10)
    stats = await w.store.queue_stats(None)
    assert list(stats) == list(Priority)
    assert stats[Priority.HIGH] == PriorityStats(1, about(30), 0, 0)
    assert stats[Priority.NORMAL] == PriorityStats(1, about(10), 1, 0)
    # One of them comes too late, and is for a worker to end.
    assert stats[Priority.BULK] == PriorityStats(2, about(10), 0, 0)
    assert await w.claim(1) == ["resp_1"]
    own = await w.store.queue_stats("b")
    assert (own[Priority.HIGH], own[Priority.NORMAL]) == (PriorityStats(), PriorityStats(waiting=1))
    assert (await w.store.queue_stats("a"))[Priority.HIGH] == PriorityStats(in_progress=1)


async def test_those_that_may_begin_are_counted_up_to_a_bound(w: World) -> None:
    assert await w.store.runnable(10) == 0
    await w.accept_all([1, 2, 3])
    await w.accept(4, priority=Priority.BULK)
    await w.accept(5, priority=Priority.HIGH, owner="b")
    await w.accept(6, delay=100.0)
    assert await w.store.runnable(10) == 5
    assert await w.store.runnable(4) == 4
    await w.claim(1)
    assert await w.store.runnable(10) == 4
    await w.wait(100)
    assert await w.store.runnable(10) == 5


async def test_a_cancelled_job_is_over_everywhere_and_its_last_event_has_no_body(w: World) -> None:
    await w.accept(1)
    await w.accept(2)
    running = await w.claim_one()
    await w.store.append([write(running, b"begun")])
    assert sorted(await cancel_all(w, MINE)) == ["resp_1", "resp_2"]
    assert await w.store.job("a", "resp_1") == (CANCELLED, 2, 4)
    assert await w.store.job("a", "resp_2") == (CANCELLED, 1, 3)
    assert await w.status("resp_1") == await w.status("resp_2") == "cancelled"
    assert await w.bodies("resp_1") == [b"created", b"queued", b"begun", b""]
    assert (await w.store.events("a", "resp_2", 1, 10)).events == [LoggedEvent(2, b"")]
    stored = await w.database.responses.get("a", "resp_1")
    assert stored is not None
    assert stored.response == b"queued"
    assert await w.count("job_requests") == 0
    assert await w.execute("SELECT count(*) FROM jobs WHERE lease_until IS NOT NULL OR worker IS NOT NULL") == [
        (0,)
    ]
    assert await cancel_all(w, MINE) == []


async def test_the_worker_of_a_cancelled_job_is_fenced(w: World) -> None:
    await w.accept(1)
    job = await w.claim_one()
    assert await cancel_all(w, MINE) == ["resp_1"]
    held = [(job.id, job.epoch)]
    assert await w.store.held(held) == await w.store.renew(held, LEASE) == frozenset()
    assert await w.store.append([write(job, b"late")]) == frozenset(held)
    assert not await w.store.finish(write(job, b"late"), JobState.COMPLETED, b"late", None)
    await w.store.hand_back(held)
    assert await w.claim() == []
    assert await w.bodies("resp_1") == [b"created", b"queued", b""]


async def test_only_what_passes_the_filter_is_cancelled(w: World) -> None:
    await w.accept_all([1, 2, 3], group="red")
    await w.accept_all([4])
    await w.accept_all([5, 6], owner="b", group="red")
    assert await w.claim(2) == ["resp_1", "resp_2"]
    assert await cancel_all(w, JobFilter("a", "red", frozenset({QUEUED}))) == ["resp_3"]
    assert await cancel_all(w, JobFilter("a", None, frozenset({RUNNING})), 1) == ["resp_1", "resp_2"]
    assert await cancel_all(w, JobFilter("nobody")) == []
    assert await cancel_all(w, JobFilter("a", None, frozenset({JobState.COMPLETED}))) == []
    assert sorted(await cancel_all(w, JobFilter(group="red"))) == ["resp_5", "resp_6"]
    assert await cancel_all(w, ALL) == ["resp_4"]


async def test_jobs_that_were_accepted_later_than_asked_for_are_left_alone(w: World) -> None:
    await w.accept(1)
    moment = await w.store.now()
    w.clock[0] += 0.001
    await w.accept(2)
    assert await w.store.cancel_where(ALL, 10, moment) == ["resp_1"]
    assert await w.store.cancel_where(ALL, 10, moment) == []
    assert await w.store.cancel_where(ALL, 10) == ["resp_2"]


async def test_jobs_whose_retention_is_over_are_neither_listed_nor_cancelled(w: World) -> None:
    await w.accept(1, retention=60.0)
    await w.accept(2)
    await w.wait(61)
    assert await ids(w, MINE) == ["resp_2"]
    assert await cancel_all(w, MINE) == ["resp_2"]
    assert (await w.store.count_jobs(MINE))[QUEUED] == 1
    await w.database.responses.sweep(10)
    assert (await w.store.count_jobs(MINE))[QUEUED] == 0


async def test_very_many_are_cancelled_while_workers_claim_and_finish(w: World) -> None:
    """Every job ends once, in one state, and no number of an event is missing."""
    for begin in range(0, 600, 100):
        await asyncio.gather(*(w.store.accept(w.new(n, owner="ab"[n % 2])) for n in range(begin, begin + 100)))
    stop = asyncio.Event()

    some_ended = asyncio.Event()

    async def work(name: str) -> int:
        finished = 0
        while not stop.is_set():
            for job in (await w.store.claim(name, 4, LEASE, CAP)).run:
                await w.store.append([write(job, b"begun")])
                last = Append(job.id, job.epoch, job.sequence + 1, [b"end"])
                finished += await w.store.finish(last, JobState.COMPLETED, b"done", None)
                some_ended.set()
        return finished

    workers = [asyncio.create_task(work(f"w{n}")) for n in range(3)]
    await some_ended.wait()
    gone = await cancel_all(w, ALL, 50)
    stop.set()
    finished = sum(await asyncio.gather(*workers))
    counts = await w.store.count_jobs(ALL)
    assert len(gone) == len(set(gone)) == counts[CANCELLED] > 0
    assert finished == counts[JobState.COMPLETED] > 0
    assert len(gone) + finished == 600
    for job in await listed(w, ALL, 200):
        assert job.state in TERMINAL
        bodies = await w.bodies(job.id, job.owner)
        assert len(bodies) == job.events
        assert Counter(bodies)[b""] + Counter(bodies)[b"end"] == 1


async def test_a_cancel_passes_over_what_a_claim_holds_and_comes_back_for_it(postgres_url: str) -> None:
    async with world(postgres_url) as w:
        await w.accept_all([1, 2, 3])
        other = await asyncpg.connect(postgres_url)
        try:
            begun = other.transaction()
            await begun.start()
            await other.execute("SELECT FROM jobs WHERE id = 'resp_2' FOR NO KEY UPDATE")
            assert sorted(await asyncio.wait_for(w.store.cancel_where(ALL, 10), 5)) == ["resp_1", "resp_3"]
            waiting = asyncio.create_task(cancel_all(w, ALL))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            await begun.commit()
            assert await asyncio.wait_for(waiting, 5) == ["resp_2"]
        finally:
            await other.close()


async def test_claims_do_not_wait_for_a_cancel_that_is_under_way(postgres_url: str) -> None:
    async with world(postgres_url) as w:
        await w.accept_all([1, 2, 3])
        other = await asyncpg.connect(postgres_url)
        try:
            begun = other.transaction()
            await begun.start()
            # As the statement holds them until its end.
            await other.execute("SELECT FROM jobs WHERE id <> 'resp_2' ORDER BY id FOR NO KEY UPDATE")
            assert await asyncio.wait_for(w.claim(), 5) == ["resp_2"]
            await begun.rollback()
        finally:
            await other.close()


async def test_on_sqlite_a_batch_of_a_large_cancel_holds_the_writer_briefly(sqlite_url: str) -> None:
    async with world(sqlite_url) as w:
        target = parse_url(sqlite_url)
        assert isinstance(target, SqliteTarget)
        await w.accept(1)
        with closing(connect(target.path)) as raw, raw:
            numbers = "WITH RECURSIVE g (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM g WHERE n < 20000)"
            for table, key in (("jobs", "id"), ("responses", "id"), ("job_requests", "id")):
                columns = [row[1] for row in raw.execute(f"PRAGMA table_info({table})") if row[1] != key]
                rest = ", ".join(columns)
                raw.execute(
                    f"INSERT INTO {table} ({key}, {rest}) {numbers} SELECT 'resp_' || n, {rest} FROM g, {table}"
                )
        batches = [len(await w.store.cancel_where(ALL, 100_000))]
        while batches[-1]:
            batches.append(len(await w.store.cancel_where(ALL, 100_000)))
        assert sum(batches) == 20_000
        # One transaction over all of them would be one batch.
        assert max(batches) < 5_000
