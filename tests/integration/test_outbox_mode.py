"""Processes that publish and processes that don't, on one database: nothing is lost between them."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from adapters.database.open import Database, DatabaseOptions, open_database
from adapters.database.outbox_mode import KEPT_SECONDS, RENEWED_SECONDS
from adapters.database.sweep import OUTBOX_OFF, OUTBOX_ON, run_sweep
from service.domain.idempotency import Idempotency, Repeated
from service.domain.job_queries import JobFilter
from service.domain.job_store import Accepted, Append, JobOrigin
from service.domain.jobs import JobState
from tests.support.job_worlds import CAP, LEASE, World, world
from tests.support.outbox_worlds import OutboxWorld, outbox_world

ORIGIN = JobOrigin("team.results", b"correlation")
WEEK = KEPT_SECONDS

Open = Callable[..., Database]


@pytest.fixture(name="w")
async def a_world(database_url: str) -> AsyncIterator[OutboxWorld]:
    """A process that publishes."""
    async with outbox_world(database_url) as made:
        yield made


@pytest.fixture(name="plain")
async def a_plain_world(database_url: str) -> AsyncIterator[World]:
    """A process that doesn't, on a database that nobody publishes from."""
    async with world(database_url) as made:
        yield made


@pytest.fixture(name="another")
async def others() -> AsyncIterator[Callable[[World], Database]]:
    """Makes processes that don't publish, on a world's database."""
    made = []

    def another(w: World, *, outbox: bool = False) -> Database:
        made.append(open_database(w.url, DatabaseOptions(outbox=outbox), clock=lambda: w.clock[0]))
        return made[-1]

    yield another
    for database in made:
        await database.aclose()


async def finish(database: Database, response: bytes = b"done") -> str:
    """Has a process claim the next job and end it."""
    (job,) = (await database.jobs.claim("other", 1, LEASE, CAP)).run
    last = Append(job.id, job.epoch, job.sequence, [b"end"])
    assert await database.jobs.finish(last, JobState.COMPLETED, response, None)
    return job.id


async def test_a_process_that_does_not_publish_writes_results_for_those_that_do(
    w: OutboxWorld, another: Open
) -> None:
    other = another(w)
    await w.accept_all([1, 2, 3, 4], origin=ORIGIN)
    await finish(other, b"the answer")
    assert await other.jobs.cancel("a", "resp_2", 0, b"cancelled", b"event")
    assert await other.jobs.cancel_where(JobFilter(owner="a"), 1) == ["resp_3"]
    assert await other.jobs.accept(w.new(5)) == Accepted()
    assert await other.jobs.accept_many([w.new(6, origin=ORIGIN)]) == [Accepted()]
    assert await other.responses.delete("a", "resp_4")
    told = set(await w.told())
    assert told == {
        *(("wake", f"resp_{number}", 0) for number in (1, 2, 3, 5, 6)),
        *(("result", "resp_1", 1), ("result", "resp_2", 1), ("result", "resp_3", 1)),
        ("tombstone", "resp_4", 1),
    }
    (answer,) = [row for row in await w.all() if row.finished is not None and row.finished.id == "resp_1"]
    assert answer.finished is not None
    assert (answer.record.topic, answer.finished.response) == ("team.results", b"the answer")
    assert answer.finished.origin == b"correlation"


async def test_what_expires_is_told_of_by_whoever_sweeps(w: OutboxWorld, another: Open) -> None:
    await w.accept(1, retention=100.0, origin=ORIGIN)
    await w.wait(200.0)
    assert await another(w).responses.sweep(10) == 1
    assert await w.told() == [("tombstone", "resp_1", 1)]


async def test_a_process_learns_that_somebody_publishes_when_it_looks(plain: World, another: Open) -> None:
    await plain.accept(1)
    assert await plain.count("outbox") == 0
    publishes = another(plain, outbox=True)
    await publishes.prepare()
    assert await publishes.jobs.accept(plain.new(2, origin=ORIGIN)) == Accepted()
    await plain.database.look()
    assert plain.database.outbox_mode.on
    for _ in range(2):
        await finish(plain.database)
    assert await plain.execute("SELECT job_id FROM outbox WHERE kind = 'result' ORDER BY job_id") == [
        ("resp_1",),
        ("resp_2",),
    ]


