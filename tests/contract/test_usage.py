"""Usage means the same whoever counted it: the dialects' names and sums as ours, and ours in both APIs' words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import orjson
import pytest
from eurouter.v1 import chat_pb2, response_object_pb2

from adapters.providers import anthropic, openai_chat, openai_responses
from adapters.providers.dialect import Dialect
from adapters.providers.registry import DIALECTS
from service.api.chat.from_events import ChunkWriter
from service.api.chat.pieces import put_usage
from service.api.responses.pieces import usage as response_usage
from service.domain.catalog import Price
from service.domain.cost import cost_of
from service.domain.events import Event, Usage
from service.wire import render

CHAT_USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10, "audio_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 8},
}
RESPONSES_USAGE = {
    "input_tokens": 100,
    "output_tokens": 50,
    "total_tokens": 150,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10, "audio_tokens": 5},
    "output_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 8},
}
# What was read from the cache and written to it stands beside input_tokens there: 30 + 60 + 10.
ANTHROPIC_USAGE = {
    "input_tokens": 30,
    "output_tokens": 50,
    "cache_read_input_tokens": 60,
    "cache_creation_input_tokens": 10,
    "output_tokens_details": {"thinking_tokens": 20},
}
BEDROCK_USAGE = {
    "inputTokens": 30,
    "outputTokens": 50,
    "totalTokens": 150,
    "cacheReadInputTokens": 60,
    "cacheWriteInputTokens": 10,
}
# Thoughts stand beside the candidates there; nothing is told of what is written to a cache.
GEMINI_USAGE = {
    "promptTokenCount": 100,
    "candidatesTokenCount": 30,
    "totalTokenCount": 150,
    "cachedContentTokenCount": 60,
    "thoughtsTokenCount": 20,
    "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 5}],
    "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 8}],
}
AUDIO = (("prompt.audio_tokens", 5), ("completion.audio_tokens", 8))
ALL = Usage(100, 50, 150, 60, 10, 20, AUDIO)

_TEXT = {"type": "output_text", "text": "Hi", "annotations": []}
_ITEM = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [_TEXT]}
_CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
CHAT = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [_CHOICE]}
RESPONSE = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed"}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
CONVERSED = {"output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}}, "stopReason": "end_turn"}
GENERATED = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]}


@dataclass(frozen=True)
class Said:
    """A whole answer in a dialect's own words, what it says of its tokens under `name`, and what that means."""

    answer: dict[str, Any]
    usage: dict[str, Any]
    means: Usage
    name: str = "usage"


SAID = {
    "openai_chat": Said(CHAT, CHAT_USAGE, ALL),
    "azure": Said(CHAT, CHAT_USAGE, ALL),
    "mistral": Said(CHAT, CHAT_USAGE, ALL),
    "openai_responses": Said({**RESPONSE, "output": [_ITEM]}, RESPONSES_USAGE, ALL),
    "anthropic": Said(
        {**MESSAGE, "content": [{"type": "text", "text": "Hi"}]}, ANTHROPIC_USAGE, replace(ALL, details=())
    ),
    "bedrock": Said(CONVERSED, BEDROCK_USAGE, replace(ALL, reasoning_tokens=None, details=())),
    "gemini": Said(GENERATED, GEMINI_USAGE, replace(ALL, cache_write_tokens=None), "usageMetadata"),
}
each_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


def whole(dialect: Dialect, *, counted: bool = True) -> Sequence[Event]:
    """What the dialect reads from a whole answer, with or without usage."""
    said = SAID[dialect.name]
    return dialect.read(orjson.dumps({**said.answer, said.name: said.usage} if counted else said.answer))


def streamed(dialect: Dialect, *events: dict[str, Any]) -> list[Event]:
    """What the dialect reads from these server-sent events."""
    decoder = dialect.decoder()
    sent = b"".join(
        b"event: %b\ndata: %b\n\n" % (str(event.get("type", "message")).encode(), orjson.dumps(event))
        for event in events
    )
    if dialect.name == "openai_chat":
        sent = b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events) + b"data: [DONE]\n\n"
    return [*decoder.feed(sent), *decoder.end()]


