"""Recorded exchanges with Mistral: every answer and stream is read as Mistral's own SDK reads it."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from adapters.providers.mistral import DIALECT
from service.coalesce import merge
from service.domain.failure import FailureKind, UpstreamError
from service.domain.fold import fold
from tests.contract.answers import ANSWERS
from tests.contract.mistral import SAMPLE
from tests.contract.sample import cut_every, decode
from tests.golden.requests import CASES
from tests.support.recorded import Exchange, read_exchanges
from tests.support.sdk_readings import mistrals, mistrals_stream, ours

ANSWERS_RECORDED, STREAMS_RECORDED = 7, 12
GOLDEN_OF_FEATURES = {
    "stream": "text_stream",
    "temperature": "sampling",
    "top_p": "sampling",
    "tools": "tools",
    "tool_choice auto": "tools",
    "tool_choice any": "tool_choice_required",
    "user text": "text",
}
"""What the recorded requests use, and the golden case in which we send that."""
PASSED_ON = {"safe_prompt"}
"""Fields that our API does not name: the catalogue's row lets them through."""


@pytest.fixture(scope="module")
def exchanges(shared: Path) -> list[Exchange]:
    return read_exchanges(shared, "mistral.chat")


def test_every_recorded_answer_says_what_mistrals_sdk_reads(exchanges: list[Exchange]) -> None:
    whole = [exchange for exchange in exchanges if exchange.document is not None]
    for exchange in whole:
        body = exchange.body.encode()
        assert ours(DIALECT.read(body)) == mistrals(body), exchange
    assert len(whole) == ANSWERS_RECORDED


def test_every_recorded_stream_says_what_mistrals_sdk_reads(exchanges: list[Exchange]) -> None:
    streams = [exchange for exchange in exchanges if exchange.document is None]
    for exchange in streams:
        body = exchange.body.encode()
        readings = mistrals_stream(body)
        assert ours(decode(DIALECT, [body])) == readings, exchange
        assert readings[0].end
        assert readings[0].tokens
    assert len(streams) == STREAMS_RECORDED


def test_every_recorded_stream_is_decoded_alike_at_any_split(exchanges: list[Exchange]) -> None:
    chance = random.Random(7)
    for exchange in exchanges:
        if exchange.document is None:
            body = exchange.body.encode()
            whole = merge(decode(DIALECT, [body]))
            for size in (chance.randint(1, 12), chance.randint(13, 400)):
                assert merge(decode(DIALECT, cut_every(body, size))) == whole, exchange


def test_no_recorded_stream_may_lose_its_end(exchanges: list[Exchange]) -> None:
    for exchange in exchanges:
        if exchange.document is None:
            body = exchange.body.encode()
            with pytest.raises(UpstreamError) as error:
                decode(DIALECT, [body[: body.rindex(b"data:")]])
            assert error.value.failure.kind is FailureKind.CUT


def test_cached_tokens_are_read_from_a_recorded_answer(exchanges: list[Exchange]) -> None:
    found = [
        usage.cached_tokens
        for exchange in exchanges
        if exchange.document is not None
        and (usage := fold(DIALECT.read(exchange.body.encode())).usage) is not None
        and usage.cached_tokens is not None
    ]
    assert found == [10]


def test_padding_is_told_to_nobody(exchanges: list[Exchange]) -> None:
    padded = [exchange for exchange in exchanges if '"p":"' in exchange.body]
    assert padded
    for exchange in padded:
        assert fold(decode(DIALECT, [exchange.body.encode()])).extra is None


def features(request: dict[str, Any]) -> set[str]:
    """What a recorded request uses: fields, values of the tool choice, roles with their kinds of content."""
    found = {name for name in request if name not in ("model", "messages", "tool_choice", "stream")}
    if request.get("stream"):
        found.add("stream")
    if "tool_choice" in request:
        found.add(f"tool_choice {request['tool_choice']}")
    for message in request["messages"]:
        content = message["content"]
        kinds = ["text"] if isinstance(content, str) else [part["type"] for part in content]
        found |= {f"{message['role']} {kind}" for kind in kinds}
    return found


def test_each_feature_of_the_recorded_requests_has_a_golden_case(exchanges: list[Exchange]) -> None:
    used = Counter(feature for exchange in exchanges if exchange.request for feature in features(exchange.request))
    assert set(used) - PASSED_ON == set(GOLDEN_OF_FEATURES)
    assert all(CASES[case].fits(DIALECT) for case in GOLDEN_OF_FEATURES.values())


@pytest.mark.parametrize("case", [case for case in ANSWERS if case not in SAMPLE.lacks])
def test_our_golden_answers_are_what_mistrals_sdk_reads(case: str) -> None:
    whole, stream = SAMPLE.answer(case), SAMPLE.stream(case)
    assert ours(DIALECT.read(whole)) == mistrals(whole)
    assert ours(decode(DIALECT, [stream])) == mistrals_stream(stream)
