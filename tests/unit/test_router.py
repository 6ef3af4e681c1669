"""The router: fallback before the commit point, none after it, waits, deadlines, cancellation, decisions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from adapters.health import OutcomeHealth
from service.domain.calls import CallContext
from service.domain.catalog import Endpoint
from service.domain.errors import Reason, ServiceError, Violation
from service.domain.events import Event, Extra, Finish, FinishReason, Start, TextDelta, ToolCallStart, Usage
from service.domain.failure import HARMS_HEALTH, REASONS, TRY_ELSEWHERE, Failure, FailureKind
from service.domain.fields import Field
from service.domain.fold import fold
from service.domain.preferences import Floor, Policy, Preferences
from service.domain.routing import Needs, WantedModel
from service.domain.selection import Selection
from service.router import Router, RouterSettings, Run
from tests.support.catalogs import AMERICAN, EVERY_FIELD, endpoint, model, provider
from tests.support.upstreams import (
    HELLO,
    FakeClock,
    FakeUpstream,
    Hang,
    Pause,
    RecordingTelemetry,
    Script,
    context,
    fails,
    says,
)

A, B, C = (endpoint(slug, price=price) for slug, price in (("a", "1"), ("b", "2"), ("c", "3")))
BOTH = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
GIVES_UP = sorted(set(FailureKind) - TRY_ELSEWHERE)


@dataclass
class World:
    """A router with everything around it."""

    router: Router
    upstream: FakeUpstream
    health: OutcomeHealth
    telemetry: RecordingTelemetry
    clock: FakeClock
    selection: Selection

    def open(self, call: CallContext | None = None, needs: Needs | None = None) -> Run:
        return self.router.open(HELLO, needs or Needs(), self.selection, call or context())

    async def answer(
        self, *, streamed: bool, call: CallContext | None = None, needs: Needs | None = None
    ) -> tuple[str | None, dict[str, str]]:
        """The text and the decision's headers."""
        events: Sequence[Event]
        if streamed:
            run = self.open(call, needs)
            events = await drain(run)
            decision = run.decision
        else:
            whole = await self.router.call(HELLO, needs or Needs(), self.selection, call or context())
            events, decision = whole.events, whole.decision
        return fold(events).choices[0].text, dict(decision.headers())

    async def error(self, *, streamed: bool = True, call: CallContext | None = None) -> ServiceError:
        with pytest.raises(ServiceError) as caught:
            await self.answer(streamed=streamed, call=call)
        return caught.value


def world(
    scripts: dict[Endpoint, Script | list[Script]],
    *,
    preferences: Preferences | None = None,
    floor: Floor | None = None,
    settings: RouterSettings | None = None,
    wanted: tuple[WantedModel, ...] | None = None,
) -> World:
    clock = FakeClock()
    upstream = FakeUpstream(clock, {row.id: script for row, script in scripts.items()})
    health, telemetry = OutcomeHealth(clock), RecordingTelemetry()
    limits = settings or RouterSettings()
    router = Router(upstream, health, telemetry, clock=clock, sleep=clock.sleep, settings=lambda: limits)
    models = wanted or (WantedModel(model("vendor/model", *scripts)),)
    selection = Selection(models, Policy(preferences or Preferences(), floor or Floor()))
    return World(router, upstream, health, telemetry, clock, selection)


async def drain(run: Run) -> list[Event]:
    events: list[Event] = []
    while batch := await run.next():
        events += batch
    return events


async def until_blocked() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


# --- an answer ---


@BOTH
async def test_the_first_of_the_plan_answers_and_is_told_in_headers(streamed: bool) -> None:
    w = world({B: says("no"), A: says("Hel", "lo")})
    text, headers = await w.answer(streamed=streamed)
    assert text == "Hello"
    assert headers == {
        "x-provider-slug": "a",
        "x-provider-id": "id-a",
        "x-model-used": "vendor/model",
        "x-model-variant": "",
        "x-routing-strategy": "default",
        "x-fallback-count": "0",
        "x-model-fallback-count": "0",
    }
    assert w.telemetry.outcomes() == [(A.id, "ok")]
    assert w.telemetry.usage == [(A.id, 5, 7)]
    assert w.upstream.open_streams == 0


