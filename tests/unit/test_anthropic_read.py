"""What comes back from Anthropic's Messages API: the rules, and recorded answers."""

from __future__ import annotations

import json
from typing import Any, get_args

import pydantic
import pytest
from anthropic.types import Message, RawMessageStreamEvent, StopReason

from adapters.providers.anthropic import DIALECT
from adapters.providers.anthropic.answer import STOP_REASONS
from adapters.providers.anthropic.messages import FORMAT
from adapters.providers.sse import SseParser
from service.domain.events import (
    VISIBLE,
    Event,
    FinishReason,
    OpaqueAnnotation,
    ReasoningSeal,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    UrlCitation,
    Usage,
)
from service.domain.failure import FailureKind, UpstreamError
from service.domain.fold import fold
from tests.contract.answers import ANSWERS
from tests.contract.anthropic import SAMPLE
from tests.contract.sample import decode

USAGE = {"input_tokens": 10, "output_tokens": 5}
MINE = [case for case in ANSWERS if case not in SAMPLE.lacks]


def message(*content: dict[str, Any], **more: Any) -> bytes:
    document = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
    }
    return json.dumps(document | more).encode()


def start(**usage: Any) -> dict[str, Any]:
    return {"type": "message_start", "message": json.loads(message(stop_reason=None, usage=USAGE | usage))}


def opens(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **more}}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ends(reason: str | None = "end_turn", **usage: Any) -> list[dict[str, Any]]:
    last: dict[str, Any] = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}}
    if usage:
        last["usage"] = usage
    return [last, {"type": "message_stop"}]


def streamed(*events: dict[str, Any]) -> list[Event]:
    text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return decode(DIALECT, [text.encode()])


def usage_so_far(*events: dict[str, Any]) -> Usage:
    decoder = DIALECT.decoder()
    text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return usage_in(decoder.feed(text.encode()))


def usage_in(events: list[Event]) -> Usage:
    """The one that holds: a later one replaces an earlier."""
    return [event for event in events if isinstance(event, Usage)][-1]


def test_every_stop_reason_that_the_client_knows_is_mapped() -> None:
    assert set(get_args(StopReason)) == set(STOP_REASONS)


@pytest.mark.parametrize("reason", ["compacted_by_martians", None])
def test_an_unknown_stop_reason_does_not_fail_the_call(reason: str | None) -> None:
    for events in (DIALECT.read(message(stop_reason=reason)), streamed(start(), *ends(reason))):
        finish = fold(events).choices[0].finish
        assert finish is not None
        assert (finish.reason, finish.raw) == (FinishReason.STOP, reason or "")
        told = {"native_finish_reason": f'"{reason}"'} if reason else None
        assert fold(events).choices[0].extra == told


def test_our_input_tokens_include_cache_reads_and_writes() -> None:
    counts = USAGE | {"cache_read_input_tokens": 100, "cache_creation_input_tokens": 20}
    usage = usage_in(list(DIALECT.read(message(usage=counts))))
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (130, 5, 135)
    assert (usage.cached_tokens, usage.cache_write_tokens) == (100, 20)


def test_usage_in_a_stream_is_set_and_not_added_and_silence_does_not_zero_it() -> None:
    deltas: list[dict[str, Any]] = [
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 42}},
        {"type": "message_delta", "delta": {}},
        {"type": "message_delta", "delta": {}, "usage": {"input_tokens": None}},
        {"type": "message_stop"},
    ]
    usage = usage_in(streamed(start(cache_read_input_tokens=7), *deltas))
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (17, 42, 7)


def test_what_a_stream_has_counted_is_told_before_its_end_for_callers_who_leave() -> None:
    begun = [start(cache_read_input_tokens=7), opens(0, type="text", text=""), delta(0, "text_delta", text="Hi")]
    told = usage_so_far(*begun)
    assert (told.input_tokens, told.output_tokens, told.cached_tokens) == (17, 5, 7)
    told = usage_so_far(*begun, ends(output_tokens=42)[0])
    assert (told.input_tokens, told.output_tokens, told.cached_tokens) == (17, 42, 7)


def test_a_stream_that_counts_nothing_tells_no_usage() -> None:
    uncounted = start()
    del uncounted["message"]["usage"]
    assert not [event for event in streamed(uncounted, *ends()) if isinstance(event, Usage)]


def test_thinking_tokens_are_reasoning_tokens() -> None:
    events = streamed(start(), *ends(output_tokens=9, output_tokens_details={"thinking_tokens": 4}))
    assert usage_in(events).reasoning_tokens == 4


