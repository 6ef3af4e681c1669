"""Where an answer's form may be emulated, and what the router makes of answers that miss it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from adapters.catalog import build_catalog
from adapters.catalog.load import check_document
from adapters.catalog.schema import CatalogDocument
from adapters.documents.read import DocumentError, parse_document
from adapters.health import OutcomeHealth
from service.adapt import Adapter
from service.domain import asked_schema
from service.domain.asked_schema import AskedSchema
from service.domain.calls import CallContext, permitted
from service.domain.catalog import Endpoint
from service.domain.emulation import PATH
from service.domain.errors import Reason, ServiceError, invalid
from service.domain.events import (
    Event,
    Finish,
    FinishReason,
    Folded,
    ReasoningDelta,
    Start,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)
from service.domain.failure import FailureKind
from service.domain.fields import Field
from service.domain.fold import fold
from service.domain.generation import FunctionTool, Generation, JsonSchema, Role, Text, ToolCall, ToolResult, Turn
from service.domain.json_schema import Schema, read
from service.domain.plan import no_endpoint_error
from service.domain.preferences import Policy, Preferences
from service.domain.routing import STRUCTURED_OUTPUT, Decision, Filter, Needs, WantedModel
from service.domain.selection import Selection
from service.edge.calls import takes_emulated
from service.router import Router
from service.structured import SchemaCheck
from tests.support.catalogs import EVERY_FIELD, endpoint, model, provider
from tests.support.upstreams import FakeClock, FakeUpstream, RecordingTelemetry, Script, context, fails, says

BOTH = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
SCHEMA = '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}'
ASKED = Generation((Turn(Role.USER, (Text("hello"),)),), output=JsonSchema("answer", SCHEMA))
NEEDS = Needs({Field.JSON_SCHEMA: PATH}, schema=AskedSchema(SCHEMA))
FORMLESS = EVERY_FIELD - {Field.JSON_SCHEMA}


def row(slug: str, price: str = "1", *, formless: bool = True, emulates: bool = False) -> Endpoint:
    by = replace(provider(slug), emulates=frozenset({Field.JSON_SCHEMA} if emulates else ()))
    return endpoint(by, price=price, expressible=FORMLESS if formless else EVERY_FIELD)


def calls(arguments: str, *before: Event) -> Script:
    first: list[Event] = [Start("id", "m"), *before]
    pieces: list[list[Event]] = [[ToolCallDelta(0, piece)] for piece in (arguments[:3], arguments[3:])]
    last: list[Event] = [Finish(FinishReason.TOOL_CALLS, "tool_use"), Usage(1, 2, 3)]
    return Script((first, [ToolCallStart(0, "c", "answer")], *pieces, last))


class World:
    """A router over scripts; every answer is read to its end."""

    def __init__(self, scripts: dict[Endpoint, Script | Sequence[Script]]) -> None:
        self.clock = FakeClock()
        self.upstream = FakeUpstream(self.clock, {each.id: script for each, script in scripts.items()})
        self.telemetry = RecordingTelemetry()
        self.health = OutcomeHealth(self.clock)
        self.router = Router(self.upstream, self.health, self.telemetry, clock=self.clock, sleep=self.clock.sleep)
        self.rows = tuple(scripts)

    def selection(self, **preferences: object) -> Selection:
        policy = Policy(Preferences(**preferences))  # type: ignore[arg-type]
        return Selection((WantedModel(model("vendor/model", *self.rows)),), policy)

    async def ask(
        self, *, streamed: bool = False, emulate: bool = True, needs: Needs = NEEDS
    ) -> tuple[Folded, Decision]:
        call: CallContext = replace(context(), emulate=emulate)
        if not streamed:
            answer = await self.router.call(ASKED, needs, self.selection(), call)
            return fold(answer.events), answer.decision
        run = self.router.open(ASKED, needs, self.selection(), call)
        events: list[Event] = []
        while batch := await run.next():
            events += batch
        return fold(events), run.decision

    async def error(self, *, streamed: bool = False, emulate: bool = True) -> ServiceError:
        with pytest.raises(ServiceError) as caught:
            await self.ask(streamed=streamed, emulate=emulate)
        return caught.value


# --- eligibility ---


@BOTH
async def test_the_callers_word_lets_an_endpoint_emulate_and_the_answer_says_so(streamed: bool) -> None:
    w = World({row("a"): calls('{"a": 1}')})
    folded, decision = await w.ask(streamed=streamed)
    assert folded.choices[0].text == '{"a": 1}'
    assert dict(decision.headers())[STRUCTURED_OUTPUT] == "emulated"
    assert isinstance(w.upstream.generations[0].tools[0], FunctionTool)
    assert w.telemetry.outcomes() == [("a/vendor/model", "ok")]


async def test_without_anybodys_word_the_endpoint_is_ineligible_and_the_reason_says_how() -> None:
    w = World({row("a"): calls('{"a": 1}')})
    error = await w.error(emulate=False)
    assert error.reason is Reason.UNSUPPORTED_FIELD
    assert error.violations[0].path == PATH
    assert "x-structured-output: emulate" in error.endpoints[0][1]
    assert "x-structured-output: emulate" in error.violations[0].message
    assert w.upstream.asked() == []


async def test_the_providers_row_allows_it_for_every_caller() -> None:
    w = World({row("a", emulates=True): calls('{"a": 1}')})
    _, decision = await w.ask(emulate=False)
    assert decision.emulated


@BOTH
async def test_an_endpoint_that_knows_schemas_is_asked_as_the_caller_wrote_it(streamed: bool) -> None:
    w = World({row("a", formless=False): says('{"a":1}')})
    _, decision = await w.ask(streamed=streamed)
    assert w.upstream.generations[0] is ASKED
    assert STRUCTURED_OUTPUT not in dict(decision.headers())


async def test_endpoints_that_know_schemas_come_first_however_dear() -> None:
    cheap, dear = row("a", "1"), row("b", "9", formless=False)
    w = World({cheap: calls('{"a": 1}'), dear: [fails(FailureKind.SERVER_ERROR)]})
    _, decision = await w.ask()
    assert w.upstream.asked() == [dear.id, cheap.id]
    assert decision.emulated


@pytest.mark.parametrize("missing", [Field.TOOLS, Field.TOOL_CHOICE])
async def test_an_endpoint_that_can_be_made_to_call_no_tool_emulates_nothing(missing: Field) -> None:
    can_not = endpoint("a", expressible=FORMLESS - {missing})
    error = await World({can_not: calls("{}")}).error()
    assert error.reason is Reason.UNSUPPORTED_FIELD
    assert "x-structured-output" not in error.endpoints[0][1]


@pytest.mark.parametrize(
    ("needs", "why"),
    [
        (replace(NEEDS, fields={**NEEDS.fields, Field.TOOLS: "tools"}), "tools of its own"),
        (replace(NEEDS, schema=AskedSchema('{"pattern":"a"}')), "regular expressions"),
        (replace(NEEDS, schema=AskedSchema('{"$ref":"http://example.com/a"}')), "none is fetched"),
    ],
)
async def test_a_request_that_can_not_be_emulated_is_told_why(needs: Needs, why: str) -> None:
    w = World({row("a", emulates=True): calls("{}")})
    plan = w.router.plan(needs, w.selection(), "local")
    assert plan.rejected[0].filter is Filter.FIELD
    assert why in plan.rejected[0].message
    violation = no_endpoint_error(plan, needs, 0.0).violations[0]
    assert violation.path == PATH
    assert why in violation.message


async def test_who_requires_parameters_gets_no_emulation() -> None:
    w = World({row("a", emulates=True): calls("{}")})
    plan = w.router.plan(NEEDS, w.selection(require_parameters=True), "local")
    assert plan.rejected[0].filter is Filter.REQUIRE_PARAMETERS


async def test_json_without_a_schema_is_not_emulated_and_its_advice_names_json_schema() -> None:
    lacks = replace(row("a", emulates=True), expressible=EVERY_FIELD - {Field.JSON_OBJECT})
    needs = Needs({Field.JSON_OBJECT: "response_format"})
    w = World({lacks: calls("{}")})
    plan = w.router.plan(needs, w.selection(), "local")
    assert plan.attempts == ()
    (violation,) = no_endpoint_error(plan, needs, 0.0).violations
    assert violation.path == "response_format"
    assert "json_schema" in violation.message


def test_calls_of_other_tools_in_history_are_still_bridged() -> None:
    history = (
        Turn(Role.ASSISTANT, (ToolCall("c", "exec", "ls", "custom"),)),
        Turn(Role.TOOL, (ToolResult("c", (Text("a"),), kind="custom"),)),
    )
    generation = replace(ASKED, turns=(*ASKED.turns, *history))
    adapted = Adapter(generation).fit(endpoint("a", expressible=FORMLESS - {Field.CUSTOM_TOOLS}))
    assert adapted.generation.turns[1].parts == (ToolCall("c", "exec", '{"input":"ls"}'),)
    assert [tool.name for tool in adapted.generation.tools if isinstance(tool, FunctionTool)] == ["answer"]
    assert adapted.check is not None


# --- answers that miss ---


@BOTH
async def test_an_answer_that_does_not_match_falls_to_the_next_and_is_never_seen(streamed: bool) -> None:
    bad, good = row("a", "1"), row("b", "2")
    w = World({bad: calls('{"a": "x"}'), good: calls('{"a": 2}')})
    folded, decision = await w.ask(streamed=streamed)
    assert folded.choices[0].text == '{"a": 2}'
    assert decision.fallback_count == 1
    assert w.telemetry.outcomes() == [(bad.id, "mismatch"), (good.id, "ok")]
    assert w.upstream.open_streams == 0
    assert w.health.cooling_until(bad.id, w.clock()) is None


@BOTH
async def test_the_last_answer_that_does_not_match_is_the_providers_broken_answer(streamed: bool) -> None:
    error = await World({row("a"): calls('{"a": "x"}')}).error(streamed=streamed)
    assert error.reason is Reason.PROVIDER_BROKEN_ANSWER
    assert "properties/a/type" in error.message


@BOTH
async def test_an_answer_that_does_not_match_is_paid_for_and_counted(streamed: bool) -> None:
    bad, good = row("a", "1"), row("b", "2")
    w = World({bad: calls('{"a": "x"}'), good: calls('{"a": 2}')})
    await w.ask(streamed=streamed)
    assert w.telemetry.usage == [(bad.id, 1, 2), (good.id, 1, 2)]
    assert [f"{cost.amount:f}" for cost in w.telemetry.costs if cost is not None] == ["0.000003", "0.000006"]


async def test_the_usage_that_comes_after_the_end_of_an_answer_that_misses_is_counted_too() -> None:
    late = calls('{"a": "x"}')
    last: list[Event] = [Finish(FinishReason.TOOL_CALLS)]
    w = World({row("a"): Script((*late.steps[:-1], last, [Usage(7, 8, 15)]))})
    error = await w.error(streamed=True)
    assert error.reason is Reason.PROVIDER_BROKEN_ANSWER
    assert w.telemetry.usage == [("a/vendor/model", 7, 8)]
    assert w.upstream.open_streams == 0


async def test_an_answer_that_misses_after_reasoning_was_shown_is_counted_too() -> None:
    w = World({row("a"): calls('{"a": "x"}', ReasoningDelta("hm"))})
    await w.error(streamed=True)
    assert w.telemetry.usage == [("a/vendor/model", 1, 2)]


@BOTH
async def test_a_check_that_waits_behind_others_ends_with_the_calls_deadline(
    streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(SchemaCheck, "__call__", lambda _self, _text: release.wait(60) and None)
    w = World({row("a"): calls('{"a": 1}'), row("b", "2"): calls('{"a": 1}')})
    router = Router(w.upstream, w.health, w.telemetry)
    begun = time.monotonic()
    call = replace(context(), emulate=True, deadline=begun + 0.2)
    try:
        with pytest.raises(ServiceError) as caught:
            if streamed:
                await router.open(ASKED, NEEDS, w.selection(), call).next()
            else:
                await router.call(ASKED, NEEDS, w.selection(), call)
    finally:
        release.set()
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED
    assert len(w.upstream.asked()) == 1
    assert time.monotonic() - begun < 30


@BOTH
async def test_a_reference_to_what_is_no_schema_is_refused_before_anything_is_paid(streamed: bool) -> None:
    broken = '{"type":"object","properties":{"a":{"$ref":"#/required"}},"required":["a"]}'
    asked = replace(ASKED, output=JsonSchema("answer", broken))
    w = World({row("a"): calls("{}")})
    needs = replace(NEEDS, schema=AskedSchema(broken))
    call = replace(context(), emulate=True)
    with pytest.raises(ServiceError) as caught:
        if streamed:
            await w.router.open(asked, needs, w.selection(), call).next()
        else:
            await w.router.call(asked, needs, w.selection(), call)
    assert caught.value.reason is Reason.INVALID_REQUEST
    assert caught.value.violations[0].path == f"{PATH}.schema.properties.a.$ref"
    assert w.upstream.asked() == []


def test_the_schema_is_read_once_for_all_the_endpoints_of_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []

    def counted(text: str) -> Schema:
        texts.append(text)
        return read(text)

    monkeypatch.setattr(asked_schema, "read", counted)
    w = World({row(f"p{number}"): calls("{}") for number in range(8)})
    needs = replace(NEEDS, schema=AskedSchema(SCHEMA))
    knowing = World({row("a", formless=False): calls("{}")})
    knowing.router.plan(needs, knowing.selection(), "local")
    assert texts == []
    allowed = permitted(needs, replace(context(), emulate=True))
    for asks in (needs, allowed, allowed):
        w.router.plan(asks, w.selection(), "local")
    assert texts == [SCHEMA]


async def test_after_reasoning_was_shown_nothing_falls_back() -> None:
    w = World({row("a"): calls('{"a": "x"}', ReasoningDelta("hm")), row("b", "2"): calls('{"a": 2}')})
    error = await w.error(streamed=True)
    assert error.reason is Reason.PROVIDER_BROKEN_ANSWER
    assert len(w.upstream.asked()) == 1


@BOTH
async def test_an_endpoint_that_refuses_to_be_made_to_call_a_tool_leaves_it_to_the_next(streamed: bool) -> None:
    thinks = Script(opening=(invalid("tool_choice", "can't be made to call a tool together with reasoning"),))
    w = World({row("a"): thinks, row("b", "2"): calls('{"a": 2}')})
    folded, _ = await w.ask(streamed=streamed)
    assert folded.choices[0].text == '{"a": 2}'
    error = await World({row("a"): thinks}).error(streamed=streamed)
    assert [each.path for each in error.violations] == [PATH]
    assert "together with reasoning" in error.message


@BOTH
async def test_a_text_that_is_no_schema_is_refused_before_anything_is_sent(streamed: bool) -> None:
    broken = '{"type":"object","properties":{"a":{"type":"number?"}}}'
    asked = replace(ASKED, output=JsonSchema("answer", broken))
    w = World({row("a"): calls("{}")})
    needs = replace(NEEDS, schema=AskedSchema(broken))
    call = replace(context(), emulate=True)
    with pytest.raises(ServiceError) as caught:
        if streamed:
            await w.router.open(asked, needs, w.selection(), call).next()
        else:
            await w.router.call(asked, needs, w.selection(), call)
    assert caught.value.violations[0].path == f"{PATH}.schema.properties.a.type"
    assert w.upstream.asked() == []


@BOTH
async def test_a_refusal_and_a_cut_answer_are_told_as_they_are(streamed: bool) -> None:
    cut: list[Event] = [ToolCallStart(0, "c", "answer"), ToolCallDelta(0, '{"a": 1'), Finish(FinishReason.LENGTH)]
    folded, decision = await World({row("a"): Script(([Start("id", "m")], cut))}).ask(streamed=streamed)
    choice = folded.choices[0]
    assert (choice.text, choice.finish) == ('{"a": 1', Finish(FinishReason.LENGTH))
    assert decision.emulated


async def test_a_second_endpoint_is_asked_anew_with_the_same_check() -> None:
    first, second = row("a", "1"), row("b", "2", formless=False)
    w = World({second: fails(FailureKind.OVERLOADED), first: calls(json.dumps({"a": 3}))})
    await w.ask(streamed=True)
    assert w.upstream.generations[0] is ASKED
    assert w.upstream.generations[1].output is None


async def test_a_costly_check_does_not_hold_up_the_other_calls() -> None:
    definitions: dict[str, object] = {"a0": {"type": "object"}}
    for level in range(1, 40):
        definitions[f"a{level}"] = {"allOf": [{"$ref": f"#/$defs/a{level - 1}"}] * 2}
    schema = json.dumps({"type": "object", "properties": {"a": {"$ref": "#/$defs/a39"}}, "$defs": definitions})
    w = World({row("a"): calls('{"a": {}}')})
    asked = replace(ASKED, output=JsonSchema("answer", schema))
    call = replace(context(), emulate=True)
    needs = replace(NEEDS, schema=AskedSchema(schema))
    running = asyncio.create_task(w.router.call(asked, needs, w.selection(), call))
    turns, begun = 0, time.monotonic()
    while not running.done():
        await asyncio.sleep(0.01)
        turns += 1
    seconds = time.monotonic() - begun
    with pytest.raises(ServiceError) as caught:
        await running
    assert "more work to check" in caught.value.message
    # Alone it would have turned 100 times a second; held up, it would not have turned at all.
    assert turns > 10 * seconds


# --- the row ---

ROWS = """
providers:
  - {slug: own, dialect: openai_chat, base_url: "http://127.0.0.1:8000/v1", emulates: [FIELD]}
models: []
"""


def test_a_row_says_what_may_be_emulated_and_nothing_else_can_be() -> None:
    def read(field: str) -> CatalogDocument:
        return check_document(parse_document(ROWS.replace("FIELD", field), "catalogue.yaml"))

    catalog = build_catalog(read("response_format.json_schema"), {}, lambda _: True)
    assert catalog.providers["own"].emulates == {Field.JSON_SCHEMA}
    with pytest.raises(DocumentError, match="emulates"):
        read("response_format.json_object")


# --- the header ---


@pytest.mark.parametrize("word", ["emulate", "Emulate", " emulate "])
def test_the_header_allows_emulation(word: str) -> None:
    assert takes_emulated({STRUCTURED_OUTPUT: word})
    assert not takes_emulated({})


def test_any_other_word_in_the_header_is_refused_by_its_name() -> None:
    with pytest.raises(ServiceError) as caught:
        takes_emulated({STRUCTURED_OUTPUT: "yes"})
    assert caught.value.violations[0].path == STRUCTURED_OUTPUT