async def test_hints_that_were_not_used_are_told_in_headers() -> None:
    deaf = endpoint("a", expressible=EVERY_FIELD - {Field.METADATA, Field.USER})
    w = world({deaf: says("hi")})
    needs = Needs(fields={Field.USER: "user", Field.METADATA: "metadata"})
    _, headers = await w.answer(streamed=True, needs=needs)
    assert headers["x-ignored-parameters"] == "metadata,user"


async def test_the_first_batch_holds_everything_up_to_the_first_visible_event() -> None:
    w = world({A: says("one", "two")})
    run = w.open()
    before = run.committed
    first = await run.next()
    assert [type(event) for event in first] == [Start, TextDelta]
    assert (before, run.committed) == (False, True)
    assert await run.next() == [TextDelta("two")]


async def test_a_list_that_is_too_long_for_a_header_ends_with_how_many_more_there_are() -> None:
    w = world({A: says("hi")})
    run = w.open()
    await run.next()
    names = tuple(f"msg_{number:040d}" for number in range(500))
    whole = dict(replace(run.decision, truncated=names[:40]).headers())["x-truncated-items"]
    assert whole == ",".join(names[:40])
    cut = dict(replace(run.decision, truncated=names).headers())["x-truncated-items"]
    *told, more = cut.split(",")
    assert tuple(told) == names[: len(told)]
    assert more == f"+{500 - len(told)}"
    assert len(whole) < len(cut) < 2048
    assert dict(replace(run.decision, ignored=("x" * 9999,)).headers())["x-ignored-parameters"] == "+1"


@pytest.mark.parametrize(
    "hidden", [Start("id", "m"), TextDelta(""), Usage(1, 0, 1), Extra("answer", (("x", "1"),))], ids=repr
)
async def test_nothing_invisible_commits(hidden: Event) -> None:
    w = world({A: Script(([hidden], Failure(FailureKind.CUT, "gone"))), B: says("b")})
    assert (await w.answer(streamed=True))[0] == "b"


async def test_an_answer_without_anything_visible_is_still_an_answer() -> None:
    batches: tuple[list[Event], ...] = ([Start("id", "m")], [Finish(FinishReason.STOP)])
    w = world({A: Script(batches), B: says("b")})
    run = w.open()
    assert len(await run.next()) == 2
    assert run.committed
    assert await run.next() == ()
    assert w.telemetry.outcomes() == [(A.id, "ok")]


async def test_first_token_throughput_and_usage_are_measured() -> None:
    start: list[Event] = [Start("id", "m")]
    text: list[Event] = [TextDelta("x")]
    last: list[Event] = [Finish(FinishReason.STOP), Usage(3, 40, 43)]
    w = world({A: Script((start, Pause(0.5), text, Pause(2.0), text, last), opening=(Pause(0.25),))})
    await drain(w.open())
    assert w.telemetry.first_tokens == [(A.id, 0.75)]
    assert w.health.latency(A.id) == 0.75
    assert w.health.throughput(A.id) == 20.0
    assert w.telemetry.attempts == [(A.id, "ok", 2.75)]
    assert w.telemetry.usage == [(A.id, 3, 40)]


async def test_usage_that_came_first_counts_when_no_later_one_did() -> None:
    head: list[Event] = [Start("id", "m"), Usage(9, 1, 10)]
    many: tuple[list[Event], ...] = tuple([TextDelta("x")] for _ in range(10))
    w = world({A: Script((head, *many, [Finish(FinishReason.STOP)]))})
    await drain(w.open())
    assert w.telemetry.usage == [(A.id, 9, 1)]


async def test_settling_reaches_the_stream_only_while_it_runs() -> None:
    w = world({A: says("hi")})
    run = w.open()
    await run.settle(0.01)
    await run.next()
    source = run._source
    await run.settle(0.02)
    await drain(run)
    await run.settle(0.03)
    assert source is not None
    assert source.settled == [0.02]  # type: ignore[attr-defined]


