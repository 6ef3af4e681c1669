"""Answers: whole completions and streams of chunks tell the same, and nothing that a provider said is lost."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from eurouter.v1 import chat_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from service.api.chat.completion import completion
from service.api.chat.completion import whole as written
from service.api.chat.from_events import ChunkWriter
from service.coalesce import merge
from service.domain.events import (
    AudioDelta,
    Event,
    Extra,
    Finish,
    FinishReason,
    OpaqueAnnotation,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    Start,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
    UrlCitation,
    Usage,
)
from service.domain.fold import fold
from service.domain.money import Cost
from tests.support.chats import STREAMS

START = Start("chatcmpl-1", "gpt-small-1", 1700000000, "fp_1", "default")
STOP = Finish(FinishReason.STOP, "stop")


def writer(**options: Any) -> ChunkWriter:
    return ChunkWriter(provider="alpha", model="upstream", completion_id="chatcmpl-own", now=99, **options)


def whole(*events: Event, functions_style: bool = False) -> pb.ChatCompletion:
    return completion(
        fold(events),
        provider="alpha",
        model="upstream",
        completion_id="chatcmpl-own",
        now=99,
        functions_style=functions_style,
    )


def gathered(chunks: Sequence[pb.ChatCompletionChunk]) -> pb.ChatCompletion:
    """What a client makes of a stream: the completion that its chunks add up to."""
    answer = pb.ChatCompletion(object="chat.completion")
    choices: dict[int, pb.Choice] = {}
    for chunk in chunks:
        for name in ("id", "created", "model", "provider", "system_fingerprint", "service_tier"):
            if getattr(chunk, name):
                setattr(answer, name, getattr(chunk, name))
        if chunk.HasField("prompt_filter_results"):
            answer.prompt_filter_results = chunk.prompt_filter_results
        answer.extra.update(chunk.extra)
        if chunk.HasField("usage"):
            answer.usage.CopyFrom(chunk.usage)
        for piece in chunk.choices:
            _gather(choices.setdefault(piece.index, pb.Choice(index=piece.index)), piece)
    answer.choices.extend(choices[index] for index in sorted(choices))
    return answer


def _gather(choice: pb.Choice, piece: pb.ChunkChoice) -> None:
    message, delta = choice.message, piece.delta
    message.role = delta.role or message.role
    for name in ("content", "refusal", "reasoning"):
        if delta.HasField(name):
            setattr(message, name, getattr(message, name) + getattr(delta, name))
    for fragment in delta.tool_calls:
        if fragment.index == len(message.tool_calls):
            message.tool_calls.add()
        call = message.tool_calls[fragment.index]
        call.id += fragment.id
        if fragment.WhichOneof("call") == "custom":
            call.custom.input += fragment.custom.input
            call.custom.name += fragment.custom.name
        else:
            call.function.arguments += fragment.function.arguments
            call.function.name += fragment.function.name
    if delta.HasField("function_call"):
        message.function_call.name += delta.function_call.name
        message.function_call.arguments += delta.function_call.arguments
    message.reasoning_details.extend(delta.reasoning_details)
    message.annotations.extend(delta.annotations)
    if delta.HasField("audio"):
        audio = message.audio
        audio.data += delta.audio.data
        audio.transcript += delta.audio.transcript
        if delta.audio.id and not audio.id:
            audio.id = delta.audio.id
        if delta.audio.HasField("expires_at") and not audio.HasField("expires_at"):
            audio.expires_at = delta.audio.expires_at
    message.extra.update(delta.extra)
    choice.extra.update(piece.extra)
    choice.logprobs.content.extend(piece.logprobs.content)
    choice.logprobs.refusal.extend(piece.logprobs.refusal)
    if not piece.HasField("logprobs") and not (choice.logprobs.content or choice.logprobs.refusal):
        choice.ClearField("logprobs")
    choice.finish_reason = piece.finish_reason or choice.finish_reason
    if piece.HasField("content_filter_results"):
        choice.content_filter_results = piece.content_filter_results


def _without_empty(answer: pb.ChatCompletion) -> pb.ChatCompletion:
    """An empty text that a stream never showed is no text at all."""
    for choice in answer.choices:
        for name in ("reasoning", "content", "refusal"):
            if not getattr(choice.message, name):
                choice.message.ClearField(name)
        if not (choice.logprobs.content or choice.logprobs.refusal):
            choice.ClearField("logprobs")
    return answer


@given(STREAMS, st.lists(st.integers(1, 6), min_size=1), st.booleans(), st.booleans())
def test_the_chunks_of_a_stream_add_up_to_the_whole_completion(
    events: list[Event], sizes: list[int], merged: bool, functions_style: bool
) -> None:
    out = writer(include_usage=True, functions_style=functions_style)
    chunks: list[pb.ChatCompletionChunk] = []
    position = 0
    while position < len(events):
        size = sizes[position % len(sizes)]
        batch = events[position : position + size]
        chunks += out.write(merge(batch) if merged else batch)
        position += size
    chunks += out.finish()
    expected = _without_empty(whole(*events, functions_style=functions_style))
    if chunks:
        assert _without_empty(gathered(chunks)) == expected
    else:
        assert not expected.choices


@given(STREAMS)
def test_every_chunk_but_the_last_has_exactly_one_choice_and_each_choice_begins_with_the_role(
    events: list[Event],
) -> None:
    out = writer(include_usage=True)
    chunks = out.write(events)
    begun: set[int] = set()
    for chunk in chunks:
        (choice,) = chunk.choices
        assert (choice.delta.role == pb.CHAT_ROLE_ASSISTANT) == (choice.index not in begun)
        begun.add(choice.index)
        indexes = [fragment.index for fragment in choice.delta.tool_calls]
        assert len(indexes) == len(set(indexes))
    assert all(not chunk.choices for chunk in out.finish())


def test_a_text_stream_is_one_chunk_for_each_batch() -> None:
    out = writer()
    assert out.write([START]) == []
    first = out.write([TextDelta("Hel"), TextDelta("lo")])
    second = out.write([TextDelta(" you")])
    last = out.write([STOP])
    head: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "gpt-small-1",
        "system_fingerprint": "fp_1",
        "service_tier": "default",
        "provider": "alpha",
    }

    def chunk(**choice: Any) -> pb.ChatCompletionChunk:
        return pb.ChatCompletionChunk(**head, choices=[pb.ChunkChoice(**choice)])

    assert first == [chunk(delta=pb.Delta(role=pb.CHAT_ROLE_ASSISTANT, content="Hello"))]
    assert second == [chunk(delta=pb.Delta(content=" you"))]
    assert last == [chunk(finish_reason=pb.FINISH_REASON_STOP)]
    assert out.finish() == []


def test_a_chunk_once_given_is_never_changed_by_a_later_one() -> None:
    out = writer()
    out.write([START, TextDelta("a")])
    (second,) = out.write([TextDelta("b")])
    (third,) = out.write([TextDelta("c")])
    assert (second.choices[0].delta.content, third.choices[0].delta.content) == ("b", "c")


def test_the_usage_is_held_back_unless_it_was_asked_for() -> None:
    events: list[Event] = [START, TextDelta("a"), STOP, Usage(3, 4, 7, cached_tokens=0)]
    for asked in (False, True):
        out = writer(include_usage=asked)
        assert not any(chunk.HasField("usage") for chunk in out.write(events))
        last = out.finish()
        assert len(last) == asked
        for chunk in last:
            assert not chunk.choices
            assert (chunk.usage.prompt_tokens, chunk.usage.completion_tokens, chunk.usage.total_tokens) == (
                3,
                4,
                7,
            )
            assert chunk.usage.prompt_tokens_details.HasField("cached_tokens")


def test_usage_keeps_what_the_provider_said_and_nothing_else() -> None:
    details = (("completion.accepted_prediction_tokens", 0), ("prompt.audio_tokens", 2), ("prompt.odd_tokens", 3))
    event = Usage(10, 20, 31, reasoning_tokens=0, details=details, extra=(("spent", "0.1"), ("total_tokens", "9")))
    usage = whole(START, event).usage
    assert usage.total_tokens == 31
    assert [(f.name, v) for f, v in usage.completion_tokens_details.ListFields()] == [
        ("reasoning_tokens", 0),
        ("accepted_prediction_tokens", 0),
    ]
    assert [(f.name, v) for f, v in usage.prompt_tokens_details.ListFields()] == [("audio_tokens", 2)]
    assert dict(usage.extra) == {"spent": "0.1", "prompt.odd_tokens": "3"}
    assert not whole(START, Usage(1, 2, 3)).usage.HasField("prompt_tokens_details")


def test_a_cost_is_written_with_its_digits_and_a_stream_tells_the_last_one_alone() -> None:
    cost = Cost(Decimal("1.250E-7"), "EUR")
    used = Usage(3, 2, 5, cost=cost)
    assert (whole(START, used).usage.cost, whole(START, used).usage.currency) == ("0.000000125", "EUR")
    out = writer(include_usage=True)
    out.write([START, Usage(3, 1, 4)])
    out.write([TextDelta("Hi"), STOP, Usage(3, 2, 5)])
    assert out.write([used]) == []
    (last,) = out.finish()
    assert last.usage == whole(START, used).usage


def test_a_cost_that_the_provider_states_never_passes_for_ours() -> None:
    theirs = (("cost", "0.7"), ("currency", '"USD"'))
    assert whole(START, Usage(1, 2, 3, extra=theirs)).usage == whole(START, Usage(1, 2, 3)).usage


def test_a_call_and_its_arguments_share_a_fragment_in_one_batch_and_continue_in_the_next() -> None:
    out = writer()
    (first,) = out.write([START, ToolCallStart(0, "call-1", "f"), ToolCallDelta(0, '{"a'), ToolCallDelta(0, '":')])
    (second,) = out.write(
        [ToolCallDelta(0, "1}"), ToolCallStart(1, "call-2", "g", "custom"), ToolCallDelta(1, "x")]
    )
    (fragment,) = first.choices[0].delta.tool_calls
    assert (fragment.index, fragment.id, fragment.function.name) == (0, "call-1", "f")
    assert fragment.function.arguments == '{"a":'
    more, other = second.choices[0].delta.tool_calls
    assert (more.index, more.HasField("id"), more.function.HasField("name"), more.function.arguments) == (
        0,
        False,
        False,
        "1}",
    )
    assert (other.index, other.id, other.custom.name, other.custom.input) == (1, "call-2", "g", "x")


def test_a_caller_who_speaks_of_functions_is_answered_with_a_function_call() -> None:
    events: list[Event] = [
        START,
        ToolCallStart(0, "id", "f"),
        ToolCallDelta(0, "{}"),
        Finish(FinishReason.TOOL_CALLS),
    ]
    answer = whole(*events, functions_style=True)
    message = answer.choices[0].message
    assert (message.function_call.name, message.function_call.arguments) == ("f", "{}")
    assert not message.tool_calls
    assert answer.choices[0].finish_reason == pb.FINISH_REASON_FUNCTION_CALL
    assert gathered(writer(functions_style=True).write(events)) == answer


def test_sealed_reasoning_comes_with_what_has_to_come_back_and_plain_reasoning_alone() -> None:
    sealed: list[Event] = [
        ReasoningDelta("so"),
        ReasoningDelta(" so"),
        ReasoningSeal("anthropic", signature="sig"),
    ]
    hidden = ReasoningSeal("anthropic", encrypted="xyz", id="r-1")
    message = whole(START, *sealed, hidden, ReasoningDelta("plain"), TextDelta("a")).choices[0].message
    assert message.reasoning == "so soplain"
    one, two = message.reasoning_details
    assert (one.type, one.text, one.signature, one.format, one.index) == (
        "reasoning.text",
        "so so",
        "sig",
        "anthropic",
        0,
    )
    assert (two.type, two.data, two.id, two.index) == ("reasoning.encrypted", "xyz", "r-1", 1)
    plain = whole(START, ReasoningDelta("plain")).choices[0].message
    assert plain.reasoning == "plain"
    assert not plain.reasoning_details


def test_everything_else_that_a_provider_says_is_told() -> None:
    token = TokenLogprob("no", -0.5, (110, 111))
    answer = whole(
        START,
        RefusalDelta("no", logprobs=(token,)),
        UrlCitation("https://a.example", "A", 1, 2),
        OpaqueAnnotation("file_path", '{"type":"file_path"}'),
        AudioDelta("AAAA", "hm", "audio-1", 17),
        Extra("answer", (("prompt_filter_results", "[]"), ("x_groq", "{}"), ("provider", '"other"'))),
        Extra("choice", (("content_filter_results", "{}"), ("seed", "1"))),
        Extra("message", (("mood", '"good"'),)),
        Finish(FinishReason.CONTENT_FILTER),
    )
    (choice,) = answer.choices
    assert choice.logprobs.refusal[0].bytes == [110, 111]
    assert [a.WhichOneof("annotation") for a in choice.message.annotations] == ["url_citation", "opaque"]
    assert (choice.message.audio.id, choice.message.audio.expires_at) == ("audio-1", 17)
    assert answer.prompt_filter_results == "[]"
    assert dict(answer.extra) == {"x_groq": "{}"}
    assert answer.provider == "alpha"
    assert choice.content_filter_results == "{}"
    assert dict(choice.extra) == {"seed": "1"}
    assert dict(choice.message.extra) == {"mood": '"good"'}
    assert choice.finish_reason == pb.FINISH_REASON_CONTENT_FILTER
    assert not choice.message.HasField("content")


def test_what_a_provider_leaves_out_is_filled_in() -> None:
    answer = whole(Start("", ""), TextDelta("a"))
    assert (answer.id, answer.model, answer.created) == ("chatcmpl-own", "upstream", 99)
    assert not answer.HasField("usage")
    (chunk,) = writer().write([Start("", ""), TextDelta("a")])
    assert (chunk.id, chunk.model, chunk.created) == ("chatcmpl-own", "upstream", 99)


def test_each_piece_of_audio_has_a_chunk_of_its_own() -> None:
    chunks = writer().write(
        [START, AudioDelta("AA==", id="audio-1"), AudioDelta("BB=="), AudioDelta(transcript="x")]
    )
    assert [chunk.choices[0].delta.audio.data for chunk in chunks] == ["AA==", "BB==", ""]


def test_verdicts_that_come_before_any_text_share_its_chunk() -> None:
    verdict = Extra("choice", (("content_filter_results", "{}"),))
    prompt = Extra("answer", (("prompt_filter_results", "[]"),))
    (chunk,) = writer().write([START, prompt, verdict, TextDelta("a"), verdict, TextDelta("b")])
    assert chunk.choices[0].delta.content == "ab"
    assert chunk.choices[0].content_filter_results == "{}"
    assert chunk.prompt_filter_results == "[]"


def test_a_value_without_room_in_the_contract_is_an_error_and_no_truncation() -> None:
    with pytest.raises(ValueError, match="out of range"):
        whole(START, Usage(2**40, 1, 2**40))
    with pytest.raises(ValueError, match="never started"):
        writer().write([START, ToolCallDelta(3, "x")])


def test_a_plain_answer_is_written_alike_with_and_without_folding() -> None:
    used = Usage(3, 2, 5, cached_tokens=0, details=(("prompt.audio_tokens", 0),))
    for reason in (FinishReason.STOP, FinishReason.LENGTH, FinishReason.CONTENT_FILTER):
        events: list[Event] = [
            Start("id", "m", 7, "fp", "default"),
            TextDelta("Hi"),
            Finish(reason, reason.value),
            used,
        ]
        plain = written(events, provider="p", model="other", completion_id="c", now=1)
        assert plain == completion(fold(events), provider="p", model="other", completion_id="c", now=1)
