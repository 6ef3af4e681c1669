"""The simulator's answers against what the real providers were recorded to send: field sets, order, sequence."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from adapters.providers.simulator import Script, ToolCall
from adapters.providers.simulator.anthropic import AnthropicMessages
from adapters.providers.simulator.openai_chat import OpenAIChat
from adapters.providers.simulator.wire import Encoded, Form

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDED = Path(__file__).parents[2].parent / "shared" / "fixtures" / "recorded-exchanges.jsonl.xz"
CALLS = (ToolCall("call_1", "get_weather", '{"city":"Paris"}'), ToolCall("call_2", "get_time", "{}"))
SCRIPTS = {
    "text": Script(text="Hello over there."),
    "one call": Script(tool_calls=CALLS[:1]),
    "text and calls": Script(text="I look.", tool_calls=CALLS),
}
STREAM = Form(model="m", stream=True)


def joined(encoded: Encoded) -> bytes:
    return b"".join((encoded.head, *encoded.tokens, encoded.tail))


def data_of(stream: str) -> list[dict[str, Any]]:
    lines = [line[5:].strip() for line in stream.split("\n") if line.startswith("data:")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def key_orders(value: object, path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each object's path and its keys in order; what a tool takes is the model's business and left out."""
    if isinstance(value, dict):
        yield path, tuple(value)
        for key, item in value.items():
            if key not in {"input", "arguments"}:
                yield from key_orders(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from key_orders(item, f"{path}[]")


@pytest.fixture(scope="module")
def recorded() -> dict[str, set[tuple[str, tuple[str, ...]]]]:
    if not RECORDED.exists():
        pytest.skip(f"no recorded exchanges at {RECORDED}: shapes are not compared with the real providers'")
    shapes: dict[str, set[tuple[str, tuple[str, ...]]]] = {}
    with lzma.open(RECORDED, "rt") as lines:
        for line in lines:
            exchange = json.loads(line)
            if exchange["kind"] not in {"openai.chat", "anthropic.messages"} or exchange["status"] != 200:
                continue
            body = exchange["body"]
            streamed = body.lstrip().startswith(("data:", "event:"))
            into = shapes.setdefault(f"{exchange['kind']} {'stream' if streamed else 'whole'}", set())
            try:
                answers = data_of(body) if streamed else [json.loads(body)]
            except json.JSONDecodeError:
                continue
            for answer in answers:
                into.update(key_orders(answer, answer.get("type", "$")))
    return shapes


Shapes = dict[str, set[tuple[str, tuple[str, ...]]]]


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("include_usage", [False, True])
def test_chat_chunks_have_the_fields_of_recorded_ones(name: str, include_usage: bool, recorded: Shapes) -> None:
    form = Form(model="m", stream=True, include_usage=include_usage, obfuscation=True)
    sent = joined(OpenAIChat().stream(SCRIPTS[name], form)).decode()
    for chunk in data_of(sent):
        assert set(key_orders(chunk, "$")) <= recorded["openai.chat stream"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_whole_chat_answers_have_the_fields_of_recorded_ones(name: str, recorded: Shapes) -> None:
    answer = json.loads(OpenAIChat().whole(SCRIPTS[name], Form(model="m")).body)
    assert set(key_orders(answer, "$")) <= recorded["openai.chat whole"]


@pytest.mark.parametrize("name", [*SCRIPTS, "reasoning"])
def test_message_events_have_the_fields_of_recorded_ones(name: str, recorded: Shapes) -> None:
    script = SCRIPTS.get(name, Script(reasoning="Let me see.", text="So."))
    for event in data_of(joined(AnthropicMessages().stream(script, STREAM)).decode()):
        assert set(key_orders(event, event["type"])) <= recorded["anthropic.messages stream"]


@pytest.mark.parametrize("name", [*SCRIPTS, "reasoning"])
def test_whole_messages_have_the_fields_of_recorded_ones(name: str, recorded: Shapes) -> None:
    script = SCRIPTS.get(name, Script(reasoning="Let me see.", text="So."))
    answer = json.loads(AnthropicMessages().whole(script, Form(model="m")).body)
    top = {(path, keys) for path, keys in key_orders(answer, "message") if path != "message.usage"}
    assert top <= recorded["anthropic.messages whole"] | recorded["anthropic.messages stream"]
    assert ("message.usage", tuple(answer["usage"])) in recorded["anthropic.messages whole"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_providers_own_types_read_every_answer(name: str) -> None:
    events: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    script = SCRIPTS[name]
    ChatCompletion.model_validate_json(OpenAIChat().whole(script, Form(model="m")).body)
    Message.model_validate_json(AnthropicMessages().whole(script, Form(model="m")).body)
    for chunk in data_of(joined(OpenAIChat().stream(script, STREAM)).decode()):
        ChatCompletionChunk.model_validate(chunk)
    for event in data_of(joined(AnthropicMessages().stream(script, STREAM)).decode()):
        if event["type"] != "ping":
            events.validate_python(event)


def test_a_stamp_is_as_long_as_the_mark_that_it_replaces() -> None:
    for wire in (OpenAIChat(), AnthropicMessages()):
        stamps = [wire.stamp("0123456789abcdef" * 2, 1_790_000_000, stream=stream) for stream in (True, False)]
        marks = [wire.stream(Script(), STREAM).mark, wire.whole(Script(), Form(model="m")).mark]
        assert [len(stamp) for stamp in stamps] == [len(mark) for mark in marks]


def test_a_refusal_is_a_field_of_its_own_in_chat_and_a_stop_reason_in_messages() -> None:
    script = Script(refusal="I can't do that.")
    chat = json.loads(OpenAIChat().whole(script, Form(model="m")).body)["choices"][0]
    message = json.loads(AnthropicMessages().whole(script, Form(model="m")).body)
    assert (chat["message"]["content"], chat["message"]["refusal"]) == (None, "I can't do that.")
    assert chat["finish_reason"] == "stop"
    assert message["stop_reason"] == "refusal"
    assert message["stop_details"]["type"] == "refusal"


def test_logprobs_come_only_when_asked_and_the_script_has_some() -> None:
    script, wire = Script(text="one two", logprobs=(-0.1, -0.2)), OpenAIChat()
    asked = json.loads(wire.whole(script, Form(model="m", logprobs=2)).body)["choices"][0]["logprobs"]
    assert [entry["logprob"] for entry in asked["content"]] == [-0.1, -0.2]
    assert [len(entry["top_logprobs"]) for entry in asked["content"]] == [2, 2]
    unasked = json.loads(wire.whole(script, Form(model="m")).body)["choices"][0]["logprobs"]
    ignored = json.loads(wire.whole(Script(logprobs=()), Form(model="m", logprobs=2)).body)["choices"][0]
    assert unasked is None
    assert ignored["logprobs"] is None


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_in_chat_takes_the_name_that_the_script_says(field: Any) -> None:
    script = Script(reasoning="Hm, well.", text="Yes.", reasoning_field=field)
    chunks = data_of(joined(OpenAIChat().stream(script, STREAM)).decode())
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get(field) or "" for delta in deltas) == "Hm, well."
    assert "".join(delta.get("content") or "" for delta in deltas) == "Yes."


def test_broken_tool_arguments_stream_as_they_are() -> None:
    script = Script(tool_calls=(ToolCall("c", "f", '{"a":'),))
    events = data_of(joined(AnthropicMessages().stream(script, STREAM)).decode())
    sent = "".join(e["delta"].get("partial_json", "") for e in events if e["type"] == "content_block_delta")
    assert sent == '{"a":'
    with pytest.raises(ValueError, match=r"tool_calls\.arguments"):
        AnthropicMessages().whole(script, Form(model="m"))