# --- fallback ---


@BOTH
@pytest.mark.parametrize("kind", sorted(TRY_ELSEWHERE))
async def test_a_failure_of_the_endpoint_goes_to_the_next(kind: FailureKind, streamed: bool) -> None:
    w = world({A: fails(kind), B: says("from b")})
    text, headers = await w.answer(streamed=streamed)
    assert text == "from b"
    assert (headers["x-provider-slug"], headers["x-fallback-count"]) == ("b", "1")
    assert w.telemetry.outcomes() == [(A.id, kind.value), (B.id, "ok")]
    assert (w.health.cooling_until(A.id, w.clock()) is not None) is (kind in HARMS_HEALTH)
    assert w.health.score(B.id) == 1.0


@BOTH
@pytest.mark.parametrize("kind", GIVES_UP)
async def test_a_request_that_would_fail_everywhere_fails_at_once(kind: FailureKind, streamed: bool) -> None:
    w = world({A: fails(kind, "temperature is too hot"), B: says("never")})
    error = await w.error(streamed=streamed)
    assert error.reason is REASONS[kind]
    assert "a: temperature is too hot" in error.message
    assert w.upstream.asked() == [A.id]
    assert w.health.score(A.id) == 1.0
    assert w.health.cooling_until(A.id, w.clock()) is None


@pytest.mark.parametrize("kind", [FailureKind.CUT, FailureKind.TIMEOUT, FailureKind.OVERLOADED])
async def test_a_stream_that_breaks_before_anything_visible_falls_back_and_leaves_no_trace(
    kind: FailureKind,
) -> None:
    broken = Script(([Start("from-a", "m")], [Usage(1, 0, 1)], Failure(kind, "gone")))
    w = world({A: broken, B: says("b")})
    run = w.open()
    events = await drain(run)
    assert [event for event in events if isinstance(event, Start)] == [Start("id-1", "model")]
    assert run.decision.provider_slug == "b"
    assert w.upstream.open_streams == 0


@pytest.mark.parametrize("visible", [TextDelta("x"), ToolCallStart(0, "call", "f")], ids=["text", "tool call"])
@pytest.mark.parametrize("kind", sorted(TRY_ELSEWHERE))
async def test_after_something_visible_nothing_falls_back(kind: FailureKind, visible: Event) -> None:
    w = world({A: Script(([Start("id", "m"), visible], Failure(kind, "gone"))), B: says("never")})
    run = w.open()
    await run.next()
    with pytest.raises(ServiceError) as caught:
        await run.next()
    assert caught.value.reason is REASONS[kind]
    assert w.upstream.asked() == [A.id]
    assert w.telemetry.outcomes() == [(A.id, kind.value)]
    assert (w.health.cooling_until(A.id, w.clock()) is not None) is (kind in HARMS_HEALTH)
    with pytest.raises(ServiceError):  # never a clean end, however often it is asked
        await run.next()


async def test_the_error_after_the_commit_point_is_that_of_the_stream_and_not_of_an_earlier_attempt() -> None:
    cut = Script(([TextDelta("x")], Failure(FailureKind.AUTH, "session over")))
    w = world({A: fails(FailureKind.RATE_LIMITED), B: cut})
    error = await w.error()
    assert error.reason is Reason.PROVIDER_AUTH_FAILED


async def test_a_fallback_goes_to_the_next_model_when_the_first_has_no_endpoint_left() -> None:
    one = endpoint("a", model="v/one")
    two = endpoint("b", model="v/two")
    wanted = (WantedModel(model("v/one", one)), WantedModel(model("v/two", two), "floor"))
    w = world({one: fails(FailureKind.CONNECT), two: says("two")}, wanted=wanted)
    _, headers = await w.answer(streamed=True)
    assert headers["x-model-used"] == "v/two"
    assert headers["x-model-variant"] == "floor"
    assert headers["x-model-fallback-count"] == "1"
    assert headers["x-fallback-count"] == "1"


