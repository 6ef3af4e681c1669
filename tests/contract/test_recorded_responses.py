"""Recorded exchanges with OpenAI's Responses API: every answer, stream and error is read, and nothing is lost."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from adapters.providers.openai_responses import DIALECT
from service.coalesce import merge
from service.domain.events import FinishReason, FoldedChoice, OpaqueAnnotation, UrlCitation
from service.domain.failure import FailureKind, UpstreamError
from service.domain.fold import fold
from tests.contract.sample import cut_every, decode, sse_events
from tests.support.recorded import Exchange, read_exchanges

# Every line of the file is in here: one that silently stops being read fails a test.
ANSWERS, STREAMS, FAILURES = 92, 46, 3
KINDS_OF_ITEMS = {"message", "function_call", "custom_tool_call", "reasoning", "web_search_call"}

ERRORS = {
    (400, "model_not_found"): FailureKind.MODEL_MISSING,
    (401, "invalid_api_key"): FailureKind.AUTH,
}


@pytest.fixture(scope="module")
def exchanges(shared: Path) -> list[Exchange]:
    return read_exchanges(shared, "openai.responses")


def whole(exchanges: list[Exchange]) -> list[Exchange]:
    return [exchange for exchange in exchanges if exchange.status == 200 and exchange.document is not None]


def streams(exchanges: list[Exchange]) -> list[Exchange]:
    return [exchange for exchange in exchanges if exchange.status == 200 and exchange.document is None]


def final(exchange: Exchange) -> dict[str, Any]:
    """The whole answer that ends a stream."""
    response: dict[str, Any] = exchange.chunks[-1]["response"]
    return response


def items(response: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [item for item in response["output"] if item["type"] == kind]


def contents(response: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for item in items(response, "message") for part in item["content"]]


def assert_holds(choice: FoldedChoice, response: dict[str, Any], where: str) -> None:
    """`choice` says all that the recorded answer does."""
    assert {item["type"] for item in response["output"]} <= KINDS_OF_ITEMS, where
    texts = [part["text"] for part in contents(response)]
    assert choice.text == ("".join(texts) if texts else None), where
    called = [item for item in response["output"] if item["type"] in ("function_call", "custom_tool_call")]
    assert [(call.id, call.name, call.arguments) for call in choice.calls] == [
        (item["call_id"], item["name"], item.get("arguments", item.get("input"))) for item in called
    ], where
    assert_reasoning(choice, items(response, "reasoning"), where)
    assert [json.loads(item.json) for item in choice.items] == items(response, "web_search_call"), where
    assert all(item.done for item in choice.items), where
    phases = [item.get("phase") for item in items(response, "message")]
    assert [phase for phase, _ in choice.messages if phase] == [phase for phase in phases if phase], where
    assert_sources(choice, response, where)
    assert choice.finish is not None, where
    if response["status"] == "incomplete":
        assert choice.finish.reason is FinishReason.LENGTH, where
    else:
        assert choice.finish.reason is (FinishReason.TOOL_CALLS if called else FinishReason.STOP), where


def assert_reasoning(choice: FoldedChoice, recorded: list[dict[str, Any]], where: str) -> None:
    texts = [[entry["text"] for entry in item["summary"] if entry["text"]] for item in recorded]
    summaries = ["".join(item) for item in texts if item]
    assert [piece.text for piece in choice.reasoning if piece.text] == summaries, where
    paragraphs = [tuple(item) if len(item) > 1 else () for item in texts if item]
    assert [piece.parts for piece in choice.reasoning if piece.text] == paragraphs, where
    seals = [(piece.seal.id, piece.seal.encrypted) for piece in choice.reasoning if piece.seal is not None]
    assert seals == [(item["id"], item.get("encrypted_content")) for item in recorded], where


def assert_sources(choice: FoldedChoice, response: dict[str, Any], where: str) -> None:
    expected: list[tuple[str, str, int, int]] = []
    start = 0
    for part in contents(response):
        expected += [
            (note["url"], note["title"], start + note["start_index"], start + note["end_index"])
            for note in part["annotations"]
        ]
        start += len(part["text"])
    assert not any(isinstance(note, OpaqueAnnotation) for note in choice.annotations), where
    cited = [note for note in choice.annotations if isinstance(note, UrlCitation)]
    assert [(note.url, note.title, note.start_index, note.end_index) for note in cited] == expected, where


def assert_counted(folded: Any, response: dict[str, Any], where: str) -> None:
    usage, recorded = folded.usage, response["usage"]
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (
        recorded["input_tokens"],
        recorded["output_tokens"],
        recorded["total_tokens"],
    ), where
    assert usage.cached_tokens == recorded["input_tokens_details"]["cached_tokens"], where
    assert usage.cache_write_tokens == recorded["input_tokens_details"].get("cache_write_tokens"), where
    assert usage.reasoning_tokens == recorded["output_tokens_details"]["reasoning_tokens"], where
    assert not usage.details, where
    assert not usage.extra, where


def test_the_file_holds_the_exchanges_that_the_tests_read(exchanges: list[Exchange]) -> None:
    counts = len(whole(exchanges)), len(streams(exchanges)), sum(e.status != 200 for e in exchanges)
    assert counts == (ANSWERS, STREAMS, FAILURES)


def test_every_recorded_answer_is_read_whole(exchanges: list[Exchange]) -> None:
    for exchange in whole(exchanges):
        response, where = exchange.document, exchange.origin
        assert response is not None
        folded = fold(DIALECT.read(exchange.body.encode()))
        assert (folded.start.id, folded.start.model) == (response["id"], response["model"]), where
        assert folded.start.created == response["created_at"], where
        assert folded.start.service_tier == response.get("service_tier"), where
        assert_counted(folded, response, where)
        (choice,) = folded.choices
        assert_holds(choice, response, where)
        # What OpenAI's description doesn't name survives.
        added = {name: response[name] for name in ("billing", "tool_usage", "moderation") if response.get(name)}
        assert {name: json.loads(text) for name, text in (folded.extra or {}).items()} == added, where


def test_every_recorded_stream_says_what_its_last_event_holds(exchanges: list[Exchange]) -> None:
    for exchange in streams(exchanges):
        response, where = final(exchange), exchange.origin
        events = decode(DIALECT, [exchange.body.encode()])
        folded = fold(events)
        assert folded.start.id == response["id"], where
        assert_counted(folded, response, where)
        (choice,) = folded.choices
        assert_holds(choice, response, where)
        as_a_whole = fold(DIALECT.read(json.dumps(response).encode()))
        assert folded.choices == as_a_whole.choices, where
        assert (folded.usage, folded.extra) == (as_a_whole.usage, as_a_whole.extra), where


def test_every_recorded_stream_gives_its_deltas_as_they_came(exchanges: list[Exchange]) -> None:
    for exchange in streams(exchanges):
        kinds = ("response.output_text.delta", "response.function_call_arguments.delta")
        deltas = [chunk["delta"] for chunk in exchange.chunks if chunk["type"] in kinds]
        events = decode(DIALECT, sse_events(exchange.body.encode()))
        told = [getattr(event, "text", None) or getattr(event, "arguments", None) for event in events]
        assert [text for text in told if text] == deltas, exchange.origin


def test_every_recorded_stream_is_decoded_alike_at_any_split(exchanges: list[Exchange]) -> None:
    chance = random.Random(20)
    for exchange in streams(exchanges):
        body = exchange.body.encode()
        events = merge(decode(DIALECT, [body]))
        for size in (chance.randint(1, 12), chance.randint(13, 400)):
            assert merge(decode(DIALECT, cut_every(body, size))) == events, exchange.origin


def test_no_recorded_stream_may_lose_its_end(exchanges: list[Exchange]) -> None:
    for exchange in streams(exchanges):
        body = exchange.body.encode()
        last = max(body.rfind(b'data: {"type":"response.' + kind) for kind in (b"completed", b"incomplete"))
        last = last if last >= 0 else body.rstrip().rfind(b"data: {")
        with pytest.raises(UpstreamError) as error:
            decode(DIALECT, [body[:last]])
        assert error.value.failure.kind is FailureKind.CUT, exchange.origin


def test_every_recorded_error_has_its_kind(exchanges: list[Exchange]) -> None:
    seen = set()
    for exchange in exchanges:
        if exchange.status != 200:
            code = json.loads(exchange.body)["error"]["code"]
            failure = DIALECT.classify(exchange.status, exchange.headers, exchange.body.encode())
            assert failure.kind is ERRORS[(exchange.status, code)]
            assert failure.code == code
            assert "sk-" not in failure.message
            seen.add((exchange.status, code))
    assert seen == set(ERRORS)
