"""A worker's runs: what is logged and stored of a job, whatever its providers do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest
from eurouter.v1 import response_events_pb2 as events_pb
from eurouter.v1 import response_object_pb2 as object_pb

from service.domain.events import Finish, FinishReason, Start, TextDelta
from service.domain.failure import Failure, FailureKind
from service.domain.job_store import Usage
from service.domain.jobs import MAX_FAILED_ATTEMPTS, Failed, JobState
from tests.support.upstreams import Hang, Script, fails, says
from tests.support.working import World, until
from workers.flush import FlushLimits

CUT = Script(
    ([Start("id-1", "model")], [TextDelta("lost words")], Failure(FailureKind.CUT, "the connection was lost"))
)


def arms(events: list[events_pb.ResponseStreamEvent]) -> list[str]:
    return [str(event.WhichOneof("event")) for event in events]


def numbers_are_contiguous(events: list[events_pb.ResponseStreamEvent]) -> bool:
    return [event.sequence_number for event in events] == list(range(len(events)))


def text(response: object_pb.Response) -> str:
    return "".join(part.output_text.text for item in response.output for part in item.message.content)


@asynccontextmanager
async def dying(world: World) -> AsyncIterator[None]:
    """A worker that dies at the end: what it would do when it leaves reaches the store no more."""
    task = asyncio.create_task(world.worker().run())
    try:
        yield
    finally:
        world.fake.down = True
        task.cancel()
        await asyncio.wait((task,))
        world.fake.down = False
        world.telemetry.outcomes.clear()


async def test_a_job_of_which_nobody_follows_the_words_logs_its_states_and_items() -> None:
    world = World(says("Hello", " there"))
    await world.accept()
    await world.drained(1)
    events = world.fake.read()
    assert arms(events) == [
        "created",
        "queued",
        "in_progress",
        "output_item_added",
        "output_item_done",
        "completed",
    ]
    assert numbers_are_contiguous(events)
    response = world.fake.object()
    assert text(response) == "Hello there"
    assert response == events[-1].completed.response
    assert (response.model, response.background) == ("model", True)
    row = world.fake.row()
    assert row.job.state is JobState.COMPLETED
    assert row.usage == Usage("vendor/model", 5, 7)
    assert world.upstream.open_streams == 0


async def test_a_followed_job_logs_every_word_and_folds_to_its_object() -> None:
    world = World(says("Hello", " there"))
    await world.accept(log_deltas=True, request={"stream": True})
    await world.drained(1)
    events = world.fake.read()
    assert numbers_are_contiguous(events)
    assert "".join(e.output_text_delta.delta for e in events) == "Hello there"
    assert arms(events)[:5] == ["created", "queued", "in_progress", "output_item_added", "content_part_added"]
    assert text(events[-1].completed.response) == text(world.fake.object()) == "Hello there"


async def test_a_quick_job_is_one_claim_and_one_write() -> None:
    world = World(says("hi"), limits=FlushLimits(every=0.5))
    await world.accept(log_deltas=True)
    await world.drained(1)
    assert [what for what in world.fake.asked if what not in ("claim", "held")] == ["accept", "finish"]


async def test_the_upstream_is_told_which_job_and_epoch_asks() -> None:
    world = World()
    job = await world.accept(trace={"traceparent": "00-aa-bb-01", "tracestate": "x=y"})
    await world.drained(1)
    context = world.upstream.contexts[0]
    assert context.background
    assert context.request_id == f"{job}.1"
    assert (context.traceparent, context.tracestate) == ("00-aa-bb-01", "x=y")


async def test_an_answer_at_its_limit_is_incomplete() -> None:
    world = World(Script(([TextDelta("so far"), Finish(FinishReason.LENGTH, "length")],)))
    await world.accept()
    await world.drained(1)
    assert world.fake.row().job.state is JobState.INCOMPLETE
    assert arms(world.fake.read())[-1] == "incomplete"


async def test_a_provider_that_asks_for_time_puts_the_job_off_and_nothing_is_counted() -> None:
    world = World([fails(FailureKind.RATE_LIMITED, retry_after=40.0), says("hi")])
    await world.accept(start_within=60.0)
    before = world.clock()
    await world.drained(1)
    job = world.fake.row().job
    assert world.telemetry.outcomes == ["put_off"]
    assert (job.state, job.failed_attempts) == (JobState.QUEUED, 0)
    assert before + 39 < job.not_before < world.clock() + 40
    world.clock.forward(41)
    await world.drained(2)
    assert world.telemetry.outcomes == ["put_off", "completed"]
    assert numbers_are_contiguous(world.fake.read())


async def test_a_job_that_would_wait_beyond_its_latest_start_fails_as_expired() -> None:
    world = World(fails(FailureKind.RATE_LIMITED, retry_after=90.0))
    await world.accept(start_within=60.0)
    await world.drained(1)
    row = world.fake.row()
    assert (row.job.state, row.job.failure) == (JobState.FAILED, Failed.EXPIRED)
    assert world.fake.object().error.code == "expired"
    assert arms(world.fake.read())[-1] == "failed"


async def test_the_fifth_failed_attempt_is_the_last_and_each_waits_longer() -> None:
    world = World(fails(FailureKind.OVERLOADED, "too much to do"))
    await world.accept()
    waits = []
    for attempt in range(1, MAX_FAILED_ATTEMPTS):
        await world.drained(attempt)
        job = world.fake.row().job
        assert (job.state, job.failed_attempts) == (JobState.QUEUED, attempt)
        waits.append(round(job.not_before - world.clock()))
        world.clock.forward(job.not_before - world.clock())
    assert waits == [2, 4, 8, 16]
    await world.drained(MAX_FAILED_ATTEMPTS)
    assert world.telemetry.outcomes == ["retried"] * 4 + ["failed"]
    error = world.fake.object().error
    assert error.code == "server_error"
    assert "too much to do" in error.message
    assert numbers_are_contiguous(world.fake.read())


async def test_what_the_caller_must_mend_fails_at_once() -> None:
    world = World(fails(FailureKind.CONTEXT_LENGTH, "too long"))
    await world.accept()
    await world.drained(1)
    assert world.telemetry.outcomes == ["failed"]
    assert world.fake.object().error.code == "context_length_exceeded"


async def test_a_run_after_one_that_was_cut_tells_readers_to_start_over() -> None:
    world = World([CUT, says("hi")], limits=FlushLimits(every=0.0, events=1))
    await world.accept(log_deltas=True)
    await world.drained(1)
    assert world.telemetry.outcomes == ["retried"]
    world.clock.forward(3)
    await world.drained(2)
    events = world.fake.read()
    names = arms(events)
    assert numbers_are_contiguous(events)
    after = names.index("restarted")
    assert names[after + 1] == "in_progress"
    assert "".join(e.output_text_delta.delta for e in events[after:]) == "hi" == text(world.fake.object())


async def test_a_job_whose_caller_wants_no_second_run_fails_with_what_was_seen() -> None:
    slow = Script(([TextDelta("seen")], Failure(FailureKind.CUT, "the connection was lost")))
    world = World(slow, limits=FlushLimits(events=1))
    await world.accept(log_deltas=True, restart_on_loss=False)
    await world.drained(1)
    assert world.telemetry.outcomes == ["failed"]
    assert text(world.fake.object()) == "seen"
    assert world.fake.row().job.failure is None
    assert "restarted" not in arms(world.fake.read())


async def test_a_job_of_a_lost_worker_restarts_when_its_output_was_seen() -> None:
    world = World([Script(([TextDelta("seen")], Hang())), says("whole")])
    await world.accept(log_deltas=True)
    async with dying(world):
        await until(lambda: world.fake.row().job.logged)
    world.clock.forward(31)
    await world.drained(1)
    events = world.fake.read()
    names = arms(events)
    assert numbers_are_contiguous(events)
    after = names.index("restarted")
    assert names[after + 1] == "in_progress"
    assert "".join(e.output_text_delta.delta for e in events[after:]) == "whole"
    assert text(world.fake.object()) == "whole"
    assert world.fake.row().job.losses == 1


def _called(world: World, times: int) -> bool:
    return len(world.upstream.asked()) >= times


async def test_a_job_that_loses_its_third_worker_is_failed_by_whoever_claims_it() -> None:
    world = World(Script(([TextDelta("seen")], Hang())))
    await world.accept(log_deltas=True)
    for _ in range(3):
        calls = len(world.upstream.asked())
        async with dying(world):
            await until(partial(_called, world, calls + 1))
            await until(lambda: world.fake.row().job.logged)
        world.clock.forward(31)
    await world.drained(1)
    row = world.fake.row()
    assert (row.job.state, row.job.failure) == (JobState.FAILED, Failed.WORKER_LOST)
    names = arms(world.fake.read())
    assert names[-3:] == ["restarted", "in_progress", "failed"], "the object has no output: readers must forget it"
    assert world.fake.object().error.code == "worker_lost"
    assert not world.fake.object().output


async def test_a_job_that_is_too_late_to_begin_fails_without_a_call() -> None:
    world = World()
    await world.accept(start_within=5.0)
    world.clock.forward(6)
    await world.drained(1)
    assert world.fake.object().error.code == "expired"
    assert arms(world.fake.read()) == ["created", "queued", "failed"]
    assert world.upstream.asked() == []


async def test_a_fault_of_ours_fails_the_job_and_the_worker_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    broken = await world.accept()

    def explode(*_: object, **__: object) -> None:
        raise RuntimeError("a bug with the prompt in it")

    with monkeypatch.context() as patched:
        patched.setattr(world.preparer, "choose", explode)
        await world.drained(1)
    await world.accept()
    await world.drained(2)
    assert world.telemetry.outcomes == ["failed", "completed"]
    assert [str(crash) for crash in world.telemetry.crashes] == ["a bug with the prompt in it"]
    assert "prompt" not in world.fake.object(broken).error.message


async def test_jobs_of_an_api_that_is_not_run_here_fail_and_say_so() -> None:
    world = World()
    job = await world.accept()
    row = world.fake.row(job)
    row.new = replace(row.new, api=cast("Any", "images"))
    await world.drained(1)
    assert "images" in world.fake.object().error.message
