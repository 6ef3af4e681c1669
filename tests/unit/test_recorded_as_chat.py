"""Every recorded answer and stream, told as a chat completion and as its chunks.

Read by its dialect, written by the chat API, held to OpenAI's schema; what a client makes of it is compared with
what the provider sent, which `tests.support.said` reads by itself.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from service.api.chat.completion import whole
from service.api.chat.from_events import ChunkWriter
from service.domain.events import Event
from service.wire import render_bytes
from tests.contract.recorded_forms import KINDS, events_of
from tests.support import openai_schema
from tests.support.normal_form import gathered
from tests.support.recorded import Exchange, read_exchanges
from tests.support.said import FAILED, alike, failed, of_chat, recorded

# Every line of the file is in here: one that silently stops being told fails the test.
TOLD: Final = {
    "openai.chat": Counter({"answer": 447, "stream": 132, FAILED: 15}),
    "azure.chat": Counter({"answer": 41, "stream": 26, FAILED: 6}),
    "compat.chat": Counter({"answer": 66, "stream": 20}),
    "mistral.chat": Counter({"answer": 7, "stream": 12}),
    "anthropic.messages": Counter({"answer": 90, "stream": 81, FAILED: 2}),
    "bedrock.converse": Counter({"answer": 31, FAILED: 2}),
    "bedrock.converse_stream": Counter({"stream": 30, FAILED: 1}),
    "openai.responses": Counter({"answer": 92, "stream": 46, FAILED: 3}),
}
UNSAID: Final = (
    # OpenAI streams calls of custom tools; its schema of a chunk has none.
    "delta.tool_calls[0].type: 'custom' is not one of ['function']",
    # An early vision model and a server of several choices give no reason: what is absent stays absent.
    ".finish_reason: None is not of type 'string'",
    ".finish_reason: None is not one of ['stop', 'length', 'tool_calls', 'content_filter', 'function_call']",
)
"""What recorded answers of this form have and OpenAI's schema does not."""
OURS_BESIDE: Final = {"native_finish_reason"}
"""Ours: the provider's own word for an end that OpenAI has no word for."""
_UNLISTED: Final = "is neither OpenAI's nor a listed extension"
OURS: Final[dict[str, Any]] = {
    "provider": "alpha",
    "model": "vendor/model",
    "completion_id": "chatcmpl-own",
    "now": 99,
}


def completion(events: list[Event]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(render_bytes(whole(events, **OURS)))
    return answer


def chunks(events: list[Event]) -> list[dict[str, Any]]:
    writer = ChunkWriter(**OURS, include_usage=True)
    return [json.loads(render_bytes(chunk)) for chunk in [*writer.write(events), *writer.finish()]]


def problems(exchange: Exchange) -> Iterator[str]:
    events = events_of(exchange)
    answer, told = completion(events), chunks(events)
    names = theirs(exchange)
    found = openai_schema.problems(openai_schema.WHOLE, answer)
    found += (problem for chunk in told for problem in openai_schema.problems(openai_schema.CHUNK, chunk))
    yield from (problem for problem in found if not is_theirs(problem, names))
    heads = {tuple(part.get(name) for name in ("id", "model", "created", "provider")) for part in (answer, *told)}
    if len(heads) > 1:
        yield f"told with several heads: {heads}"
    if exchange.kind.startswith("bedrock") and (answer["id"], answer["model"]) != ("chatcmpl-own", "vendor/model"):
        yield "Bedrock names neither an answer nor its model: both are ours"
    expected = recorded(exchange)
    for name, ours in (("told", answer), ("streamed", gathered(told))):
        got = [of_chat(choice, ours.get("usage")) for choice in ours["choices"]]
        put_right = [alike(theirs, mine) for theirs, mine in zip(expected, got, strict=True)]
        if put_right != expected:
            yield f"{expected} was {name} as {put_right}"


def theirs(exchange: Exchange) -> set[str]:
    """The names that the provider's own answer has at the levels where its fields pass through us."""
    parts = [exchange.document or {}, *([] if exchange.raw else exchange.chunks)]
    parts += [part["response"] for part in parts if "response" in part]
    choices = [choice for part in parts for choice in part.get("choices", ())]
    messages = [choice.get(name) or {} for choice in choices for name in ("message", "delta")]
    return {name for place in (*parts, *choices, *messages) for name in place}


def is_theirs(problem: str, names: set[str]) -> bool:
    """Whether it is only a field of the provider's own, or a word that OpenAI sends beyond its schema."""
    if problem.endswith(_UNLISTED):
        return problem.split("'")[1] in names | OURS_BESIDE
    return problem.endswith(UNSAID)


@pytest.mark.parametrize("kind", KINDS)
def test_every_recorded_answer_is_told_as_a_chat_completion_and_as_chunks(kind: str, shared: Path) -> None:
    tally: Counter[str] = Counter()
    wrong: list[str] = []
    for exchange in read_exchanges(shared, kind):
        if failed(exchange):
            tally[FAILED] += 1
            continue
        tally["stream" if exchange.document is None else "answer"] += 1
        wrong += [f"{exchange}: {problem}" for problem in problems(exchange)]
    assert not wrong, f"{len(wrong)} problems:\n" + "\n".join(wrong[:40])
    assert tally == TOLD[kind]
