"""Recorded exchanges with Azure OpenAI: every answer, stream and error is read as OpenAI's own SDK reads it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from adapters.providers.azure import DIALECT
from service.coalesce import merge
from service.domain.events import Extra, Start
from service.domain.failure import FailureKind, UpstreamError
from tests.contract.answers import ANSWERS
from tests.contract.azure import SAMPLE
from tests.contract.sample import cut_every, decode
from tests.support.recorded import Exchange, read_exchanges
from tests.support.sdk_readings import openais, openais_stream, ours

ANSWERS_RECORDED, STREAMS_RECORDED, FILTERED, MISSING = 41, 26, 3, 3


@pytest.fixture(scope="module")
def exchanges(shared: Path) -> list[Exchange]:
    return read_exchanges(shared, "azure.chat")


def streams(exchanges: list[Exchange]) -> list[tuple[Exchange, bytes]]:
    return [(e, e.body.encode()) for e in exchanges if e.status == 200 and e.document is None]


def test_every_recorded_answer_says_what_openais_sdk_reads(exchanges: list[Exchange]) -> None:
    read = 0
    for exchange in exchanges:
        if exchange.status == 200 and exchange.document is not None and "error" not in exchange.document:
            body = exchange.body.encode()
            assert ours(DIALECT.read(body)) == openais(body), exchange
            read += 1
    assert read == ANSWERS_RECORDED


def test_every_recorded_stream_says_what_openais_sdk_reads(exchanges: list[Exchange]) -> None:
    for exchange, body in streams(exchanges):
        assert ours(decode(DIALECT, [body])) == openais_stream(body), exchange
    assert len(streams(exchanges)) == STREAMS_RECORDED


def test_every_recorded_stream_is_decoded_alike_at_any_split(exchanges: list[Exchange]) -> None:
    chance = random.Random(26)
    for exchange, body in streams(exchanges):
        whole = merge(decode(DIALECT, [body]))
        for size in (chance.randint(1, 12), chance.randint(13, 400)):
            assert merge(decode(DIALECT, cut_every(body, size))) == whole, exchange


def test_no_recorded_stream_may_lose_its_end(exchanges: list[Exchange]) -> None:
    for _, body in streams(exchanges):
        with pytest.raises(UpstreamError) as error:
            decode(DIALECT, [body[: body.rindex(b"data:")]])
        assert error.value.failure.kind is FailureKind.CUT


def test_the_first_chunk_without_choices_is_no_start_and_its_filter_results_come_through(
    exchanges: list[Exchange],
) -> None:
    for exchange, body in streams(exchanges):
        events = decode(DIALECT, [body])
        assert isinstance(events[0], Start)
        assert events[0].id, exchange
        told = {name for event in events if isinstance(event, Extra) for name, _ in event.fields}
        assert {"prompt_filter_results", "content_filter_results"} <= told, exchange


def test_a_prompt_that_was_filtered_with_status_200_names_the_filters(exchanges: list[Exchange]) -> None:
    filtered = [e for e in exchanges if e.status == 200 and e.document is not None and "error" in e.document]
    assert len(filtered) == FILTERED
    for exchange in filtered:
        for read in (DIALECT.read, lambda body: decode(DIALECT, [body])):
            with pytest.raises(UpstreamError) as error:
                read(exchange.body.encode())
            assert error.value.failure.kind is FailureKind.CONTENT_POLICY
            assert error.value.failure.message.endswith("(hate, self-harm, violence)")


def test_a_deployment_that_is_not_there_is_the_catalogues_mistake(exchanges: list[Exchange]) -> None:
    failed = [exchange for exchange in exchanges if exchange.status != 200]
    assert len(failed) == MISSING
    for exchange in failed:
        failure = DIALECT.classify(exchange.status, exchange.headers, exchange.body.encode())
        assert (failure.kind, failure.code) == (FailureKind.MODEL_MISSING, "DeploymentNotFound")


@pytest.mark.parametrize("case", ANSWERS)
def test_our_golden_answers_are_what_openais_sdk_reads(case: str) -> None:
    whole, stream = SAMPLE.answer(case), SAMPLE.stream(case)
    assert ours(DIALECT.read(whole)) == openais(whole)
    assert ours(decode(DIALECT, [stream])) == openais_stream(stream)
    assert json.loads(whole)["prompt_filter_results"]
