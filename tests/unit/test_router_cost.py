"""What answers cost: priced once, by the endpoint that gave them, at their end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest

from adapters.health import OutcomeHealth
from service.domain.catalog import Endpoint, Price
from service.domain.errors import ServiceError
from service.domain.events import Event, Finish, FinishReason, Start, TextDelta, Usage
from service.domain.failure import Failure, FailureKind
from service.domain.generation import Generation, Image, Role, Text, Turn
from service.domain.money import Cost
from service.domain.preferences import Policy
from service.domain.routing import Needs, WantedModel
from service.domain.selection import Selection
from service.router import Router, Run
from tests.support.catalogs import endpoint, model
from tests.support.upstreams import FakeClock, FakeUpstream, RecordingTelemetry, Script, context, fails, says

A, B = endpoint("a", price="1"), endpoint("b", price="2")
BOTH = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
ASKED = Generation(turns=(Turn(Role.USER, (Text("hi"), Image("data:image/png;base64,AAAA"))),))
START, STOP = Start("id", "m"), Finish(FinishReason.STOP)


class World:
    """A router over scripts."""

    def __init__(self, scripts: dict[Endpoint, Script]) -> None:
        clock = FakeClock()
        self.telemetry = RecordingTelemetry()
        upstream = FakeUpstream(clock, {each.id: script for each, script in scripts.items()})
        self.router = Router(upstream, OutcomeHealth(clock), self.telemetry, clock=clock, sleep=clock.sleep)
        self._wanted = Selection((WantedModel(model("vendor/model", *scripts)),), Policy())

    def open(self) -> Run:
        return self.router.open(ASKED, Needs(), self._wanted, context())

    async def answer(self, *, streamed: bool) -> tuple[Sequence[Event], Cost | None]:
        """All events, and what the router says that they cost."""
        if not streamed:
            answer = await self.router.call(ASKED, Needs(), self._wanted, context())
            return answer.events, answer.cost
        run = self.open()
        events: list[Event] = []
        while batch := await run.next():
            events += batch
        return events, run.cost


def used(events: Sequence[Event]) -> Usage:
    return [event for event in events if isinstance(event, Usage)][-1]


@BOTH
async def test_an_answer_has_the_cost_of_its_endpoint(streamed: bool) -> None:
    w = World({A: fails(FailureKind.OVERLOADED), B: says("Hel", "lo")})
    events, cost = await w.answer(streamed=streamed)
    assert cost == Cost(Decimal("0.000024"), "EUR")
    assert used(events).cost == cost
    assert replace(used(events), cost=None) == Usage(5, 7, 12)
    assert w.telemetry.costs == [cost]


@BOTH
async def test_an_answer_of_a_free_endpoint_costs_zero(streamed: bool) -> None:
    free = replace(A, price=Price(currency="CHF"))
    _, cost = await World({free: says("hi")}).answer(streamed=streamed)
    assert cost == Cost(Decimal(0), "CHF")


@BOTH
async def test_without_usage_nobody_knows_the_cost(streamed: bool) -> None:
    each = replace(A, price=Price(request=Decimal(1)))
    w = World({each: Script(([START, TextDelta("hi")], [STOP]))})
    events, cost = await w.answer(streamed=streamed)
    assert cost is None
    assert list(events) == [START, TextDelta("hi"), STOP]
    assert w.telemetry.costs == []


@BOTH
async def test_images_that_were_sent_are_paid(streamed: bool) -> None:
    sees = replace(A, price=Price(prompt=Decimal(1), image=Decimal(100)))
    _, cost = await World({sees: says("a cat")}).answer(streamed=streamed)
    assert cost == Cost(Decimal(105), "EUR")


@BOTH
async def test_usage_that_grows_is_paid_once_as_it_was_in_the_end(streamed: bool) -> None:
    texts: list[list[Event]] = [[TextDelta("x")] for _ in range(10)]
    w = World({A: Script(([START, Usage(9, 1, 10)], *texts, [Usage(9, 40, 49), STOP]))})
    events, cost = await w.answer(streamed=streamed)
    assert cost == Cost(Decimal("0.000049"), "EUR")
    assert used(events).output_tokens == 40
    assert w.telemetry.usage == [(A.id, 9, 40)]


async def test_a_stream_tells_its_cost_last_and_after_that_nothing() -> None:
    w = World({A: says("one", "two")})
    run = w.open()
    batches = []
    known = []
    while batch := await run.next():
        batches.append(batch)
        known.append(run.cost is not None)
    (last,) = batches[-1]
    assert isinstance(last, Usage)
    assert last.cost == run.cost == Cost(Decimal("0.000012"), "EUR")
    assert known == [False] * (len(batches) - 1) + [True]
    assert await run.next() == ()


async def test_a_stream_that_breaks_has_no_cost_but_what_it_used_is_counted() -> None:
    w = World({A: Script(([START, Usage(9, 1, 10), TextDelta("x")], Failure(FailureKind.CUT, "gone")))})
    run = w.open()
    await run.next()
    with pytest.raises(ServiceError):
        await run.next()
    assert run.cost is None
    assert w.telemetry.costs == [Cost(Decimal("0.00001"), "EUR")]


async def test_what_was_used_until_a_caller_left_is_counted_with_its_cost() -> None:
    w = World({A: Script(([START, Usage(9, 1, 10), TextDelta("x")], [TextDelta("y")], [STOP]))})
    run = w.open()
    await run.next()
    await run.aclose()
    assert w.telemetry.costs == [Cost(Decimal("0.00001"), "EUR")]
