"""Emulated structured output over every dialect: the forced tool reaches the wire, and calls come back as text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from service.domain.emulated_answer import AnswerMapper
from service.domain.emulation import emulate
from service.domain.events import Event, FinishReason
from service.domain.failure import FailureKind, UpstreamError
from service.domain.fields import BRIDGES, Field
from service.domain.fold import fold
from service.domain.generation import FunctionTool, Generation, JsonSchema, Role, Text, Turn
from service.structured import SchemaCheck
from tests.contract.dialects import DIALECTS
from tests.contract.sample import DialectSample, cut_every, decode, endpoint_for

ASKED: Final = Generation((Turn(Role.USER, (Text("hello"),)),))
SCHEMA: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WRAPPED: Final = {"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "integer"}}}
CALLS: Final = ("tool_call", "reasoning_then_tool_call")

each_dialect = pytest.mark.parametrize("sample", DIALECTS, ids=lambda sample: sample.name)
each_call = pytest.mark.parametrize(
    ("sample", "case"),
    [
        pytest.param(sample, case, id=f"{sample.name}-{case}")
        for sample in DIALECTS
        for case in CALLS
        if case not in sample.lacks
    ],
)


def mapper(schema: object, name: str = "get_weather") -> AnswerMapper:
    _, emulated = emulate(ASKED, JsonSchema(name, json.dumps(schema)), frozenset(Field))
    return AnswerMapper(emulated, SchemaCheck(emulated.schema))


def mapped(by: AnswerMapper, events: list[Event]) -> list[Event]:
    """What comes of events that come one by one."""
    return [each for event in events for each in by.map([event])] + by.end()


def objects(value: object) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(each)


@each_dialect
@pytest.mark.parametrize("schema", [SCHEMA, WRAPPED], ids=["object", "wrapped"])
def test_the_schema_reaches_the_wire_as_a_tool_that_must_be_called(
    sample: DialectSample, schema: dict[str, Any]
) -> None:
    can = sample.dialect.expressible - {Field.JSON_SCHEMA}
    assert can >= BRIDGES[Field.JSON_SCHEMA]
    generation, emulated = emulate(ASKED, JsonSchema("weather", json.dumps(schema)), can)
    request = sample.dialect.build(generation, endpoint_for(sample.dialect, can), stream=True)
    sent = json.loads(request.body)
    (tool,) = generation.tools
    assert isinstance(tool, FunctionTool)
    parameters = json.loads(tool.parameters or "")
    assert parameters in list(objects(sent))
    names = json.dumps(sent).count(f'"{emulated.tool}"')
    assert names == 2, "once as the tool, once as the choice"
    plain = sample.dialect.build(ASKED, endpoint_for(sample.dialect, can), stream=True)
    assert json.loads(plain.body).keys() <= sent.keys()


@each_call
def test_a_call_comes_back_as_the_text_that_it_was_made_with(sample: DialectSample, case: str) -> None:
    read = sample.dialect.read(sample.answer(case))
    (call,) = fold(read).choices[0].calls
    (choice,) = fold(mapper(SCHEMA).whole(read)).choices
    assert (choice.text, choice.calls, choice.refusal) == (call.arguments, (), None)
    assert choice.finish is not None
    assert choice.finish.reason is FinishReason.STOP
    assert fold(mapper(SCHEMA).whole(read)).usage == fold(read).usage


@each_call
@pytest.mark.parametrize("size", [1, 64])
def test_a_stream_folds_to_what_the_whole_answer_folds_to(sample: DialectSample, case: str, size: int) -> None:
    events = decode(sample.dialect, cut_every(sample.stream(case), size))
    whole = mapper(SCHEMA).whole(sample.dialect.read(sample.answer(case)))
    assert fold(mapped(mapper(SCHEMA), events)) == fold(whole)


@each_call
def test_a_call_that_does_not_match_is_told_to_nobody(sample: DialectSample, case: str) -> None:
    events = decode(sample.dialect, [sample.stream(case)])
    told: list[Event] = []
    by = mapper({**SCHEMA, "required": ["country"]})
    with pytest.raises(UpstreamError) as caught:
        for event in events:
            told += by.map([event])
    assert caught.value.failure.kind is FailureKind.MISMATCH
    assert all(choice.text is None and not choice.calls for choice in fold([*told, events[-1]]).choices)


@each_dialect
def test_an_answer_that_was_filtered_or_cut_is_told_as_far_as_it_came(sample: DialectSample) -> None:
    for case in {"content_filter", "length", "refusal"} - sample.lacks.keys():
        read = sample.dialect.read(sample.answer(case))
        (told,), (came,) = fold(mapper(SCHEMA).whole(read)).choices, fold(read).choices
        assert (told.text, told.refusal, told.finish) == (came.text, came.refusal, came.finish), case
