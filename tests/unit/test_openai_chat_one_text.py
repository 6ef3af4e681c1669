"""The short way for an answer of one text gives what the general way gives, whatever the provider sends."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.providers.openai_chat import DIALECT, read
from service.domain.events import Event, Extra, Finish, FinishReason, Start, TextDelta, Usage
from service.domain.failure import Failure, UpstreamError

PLAIN: dict[str, Any] = {
    "id": "c1",
    "object": "chat.completion",
    "created": 7,
    "model": "m",
    "system_fingerprint": "fp",
    "service_tier": None,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hi", "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}
LOGPROB = {"token": "Hi", "logprob": -0.5, "bytes": None, "top_logprobs": []}
CALL = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

odd: st.SearchStrategy[Any] = st.sampled_from([None, "", 0, 1, -1, 2.5, True, "x", [], {}, ["x"], [{}], {"x": 1}])
words = st.sampled_from(
    ["stop", "length", "tool_calls", "function_call", "content_filter", "error", "abort", "eos"]
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "content": odd | st.text(max_size=3) | st.just([{"type": "text", "text": "Hi"}]),
    "reasoning": odd | st.just("Because"),
    "tool_calls": odd | st.just([CALL]),
    "function_call": odd | st.just(CALL["function"]),
    "audio": odd | st.just({"id": "a1", "data": "AA=="}),
}
CHOICES: dict[str, st.SearchStrategy[Any]] = {
    "index": odd,
    "finish_reason": words | odd,
    "logprobs": odd | st.just({"content": [LOGPROB]}),
    "delta": odd | st.just({"content": "Ho"}),
    "message": odd,
}
ANSWERS: dict[str, st.SearchStrategy[Any]] = {
    "created": odd,
    "choices": odd | st.just([PLAIN["choices"][0], {**PLAIN["choices"][0], "index": 1}]),
    "usage": odd | st.just({"prompt_tokens": 0, "completion_tokens_details": {"audio_tokens": 0, "x": "y"}}),
}


def changes(fields: dict[str, st.SearchStrategy[Any]], *more: str) -> st.SearchStrategy[dict[str, Any]]:
    """Some of these fields with other values, named or not."""
    named = dict.fromkeys(("id", "model", "role", "refusal", "error", "surprise", *more), odd)
    return st.fixed_dictionaries({}, optional=named | fields)


def changed(answer: dict[str, Any], choice: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    plain = PLAIN["choices"][0]
    whole = {**plain, "message": {**plain["message"], **message}, **choice}
    return {**PLAIN, "choices": [whole], **answer}


def told(way: Any, body: bytes) -> list[Event] | Failure:
    try:
        events: list[Event] = way(body)
    except UpstreamError as error:
        return error.failure
    return events


def general(monkeypatch: pytest.MonkeyPatch, body: bytes) -> list[Event] | Failure:
    with monkeypatch.context() as patch:
        patch.setattr(read, "_one_text", lambda _document: None)
        return told(DIALECT.read, body)


@given(changes(ANSWERS), changes(CHOICES), changes(FIELDS, "annotations"))
@example({}, {}, {})
@example({}, {"index": 3}, {})
@example({}, {"finish_reason": "error"}, {})
@example({}, {}, {"content": ""})
@example({"created": "soon"}, {}, {})
@example({"object": "error", "message": "no"}, {}, {})
@example({"prompt_filter_results": []}, {"content_filter_results": {}}, {"surprise": {"x": 1}})
@settings(max_examples=400)
def test_the_short_way_and_the_general_way_tell_the_same(
    answer: dict[str, Any], choice: dict[str, Any], message: dict[str, Any]
) -> None:
    body = orjson.dumps(changed(answer, choice, message))
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert told(DIALECT.read, body) == general(monkeypatch, body)


def test_the_answer_that_most_calls_get_takes_the_short_way() -> None:
    filtered = changed({"prompt_filter_results": []}, {"content_filter_results": {"hate": 1}}, {})
    assert read._one_text(filtered) == [
        Start("c1", "m", 7, "fp"),
        TextDelta("Hi"),
        Extra("choice", (("content_filter_results", '{"hate":1}'),)),
        Finish(FinishReason.STOP, "stop"),
        Usage(1, 2, 3),
        Extra("answer", (("prompt_filter_results", "[]"),)),
    ]
    assert read._one_text(PLAIN) == [
        Start("c1", "m", 7, "fp"),
        TextDelta("Hi"),
        Finish(FinishReason.STOP, "stop"),
        Usage(1, 2, 3),
    ]