async def test_nothing_more_is_written_a_week_after_the_last_that_published(w: OutboxWorld, another: Open) -> None:
    async def looks() -> bool:
        if not w.url.startswith("sqlite"):
            await w.execute(f"UPDATE outbox_state SET until = until - make_interval(secs => {left})")
        else:
            w.clock[0] += left
        await other.look()
        return other.outbox_mode.on

    other = another(w)
    await other.prepare()
    left = WEEK - 60.0
    assert await looks()
    left = 120.0
    assert not await looks()
    await other.jobs.accept(w.new(1))
    assert await w.count("outbox") == 0
    # One that publishes keeps it true by itself, and writes it when that is worth it.
    await w.database.look()
    left = RENEWED_SECONDS - 60.0
    assert await looks()
    before = await w.execute("SELECT until FROM outbox_state")
    await w.database.look()
    assert await w.execute("SELECT until FROM outbox_state") == before
    left = 120.0
    assert await looks()
    await w.database.look()
    assert await w.execute("SELECT until FROM outbox_state") > before
    left = WEEK - 60.0
    assert await looks()


async def test_a_sweeping_process_tells_once_when_the_outbox_is_on_or_off(plain: World, another: Open) -> None:
    told: list[str] = []

    async def hears(event: str) -> None:
        async with asyncio.timeout(20):
            while event not in told:
                await asyncio.sleep(0.01)

    sweeping = asyncio.create_task(
        run_sweep(plain.database, 0.03, report=lambda event, _values: told.append(event))
    )
    try:
        await hears("database_ready")
        await asyncio.sleep(0.1)
        assert told == ["database_ready"]
        publishes = another(plain, outbox=True)
        await publishes.prepare()
        await hears(OUTBOX_ON)
        await plain.execute("UPDATE outbox_state SET until = NULL")
        await hears(OUTBOX_OFF)
        await asyncio.sleep(0.1)
    finally:
        sweeping.cancel()
    assert told == ["database_ready", OUTBOX_ON, OUTBOX_OFF]


async def test_on_postgresql_a_hint_of_the_outbox_makes_others_look_at_once(
    postgres_url: str, another: Open
) -> None:
    async with world(postgres_url) as plain:
        publishes = another(plain, outbox=True)
        mode = plain.database.outbox_mode
        running = [
            asyncio.create_task(run_sweep(plain.database, 3600.0)),
            asyncio.create_task(plain.database.signals.run()),
            asyncio.create_task(publishes.signals.run()),
        ]
        try:
            async with asyncio.timeout(30):
                while not (plain.database.signals.hears and publishes.signals.hears):
                    await asyncio.sleep(0.01)
            assert not mode.on
            await publishes.jobs.accept(plain.new(1, origin=ORIGIN, delay=3.0))
            async with asyncio.timeout(5):
                while not mode.on:
                    await asyncio.sleep(0.01)
        finally:
            for task in running:
                task.cancel()


async def test_a_process_that_does_not_publish_leaves_no_origin_behind_and_keeps_the_keys_of_records(
    w: OutboxWorld, another: Open
) -> None:
    key = Idempotency("record-1", b"digest")
    assert await w.store.accept_many([w.new(1, idempotency=key, origin=ORIGIN)]) == [Accepted()]
    await w.accept(2, retention=100.0, origin=ORIGIN)
    await w.execute("UPDATE outbox_state SET until = NULL")
    other = another(w)
    assert await other.responses.delete("a", "resp_1")
    await w.wait(200.0)
    assert await other.responses.sweep(10) == 1
    assert not other.outbox_mode.on
    assert await w.count("job_origins") == 0
    # The record is read once more: it is known, and nothing is in its way.
    assert await w.store.accept_many([w.new(3, idempotency=key, origin=ORIGIN)]) == [Repeated("resp_1")]


@pytest.mark.parametrize("many", [False, True])
async def test_an_origin_that_was_left_behind_is_replaced(w: OutboxWorld, many: bool) -> None:
    blob = "x'00'" if w.url.startswith("sqlite") else "'\\x00'"
    await w.execute(f"INSERT INTO job_origins (id, topic, body) VALUES ('resp_1', 'old', {blob}) RETURNING id")
    job = w.new(1, origin=ORIGIN)
    if many:
        assert await w.store.accept_many([w.new(2), job, w.new(3, origin=ORIGIN)]) == [Accepted()] * 3
    else:
        assert await w.store.accept(job) == Accepted()
    for _ in range(await w.count("jobs")):
        await w.finish_one()
    (result,) = [row for row in await w.all() if row.finished is not None and row.finished.id == "resp_1"]
    assert result.finished is not None
    assert (result.record.topic, result.finished.origin) == ("team.results", b"correlation")
