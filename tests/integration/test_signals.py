"""Hints between processes: over a real PostgreSQL by NOTIFY, on SQLite within the process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

import asyncpg
import pytest

from adapters.database.open import Database, open_database
from adapters.database.signals import MANY, LocalSignals
from adapters.database.signals_postgres import CHANNEL, FAILED, READY, HintTimes, PostgresSignals
from adapters.database.url import PostgresTarget, parse_url
from service.api.responses.follow import Followers, FollowTimes, GoneError
from service.domain.job_store import Append, LoggedEvent, NewJob
from service.domain.jobs import JobState
from service.domain.signals import Signals
from service.domain.stored import NewResponse
from tests.support import postgres
from tests.support.parts import ROOT
from tests.support.working import until

QUICK = HintTimes(gather=0.005, work=0.005, check=0.05, answer=1.0, first_wait=0.01, longest_wait=0.1)
CALM = HintTimes(first_wait=0.01, longest_wait=0.1)
NEVER = FollowTimes(poll=1000.0, slow=1000.0, hinted=1000.0)

Carry = Callable[..., Any]


class Told:
    """What one listener was told, in order: "work", "missed" or an id."""

    def __init__(self, signals: Signals) -> None:
        self.signals = signals
        self.all: list[str] = []
        self.reports: list[tuple[str, str]] = []
        signals.listen(
            on_work=lambda: self.all.append("work"),
            on_news=self.all.append,
            on_missed=lambda: self.all.append("missed"),
        )

    def report(self, event: str, values: Any) -> None:
        """As `run` tells it."""
        self.reports.append((event, " ".join(map(str, values.values()))))

    async def hears(self, *what: str) -> None:
        """Waits until all of it was told."""
        await until(lambda: set(what) <= set(self.all))

    @property
    def events(self) -> list[str]:
        """The names of what was reported."""
        return [event for event, _ in self.reports]


@pytest.fixture
async def carry() -> AsyncIterator[Carry]:
    """Runs signals, as another process would, until the test is over; returns when they hear."""
    tasks: list[asyncio.Task[None]] = []

    async def start(signals: Signals) -> Told:
        told = Told(signals)
        tasks.append(asyncio.create_task(signals.run(told.report)))
        if isinstance(signals, PostgresSignals):
            await until(lambda: signals.hears)
            await told.hears("missed")
            told.all.clear()
        return told

    yield start
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes), outcomes


def signals_of(url: str, times: HintTimes = CALM) -> PostgresSignals:
    target = parse_url(url)
    assert isinstance(target, PostgresTarget)
    return PostgresSignals(target, times=times)


async def sql(url: str, statement: str, *arguments: Any) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch(statement, *arguments)]
    finally:
        await connection.close()


async def listening(url: str) -> list[int]:
    """The servers' processes of those who hear."""
    hears = "application_name = 'eurouter hints' AND datname = current_database()"
    return await sql(url, f"SELECT pid FROM pg_stat_activity WHERE {hears}")


class Overheard:
    """Every payload that goes over the channel, and the server's processes that sent them."""

    def __init__(self, url: str) -> None:
        self.payloads: list[str] = []
        self.pids: set[int] = set()
        self._url = url

    async def __aenter__(self) -> Self:
        self._connection = await asyncpg.connect(self._url)
        await self._connection.add_listener(CHANNEL, self._heard)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    def _heard(self, _connection: object, pid: int, _channel: str, payload: object) -> None:
        self.pids.add(pid)
        self.payloads.append(str(payload))


async def test_a_hint_arrives_in_every_other_process_and_comes_back_to_none(
    postgres_url: str, carry: Carry
) -> None:
    told = [await carry(signals_of(postgres_url)) for _ in range(3)]
    told[0].signals.work()
    told[1].signals.news(["resp_1", "resp_2"])
    for each in told:
        await each.hears("work", "resp_1", "resp_2")
    await asyncio.sleep(0.1)
    for each in told:
        assert sorted(each.all) == ["resp_1", "resp_2", "work"]


async def test_one_database_does_not_hear_another(
    postgres_server: postgres.Postgres, postgres_url: str, carry: Carry
) -> None:
    other = postgres_server.database()
    here, there = await carry(signals_of(postgres_url)), await carry(signals_of(other, QUICK))
    here.signals.news(["resp_1"])
    await here.hears("resp_1")
    await asyncio.sleep(0.1)
    assert not there.all


