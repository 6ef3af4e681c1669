"""Every recorded answer and stream, told as a response and as its events.

Read by its dialect, written by the Responses API, held to the schemas; what a client makes of it is compared with
what the provider sent, which `tests.support.said` reads by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from service.api.responses.include import ENCRYPTED
from service.api.responses.writer import shown as as_its_caller_sees_it
from service.domain.events import Extra, TextDelta
from tests.contract.recorded_forms import KINDS, events_of
from tests.support.recorded import Exchange, read_exchanges
from tests.support.response_events import START, STOP, as_json, made, streamed
from tests.support.responses_form import fold_events
from tests.support.responses_schema import event_problems, fields_of_response, response_problems
from tests.support.said import FAILED, alike, failed, of_response, recorded

SEVERAL: Final = "several choices: a response has one"

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
    "bedrock.converse": Counter({"answer": 31, FAILED: 2}),
    "bedrock.converse_stream": Counter({"stream": 30, FAILED: 1}),
    "openai.responses": Counter({"answer": 92, "stream": 46, FAILED: 3}),
}


def why_left_out(exchange: Exchange) -> str | None:
    """The reason for which an exchange makes no response, None for nearly all."""
    if failed(exchange):
        return FAILED
    parts = [exchange.document or {}, *([] if exchange.raw else exchange.chunks)]
    return SEVERAL if any(choice["index"] for part in parts for choice in part.get("choices", ())) else None


def without_theirs(response: dict[str, Any], exchange: Exchange) -> dict[str, Any]:
    """Without the provider's own fields, which pass through us and which no schema names."""
    parts = [exchange.document or {}, *([] if exchange.raw else exchange.chunks)]
    parts += [part["response"] for part in parts if "response" in part]
    theirs = {key for part in parts for key in part} - KNOWN
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
    (expected,) = recorded(exchange)
    if (got := alike(expected, of_response(answer))) != expected:
        yield f"{expected} was told as {got}"
    if (streamed_ones := alike(expected, of_response(answer, fold_events(told)))) != got:
        yield f"{got} was streamed as {streamed_ones}"


@pytest.mark.parametrize("kind", KINDS)
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