@BOTH
@pytest.mark.parametrize("by", ["request", "floor"])
async def test_a_fallback_never_leaves_the_eu(by: str, streamed: bool) -> None:
    american = endpoint(provider("us", facts=AMERICAN), price="0")
    w = world(
        {american: says("howdy"), A: fails(FailureKind.SERVER_ERROR), B: fails(FailureKind.TIMEOUT)},
        preferences=Preferences(data_residency="eu") if by == "request" else None,
        floor=Floor(data_residency=("eu",)) if by == "floor" else None,
    )
    await w.error(streamed=streamed)
    assert w.upstream.asked() == [A.id, B.id]
    # Now both cool down, and still nobody else is asked.
    error = await w.error(streamed=streamed)
    assert error.reason is Reason.NO_ENDPOINT_AVAILABLE
    assert w.upstream.asked() == [A.id, B.id]


async def test_each_failed_attempt_is_told_to_the_log_with_the_calls_id() -> None:
    w = world({A: fails(FailureKind.AUTH), B: fails(FailureKind.SERVER_ERROR), C: says("c")})
    await w.answer(streamed=True)
    call = context().request_id
    assert w.telemetry.failures == [(A.id, FailureKind.AUTH, call, 1), (B.id, FailureKind.SERVER_ERROR, call, 2)]


async def test_without_fallbacks_the_first_failure_is_the_calls() -> None:
    w = world({A: fails(FailureKind.SERVER_ERROR), B: says("b")}, preferences=Preferences(allow_fallbacks=False))
    error = await w.error()
    assert error.reason is Reason.PROVIDER_UNAVAILABLE
    assert w.upstream.asked() == [A.id]


async def test_attempts_end_at_the_cap() -> None:
    broken = fails(FailureKind.SERVER_ERROR)
    w = world({A: broken, B: broken, C: says("c")}, settings=RouterSettings(max_attempts=2))
    error = await w.error()
    assert w.upstream.asked() == [A.id, B.id]
    assert len(error.endpoints) == 2
    assert not error.may_retry


@BOTH
async def test_a_dry_run_is_what_the_call_then_does(streamed: bool) -> None:
    kinds = [FailureKind.CONNECT, FailureKind.SERVER_ERROR, FailureKind.CONNECT]
    w = world({row: fails(kind) for row, kind in zip((C, A, B), kinds, strict=True)})
    told = [attempt.endpoint.id for attempt in w.router.plan(Needs(), w.selection, "local").attempts]
    await w.error(streamed=streamed)
    assert w.upstream.asked() == told
    assert w.router.plan(Needs(), w.selection, "local").attempts == ()


@BOTH
async def test_a_value_that_only_this_wire_format_can_not_take_goes_to_the_next(streamed: bool) -> None:
    refusal = ServiceError(
        Reason.INVALID_REQUEST,
        "temperature: above 1 here",
        violations=(Violation("temperature", "must be at most 1 for a"),),
    )
    w = world({A: Script(opening=(refusal,)), B: says("b")})
    assert (await w.answer(streamed=streamed))[0] == "b"
    assert w.health.score(A.id) == 1.0

    alone = world({A: Script(opening=(refusal,))})
    error = await alone.error(streamed=streamed)
    assert error.reason is Reason.INVALID_REQUEST
    assert error.violations[0].path == "temperature"


class Buggy(FakeUpstream):
    """Falls over its own feet at A, before or after the headers, and plays B as told."""

    async def play(self, step: object, row: Endpoint) -> Sequence[Event]:
        if row.id == A.id:
            raise KeyError("words of the prompt")
        return await super().play(step, row)  # type: ignore[arg-type]


