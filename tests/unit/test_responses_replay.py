"""A stored response told as events once more: what a repeated request is answered with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from eurouter.v1 import response_object_pb2 as pb
from hypothesis import given, settings

from service.api.responses.include import ENCRYPTED
from service.api.responses.replay import Replay
from service.api.responses.writer import shown
from service.domain.events import (
    Event,
    Finish,
    FinishReason,
    OpaqueAnnotation,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
    TopToken,
    UrlCitation,
    Usage,
)
from service.wire import parse
from tests.support.response_events import START, STOP, answers, as_json, made, search, told, types
from tests.support.response_samples import ITEMS, RESPONSE
from tests.support.responses_schema import check_event
from tests.unit.test_responses_writer_laws import Gathered


def replayed(response: pb.Response) -> list[dict[str, Any]]:
    """All events, in the order in which a client reads them."""
    replay = Replay(response)
    events: list[dict[str, Any]] = []
    while batch := _next(replay):
        events += [as_json(event) for event in batch]
    return events


def _next(replay: Replay) -> Sequence[Any]:
    coroutine = replay.next()
    try:
        coroutine.send(None)
    except StopIteration as done:
        found: Sequence[Any] = done.value
        return found
    raise AssertionError("a replay waits for nobody")


@settings(max_examples=300, deadline=None)
@given(answers())
def test_the_events_add_up_to_the_response_and_end_with_it(events: list[Event]) -> None:
    for include in ((), (ENCRYPTED,)):
        response = shown(made(*events), include)
        read = replayed(response)
        assert [event["sequence_number"] for event in read] == list(range(len(read)))
        gathered = Gathered()
        for event in read:
            gathered.take(event)
        assert not gathered.open
        assert gathered.items == gathered.terminal["output"]
        assert gathered.terminal == as_json(response)


@settings(max_examples=60, deadline=None)
@given(answers(plain=True))
def test_every_event_is_as_the_published_descriptions_have_it(events: list[Event]) -> None:
    for event in replayed(shown(made(*events), ())):
        check_event(event)


def test_what_came_in_one_piece_each_is_replayed_event_by_event() -> None:
    events: tuple[Event, ...] = (
        START,
        ReasoningDelta("hm", kind="summary"),
        TextDelta("Hello", logprobs=(TokenLogprob("Hello", -0.5, (72,), (TopToken("Hi", -1.5),)),)),
        UrlCitation("https://a.example", "A", 0, 5),
        OpaqueAnnotation("file_citation", '{"type":"file_citation","file_id":"f","filename":"a.txt","index":1}'),
        ToolCallStart(0, "call-1", "tool"),
        ToolCallDelta(0, '{"a": 1}'),
        ToolCallStart(1, "call-2", "run", "custom"),
        ToolCallDelta(1, "free text"),
        STOP,
        Usage(3, 2, 5),
    )
    first, again = told(*events), replayed(shown(made(*events), (ENCRYPTED,)))
    # The model's name is known from the beginning.
    assert again[2:] == first[2:]


def test_an_item_that_has_no_deltas_is_told_as_begun_and_done() -> None:
    read = replayed(made(START, search("completed", done=True), STOP))
    assert types(read) == ["output_item.added", "output_item.done", "completed"]
    assert [event["item"]["status"] for event in read[2:4]] == ["in_progress", "completed"]


def test_any_item_of_the_api_can_be_replayed() -> None:
    for item in ITEMS:
        if item["type"] == "item_reference":
            continue
        read = replayed(parse(pb.Response, {**RESPONSE, "status": "completed", "output": [item]}))
        done = [event["item"] for event in read if event["type"] == "response.output_item.done"]
        assert done == read[-1]["response"]["output"], json.dumps(item)


def test_a_response_that_was_cut_short_ends_as_it_did() -> None:
    read = replayed(made(START, TextDelta("Hel"), Finish(FinishReason.LENGTH, "length")))
    assert read[-1]["type"] == "response.incomplete"
    assert read[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    begun = read[0]["response"]
    assert (begun["status"], begun["output"], begun["incomplete_details"]) == ("in_progress", [], None)