async def test_a_flood_of_hints_is_a_few_notifications(postgres_url: str, carry: Carry) -> None:
    teller, hearer = await carry(signals_of(postgres_url)), await carry(signals_of(postgres_url))
    async with Overheard(postgres_url) as overheard:
        for _ in range(20):
            for number in range(100):
                teller.signals.work()
                teller.signals.news([f"resp_{number}"])
            await asyncio.sleep(0)
        await hearer.hears("work", *(f"resp_{number}" for number in range(100)))
        assert len(overheard.payloads) <= 10
        assert sum(payload.split(" ")[2].count("w") for payload in overheard.payloads) <= 2


@pytest.mark.parametrize("hint", ["work", "outbox"])
async def test_hints_of_work_and_of_the_outbox_are_far_apart_and_the_last_is_never_left_out(
    postgres_url: str, carry: Carry, hint: str
) -> None:
    far = HintTimes(gather=0.001, work=0.1)
    teller, hearer = await carry(signals_of(postgres_url, far)), await carry(signals_of(postgres_url))
    hearer.signals.listen(on_outbox=lambda: hearer.all.append("outbox"))
    began = asyncio.get_running_loop().time()
    for _ in range(100):
        getattr(teller.signals, hint)()
        await asyncio.sleep(0.002)
    most = 2 + (asyncio.get_running_loop().time() - began) / 0.1
    hearer.all.clear()
    await hearer.hears(hint)
    await asyncio.sleep(0.2)
    assert hearer.all == [hint]
    async with Overheard(postgres_url) as overheard:
        for _ in range(100):
            getattr(teller.signals, hint)()
            await asyncio.sleep(0.002)
        assert 1 <= len(overheard.payloads) <= most + 2


async def test_many_ids_travel_in_pieces_and_too_many_as_one_word(postgres_url: str, carry: Carry) -> None:
    teller, hearer = await carry(signals_of(postgres_url)), await carry(signals_of(postgres_url))
    ids = [f"resp_{number:036x}" for number in range(MANY)]
    async with Overheard(postgres_url) as overheard:
        teller.signals.news(ids)
        await hearer.hears(*ids)
        assert sorted(hearer.all) == ids
        assert 1 < len(overheard.payloads) < 10
        overheard.payloads.clear()
        teller.signals.news([*ids, "resp_more"])
        await hearer.hears("missed")
        await until(lambda: bool(overheard.payloads))
        assert len(overheard.payloads) == 1


async def test_an_id_that_cannot_travel_harms_no_other(postgres_url: str, carry: Carry) -> None:
    teller, hearer = await carry(signals_of(postgres_url)), await carry(signals_of(postgres_url))
    teller.signals.news(["resp_ü" * 4000, "resp_\0", "resp_1"])
    await hearer.hears("resp_1")
    assert hearer.all == ["resp_1"]
    assert teller.events == [READY]


async def test_a_connection_that_is_cut_comes_back_and_everybody_looks(postgres_url: str, carry: Carry) -> None:
    cut, other = await carry(signals_of(postgres_url)), await carry(signals_of(postgres_url))
    for times in range(1, 4):
        (first, second) = await listening(postgres_url)
        await sql(postgres_url, "SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid", [first, second])
        for each in (cut, other):
            await each.hears("work", "missed")
            await until(lambda each=each: each.signals.hears)  # type: ignore[misc]
            assert each.events == [READY, *[FAILED, READY] * times]
            each.all.clear()
        cut.signals.news([f"resp_{times}"])
        await other.hears(f"resp_{times}")
        other.all.clear()
    assert len(await listening(postgres_url)) == 2
    assert postgres.PASSWORD not in str(cut.reports)


