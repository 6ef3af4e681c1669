"""Every recorded chat-shaped answer and stream, told as a response and as its events.

Read by its dialect, written by the Responses API, held to the schemas; what a client makes of it is compared with
what the provider sent, which the test reads by itself.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

from adapters.providers import anthropic, openai_chat
from adapters.providers.dialect import Dialect
from service.api.responses.include import ENCRYPTED
from service.api.responses.writer import shown as as_its_caller_sees_it
from service.domain.events import Event, Extra, TextDelta
from tests.contract.sample import decode
from tests.support.normal_form import fold_chunks
from tests.support.recorded import Exchange, read_exchanges
from tests.support.response_events import START, STOP, as_json, made, streamed
from tests.support.responses_form import fold_events
from tests.support.responses_schema import event_problems, fields_of_response, response_problems

DIALECTS: Final[dict[str, Dialect]] = {
    "openai.chat": openai_chat.DIALECT,
    "azure.chat": openai_chat.DIALECT,
    "compat.chat": openai_chat.DIALECT,
    "mistral.chat": openai_chat.DIALECT,
    "anthropic.messages": anthropic.DIALECT,
}

FAILED: Final = "an error, or nothing at all"
SEVERAL: Final = "several choices: a response has one"

LIMITS: Final = {
    "length": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}
"""What ends an answer early, in the providers' words and in a response's."""

KNOWN: Final = fields_of_response()
AUDIO: Final = "audio"
"""Ours: a response that a chat model spoke holds it where the Chat API does."""

# Every line of the file is in here: one that silently stops being told fails the test.
TOLD: Final = {
    "openai.chat": Counter({"answer": 438, "stream": 127, FAILED: 15, SEVERAL: 14}),
    "azure.chat": Counter({"answer": 41, "stream": 26, FAILED: 6}),
    "compat.chat": Counter({"answer": 65, "stream": 19, SEVERAL: 2}),
    "mistral.chat": Counter({"answer": 7, "stream": 12}),
    "anthropic.messages": Counter({"answer": 90, "stream": 81, FAILED: 2}),
}


@dataclass
class Said:
    """What an answer says. Calls as (id or "", name, arguments or input); counts as the provider gave them."""

    text: str = ""
    refusal: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str, Any], ...] = ()
    sources: tuple[str, ...] = ()
    heard: str = ""
    likely: int = 0
    limit: str | None = None
    tokens: tuple[int, int, int, int, int] | None = None


def why_left_out(exchange: Exchange) -> str | None:
    """The reason for which an exchange makes no response, None for nearly all."""
    document = exchange.document or {}
    if exchange.status != 200 or not exchange.body or "error" in document:
        return FAILED
    choices = [choice["index"] for part in [document, *exchange.chunks] for choice in part.get("choices", ())]
    return SEVERAL if any(choices) else None


def events_of(exchange: Exchange) -> list[Event]:
    dialect, body = DIALECTS[exchange.kind], exchange.body.encode()
    return decode(dialect, [body]) if exchange.document is None else list(dialect.read(body))


def recorded(exchange: Exchange) -> Said:
    """What the provider sent."""
    if exchange.kind == "anthropic.messages":
        return _of_messages(exchange.document or _folded_message(exchange.chunks))
    document = exchange.document
    if document is not None:
        choice = document["choices"][0]
        return _of_chat(choice, choice.get("message", {}), document.get("usage"))
    for chunk in exchange.chunks:
        for choice in chunk["choices"]:
            for at, call in enumerate(choice.get("delta", {}).get("tool_calls") or ()):
                # Mistral sends whole calls and doesn't number them.
                call.setdefault("index", at)
    folded = fold_chunks(exchange.chunks)
    choice = folded["choices"][0]
    calls = choice["delta"].pop("tool_calls", {})
    message = {**choice["delta"], "tool_calls": [calls[at] for at in sorted(calls)]}
    return _of_chat(choice, message, folded.get("usage"))


def _of_chat(choice: dict[str, Any], message: dict[str, Any], usage: dict[str, Any] | None) -> Said:
    called = list(message.get("tool_calls") or ())
    if message.get("function_call"):
        called.append({"function": message["function_call"]})
    inner = [(call.get("id", ""), call.get("function") or call["custom"]) for call in called]
    content = message.get("content") or ""
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content)
    said = Said(
        text=content,
        refusal=message.get("refusal") or "",
        reasoning=message.get("reasoning_content") or message.get("reasoning") or "",
        calls=tuple((id_, call["name"], call.get("arguments", call.get("input"))) for id_, call in inner),
        sources=tuple(source["url_citation"]["url"] for source in message.get("annotations") or ()),
        heard=(message.get("audio") or {}).get("transcript", ""),
        likely=len((choice.get("logprobs") or {}).get("content") or ()),
        limit=LIMITS.get(choice.get("finish_reason") or ""),
    )
    if usage:
        details = usage.get("prompt_tokens_details") or {}
        cached = details.get("cached_tokens") or usage.get("cached_tokens") or usage.get("prompt_cache_hit_tokens")
        written = details.get("cache_write_tokens") or 0
        thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
        said.tokens = (usage["prompt_tokens"], usage["completion_tokens"], cached or 0, written, thought)
    return said


def _of_messages(message: dict[str, Any]) -> Said:
    blocks, usage = message["content"], message["usage"]
    read, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    thought = (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0
    return Said(
        text="".join(block["text"] for block in blocks if block["type"] == "text"),
        reasoning="".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        calls=tuple(
            (block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"
        ),
        sources=tuple(
            cited["url"] for block in blocks for cited in block.get("citations") or () if "url" in cited
        ),
        limit=LIMITS.get(message.get("stop_reason") or ""),
        tokens=(usage["input_tokens"] + read + written, usage["output_tokens"], read, written, thought),
    )


def _folded_message(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    blocks: dict[int, dict[str, Any]] = {}
    usage: dict[str, Any] = {}
    stop = None
    for chunk in chunks:
        usage |= chunk.get("message", chunk).get("usage") or {}
        if chunk["type"] == "content_block_start":
            blocks[chunk["index"]] = {**chunk["content_block"], "written": ""}
        elif chunk["type"] == "content_block_delta":
            delta, block = chunk["delta"], blocks[chunk["index"]]
            for name in ("text", "thinking"):
                block[name] = block.get(name, "") + delta.get(name, "")
            block["written"] += delta.get("partial_json", "")
            if "citation" in delta:
                block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
        elif chunk["type"] == "message_delta":
            stop = chunk["delta"]["stop_reason"]
    for block in blocks.values():
        if block["written"]:
            block["input"] = json.loads(block["written"])
    return {"content": [blocks[at] for at in sorted(blocks)], "usage": usage, "stop_reason": stop}


def shown(output: list[dict[str, Any]], response: dict[str, Any]) -> Said:
    """What a client reads: `output`, and beside it what `response` says of the whole."""
    parts = [part for item in output if item["type"] == "message" for part in item.get("content", ())]
    texts = [part for part in parts if part["type"] == "output_text"]
    thoughts = [item for item in output if item["type"] == "reasoning"]
    said = Said(
        text="".join(part["text"] for part in texts),
        refusal="".join(part["refusal"] for part in parts if part["type"] == "refusal"),
        reasoning="".join(
            part["text"] for item in thoughts for part in [*item.get("summary", ()), *item.get("content", ())]
        ),
        calls=tuple(
            (item["call_id"], item["name"], item.get("arguments", item.get("input")))
            for item in output
            if item["type"] in ("function_call", "custom_tool_call")
        ),
        sources=tuple(source["url"] for part in texts for source in part.get("annotations", ())),
        heard=response.get("audio", {}).get("transcript", ""),
        likely=sum(len(part.get("logprobs", ())) for part in texts),
        limit=(response["incomplete_details"] or {}).get("reason"),
    )
    assert response["status"] == ("incomplete" if said.limit else "completed")
    if (usage := response["usage"]) is not None:
        details = usage["input_tokens_details"]
        said.tokens = (
            usage["input_tokens"],
            usage["output_tokens"],
            details["cached_tokens"],
            details["cache_write_tokens"],
            usage["output_tokens_details"]["reasoning_tokens"],
        )
    return said


def alike(expected: Said, got: Said) -> Said:
    """`got` with what may differ put right: JSON where the provider sends objects, ids where it sends none."""
    calls = tuple(
        (id_ if their_id else "", name, json.loads(arguments) if isinstance(theirs, dict) else arguments)
        for (their_id, _, theirs), (id_, name, arguments) in zip(expected.calls, got.calls, strict=False)
    )
    return replace(got, calls=calls + got.calls[len(calls) :])


def without_theirs(response: dict[str, Any], exchange: Exchange) -> dict[str, Any]:
    """Without the provider's own fields, which pass through us and which no schema names."""
    theirs = {key for part in [exchange.document or {}, *exchange.chunks] for key in part} - KNOWN
    return {key: value for key, value in response.items() if key not in theirs and key != AUDIO}


