"""A database that goes and comes back under running jobs, several services on one, and clients that leave."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from eurouter.v1 import response_events_pb2 as events_pb
from eurouter.v1 import responses_pb2 as pb

from adapters.database.open import DatabaseOptions, open_database
from adapters.providers.simulator import Script
from service.domain.events import TextDelta
from service.domain.jobs import JobState
from tests.support import upstreams, working
from tests.support.background import accepted, ended, follow
from tests.support.job_logs import OWNER, log_of
from tests.support.postgres import Postgres
from tests.support.responses_door import ResponsesDoor, asked, responses_door
from tests.support.running import ask_response, until
from workers.leases import LeaseTimes

SLOW = Script(tokens=60, pace=0.04)


@asynccontextmanager
async def replicas(folder: Path, url: str, **jobs: Any) -> AsyncIterator[tuple[ResponsesDoor, ResponsesDoor]]:
    """A service that works on jobs, and another one on the same database that only has doors."""
    both = [folder / "first", folder / "second"]
    for each in both:
        each.mkdir()
    database = {"url": url, "statement_seconds": 5}
    async with (
        responses_door(both[0], {"database": database, "jobs": jobs}) as first,
        responses_door(both[1], {"database": database, "jobs": {"here": False}}) as second,
    ):
        yield first, second


async def restart(server: Postgres, how: signal.Signals, away: float) -> None:
    """The server goes, and comes back after so many seconds."""
    await asyncio.to_thread(server.stop, how)
    await asyncio.sleep(away)
    await asyncio.to_thread(server.start)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
async def test_a_database_that_restarts_under_running_jobs_loses_none_and_repeats_none(
    own_postgres: Postgres, tmp_path: Path, how: signal.Signals
) -> None:
    async with replicas(tmp_path, own_postgres.database(), lease_seconds=8) as (first, second):
        first.up.alpha.script(SLOW)
        running = [(await first.stream_begun(asked(background=True, stream=True)))["id"] for _ in range(3)]
        doors = (first, second, first, second)
        begun = [asyncio.Event() for _ in range(6)]
        following = [asyncio.create_task(follow(doors[n % 4], running[n % 3], begun=begun[n])) for n in range(6)]
        await until(lambda: len(first.up.alpha.calls) == 3, "every job asks its model")
        arriving = [asyncio.create_task(arrive(doors[n % 2], n)) for n in range(20)]
        await asyncio.gather(*(one.wait() for one in begun), asyncio.sleep(0.3))
        await restart(own_postgres, how, 0.5)
        followed = await asyncio.gather(*following)
        later = await asyncio.gather(*arriving)
        assert len(set(later)) == len(later)
        for number, each in enumerate(followed):
            assert each.done
            whole = await follow(second, running[number % 3])
            assert whole.events == each.events
            assert "response.restarted" not in each.types
            assert each.types[-1] == "response.completed"
            assert each.text == each.response["output"][0]["content"][0]["text"]
        for made in later:
            assert (await ended(second, made))["status"] == "completed"
        # Only what a worker lost is asked for twice, and none was lost.
        assert len(first.up.alpha.calls) == len(running) + len(later)


async def arrive(door: ResponsesDoor, number: int) -> str:
    """One of many that come before, while and after the database is away."""
    await asyncio.sleep(number * 0.06)
    return await accepted(door, asked(text=f"number {number}"), f"key-{number}")


async def test_while_the_database_is_away_callers_are_told_and_a_follower_waits(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    async with replicas(tmp_path, own_postgres.database()) as (door, _):
        door.up.alpha.script(Script(text="late", first_byte_delay=0.5))
        made = (await door.create(asked(background=True))).json["id"]
        following = asyncio.create_task(follow(door, made))
        await until(lambda: bool(door.up.alpha.calls), "the job asks its model")
        await asyncio.to_thread(own_postgres.stop)
        for method, path in (("GET", f"/{made}"), ("POST", f"/{made}/cancel"), ("DELETE", f"/{made}")):
            began = time.monotonic()
            refused = await door.call(method, path)
            assert time.monotonic() - began < 5
            assert (refused.status, refused.error["reason"]) == (503, "STORE_UNAVAILABLE")
        refused = await door.create(asked(background=True))
        assert (refused.status, refused.error["reason"]) == (503, "STORE_UNAVAILABLE")
        assert not following.done()
        await asyncio.to_thread(own_postgres.start)
        seen = await asyncio.wait_for(following, 15)
        assert seen.types[-1] == "response.completed"
        assert seen.response == await ended(door, made)
        assert len(door.up.alpha.calls) == 1


async def test_a_database_that_is_away_for_longer_than_a_lease_fences_its_worker_and_the_job_is_made_once_more(
    own_postgres: Postgres,
) -> None:
    database = open_database(own_postgres.database(), DatabaseOptions(connect_seconds=1.0, seconds=1.0))
    await database.prepare()
    first = upstreams.Script(([TextDelta("seen")], upstreams.Hang()))
    world = working.World(
        [first, upstreams.says("whole")],
        store=database.jobs,
        responses=database.responses,
        times=LeaseTimes(length=1.0, margin=0.2, compare=0.05),
    )
    job = await world.accept(log_deltas=True)
    async with world.working():
        await working.until(lambda: world.upstream.open_streams == 1)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(own_postgres.stop)
        # While nobody can tell it anything: its own clock ends the call.
        await working.until(lambda: world.upstream.open_streams == 0, 2.0)
        assert world.telemetry.outcomes == ["fenced"]
        await asyncio.to_thread(own_postgres.start)
        await working.until(lambda: len(world.telemetry.outcomes) == 2, 10.0)
    assert world.telemetry.outcomes == ["fenced", "completed"]
    log = await log_of(database.jobs, database.responses, job)
    log.check()
    assert log.arms.count("restarted") == 1
    assert [context.request_id for context in world.upstream.contexts] == [f"{job}.1", f"{job}.2"]
    assert await database.jobs.job(OWNER, job) == (JobState.COMPLETED, 2, len(log.events))
    await database.aclose()


async def test_followers_at_another_replica_see_the_same_events_and_its_cancel_is_heard(
    tmp_path: Path, database_url: str
) -> None:
    async with replicas(tmp_path, database_url) as (first, second):
        first.up.alpha.enqueue(Script(tokens=20, pace=0.03), Script(tokens=1000, pace=0.02))
        made = (await first.stream_begun(asked(background=True, stream=True)))["id"]
        here, there = await asyncio.gather(follow(first, made), follow(second, made))
        assert here.events == there.events
        assert here.response == await ended(second, made)
        call = second.up.responses.FollowResponse(pb.FollowResponseRequest(response_id=made))
        assert [event.sequence_number async for event in call] == list(range(len(here.events)))
        other = (await second.create(asked(background=True))).json["id"]
        await until(lambda: len(first.up.alpha.calls) == 2, "the worker of the first has it")
        following = asyncio.create_task(follow(first, other))
        cancelled = await second.call("POST", f"/{other}/cancel")
        assert cancelled.json["status"] == "cancelled"
        await first.up.alpha.wait_for(lambda calls: calls[-1].cancelled, 1.5)
        assert (await asyncio.wait_for(following, 5)).types[-1] == "response.cancelled"
        assert (await ended(first, other)) == cancelled.json


async def test_a_response_whose_client_leaves_at_its_first_event_is_made_all_the_same(
    tmp_path: Path, database_url: str
) -> None:
    async with responses_door(tmp_path, {"database": {"url": database_url}}) as door:
        door.up.alpha.script(Script(tokens=10, pace=0.02))
        by_http = (await door.stream_begun(asked(background=True, stream=True)))["id"]
        call = door.up.responses.StreamResponse(ask_response(background=True))
        first: events_pb.ResponseStreamEvent = await call.read()
        assert first.HasField("created")
        call.cancel()
        for made in (by_http, first.created.response.id):
            found = await ended(door, made)
            assert found["status"] == "completed"
            whole = await follow(door, made)
            assert whole.types[:3] == ["response.created", "response.queued", "response.in_progress"]
            assert whole.response == found
            assert whole.text == found["output"][0]["content"][0]["text"]
        assert [call.cancelled for call in door.up.alpha.calls] == [False, False]
