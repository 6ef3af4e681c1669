"""A worker that dies before or after any call of its store: its job reaches one end all the same.

The points are those that a run without a death was seen to pass: a call that is added later is covered by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from service.domain.events import Event, Finish, FinishReason, TextDelta, Usage
from service.domain.failure import FailureKind
from service.domain.jobs import TERMINAL, JobState
from tests.support import job_worlds
from tests.support.faults import FaultPoint, Gate, Lab
from tests.support.job_logs import OWNER, Log, log_of
from tests.support.postgres import Postgres
from tests.support.upstreams import Hang, Script, fails, says
from tests.support.working import MovableClock

ENDS: Final[list[Event]] = [Finish(FinishReason.STOP, "stop"), Usage(5, 7, 12)]
WORDS: Final = "one two"
Scripts = Callable[[Lab], list[Script]]


def whole(lab: Lab, *gates: Gate) -> Script:
    """An answer in two pieces, each of which is stored before the next comes."""
    landed = Gate(0, lab.landed)
    return Script(([TextDelta("one ")], landed, [TextDelta("two")], landed, *gates, ENDS), opening=(landed,))


def at_once(lab: Lab) -> list[Script]:
    """The same at every call."""
    return [whole(lab)]


def long_enough(lab: Lab) -> list[Script]:
    """The same, for so long that leases are looked after."""
    return [whole(lab, Gate(0, lab.looked_after))]


def busy_at_first(lab: Lab) -> list[Script]:
    """One 429, and then the answer."""
    busy = fails(FailureKind.RATE_LIMITED, retry_after=5.0)
    return [Script(opening=(Gate(0, lab.landed), *busy.opening)), whole(lab)]


def broken_at_first(lab: Lab) -> list[Script]:
    """One failure that may pass, and then the answer."""
    broken = fails(FailureKind.SERVER_ERROR)
    return [Script(opening=(Gate(0, lab.landed), *broken.opening)), whole(lab)]


def left_in_the_middle(lab: Lab) -> list[Script]:
    """The worker is asked to leave while the model speaks."""
    left = ([TextDelta("one ")], Gate(0, lab.landed), Gate(0, lab.stop), Hang())
    return [Script(left, opening=(Gate(0, lab.landed),)), whole(lab)]


@dataclass(frozen=True, eq=False)
class Case:
    """A run: what its upstream does, how its job is accepted, and how long it then waits; `calls` it makes."""

    name: str
    scripts: Scripts
    options: dict[str, Any] = field(default_factory=dict)
    wait: float = 0.0
    calls: int = 1
    end: JobState = JobState.COMPLETED
    looked_after: bool = False


CASES: Final = (
    Case("plain", long_enough, looked_after=True),
    Case("with a 429", busy_at_first, calls=2),
    Case("with a failure", broken_at_first, calls=2),
    Case("with deltas", at_once, {"log_deltas": True}),
    Case("never again", at_once, {"log_deltas": True, "restart_on_loss": False}),
    Case("left", left_in_the_middle, {"log_deltas": True}, calls=2),
    Case("too late", at_once, {"start_within": 5.0}, 6.0, 0, JobState.FAILED),
)


async def begun(lab: Lab, case: Case) -> str:
    """The case's job, accepted; nobody has it yet."""
    lab.play(*case.scripts(lab))
    job = await lab.accept(**case.options)
    await lab.elapse(case.wait)
    return job


@cache
def points(case: Case) -> list[FaultPoint]:
    """Where a worker can die in this case."""

    async def record() -> list[FaultPoint]:
        lab = Lab()
        job = await begun(lab, case)
        store = await lab.runs(job)
        while not await lab.over(job):
            await lab.runs(job)
        return store.points(looked_after=case.looked_after)

    return asyncio.run(record())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`point` is everywhere in every case; with `slept`, every kind of call once."""
    if "point" not in metafunc.fixturenames:
        return
    found = [(case, point) for case in CASES for point in points(case)]
    if "slept" in metafunc.fixturenames:
        known = {point.method for point in points(CASES[0])}
        found = [(case, point) for case, point in found if case is CASES[0] or point.method not in known]
    metafunc.parametrize(
        ("case", "point"), [pytest.param(case, point, id=f"{case.name}-{point}") for case, point in found]
    )


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A database of either kind for all tests here: each leaves it empty."""
    if request.param == "sqlite":
        folder: Path = tmp_path_factory.mktemp("faults")
        yield f"sqlite:///{folder}/jobs.db"
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    url = server.database()
    yield url
    server.drop(url)


@pytest.fixture
async def world(shared_url: str) -> AsyncIterator[job_worlds.World]:
    async with job_worlds.world(shared_url) as made:
        yield made
        for table in ("response_events", "job_requests", "jobs", "responses", "usage_records", "idempotency"):
            await made.execute(f"DELETE FROM {table}")


@pytest.fixture
def lab(world: job_worlds.World) -> Lab:
    return Lab(world.store, world.database.responses, world.wait)


async def read(world: job_worlds.World, job: str) -> Log:
    return await log_of(world.store, world.database.responses, job)


async def snapshot(world: job_worlds.World, job: str) -> object:
    """Everything of a job that a writer could change."""
    page = await world.store.events(OWNER, job, -1, 1000)
    return page, await world.database.responses.get(OWNER, job), await counts(world, job)


async def counts(world: job_worlds.World, job: str) -> tuple[int, int, bool]:
    """Claims and cancels, lost workers, and whether output can have been seen."""
    rows = await world.execute(f"SELECT epoch, losses, logged FROM jobs WHERE id = '{job}'")
    return rows[0][0], rows[0][1], bool(rows[0][2])