@BOTH
@pytest.mark.parametrize("opened", [False, True], ids=["before the headers", "inside the answer"])
async def test_a_bug_at_one_endpoint_leaves_the_call_to_the_next_and_is_told_to_the_log(
    opened: bool, streamed: bool
) -> None:
    w = world({A: says("a"), B: says("b")})
    script = says("a") if opened else fails(FailureKind.SERVER_ERROR)
    buggy = w.router._upstream = Buggy(w.clock, {A.id: script, B.id: says("b")})
    text, headers = await w.answer(streamed=streamed)
    assert (text, headers["x-provider-slug"]) == ("b", "b")
    assert w.telemetry.outcomes() == [(A.id, "unknown"), (B.id, "ok")]
    ((where, error, request_id, number),) = w.telemetry.crashes
    assert (where, str(error), request_id, number) == (A.id, "'words of the prompt'", context().request_id, 1)
    assert w.telemetry.failures == []
    assert buggy.open_streams == 0
    # Else one caller's odd request would take endpoints away from all.
    assert w.health.cooling_until(A.id, w.clock()) is None


@BOTH
async def test_a_bug_at_the_only_endpoint_stays_a_bug(streamed: bool) -> None:
    w = world({A: says("a")})
    w.router._upstream = Buggy(w.clock, {A.id: says("a")})
    with pytest.raises(KeyError):
        await w.answer(streamed=streamed)
    assert w.telemetry.outcomes() == [(A.id, "unknown")]


@BOTH
async def test_a_providers_failure_says_more_than_a_bug_and_never_the_bugs_words(streamed: bool) -> None:
    w = world({A: says("a"), B: says("b")})
    w.router._upstream = Buggy(w.clock, {A.id: says("a"), B.id: fails(FailureKind.OVERLOADED, "too busy")})
    error = await w.error(streamed=streamed)
    assert error.reason is Reason.PROVIDER_UNAVAILABLE
    assert error.message == "b: too busy (2 attempts failed)"
    assert dict(error.endpoints)[A.id] == "unknown: a fault of this service ended the attempt (KeyError)"


@BOTH
async def test_a_lease_lost_inside_an_attempt_is_neither_a_bug_nor_a_reason_to_ask_another(streamed: bool) -> None:
    w = world({A: says("a"), B: says("b")})
    lost = [False]

    def permit() -> None:
        if lost[0]:
            raise PermissionError("another worker has it")

    class Connecting(FakeUpstream):
        async def play(self, step: object, row: Endpoint) -> Sequence[Event]:
            lost[0] = True
            permit()
            return ()

    asked = w.router._upstream = Connecting(w.clock, {A.id: says("a"), B.id: says("b")})
    with pytest.raises(PermissionError):
        await w.answer(streamed=streamed, call=replace(context(), permit=permit))
    assert asked.asked() == [A.id]
    assert w.telemetry.crashes == []


# --- the error of many failures ---


async def test_several_failures_are_listed_and_the_last_that_is_not_ours_names_the_reason() -> None:
    w = world(
        {
            A: fails(FailureKind.SERVER_ERROR, "boom"),
            B: fails(FailureKind.TIMEOUT, "no first byte"),
            C: fails(FailureKind.AUTH, "bad key sk-123"),
        }
    )
    error = await w.error()
    assert error.reason is Reason.PROVIDER_TIMEOUT
    assert error.message == "b: no first byte (3 attempts failed)"
    assert dict(error.endpoints) == {
        A.id: "server_error: boom",
        B.id: "timeout: no first byte",
        C.id: "auth: refused the operator's credentials",
    }
    assert dict(error.decision)["x-provider-slug"] == "c"


async def test_misconfiguration_alone_is_told_as_such_without_the_key_that_was_quoted() -> None:
    w = world({A: fails(FailureKind.AUTH, "Incorrect API key provided: sk-123")})
    error = await w.error()
    assert error.reason is Reason.PROVIDER_AUTH_FAILED
    assert "sk-123" not in error.message + str(error.endpoints)


async def test_a_providers_own_code_and_parameter_are_kept() -> None:
    failure = Failure(
        FailureKind.INVALID_REQUEST, "too many stops", status=400, code="array_above_max", param="stop"
    )
    error = await world({A: Script(opening=(failure,))}).error()
    assert (error.reason, error.code, error.param) == (Reason.PROVIDER_REJECTED, "array_above_max", "stop")


