"""The simulator's Converse against botocore's own parsers, and its field orders against recorded exchanges."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.providers.simulator import Reason, Script, ToolCall, Usage
from adapters.providers.simulator.bedrock import BedrockConverse
from adapters.providers.simulator.wire import Encoded, Form
from tests.support import bedrock_model
from tests.support.recorded import read_exchanges

WIRE = BedrockConverse()
CALLS = (ToolCall("tooluse_1", "get_weather", '{"city":"Paris"}'), ToolCall("tooluse_2", "get_time", "{}"))
SCRIPTS = {
    "text": Script(text="Hello over there.", usage=Usage(20, 5, cached_tokens=8)),
    "calls": Script(text="I look.", tool_calls=CALLS),
    "reasoning": Script(reasoning="Let me see.", text="So."),
    "filtered": Script(refusal="No."),
}


def events_of(encoded: Encoded) -> list[dict[str, Any]]:
    return bedrock_model.parsed_stream(b"".join((encoded.head, *encoded.tokens, encoded.tail)))


@pytest.mark.parametrize("name", SCRIPTS)
def test_botocore_reads_the_same_from_a_stream_as_from_the_whole_answer(name: str) -> None:
    answer = bedrock_model.parsed(WIRE.whole(SCRIPTS[name], Form("m")).body)
    events = events_of(WIRE.stream(SCRIPTS[name], Form("m", stream=True)))
    assert [next(iter(event)) for event in (events[0], *events[-2:])] == [
        "messageStart",
        "messageStop",
        "metadata",
    ]
    assert events[-2]["messageStop"]["stopReason"] == answer["stopReason"]
    assert events[-1]["metadata"]["usage"] == answer["usage"]
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    content = answer["output"]["message"]["content"]
    texts = "".join(block.get("text", "") for block in content)
    assert "".join(delta.get("text", "") for delta in deltas) == texts
    starts = [event["contentBlockStart"]["start"]["toolUse"] for event in events if "contentBlockStart" in event]
    used = [block["toolUse"] for block in content if "toolUse" in block]
    assert [(start["toolUseId"], start["name"]) for start in starts] == [
        (use["toolUseId"], use["name"]) for use in used
    ]
    written = "".join(delta["toolUse"]["input"] for delta in deltas if "toolUse" in delta)
    assert written == "".join(json.dumps(use["input"], separators=(",", ":")) for use in used)


def test_cached_tokens_are_left_out_of_the_input_as_bedrock_does() -> None:
    usage = bedrock_model.parsed(WIRE.whole(SCRIPTS["text"], Form("m")).body)["usage"]
    assert (usage["inputTokens"], usage["cacheReadInputTokens"], usage["totalTokens"]) == (12, 8, 25)


def test_an_error_event_is_an_exception_to_botocore() -> None:
    from botocore.exceptions import EventStreamError

    for reason in Reason:
        with pytest.raises(EventStreamError):
            bedrock_model.parsed_stream(WIRE.error_event(reason, None))


def test_the_model_is_the_decoded_segment_of_the_path() -> None:
    body = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
    asked = WIRE.read("/model/a%3A0/converse-stream", {"model": "a%3A0"}, body)
    assert (asked.form.model, asked.form.stream, asked.last_user) == ("a:0", True, "Hi")
    with pytest.raises(ValueError, match="messages"):
        WIRE.read("/model/a/converse", {"model": "a"}, {})


def orders(value: object, path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each object's path and its keys; what a tool takes is the model's business."""
    if isinstance(value, dict):
        yield path, tuple(value)
        for key, item in value.items():
            if key != "input":
                yield from orders(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from orders(item, f"{path}[]")


@pytest.mark.parametrize("name", ["text", "calls", "filtered"])
def test_whole_answers_have_the_fields_of_recorded_ones_in_their_order(name: str, shared: Path) -> None:
    recorded: set[tuple[str, tuple[str, ...]]] = set()
    for exchange in read_exchanges(shared, "bedrock.converse"):
        if exchange.status == 200:
            recorded |= set(orders(json.loads(exchange.body), "$"))
    answer = json.loads(WIRE.whole(SCRIPTS[name], Form("m")).body)
    ours = {(path, keys) for path, keys in orders(answer, "$") if path != "$.usage"}
    assert ours <= recorded
    counts = {key for path, keys in recorded if path == "$.usage" for key in keys}
    assert set(answer["usage"]) <= counts
