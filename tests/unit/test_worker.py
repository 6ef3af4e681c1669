"""A worker among others: cancels, outages, full slots, and how it leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest
from eurouter.v1 import response_events_pb2 as events_pb

from service.domain.events import Event, Finish, FinishReason, TextDelta
from service.domain.jobs import JobState
from tests.support.upstreams import Hang, Pause, Script, says
from tests.support.working import ALPHA, World, until
from workers.flush import FlushLimits
from workers.leases import LeaseTimes
from workers.worker import WorkerSettings

HANGS = Script(([TextDelta("first words")], Hang()))
ENDS: list[Event] = [TextDelta("!"), Finish(FinishReason.STOP, "stop")]


def said(world: World, job: str = "") -> str:
    return "".join(event.output_text_delta.delta for event in world.fake.read(job))


async def cancel(world: World, job: str) -> None:
    row = world.fake.row(job)
    event = events_pb.ResponseStreamEvent(sequence_number=len(row.events))
    event.cancelled.SetInParent()
    assert await world.fake.cancel("local", job, row.job.epoch, row.response, event.SerializeToString())


async def test_a_cancel_stops_the_upstream_at_the_next_look_and_nothing_is_written_after() -> None:
    assert LeaseTimes().compare <= 0.5, "which is within a second"
    world = World(HANGS, times=LeaseTimes(compare=0.1))
    job = await world.accept(log_deltas=True)
    async with world.working():
        await until(lambda: said(world) == "first words")
        await cancel(world, job)
        asked = len(world.fake.asked)
        await until(lambda: world.upstream.open_streams == 0)
        assert 1 <= world.fake.asked[asked:].count("held") <= 2
        await until(lambda: bool(world.telemetry.outcomes))
    assert world.telemetry.outcomes == ["fenced"]
    assert world.fake.read()[-1].HasField("cancelled")
    assert world.fake.row().job.state is JobState.CANCELLED
    assert "hand_back" not in world.fake.asked


async def test_a_cancel_that_is_not_yet_noticed_refuses_every_write() -> None:
    steps = ([TextDelta("a")], Pause(0.2), [TextDelta("b")], Pause(0.05), ENDS)
    world = World(Script(steps), times=LeaseTimes(compare=5.0))
    job = await world.accept(log_deltas=True)
    async with world.working():
        await until(lambda: said(world) == "a")
        await cancel(world, job)
        await until(lambda: bool(world.telemetry.outcomes))
    assert world.telemetry.outcomes == ["fenced"]
    assert world.telemetry.refused == 1
    assert said(world) == "a"


async def test_two_seconds_without_a_database_lose_nothing() -> None:
    words = [f"w{number} " for number in range(60)]
    steps = tuple(step for word in words for step in ([TextDelta(word)], Pause(0.03)))
    world = World(Script((*steps, ENDS)))
    job = await world.accept(log_deltas=True)
    async with world.working():
        await until(lambda: "w5 " in said(world))
        world.fake.down = True
        await asyncio.sleep(2.0)
        world.fake.down = False
        await until(lambda: bool(world.telemetry.outcomes))
    assert world.telemetry.outcomes == ["completed"]
    assert said(world, job) == "".join(words) + "!"
    numbers = [event.sequence_number for event in world.fake.read()]
    assert numbers == list(range(len(numbers)))
    assert "append" in world.telemetry.failures


async def test_a_write_whose_answer_is_lost_is_repeated_and_stands_once() -> None:
    world = World(Script(([TextDelta("a")], Pause(0.1), [TextDelta("b")], Pause(0.1), ENDS)))
    await world.accept(log_deltas=True)
    async with world.working():
        await until(lambda: said(world) == "a")
        world.fake.lose_answers = 1
        await until(lambda: bool(world.telemetry.outcomes))
    assert said(world) == "ab!"
    assert world.fake.row().job.state is JobState.COMPLETED


async def test_many_jobs_share_one_append() -> None:
    world = World(Script(([TextDelta("a")], Pause(0.2), ENDS)), limits=FlushLimits(every=0.05))
    for _ in range(50):
        await world.accept(log_deltas=True)
    await world.drained(50)
    assert world.telemetry.outcomes == ["completed"] * 50
    assert max(jobs for jobs, _ in world.telemetry.flushes) == 50
    assert len(world.telemetry.flushes) <= 4


async def test_a_job_whose_events_wait_holds_back_its_upstream_and_no_other() -> None:
    steps = tuple([TextDelta("x" * 1000)] for _ in range(200))
    world = World(Script((*steps, ENDS)), limits=FlushLimits(every=0.05, size=50_000))
    await world.accept(log_deltas=True)
    await world.drained(1)
    most = max(sum(map(len, a.events)) for batch in world.fake.appends for a in batch)
    assert most < 60_000
    assert len(world.fake.appends) >= 4
    assert len(said(world)) == 200_001


async def test_a_worker_that_leaves_lets_jobs_end_and_hands_the_rest_back_uncounted() -> None:
    world = World([Script(([TextDelta("a")], Pause(0.1), ENDS)), HANGS])
    quick, slow = await world.accept(), await world.accept()
    async with world.working() as worker:
        await until(lambda: world.upstream.open_streams == 2)
        worker.stop()
        late = await world.accept()
    assert sorted(world.telemetry.outcomes) == ["completed", "handed_back"]
    job = world.fake.row(slow).job
    assert (job.state, job.losses, job.failed_attempts) == (JobState.QUEUED, 0, 0)
    assert world.fake.row(quick).job.state is JobState.COMPLETED
    assert world.fake.row(late).job.state is JobState.QUEUED
    assert world.upstream.open_streams == 0


async def test_a_cancelled_worker_hands_back_at_once() -> None:
    world = World(HANGS, settings=WorkerSettings(drain=60.0))
    await world.accept()
    task = asyncio.create_task(world.worker().run())
    await until(lambda: world.upstream.open_streams == 1)
    task.cancel()
    await asyncio.wait((task,), timeout=1.0)
    assert task.cancelled()
    assert world.fake.row().job.state is JobState.QUEUED


async def test_a_worker_takes_no_more_jobs_than_it_has_slots_and_fills_those_that_come_free() -> None:
    settings = WorkerSettings(concurrency=3, poll=5.0, gather=0.001, drain=1.0)
    world = World(Script(([TextDelta("a")], Pause(0.02), ENDS)), settings=settings)
    for _ in range(10):
        await world.accept()
    await world.drained(10)
    assert world.telemetry.most == 3


async def test_a_wake_up_ends_an_idle_wait() -> None:
    settings = WorkerSettings(poll=60.0, drain=1.0)
    world = World(settings=settings)
    async with world.working() as worker:
        await until(lambda: "claim" in world.fake.asked)
        await world.accept()
        worker.wake()
        await until(lambda: world.telemetry.outcomes == ["completed"], seconds=1.0)


async def test_a_worker_without_a_database_waits_for_it() -> None:
    world = World()
    world.fake.down = True
    async with world.working():
        await until(lambda: world.telemetry.failures.count("claim") >= 2)
        world.fake.down = False
        await world.accept()
        await until(lambda: world.telemetry.outcomes == ["completed"])


async def test_a_conversation_that_can_not_be_read_for_a_moment_is_read_later() -> None:
    world = World()
    earlier = await world.accept()
    await world.drained(1)
    later = await world.accept(request={"previous_response_id": earlier})
    chain = world.fake.chain
    tries = 0

    async def flaky(*args: object, **options: object) -> object:
        nonlocal tries
        tries += 1
        world.fake.down = tries < 3
        try:
            return await chain(*args, **options)  # type: ignore[arg-type]
        finally:
            world.fake.down = False

    world.fake.chain = flaky  # type: ignore[assignment]
    await world.drained(2)
    assert tries == 3
    assert world.fake.row(later).job.state is JobState.COMPLETED
    assert len(world.upstream.generations[-1].turns) == 3


async def test_a_loop_that_hangs_shows_and_a_database_that_hangs_does_not() -> None:
    world = World(HANGS)
    await world.accept()
    async with world.working() as worker:
        await until(lambda: world.upstream.open_streams == 1)
        world.fake.down = True
        await asyncio.sleep(0.2)
        assert worker.silent_for < 0.15
        time.sleep(0.3)
        assert worker.silent_for >= 0.3
        world.fake.down = False


async def test_a_second_cancel_does_not_cut_the_hand_back() -> None:
    world = World(HANGS)
    await world.accept()
    task = asyncio.create_task(world.worker().run())
    await until(lambda: world.upstream.open_streams == 1)
    hand_back = world.fake.hand_back

    async def slowly(held: Sequence[tuple[str, int]]) -> None:
        await asyncio.sleep(0.1)
        await hand_back(held)

    world.fake.hand_back = slowly  # type: ignore[method-assign]
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.03)
    await asyncio.wait((task,))
    await until(lambda: world.fake.row().job.state is JobState.QUEUED)
    assert world.fake.row().job.losses == 0


async def test_what_breaks_the_flusher_ends_the_worker() -> None:
    world = World(HANGS)
    await world.accept()

    async def broken(_: object) -> object:
        raise ZeroDivisionError("a bug")

    world.fake.append = broken  # type: ignore[assignment,method-assign]
    with pytest.raises(ZeroDivisionError):
        await world.worker().run()
    assert world.upstream.open_streams == 0
    assert world.fake.row().job.state is JobState.QUEUED
    assert world.upstream.asked() == [ALPHA]


async def test_words_of_a_run_stay_in_order_over_many_jobs() -> None:
    world = World(says(*[f"{number} " for number in range(300)]), limits=FlushLimits(every=0.001, events=7))
    jobs = [await world.accept(log_deltas=True) for _ in range(10)]
    await world.drained(10)
    for job in jobs:
        assert said(world, job) == "".join(f"{number} " for number in range(300))
