"""Every recorded answer and stream of Bedrock, told as a chat completion and as a response, whole and in events.

Held to the published schemas and to what botocore reads from the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from adapters.providers.bedrock import DIALECT
from service.api.chat.completion import whole
from service.api.chat.from_events import ChunkWriter
from service.api.responses.include import ENCRYPTED
from service.api.responses.writer import shown
from service.domain.events import Event
from service.wire import render_bytes
from tests.contract.sample import decode
from tests.contract.test_recorded_bedrock import blocks_of
from tests.support import bedrock_model
from tests.support.recorded import Exchange, read_exchanges
from tests.support.response_events import as_json, made, streamed
from tests.support.responses_form import fold_events
from tests.support.responses_schema import event_problems, response_problems

TOLD = 61
FINISH = {
    "end_turn": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
}
INCOMPLETE = {"max_tokens": "max_output_tokens", "guardrail_intervened": "content_filter"}


@pytest.fixture(scope="module")
def exchanges(shared: Path) -> list[Exchange]:
    kinds = ("bedrock.converse", "bedrock.converse_stream")
    return [exchange for kind in kinds for exchange in read_exchanges(shared, kind) if exchange.status == 200]


def read(exchange: Exchange) -> tuple[list[Event], dict[str, Any]]:
    """Our events, and the answer as botocore reads it."""
    if exchange.raw:
        return decode(DIALECT, [exchange.raw]), blocks_of(bedrock_model.parsed_stream(exchange.raw))
    body = exchange.body.encode()
    return list(DIALECT.read(body)), bedrock_model.parsed(body)


def text_of(answer: dict[str, Any]) -> str:
    return "".join(block.get("text", "") for block in answer["output"]["message"]["content"])


def calls_of(answer: dict[str, Any]) -> list[tuple[str, str, Any]]:
    used = [block["toolUse"] for block in answer["output"]["message"]["content"] if "toolUse" in block]
    return [(use["toolUseId"], use["name"], use["input"]) for use in used]


def tokens_of(answer: dict[str, Any]) -> tuple[int, int, int]:
    usage = answer["usage"]
    return usage["totalTokens"] - usage["outputTokens"], usage["outputTokens"], usage["totalTokens"]


def test_every_recorded_exchange_is_told_as_a_chat_completion(exchanges: list[Exchange]) -> None:
    for exchange in exchanges:
        events, answer = read(exchange)
        message = whole(events, provider="aws", model="amazon/nova", completion_id="chatcmpl-own", now=99)
        told = ChatCompletion.model_validate_json(render_bytes(message))
        # Bedrock names neither: both are ours.
        assert (told.id, told.model) == ("chatcmpl-own", "amazon/nova")
        (choice,) = told.choices
        assert (choice.message.content or "") == text_of(answer), exchange
        calls = [
            (call.id, call.function.name, json.loads(call.function.arguments))
            for call in choice.message.tool_calls or ()
            if call.type == "function"
        ]
        assert calls == calls_of(answer), exchange
        assert choice.finish_reason == FINISH[answer["stopReason"]], exchange
        assert told.usage is not None
        usage = told.usage
        assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == tokens_of(answer), exchange
    assert len(exchanges) == TOLD


def test_every_recorded_exchange_is_told_as_chat_chunks(exchanges: list[Exchange]) -> None:
    for exchange in exchanges:
        events, answer = read(exchange)
        writer = ChunkWriter(provider="aws", model="amazon/nova", completion_id="chatcmpl-own", now=99)
        chunks = [
            ChatCompletionChunk.model_validate_json(render_bytes(chunk))
            for chunk in [*writer.write(events), *writer.finish()]
        ]
        assert {(chunk.id, chunk.model) for chunk in chunks} == {("chatcmpl-own", "amazon/nova")}
        deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
        assert "".join(delta.content or "" for delta in deltas) == text_of(answer), exchange
        arguments: dict[int, str] = {}
        for delta in deltas:
            for call in delta.tool_calls or ():
                written = (call.function and call.function.arguments) or ""
                arguments[call.index] = arguments.get(call.index, "") + written
        assert [json.loads(arguments[index]) for index in sorted(arguments)] == [
            call[2] for call in calls_of(answer)
        ]
        ends = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
        assert ends == [FINISH[answer["stopReason"]]], exchange


def test_every_recorded_exchange_is_told_as_a_response_and_as_its_events(exchanges: list[Exchange]) -> None:
    for exchange in exchanges:
        events, answer = read(exchange)
        told = as_json(shown(made(*events), {ENCRYPTED}))
        assert list(response_problems(told)) == [], exchange
        stream = [as_json(event) for event in streamed(events)]
        assert [problem for event in stream for problem in event_problems(event)] == [], exchange
        assert stream[-1]["response"] == told, exchange
        for output in (told["output"], fold_events(stream)):
            parts = [part for item in output if item["type"] == "message" for part in item["content"]]
            assert "".join(part["text"] for part in parts) == text_of(answer), exchange
            calls = [
                (item["call_id"], item["name"], json.loads(item["arguments"]))
                for item in output
                if item["type"] == "function_call"
            ]
            assert calls == calls_of(answer), exchange
        reason = (told["incomplete_details"] or {}).get("reason")
        assert reason == INCOMPLETE.get(answer["stopReason"]), exchange
        usage = told["usage"]
        counted = (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"])
        assert counted == tokens_of(answer), exchange
