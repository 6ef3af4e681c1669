"""Recorded exchanges with real clients and servers pass through the wire and come out the same."""

import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from eurouter.v1 import chat_pb2

from service.wire import WireError, parse, parse_bytes, render_bytes

CHAT_KINDS = {"openai.chat", "azure.chat", "compat.chat"}

# A server numbers the calls of a whole answer, as only streams do.
NOT_OURS = frozenset({"choices.message.tool_calls.index"})


@pytest.fixture(scope="module")
def exchanges(shared: Path) -> list[dict[str, Any]]:
    with lzma.open(shared / "fixtures" / "recorded-exchanges.jsonl.xz") as lines:
        rows = [json.loads(line) for line in lines]
    return [row for row in rows if row["kind"] in CHAT_KINDS and isinstance(row["request"], dict)]


def normal(value: Any) -> Any:
    """Null and empty lists are absent; a lone text part is a string, a lone stop sequence a list."""
    if isinstance(value, list):
        if len(value) == 1 and isinstance(value[0], dict) and set(value[0]) == {"type", "text"}:
            return value[0]["text"]
        return [normal(item) for item in value]
    if isinstance(value, dict):
        out = {key: normal(item) for key, item in value.items() if item is not None and item != []}
        if isinstance(out.get("stop"), str):
            out["stop"] = [out["stop"]]
        return out
    return value


def events(body: str) -> Iterator[dict[str, Any]]:
    for line in body.split("\n"):
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data not in {"", "[DONE]"}:
            yield json.loads(data)


def test_every_recorded_request_comes_out_as_it_went_in(exchanges: list[dict[str, Any]]) -> None:
    refused: list[tuple[str, str]] = []
    for row in exchanges:
        body = orjson.dumps(row["request"])
        try:
            message = parse_bytes(chat_pb2.CreateChatCompletionRequest, body)
        except WireError as error:
            refused.extend(error.violations)
            continue
        rendered = render_bytes(message)
        assert normal(orjson.loads(rendered)) == normal(row["request"])
        assert parse_bytes(chat_pb2.CreateChatCompletionRequest, rendered) == message
    # OpenAI's vision preview of 2023 took an image as a bare string; today's API documents an object only.
    assert refused == [("messages[0].content[1].image_url", "expected an object, got a string")]
    assert len(exchanges) > 700


def test_every_recorded_answer_comes_out_as_it_went_in(exchanges: list[dict[str, Any]]) -> None:
    seen = 0
    ignored: list[str] = []
    refused: list[str] = []
    for row in exchanges:
        text = row.get("body") or ""
        if row["status"] != 200 or not text.lstrip().startswith("{"):
            continue
        answer = json.loads(text)
        if "choices" not in answer or "error" in answer:
            continue
        try:
            message = parse(chat_pb2.ChatCompletion, answer, hint_paths=NOT_OURS, ignored=ignored)
        except WireError as error:
            refused.extend(path for path, _ in error.violations)
            assert {choice["finish_reason"] for choice in answer["choices"]} == {"eos"}
            continue
        rendered = orjson.loads(render_bytes(message))
        for choice in answer["choices"]:
            for call in choice.get("message", {}).get("tool_calls") or ():
                call.pop("index", None)
        assert normal(rendered) == normal(answer)
        seen += 1
    assert seen > 500
    assert ignored == sorted(NOT_OURS)
    # A compatible server's own word for stop; a dialect translates it before it gets here.
    assert refused == ["choices[0].finish_reason"] * 3


def test_every_recorded_chunk_comes_out_as_it_went_in(exchanges: list[dict[str, Any]]) -> None:
    seen = 0
    for row in exchanges:
        text = row.get("body") or ""
        if row["status"] != 200 or text.lstrip().startswith("{"):
            continue
        for chunk in events(text):
            message = parse(chat_pb2.ChatCompletionChunk, chunk)
            for choice in chunk["choices"]:
                choice.setdefault("delta", {})
            assert normal(orjson.loads(render_bytes(message))) == normal(chunk)
            seen += 1
    assert seen > 8000
