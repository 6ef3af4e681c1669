"""A worker on the real databases: what it writes can be read, by numbers without gaps, and ends once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest
from eurouter.v1 import response_events_pb2 as events_pb

from adapters.database.open import Database, open_database
from service.domain.events import Event, Finish, FinishReason, TextDelta
from service.domain.failure import FailureKind
from service.domain.job_store import JobStore, NewJob
from service.domain.jobs import JobState
from tests.support.upstreams import Hang, Pause, Script, fails, says
from tests.support.working import World, until
from workers.leases import LeaseTimes

ENDS: list[Event] = [TextDelta("!"), Finish(FinishReason.STOP, "stop")]
HANGS = Script(([TextDelta("seen")], Hang()))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = open_database(database_url)
    await opened.prepare()
    yield opened
    await opened.aclose()


def at_work(database: Database, script: Script | list[Script], **options: Any) -> World:
    options = {"store": database.jobs, **options}
    return World(script, responses=database.responses, **options)


async def log_of(database: Database, job: str) -> list[events_pb.ResponseStreamEvent]:
    page = await database.jobs.events("local", job, -1, 10_000)
    assert [event.sequence for event in page.events] == list(range(len(page.events)))
    events = [events_pb.ResponseStreamEvent.FromString(event.body) for event in page.events]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    return events


def words(events: list[events_pb.ResponseStreamEvent]) -> str:
    return "".join(event.output_text_delta.delta for event in events)


async def state_of(database: Database, job: str) -> JobState:
    found = await database.jobs.job("local", job)
    assert found is not None
    return found[0]


async def test_jobs_of_every_kind_end_with_whole_logs(database: Database) -> None:
    world = at_work(database, Script(([TextDelta("one ")], Pause(0.05), [TextDelta("two")], ENDS)))
    followed = [await world.accept(log_deltas=True) for _ in range(30)]
    others = [await world.accept() for _ in range(30)]
    await world.drained(60)
    assert world.telemetry.outcomes == ["completed"] * 60
    for job in followed:
        assert words(await log_of(database, job)) == "one two!"
    for job in others:
        events = await log_of(database, job)
        assert words(events) == ""
        assert events[-1].HasField("completed")
        row = await database.responses.get("local", job)
        assert row is not None
        assert row.status == "completed"


async def test_a_cancel_stops_the_upstream_and_is_the_last_event(database: Database) -> None:
    world = at_work(database, HANGS, times=LeaseTimes(compare=0.5))
    job = await world.accept(log_deltas=True)
    async with world.working():
        await until(lambda: world.upstream.open_streams == 1)
        await asyncio.sleep(0.1)
        found = await database.jobs.job("local", job)
        assert found is not None
        event = events_pb.ResponseStreamEvent(sequence_number=found[2])
        event.cancelled.SetInParent()
        assert await database.jobs.cancel("local", job, found[1], b"", event.SerializeToString())
        await until(lambda: world.upstream.open_streams == 0, seconds=1.0)
        await until(lambda: world.telemetry.outcomes == ["fenced"])
    assert (await log_of(database, job))[-1].HasField("cancelled")


async def test_a_job_that_was_put_off_is_run_when_its_time_comes(database: Database) -> None:
    world = at_work(database, [fails(FailureKind.RATE_LIMITED, retry_after=0.3), says("hi")])
    job = await world.accept(log_deltas=True)
    await world.drained(2)
    assert world.telemetry.outcomes == ["put_off", "completed"]
    assert words(await log_of(database, job)) == "hi"


async def test_a_lost_workers_job_is_made_anew_by_another(database: Database) -> None:
    world = at_work(
        database,
        [HANGS, says("whole")],
        store=cast("JobStore", _Dying(database.jobs)),
        times=LeaseTimes(length=1.0, margin=0.1, compare=0.05),
    )
    job = await world.accept(log_deltas=True)
    dying = asyncio.create_task(world.worker().run())
    await until(lambda: world.upstream.open_streams == 1)
    await asyncio.sleep(0.2)
    dying.cancel()
    await asyncio.wait((dying,))
    assert await state_of(database, job) is JobState.IN_PROGRESS
    await world.drained(2)
    assert world.telemetry.outcomes == ["handed_back", "completed"]
    events = await log_of(database, job)
    after = next(number for number, event in enumerate(events) if event.HasField("restarted"))
    assert words(events[:after]) == "seen"
    assert words(events[after:]) == "whole"


async def test_what_a_worker_hands_back_another_takes_at_once(database: Database) -> None:
    world = at_work(database, [HANGS, says("whole")])
    job = await world.accept()
    async with world.working():
        await until(lambda: world.upstream.open_streams == 1)
    assert await state_of(database, job) is JobState.QUEUED
    await world.drained(2)
    assert await state_of(database, job) is JobState.COMPLETED


@pytest.mark.parametrize("spoilt", [{"response": b"\xff\xff"}, {"response": b""}, {"input": b"\xff\xff"}])
async def test_a_job_whose_stored_response_cannot_be_read_is_ended_and_asks_no_provider(
    database: Database, spoilt: dict[str, Any]
) -> None:
    world = at_work(
        database, says("what no filter held back"), store=cast("JobStore", _Spoiling(database, spoilt))
    )
    broken = await world.accept(log_deltas=True)
    await world.drained(1)
    assert world.telemetry.outcomes == ["failed"]
    assert world.upstream.asked() == []
    last = (await log_of(database, broken))[-1].failed.response
    assert (last.id, last.error.code) == (broken, "server_error")
    assert "can't be read" in last.error.message
    assert await state_of(database, broken) is JobState.FAILED


class _Spoiling:
    """A store that keeps other bytes of a response than it was given."""

    def __init__(self, database: Database, spoilt: dict[str, Any]) -> None:
        self._store = database.jobs
        self._spoilt = spoilt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def accept(self, new: NewJob) -> object:
        """Stores it, spoilt."""
        return await self._store.accept(replace(new, response=replace(new.response, **self._spoilt)))


class _Dying:
    """A store that a worker can't reach any more when it wants to leave well."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def hand_back(self, held: object) -> None:
        """Nothing arrives."""
