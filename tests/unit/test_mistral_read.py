"""What only Mistral says in an answer: thinking, references, padding, errors without a name."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.providers.mistral import DIALECT
from service.domain.events import (
    Event,
    FinishReason,
    OpaqueAnnotation,
    ReasoningDelta,
    ReasoningSeal,
    TextDelta,
)
from service.domain.failure import FailureKind, UpstreamError
from service.domain.fold import fold
from tests.contract.sample import decode

BASE = {"id": "m1", "object": "chat.completion.chunk", "created": 1, "model": "magistral"}
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + orjson.dumps(BASE | {"choices": [choice]} | more) + b"\n\n"


def streamed(*chunks: bytes) -> list[Event]:
    return decode(DIALECT, [b"".join(chunks) + b"data: [DONE]\n\n"])


def thought(*pieces: Any, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "thinking", "thinking": list(pieces), **more}]}


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def test_thinking_is_reasoning_and_its_signature_comes_back_sealed() -> None:
    events = streamed(
        chunk({"role": "assistant", "content": ""}),
        chunk(thought(text("One. "))),
        chunk(
            thought(text("Two."), {"type": "tool_reference", "tool": "web_search", "title": "W"}, signature="c2ln")
        ),
        chunk({"content": "Three."}, "stop"),
    )
    assert [event.text for event in events if isinstance(event, ReasoningDelta)] == ["One. ", "Two."]
    assert ReasoningSeal("mistral-v1", "c2ln") in events
    assert fold(events).choices[0].text == "Three."


def test_sources_are_told_as_they_came() -> None:
    part = {"type": "reference", "reference_ids": [1, 2]}
    events = streamed(
        chunk({"role": "assistant", "content": ""}), chunk({"content": [text("See "), part]}, "stop")
    )
    (source,) = [event for event in events if isinstance(event, OpaqueAnnotation)]
    assert source.type == "reference"
    assert orjson.loads(source.json) == part


def test_padding_of_any_length_keeps_tokens_on_the_fast_path() -> None:
    chunks = [chunk({"role": "assistant", "content": ""}), chunk({"content": "a"}, p="abc")]
    chunks += [chunk({"content": letter}, p="x" * size) for size, letter in enumerate("bcdefgh", start=1)]
    events = streamed(*chunks, chunk({"content": ""}, "stop", usage=USAGE, p="ab"))
    texts = [event.text for event in events if isinstance(event, TextDelta)]
    assert "".join(texts) == "abcdefgh"
    # Alike chunks of one read are joined: that is what being known by their bytes looks like from outside.
    assert len(texts) < 4
    assert fold(events).extra is None


def test_a_call_whose_id_is_the_word_null_gets_an_id_of_its_own() -> None:
    call = {"id": "null", "function": {"name": "now", "arguments": "{}"}, "index": 0}
    events = streamed(
        chunk({"role": "assistant", "content": ""}), chunk({"content": "", "tool_calls": [call]}, "tool_calls")
    )
    (found,) = fold(events).choices[0].calls
    assert found.id.startswith("call_")
    assert (found.name, found.arguments) == ("now", "{}")


def test_two_whole_calls_without_an_index_are_two_calls() -> None:
    calls = [{"id": f"abcdefgh{n}", "function": {"name": "now", "arguments": "{}"}} for n in range(2)]
    events = streamed(
        chunk({"role": "assistant", "content": ""}), chunk({"content": "", "tool_calls": calls}, "tool_calls")
    )
    assert [call.id for call in fold(events).choices[0].calls] == ["abcdefgh0", "abcdefgh1"]


def test_an_error_object_in_a_stream_is_an_error_with_its_sentence() -> None:
    error = (
        b'data: {"object":"error","message":"Rate limit exceeded","type":"rate_limit_exceeded","code":"1300"}\n\n'
    )
    decoder = DIALECT.decoder()
    seen = decoder.feed(chunk({"role": "assistant", "content": "Hal"}) + error)
    assert any(isinstance(event, TextDelta) for event in seen)
    with pytest.raises(UpstreamError) as caught:
        decoder.end()
    assert caught.value.failure.kind is FailureKind.RATE_LIMITED
    assert caught.value.failure.message == "Rate limit exceeded"


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("model_length", FinishReason.LENGTH),
        ("error", FinishReason.ERROR),
        ("tool_calls", FinishReason.TOOL_CALLS),
    ],
)
def test_each_finish_reason_of_the_published_document_is_known(word: str, reason: FinishReason) -> None:
    events = streamed(chunk({"role": "assistant", "content": "Hal"}), chunk({"content": ""}, word))
    finish = fold(events).choices[0].finish
    assert finish is not None
    assert (finish.reason, finish.raw) == (reason, word)


@pytest.mark.parametrize(
    "told",
    [{"num_cached_tokens": 4}, {"prompt_tokens_details": {"cached_tokens": 4}}],
)
def test_cached_tokens_are_found_under_either_name(told: dict[str, Any]) -> None:
    seconds = {"prompt_audio_seconds": None}
    events = streamed(
        chunk({"role": "assistant", "content": "Hal"}), chunk({}, "stop", usage=USAGE | seconds | told)
    )
    usage = fold(events).usage
    assert usage is not None
    assert (usage.input_tokens, usage.cached_tokens) == (9, 4)


@pytest.mark.parametrize("seconds", [3, {}, None])
def test_seconds_of_audio_of_any_shape_do_no_harm(seconds: Any) -> None:
    usage = USAGE | {"prompt_audio_seconds": seconds}
    found = fold(streamed(chunk({"role": "assistant", "content": "Hal"}), chunk({}, "stop", usage=usage))).usage
    assert found is not None
    assert found.input_tokens == 9
