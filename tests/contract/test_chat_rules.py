"""The rules of chat-shaped wires, held by every dialect of that family: OpenAI's, Azure's and Mistral's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.providers import azure, mistral, openai_chat
from adapters.providers.dialect import Dialect
from service.domain.errors import ERRORS
from service.domain.events import FinishReason
from service.domain.failure import REASONS, TRY_ELSEWHERE, FailureKind, UpstreamError
from service.domain.fold import fold
from service.domain.generation import Generation, Role, Text, ToolCall, ToolResult, Turn
from tests.contract.sample import decode, endpoint_for
from tests.golden.requests import HELLO, WEATHER

FAMILY: tuple[Dialect, ...] = (openai_chat.DIALECT, azure.DIALECT, mistral.DIALECT)
each_dialect = pytest.mark.parametrize("dialect", FAMILY, ids=lambda dialect: dialect.name)

HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def document(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return json.dumps(HEAD | {"choices": choices} | more, ensure_ascii=False).encode()


TOLD = (
    document({"role": "assistant", "content": ""}),
    document({"content": "Hal\u2028"}),
    document({"content": "lo"}),
    document({}, "stop"),
)


def stream(*documents: bytes, end: bytes = b"data: [DONE]\n\n") -> bytes:
    return b"".join(b"data: %b\n\n" % text for text in documents) + end


def written(dialect: Dialect, generation: Generation) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(dialect.build(generation, endpoint_for(dialect), stream=False).body)
    return body


@each_dialect
def test_text_and_calls_of_one_turn_are_one_message_and_results_bind_by_the_calls_id(dialect: Dialect) -> None:
    calls = (ToolCall("one", "get_weather", '{"city":"Oslo"}'), ToolCall("two", "get_weather", '{"city":"Rome"}'))
    results = [Turn(Role.TOOL, (ToolResult(name, (Text(name),)),)) for name in ("two", "one")]
    turns = (HELLO, Turn(Role.ASSISTANT, (Text("Both."), *calls)), *results)
    messages = written(dialect, Generation(turns, (WEATHER,)))["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool"]
    assert messages[1]["content"] == "Both."
    sent = {json.loads(c["function"]["arguments"])["city"]: c["id"] for c in messages[1]["tool_calls"]}
    assert list(sent) == ["Oslo", "Rome"]
    assert {m["content"]: m["tool_call_id"] for m in messages[2:]} == {"two": sent["Rome"], "one": sent["Oslo"]}


@each_dialect
def test_nobody_is_asked_to_store_what_the_caller_did_not_ask_to_store(dialect: Dialect) -> None:
    assert "store" not in written(dialect, Generation((HELLO,)))


@each_dialect
@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("tool_calls", FinishReason.TOOL_CALLS),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("something_new", FinishReason.STOP),
    ],
)
def test_a_word_for_the_end_has_its_reason_and_an_unknown_one_does_not_fail_the_call(
    dialect: Dialect, word: str, reason: FinishReason
) -> None:
    finish = fold(decode(dialect, [stream(*TOLD[:3], document({}, word))])).choices[0].finish
    assert finish is not None
    assert (finish.reason, finish.raw) == (reason, word)


@each_dialect
def test_usage_comes_in_a_last_chunk_without_choices_and_a_first_one_without_any_is_no_start(
    dialect: Dialect,
) -> None:
    nameless = {"id": "", "object": "", "created": 0, "model": "", "choices": []}
    first = json.dumps(nameless | {"prompt_filter_results": []}).encode()
    folded = fold(decode(dialect, [stream(first, *TOLD, document(None, usage=USAGE))]))
    assert folded.start.id == "c1"
    assert folded.usage is not None
    assert (folded.usage.input_tokens, folded.usage.output_tokens, folded.usage.total_tokens) == (3, 2, 5)


@each_dialect
def test_a_null_usage_or_a_missing_one_is_none_and_no_zero(dialect: Dialect) -> None:
    last = document({}, "stop", usage=None)
    assert fold(decode(dialect, [stream(*TOLD[:3], last)])).usage is None


FRAMINGS = {
    "LF": stream(*TOLD),
    "CRLF": stream(*TOLD).replace(b"\n", b"\r\n"),
    "CR": stream(*TOLD).replace(b"\n", b"\r"),
    "comments": b": hello\n\n" + stream(*TOLD).replace(b"\n\n", b"\n\n: keep-alive\n\n"),
    "no space after the colon": stream(*TOLD).replace(b"data: ", b"data:"),
    "other fields": stream(*TOLD).replace(b"data: ", b"id: 7\nretry: 100\ndata: "),
    "several data lines": stream(*TOLD).replace(b'"choices"', b'\ndata: "choices"'),
    "no blank line at the end": stream(*TOLD).rstrip(b"\n"),
}


@each_dialect
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_a_stream_says_the_same_in_every_framing_that_the_standard_allows(
    dialect: Dialect, framing: str, size: int
) -> None:
    data = FRAMINGS[framing]
    folded = fold(decode(dialect, [data[at : at + size] for at in range(0, len(data), size)]))
    assert folded.choices[0].text == "Hal\u2028lo"
    assert folded.choices[0].finish is not None


@each_dialect
@pytest.mark.parametrize("end", [b"", b"data: [DONE", b"data: DONE\n\n", b"event: done\ndata: {}\n\n"])
def test_nothing_but_done_ends_a_stream(dialect: Dialect, end: bytes) -> None:
    with pytest.raises(UpstreamError) as error:
        decode(dialect, [stream(*TOLD, end=end)])
    assert error.value.failure.kind in (FailureKind.CUT, FailureKind.PROTOCOL)
    assert error.value.failure.kind in TRY_ELSEWHERE


@each_dialect
def test_done_without_an_end_of_any_choice_is_a_cut(dialect: Dialect) -> None:
    with pytest.raises(UpstreamError) as error:
        decode(dialect, [stream(*TOLD[:3])])
    assert error.value.failure.kind is FailureKind.CUT


@each_dialect
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, FailureKind.INVALID_REQUEST),
        (401, FailureKind.AUTH),
        (402, FailureKind.QUOTA),
        (403, FailureKind.AUTH),
        (408, FailureKind.TIMEOUT),
        (422, FailureKind.INVALID_REQUEST),
        (429, FailureKind.RATE_LIMITED),
        (502, FailureKind.SERVER_ERROR),
        (503, FailureKind.OVERLOADED),
        (504, FailureKind.TIMEOUT),
        (529, FailureKind.OVERLOADED),
    ],
)
def test_a_status_alone_tells_what_failed_and_the_providers_sentence_comes_through(
    dialect: Dialect, status: int, kind: FailureKind
) -> None:
    failure = dialect.classify(status, {}, b'{"error":{"message":"In its own words."}}')
    assert (failure.kind, failure.message) == (kind, "In its own words.")


@each_dialect
@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_the_provider_refuses_is_never_the_callers_unauthenticated(
    dialect: Dialect, status: int
) -> None:
    reason = REASONS[dialect.classify(status, {}, b"{}").kind]
    assert (ERRORS[reason].grpc, ERRORS[reason].http, ERRORS[reason].fault) == ("FAILED_PRECONDITION", 503, "us")


@each_dialect
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT", "date": "Sun, 22 Nov 2026 12:00:00 GMT"}, 30.0),
        ({"x-ratelimit-reset-requests": "1m2s", "x-ratelimit-remaining-requests": "0"}, 62.0),
        ({}, None),
    ],
)
def test_a_rate_limit_says_when_to_come_back_in_whatever_way_the_provider_said_it(
    dialect: Dialect, headers: dict[str, str], seconds: float | None
) -> None:
    assert dialect.classify(429, headers, b"{}").retry_after == seconds
