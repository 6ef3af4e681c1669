"""The simulator's Responses API against OpenAI's descriptions, its client's types and recorded streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from adapters.providers.openai_responses import DIALECT
from adapters.providers.simulator import Reason, Script, ToolCall, Usage
from adapters.providers.simulator.openai_responses import OpenAIResponses
from adapters.providers.simulator.wire import Encoded, Form
from service.domain.failure import FailureKind, UpstreamError
from service.domain.fold import fold
from tests.contract.sample import decode
from tests.support.recorded import read_exchanges
from tests.support.responses_schema import check_event, check_response

WIRE = OpenAIResponses()
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
CALLS = (ToolCall("call_1", "get_weather", '{"city":"Paris"}'), ToolCall("call_2", "get_time", ""))
SCRIPTS = {
    "text": Script(text="Hello over there.", logprobs=(-0.1, -0.2)),
    "no text": Script(text=""),
    "calls": Script(tool_calls=CALLS),
    "text and calls": Script(text="I look.", tool_calls=CALLS),
    "reasoning": Script(reasoning="Let me see.", text="So.", usage=Usage(10, 20, 4, 12)),
    "refusal": Script(refusal="I can't do that."),
    "text and refusal": Script(text="Well.", refusal="No."),
    "length": Script(text="On and on", finish_reason="length"),
    "filter": Script(text="Once upon", finish_reason="content_filter"),
}
ASK: dict[str, Any] = {"model": "m", "input": "Hello", "store": False}
each_script = pytest.mark.parametrize("name", SCRIPTS)


def form_of(**more: Any) -> Form:
    return WIRE.read("/v1/responses", {}, {**ASK, **more}).form


def joined(encoded: Encoded) -> bytes:
    return b"".join((encoded.head, *encoded.tokens, encoded.tail))


def streamed(script: Script, **more: Any) -> list[dict[str, Any]]:
    text = joined(WIRE.stream(script, form_of(stream=True, **more))).decode()
    blocks = [block.split("\n") for block in text.split("\n\n") if block]
    for name, data in blocks:
        assert name == f"event: {json.loads(data[6:])['type']}"
    return [json.loads(data[6:]) for _, data in blocks]


def whole(script: Script, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(WIRE.whole(script, form_of(**more)).body)
    return found


@each_script
@pytest.mark.parametrize("more", [{}, {"top_logprobs": 2, "include": ["message.output_text.logprobs"]}])
def test_answers_and_events_are_what_openai_describes_and_its_client_reads(
    name: str, more: dict[str, Any]
) -> None:
    answer = whole(SCRIPTS[name], **more)
    check_response(answer)
    Response.model_validate(answer)
    events = streamed(SCRIPTS[name], **more)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        # The descriptions forget the padding that OpenAI's deltas carry.
        check_event({key: value for key, value in event.items() if key != "obfuscation"})
        EVENTS.validate_python(event)
    assert events[-1]["response"] == answer


@each_script
def test_the_dialect_reads_the_same_from_an_answer_and_its_stream(name: str) -> None:
    more = {"include": ["reasoning.encrypted_content", "message.output_text.logprobs"], "top_logprobs": 2}
    body = WIRE.whole(SCRIPTS[name], form_of(**more)).body
    events = decode(DIALECT, [joined(WIRE.stream(SCRIPTS[name], form_of(stream=True, **more)))])
    assert fold(events) == fold(DIALECT.read(body))


@each_script
def test_a_stream_has_one_frame_for_every_token(name: str) -> None:
    script = SCRIPTS[name]
    assert len(WIRE.stream(script, form_of(stream=True)).tokens) == max(1, script.token_count())


def test_streams_have_the_events_and_their_keys_in_recorded_order(shared: Path) -> None:
    recorded = {
        (chunk["type"], tuple(chunk)) for one in read_exchanges(shared, "openai.responses") for chunk in one.chunks
    }
    ours = streamed(SCRIPTS["text"])
    assert {(event["type"], tuple(event)) for event in ours} <= recorded
    # The name beside a finished call's arguments came after the recordings.
    calls = [event for event in streamed(SCRIPTS["calls"]) if not event["type"].endswith("arguments.done")]
    assert {(event["type"], tuple(event)) for event in calls} <= recorded


def test_what_was_asked_stands_in_the_answer() -> None:
    asked = {
        "store": False,
        "temperature": 0.5,
        "instructions": "Be brief.",
        "metadata": {"team": "blue"},
        "max_output_tokens": 99,
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_object"}},
    }
    answer = whole(Script(), **asked)
    assert {name: answer[name] for name in asked} == asked | {
        "reasoning": {"effort": "low", "summary": None},
        "text": {"format": {"type": "json_object"}, "verbosity": "medium"},
    }
    assert whole(Script(), store=True)["store"] is True


def test_encrypted_reasoning_comes_only_when_it_is_included() -> None:
    script = SCRIPTS["reasoning"]
    assert "encrypted_content" not in whole(script)["output"][0]
    assert whole(script, include=["reasoning.encrypted_content"])["output"][0]["encrypted_content"]


def test_no_id_is_the_same_in_two_answers() -> None:
    encoded = WIRE.stream(SCRIPTS["text and calls"], form_of(stream=True))
    stamps = [WIRE.stamp(letter * 32, 1_790_000_000, stream=True) for letter in "ab"]
    assert {len(stamp) for stamp in stamps} == {len(encoded.mark)}
    first, second = (joined(encoded).replace(encoded.mark, stamp).decode() for stamp in stamps)

    def ids(text: str) -> set[str]:
        items = [json.loads(line[6:]).get("item") or {} for line in text.split("\n") if line.startswith("data:")]
        return {item["id"] for item in items if item}

    assert len(ids(first)) == 3
    assert not ids(first) & ids(second)


def test_a_script_may_fail_in_the_answer_itself() -> None:
    failed = Script(text="Hm", finish_reason="error")
    assert whole(failed)["status"] == "failed"
    assert streamed(failed)[-1]["type"] == "response.failed"
    with pytest.raises(UpstreamError) as error:
        DIALECT.read(json.dumps(whole(failed)).encode())
    assert error.value.failure.kind is FailureKind.SERVER_ERROR


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (Reason.RATE_LIMITED, FailureKind.RATE_LIMITED),
        (Reason.SERVER_ERROR, FailureKind.SERVER_ERROR),
        (Reason.CONTEXT_LENGTH, FailureKind.CONTEXT_LENGTH),
        (Reason.QUOTA, FailureKind.QUOTA),
    ],
)
def test_an_error_in_a_stream_is_an_event_with_openais_code(reason: Reason, kind: FailureKind) -> None:
    begun = WIRE.stream(SCRIPTS["text"], form_of(stream=True)).head
    event = WIRE.error_event(reason, "No.")
    EVENTS.validate_json(event.split(b"data: ")[1])
    with pytest.raises(UpstreamError) as error:
        decode(DIALECT, [begun + event])
    assert (error.value.failure.kind, error.value.failure.message) == (kind, "No.")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("Hello", "Hello"),
        ([{"role": "user", "content": "One"}, {"type": "function_call_output", "output": "2"}], "One"),
        ([{"role": "user", "content": [{"type": "input_text", "text": "Two"}]}], "Two"),
        ([{"role": "developer", "content": "Three"}], ""),
    ],
)
def test_the_last_thing_that_a_user_said_can_be_echoed(given: Any, said: str) -> None:
    assert WIRE.read("/v1/responses", {}, {"model": "m", "input": given}).last_user == said


@pytest.mark.parametrize(
    ("body", "field"),
    [({"input": "x"}, "model"), ({"model": "m"}, "input"), ({"model": "m", "input": []}, "input")],
)
def test_a_request_without_what_it_needs_is_refused_by_the_fields_name(body: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        WIRE.read("/v1/responses", {}, body)