def test_the_empty_input_of_a_tools_start_is_no_argument_text() -> None:
    tool = opens(0, type="tool_use", id="t1", name="f", input={})
    pieces = [delta(0, "input_json_delta", partial_json=text) for text in ("", '{"a"', ":1}")]
    events = streamed(start(), tool, *pieces, stop(0), *ends("tool_use"))
    assert [event.arguments for event in events if isinstance(event, ToolCallDelta)] == ['{"a"', ":1}"]


def test_a_tool_without_any_argument_text_has_the_empty_object() -> None:
    events = streamed(start(), opens(0, type="tool_use", id="t1", name="f", input={}), stop(0), *ends("tool_use"))
    assert [event.arguments for event in events if isinstance(event, ToolCallDelta)] == ["{}"]


def test_tool_calls_are_counted_by_themselves_and_not_by_the_blocks_around_them() -> None:
    events = streamed(
        start(),
        opens(0, type="text", text=""),
        delta(0, "text_delta", text="Hm."),
        stop(0),
        opens(1, type="tool_use", id="t1", name="f", input={}),
        stop(1),
        opens(2, type="server_tool_use", id="s1", name="web_search", input={}),
        delta(2, "input_json_delta", partial_json='{"query":1}'),
        stop(2),
        opens(3, type="tool_use", id="t2", name="g", input={}),
        stop(3),
        *ends("tool_use"),
    )
    started = [event for event in events if isinstance(event, ToolCallStart)]
    assert [(event.index, event.id) for event in started] == [(0, "t1"), (1, "t2")]
    assert [event.arguments for event in events if isinstance(event, ToolCallDelta)] == ["{}", "{}"]


UNTOLD = (
    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "a"}},
    {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
    {"type": "container_upload", "file_id": "file_1"},
    {"type": "hologram", "text": "no text of ours", "thinking": "none", "input": {}},
)


@pytest.mark.parametrize("block", UNTOLD, ids=lambda block: str(block["type"]))
def test_blocks_of_anthropics_own_tools_and_of_kinds_to_come_say_nothing(block: dict[str, Any]) -> None:
    text = {"type": "text", "text": "Hm."}
    whole = fold(DIALECT.read(message(content=[block, text, block])))
    stream = fold(
        streamed(
            start(),
            opens(0, **block),
            delta(0, "input_json_delta", partial_json='{"a":1}'),
            delta(0, "hologram_delta", hologram="x"),
            stop(0),
            opens(1, type="text", text=""),
            delta(1, "text_delta", text="Hm."),
            stop(1),
            *ends(),
        )
    )
    assert whole.choices == stream.choices
    (choice,) = whole.choices
    assert (choice.text, choice.calls, choice.reasoning, choice.items) == ("Hm.", (), (), ())


def test_a_paused_turn_is_a_stop_that_says_what_it_is() -> None:
    for events in (DIALECT.read(message(stop_reason="pause_turn")), streamed(start(), *ends("pause_turn"))):
        finish = fold(events).choices[0].finish
        assert finish is not None
        assert (finish.reason, finish.raw) == (FinishReason.STOP, "pause_turn")


def test_redacted_thinking_keeps_its_place_between_pieces_that_can_be_read() -> None:
    content = [
        {"type": "thinking", "thinking": "One.", "signature": "MQ=="},
        {"type": "redacted_thinking", "data": "Mg=="},
        {"type": "thinking", "thinking": "Three.", "signature": "Mw=="},
        {"type": "text", "text": "Done."},
    ]
    first, second, third = fold(DIALECT.read(message(content=content))).choices[0].reasoning
    assert (first.text, first.seal) == ("One.", ReasoningSeal(FORMAT, signature="MQ=="))
    assert (second.text, second.seal) == ("", ReasoningSeal(FORMAT, encrypted="Mg=="))
    assert (third.text, third.seal) == ("Three.", ReasoningSeal(FORMAT, signature="Mw=="))


def test_cache_writes_are_told_by_their_lifetime_where_there_are_any() -> None:
    lifetimes = {"ephemeral_5m_input_tokens": 15, "ephemeral_1h_input_tokens": 5}
    counts = USAGE | {"cache_creation_input_tokens": 20, "cache_creation": lifetimes}
    for events in (list(DIALECT.read(message(usage=counts))), streamed(start(**counts), *ends())):
        usage = usage_in(events)
        assert usage.cache_write_tokens == 20
        ((name, told),) = usage.extra
        assert (name, json.loads(told)) == ("cache_creation", lifetimes)
    none = USAGE | {"cache_creation": dict.fromkeys(lifetimes, 0)}
    assert usage_in(list(DIALECT.read(message(usage=none)))).extra == ()


