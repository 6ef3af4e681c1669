"""The router fits a request to each endpoint: tools as functions and back, the oldest turns left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from adapters.health import OutcomeHealth
from service.adapt import DEFAULT_ANSWER_TOKENS, Adapter
from service.domain.catalog import Endpoint
from service.domain.errors import Reason, ServiceError
from service.domain.events import Event, Finish, FinishReason, Folded, Start, ToolCallDelta, ToolCallStart
from service.domain.failure import Failure, FailureKind
from service.domain.fields import Field
from service.domain.fold import fold
from service.domain.generation import (
    CustomTool,
    FunctionTool,
    Generation,
    LocalTool,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)
from service.domain.preferences import Policy, Preferences
from service.domain.routing import Decision, Needs, WantedModel
from service.domain.selection import Selection
from service.domain.truncate import estimate
from service.router import Router, RouterSettings
from tests.support.catalogs import EVERY_FIELD, endpoint, model
from tests.support.upstreams import FakeClock, FakeUpstream, Hang, RecordingTelemetry, Script, context, fails, says

BOTH = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
PLAIN = EVERY_FIELD - {Field.CUSTOM_TOOLS, Field.LOCAL_TOOLS}
HELLO = Turn(Role.USER, (Text("hello"),))
AGENT = Generation((HELLO,), (CustomTool("exec"), LocalTool("shell", "{}"), FunctionTool("f")))
TOO_LONG = FailureKind.CONTEXT_LENGTH


def row(slug: str, context_length: int | None = None, price: str = "1") -> Endpoint:
    return replace(endpoint(slug, price=price), context_length=context_length)


class World:
    """A router over scripts; every answer is read to its end."""

    def __init__(self, scripts: dict[Endpoint, Script | list[Script]], **settings: int) -> None:
        self.clock = FakeClock()
        self.upstream = FakeUpstream(self.clock, {each.id: script for each, script in scripts.items()})
        self.telemetry = RecordingTelemetry()
        limits = RouterSettings(**settings)
        self.router = Router(
            self.upstream, OutcomeHealth(self.clock), self.telemetry,
            clock=self.clock, sleep=self.clock.sleep, settings=lambda: limits,
        )  # fmt: skip
        self.rows = tuple(scripts)

    async def ask(
        self, generation: Generation, *, streamed: bool, preferences: Preferences | None = None
    ) -> tuple[Folded, Decision]:
        wanted = (WantedModel(model("vendor/model", *self.rows)),)
        selection = Selection(wanted, Policy(preferences or Preferences()))
        if not streamed:
            answer = await self.router.call(generation, Needs(), selection, context())
            return fold(answer.events), answer.decision
        run = self.router.open(generation, Needs(), selection, context())
        events: list[Event] = []
        while batch := await run.next():
            events += batch
        assert await run.next() == ()
        return fold(events), run.decision

    async def error(self, generation: Generation, *, streamed: bool = True) -> ServiceError:
        with pytest.raises(ServiceError) as caught:
            await self.ask(generation, streamed=streamed)
        return caught.value

    def sent(self) -> list[int]:
        """How many turns each attempt was given."""
        return [len(generation.turns) for generation in self.upstream.generations]


def calls(*batches: Sequence[Event]) -> Script:
    return Script(([Start("id", "m")], *batches, [Finish(FinishReason.TOOL_CALLS)]))


# --- tools ---


@BOTH
async def test_a_generation_that_needs_no_fitting_is_passed_on_as_the_same_object(streamed: bool) -> None:
    plain = Generation((HELLO,), (FunctionTool("f"),))
    a = endpoint("a", expressible=PLAIN)
    w = World({a: says("hi")})
    await w.ask(plain, streamed=streamed)
    assert w.upstream.generations[0] is plain
    native = World({endpoint("a"): says("hi")})
    await native.ask(AGENT, streamed=streamed)
    assert native.upstream.generations[0] is AGENT


async def test_a_stream_that_needs_no_fitting_is_read_without_anything_between() -> None:
    w = World({endpoint("a", expressible=PLAIN): says("hi")})
    selection = Selection((WantedModel(model("vendor/model", *w.rows)),), Policy(Preferences()))
    run = w.router.open(Generation((HELLO,)), Needs(), selection, context())
    await run.next()
    assert type(run._source).__name__ == "ScriptedSource"
    await run.aclose()


@BOTH
async def test_calls_of_bridged_tools_come_back_under_their_own_kind(streamed: bool) -> None:
    start: list[Event] = [ToolCallStart(0, "c0", "exec")]
    text: list[list[Event]] = [[ToolCallDelta(0, piece)] for piece in ('{"in', 'put":"a', 'b"}')]
    shell: list[Event] = [ToolCallStart(1, "c1", "shell"), ToolCallDelta(1, '{"commands":["ls"]}')]
    own: list[Event] = [ToolCallStart(2, "c2", "f"), ToolCallDelta(2, "{}")]
    w = World({endpoint("a", expressible=PLAIN): calls(start, *text, shell, own)})
    folded, _ = await w.ask(AGENT, streamed=streamed)
    assert [type(tool) for tool in w.upstream.generations[0].tools] == [FunctionTool] * 3
    one, two, three = folded.choices[0].calls
    assert (one.kind, one.name, one.arguments) == ("custom", "exec", "ab")
    assert (two.kind, two.name, json.loads(two.arguments)["commands"]) == ("shell", "shell", ["ls"])
    assert (three.kind, three.name, three.arguments) == ("function", "f", "{}")


async def test_what_is_held_at_a_streams_clean_end_still_comes() -> None:
    broken: list[Event] = [ToolCallStart(0, "c0", "shell"), ToolCallDelta(0, "ls -la")]
    w = World({endpoint("a", expressible=PLAIN): Script(([Start("id", "m")], broken))})
    folded, _ = await w.ask(AGENT, streamed=True)
    assert json.loads(folded.choices[0].calls[0].arguments)["commands"] == ["'ls -la'"]
    assert w.telemetry.outcomes() == [("a/vendor/model", "ok")]


async def test_a_fallback_is_fitted_anew_and_nothing_of_the_first_try_is_left() -> None:
    cut = Script(([Start("id", "m")], Failure(FailureKind.CUT, "gone")))
    native = endpoint("b", price="2")
    custom: list[Event] = [ToolCallStart(0, "c0", "exec", "custom"), ToolCallDelta(0, '{"input":"kept"}')]
    w = World({endpoint("a", expressible=PLAIN): cut, native: calls(custom)})
    folded, _ = await w.ask(AGENT, streamed=True)
    assert w.upstream.generations[1] is AGENT
    assert folded.choices[0].calls[0].arguments == '{"input":"kept"}'


async def test_leaving_a_bridged_stream_between_two_reads_ends_the_upstream_call() -> None:
    half: list[Event] = [ToolCallStart(0, "c0", "exec"), ToolCallDelta(0, '{"input":"a')]
    w = World({endpoint("a", expressible=PLAIN): Script(([Start("id", "m")], half, Hang()))})
    selection = Selection((WantedModel(model("vendor/model", *w.rows)),), Policy(Preferences()))
    run = w.router.open(AGENT, Needs(), selection, context())
    await run.next()
    await run.aclose()
    assert w.upstream.open_streams == 0


# --- contexts ---


def chat(questions: int, *, size: int = 3000, truncate: bool = True) -> Generation:
    """So many questions of about `size` / 3 tokens each."""
    turns = tuple(
        Turn(Role.USER, (Text(f"{number}" + "x" * (size - 1)),), items=(f"msg_{number}",))
        for number in range(questions)
    )
    return Generation(turns, max_output_tokens=500, truncate=truncate)


@BOTH
async def test_the_oldest_turns_go_before_an_endpoint_whose_context_is_too_short_is_asked(streamed: bool) -> None:
    w = World({row("a", 3600): says("hi")})
    _, decision = await w.ask(chat(4), streamed=streamed)
    assert w.sent() == [3]
    assert dict(decision.headers())["x-truncated-items"] == "msg_0"
    assert decision.fallback_count == 0


async def test_each_endpoint_gets_what_fits_into_its_own_context() -> None:
    rows = {row("a", 2600): fails(FailureKind.SERVER_ERROR), row("b", 9000, "2"): says("hi")}
    w = World({**rows})
    _, decision = await w.ask(chat(4), streamed=True)
    assert w.sent() == [2, 4]
    assert decision.truncated == ()


async def test_nothing_is_left_out_unasked_or_where_the_context_is_not_stated() -> None:
    for generation, only in ((chat(4, truncate=False), row("a", 2000)), (chat(4), row("a"))):
        w = World({only: says("hi")})
        _, decision = await w.ask(generation, streamed=True)
        assert w.upstream.generations[0] is generation
        assert decision.truncated == ()


def test_room_is_kept_for_the_answer_up_to_half_of_the_context() -> None:
    tokens = estimate(chat(8))
    unlimited = replace(chat(8), max_output_tokens=None)
    assert Adapter(unlimited).fit(row("a", tokens + DEFAULT_ANSWER_TOKENS)).dropped == ()
    assert Adapter(unlimited).fit(row("a", tokens + DEFAULT_ANSWER_TOKENS - 1)).dropped == ("msg_0",)
    greedy = replace(chat(8), max_output_tokens=10**6)
    assert Adapter(greedy).fit(row("a", 2 * tokens)).dropped == ()


def test_a_cut_and_a_bridge_go_together() -> None:
    history = (
        Turn(Role.ASSISTANT, (ToolCall("c", "exec", "x" * 3000, "custom"),), items=("ctc_1",)),
        Turn(Role.TOOL, (ToolResult("c", (Text("y"),), kind="custom"),), items=("out_1",)),
    )
    generation = replace(chat(1), turns=(HELLO, *history, HELLO), tools=AGENT.tools)
    adapted = Adapter(generation).fit(replace(endpoint("a", expressible=PLAIN), context_length=1300))
    assert adapted.dropped == ("ctc_1", "out_1")
    assert adapted.generation.turns == (HELLO,)
    assert adapted.mapper is not None
    assert all(isinstance(tool, FunctionTool) for tool in adapted.generation.tools)


@BOTH
async def test_a_request_that_is_too_long_goes_on_to_longer_contexts_only(streamed: bool) -> None:
    rows = [
        row("a", 8000, "1"),
        row("b", 8000, "2"),
        row("c", 4000, "3"),
        row("d", None, "4"),
        row("e", 9000, "5"),
    ]
    scripts: dict[Endpoint, Script | list[Script]] = {each: says(each.provider.slug) for each in rows}
    scripts[rows[0]] = fails(TOO_LONG)
    w = World(scripts, max_attempts=9)
    folded, decision = await w.ask(chat(2, truncate=False), streamed=streamed)
    assert folded.choices[0].text == "e"
    assert decision.fallback_count == 1
    assert w.upstream.asked() == [rows[0].id, rows[4].id]


async def test_endpoints_beyond_the_cap_take_the_place_of_those_passed_over_and_the_cap_holds() -> None:
    rows = [row("a", 8000), row("b", 8000, "2"), row("c", 9000, "3"), row("d", 9500, "4"), row("e", 9900, "5")]
    scripts: dict[Endpoint, Script | list[Script]] = {each: fails(TOO_LONG) for each in rows}
    w = World(scripts, max_attempts=3)
    error = await w.error(chat(2))
    assert error.reason is Reason.CONTEXT_LENGTH_EXCEEDED
    assert w.upstream.asked() == [rows[0].id, rows[2].id, rows[3].id]


async def test_after_a_context_that_is_not_stated_those_that_state_theirs_are_asked() -> None:
    w = World({row("a"): fails(TOO_LONG), row("b", None, "2"): says("b"), row("c", 100, "3"): says("c")})
    folded, _ = await w.ask(chat(2, truncate=False), streamed=True)
    assert folded.choices[0].text == "c"


@BOTH
async def test_too_long_everywhere_is_the_callers_to_mend(streamed: bool) -> None:
    w = World({row("a", 100): fails(TOO_LONG, "8192 is the most"), row("b", 200, "2"): fails(TOO_LONG)})
    error = await w.error(chat(4, truncate=False), streamed=streamed)
    assert error.reason is Reason.CONTEXT_LENGTH_EXCEEDED
    assert w.upstream.asked() == ["a/vendor/model", "b/vendor/model"]
    assert w.telemetry.outcomes() == [("a/vendor/model", "context_length"), ("b/vendor/model", "context_length")]


@BOTH
async def test_after_the_longest_context_it_is_asked_once_more_with_half(streamed: bool) -> None:
    longest = row("b", 9000, "2")
    w = World(
        {row("a", 8000): fails(TOO_LONG), longest: [fails(TOO_LONG), says("hi")], row("c", 10, "3"): says("c")}
    )
    folded, decision = await w.ask(chat(4), streamed=streamed)
    assert folded.choices[0].text == "hi"
    assert w.upstream.asked() == ["a/vendor/model", longest.id, longest.id]
    assert w.sent() == [4, 4, 2]
    assert decision.truncated == ("msg_0", "msg_1")
    assert decision.fallback_count == 2


async def test_the_harder_cut_is_made_once_and_only_where_something_can_go() -> None:
    w = World({row("a"): fails(TOO_LONG)})
    assert (await w.error(chat(4))).reason is Reason.CONTEXT_LENGTH_EXCEEDED
    assert w.sent() == [4, 2]
    alone = World({row("a"): fails(TOO_LONG)})
    assert (await alone.error(chat(1))).reason is Reason.CONTEXT_LENGTH_EXCEEDED
    assert alone.sent() == [1]
    capped = World({row("a"): fails(TOO_LONG)}, max_attempts=1)
    assert (await capped.error(chat(4))).reason is Reason.CONTEXT_LENGTH_EXCEEDED
    assert capped.sent() == [4]


async def test_a_wait_for_a_longer_context_comes_before_the_harder_cut_and_one_for_a_shorter_not_at_all() -> None:
    busy = fails(FailureKind.RATE_LIMITED, retry_after=3)
    for length, asked in ((9000, ["a", "b", "a"]), (7000, ["a", "b", "b"])):
        w = World({row("a", length): [busy, says("waited")], row("b", 8000, "2"): [fails(TOO_LONG), says("cut")]})
        folded, _ = await w.ask(chat(4), streamed=True)
        assert [name.partition("/")[0] for name in w.upstream.asked()] == asked
        assert folded.choices[0].text == ("waited" if length == 9000 else "cut")
        assert w.clock.slept == ([3] if length == 9000 else [])


async def test_a_failure_of_the_longer_context_is_told_when_it_comes_last() -> None:
    w = World({row("a", 8000): fails(TOO_LONG), row("b", 9000, "2"): fails(FailureKind.SERVER_ERROR)})
    error = await w.error(chat(2, truncate=False))
    assert error.reason is Reason.PROVIDER_UNAVAILABLE
    assert len(error.endpoints) == 2


async def test_without_fallbacks_a_request_that_is_too_long_stays_where_it_was() -> None:
    w = World({row("a", 8000): [fails(TOO_LONG), says("hi")], row("b", 9000, "2"): says("b")})
    only = Preferences(allow_fallbacks=False)
    folded, _ = await w.ask(chat(4), streamed=True, preferences=only)
    assert folded.choices[0].text == "hi"
    assert w.upstream.asked() == ["a/vendor/model", "a/vendor/model"]
