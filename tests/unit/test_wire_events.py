"""The events of a response: their names against both specifications, and how they are printed."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from eurouter.v1 import response_events_pb2
from google.protobuf.message import Message

from service.wire import WireError, event_type, parse, render, render_bytes
from tests.support import response_samples as samples
from tests.support import responses_schema

Event = response_events_pb2.ResponseStreamEvent
ARMS = [arm.name for arm in Event.DESCRIPTOR.oneofs_by_name["event"].fields]

OPENAI_NAMES = """
error response.audio.delta response.audio.done response.audio.transcript.delta
response.audio.transcript.done response.code_interpreter_call.completed
response.code_interpreter_call.in_progress response.code_interpreter_call.interpreting
response.code_interpreter_call_code.delta response.code_interpreter_call_code.done response.completed
response.content_part.added response.content_part.done response.created
response.custom_tool_call_input.delta response.custom_tool_call_input.done response.failed
response.file_search_call.completed response.file_search_call.in_progress
response.file_search_call.searching response.function_call_arguments.delta
response.function_call_arguments.done response.image_generation_call.completed
response.image_generation_call.generating response.image_generation_call.in_progress
response.image_generation_call.partial_image response.in_progress response.incomplete
response.mcp_call.completed response.mcp_call.failed response.mcp_call.in_progress
response.mcp_call_arguments.delta response.mcp_call_arguments.done response.mcp_list_tools.completed
response.mcp_list_tools.failed response.mcp_list_tools.in_progress response.output_item.added
response.output_item.done response.output_text.annotation.added response.output_text.delta
response.output_text.done response.queued response.reasoning_summary_part.added
response.reasoning_summary_part.done response.reasoning_summary_text.delta
response.reasoning_summary_text.done response.reasoning_text.delta response.reasoning_text.done
response.refusal.delta response.refusal.done response.shell_call_command.added
response.shell_call_command.delta response.shell_call_command.done
response.shell_call_output_content.delta response.shell_call_output_content.done
response.web_search_call.completed response.web_search_call.in_progress
response.web_search_call.searching
"""
OPEN_RESPONSES_NAMES = """
error response.completed response.content_part.added response.content_part.done response.created
response.failed response.function_call_arguments.delta response.function_call_arguments.done
response.in_progress response.incomplete response.output_item.added response.output_item.done
response.output_text.annotation.added response.output_text.delta response.output_text.done
response.queued response.reasoning.delta response.reasoning.done response.reasoning_summary_part.added
response.reasoning_summary_part.done response.reasoning_summary_text.delta
response.reasoning_summary_text.done response.refusal.delta response.refusal.done
"""
OPENAI = set(OPENAI_NAMES.split())
OPEN_RESPONSES = set(OPEN_RESPONSES_NAMES.split())
# Ours: what neither specification has a name for.
OURS = {"response.cancelled", "response.restarted"}


def rendered(message: Message) -> Any:
    return orjson.loads(render_bytes(message))


def test_the_arms_are_openais_events_and_two_of_our_own() -> None:
    assert len(OPENAI) == 58
    names = [event_type(arm) for arm in ARMS]
    assert len(set(names)) == len(names)
    assert set(names) == OPENAI | OURS


def test_the_arms_are_open_responses_events_but_for_names_that_openai_says_otherwise() -> None:
    assert len(OPEN_RESPONSES) == 24
    names = {event_type(arm) for arm in ARMS}
    renamed = responses_schema.EVENT_NAMED_OTHERWISE
    assert OPEN_RESPONSES - names == set(renamed.values())
    assert set(renamed) <= names


def test_the_lists_of_events_are_those_of_the_published_documents(shared: Path) -> None:
    assert responses_schema.events_of("openai") == OPENAI
    assert responses_schema.events_of("open_responses") == OPEN_RESPONSES


@pytest.mark.parametrize(
    ("arm", "name"),
    [
        ("error", "error"),
        ("in_progress", "response.in_progress"),
        ("cancelled", "response.cancelled"),
        ("restarted", "response.restarted"),
        ("output_text_delta", "response.output_text.delta"),
        ("output_text_annotation_added", "response.output_text.annotation.added"),
        ("web_search_call_in_progress", "response.web_search_call.in_progress"),
        ("code_interpreter_call_code_done", "response.code_interpreter_call_code.done"),
        ("image_generation_call_partial_image", "response.image_generation_call.partial_image"),
        ("audio_transcript_done", "response.audio.transcript.done"),
    ],
)
def test_an_events_name_follows_from_its_arm(arm: str, name: str) -> None:
    assert event_type(arm) == name
    message = Event()
    getattr(message, arm).SetInParent()
    assert rendered(message)["type"] == name


def test_what_is_no_arm_has_no_name() -> None:
    with pytest.raises(KeyError):
        event_type("sequence_number")


def test_an_event_begins_with_its_type_and_its_number() -> None:
    message = Event(sequence_number=5)
    message.output_text_delta.item_id = "msg_1"
    message.output_text_delta.delta = "a"
    assert render_bytes(message) == (
        b'{"type":"response.output_text.delta","sequence_number":5,"item_id":"msg_1",'
        b'"output_index":0,"content_index":0,"delta":"a","logprobs":[]}'
    )


def test_the_first_event_has_its_number_too() -> None:
    message = Event()
    message.created.response.id = "resp_1"
    out = rendered(message)
    assert out["sequence_number"] == 0
    assert out["response"]["id"] == "resp_1"


def test_what_is_always_printed_is_not_shared_between_events() -> None:
    message = Event()
    message.output_text_delta.SetInParent()
    first: Any = render(message)
    first["logprobs"].append("mine")
    assert render(message)["logprobs"] == []


def test_an_event_without_an_arm_is_an_empty_object() -> None:
    assert rendered(Event(sequence_number=1)) == {}


def test_there_is_a_sample_of_every_event() -> None:
    assert {sample["type"] for sample in samples.EVENTS} == OPENAI | OURS


@pytest.mark.parametrize("sample", samples.EVENTS, ids=lambda sample: sample["type"])
def test_an_event_comes_out_as_it_went_in_and_as_the_schemas_have_it(sample: dict[str, Any]) -> None:
    message = parse(Event, sample)
    arm = message.WhichOneof("event")
    assert arm is not None
    assert event_type(arm) == sample["type"]
    out = rendered(message)
    assert out == sample
    responses_schema.check_event(out)


@pytest.mark.parametrize("arm", [arm for arm in ARMS if not arm.startswith("shell_call_output")])
def test_an_event_with_nothing_set_has_every_key_that_the_schemas_demand(arm: str) -> None:
    message = Event()
    getattr(message, arm).SetInParent()
    out = rendered(message)
    missing = [
        problem
        for problem in responses_schema.event_problems(out)
        if "required property" in problem
        # The encoder's to give: an object in them has no empty form.
        and not any(f"'{key}' is a" in problem for key in ("response", "item", "part", "annotation"))
    ]
    assert missing == []


def test_an_unknown_event_or_one_with_unknown_keys_is_refused() -> None:
    with pytest.raises(WireError, match=r"type: unknown type; expected one of response\.created"):
        parse(Event, {"type": "response.output_text", "sequence_number": 1})
    with pytest.raises(WireError, match="obfuscation: unknown field; remove it"):
        parse(Event, {"type": "response.audio.done", "sequence_number": 1, "obfuscation": "x"})


def test_the_check_of_events_finds_what_is_wrong(shared: Path) -> None:
    good = next(sample for sample in samples.EVENTS if sample["type"] == "response.output_text.delta")
    assert responses_schema.event_problems(good) == []
    for bad in (
        {**good, "type": "response.text.delta"},
        {**good, "delta": 5},
        {**good, "obfuscation": "x"},
        {key: value for key, value in good.items() if key != "logprobs"},
        {"type": "response.completed", "sequence_number": 1, "response": {**samples.RESPONSE, "tools": None}},
        {"type": "response.output_item.done", "sequence_number": 1, "output_index": 0, "item": {"type": "x"}},
    ):
        assert responses_schema.event_problems(bad) != [], bad
