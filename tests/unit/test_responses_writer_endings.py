"""How a response ends: whole, cut, failed, by a value that does not fit; and what stands beside its output."""

from __future__ import annotations

import json
from decimal import Decimal

import orjson
import pytest
from eurouter.v1 import response_events_pb2 as events_pb
from eurouter.v1 import response_object_pb2 as pb

from service.domain.events import (
    AudioDelta,
    Event,
    Extra,
    Finish,
    FinishReason,
    MessageStart,
    OpaqueItem,
    ReasoningDelta,
    RefusalDelta,
    Start,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    UrlCitation,
    Usage,
)
from service.domain.money import Cost
from service.wire import render_bytes
from tests.support.response_events import (
    CALLS,
    DIGITS,
    RESPONSE_ID,
    START,
    STOP,
    as_json,
    made,
    search,
    streamed,
    told,
    types,
    writer,
)
from tests.support.responses_schema import check_event, check_response


def test_a_fragment_after_whole_arguments_is_an_error_unless_it_is_blank() -> None:
    call: list[Event] = [START, ToolCallStart(0, "c", "f"), ToolCallDelta(0, "{}"), TextDelta("x")]
    made(*call, ToolCallDelta(0, "\n"), CALLS)
    with pytest.raises(ValueError, match="after its end"):
        made(*call, ToolCallDelta(0, "{}"), CALLS)


def test_audio_has_events_and_stands_among_the_extra_fields() -> None:
    events = streamed([START, AudioDelta("AAAA", "he", "audio-1"), AudioDelta("BBBB", "y", None, 17), STOP])
    assert [event.WhichOneof("event") for event in events[2:]] == [
        "audio_delta",
        "audio_transcript_delta",
        "audio_delta",
        "audio_transcript_delta",
        "audio_done",
        "audio_transcript_done",
        "completed",
    ]
    for event in events[2:-1]:
        check_event(as_json(event))
    assert json.loads(events[-1].completed.response.extra["audio"]) == {
        "id": "audio-1",
        "expires_at": 17,
        "data": "AAAABBBB",
        "transcript": "hey",
    }


@pytest.mark.parametrize(
    ("reason", "why"),
    [(FinishReason.LENGTH, "max_output_tokens"), (FinishReason.CONTENT_FILTER, "content_filter")],
)
def test_an_answer_that_was_cut_is_incomplete_and_so_is_what_was_open(reason: FinishReason, why: str) -> None:
    events = told(START, ReasoningDelta("hm", 0, "summary"), TextDelta("Hel"), Finish(reason), Usage(1, 2, 3))
    assert types(events)[-1] == "incomplete"
    response = events[-1]["response"]
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": why})
    assert response["completed_at"] is None
    assert response["usage"]["total_tokens"] == 3
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]


def test_a_summary_that_was_cut_says_so() -> None:
    events = told(START, ReasoningDelta("hm", 0, "summary"), Finish(FinishReason.LENGTH))
    (done,) = [e for e in events if e["type"] == "response.reasoning_summary_part.done"]
    assert done["status"] == "incomplete"


def test_an_answer_that_its_provider_ended_with_an_error_has_failed() -> None:
    events = told(START, TextDelta("Hel"), Finish(FinishReason.ERROR, "error"))
    response = events[-1]["response"]
    assert types(events)[-1] == response["status"] == "failed"
    assert response["error"]["code"] == "server_error"
    assert response["output"][0]["status"] == "incomplete"


def test_a_failure_closes_what_is_open_and_shows_the_rest() -> None:
    writing = writer()
    events = writing.begin()
    events += writing.write([START, TextDelta("done"), search("searching", done=False)])
    events += writing.write([ToolCallStart(0, "c", "f"), ToolCallDelta(0, '{"a')])
    events += writing.write([ToolCallStart(1, "d", "apply_patch", "apply_patch")])
    events += [*writing.fail("rate_limit_exceeded", "Too many."), writing.terminal()]
    read = [as_json(event) for event in events]
    for event in read:
        check_event(event)
    assert [event["sequence_number"] for event in read] == list(range(len(read)))
    response = read[-1]["response"]
    assert (read[-1]["type"], response["status"]) == ("response.failed", "failed")
    assert response["error"] == {"code": "rate_limit_exceeded", "message": "Too many."}
    assert [item["status"] for item in response["output"]] == ["completed", "failed", "incomplete", "in_progress"]
    assert response["output"][2]["arguments"] == '{"a'


def test_a_failure_after_the_end_leaves_no_word_of_completion() -> None:
    writing = writer()
    writing.write([START, TextDelta("Hi"), Finish(FinishReason.LENGTH)])
    writing.finish()
    assert not writing.fail("server_error", "It broke.")
    check_response(as_json(writing.response))
    assert writing.response.status == pb.RESPONSE_STATUS_FAILED
    assert not writing.response.HasField("incomplete_details")
    assert len(writing.response.output) == 1


def test_after_a_value_that_does_not_fit_the_events_before_it_are_still_given() -> None:
    writing = writer()
    events = writing.begin()
    with pytest.raises(ValueError, match=r"."):
        writing.write([START, TextDelta("Hi"), TextDelta("\ud800")])
    events += [*writing.fail("server_error", "It broke."), writing.terminal()]
    read = [as_json(event) for event in events]
    assert [event["sequence_number"] for event in read] == list(range(len(read)))
    assert types(read)[:3] == ["output_item.added", "content_part.added", "output_text.delta"]
    assert read[-1]["response"]["output"][0]["content"][0]["text"] == "Hi"