def used(events: Sequence[Event]) -> Usage:
    return [event for event in events if isinstance(event, Usage)][-1]


@each_dialect
def test_input_includes_cache_reads_and_writes_and_output_includes_reasoning(dialect: Dialect) -> None:
    assert replace(used(whole(dialect)), extra=()) == SAID[dialect.name].means


@each_dialect
def test_the_same_tokens_cost_the_same_whoever_counted_them(dialect: Dialect) -> None:
    price = Price(prompt=Decimal(10), completion=Decimal(100), cache_read=Decimal(1), cache_write=Decimal(10))
    assert cost_of(price, used(whole(dialect))) == 40 * 10 + 60 * 1 + 50 * 100


@each_dialect
def test_an_answer_that_says_no_usage_has_none(dialect: Dialect) -> None:
    assert not [event for event in whole(dialect, counted=False) if isinstance(event, Usage)]


def test_rule_11_a_message_delta_sets_the_counts_and_one_without_usage_leaves_them() -> None:
    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    delta = {"stop_reason": "end_turn"}
    events = streamed(
        anthropic.DIALECT,
        {"type": "message_start", "message": {**start, "usage": {**ANTHROPIC_USAGE, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 40}},
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 50}},
        {"type": "message_delta", "delta": delta},
        {"type": "message_stop"},
    )
    assert used(events) == SAID["anthropic"].means


def test_rule_26_a_last_chunk_with_usage_and_a_first_one_with_verdicts_have_no_choices() -> None:
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    piece = {"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}
    events = streamed(
        openai_chat.DIALECT,
        {**head, "choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
        {**head, "choices": [piece]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {**head, "choices": [], "usage": CHAT_USAGE},
    )
    assert used(events) == ALL
    writer = ChunkWriter(provider="p", model="m", completion_id="1", now=1, include_usage=True)
    shown = [render(chunk) for chunk in (*writer.write(events), *writer.finish())]
    assert shown[-1]["choices"] == []
    assert [chunk["usage"] for chunk in shown if "usage" in chunk] == [CHAT_USAGE]


def test_rule_26_a_response_that_failed_may_say_no_usage() -> None:
    failed = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "incomplete"}
    failed |= {"output": [], "usage": None, "incomplete_details": {"reason": "max_output_tokens"}}
    events = openai_responses.DIALECT.read(orjson.dumps(failed))
    assert not [event for event in events if isinstance(event, Usage)]


@each_dialect
def test_rule_26_each_api_tells_the_parts_of_the_tokens_by_its_own_names(dialect: Dialect) -> None:
    usage = replace(used(whole(dialect)), extra=())
    means = SAID[dialect.name].means
    chat = chat_pb2.Usage()
    put_usage(chat, usage)
    prompt = {"cached_tokens": 60, "cache_write_tokens": means.cache_write_tokens, "audio_tokens": 5}
    completion = {"reasoning_tokens": means.reasoning_tokens, "audio_tokens": 8}
    if not means.details:
        del prompt["audio_tokens"], completion["audio_tokens"]
    assert _loaded(chat) == {
        **{name: count for name, count in CHAT_USAGE.items() if not isinstance(count, dict)},
        "prompt_tokens_details": _told(prompt),
        **({"completion_tokens_details": _told(completion)} if _told(completion) else {}),
    }
    # OpenAI's schema requires these there, so that 0 stands for what is not told.
    assert _loaded(response_usage(usage)) == {
        **{name: count for name, count in RESPONSES_USAGE.items() if not isinstance(count, dict)},
        "input_tokens_details": {**prompt, "cache_write_tokens": means.cache_write_tokens or 0},
        "output_tokens_details": {**completion, "reasoning_tokens": means.reasoning_tokens or 0},
    }


def _told(parts: Mapping[str, int | None]) -> dict[str, int]:
    return {name: count for name, count in parts.items() if count is not None}


def _loaded(message: chat_pb2.Usage | response_object_pb2.ResponseUsage) -> Any:
    return orjson.loads(orjson.dumps(render(message)))
