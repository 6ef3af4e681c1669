"""Recorded exchanges over the Responses API pass through the wire and come out the same."""

import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from eurouter.v1 import response_events_pb2, response_object_pb2, responses_pb2

from service.wire import WireError, parse, parse_bytes, render_bytes

# What we print though an older answer had no such key, and what OpenAI pads its deltas with.
ADDED = {
    "background": False,
    "cache_write_tokens": 0,
    "frequency_penalty": 0.0,
    "name": "",
    "presence_penalty": 0.0,
    "sequence_number": 0,
    "service_tier": "",
    "top_logprobs": 0,
    "type": "message",
}
PADDING = "obfuscation"


@pytest.fixture(scope="module")
def exchanges(shared: Path) -> list[dict[str, Any]]:
    with lzma.open(shared / "fixtures" / "recorded-exchanges.jsonl.xz") as lines:
        rows = [json.loads(line) for line in lines]
    return [row for row in rows if row["kind"] == "openai.responses"]


def normal(value: Any) -> Any:
    """Null, empty lists and empty objects are absent, and so is what we add; strings are lists of one part."""
    if isinstance(value, list):
        return [normal(item) for item in value]
    if not isinstance(value, dict):
        return value
    out = {key: normal(item) for key, item in value.items() if item not in (None, [], {})}
    if isinstance(out.get("input"), str) and out.get("type") != "custom_tool_call":
        out["input"] = [{"role": "user", "content": out["input"]}]
    if "role" in out and isinstance(out.get("content"), str):
        out["content"] = [{"type": "input_text", "text": out["content"]}]
    if isinstance(out.get("input"), list):
        out["input"] = [normal(item) for item in out["input"]]
    return {key: item for key, item in out.items() if key not in ADDED or item != ADDED[key]}


def events(body: str) -> Iterator[dict[str, Any]]:
    for line in body.split("\n"):
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data not in {"", "[DONE]"}:
            yield json.loads(data)


def test_every_recorded_request_comes_out_as_it_went_in(exchanges: list[dict[str, Any]]) -> None:
    kind = responses_pb2.CreateResponseRequest
    for row in exchanges:
        message = parse_bytes(kind, orjson.dumps(row["request"]))
        assert not message.extra
        assert all(item.WhichOneof("item") != "opaque" for item in message.input)
        rendered = render_bytes(message)
        assert normal(orjson.loads(rendered)) == normal(row["request"])
        assert parse_bytes(kind, rendered) == message
    assert len(exchanges) > 130


def test_every_recorded_answer_comes_out_as_it_went_in(exchanges: list[dict[str, Any]]) -> None:
    seen = 0
    refused: list[str] = []
    for row in exchanges:
        text = row.get("body") or ""
        if row["status"] != 200 or not text.lstrip().startswith("{"):
            continue
        answer = json.loads(text)
        try:
            message = parse(response_object_pb2.Response, answer)
        except WireError as error:
            refused.extend(path for path, _ in error.violations)
            continue
        assert normal(orjson.loads(render_bytes(message))) == normal(answer)
        seen += 1
    assert seen > 40
    # A prompt stored at the provider shows as items; we refuse such prompts, and show our caller's own words.
    assert set(refused) == {"instructions"}


def test_every_recorded_event_comes_out_as_it_went_in(exchanges: list[dict[str, Any]]) -> None:
    seen = 0
    for row in exchanges:
        text = row.get("body") or ""
        if row["status"] != 200 or text.lstrip().startswith("{"):
            continue
        for event in events(text):
            event.pop(PADDING, None)
            message = parse(response_events_pb2.ResponseStreamEvent, event)
            assert normal(orjson.loads(render_bytes(message))) == normal(event)
            seen += 1
    assert seen > 2000