async def test_a_server_that_is_away_is_tried_again_and_reported_once(own_postgres: postgres.Postgres) -> None:
    url = own_postgres.database()
    told = Told(signals := signals_of(url, QUICK))
    own_postgres.stop()
    running = asyncio.create_task(signals.run(told.report))
    await until(lambda: told.events == [FAILED])
    signals.work()
    signals.news(["resp_1"])
    await told.hears("work", "resp_1")
    await asyncio.sleep(0.5)
    assert not signals.hears
    own_postgres.start()
    await until(lambda: signals.hears)
    await told.hears("missed")
    assert told.events == [FAILED, READY]
    assert postgres.PASSWORD not in str(told.reports)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_notifications_that_do_not_come_back_are_noticed(
    postgres_url: str, carry: Carry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pooler that gives every transaction another connection."""

    async def listens_elsewhere(_self: object, _channel: str, _callback: object) -> None:
        """Nothing comes of it."""

    monkeypatch.setattr(asyncpg.Connection, "add_listener", listens_elsewhere)
    signals = signals_of(postgres_url, HintTimes(check=0.05, answer=0.1))
    told = Told(signals)
    running = asyncio.create_task(signals.run(told.report))
    await until(lambda: bool(told.reports))
    await asyncio.sleep(0.3)
    assert not signals.hears
    assert told.events == [FAILED]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_idle_connection_is_tried_now_and_then(postgres_url: str, carry: Carry) -> None:
    await carry(signals_of(postgres_url, QUICK))
    async with Overheard(postgres_url) as overheard:
        await until(lambda: len(overheard.payloads) >= 3)
    assert {payload.split(" ")[2] for payload in overheard.payloads} == {"-"}


async def test_a_connection_is_left_behind_by_nobody(postgres_url: str) -> None:
    running = asyncio.create_task((signals := signals_of(postgres_url)).run())
    await until(lambda: signals.hears)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not signals.hears
    async with asyncio.timeout(5):
        while await listening(postgres_url):
            await asyncio.sleep(0.01)


async def test_what_a_stranger_says_on_the_channel_is_only_a_hint(postgres_url: str, carry: Carry) -> None:
    told = await carry(signals_of(postgres_url))
    await sql(postgres_url, "SELECT pg_notify($1, $2)::text", CHANNEL, "what?")
    await told.hears("work", "missed")
    assert told.signals.hears


async def test_a_hint_from_another_process_arrives(postgres_url: str, carry: Carry) -> None:
    told = await carry(signals_of(postgres_url))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OTHER_PROCESS, cwd=ROOT, env={**os.environ, "HINTS_URL": postgres_url}
    )
    assert await asyncio.wait_for(child.wait(), 30) == 0
    await told.hears("work", "resp_other")


_OTHER_PROCESS = """
import asyncio, os
from adapters.database.signals_postgres import PostgresSignals
from adapters.database.url import parse_url

async def main():
    signals = PostgresSignals(parse_url(os.environ["HINTS_URL"]))
    running = asyncio.create_task(signals.run())
    while not signals.hears:
        await asyncio.sleep(0.01)
    signals.work()
    signals.news(["resp_other"])
    await asyncio.sleep(0.2)
    running.cancel()

asyncio.run(main())
"""


# What the stores of a database tell.


def new(job_id: str = "resp_1", **fields: Any) -> NewJob:
    response = NewResponse(job_id, "a", None, "queued", b"", b"", 60.0)
    return NewJob(response, "responses", b"request", [b"created", b"queued"], **fields)


@pytest.fixture
async def replica(database_url: str) -> AsyncIterator[Callable[[], Database]]:
    """Opens the database as one more process would."""
    opened: list[Database] = []

    def another() -> Database:
        opened.append(open_database(database_url))
        return opened[-1]

    yield another
    for database in opened:
        await database.aclose()


Replica = Callable[[], Database]


async def claimed(database: Database, job_id: str = "resp_1", **fields: Any) -> tuple[str, int]:
    await database.jobs.accept(new(job_id, **fields))
    (job,) = (await database.jobs.claim("w", 1, 30.0, 10)).run
    return job.id, job.epoch


async def test_a_waiting_worker_is_told_of_a_job(replica: Replica, carry: Carry) -> None:
    database = replica()
    other = database if isinstance(database.signals, LocalSignals) else replica()
    told = await carry(other.signals)
    if other is not database:
        await carry(database.signals)
    await database.jobs.accept(new())
    await told.hears("work")
    assert len((await other.jobs.claim("w", 1, 30.0, 10)).run) == 1


async def test_a_follower_sees_what_its_own_process_writes_without_looking(replica: Replica, carry: Carry) -> None:
    database = replica()
    job, epoch = await claimed(database)
    follower = Followers(database.jobs, database.signals, times=NEVER).follow("a", job, 1)
    waiting = asyncio.create_task(follower.next())
    await asyncio.sleep(0.1)
    await database.jobs.append([Append(job, epoch, 2, [b"one"])])
    assert await asyncio.wait_for(waiting, 5) == [LoggedEvent(2, b"one")]
    await database.jobs.finish(Append(job, epoch, 3, [b"end"]), JobState.COMPLETED, b"", None)
    assert await asyncio.wait_for(follower.next(), 5) == [LoggedEvent(3, b"end")]
    assert await follower.next() == ()
    follower.aclose()


async def two_replicas(url: str, carry: Carry) -> tuple[Database, Database]:
    here, there = open_database(url), open_database(url)
    for database in (here, there):
        await database.prepare()
        await carry(database.signals)
    return here, there


@pytest.fixture
async def replicas(postgres_url: str, carry: Carry) -> AsyncIterator[tuple[Database, Database]]:
    """Two processes on one PostgreSQL, as it were."""
    both = await two_replicas(postgres_url, carry)
    yield both
    for database in both:
        await database.aclose()


async def test_a_follower_on_another_replica_sees_events_without_looking(
    replicas: tuple[Database, Database],
) -> None:
    here, there = replicas
    job, epoch = await claimed(here)
    follower = Followers(there.jobs, there.signals, times=NEVER).follow("a", job, -1)
    assert len(await follower.next()) == 2
    for number in range(2, 12):
        waiting = asyncio.create_task(follower.next())
        await asyncio.sleep(0.02)
        await here.jobs.append([Append(job, epoch, number, [b"%d" % number])])
        assert await asyncio.wait_for(waiting, 5) == [LoggedEvent(number, b"%d" % number)]
    waiting = asyncio.create_task(follower.next())
    assert await there.jobs.cancel("a", job, epoch, b"", b"cancelled")
    assert await asyncio.wait_for(waiting, 5) == [LoggedEvent(12, b"cancelled")]
    assert await follower.next() == ()
    follower.aclose()


async def test_a_follower_on_another_replica_is_told_of_a_delete(replicas: tuple[Database, Database]) -> None:
    here, there = replicas
    job, _ = await claimed(here)
    follower = Followers(there.jobs, there.signals, times=NEVER).follow("a", job, 1)
    waiting = asyncio.create_task(follower.next())
    await asyncio.sleep(0.1)
    assert await here.responses.delete("a", job)
    with pytest.raises(GoneError):
        await asyncio.wait_for(waiting, 5)
    follower.aclose()


async def test_a_follower_whose_connection_was_cut_looks_when_it_is_back(
    postgres_url: str, replicas: tuple[Database, Database]
) -> None:
    here, there = replicas
    job, epoch = await claimed(here)
    follower = Followers(there.jobs, there.signals, times=NEVER).follow("a", job, 1)
    waiting = asyncio.create_task(follower.next())
    await asyncio.sleep(0.1)
    for pid in await listening(postgres_url):
        await sql(postgres_url, "SELECT pg_terminate_backend($1)", pid)
    await until(lambda: not there.signals.hears)
    # Told to nobody: neither hears now.
    await here.jobs.append([Append(job, epoch, 2, [b"missed"])])
    assert await asyncio.wait_for(waiting, 10) == [LoggedEvent(2, b"missed")]
    follower.aclose()


async def test_without_any_hint_a_follower_finds_what_is_there(replica: Replica) -> None:
    here, there = replica(), replica()
    job, epoch = await claimed(here)
    follower = Followers(there.jobs, there.signals).follow("a", job, 1)
    for number in range(2, 5):
        await here.jobs.append([Append(job, epoch, number, [b"x"])])
        assert [event.sequence for event in await asyncio.wait_for(follower.next(), 5)] == [number]
    follower.aclose()


async def test_no_statement_of_a_store_notifies_and_a_flood_of_jobs_is_a_few_hints(
    postgres_url: str, replicas: tuple[Database, Database]
) -> None:
    """NOTIFY holds a lock of the whole database at its commit: accepts and appends would wait for one another."""
    here, _ = replicas
    async with Overheard(postgres_url) as overheard:
        await asyncio.gather(*(here.jobs.accept(new(f"resp_{number}")) for number in range(200)))
        held = (await here.jobs.claim("w", 200, 30.0, 1000)).run
        assert len(held) == 200
        assert not await here.jobs.append([Append(job.id, job.epoch, 2, [b"x"]) for job in held])
        await until(lambda: any("resp_" in payload for payload in overheard.payloads))
    assert len(overheard.payloads) < 40
    assert overheard.pids <= set(await listening(postgres_url))
