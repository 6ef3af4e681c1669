"""Events of a response: calls of tools, and items that a provider made by itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.domain.events import (
    Event,
    Finish,
    FinishReason,
    OpaqueItem,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
)
from tests.support.response_events import (
    CALLS,
    START,
    STOP,
    as_json,
    made,
    news,
    place,
    search,
    told,
    types,
)


def test_calls_one_after_the_other_end_one_after_the_other() -> None:
    events = told(
        START,
        ToolCallStart(0, "call-a", "f"),
        ToolCallDelta(0, '{"a":'),
        ToolCallDelta(0, "1}"),
        ToolCallStart(1, "call-b", "g"),
        ToolCallDelta(1, "{}"),
        CALLS,
    )
    one = ["function_call_arguments.done", "output_item.done"]
    delta = "function_call_arguments.delta"
    assert types(events) == [
        "output_item.added",
        delta,
        delta,
        *one,
        "output_item.added",
        delta,
        *one,
        "completed",
    ]
    first, second = events[-1]["response"]["output"]
    assert first == {
        "type": "function_call",
        "id": f"fc_{place(1)}",
        "call_id": "call-a",
        "name": "f",
        "arguments": '{"a":1}',
        "status": "completed",
    }
    assert (second["call_id"], second["arguments"]) == ("call-b", "{}")
    done = [event for event in events if event["type"].endswith("arguments.done")]
    assert [(event["name"], event["arguments"]) for event in done] == [("f", '{"a":1}'), ("g", "{}")]


def test_parallel_calls_may_come_in_turns_and_end_in_order() -> None:
    events = told(
        START,
        ToolCallStart(0, "call-a", "f"),
        ToolCallStart(1, "call-b", "g"),
        ToolCallDelta(1, "{"),
        ToolCallDelta(0, "["),
        ToolCallDelta(1, "}"),
        ToolCallDelta(0, "]"),
        CALLS,
    )
    assert [(name, e["output_index"]) for name, e in zip(types(events), events[2:-1], strict=False)] == [
        ("output_item.added", 0),
        ("output_item.added", 1),
        ("function_call_arguments.delta", 1),
        ("function_call_arguments.delta", 0),
        ("function_call_arguments.delta", 1),
        ("function_call_arguments.delta", 0),
        ("function_call_arguments.done", 0),
        ("output_item.done", 0),
        ("function_call_arguments.done", 1),
        ("output_item.done", 1),
    ]


def test_text_between_the_fragments_of_a_call_is_a_message_after_it() -> None:
    events: list[Event] = [
        ToolCallStart(0, "c", "f"),
        ToolCallDelta(0, '{"a"'),
        TextDelta("\n"),
        ToolCallDelta(0, ":1}"),
    ]
    answer = made(START, TextDelta("Let me see"), *events, CALLS)
    assert [item.WhichOneof("item") for item in answer.output] == ["message", "function_call", "message"]
    assert answer.output[1].function_call.arguments == '{"a":1}'


def test_an_unknown_or_twice_begun_call_is_an_error() -> None:
    with pytest.raises(ValueError, match="never started"):
        made(START, ToolCallDelta(3, "{}"))
    with pytest.raises(ValueError, match="begins twice"):
        made(START, ToolCallStart(0, "c", "f"), ToolCallStart(0, "c", "f"))


def test_a_custom_call_tells_its_input() -> None:
    events = told(
        START, ToolCallStart(0, "c", "sql", "custom"), ToolCallDelta(0, "select "), ToolCallDelta(0, "1")
    )
    assert types(events) == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
        "completed",
    ]
    assert events[-1]["response"]["output"][0] == {
        "type": "custom_tool_call",
        "id": f"ctc_{place(1)}",
        "call_id": "c",
        "name": "sql",
        "input": "select 1",
        "status": "completed",
    }


@pytest.mark.parametrize(
    ("kind", "prefix", "name", "action"),
    [
        ("local_shell", "lsh", "action", {"type": "exec", "command": ["ls"], "env": {}}),
        ("shell", "sh", "action", {"commands": ["ls"], "timeout_ms": None, "max_output_length": None}),
        ("apply_patch", "apc", "operation", {"type": "create_file", "path": "a", "diff": "+x"}),
    ],
)
def test_a_local_call_begins_and_ends_with_its_whole_action(
    kind: Any, prefix: str, name: str, action: dict[str, Any]
) -> None:
    text = json.dumps(action)
    events = told(START, ToolCallStart(0, "c", kind, kind), ToolCallDelta(0, text[:9]), ToolCallDelta(0, text[9:]))
    assert types(events) == ["output_item.added", "output_item.done", "completed"]
    assert [events[2]["item"]["status"], events[3]["item"]["status"]] == ["in_progress", "completed"]
    for event in events[2:4]:
        assert event["item"]["id"] == f"{prefix}_{place(1)}"
        assert event["item"][name] == action


@pytest.mark.parametrize("kind", ["local_shell", "shell", "apply_patch"])
def test_items_are_announced_in_order_even_when_a_local_call_is_not_known_yet(kind: Any) -> None:
    whole_action = '{"type":"delete_file","path":"a"}' if kind == "apply_patch" else None
    whole_action = (
        whole_action
        or {
            "local_shell": '{"type":"exec","command":["ls"],"env":{}}',
            "shell": '{"commands":["ls"],"timeout_ms":1,"max_output_length":null}',
        }[str(kind)]
    )
    events = told(
        START,
        ToolCallStart(0, "c", kind, kind),
        ToolCallStart(1, "d", "f"),
        ToolCallDelta(0, whole_action),
        ToolCallDelta(1, "{}"),
    )
    added = [e["output_index"] for e in events if e["type"] == "response.output_item.added"]
    assert added == [0, 1]
    item = events[-1]["response"]["output"][0]
    assert json.loads(whole_action) in (item.get("action"), item.get("operation"))


def test_a_local_call_without_an_action_can_not_be_told_but_can_be_cut() -> None:
    events: list[Event] = [START, ToolCallStart(0, "c", "local_shell", "local_shell"), ToolCallDelta(0, '{"comm')]
    with pytest.raises(ValueError, match="without an action"):
        made(*events, CALLS)
    answer = made(*events, Finish(FinishReason.LENGTH))
    assert answer.output[0].local_shell_call.status == "incomplete"


def test_a_search_that_the_provider_ran_keeps_its_own_words_under_our_id() -> None:
    events = told(
        START,
        search("in_progress", done=False),
        news("response.web_search_call.in_progress"),
        news("response.web_search_call.searching"),
        news("response.web_search_call.guessing"),
        news("response.web_search_call.completed", obfuscation="xyz"),
        search("completed", done=True),
        TextDelta("Found"),
        STOP,
    )
    assert types(events)[:6] == [
        "output_item.added",
        "web_search_call.in_progress",
        "web_search_call.searching",
        "web_search_call.completed",
        "output_item.done",
        "output_item.added",
    ]
    assert events[3] == {
        "type": "response.web_search_call.in_progress",
        "sequence_number": 3,
        "item_id": f"ws_{place(1)}",
        "output_index": 0,
    }
    assert events[2]["item"]["status"] == "in_progress"
    found = events[-1]["response"]["output"][0]
    assert (found["id"], found["status"], found["action"]["query"]) == (f"ws_{place(1)}", "completed", "x")


def test_an_item_of_an_unknown_kind_or_form_stays_as_it_came_but_for_its_id() -> None:
    unknown = OpaqueItem(0, "openai_responses", "quantum_call", '{"type":"quantum_call","id":"q","n":[1.0,2]}')
    grown = OpaqueItem(
        1, "openai_responses", "web_search_call", '{"type":"web_search_call","id":"w","new":{"a":1}}'
    )
    first, second = as_json(made(START, unknown, grown))["output"]
    assert first == {"type": "quantum_call", "id": f"item_{place(1)}", "n": [1.0, 2]}
    assert second == {"type": "web_search_call", "id": f"ws_{place(2)}", "new": {"a": 1}}


def test_an_item_that_is_no_object_or_goes_on_after_its_end_is_an_error() -> None:
    for text in ("[]", "{"):
        with pytest.raises(ValueError):
            made(START, OpaqueItem(0, "openai_responses", "x", text))
    with pytest.raises(ValueError, match="after its end"):
        made(START, search("completed", done=True), search("completed", done=True))


def test_an_empty_text_begins_nothing_beside_calls_and_is_an_empty_message_alone() -> None:
    answer = made(START, TextDelta(""), ToolCallStart(0, "c", "f"), ToolCallDelta(0, "{}"), CALLS)
    assert [item.WhichOneof("item") for item in answer.output] == ["function_call"]
    (message,) = made(START, TextDelta(""), STOP).output
    assert message.message.content[0].HasField("output_text")
    assert not made(START, STOP).output
    assert types(told(START, TextDelta(""), STOP)) == [
        "output_item.added",
        "content_part.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
