"""Recorded exchanges with Anthropic's Messages: all is read, and says what Anthropic's own client reads."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from anthropic.types import Message

from adapters.providers.anthropic import DIALECT
from adapters.providers.anthropic.answer import STOP_REASONS
from adapters.providers.anthropic.messages import FORMAT
from service.domain.events import Folded, FoldedReasoning, ReasoningSeal, UrlCitation
from service.domain.failure import FailureKind, UpstreamError
from service.domain.fold import fold
from tests.contract.sample import cut_every, decode
from tests.support.anthropic_client import read_by_client
from tests.support.recorded import Exchange, read_exchanges

# Every line of the file is in here: one that silently stops being read fails a test. Nothing is left out.
ANSWERS, STREAMS, FAILURES = 90, 81, 2

KINDS: Final = {
    "message_start",
    "ping",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
}
DELTAS: Final = {"text_delta", "input_json_delta", "thinking_delta", "signature_delta", "citations_delta"}
TOLD: Final = {"text", "thinking", "tool_use"}
NOT_TOLD: Final = {"server_tool_use", "web_search_tool_result", "tool_search_tool_result"}
"""Blocks of tools that Anthropic ran itself: a chat answer has no place for them."""


@pytest.fixture(scope="module")
def exchanges(shared: Path) -> list[Exchange]:
    return read_exchanges(shared, "anthropic.messages")


def answered(exchanges: list[Exchange]) -> list[Exchange]:
    return [exchange for exchange in exchanges if exchange.status == 200]


def streams(exchanges: list[Exchange]) -> list[Exchange]:
    return [exchange for exchange in answered(exchanges) if exchange.document is None]


def read(exchange: Exchange) -> Folded:
    body = exchange.body.encode()
    return fold(decode(DIALECT, [body]) if exchange.document is None else DIALECT.read(body))


def test_every_line_is_an_answer_a_stream_or_an_error(exchanges: list[Exchange]) -> None:
    whole = [exchange for exchange in answered(exchanges) if exchange.document is not None]
    failed = [exchange for exchange in exchanges if exchange.status != 200]
    assert (len(whole), len(streams(exchanges)), len(failed)) == (ANSWERS, STREAMS, FAILURES)
    assert len(exchanges) == ANSWERS + STREAMS + FAILURES


def test_no_recorded_event_delta_or_block_is_of_a_kind_that_nobody_named(exchanges: list[Exchange]) -> None:
    seen: Counter[str] = Counter()
    for exchange in streams(exchanges):
        for event in exchange.chunks:
            assert event["type"] in KINDS, exchange
            seen[event["type"]] += 1
            if event["type"] == "content_block_delta":
                assert event["delta"]["type"] in DELTAS, exchange
    for exchange in answered(exchanges):
        for block in read_by_client(exchange.body.encode()).content:
            assert block.type in TOLD | NOT_TOLD, exchange
            seen[block.type] += 1
    assert seen["message_stop"] == STREAMS
    assert {kind: seen[kind] for kind in NOT_TOLD} == {
        "server_tool_use": 4,
        "web_search_tool_result": 2,
        "tool_search_tool_result": 2,
    }


def pieces(message: Message) -> tuple[FoldedReasoning, ...]:
    """The thinking of a message, each piece with its signature."""
    return tuple(
        FoldedReasoning(block.thinking, seal=ReasoningSeal(FORMAT, signature=block.signature))
        for block in message.content
        if block.type == "thinking"
    )


def test_every_answer_and_stream_says_what_anthropics_own_client_reads(exchanges: list[Exchange]) -> None:
    ended: Counter[str] = Counter()
    sources = 0
    for exchange in answered(exchanges):
        message, folded = read_by_client(exchange.body.encode()), read(exchange)
        (choice,) = folded.choices
        assert (folded.start.id, folded.start.model) == (message.id, message.model), exchange
        assert (choice.text or "") == "".join(b.text for b in message.content if b.type == "text"), exchange
        assert choice.reasoning == pieces(message), exchange
        calls = [(b.id, b.name, b.input) for b in message.content if b.type == "tool_use"]
        assert [(call.id, call.name, json.loads(call.arguments)) for call in choice.calls] == calls, exchange
        assert choice.finish is not None, exchange
        assert message.stop_reason is not None, exchange
        assert (choice.finish.raw, choice.finish.reason) == (
            message.stop_reason,
            STOP_REASONS[message.stop_reason],
        ), exchange
        ended[message.stop_reason] += 1
        cited = [
            source.url
            for block in message.content
            if block.type == "text"
            for source in block.citations or ()
            if source.type == "web_search_result_location"
        ]
        assert [a.url for a in choice.annotations if isinstance(a, UrlCitation)] == cited, exchange
        sources += len(cited)
        assert_counts(folded, message, exchange)
    assert ended == {"end_turn": 128, "tool_use": 30, "max_tokens": 12, "stop_sequence": 1}
    assert sources > 0


def assert_counts(folded: Folded, message: Message, exchange: Exchange) -> None:
    """Usage as the client reads it: its input leaves cache reads and writes out, ours includes them."""
    told, counts = folded.usage, message.usage
    assert told is not None, exchange
    read, written = counts.cache_read_input_tokens, counts.cache_creation_input_tokens
    assert told.input_tokens == counts.input_tokens + (read or 0) + (written or 0), exchange
    assert told.output_tokens == counts.output_tokens, exchange
    assert told.total_tokens == told.input_tokens + told.output_tokens, exchange
    assert (told.cached_tokens, told.cache_write_tokens) == (read, written), exchange
    thought = counts.output_tokens_details.thinking_tokens if counts.output_tokens_details else None
    assert told.reasoning_tokens == thought, exchange


def test_every_recorded_stream_folds_alike_however_it_is_split(exchanges: list[Exchange]) -> None:
    chance = random.Random(7)
    for exchange in streams(exchanges):
        body, folded = exchange.body.encode(), read(exchange)
        for size in (chance.randint(1, 9), chance.randint(10, 90), chance.randint(100, 900)):
            assert fold(decode(DIALECT, cut_every(body, size))) == folded, exchange


def test_no_recorded_stream_may_lose_its_end(exchanges: list[Exchange]) -> None:
    for exchange in streams(exchanges):
        body = exchange.body.encode()
        for end in (body.rindex(b"event: message_stop"), body.rindex(b"message_stop") + 4, len(body) // 2):
            with pytest.raises(UpstreamError) as error:
                decode(DIALECT, [body[:end]])
            assert error.value.failure.kind is FailureKind.CUT, exchange


def test_every_recorded_error_has_its_kind_and_the_providers_words(exchanges: list[Exchange]) -> None:
    seen = {}
    for exchange in exchanges:
        if exchange.status != 200:
            failure = DIALECT.classify(exchange.status, exchange.headers, exchange.body.encode())
            assert exchange.document is not None
            assert failure.message == exchange.document["error"]["message"]
            seen[exchange.status] = failure.kind
    assert seen == {400: FailureKind.INVALID_REQUEST, 401: FailureKind.AUTH}
