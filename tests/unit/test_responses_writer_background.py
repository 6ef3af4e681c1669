"""The events of a response that waits for a worker, and those of its workers."""

from __future__ import annotations

from typing import Any

from eurouter.v1 import response_events_pb2 as events_pb
from eurouter.v1 import response_object_pb2 as pb
from hypothesis import given

from service.api.responses.writer import ResponseWriter
from service.domain.events import Event, TextDelta, ToolCallDelta, ToolCallStart
from tests.support.response_events import CALLS, NOW, START, answers, as_json, blank, made
from tests.support.responses_schema import check_event


def worker(first: int, **options: Any) -> ResponseWriter:
    return ResponseWriter(
        blank(), first_position=1, clock=lambda: NOW + 0.9, show_encrypted=True, first_number=first, **options
    )


def arms(events: list[events_pb.ResponseStreamEvent]) -> list[str]:
    return [str(event.WhichOneof("event")) for event in events]


def test_an_accepted_response_is_created_and_queued() -> None:
    events = worker(0).accepted()
    assert arms(events) == ["created", "queued"]
    assert [event.sequence_number for event in events] == [0, 1]
    for event in events:
        check_event(as_json(event))
    assert events[1].queued.response.status == pb.RESPONSE_STATUS_QUEUED


def test_a_worker_goes_on_with_the_numbers_and_says_when_readers_must_start_over() -> None:
    first = worker(2).resume(restarted=False)
    assert [(arm, event.sequence_number) for arm, event in zip(arms(first), first, strict=True)] == [
        ("in_progress", 2)
    ]
    assert worker(3).resume(restarted=False) == [], "that work is in progress is told once, however often it waits"
    again = worker(9).resume(restarted=True)
    assert arms(again) == ["restarted", "in_progress"]
    assert [event.sequence_number for event in again] == [9, 10]
    assert again[0].restarted.response.status == pb.RESPONSE_STATUS_IN_PROGRESS


def test_with_items_only_nothing_is_told_of_what_happens_within_them() -> None:
    writer = worker(2, detail="items")
    writer.resume(restarted=False)
    call = (ToolCallStart(0, "call_1", "tool"), ToolCallDelta(0, '{"a"'), ToolCallDelta(0, ":1}"))
    told = writer.write([START, TextDelta("Hel"), TextDelta("lo"), *call, CALLS])
    told += writer.finish()
    assert arms(told) == ["output_item_added", "output_item_done"] * 2
    assert [event.sequence_number for event in told] == [3, 4, 5, 6]
    assert told[1].output_item_done.item.message.content[0].output_text.text == "Hello"
    assert writer.terminal().sequence_number == 7


@given(answers())
def test_whatever_an_answer_holds_its_items_are_those_of_the_whole_answer(events: list[Event]) -> None:
    writer = worker(0, detail="items")
    told = [event for one in events for event in writer.write([one])]
    told += writer.finish()
    assert set(arms(told)) <= {"output_item_added", "output_item_done"}
    assert [event.sequence_number for event in told] == list(range(len(told)))
    assert writer.response == made(*events)