@pytest.mark.parametrize(
    "bad",
    [
        Usage(2**31, 0, 0),
        UrlCitation("u", "t", 2**31, 0),
        Extra("answer", (("a", "\ud800"),)),
        AudioDelta("", "\ud800"),
        ReasoningDelta("\ud800"),
        RefusalDelta("\ud800"),
        TextDelta("x", 1),
        ToolCallStart(0, "\ud800", "f"),
        MessageStart("\ud800"),
        OpaqueItem(0, "openai_responses", "x", '{"a":' * 300 + "1" + "}" * 300),
    ],
)
def test_values_that_do_not_fit_raise_in_both_ways_and_leave_a_response_that_can_fail(bad: Event) -> None:
    with pytest.raises(ValueError, match=r"."):
        made(START, TextDelta("Hi"), bad)
    writing = writer()
    events = writing.begin()
    with pytest.raises(ValueError, match=r"."):
        writing.write([START, TextDelta("Hi"), bad])
    events += [*writing.fail("server_error", "It broke."), writing.terminal()]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    for event in events:
        check_event(as_json(event))


def test_an_error_is_the_next_event() -> None:
    writing = writer()
    count = len(writing.begin()) + len(writing.write([START, TextDelta("Hi")])) + len(writing.finish())
    error = as_json(writing.error("not_stored", "The response could not be stored."))
    check_event(error)
    assert error == {
        "type": "error",
        "sequence_number": count,
        "code": "not_stored",
        "message": "The response could not be stored.",
        "param": None,
    }


def test_positions_go_on_from_the_requests_own_items() -> None:
    writing = writer(position=254)
    writing.write([START, ReasoningDelta("a"), TextDelta("b"), ToolCallStart(0, "c", "f"), STOP])
    writing.finish()
    ids = [as_json(writing.response)["output"][at]["id"] for at in range(3)]
    assert ids == [f"rs_{DIGITS}00fe", f"msg_{DIGITS}00ff", f"fc_{DIGITS}0100"]


def test_more_items_than_ids_have_room_for_are_an_error() -> None:
    writing = writer(position=0xFFFF)
    writing.write([TextDelta("the last one")])
    with pytest.raises(ValueError, match="more than 65536 items"):
        writing.write([ReasoningDelta("one too many")])


def test_what_the_answer_adds_stands_in_the_response_and_never_in_place_of_our_fields() -> None:
    extra = Extra("answer", (("billing", '{"payer":"x"}'), ("id", '"theirs"'), ("moderation", '{"input":{}}')))
    beside = Extra("choice", (("native_finish_reason", '"eos"'),))
    answer = made(START, extra, beside, TextDelta("Hi"), STOP)
    assert dict(answer.extra) == {"billing": '{"payer":"x"}'}
    assert (answer.id, answer.moderation) == (RESPONSE_ID, '{"input":{}}')


def test_counts_without_a_place_stand_beside_the_usage() -> None:
    details = (("prompt.video_tokens", 5), ("completion.rejected_prediction_tokens", 0))
    used = Usage(1, 2, 3, cache_write_tokens=4, details=details, extra=(("spent", "0.1"),))
    usage = made(START, TextDelta("Hi"), STOP, used).usage
    assert dict(usage.extra) == {"prompt_video_tokens": "5", "spent": "0.1"}
    assert usage.input_tokens_details.cache_write_tokens == 4


def test_the_parts_of_the_tokens_stand_in_their_details_and_the_cost_beside_them() -> None:
    audio = (("prompt.audio_tokens", 5), ("completion.audio_tokens", 6))
    cost = Cost(Decimal("0.00001250"), "EUR")
    used = Usage(30, 20, 50, cached_tokens=1, cache_write_tokens=2, reasoning_tokens=3, details=audio, cost=cost)
    shown = render_bytes(made(START, TextDelta("Hi"), STOP, used).usage)
    assert shown.count(b'"cost":0.0000125,') == 1
    assert orjson.loads(shown) == {
        "input_tokens": 30,
        "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 2, "audio_tokens": 5},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 6},
        "total_tokens": 50,
        "cost": 0.0000125,
        "currency": "EUR",
    }


def test_a_cost_that_the_provider_states_never_passes_for_ours() -> None:
    theirs = (("cost", "0.7"), ("currency", '"USD"'))
    usage = made(START, TextDelta("Hi"), STOP, Usage(1, 2, 3, extra=theirs)).usage
    assert not usage.HasField("cost")
    assert not usage.HasField("currency")
    assert not usage.extra


def test_a_later_start_changes_nothing_and_a_later_usage_counts() -> None:
    answer = made(
        START, Usage(1, 1, 2), TextDelta("Hi"), Start("x", "other", 3, None, "auto"), STOP, Usage(1, 9, 10)
    )
    assert (answer.model, answer.service_tier, answer.usage.total_tokens) == ("model-1", "flex", 10)


def test_the_quick_way_for_a_lone_text_tells_the_same() -> None:
    batches: list[list[Event]] = [
        [START],
        [TextDelta("a")],
        [TextDelta("b")],
        [TextDelta("c"), TextDelta("d")],
        [TextDelta("e"), STOP],
    ]
    writing = writer()
    events: list[events_pb.ResponseStreamEvent] = writing.begin()
    for batch in batches:
        events += writing.write(batch)
    events += [*writing.finish(), writing.terminal()]
    flat = streamed([event for batch in batches for event in batch], batches=[9])
    assert [render_bytes(event) for event in events] == [render_bytes(event) for event in flat]
