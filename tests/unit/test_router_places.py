"""Calls at endpoints that declare how many they bear: passed over, waited for, and never kept after the end."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from adapters.health import OutcomeHealth
from service.domain.calls import CallContext
from service.domain.catalog import Endpoint
from service.domain.errors import Reason, ServiceError, invalid
from service.domain.events import Event, Finish, FinishReason, Start, TextDelta
from service.domain.failure import Failure, FailureKind
from service.domain.fields import Field
from service.domain.fold import fold
from service.domain.generation import CustomTool, Generation, Role, Text, Turn
from service.domain.preferences import Policy, Preferences
from service.domain.routing import Decision, Needs, WantedModel
from service.domain.selection import Selection
from service.router import Router, RouterSettings, Run
from tests.support.catalogs import EVERY_FIELD, endpoint, model
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

BOTH = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
SOON = RouterSettings(max_retry_wait=0.05)


def bears(calls: int | None, slug: str = "a", price: str = "1") -> Endpoint:
    return replace(endpoint(slug, price=price), concurrency=calls)


A, B = bears(1), bears(1, "b", "2")
FREE = endpoint("c", price="3")
JOB = replace(context(), background=True)


class World:
    """A router over scripts. `clock` stands still while calls wait for places: they wait in real time."""

    def __init__(
        self,
        scripts: dict[Endpoint, Script | list[Script]],
        settings: RouterSettings | None = None,
        preferences: Preferences | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.upstream = FakeUpstream(self.clock, {row.id: script for row, script in scripts.items()})
        self.telemetry = RecordingTelemetry()
        self.health = OutcomeHealth(self.clock)
        limits = settings or RouterSettings()
        self.router = Router(
            self.upstream,
            self.health,
            self.telemetry,
            clock=self.clock,
            sleep=self.clock.sleep,
            settings=lambda: limits,
        )
        wanted = (WantedModel(model("vendor/model", *scripts)),)
        self.selection = Selection(wanted, Policy(preferences or Preferences()))

    def open(self, call: CallContext | None = None, generation: Generation = HELLO) -> Run:
        return self.router.open(generation, Needs(), self.selection, call or context())

    async def ask(
        self, *, streamed: bool = True, call: CallContext | None = None, generation: Generation = HELLO
    ) -> tuple[str | None, Decision]:
        events: Sequence[Event]
        if not streamed:
            answer = await self.router.call(generation, Needs(), self.selection, call or context())
            events, decision = answer.events, answer.decision
        else:
            run = self.open(call, generation)
            events = await drain(run)
            decision = run.decision
        return fold(events).choices[0].text, decision

    async def error(
        self, *, streamed: bool = True, call: CallContext | None = None, generation: Generation = HELLO
    ) -> ServiceError:
        with pytest.raises(ServiceError) as caught:
            await self.ask(streamed=streamed, call=call, generation=generation)
        return caught.value

    @asynccontextmanager
    async def full(self, *rows: Endpoint, background: bool = False) -> AsyncIterator[None]:
        """All places at `rows` taken."""
        held = []
        for row in rows:
            while (slot := self.router.capacity.enter(row, background=background)) is not None:
                held.append(slot)
        try:
            yield
        finally:
            for slot in held:
                self.router.capacity.leave(slot)

    def all_free(self) -> bool:
        return not any(self.telemetry.in_flight.values())


async def drain(run: Run) -> list[Event]:
    """Reads to the end or the error: neither needs a close."""
    events: list[Event] = []
    while batch := await run.next():
        events += batch
    return events


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


# --- passed over ---


@BOTH
async def test_a_full_endpoint_is_passed_over_and_it_is_nobodys_failure(streamed: bool) -> None:
    w = World({A: says("from a"), FREE: says("from c")})
    async with w.full(A):
        text, decision = await w.ask(streamed=streamed)
    assert text == "from c"
    assert (decision.provider_slug, decision.fallback_count) == ("c", 0)
    assert w.telemetry.outcomes() == [(FREE.id, "ok")]
    assert w.telemetry.full == [A.id]
    assert w.health.cooling_until(A.id, w.clock()) is None
    assert w.health.score(A.id) == 1.0
    assert (await w.ask(streamed=streamed))[0] == "from a"


async def test_a_full_endpoint_counts_for_no_attempt() -> None:
    w = World({A: says("a"), B: says("b"), FREE: says("from c")}, RouterSettings(max_attempts=1))
    async with w.full(A, B):
        assert (await w.ask())[0] == "from c"


async def test_what_fails_after_a_full_one_is_told_with_it() -> None:
    w = World({A: says("a"), FREE: fails(FailureKind.INVALID_REQUEST, "too hot")})
    async with w.full(A):
        error = await w.error()
    assert error.reason is Reason.PROVIDER_REJECTED
    assert error.endpoints == ((FREE.id, "invalid_request: too hot"), (A.id, "busy: 1 of 1 calls under way"))


async def test_a_full_endpoint_stays_in_the_plan() -> None:
    w = World({A: says("a")})
    async with w.full(A):
        plan = w.router.plan(Needs(), w.selection, "local")
    assert [attempt.endpoint for attempt in plan.attempts] == [A]


@BOTH
async def test_nobody_counts_at_endpoints_that_declare_nothing(streamed: bool) -> None:
    w = World({FREE: says("c")})
    await w.ask(streamed=streamed)
    assert w.telemetry.in_flight == {}
    assert w.router.capacity._rooms == {}


# --- waiting ---


@BOTH
async def test_when_only_full_ones_are_left_the_first_free_place_is_taken(streamed: bool) -> None:
    w = World({A: says("from a"), B: says("from b")})
    async with w.full(A):
        async with w.full(B):
            asking = asyncio.create_task(w.ask(streamed=streamed))
            await turns()
            assert w.upstream.journal == []
        text, decision = await asking
    assert text == "from b"
    assert (decision.provider_slug, decision.fallback_count) == ("b", 0)
    assert w.all_free()


@BOTH
async def test_who_waits_in_vain_is_told_when_to_come_again_and_how_full_it_was(streamed: bool) -> None:
    w = World({A: says("a"), B: says("b")}, SOON)
    async with w.full(A, B):
        error = await w.error(streamed=streamed)
    assert error.reason is Reason.NO_ENDPOINT_AVAILABLE
    assert error.message == (
        "no endpoint had room for this call in time: "
        "a/vendor/model busy: 1 of 1 calls under way; b/vendor/model busy: 1 of 1 calls under way"
    )
    assert error.endpoints == ((A.id, "busy: 1 of 1 calls under way"), (B.id, "busy: 1 of 1 calls under way"))
    assert error.retry_after == 1.0
    assert error.may_retry
    assert w.upstream.journal == []
    assert w.telemetry.attempts == []


async def test_one_whose_turn_came_is_told_by_its_failure_and_no_longer_as_full() -> None:
    w = World({A: fails(FailureKind.INVALID_REQUEST, "too hot"), B: says("b")})
    async with w.full(B):
        async with w.full(A):
            asking = asyncio.create_task(w.error())
            await turns()
        error = await asking
    assert error.endpoints == ((A.id, "invalid_request: too hot"), (B.id, "busy: 1 of 1 calls under way"))
    assert w.upstream.asked() == [A.id]


async def test_failures_before_the_wait_are_told_with_it() -> None:
    w = World({A: says("a"), FREE: fails(FailureKind.SERVER_ERROR, "on fire")}, SOON)
    async with w.full(A):
        error = await w.error()
    assert error.reason is Reason.NO_ENDPOINT_AVAILABLE
    assert error.message.endswith("(1 attempts failed before)")
    assert dict(error.endpoints) == {FREE.id: "server_error: on fire", A.id: "busy: 1 of 1 calls under way"}


async def test_nobody_waits_longer_than_the_deadline() -> None:
    w = World({A: says("a")})
    async with w.full(A):
        async with asyncio.timeout(2.0):
            error = await w.error(call=context(deadline=w.clock() + 0.05))
    assert error.reason is Reason.NO_ENDPOINT_AVAILABLE


async def test_calls_are_served_in_the_order_in_which_they_came() -> None:
    w = World({A: [says(f"{number}") for number in range(5)]})
    async with w.full(A):
        asking = []
        for _ in range(5):
            asking.append(asyncio.create_task(w.ask()))
            await turns()
    assert [text for text, _ in await asyncio.gather(*asking)] == [str(number) for number in range(5)]


async def test_without_fallbacks_the_one_endpoint_is_waited_for() -> None:
    w = World({A: says("from a"), FREE: says("c")}, preferences=Preferences(allow_fallbacks=False))
    async with w.full(A):
        asking = asyncio.create_task(w.ask())
        await turns()
    assert (await asking)[0] == "from a"


async def test_one_that_named_its_wait_is_asked_again_while_the_others_are_full() -> None:
    again = [fails(FailureKind.RATE_LIMITED, retry_after=0.05), says("from c")]
    w = World({A: says("a"), FREE: again})
    async with w.full(A), asyncio.timeout(2.0):
        assert (await w.ask())[0] == "from c"
    assert w.upstream.asked() == [FREE.id, FREE.id]


async def test_one_that_named_its_wait_and_has_too_short_a_context_cuts_no_wait_for_a_place() -> None:
    short, middle, long = (
        replace(row, context_length=length)
        for row, length in ((endpoint("s", price="1"), 100), (endpoint("m", price="2"), 500), (A, 1000))
    )
    w = World(
        {
            short: fails(FailureKind.RATE_LIMITED, retry_after=0),
            middle: fails(FailureKind.CONTEXT_LENGTH, "too long"),
            long: says("from a"),
        },
        preferences=Preferences(order=("s", "m", "a")),
    )
    async with w.full(long):
        asking = asyncio.create_task(w.ask())
        await turns()
        assert not asking.done()
    assert (await asking)[0] == "from a"
    assert w.upstream.asked() == [short.id, middle.id, long.id]


@pytest.mark.parametrize("free", [True, False], ids=["in time", "too late"])
async def test_one_that_is_asked_again_waits_in_line_for_its_place(free: bool) -> None:
    limits = RouterSettings() if free else replace(SOON, max_retry_wait=3.05)
    w = World({A: [fails(FailureKind.RATE_LIMITED, retry_after=3), says("again")]}, limits)
    held = []

    async def taken_by_another(seconds: float) -> None:
        held.append(w.router.capacity.enter(A))
        await w.clock.sleep(seconds)

    w.router._sleep = taken_by_another
    asking = asyncio.create_task(w.ask() if free else w.error())
    await turns()
    assert w.upstream.asked() == [A.id]
    (slot,) = held
    assert slot is not None
    if not free:
        told = await asking
        assert isinstance(told, ServiceError)
        assert told.reason is Reason.NO_ENDPOINT_AVAILABLE
        assert [name for name, _ in told.endpoints] == [A.id, A.id]
    w.router.capacity.leave(slot)
    if free:
        answer = await asking
        assert isinstance(answer, tuple)
        assert answer[0] == "again"
    assert w.all_free()


async def test_one_with_too_short_a_context_is_not_waited_for() -> None:
    short = replace(A, context_length=100)
    long = replace(FREE, context_length=1000)
    w = World({short: says("a"), long: fails(FailureKind.CONTEXT_LENGTH, "too long")})
    async with w.full(short), asyncio.timeout(2.0):
        error = await w.error()
    assert error.reason is Reason.CONTEXT_LENGTH_EXCEEDED
    assert w.telemetry.full == [short.id]


# --- background ---


async def test_background_calls_leave_places_for_people() -> None:
    row = bears(5)
    w = World({row: Script(([TextDelta("x")], Hang()))}, SOON)
    jobs = [w.open(JOB) for _ in range(5)]
    for job in jobs[:4]:
        await job.next()
    with pytest.raises(ServiceError) as caught:
        await jobs[4].next()
    assert caught.value.reason is Reason.NO_ENDPOINT_AVAILABLE
    assert caught.value.endpoints == ((row.id, "busy: 4 of 4 background calls under way"),)
    assert caught.value.retry_after is not None
    person = w.open()
    await person.next()
    for run in (*jobs, person):
        await run.aclose()
    assert w.all_free()


async def test_a_background_call_goes_on_to_the_next_when_its_share_is_used() -> None:
    w = World({bears(2): says("from a"), FREE: says("from c")})
    async with w.full(bears(2), background=True):
        assert (await w.ask(call=JOB))[0] == "from c"
        assert (await w.ask())[0] == "from a"


async def test_a_background_call_gives_up_its_turn_after_half_a_second_and_a_person_stays_in_line() -> None:
    w = World({A: says("from a")})
    async with w.full(A):
        person = asyncio.create_task(w.ask())
        await turns()
        began = time.monotonic()
        async with asyncio.timeout(3.0):
            error = await w.error(call=JOB)
        assert time.monotonic() - began >= 0.45
        assert (error.reason, error.retry_after) == (Reason.NO_ENDPOINT_AVAILABLE, 1.0)
        assert error.endpoints == ((A.id, "busy: 1 of 1 calls under way"),)
        await turns()
        assert not person.done()
    assert (await person)[0] == "from a"


async def test_a_background_call_waits_no_longer_than_a_person_would() -> None:
    w = World({A: says("a")}, RouterSettings(max_retry_wait=0))
    async with w.full(A), asyncio.timeout(0.3):
        assert (await w.error(call=JOB)).reason is Reason.NO_ENDPOINT_AVAILABLE


async def test_the_half_second_of_a_background_call_is_for_all_its_waits_together() -> None:
    w = World({A: Script((Pause(0.6), Failure(FailureKind.SERVER_ERROR, "on fire"))), B: says("b")})
    async with w.full(B):
        async with w.full(A):
            asking = asyncio.create_task(w.error(call=JOB))
            await turns()
        async with asyncio.timeout(0.3):
            error = await asking
    assert error.reason is Reason.NO_ENDPOINT_AVAILABLE
    assert dict(error.endpoints) == {A.id: "server_error: on fire", B.id: "busy: 1 of 1 calls under way"}


async def test_a_background_call_waits_for_a_retry_after_as_a_person_does() -> None:
    again = [fails(FailureKind.RATE_LIMITED, retry_after=3), says("from c")]
    w = World({FREE: again})
    assert (await w.ask(call=JOB))[0] == "from c"
    assert w.clock.slept == [3]


# --- nothing is kept ---


async def test_a_stream_keeps_its_place_until_it_is_closed() -> None:
    w = World({A: Script(([TextDelta("x")], Hang()))})
    run = w.open()
    await run.next()
    assert w.telemetry.in_flight == {A.id: 1}
    await run.aclose()
    assert w.upstream.open_streams == 0
    assert w.all_free()


async def test_the_next_in_line_begins_after_the_stream_before_it_is_closed() -> None:
    w = World({A: [Script(([TextDelta("x")], Hang())), says("next")]})
    run = w.open()
    await run.next()
    asking = asyncio.create_task(w.ask())
    await turns()
    await run.aclose()
    await asking
    assert w.upstream.journal == [("open", A.id), ("close", A.id), ("open", A.id)]


async def test_a_fallback_gives_the_place_back_before_it_asks_the_next() -> None:
    w = World({A: fails(FailureKind.SERVER_ERROR), B: Script(([TextDelta("x")], Hang()))})
    run = w.open()
    await run.next()
    assert w.telemetry.in_flight == {A.id: 0, B.id: 1}
    await run.aclose()


_CUSTOM = Generation((Turn(Role.USER, (Text("hello"),)),), (CustomTool("exec"),))
_START = [Start("id", "m")]
_ENDS = {
    "well": says("a"),
    "without anything visible": Script(
        (
            _START,
            [Finish(FinishReason.STOP)],
        )
    ),
    "refused": fails(FailureKind.INVALID_REQUEST),
    "failed": fails(FailureKind.SERVER_ERROR),
    "cut": Script((_START, [TextDelta("x")], Failure(FailureKind.CUT, "gone"))),
    "cut before anything visible": Script((_START, Failure(FailureKind.CUT, "gone"))),
    "not expressible": Script(opening=(invalid("x", "can't be said here"),)),
    "our own mistake": Script(opening=(ServiceError(Reason.INTERNAL, "a bug"),)),
    "too long": fails(FailureKind.CONTEXT_LENGTH),
    "rate limited": fails(FailureKind.RATE_LIMITED, retry_after=0.01),
    "too slow": Script((_START, Pause(100.0), Failure(FailureKind.TIMEOUT, "slow"))),
}


@BOTH
@pytest.mark.parametrize("truncate", [False, True], ids=["", "truncated"])
@pytest.mark.parametrize("generation", [HELLO, _CUSTOM], ids=["plain", "mapped"])
@pytest.mark.parametrize("end", sorted(_ENDS))
async def test_however_a_call_ends_its_place_is_free(
    end: str, generation: Generation, truncate: bool, streamed: bool
) -> None:
    # Its answers are mapped back where the tool is custom.
    row = replace(A, expressible=EVERY_FIELD - {Field.CUSTOM_TOOLS}, context_length=1000)
    turns_ = tuple(Turn(Role.USER, (Text("word " * 20),)) for _ in range(6))
    asked = replace(generation, truncate=True, turns=turns_) if truncate else generation
    w = World({row: _ENDS[end]})
    try:
        await w.ask(streamed=streamed, generation=asked)
    except ServiceError:
        assert end not in ("well", "without anything visible")
    assert w.upstream.asked()
    assert w.all_free()
    assert w.upstream.open_streams == 0


async def test_a_bug_below_gives_the_place_back() -> None:
    w = World({A: says("a")})

    async def breaks(*_: object) -> object:
        raise RuntimeError("a bug")

    w.upstream.call = w.upstream.open = breaks  # type: ignore[method-assign,assignment]
    for streamed in (True, False):
        with pytest.raises(RuntimeError):
            await w.ask(streamed=streamed)
        assert w.all_free()


@BOTH
async def test_a_lease_that_is_lost_while_waiting_gives_the_place_back(streamed: bool) -> None:
    w = World({A: says("a")})

    def lost() -> None:
        raise PermissionError("the lease is another's")

    with pytest.raises(PermissionError):
        await w.ask(streamed=streamed, call=replace(context(), permit=lost))
    assert w.upstream.asked() == []
    assert w.all_free()


@BOTH
async def test_a_deadline_that_passed_before_the_attempt_gives_the_place_back(streamed: bool) -> None:
    w = World({A: says("a")})
    error = await w.error(streamed=streamed, call=context(deadline=w.clock()))
    assert error.reason is Reason.DEADLINE_EXCEEDED
    assert w.all_free()


@BOTH
@pytest.mark.parametrize("seen", [0, 3, 20])
async def test_a_caller_that_leaves_gives_its_place_to_the_next(seen: int, streamed: bool) -> None:
    w = World({A: [Script(([TextDelta("x")], Hang())), says("next")]})
    leaving = asyncio.create_task(w.ask(streamed=streamed))
    for _ in range(seen):
        await asyncio.sleep(0)
    waiting = asyncio.create_task(w.ask())
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await waiting
    assert w.all_free()
    assert w.upstream.open_streams == 0


@pytest.mark.parametrize("seed", range(5))
async def test_a_crowd_never_exceeds_the_number_and_leaves_nothing_behind(seed: int) -> None:
    dice = random.Random(seed)
    slow = Script((_START, [TextDelta("x")], Pause(0), Pause(0), [Finish(FinishReason.STOP)]))
    ends = [slow, *(_ENDS[name] for name in sorted(_ENDS) if name != "too slow")]
    row = bears(3)
    w = World({row: [dice.choice(ends) for _ in range(400)]}, RouterSettings(max_retry_wait=0.2))
    # It never rests, or the crowd would be turned away before it comes to the door.
    w.health.failed = lambda *_: None  # type: ignore[method-assign]
    most = 0

    async def one() -> None:
        try:
            await w.ask(streamed=dice.random() < 0.5, call=JOB if dice.random() < 0.5 else None)
        except ServiceError:
            pass

    crowd = [asyncio.create_task(one()) for _ in range(100)]
    while not all(task.done() for task in crowd):
        most = max(most, w.telemetry.in_flight.get(row.id, 0))
        if dice.random() < 0.2:
            dice.choice(crowd).cancel()
        await asyncio.sleep(0)
    await asyncio.gather(*crowd, return_exceptions=True)
    assert 0 < most <= 3
    assert w.all_free()
    assert w.upstream.open_streams == 0
    assert all(not room.waiting and not room.background for room in w.router.capacity._rooms.values())
