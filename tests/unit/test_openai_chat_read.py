"""What real servers that claim to speak OpenAI chat send, and what we make of it."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import orjson
import pytest

from adapters.providers.openai_chat import DIALECT
from adapters.providers.openai_chat.calls import CallTracker
from service.coalesce import merge
from service.domain.catalog import Price
from service.domain.cost import cost_of
from service.domain.events import (
    VISIBLE,
    AudioDelta,
    Event,
    Extra,
    Finish,
    FinishReason,
    Folded,
    FoldedCall,
    OpaqueAnnotation,
    ReasoningDelta,
    ReasoningSeal,
    Start,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
    TopToken,
    UrlCitation,
    Usage,
)
from service.domain.failure import FailureKind, UpstreamError
from service.domain.fold import fold


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "a-1", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": [choice]} | more


def stream(*chunks: dict[str, Any], done: bool = True) -> list[Event]:
    data = b"".join(b"data: " + orjson.dumps(one) + b"\n\n" for one in chunks)
    decoder = DIALECT.decoder()
    events = decoder.feed(data + (b"data: [DONE]\n\n" if done else b""))
    return events + decoder.end()


def whole(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> list[Event]:
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": finish}
    return list(DIALECT.read(orjson.dumps({"id": "a-1", "created": 5, "model": "m", "choices": [choice | more]})))


def calls(folded: Folded) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in folded.choices[0].calls]


def fragments(*tool_calls: list[dict[str, Any]]) -> Folded:
    return fold(stream(*(chunk({"tool_calls": entry}) for entry in tool_calls), chunk({}, "tool_calls")))


def part(name: str | None = None, arguments: Any = None, **more: Any) -> dict[str, Any]:
    body = {"name": name, "arguments": arguments}
    return {"function": {key: value for key, value in body.items() if value is not None}} | more


def failure(run: Any, *args: Any, **more: Any) -> FailureKind:
    with pytest.raises(UpstreamError) as error:
        run(*args, **more)
    kind: FailureKind = error.value.failure.kind
    return kind


# Tool calls.


def test_an_id_that_comes_late_is_used() -> None:
    folded = fragments(
        [part("f", "", index=0)], [part(None, '{"a":', index=0)], [part(None, "1}", index=0, id="x")]
    )
    assert folded.choices[0].calls == (FoldedCall("x", "f", '{"a":1}', "function"),)


def test_an_id_that_never_comes_is_made_and_the_same_whole_or_streamed() -> None:
    streamed = fragments([part("f", "{", index=0)], [part(None, "}", index=0), part("g", "{}", index=1)])
    read = fold(whole({"tool_calls": [part("f", "{}"), part("g", "{}")]}, "tool_calls"))
    assert streamed.choices == read.choices
    ids = [call.id for call in read.choices[0].calls]
    assert len(set(ids)) == 2
    assert all(made.startswith("call_") and len(made) <= 40 for made in ids)


def test_calls_without_an_index_are_told_apart_by_id() -> None:
    folded = fragments([part("f", '{"a"', id="x")], [part(None, ":1}", id="x")], [part("f", "{}", id="y")])
    assert calls(folded) == [("f", '{"a":1}'), ("f", "{}")]


def test_calls_without_index_and_id_are_told_apart_by_order() -> None:
    folded = fragments([part("f", '{"a":1}'), part("f", '{"a":2}')], [part("f", '{"a":3}')], [part("g", "{}")])
    assert calls(folded) == [("f", '{"a":1}'), ("f", '{"a":2}'), ("f", '{"a":3}'), ("g", "{}")]


def test_fragments_without_index_and_id_continue_the_open_call() -> None:
    assert calls(fragments([part("f", '{"a"')], [part(None, ":1")], [part(None, "}")])) == [("f", '{"a":1}')]


def test_a_name_repeated_in_every_fragment_is_one_name() -> None:
    folded = fragments(
        [part("f", '{"a"', index=0, id="x")], [part("f", ":1}", index=0, id="x")], [part("f", "", index=0)]
    )
    assert calls(folded) == [("f", '{"a":1}')]


def test_a_name_repeated_without_index_and_id_is_one_call_until_its_object_ends() -> None:
    folded = fragments(
        [part("f", '{"a":"}')],
        [part("f", '\\"{"')],
        [part("f", "}")],
        [part("f", '{"a":2')],
        [part("f", "}\n")],
        [part("f", "{}")],
    )
    assert calls(folded) == [("f", '{"a":"}\\"{"}'), ("f", '{"a":2}\n'), ("f", "{}")]


@pytest.mark.parametrize("more", ["abcd", "}", '"}', "{}"])
def test_a_name_repeated_with_every_fragment_of_long_arguments_takes_linear_time(more: str) -> None:
    def seconds(count: int) -> float:
        tracker, begun = CallTracker(0), time.process_time()
        for text in ('{"a":"', *[more] * count):
            tracker.take([part("f", text)], [], whole=False)
        return time.process_time() - begun

    # Four times as much takes four times as long, not sixteen; the best of three, as others share the machine.
    assert min(seconds(20_000) for _ in range(3)) < 9 * min(seconds(5_000) for _ in range(3))


def test_two_calls_under_one_index_are_two_calls() -> None:
    folded = fragments([part("f", "{}", index=0, id="x")], [part("g", "{}", index=0, id="y")])
    assert calls(folded) == [("f", "{}"), ("g", "{}")]


def test_a_fresh_id_in_every_fragment_does_not_split_a_call() -> None:
    folded = fragments([part("f", "", index=0, id="x1")], [part(None, "{}", index=0, id="x2")])
    assert folded.choices[0].calls == (FoldedCall("x1", "f", "{}", "function"),)


def test_indexes_that_start_anywhere_are_counted_from_zero() -> None:
    events = stream(
        chunk({"tool_calls": [part("f", "{}", index=3, id="x")]}),
        chunk({"tool_calls": [part("g", "{}", index=5, id="y")]}),
        chunk({}, "tool_calls"),
    )
    assert [event.index for event in events if isinstance(event, ToolCallStart)] == [0, 1]


def test_a_call_starts_as_soon_as_its_id_and_name_are_there() -> None:
    decoder = DIALECT.decoder()
    data = orjson.dumps(chunk({"tool_calls": [part("f", "", index=0, id="x")]}))
    assert decoder.feed(b"data: " + data + b"\n\n")[1:] == [ToolCallStart(0, "x", "f")]


def test_arguments_given_as_an_object_become_text() -> None:
    assert calls(fold(whole({"tool_calls": [part("f", {"a": 1}, id="x")]}))) == [("f", '{"a":1}')]


def test_whole_calls_with_the_same_id_stay_apart() -> None:
    entries = [part("f", "{}", id=""), part("g", "{}", id="")]
    assert calls(fold(whole({"tool_calls": entries}))) == [("f", "{}"), ("g", "{}")]


def test_a_custom_tools_input_is_streamed() -> None:
    events = stream(
        chunk({"tool_calls": [{"index": 0, "id": "x", "type": "custom", "custom": {"name": "m", "input": ""}}]}),
        chunk({"tool_calls": [{"index": 0, "custom": {"input": "4 + 4"}}]}),
        chunk({}, "tool_calls"),
    )
    assert events[1:3] == [ToolCallStart(0, "x", "m", "custom"), ToolCallDelta(0, "4 + 4")]


def test_the_old_function_call_is_a_tool_call_and_its_word_is_kept() -> None:
    streamed = stream(
        chunk({"function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": '{"a":1}'}}),
        chunk({}, "function_call"),
    )
    read = whole({"function_call": {"name": "f", "arguments": '{"a":1}'}}, "function_call")
    assert fold(streamed) == fold(read)
    assert calls(fold(read)) == [("f", '{"a":1}')]
    assert Finish(FinishReason.TOOL_CALLS, "function_call") in read


def test_a_call_without_a_name_is_a_protocol_error() -> None:
    assert failure(fragments, [part(None, "{}", index=0)]) is FailureKind.PROTOCOL


# Ends.


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("model_length", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
    ],
)
def test_a_finish_reason_becomes_the_word_for_it(word: str, reason: FinishReason) -> None:
    assert whole({"content": "a"}, word)[-1] == Finish(reason, word)
    assert stream(chunk({"content": "a"}), chunk({}, word))[-1] == Finish(reason, word)


@pytest.mark.parametrize("word", ["eos", "something_new"])
def test_an_unknown_finish_reason_never_fails_a_call_and_is_told_beside_a_stop(word: str) -> None:
    told = [Finish(FinishReason.STOP, word), Extra("choice", (("native_finish_reason", f'"{word}"'),))]
    assert whole({"content": "a"}, word)[-2:] == told
    assert stream(chunk({"content": "a"}), chunk({}, word))[-2:] == told


def test_an_unknown_finish_reason_after_tool_calls_means_tool_calls() -> None:
    entry = [part("f", "{}", id="x")]
    assert whole({"tool_calls": entry}, "something_new")[-2] == Finish(FinishReason.TOOL_CALLS, "something_new")
    assert whole({"tool_calls": entry}, "stop")[-1] == Finish(FinishReason.STOP, "stop")


def test_an_answer_that_its_provider_broke_off_is_an_error_unless_something_came_of_it() -> None:
    assert failure(whole, {"content": None}, "error") is FailureKind.SERVER_ERROR
    assert (
        failure(stream, chunk({"role": "assistant", "content": ""}), chunk({}, "error"))
        is FailureKind.SERVER_ERROR
    )
    assert whole({"content": "a"}, "error")[-1] == Finish(FinishReason.ERROR, "error")


def test_done_without_any_finish_reason_is_a_cut_stream() -> None:
    events = [chunk({"content": "a"})]
    assert failure(stream, *events) is FailureKind.CUT
    assert failure(stream, chunk({"content": "a"}, "stop"), done=False) is FailureKind.CUT


def test_half_a_chunk_at_the_end_is_a_cut_stream_and_not_a_protocol_error() -> None:
    decoder = DIALECT.decoder()
    decoder.feed(b"data: " + orjson.dumps(chunk({"content": "a"})) + b"\n\n" + b'data: {"id":"a-1","cho')
    assert failure(decoder.end) is FailureKind.CUT


def test_done_needs_no_blank_line_and_nothing_after_it_counts() -> None:
    data = b"data: " + orjson.dumps(chunk({"content": "a"}, "stop")) + b"\n\n"
    for tail in (b"data: [DONE]", b"data:[DONE]\n\n" + data, b"data: [DONE] \r\n\r\nnonsense"):
        decoder = DIALECT.decoder()
        events = decoder.feed(data + tail) + decoder.end()
        assert events == [Start("a-1", "m", 5), TextDelta("a"), Finish(FinishReason.STOP, "stop")]


def test_done_alone_is_no_answer() -> None:
    assert failure(stream) is FailureKind.PROTOCOL


def test_garbage_in_a_stream_is_a_protocol_error_after_the_good_events() -> None:
    decoder = DIALECT.decoder()
    data = b"data: " + orjson.dumps(chunk({"content": "a"})) + b"\n\ndata: {garbage\n\n"
    assert decoder.feed(data) == [Start("a-1", "m", 5), TextDelta("a")]
    assert failure(decoder.feed, b"") is FailureKind.PROTOCOL
    assert failure(decoder.end) is FailureKind.PROTOCOL


# Errors after status 200.


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "x", "code": 502}, FailureKind.SERVER_ERROR),
        ({"message": "x", "code": "429"}, FailureKind.RATE_LIMITED),
        ({"message": "x", "type": "invalid_request_error"}, FailureKind.INVALID_REQUEST),
        ({"message": "x", "code": "context_length_exceeded"}, FailureKind.CONTEXT_LENGTH),
        ({"message": "x", "type": "insufficient_quota"}, FailureKind.QUOTA),
        ({"message": "x", "type": "overloaded_error"}, FailureKind.OVERLOADED),
        ({"message": "x", "code": "new_code"}, FailureKind.SERVER_ERROR),
        ("just text", FailureKind.SERVER_ERROR),
        ({"code": "content_filter", "innererror": {"code": "x"}, "status": 400}, FailureKind.CONTENT_POLICY),
    ],
)
def test_an_error_after_status_200_has_its_own_kind(error: Any, kind: FailureKind) -> None:
    assert failure(DIALECT.read, orjson.dumps({"error": error})) is kind
    assert failure(stream, {"error": error}) is kind
    named = DIALECT.decoder()
    assert failure(named.feed, b"event: error\ndata: " + orjson.dumps({"error": error}) + b"\n\n") is kind


def test_an_error_inside_a_choice_is_an_error() -> None:
    broken = chunk({"content": ""}, "error")
    broken["choices"][0]["error"] = {"code": 429, "message": "slow down"}
    assert failure(stream, broken) is FailureKind.RATE_LIMITED


def test_a_server_that_answers_whole_though_asked_to_stream_is_understood() -> None:
    body = orjson.dumps(
        {"id": "a-1", "model": "m", "choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}
    )
    decoder = DIALECT.decoder()
    assert decoder.feed(body[:9]) + decoder.feed(body[9:]) == []
    assert fold(decoder.end()).choices[0].text == "a"


# Shapes.


def test_azures_first_chunk_without_id_and_choices_is_not_the_start() -> None:
    filters = [{"prompt_index": 0}]
    events = stream(
        {"id": "", "model": "", "created": 0, "object": "", "choices": [], "prompt_filter_results": filters},
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "a"}, "stop"),
    )
    assert events[0] == Start("a-1", "m", 5)
    assert Extra("answer", (("prompt_filter_results", '[{"prompt_index":0}]'),)) in events


def test_a_role_chunk_shows_nothing() -> None:
    for delta in ({"role": "assistant", "content": ""}, {"role": "assistant", "content": None, "refusal": None}):
        decoder = DIALECT.decoder()
        events = decoder.feed(b"data: " + orjson.dumps(chunk(delta)) + b"\n\n")
        assert not any(isinstance(event, VISIBLE) for event in events)


def test_empty_content_before_a_refusal_or_a_call_is_no_text() -> None:
    role = chunk({"role": "assistant", "content": ""})
    assert fold(stream(role, chunk({"refusal": "No."}), chunk({}, "stop"))).choices[0].text is None
    assert fold(stream(role, chunk({}, "stop"))).choices[0].text == ""
    assert fold(whole({"content": ""})).choices[0].text == ""
    assert fold(whole({"content": None})).choices[0].text is None


def test_several_choices_in_any_order() -> None:
    def two(first: dict[str, Any], second: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {
            "id": "a-1",
            "choices": [{"index": 1, "delta": first} | more, {"index": 0, "delta": second} | more],
        }

    folded = fold(stream(two({"content": "b"}, {"content": "a"}), two({}, {}, finish_reason="stop")))
    assert [(choice.index, choice.text) for choice in folded.choices] == [(0, "a"), (1, "b")]


def test_one_choice_of_several_may_lack_its_end() -> None:
    # LiteLLM's proxy was recorded to end only one of two choices before [DONE].
    one = {"id": "a-1", "choices": [{"index": 1, "delta": {"content": "b"}}]}
    folded = fold(stream(one, chunk({"content": "a"}, "stop")))
    assert [choice.finish is None for choice in folded.choices] == [False, True]


def test_fields_that_nobody_named_are_kept_and_sent_once() -> None:
    events = stream(
        chunk({"content": "a", "token_id": 7}, provider="X", obfuscation="zz", x_groq={"id": "r"}),
        chunk({"content": "b", "token_id": 7}, provider="X", obfuscation="yy", x_null=None),
        chunk({}, "stop", provider="Y"),
    )
    folded = fold(events)
    assert folded.extra == {"provider": '"Y"', "x_groq": '{"id":"r"}'}
    assert folded.choices[0].message_extra == {"token_id": "7"}
    assert sum(isinstance(event, Extra) for event in events) == 3


def test_usage_keeps_every_count_zero_included() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 2, "audio_tokens": 0, "odd": {"a": 1}},
        "completion_tokens_details": {"reasoning_tokens": 3, "text_tokens": None, "image_tokens": 0},
        "cost": 0.5,
        "nothing": None,
    }
    expected = Usage(
        10,
        4,
        14,
        cached_tokens=0,
        cache_write_tokens=2,
        reasoning_tokens=3,
        details=(("prompt.audio_tokens", 0), ("completion.image_tokens", 0)),
        extra=(("prompt_tokens_details.odd", '{"a":1}'), ("cost", "0.5")),
    )
    assert stream(chunk({"content": "a"}, "stop"), {"id": "a-1", "choices": [], "usage": usage})[-1] == expected


def test_reasoning_that_only_the_total_includes_is_told_and_paid_as_output() -> None:
    def counted(written: int, total: int) -> Usage | None:
        details = {"reasoning_tokens": 20}
        usage = {"prompt_tokens": 10, "completion_tokens": written, "total_tokens": total}
        return fold(
            stream(chunk({"content": "a"}, "stop", usage=usage | {"completion_tokens_details": details}))
        ).usage

    inside = Usage(10, 25, 35, reasoning_tokens=20)
    assert counted(5, 35) == counted(25, 35) == inside
    assert counted(25, 99) == Usage(10, 25, 99, reasoning_tokens=20), "a total that nothing explains says nothing"
    price = Price(Decimal(1), Decimal(100), reasoning=Decimal(1000))
    assert cost_of(price, inside) == 10 + 5 * 100 + 20 * 1000


def test_usage_in_every_chunk_ends_with_the_last() -> None:
    def counted(tokens: int) -> dict[str, Any]:
        return {"prompt_tokens": 3, "completion_tokens": tokens, "total_tokens": 3 + tokens}

    events = stream(
        chunk({"content": "a"}, usage=counted(1)),
        chunk({"content": "b"}, usage=counted(2)),
        chunk({}, "stop", usage=None),
    )
    assert fold(events).usage == Usage(3, 2, 5)


def test_usage_beside_the_usual_place_is_an_extra_and_no_usage() -> None:
    folded = fold(stream(chunk({"content": "a"}, "stop", x_groq={"usage": {"prompt_tokens": 1}})))
    assert folded.usage is None
    assert folded.extra == {"x_groq": '{"usage":{"prompt_tokens":1}}'}


@pytest.mark.parametrize("usage", [{"cached_tokens": 8}, {"prompt_cache_hit_tokens": 8}])
def test_cached_tokens_are_found_where_some_servers_put_them(usage: dict[str, Any]) -> None:
    folded = fold(
        stream(chunk({"content": "a"}, "stop", usage={"prompt_tokens": 9, "completion_tokens": 1} | usage))
    )
    assert folded.usage is not None
    assert folded.usage.cached_tokens == 8
    assert folded.usage.total_tokens == 10


def test_reasoning_in_either_spelling() -> None:
    for name in ("reasoning", "reasoning_content"):
        assert whole({"content": "a", name: "why"})[1] == ReasoningDelta("why")


def test_reasoning_given_twice_is_read_once() -> None:
    detail = {"type": "reasoning.text", "text": "why", "format": "unknown", "index": 0}
    streamed = stream(
        chunk({"reasoning": "wh", "reasoning_details": [detail | {"text": "wh"}]}),
        chunk({"reasoning": "y", "reasoning_details": [detail | {"text": "y"}]}),
        chunk({"content": "a"}, "stop"),
    )
    read = whole({"content": "a", "reasoning": "why", "reasoning_details": [detail]})
    assert fold(streamed) == fold(read)
    (piece,) = fold(read).choices[0].reasoning
    assert (piece.text, piece.seal) == ("why", ReasoningSeal("unknown"))


@pytest.mark.parametrize(
    "answer",
    [
        {"content": "a"},
        {"refusal": "no"},
        {"tool_calls": [part("f", "{}", index=0, id="x")]},
        {"function_call": {"name": "f"}},
    ],
)
def test_a_piece_of_reasoning_ends_before_whatever_answers(answer: dict[str, Any]) -> None:
    detail = {"type": "reasoning.text", "text": "why", "format": "f", "index": 0, "id": "r1"}
    thought = {"content": "", "reasoning": "why", "reasoning_details": [detail]}
    for events in (
        stream(chunk(thought), chunk(answer), chunk({}, "stop")),
        stream(chunk(thought | answer, "stop")),
        whole(thought | answer),
    ):
        assert events[1:3] == [ReasoningDelta("why"), ReasoningSeal("f", id="r1")]
        assert not any(isinstance(event, ReasoningSeal) for event in events[3:])


def test_reasoning_between_texts_ends_before_the_next_one_however_the_chunks_come() -> None:
    detail = {"type": "reasoning.text", "format": "f", "index": 0}
    chunks = [chunk({"content": text}) for text in "ab"]
    for at, why in enumerate(("one", "two")):
        chunks.append(chunk({"reasoning_details": [detail | {"text": why, "index": at}]}))
        chunks += [chunk({"content": text}) for text in "cdefgh"]
    chunks.append(chunk({}, "stop"))
    at_a_go = merge(stream(*chunks))
    assert [event.text if isinstance(event, TextDelta) else event for event in at_a_go[1:-1]] == [
        "ab",
        ReasoningDelta("one"),
        ReasoningSeal("f"),
        "cdefgh",
        ReasoningDelta("two"),
        ReasoningSeal("f"),
        "cdefgh",
    ]
    decoder = DIALECT.decoder()
    sent = (*(orjson.dumps(one) for one in chunks), b"[DONE]")
    one_by_one = [event for data in sent for event in decoder.feed(b"data: " + data + b"\n\n")]
    assert merge(one_by_one) == at_a_go


def test_summaries_and_pieces_stay_apart() -> None:
    details = [
        {"type": "reasoning.summary", "summary": "s1", "format": "f", "index": 0, "id": "r1"},
        {"type": "reasoning.text", "text": "t", "format": "f", "index": 1, "signature": "sig"},
        {"type": "reasoning.encrypted", "data": "zz", "format": "f", "index": 2},
        {"type": "reasoning.new", "index": 3},
    ]
    folded = fold(whole({"content": "a", "reasoning_details": details}))
    streamed = fold(
        stream(*(chunk({"reasoning_details": [one]}) for one in details), chunk({"content": "a"}, "stop"))
    )
    assert streamed == folded
    pieces = [(piece.kind, piece.text, piece.seal) for piece in folded.choices[0].reasoning]
    assert pieces == [
        ("summary", "s1", ReasoningSeal("f", id="r1")),
        ("text", "t", ReasoningSeal("f", "sig")),
        ("text", "", ReasoningSeal("f", encrypted="zz")),
    ]
    assert folded.choices[0].message_extra == {
        "reasoning_details.reasoning.new": '{"type":"reasoning.new","index":3}'
    }


def test_content_in_parts_is_read() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "why"}]},
        {"type": "text", "text": "a"},
        {"type": "reference", "reference_ids": [1]},
        {"type": "text", "text": "b"},
    ]
    events = whole({"content": parts})
    (choice,) = fold(events).choices
    assert choice.text == "ab"
    assert choice.reasoning[0].text == "why"
    assert choice.annotations == (OpaqueAnnotation("reference", '{"type":"reference","reference_ids":[1]}'),)


def test_log_probabilities_stand_with_their_text() -> None:
    token = {
        "token": "a",
        "logprob": -0.5,
        "bytes": [97],
        "top_logprobs": [{"token": "b", "logprob": -1, "bytes": None}],
    }
    events = whole({"content": "a"}, logprobs={"content": [token], "refusal": None})
    log = TokenLogprob("a", -0.5, (97,), (TopToken("b", -1),))
    assert events[1] == TextDelta("a", logprobs=(log,))
    # Half a character has a probability before it has a text.
    half = chunk({"content": ""})
    half["choices"][0]["logprobs"] = {"content": [token]}
    assert stream(half, chunk({"content": "a"}, "stop"))[1] == TextDelta("", logprobs=(log,))


def test_sources_keep_all_that_they_say() -> None:
    citation = {"url": "https://e.com", "title": "E", "start_index": 0, "end_index": 2}
    plain = {"type": "url_citation", "url_citation": citation}
    rich = {"type": "url_citation", "url_citation": citation | {"content": "more"}}
    events = stream(chunk({"content": "a"}), chunk({"annotations": [plain, rich]}, "stop"))
    assert events[2] == UrlCitation("https://e.com", "E", 0, 2)
    assert isinstance(events[3], OpaqueAnnotation)
    assert orjson.loads(events[3].json) == rich


def test_audio_is_streamed() -> None:
    events = stream(
        chunk({"audio": {"id": "au", "transcript": "Hi"}}),
        chunk({"audio": {"data": "AAAA"}}),
        chunk({"audio": {"expires_at": 9}}, "stop"),
    )
    assert fold(events).choices[0].audio == AudioDelta("AAAA", "Hi", "au", 9)
    read = whole({"content": None, "audio": {"id": "au", "transcript": "Hi", "data": "AAAA", "expires_at": 9}})
    assert fold(read).choices[0].audio == AudioDelta("AAAA", "Hi", "au", 9)


def test_nulls_everywhere_mean_absent() -> None:
    names = ("refusal", "tool_calls", "function_call", "reasoning", "reasoning_details", "annotations", "audio")
    events = whole({"content": "a"} | dict.fromkeys(names), logprobs=None, error=None)
    assert events[1:] == [TextDelta("a"), Finish(FinishReason.STOP, "stop")]
    empty = {"id": None, "created": None, "model": None, "choices": None, "usage": None, "error": None}
    assert stream(empty, chunk({"content": "a"}, "stop"))[0] == Start("a-1", "m", 5)


def test_a_second_finish_of_the_same_choice_is_not_repeated() -> None:
    events = stream(chunk({"content": "a"}, "stop"), chunk({}, "stop", usage={"prompt_tokens": 1}))
    assert sum(isinstance(event, Finish) for event in events) == 1


# Failures.


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"m"}}', "m"),
        (b'{"error":"m"}', "m"),
        (b'{"error":"short","message":"m"}', "m"),
        (b'{"message":"m"}', "m"),
        (b'{"detail":"m"}', "m"),
        (b'{"object":"error","message":"m","type":"BadRequestError","code":400}', "m"),
        (b'{"object":"error","message":{"detail":[{"loc":["body","x"],"msg":"m"}]},"code":null}', "x: m"),
        (b'[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}]', "m"),
        (b'{"errors":[{"message":"m"}]}', "m"),
        (b"m", "m"),
        (b"<html>m</html>", "the provider answered with status 400"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"7", "the provider answered with status 400"),
    ],
)
def test_an_error_body_is_read_in_every_form(body: bytes, message: str) -> None:
    found = DIALECT.classify(400, {}, body)
    assert found.message == message
    assert found.kind is FailureKind.INVALID_REQUEST


def test_a_providers_code_and_parameter_are_kept() -> None:
    body = {
        "error": {"message": "m", "code": "bad_thing", "param": "messages[0]", "type": "invalid_request_error"}
    }
    found = DIALECT.classify(400, {}, orjson.dumps(body))
    assert (found.code, found.param) == ("bad_thing", "messages[0]")
