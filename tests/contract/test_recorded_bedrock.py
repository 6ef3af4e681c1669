"""Recorded exchanges with Bedrock's Converse: every answer, stream and error is read as botocore reads it."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from adapters.providers.anthropic.messages import FORMAT
from adapters.providers.bedrock import DIALECT
from adapters.providers.bedrock.answer import STOP_REASONS
from service.coalesce import merge
from service.domain.events import Folded, ReasoningSeal
from service.domain.failure import FailureKind, UpstreamError
from service.domain.fold import fold
from service.domain.generation import Generation
from tests.contract.sample import cut_every, decode, endpoint_for
from tests.golden.requests import HELLO
from tests.support import bedrock_model
from tests.support.recorded import Exchange, read_exchanges

# Every line of the file is in here: one that silently stops being read fails a test.
ANSWERS, STREAMS, FAILURES = 31, 30, 3

ERRORS = {
    (400, "ValidationException"): FailureKind.MODEL_MISSING,
    (403, "ExpiredTokenException"): FailureKind.AUTH,
}
LEFT_OUT = {
    "metrics": "the provider's own latency: ours is measured where the caller waits",
    "trace": "what a guardrail found, for its operator: the caller is told by the finish reason",
}
COUNTS_LEFT_OUT = {
    "totalTokens": "the sum of the others",
    "serverToolUsage": "empty: no tool of the provider ran",
    "cacheReadInputTokenCount": "a second name of cacheReadInputTokens",
    "cacheWriteInputTokenCount": "a second name of cacheWriteInputTokens",
}


@pytest.fixture(scope="module")
def exchanges(shared: Path) -> list[Exchange]:
    kinds = ("bedrock.converse", "bedrock.converse_stream")
    return [exchange for kind in kinds for exchange in read_exchanges(shared, kind)]


def whole(exchanges: list[Exchange]) -> list[Exchange]:
    return [exchange for exchange in exchanges if exchange.status == 200 and not exchange.raw]


def streams(exchanges: list[Exchange]) -> list[Exchange]:
    return [exchange for exchange in exchanges if exchange.status == 200 and exchange.raw]


def starts_of(stream: bytes) -> list[int]:
    """Where the frames begin."""
    starts = [0]
    while (after := starts[-1] + int.from_bytes(stream[starts[-1] : starts[-1] + 4], "big")) < len(stream):
        starts.append(after)
    return starts


def frame_of(stream: bytes, at: int) -> bytes:
    """The frame that begins there."""
    return stream[at : at + int.from_bytes(stream[at : at + 4], "big")]


def assert_says(folded: Folded, answer: dict[str, Any], where: str) -> None:
    """`folded` is what botocore read."""
    (choice,) = folded.choices
    content = answer["output"]["message"]["content"]
    assert {kind for block in content for kind in block} <= {"text", "toolUse"}, where
    texts = [block["text"] for block in content if "text" in block]
    assert choice.text == ("".join(texts) if texts else None), where
    assert [(call.id, call.name, json.loads(call.arguments)) for call in choice.calls] == [
        (block["toolUse"]["toolUseId"], block["toolUse"]["name"], block["toolUse"]["input"])
        for block in content
        if "toolUse" in block
    ], where
    assert choice.reasoning == (), where
    assert choice.finish is not None, where
    assert (choice.finish.raw, choice.finish.reason) == (answer["stopReason"], STOP_REASONS[answer["stopReason"]])
    assert choice.extra is None, where
    usage, counted = folded.usage, answer["usage"]
    assert usage is not None, where
    assert usage.output_tokens == counted["outputTokens"], where
    assert usage.total_tokens == counted["totalTokens"], where
    assert usage.cached_tokens == counted.get("cacheReadInputTokens"), where
    assert usage.cache_write_tokens == counted.get("cacheWriteInputTokens"), where


def test_the_file_holds_the_exchanges_that_the_tests_read(exchanges: list[Exchange]) -> None:
    counts = len(whole(exchanges)), len(streams(exchanges)), sum(e.status != 200 for e in exchanges)
    assert counts == (ANSWERS, STREAMS, FAILURES)


def test_every_recorded_answer_says_what_botocore_reads(exchanges: list[Exchange]) -> None:
    for exchange in whole(exchanges):
        body = exchange.body.encode()
        assert_says(fold(DIALECT.read(body)), bedrock_model.parsed(body), str(exchange))


def test_every_recorded_stream_says_what_botocore_reads(exchanges: list[Exchange]) -> None:
    for exchange in streams(exchanges):
        answer = bedrock_model.gathered(bedrock_model.parsed_stream(exchange.raw))
        folded = fold(decode(DIALECT, [exchange.raw]))
        assert_says(folded, answer, str(exchange))
        as_a_whole = fold(DIALECT.read(json.dumps(answer, default=str).encode()))
        assert [call.id for call in folded.choices[0].calls] == [call.id for call in as_a_whole.choices[0].calls]
        assert (folded.choices[0].text, folded.choices[0].finish, folded.usage) == (
            as_a_whole.choices[0].text,
            as_a_whole.choices[0].finish,
            as_a_whole.usage,
        ), exchange


def test_every_recorded_stream_gives_its_deltas_as_they_came(exchanges: list[Exchange]) -> None:
    for exchange in streams(exchanges):
        deltas = [
            event["contentBlockDelta"]["delta"]
            for event in bedrock_model.parsed_stream(exchange.raw)
            if "contentBlockDelta" in event
        ]
        texts = [delta.get("text") or delta.get("toolUse", {}).get("input") for delta in deltas]
        told = [
            getattr(event, "text", None) or getattr(event, "arguments", None)
            for event in decode(DIALECT, [frame_of(exchange.raw, at) for at in starts_of(exchange.raw)])
        ]
        assert [text for text in told if text] == [text for text in texts if text], exchange


def test_every_recorded_stream_is_decoded_alike_at_any_split(exchanges: list[Exchange]) -> None:
    chance = random.Random(17)
    for exchange in streams(exchanges):
        events = decode(DIALECT, [exchange.raw])
        for size in (chance.randint(1, 12), chance.randint(13, 400), 4096):
            assert merge(decode(DIALECT, cut_every(exchange.raw, size))) == merge(events), exchange


def test_no_recorded_stream_may_lose_its_end(exchanges: list[Exchange]) -> None:
    chance = random.Random(18)
    for exchange in streams(exchanges):
        kinds = [next(iter(event)) for event in bedrock_model.parsed_stream(exchange.raw)]
        assert kinds[-2:] == ["messageStop", "metadata"], "messageStop alone does not end a stream: usage follows"
        last = exchange.raw.rfind(b"metadata") - 20
        for cut in (last, len(exchange.raw) - 1, chance.randrange(len(exchange.raw))):
            with pytest.raises(UpstreamError) as error:
                decode(DIALECT, [exchange.raw[:cut]])
            assert error.value.failure.kind is FailureKind.CUT, exchange


def test_every_recorded_error_has_its_kind(exchanges: list[Exchange]) -> None:
    seen = Counter[tuple[int, str]]()
    for exchange in exchanges:
        if exchange.status != 200:
            failure = DIALECT.classify(exchange.status, exchange.headers, exchange.body.encode())
            assert failure.code is not None
            key = (exchange.status, failure.code)
            assert failure.kind is ERRORS[key]
            assert failure.message == json.loads(exchange.body)["message"]
            seen[key] += 1
    assert seen == {(400, "ValidationException"): 2, (403, "ExpiredTokenException"): 1}


def test_what_is_left_out_of_the_recorded_answers_is_known(exchanges: list[Exchange]) -> None:
    answers = [json.loads(exchange.body) for exchange in whole(exchanges)]
    answers += [
        bedrock_model.gathered(bedrock_model.parsed_stream(exchange.raw)) for exchange in streams(exchanges)
    ]
    fields = {name for answer in answers for name in answer}
    assert fields - {"output", "stopReason", "usage"} == set(LEFT_OUT)
    counts = {name for answer in answers for name in answer["usage"]}
    read = {"inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"}
    assert counts - read == set(COUNTS_LEFT_OUT)
    assert not any(answer["usage"].get("serverToolUsage") for answer in answers)


def test_the_path_of_every_recorded_request_is_what_we_would_write(exchanges: list[Exchange]) -> None:
    for exchange in exchanges:
        model = unquote(exchange.path.split("/")[2])
        endpoint = replace(endpoint_for(DIALECT), upstream_model=model)
        stream = exchange.kind.endswith("stream")
        assert DIALECT.build(Generation((HELLO,)), endpoint, stream=stream).path == exchange.path, exchange


def test_reasoning_is_of_claudes_format_when_it_is_signed() -> None:
    # No recorded exchange reasons; the service model tells its form (ReasoningContentBlock).
    block = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}}
    answer = {
        "output": {"message": {"role": "assistant", "content": [block]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
        "metrics": {"latencyMs": 1},
    }
    body = json.dumps(answer).encode()
    assert bedrock_model.parsed(body)["output"]["message"]["content"] == [block]
    (piece,) = fold(DIALECT.read(body)).choices[0].reasoning
    assert (piece.text, piece.seal) == ("Hm.", ReasoningSeal(FORMAT, signature="c2ln"))
