"""Emulated structured output, piece by piece: which requests it serves, what is asked, what comes back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.asked_schema import AskedSchema
from service.domain.emulated_answer import AnswerMapper
from service.domain.emulation import PATH, Emulated, about_the_schema, emulate, obstacle
from service.domain.errors import Reason, ServiceError, Violation, invalid
from service.domain.events import (
    Event,
    Finish,
    FinishReason,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    Start,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)
from service.domain.failure import HARMS_HEALTH, TRY_ELSEWHERE, FailureKind, UpstreamError
from service.domain.fields import Field
from service.domain.fold import fold
from service.domain.generation import FunctionTool, Generation, JsonSchema, NamedChoice, Role, Text, ToolCall, Turn
from service.domain.json_schema import MAX_SCHEMA
from service.domain.routing import Needs
from service.structured import SchemaCheck
from tests.support.catalogs import EVERY_FIELD

OBJECT = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
HELLO = Turn(Role.USER, (Text("hello"),))
START = Start("id", "m")
DONE = Finish(FinishReason.TOOL_CALLS, "tool_use")


def needs(schema: object = OBJECT, **fields: str) -> Needs:
    asked = {Field.JSON_SCHEMA: PATH, **{Field[name]: path for name, path in fields.items()}}
    return Needs(asked, schema=AskedSchema(json.dumps(schema)))


def asked(schema: object = OBJECT, *history: Turn, strict: bool | None = None, says: str | None = None) -> Any:
    output = JsonSchema("answer", json.dumps(schema), says, strict)
    return emulate(Generation((HELLO, *history), output=output, parallel_tool_calls=True), output, EVERY_FIELD)


def mapper(schema: object = OBJECT) -> AnswerMapper:
    _, emulated = asked(schema)
    return AnswerMapper(emulated, SchemaCheck(emulated.schema))


def call(arguments: str, name: str = "answer", index: int = 0, choice: int = 0) -> list[Event]:
    return [ToolCallStart(index, f"c{index}", name, choice=choice), ToolCallDelta(index, arguments, choice)]


def text_of(events: Sequence[Event], choice: int = 0) -> str | None:
    return fold(events).choices[choice].text


def mismatch(events: Sequence[Event], schema: object = OBJECT) -> str:
    with pytest.raises(UpstreamError) as caught:
        mapper(schema).whole([START, *events])
    assert caught.value.failure.kind is FailureKind.MISMATCH
    return caught.value.failure.message


# --- which requests ---


def test_a_plain_schema_can_be_emulated() -> None:
    assert obstacle(needs()) is None
    assert obstacle(needs({"$ref": "#/$defs/a", "$defs": {"a": OBJECT}})) is None


@pytest.mark.parametrize(
    ("field", "why"),
    [
        (Field.TOOLS, "tools of its own"),
        (Field.CUSTOM_TOOLS, "tools of its own"),
        (Field.LOCAL_TOOLS, "tools of its own"),
        (Field.LOGPROBS, "log probabilities"),
        (Field.STOP, "cut the JSON"),
        (Field.WEB_SEARCH, "searches nothing"),
        (Field.AUDIO_OUTPUT, "spoken"),
    ],
)
def test_what_a_forced_call_would_break_is_not_emulated(field: Field, why: str) -> None:
    assert why in (obstacle(needs(**{field.name: "there"})) or "")


def test_a_tool_that_a_provider_runs_is_a_tool_and_its_trace_in_history_is_none() -> None:
    fields = {Field.JSON_SCHEMA: PATH}
    tool = Needs(fields, schema=AskedSchema("{}"), server_tools={"tools[0]": "openai_chat"})
    trace = Needs(fields, schema=AskedSchema("{}"), server_tools={"input[0]": "openai_responses"})
    assert "tools of its own" in (obstacle(tool) or "")
    assert obstacle(trace) is None


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "string", "pattern": "(a+)+$"}, "pattern"),
        ({"properties": {"a": {"patternProperties": {"(a+)+$": {}}}}}, "patternProperties"),
        ({"$ref": "https://example.com/schema.json"}, "none is fetched"),
        ({"items": {"$ref": "other.json#/a"}}, "none is fetched"),
        ({"$id": "https://example.com/a"}, "$id"),
        ({"$dynamicRef": "#a"}, "$dynamicRef"),
        ({"items": {"$schema": "http://json-schema.org/draft-07/schema#"}}, "several dialects"),
        ({"description": "x" * MAX_SCHEMA}, "longer than"),
        (json.loads('{"not":' * 70 + "{}" + "}" * 70), "deeper than"),
    ],
)
def test_a_schema_that_nobody_here_may_check_is_not_emulated(schema: object, why: str) -> None:
    assert why in (obstacle(needs(schema)) or "")


def test_names_and_data_in_a_schema_are_no_keywords() -> None:
    schema = {
        "properties": {"pattern": {"type": "string"}, "$ref": {"type": "string"}, "$id": {"const": {"$id": "x"}}},
        "enum": [{"pattern": "a"}],
        "default": {"$ref": "https://example.com"},
    }
    assert obstacle(needs(schema)) is None


def test_without_a_schema_there_is_nothing_to_hold_an_answer_to() -> None:
    assert "no schema" in (obstacle(Needs({Field.JSON_SCHEMA: PATH})) or "")


# --- what is asked ---


def test_the_schema_becomes_the_parameters_of_the_one_tool_that_must_be_called() -> None:
    generation, emulated = asked(strict=True, says="A letter.")
    (tool,) = generation.tools
    assert isinstance(tool, FunctionTool)
    assert (tool.name, tool.parameters, tool.strict) == ("answer", json.dumps(OBJECT), True)
    assert "A letter." in (tool.description or "")
    assert generation.tool_choice == NamedChoice("answer")
    assert (generation.parallel_tool_calls, generation.output) == (False, None)
    assert emulated == Emulated("answer", json.dumps(OBJECT), wrapped=False)


def test_parallel_calls_are_forbidden_only_where_that_can_be_said() -> None:
    output = JsonSchema("answer", "{}")
    generation, _ = emulate(Generation((HELLO,)), output, EVERY_FIELD - {Field.PARALLEL_TOOL_CALLS})
    assert generation.parallel_tool_calls is None


def test_the_tool_has_no_name_that_history_gives_to_another() -> None:
    history = Turn(Role.ASSISTANT, (ToolCall("c", "answer", "{}"), ToolCall("d", "answer_2", "{}")))
    generation, emulated = asked(OBJECT, history)
    assert emulated.tool == "answer_3"
    assert generation.tool_choice == NamedChoice("answer_3")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"type": "string"},
        {"anyOf": [OBJECT]},
        {},
        {"type": ["object", "null"]},
        {**OBJECT, "not": {}},
    ],
)
def test_a_schema_of_anything_but_an_object_is_wrapped_in_one(schema: dict[str, Any]) -> None:
    generation, emulated = asked(schema)
    parameters = json.loads(generation.tools[0].parameters)
    assert parameters["properties"] == {"value": schema}
    assert parameters["required"] == ["value"]
    assert parameters["additionalProperties"] is False
    assert emulated.wrapped


def test_references_of_a_wrapped_schema_still_lead_to_where_they_led() -> None:
    schema = {
        "$ref": "#/$defs/tree",
        "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "const": 'no "$ref": "#/x"'}},
    }
    generation, _ = asked(schema)
    value = json.loads(generation.tools[0].parameters)["properties"]["value"]
    assert value["$ref"] == "#/properties/value/$defs/tree"
    assert value["$defs"]["tree"]["items"]["$ref"] == "#/properties/value/$defs/tree"
    assert value["$defs"]["tree"]["const"] == 'no "$ref": "#/x"'


def test_references_are_told_from_data_and_however_they_are_written() -> None:
    text = (
        '{"type":"array","items":{"\\u0024ref":"#/$defs/n"},"$defs":{"n":{"minimum":1.50}},'
        '"enum":[{"$ref":"#/a"},1e400,-0],"default":{"$ref":"#/a"},"maximum":123456789012345678901234567890}'
    )
    generation, _ = emulate(Generation((HELLO,)), JsonSchema("answer", text), EVERY_FIELD)
    (tool,) = generation.tools
    assert isinstance(tool, FunctionTool)
    parameters = tool.parameters or ""
    value = json.loads(parameters)["properties"]["value"]
    assert value["items"] == {"$ref": "#/properties/value/$defs/n"}
    assert value["enum"][0] == value["default"] == {"$ref": "#/a"}
    assert list(value) == ["type", "items", "$defs", "enum", "default", "maximum"]
    assert all(number in parameters for number in ("1.50", "1e400,-0]", "123456789012345678901234567890"))


def test_what_is_no_schema_is_left_to_be_refused_by_its_path() -> None:
    broken = {"type": "array", "items": 3, "not": {"$ref": "#"}}
    assert obstacle(needs(broken)) is None
    generation, _ = asked(broken)
    assert json.loads(generation.tools[0].parameters)["properties"]["value"] == broken


def test_key_order_and_numbers_of_the_schema_stay_as_they_were_written() -> None:
    text = '{"type":"array","items":{"b":1.50,"a":1e400,"maximum":1.0}}'
    output = JsonSchema("answer", text)
    generation, _ = emulate(Generation((HELLO,)), output, EVERY_FIELD)
    assert isinstance(generation.tools[0], FunctionTool)
    assert text in (generation.tools[0].parameters or "")


def test_a_refusal_of_the_forced_tool_is_told_of_the_schema_and_any_other_as_it_is() -> None:
    refused = about_the_schema(invalid("tool_choice", "can't be made to call a tool"))
    assert (refused.reason, refused.violations[0].path) == (Reason.INVALID_REQUEST, PATH)
    assert "can't be made to call a tool" in refused.message
    both = about_the_schema(invalid("temperature", "is 2", Violation("tools[0]", "no")))
    assert [each.path for each in both.violations] == ["temperature", PATH]
    other = invalid("temperature", "is 2")
    assert about_the_schema(other) is other


# --- what comes back ---


def test_the_calls_arguments_are_the_answers_text_and_no_call_is_seen() -> None:
    events = mapper().whole([START, *call('{ "a" : 1.0 }'), DONE, Usage(1, 2, 3)])
    choice = fold(events).choices[0]
    assert (choice.text, choice.calls) == ('{ "a" : 1.0 }', ())
    assert choice.finish is not None
    assert (choice.finish.reason, choice.finish.raw) == (FinishReason.STOP, "tool_use")
    assert fold(events).usage == Usage(1, 2, 3)


def test_nothing_of_the_text_is_shown_before_it_is_whole_and_checked() -> None:
    held = mapper()
    shown = held.map([START, *call('{"a":')])
    shown += held.map([ToolCallDelta(0, " 1")])
    assert shown == [START]
    assert held.map([ToolCallDelta(0, "}"), DONE])[0] == TextDelta('{"a": 1}')


def test_a_wrapped_value_is_told_without_its_wrapping_as_the_model_wrote_it() -> None:
    events = mapper({"type": "array"}).whole([*call(' { "value" : [1.50, {"b": 1, "a": 2}] } '), DONE])
    assert events[0] == TextDelta('[1.50, {"b": 1, "a": 2}]')


def test_no_arguments_at_all_are_an_empty_object() -> None:
    (text, _) = mapper({"type": "object"}).whole([ToolCallStart(0, "c", "answer"), DONE])
    assert text == TextDelta("{}")


@pytest.mark.parametrize("reason", [FinishReason.LENGTH, FinishReason.CONTENT_FILTER])
@pytest.mark.parametrize(
    ("schema", "arguments", "told"),
    [(OBJECT, '{"a": 12', '{"a": 12'), ({"type": "array"}, '{"value": [1, 2', "[1, 2"), ({}, '{"val', "")],
)
def test_a_cut_answer_is_told_as_far_as_it_came(
    reason: FinishReason, schema: object, arguments: str, told: str
) -> None:
    events = mapper(schema).whole([START, *call(arguments), Finish(reason)])
    assert text_of(events) == (told or None)
    assert events[-1] == Finish(reason)


def test_an_answer_that_is_whole_though_cut_is_held_to_its_schema() -> None:
    assert text_of(mapper().whole([START, *call('{"a":1}'), Finish(FinishReason.LENGTH)])) == '{"a":1}'
    assert "required" in mismatch([*call("{}"), Finish(FinishReason.LENGTH)])


def test_a_refusal_is_told_as_it_is() -> None:
    events = mapper().whole([START, RefusalDelta("No."), Finish(FinishReason.STOP)])
    assert fold(events).choices[0].refusal == "No."
    assert fold(events).choices[0].text is None


def test_text_in_place_of_the_call_is_told_when_it_is_an_answer_of_the_schema() -> None:
    written: list[Event] = [TextDelta('{"a"'), TextDelta(": 1}"), Finish(FinishReason.STOP)]
    assert text_of(mapper().whole([START, *written])) == '{"a": 1}'
    assert "no JSON" in mismatch([TextDelta("I would rather not."), Finish(FinishReason.STOP)])
    assert "no JSON" in mismatch([Finish(FinishReason.STOP)])


def test_words_beside_the_call_are_left_out() -> None:
    events = mapper().whole([START, TextDelta("Here you are:"), *call('{"a":1}'), DONE])
    assert text_of(events) == '{"a":1}'


@pytest.mark.parametrize(
    ("events", "what"),
    [
        ([*call('{"a":1}'), *call('{"a":2}', index=1), DONE], "several calls"),
        ([*call("{}", name="other"), DONE], "not given"),
        ([*call('{"a":"x"}'), DONE], "properties/a/type"),
        ([*call('{"a":1'), DONE], "no JSON"),
        ([*call('{"a":NaN}'), DONE], "no JSON"),
        ([*call("[" * 100_000), DONE], "no JSON"),
    ],
)
def test_an_answer_that_is_none_of_the_schema_is_a_failure(events: list[Event], what: str) -> None:
    assert what in mismatch(events)


@pytest.mark.parametrize("arguments", ['{"value":1,"more":2}', '{"other":1}', "[1]", '{"value":1', '{"value":}'])
def test_a_wrapping_that_holds_anything_else_is_a_failure(arguments: str) -> None:
    assert mismatch([*call(arguments), DONE], {"type": "integer"})


def test_the_failure_quotes_nothing_of_the_answer() -> None:
    assert "secret" not in mismatch([*call('{"a":"secret"}'), DONE])
    assert "secret" not in mismatch([*call('{"secret'), DONE])


def test_another_endpoint_may_do_better_and_this_one_stays_healthy() -> None:
    assert FailureKind.MISMATCH in TRY_ELSEWHERE
    assert FailureKind.MISMATCH not in HARMS_HEALTH


def test_an_answer_without_end_is_not_held_for_ever() -> None:
    held = mapper()
    held.map(call('{"a":'))
    with pytest.raises(UpstreamError) as caught:
        for _ in range(100):
            held.map([ToolCallDelta(0, " " * 100_000)])
    assert caught.value.failure.kind is FailureKind.PROTOCOL


def test_each_of_several_choices_is_an_answer_of_its_own() -> None:
    ends = [Finish(FinishReason.TOOL_CALLS, choice=choice) for choice in (0, 1)]
    events = mapper().whole([START, *call('{"a":1}'), *call('{"a":2}', choice=1), *ends])
    assert [choice.text for choice in fold(events).choices] == ['{"a":1}', '{"a":2}']


def test_reasoning_passes_as_it_comes_and_a_signature_on_the_call_goes_with_the_call() -> None:
    own = ReasoningSeal("google-gemini-v1", encrypted="sig", id="c0")
    other = ReasoningSeal("openai-responses-v1", encrypted="sealed", id="rs_1")
    plain = ReasoningSeal("anthropic-claude-v1", signature="s")
    held = mapper()
    assert held.map([ReasoningDelta("hm"), plain, other, own]) == [ReasoningDelta("hm"), plain]
    rest = held.whole([*call('{"a":1}'), DONE])
    assert rest == [other, TextDelta('{"a":1}'), Finish(FinishReason.STOP, "tool_use")]


# --- laws ---

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_KINDS: list[tuple[str, Callable[[object], bool]]] = [
    ("object", lambda v: isinstance(v, dict)),
    ("array", lambda v: isinstance(v, list)),
    ("string", lambda v: isinstance(v, str)),
    ("boolean", lambda v: isinstance(v, bool)),
    ("null", lambda v: v is None),
    ("number", lambda v: isinstance(v, int | float) and not isinstance(v, bool)),
]


def schema_of(value: object) -> dict[str, Any]:
    """A schema that a value matches."""
    kind = next(name for name, fits in _KINDS if fits(value))
    if isinstance(value, dict):
        properties = {name: schema_of(each) for name, each in value.items()}
        return {"type": kind, "properties": properties, "required": list(value), "additionalProperties": False}
    if isinstance(value, list):
        items = {"prefixItems": [schema_of(each) for each in value]} if value else {}
        return {"type": kind, **items, "minItems": len(value), "maxItems": len(value)}
    return {"type": kind}


def cut_at(text: str, places: list[int]) -> list[str]:
    ends = sorted({min(place, len(text)) for place in places})
    return [text[a:b] for a, b in itertools.pairwise([0, *ends, len(text)])]


@given(_VALUES, st.lists(st.integers(0, 200), max_size=6), st.booleans(), st.sampled_from([None, 1]))
def test_the_answer_is_the_value_however_its_stream_is_split(
    value: object, places: list[int], ascii_only: bool, indent: int | None
) -> None:
    schema = schema_of(value)
    _, emulated = asked(schema)
    given_back = {"value": value} if emulated.wrapped else value
    arguments = json.dumps(given_back, ensure_ascii=ascii_only, indent=indent)
    pieces: list[list[Event]] = [[ToolCallDelta(0, piece)] for piece in cut_at(arguments, places)]
    batches: list[list[Event]] = [[START], [ToolCallStart(0, "c0", "answer")], *pieces, [DONE], [Usage(1, 2, 3)]]
    streamed = AnswerMapper(emulated, SchemaCheck(emulated.schema))
    events = [event for batch in batches for event in streamed.map(batch)] + streamed.end()
    whole = mapper(schema).whole([START, *call(arguments), DONE, Usage(1, 2, 3)])
    assert json.loads(text_of(events) or "") == value
    assert fold(events) == fold(whole)


@given(_VALUES, _VALUES)
def test_what_is_told_always_matches_and_what_does_not_match_is_never_told(value: object, other: object) -> None:
    schema = schema_of(other)
    _, emulated = asked(schema)
    arguments = json.dumps({"value": value} if emulated.wrapped else value)
    matches = SchemaCheck(json.dumps(schema))(json.dumps(value)) is None
    try:
        events = mapper(schema).whole([START, *call(arguments), DONE])
    except UpstreamError:
        assert not matches
    else:
        assert matches
        assert json.loads(text_of(events) or "") == value


def test_an_unready_generation_without_a_schema_is_refused() -> None:
    with pytest.raises(ServiceError):
        emulate(Generation((HELLO,)), JsonSchema("answer"), EVERY_FIELD)