async def test_a_provider_failure_without_a_time_is_not_worth_a_retry() -> None:
    error = await world({A: fails(FailureKind.SERVER_ERROR)}).error()
    assert error.reason is Reason.PROVIDER_UNAVAILABLE
    assert not error.may_retry


@BOTH
async def test_nothing_planned_is_an_error_before_anybody_is_asked(streamed: bool) -> None:
    w = world({A: says("a")}, preferences=Preferences(only=("nobody",)))
    error = await w.error(streamed=streamed)
    assert error.reason is Reason.NO_ENDPOINT_ALLOWED
    assert w.upstream.journal == []


# --- Retry-After ---


@BOTH
async def test_a_rate_limited_endpoint_is_not_waited_for_while_another_is_left(streamed: bool) -> None:
    w = world({A: fails(FailureKind.RATE_LIMITED, retry_after=1.0), B: says("b")})
    assert (await w.answer(streamed=streamed))[0] == "b"
    assert w.clock.slept == []


@BOTH
async def test_the_last_endpoint_is_tried_once_more_after_its_retry_after(streamed: bool) -> None:
    w = world({A: [fails(FailureKind.RATE_LIMITED, retry_after=3.0), says("at last")]})
    text, headers = await w.answer(streamed=streamed)
    assert text == "at last"
    assert w.clock.slept == [3.0]
    assert headers["x-fallback-count"] == "1"
    assert w.health.cooling_until(A.id, w.clock()) is None


async def test_the_soonest_named_wait_counts_whoever_named_it() -> None:
    w = world(
        {
            A: [fails(FailureKind.RATE_LIMITED, retry_after=2.0), says("a")],
            B: fails(FailureKind.RATE_LIMITED, retry_after=9.0),
            C: fails(FailureKind.CONNECT),
        }
    )
    assert (await w.answer(streamed=True))[0] == "a"
    assert w.upstream.asked() == [A.id, B.id, C.id, A.id]


async def test_it_is_waited_once_and_then_told_when_to_come_back() -> None:
    w = world({A: fails(FailureKind.RATE_LIMITED, retry_after=3.0)})
    error = await w.error()
    assert w.upstream.asked() == [A.id, A.id]
    assert error.reason is Reason.PROVIDER_RATE_LIMITED
    assert error.retry_after == 3.0
    assert error.may_retry


@pytest.mark.parametrize(
    ("retry_after", "deadline", "settings"),
    [
        (11.0, 1060.0, RouterSettings()),  # longer than anybody waits
        (3.0, 1002.0, RouterSettings()),  # the caller is gone by then
        (3.0, 1060.0, RouterSettings(max_attempts=1)),  # no attempt left
    ],
)
async def test_a_wait_that_does_not_fit_is_not_begun(
    retry_after: float, deadline: float, settings: RouterSettings
) -> None:
    w = world({A: fails(FailureKind.RATE_LIMITED, retry_after=retry_after)}, settings=settings)
    error = await w.error(call=context(deadline))
    assert w.clock.slept == []
    assert w.upstream.asked() == [A.id]
    assert error.retry_after == retry_after


# --- the deadline ---


@BOTH
async def test_no_attempt_begins_after_the_deadline(streamed: bool) -> None:
    slow = Script(opening=(Pause(30), Failure(FailureKind.SERVER_ERROR, "late")))
    w = world({A: slow, B: slow, C: says("never")})
    error = await w.error(streamed=streamed, call=context(deadline=1045.0))
    assert error.reason is Reason.DEADLINE_EXCEEDED
    assert w.upstream.asked() == [A.id, B.id]
    assert len(error.endpoints) == 2


async def test_a_call_whose_time_is_up_asks_nobody() -> None:
    w = world({A: says("a")})
    assert (await w.error(call=context(deadline=999.0))).reason is Reason.DEADLINE_EXCEEDED
    assert w.upstream.journal == []