def problems(exchange: Exchange) -> Iterator[str]:
    events = events_of(exchange)
    answer = as_json(as_its_caller_sees_it(made(*events), {ENCRYPTED}))
    yield from response_problems(without_theirs(answer, exchange))
    told = [as_json(event) for event in streamed(events)]
    for event in told:
        inner = {"response": without_theirs(event["response"], exchange)} if "response" in event else {}
        yield from event_problems({**event, **inner})
    if told[-1]["response"] != answer:
        yield "the stream's last response is not the whole answer"
    expected, got = recorded(exchange), shown(answer["output"], answer)
    if (got := alike(expected, got)) != expected:
        yield f"{expected} was told as {got}"
    if (streamed_ones := alike(expected, shown(fold_events(told), answer))) != got:
        yield f"{got} was streamed as {streamed_ones}"


@pytest.mark.parametrize("kind", DIALECTS)
def test_every_recorded_answer_is_told_as_a_response_and_as_events(kind: str, shared: Path) -> None:
    tally: Counter[str] = Counter()
    wrong: list[str] = []
    for exchange in read_exchanges(shared, kind):
        why = why_left_out(exchange)
        tally[why or ("stream" if exchange.document is None else "answer")] += 1
        if why is None:
            wrong += [f"{exchange}: {problem}" for problem in problems(exchange)]
    assert not wrong, f"{len(wrong)} problems:\n" + "\n".join(wrong[:40])
    assert tally == TOLD[kind]


@pytest.mark.parametrize("name", ["conversation", "output_text", "prompt", "status"])
def test_what_a_provider_adds_never_passes_for_a_field_of_the_api(name: str) -> None:
    added = Extra("answer", ((name, "[]"), ("x_groq", "{}")))
    answer = as_json(made(START, added, TextDelta("hi"), STOP))
    assert answer["x_groq"] == {}
    assert answer.get(name) in (None, "completed")
    assert response_problems({key: value for key, value in answer.items() if key != "x_groq"}) == []