def called(lab: Lab, job: str) -> list[int]:
    """The epochs of the upstream calls, in their order: no two of one, none after one of a higher one."""
    epochs = []
    for context in lab.upstream.contexts:
        asked, _, epoch = context.request_id.partition(".")
        assert asked == job
        epochs.append(int(epoch))
    assert epochs == sorted(set(epochs))
    return epochs


async def test_a_worker_that_dies_anywhere_neither_loses_nor_doubles_its_job(
    world: job_worlds.World, lab: Lab, case: Case, point: FaultPoint
) -> None:
    job = await begun(lab, case)
    store = await lab.runs(job, point)
    assert store.stopped.is_set(), "the run did not come to this point"
    assert lab.upstream.open_streams == 0
    state, (epoch, _, logged) = await lab.state(job), await counts(world, job)
    before = called(lab, job)
    if state in TERMINAL:
        async with lab.life() as (other, _):
            while other.done["claim"] < 3:
                await asyncio.sleep(0.001)
    while not await lab.over(job):
        await lab.runs(job)
    log = await read(world, job)
    log.check()
    after, (epochs, losses, _) = called(lab, job), await counts(world, job)
    # Who only ends a job that is beyond help is no worker lost with it.
    assert losses == (state is JobState.IN_PROGRESS and case.end is JobState.COMPLETED)
    told = log.arms.count("restarted")
    # A worker that leaves after the death hands a job back whose output was seen, too.
    assert told == (logged and state not in TERMINAL) or (case.name, told, logged) == ("left", 1, False)
    if state in TERMINAL:
        assert (after, epochs) == (before, epoch)
    else:
        assert len(after) <= case.calls + 1
    lost = logged and state is JobState.IN_PROGRESS and not case.options.get("restart_on_loss", True)
    assert log.status == (JobState.FAILED if lost else case.end)
    if log.status == "completed":
        assert log.response.output[0].message.content[0].output_text.text == WORDS
    assert await world.count("usage_records") == (log.status == "completed")
    assert await world.count("job_requests") == 0


@pytest.mark.parametrize("slept", [True, False], ids=["fenced by its clock", "fenced by the store"])
async def test_a_worker_that_stood_still_anywhere_changes_nothing_once_another_has_its_job(
    world: job_worlds.World, lab: Lab, case: Case, point: FaultPoint, slept: bool
) -> None:
    job, clock = await begun(lab, case), lab.boot
    async with lab.life(point) as (still, task):
        await lab.watch(job, still, task)
        await asyncio.wait_for(still.stands_still(), 10)
        stale, claims, lab.boot = lab.workers[-1], still.done["claim"], MovableClock()
        await lab.elapse(31)
        # The other one has the job, and has written nothing yet that could stand in the way.
        async with lab.life(FaultPoint("claim", 1, "after")) as (other, its_task):
            await asyncio.wait_for(other.stands_still(), 10)
            before, epochs = await snapshot(world, job), called(lab, job)
            # A clock that stands still with the process is none that a fence may trust: the store must do without.
            clock.forward(31 if slept else 0)
            still.go_on()
            async with asyncio.timeout(10):
                while not task.done() and (stale.jobs or still.done["claim"] < claims + 3):
                    await asyncio.sleep(0.001)
            assert await snapshot(world, job) == before
            if slept:
                assert called(lab, job) == epochs
            other.go_on()
            await lab.watch(job, other, its_task)
    log = await read(world, job)
    log.check()
    assert log.status == case.end
    assert log.response.output[0].message.content[0].output_text.text == WORDS
    assert await world.count("usage_records") == 1


async def test_a_job_that_kills_three_workers_is_ended_even_if_that_kills_two_more(
    world: job_worlds.World, lab: Lab
) -> None:
    lab.play(whole(lab))
    job = await lab.accept(log_deltas=True)
    for _ in range(3):
        assert (await lab.runs(job, FaultPoint("append", 2, "after"))).stopped.is_set()
    for when in ("before", "after"):
        assert (await lab.runs(job, FaultPoint("finish", 1, when))).stopped.is_set()
    assert await lab.over(job)
    log = await read(world, job)
    log.check()
    assert (log.status, log.response.error.code) == ("failed", "worker_lost")
    assert called(lab, job) == [1, 2, 3]
    assert await counts(world, job) == (5, 3, True)


async def test_of_many_jobs_a_dead_workers_are_all_made_by_others(world: job_worlds.World, lab: Lab) -> None:
    lab.play(says("one ", "two"))
    jobs = [await lab.accept(log_deltas=number % 2 == 0) for number in range(40)]
    for point in (
        FaultPoint("finish", 3, "before"),
        FaultPoint("finish", 3, "after"),
        FaultPoint("claim", 1, "after"),
        FaultPoint("claim", 2, "after"),
    ):
        async with lab.life(point) as (store, _):
            await asyncio.wait_for(store.stopped.wait(), 10)
        await lab.elapse(31)
    for job in jobs:
        if not await lab.over(job):
            await lab.runs(job)
    made = 0
    for job in jobs:
        log = await read(world, job)
        log.check()
        made += log.status == "completed"
        # Four deaths are enough to take a job along.
        assert log.status == "completed" or log.response.error.code == "worker_lost"
    assert made >= 30
    assert await world.count("usage_records") == made
    asked = [context.request_id for context in lab.upstream.contexts]
    assert len(asked) == len(set(asked))