@pytest.mark.parametrize("after_commit", [False, True])
async def test_a_timeout_at_the_deadline_is_the_callers_and_not_the_endpoints(after_commit: bool) -> None:
    steps: tuple[list[Event] | Pause | Failure, ...] = (Pause(5), Failure(FailureKind.TIMEOUT, "idle"))
    w = world({A: Script(([TextDelta("x")], *steps) if after_commit else steps), B: says("never")})
    error = await w.error(call=context(deadline=1005.0))
    assert error.reason is Reason.DEADLINE_EXCEEDED
    assert w.upstream.asked() == [A.id]
    assert w.telemetry.outcomes() == [(A.id, "deadline")]
    assert w.health.score(A.id) == 1.0


async def test_the_deadline_travels_to_the_upstream() -> None:
    w = world({A: says("a")})
    await drain(w.open(context(deadline=1042.0)))
    assert w.upstream.contexts[0].deadline == 1042.0


# --- cancellation ---


@pytest.mark.parametrize("after_commit", [False, True])
async def test_a_cancelled_read_closes_the_upstream_at_once_and_harms_nobody(after_commit: bool) -> None:
    steps: tuple[list[Event] | Hang, ...] = ([TextDelta("x")], Hang()) if after_commit else (Hang(),)
    w = world({A: Script(steps), B: says("never")})
    run = w.open()
    task = asyncio.ensure_future(drain(run))
    await until_blocked()
    task.cancel()
    await asyncio.sleep(0)
    assert w.upstream.journal == [("open", A.id), ("cancelled", A.id), ("close", A.id)]
    with pytest.raises(asyncio.CancelledError):
        await task
    assert w.telemetry.outcomes() == [(A.id, "cancelled")]
    assert w.health.score(A.id) == 1.0
    with pytest.raises(ServiceError):  # a stream that was given up has no clean end
        await run.next()


@BOTH
async def test_a_call_cancelled_before_the_headers_tries_nobody_else(streamed: bool) -> None:
    w = world({A: Script(opening=(Hang(),)), B: says("never")})
    task = asyncio.ensure_future(w.answer(streamed=streamed))
    await until_blocked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert w.upstream.asked() == [A.id]
    assert w.telemetry.outcomes() == [(A.id, "cancelled")]
    assert w.health.score(A.id) == 1.0


async def test_a_call_cancelled_while_it_waits_for_a_retry_ends() -> None:
    w = world({A: fails(FailureKind.RATE_LIMITED, retry_after=3.0)})
    w.router._sleep = asyncio.sleep
    task = asyncio.ensure_future(w.answer(streamed=True))
    await until_blocked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert w.telemetry.outcomes() == [(A.id, "rate_limited")]


async def test_closing_closes_the_upstream_within_the_same_step_of_the_loop() -> None:
    w = world({A: Script(([TextDelta("x")], Hang()))})
    run = w.open()
    await run.next()
    closing = run.aclose()
    with pytest.raises(StopIteration):
        closing.send(None)  # runs to its end without giving the loop a turn
    assert w.upstream.journal == [("open", A.id), ("close", A.id)]
    assert w.telemetry.outcomes() == [(A.id, "cancelled")]
    await run.aclose()
    assert w.upstream.journal == [("open", A.id), ("close", A.id)]
    assert w.telemetry.outcomes() == [(A.id, "cancelled")]


async def test_closing_after_the_clean_end_or_before_the_start_changes_nothing() -> None:
    w = world({A: says("a")})
    run = w.open()
    await drain(run)
    await run.aclose()
    assert await run.next() == ()
    unread = w.open()
    await unread.aclose()
    assert w.telemetry.outcomes() == [(A.id, "ok")]
    with pytest.raises(ServiceError):
        await unread.next()


async def test_calls_at_the_same_time_do_not_mix() -> None:
    w = world(
        {A: [Script(([TextDelta("1")], Pause(1), [TextDelta("2")])), fails(FailureKind.CONNECT)], B: says("b")}
    )
    first, second = w.open(), w.open()
    await first.next()
    assert fold([Start("i", "m"), *await drain(second)]).choices[0].text == "b"
    assert await drain(first) == [TextDelta("2")]
    assert (first.decision.provider_slug, second.decision.provider_slug) == ("a", "b")
