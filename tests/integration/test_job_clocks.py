"""Clocks that jump, and workers that stand still: for longer than a lease, and for less."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.providers.simulator import Call, Script
from service.domain.events import Event, Finish, FinishReason, TextDelta
from service.domain.jobs import JobState
from tests.support import job_worlds, upstreams
from tests.support.background import WorkerChild, ended, follow, worker_child
from tests.support.faults import Gate, Lab
from tests.support.job_logs import log_of
from tests.support.responses_door import ResponsesDoor, asked, responses_door

JUMP = 50 * 60.0
"""Seconds: much longer than a lease, shorter than the responses here are kept."""

ENDS: list[Event] = [TextDelta("two"), Finish(FinishReason.STOP, "stop")]
LEASE = 3.0


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[job_worlds.World]:
    async with job_worlds.world(database_url) as made:
        yield made


@pytest.fixture
def lab(world: job_worlds.World) -> Lab:
    return Lab(world.store, world.database.responses, world.wait)


async def test_a_clock_set_forward_gives_a_running_job_to_a_new_run_and_ends_the_old_one(
    world: job_worlds.World, lab: Lab
) -> None:
    jump = Gate(0, lambda: world.wait(JUMP))
    lab.play(
        upstreams.Script(([TextDelta("one ")], Gate(0, lab.landed), jump, upstreams.Hang())),
        upstreams.Script(([TextDelta("one ")], Gate(0, lab.looked_after), ENDS)),
    )
    job = await lab.accept(log_deltas=True)
    async with lab.life() as (store, task):
        await lab.watch(job, store, task)
        assert lab.upstream.open_streams == 0
    log = await log_of(world.store, world.database.responses, job)
    log.check()
    assert log.arms.count("restarted") == 1
    assert log.response.output[0].message.content[0].output_text.text == "one two"
    assert sorted(lab.telemetry.outcomes) == ["completed", "fenced"]
    assert await world.execute(f"SELECT epoch, losses FROM jobs WHERE id = '{job}'") == [(2, 1)]


async def test_a_clock_set_back_lets_a_running_job_go_on(world: job_worlds.World, lab: Lab) -> None:
    jump = Gate(0, lambda: world.wait(-JUMP))
    after = (jump, Gate(0, lab.looked_after), ENDS)
    lab.play(upstreams.Script(([TextDelta("one ")], Gate(0, lab.landed), *after)))
    job = await lab.accept(log_deltas=True)
    await lab.runs(job)
    log = await log_of(world.store, world.database.responses, job)
    log.check()
    assert "restarted" not in log.arms
    assert lab.telemetry.outcomes == ["completed"]


async def test_a_clock_set_back_keeps_new_jobs_from_nothing_and_old_ones_until_it_has_caught_up(
    world: job_worlds.World, lab: Lab
) -> None:
    lab.play(upstreams.says("whole"))
    lost, waiting = await lab.accept(), await lab.accept(start_within=60.0)
    assert len((await world.store.claim("gone", 1, 30.0, 100)).run) == 1
    await world.wait(-JUMP)
    new = await lab.accept()
    await lab.runs(new)
    assert await lab.state(new) is JobState.COMPLETED
    assert not await lab.over(lost)
    assert not await lab.over(waiting)
    await world.wait(JUMP + 31)
    for job in (lost, waiting):
        if not await lab.over(job):
            await lab.runs(job)
        (await log_of(world.store, world.database.responses, job)).check()
    assert [await lab.state(job) for job in (lost, waiting)] == [JobState.COMPLETED] * 2


async def test_a_clock_set_back_and_forth_runs_nothing_twice(world: job_worlds.World, lab: Lab) -> None:
    """Within its lease, a job is nobody else's whatever the wall clock shows in between."""

    async def back_and_forth() -> None:
        for seconds in (-JUMP, JUMP):
            await world.wait(seconds)
            assert not (await world.store.claim("other", 10, 30.0, 100)).run

    lab.play(upstreams.Script(([TextDelta("one ")], Gate(0, back_and_forth), Gate(0, lab.looked_after), ENDS)))
    job = await lab.accept()
    await lab.runs(job)
    assert lab.telemetry.outcomes == ["completed"]
    assert len(lab.upstream.contexts) == 1


@asynccontextmanager
async def two_workers(
    folder: Path, url: str, first: Script, *then: Script
) -> AsyncIterator[tuple[ResponsesDoor, str, WorkerChild, WorkerChild]]:
    """A streamed job that the first worker runs, with a second one beside it: the door, its id, and both."""
    settings = {"database": {"url": url}, "jobs": {"here": False, "lease_seconds": LEASE}}
    async with responses_door(folder, settings) as door, worker_child(door, "one") as one:
        door.up.alpha.enqueue(first, *then)
        made = (await door.stream_begun(asked(background=True, stream=True)))["id"]
        await door.up.alpha.wait_for(lambda calls: bool(calls) and calls[-1].tokens_sent > 3, 10.0)
        async with worker_child(door, "two") as two:
            yield door, made, one, two


def epoch_of(call: Call) -> int:
    return int(call.headers["x-request-id"].rpartition(".")[2])


async def test_a_worker_stopped_for_longer_than_its_lease_closes_its_stale_call_and_writes_nothing(
    tmp_path: Path, postgres_url: str
) -> None:
    long, short = Script(tokens=1000, pace=0.05), Script(tokens=5)
    async with two_workers(tmp_path, postgres_url, long, short, short) as (door, made, one, two):
        one.process.send_signal(signal.SIGSTOP)
        found = await ended(door, made)
        log = await follow(door, made)
        assert not door.up.alpha.calls[0].cancelled, "it stands still"
        one.process.send_signal(signal.SIGCONT)
        resumed = time.time()
        stale = await door.up.alpha.wait_for(lambda calls: calls[0].cancelled, 3.0)
        assert stale[0].ended is not None
        assert stale[0].ended - resumed < 1.0
        assert [epoch_of(call) for call in door.up.alpha.calls] == [1, 2]
        assert (await follow(door, made)).events == log.events
        assert log.types.count("response.restarted") == 1
        assert found["status"] == "completed"
        assert found == (await door.call("GET", f"/{made}")).json
        # It is a worker as before.
        two.process.send_signal(signal.SIGSTOP)
        later = (await door.create(asked(background=True))).json["id"]
        assert (await ended(door, later))["status"] == "completed"
        assert one.process.returncode is None


async def test_a_worker_stopped_for_less_than_its_lease_goes_on(tmp_path: Path, postgres_url: str) -> None:
    async with two_workers(tmp_path, postgres_url, Script(tokens=60, pace=0.05)) as (door, made, one, _):
        one.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(1.0)
        one.process.send_signal(signal.SIGCONT)
        found = await ended(door, made)
        log = await follow(door, made)
        assert "response.restarted" not in log.types
        assert log.response == found
        assert [(epoch_of(call), call.finished) for call in door.up.alpha.calls] == [(1, True)]
