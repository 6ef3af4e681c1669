"""What the span of a job's run says of its failure: why, and whether somebody has to mend it."""

from __future__ import annotations

import asyncio

import pytest

from adapters.otlp.spans import OtlpTracer, RecordedSpan
from service.domain.events import TextDelta
from service.domain.failure import FailureKind
from service.domain.tracing import Value
from tests.support.upstreams import Hang, Script, fails
from tests.support.working import World, until
from workers import runner


def traced(script: Script) -> tuple[World, list[RecordedSpan]]:
    """A world whose runs are recorded, and the spans that are over."""
    over: list[RecordedSpan] = []
    return World(script, tracer=OtlpTracer(over.append, ratio=1.0, trust=True)), over


def told(span: RecordedSpan) -> tuple[Value | None, Value | None, bool]:
    """Its outcome, its error.type and whether it is an error."""
    return span.attributes.get("eurouter.job.outcome"), span.attributes.get("error.type"), span.fault


def runs(over: list[RecordedSpan]) -> list[RecordedSpan]:
    return [span for span in over if span.name == "run job"]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (FailureKind.INVALID_REQUEST, ("failed", "PROVIDER_REJECTED", False)),
        (FailureKind.CONTENT_POLICY, ("failed", "CONTENT_POLICY", False)),
        (FailureKind.AUTH, ("failed", "PROVIDER_AUTH_FAILED", True)),
        (FailureKind.QUOTA, ("failed", "PROVIDER_QUOTA_SPENT", True)),
        (FailureKind.SERVER_ERROR, ("retried", "PROVIDER_UNAVAILABLE", True)),
        (FailureKind.RATE_LIMITED, ("put_off", "PROVIDER_RATE_LIMITED", False)),
    ],
)
async def test_a_run_that_failed_says_why_and_is_an_error_only_if_the_caller_can_not_mend_it(
    kind: FailureKind, says: tuple[str, str, bool]
) -> None:
    world, over = traced(fails(kind, retry_after=9.0 if kind is FailureKind.RATE_LIMITED else None))
    await world.accept()
    await world.drained(1)
    assert [told(span) for span in runs(over)] == [says]


async def test_a_run_that_ends_by_a_fault_of_ours_names_it() -> None:
    world, over = traced(fails(FailureKind.INVALID_REQUEST))

    async def broken(*_: object) -> object:
        raise ZeroDivisionError

    world.upstream.open = broken  # type: ignore[method-assign,assignment]
    await world.accept()
    await world.drained(1)
    assert [told(span) for span in runs(over)] == [("failed", "ZeroDivisionError", True)]


async def test_a_run_that_its_worker_gives_up_is_cancelled_and_nobodys_error() -> None:
    world, over = traced(Script(([TextDelta("seen")], Hang())))
    await world.accept()
    async with world.working():
        await until(lambda: len(world.upstream.asked()) == 1)
    assert [told(span) for span in runs(over)] == [(None, "cancelled", False)]


async def test_a_job_that_is_too_late_for_a_run_has_a_span_that_says_so() -> None:
    world, over = traced(Script(([TextDelta("seen")], Hang())))
    response_id = await world.accept(start_within=5.0)
    world.clock.forward(6)
    await world.drained(1)
    (ended,) = over
    assert (ended.name, ended.parent_id, ended.attributes["eurouter.response.id"]) == ("end job", "", response_id)
    assert told(ended) == ("failed", "expired", False)


async def test_a_job_that_lost_its_worker_and_may_not_run_again_is_an_error_of_ours() -> None:
    world, over = traced(Script(([TextDelta("seen")], Hang())))
    await world.accept(log_deltas=True, restart_on_loss=False)
    lost = asyncio.create_task(world.worker().run())
    await until(lambda: world.fake.row().job.logged)
    world.fake.down = True
    lost.cancel()
    await asyncio.wait((lost,))
    world.fake.down = False
    world.clock.forward(31)
    world.telemetry.outcomes.clear()
    await world.drained(1)
    assert [(span.name, *told(span)) for span in over if "chat" not in span.name] == [
        ("run job", None, "cancelled", False),
        ("end job", "failed", "worker_lost", True),
    ]


async def test_a_run_that_could_not_even_begin_names_the_fault_and_that_its_worker_leaves_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_job: object) -> object:
        raise ZeroDivisionError

    monkeypatch.setattr(runner, "_stored", broken)
    world, over = traced(Script(([TextDelta("never")],)))
    await world.accept()
    await world.drained(1)
    assert [told(span) for span in over] == [("crashed", "ZeroDivisionError", True)]