def test_a_signature_seals_the_thinking_before_it_even_when_its_text_is_withheld() -> None:
    events = streamed(
        start(),
        opens(0, type="thinking", thinking="", signature=""),
        delta(0, "signature_delta", signature="c2l"),
        delta(0, "signature_delta", signature="n"),
        stop(0),
        opens(1, type="redacted_thinking", data="ZGF0YQ=="),
        stop(1),
        *ends(),
    )
    seals = [event for event in events if isinstance(event, ReasoningSeal)]
    assert seals == [ReasoningSeal(FORMAT, signature="c2ln"), ReasoningSeal(FORMAT, encrypted="ZGF0YQ==")]


def test_a_ping_and_events_of_kinds_to_come_say_nothing() -> None:
    plain = streamed(start(), *ends())
    noisy = streamed({"type": "ping"}, start(), {"type": "ping"}, {"type": "message_fanfare", "x": 1}, *ends())
    assert noisy == plain


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", FailureKind.OVERLOADED),
        ("rate_limit_error", FailureKind.RATE_LIMITED),
        ("api_error", FailureKind.SERVER_ERROR),
        ("invalid_request_error", FailureKind.INVALID_REQUEST),
        ("error_of_tomorrow", FailureKind.SERVER_ERROR),
    ],
)
def test_an_error_event_after_status_200_is_that_error(kind: str, expected: FailureKind) -> None:
    with pytest.raises(UpstreamError) as caught:
        streamed(start(), {"type": "error", "error": {"type": kind, "message": "Oh no"}})
    failure = caught.value.failure
    assert (failure.kind, failure.message, failure.code) == (expected, "Oh no", kind)


def test_a_start_alone_commits_to_nothing() -> None:
    decoder = DIALECT.decoder()
    data = "".join(
        f"data: {json.dumps(event)}\n\n" for event in (start(), {"type": "ping"}, opens(0, type="text", text=""))
    )
    assert not any(isinstance(event, VISIBLE) for event in decoder.feed(data.encode()))


def test_a_block_that_a_look_alike_forgets_to_end_ends_with_the_next_or_the_message() -> None:
    events = streamed(
        start(),
        opens(0, type="tool_use", id="t1", name="f", input={}),
        opens(1, type="tool_use", id="t2", name="g", input={}),
        *ends("tool_use"),
    )
    assert [call.arguments for call in fold(events).choices[0].calls] == ["{}", "{}"]


def test_an_answer_without_any_content_is_an_empty_text() -> None:
    for events in (DIALECT.read(message()), streamed(start(), *ends())):
        assert fold(events).choices[0].text == ""


def test_citations_span_the_text_block_that_they_belong_to() -> None:
    web = {
        "type": "web_search_result_location",
        "url": "https://example.com",
        "title": "E",
        "cited_text": "x",
        "encrypted_index": "i",
    }
    page = {
        "type": "page_location",
        "cited_text": "x",
        "document_index": 0,
        "document_title": None,
        "start_page_number": 1,
        "end_page_number": 2,
    }
    content = ({"type": "text", "text": "One. "}, {"type": "text", "text": "Two.", "citations": [web, page]})
    whole = DIALECT.read(message(*content))
    stream = streamed(
        start(),
        opens(0, type="text", text=""),
        delta(0, "text_delta", text="One. "),
        stop(0),
        opens(1, type="text", text="", citations=[]),
        delta(1, "citations_delta", citation=web),
        delta(1, "text_delta", text="Tw"),
        delta(1, "citations_delta", citation=page),
        delta(1, "text_delta", text="o."),
        stop(1),
        *ends(),
    )
    first, second = fold(whole).choices[0].annotations
    assert first == UrlCitation("https://example.com", "E", 5, 9)
    assert isinstance(second, OpaqueAnnotation)
    assert second.type == "page_location"
    assert fold(stream).choices == fold(whole).choices


def test_a_text_delta_is_one_event() -> None:
    events = streamed(start(), opens(0, type="text", text=""), delta(0, "text_delta", text="Hi"), stop(0), *ends())
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Hi"]


@pytest.mark.parametrize("case", MINE)
def test_our_golden_answers_are_what_anthropics_own_client_reads(case: str) -> None:
    Message.model_validate_json(SAMPLE.answer(case))
    adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(RawMessageStreamEvent)
    parser = SseParser()
    for event in parser.feed(SAMPLE.stream(case)) + parser.end():
        if json.loads(event.data)["type"] != "ping":
            adapter.validate_json(event.data)
