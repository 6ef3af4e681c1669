"""Recorded exchanges with Mistral: every answer and stream is read as Mistral's own SDK reads it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from adapters.providers.mistral import DIALECT
from service.coalesce import merge
from service.domain.failure import FailureKind, UpstreamError
from service.domain.fold import fold
from tests.contract.answers import ANSWERS
from tests.contract.mistral import SAMPLE
from tests.contract.sample import cut_every, decode
from tests.support.recorded import Exchange, read_exchanges
from tests.support.sdk_readings import mistrals, mistrals_stream, ours

ANSWERS_RECORDED, STREAMS_RECORDED = 7, 12


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


@pytest.mark.parametrize("case", [case for case in ANSWERS if case not in SAMPLE.lacks])
def test_our_golden_answers_are_what_mistrals_sdk_reads(case: str) -> None:
    whole, stream = SAMPLE.answer(case), SAMPLE.stream(case)
    assert ours(DIALECT.read(whole)) == mistrals(whole)
    assert ours(decode(DIALECT, [stream])) == mistrals_stream(stream)
