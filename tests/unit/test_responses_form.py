"""The normal form of Responses exchanges forgives what it lists, and nothing else."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from service.domain.events import ReasoningDelta, Start, TextDelta, ToolCallDelta, ToolCallStart
from tests.support.normal_form import differences
from tests.support.response_events import STOP, as_json, streamed
from tests.support.responses_form import answer_form, echo_of, event_forms, fold_events, request_form

REQUEST: dict[str, Any] = {
    "model": "m",
    "input": [
        {"role": "user", "content": "hello"},
        {"type": "function_call_output", "call_id": "c", "output": "x"},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
}
EVENTS = [
    as_json(event)
    for event in streamed(
        [
            Start("i", "m"),
            ReasoningDelta("hm"),
            TextDelta("one "),
            TextDelta("two"),
            ToolCallStart(0, "c", "f"),
            ToolCallDelta(0, '{"a":'),
            ToolCallDelta(0, "1}"),
            STOP,
        ]
    )
]


def same(one: Any, other: Any) -> bool:
    return not list(differences(one, other))


@pytest.mark.parametrize(
    "sent",
    [
        {**REQUEST, "store": False},
        {**REQUEST, "stream": False, "temperature": None, "include": ["reasoning.encrypted_content"]},
        {**REQUEST, "tools": [{**REQUEST["tools"][0], "strict": None}]},
        {**REQUEST, "input": [{"type": "message", **REQUEST["input"][0]}, {**REQUEST["input"][1], "id": "fco_1"}]},
        {
            **REQUEST,
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
                {**REQUEST["input"][1], "status": "completed"},
            ],
        },
    ],
)
def test_a_listed_difference_of_requests_is_none(sent: dict[str, Any]) -> None:
    assert same(request_form(REQUEST), request_form(sent))


@pytest.mark.parametrize(
    "sent",
    [
        {**REQUEST, "temperature": 0.0},
        {**REQUEST, "include": ["message.output_text.logprobs"]},
        {**REQUEST, "tools": [{**REQUEST["tools"][0], "strict": True}]},
        {**REQUEST, "tools": [{**REQUEST["tools"][0], "strict": False}]},
        {**REQUEST, "tools": [{**REQUEST["tools"][0], "parameters": {"type": "object", "x": None}}]},
        {**REQUEST, "input": REQUEST["input"][::-1]},
        {**REQUEST, "input": [REQUEST["input"][0], {**REQUEST["input"][1], "call_id": "d"}]},
        {**REQUEST, "input": "hello"},
    ],
)
def test_any_other_difference_of_requests_is_one(sent: dict[str, Any]) -> None:
    assert not same(request_form(REQUEST), request_form(sent))


def test_ids_times_and_padding_make_no_difference_between_streams() -> None:
    other = deepcopy(EVENTS)
    for event in other:
        event["obfuscation"] = "xyz"
        event["sequence_number"] += 1
        if "response" in event:
            event["response"] |= {"id": "resp_other", "created_at": 1, "store": False, "temperature": 0.3}
        if "item_id" in event:
            event["item_id"] = "other"
    assert same(event_forms(EVENTS, REQUEST), event_forms(other, REQUEST))


def test_pieces_of_one_text_may_be_cut_otherwise() -> None:
    at = next(at for at, event in enumerate(EVENTS) if event["type"] == "response.output_text.delta")
    joined = {**EVENTS[at], "delta": "one two"}
    assert same(event_forms(EVENTS, REQUEST), event_forms([*EVENTS[:at], joined, *EVENTS[at + 2 :]], REQUEST))


@pytest.mark.parametrize("at", range(len(EVENTS)))
def test_no_event_may_be_missing_or_stand_elsewhere(at: int) -> None:
    forms = event_forms(EVENTS, REQUEST)
    assert not same(forms, event_forms(EVENTS[:at] + EVENTS[at + 1 :], REQUEST))
    if at + 1 < len(EVENTS):
        swapped = [*EVENTS[:at], EVENTS[at + 1], EVENTS[at], *EVENTS[at + 2 :]]
        assert not same(forms, event_forms(swapped, REQUEST))


def test_deltas_fold_to_the_items_without_any_event_that_repeats_them() -> None:
    wholes = (".done", ".completed")
    folded = fold_events(event for event in EVENTS if not event["type"].endswith(wholes))
    assert [item["type"] for item in folded] == ["reasoning", "message", "function_call"]
    reasoning, message, call = folded
    assert reasoning["content"][0]["text"] == "hm"
    assert message["content"][0]["text"] == "one two"
    assert call["arguments"] == '{"a":1}'


def test_an_answer_may_differ_in_what_is_ours_only() -> None:
    answer = EVENTS[-1]["response"]
    form = answer_form(answer, REQUEST)
    assert same(
        form, answer_form({**answer, "id": "x", "temperature": 0.1, "tools": [], "completed_at": 1}, REQUEST)
    )
    changes: list[dict[str, Any]] = [{"status": "failed"}, {"model": "n"}, {"output": answer["output"][1:]}]
    for change in changes:
        assert not same(form, answer_form({**answer, **change}, REQUEST))


def test_an_echo_may_say_more_than_was_asked_for_and_nothing_else() -> None:
    asked = {"temperature": 0.5, "text": {"format": {"type": "text"}}, "tools": REQUEST["tools"]}
    told = {**asked, "text": {**asked["text"], "verbosity": "medium"}, "top_p": 1.0}
    assert same(*echo_of(asked, told))
    assert not same(*echo_of(asked, {**told, "temperature": 0.6}))
    assert not same(*echo_of(asked, {key: value for key, value in told.items() if key != "tools"}))
