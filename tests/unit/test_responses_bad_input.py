"""Wrong Responses requests: each ends in an error that names the field as the caller wrote it and what to do."""

from __future__ import annotations

import math
from typing import Any

import pytest
from eurouter.v1 import content_pb2
from eurouter.v1 import response_items_pb2 as items_pb
from eurouter.v1 import responses_pb2 as pb
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.responses.items import MAX_ITEMS
from service.api.responses.read_request import check_include, conversation, read_request
from service.domain.errors import Reason, ServiceError
from tests.support.any_message import messages
from tests.support.response_requests import complaints, read, refused, request

USER = {"role": "user", "content": "hello"}
CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "done"}


@pytest.mark.parametrize(
    ("field", "value", "path", "sentence"),
    [
        ("temperature", 2.1, "temperature", "must be between 0 and 2; got 2.1"),
        ("top_p", -0.1, "top_p", "must be between 0 and 1; got -0.1"),
        ("presence_penalty", 3, "presence_penalty", "must be between -2 and 2; got 3.0"),
        ("frequency_penalty", -3, "frequency_penalty", "must be between -2 and 2; got -3.0"),
        ("max_output_tokens", 0, "max_output_tokens", "must be at least 1; got 0"),
        ("max_tool_calls", 0, "max_tool_calls", "must be at least 1; got 0"),
        ("top_logprobs", 21, "top_logprobs", "must be between 0 and 20; got 21"),
        ("input", [], "input", "must be a text or hold at least one item"),
        ("previous_response_id", "", "previous_response_id", "must not be empty"),
        ("stream", True, "stream", "must be false or left out"),
        ("stream_options", {"include_obfuscation": True}, "stream_options", "is for streams only"),
        ("truncation", "middle", "truncation", "must be auto or disabled; got 'middle'"),
        ("include", ["reasoning.encrypted_content", "all"], "include[1]", "must be one of code_interp"),
        ("reasoning", {"effort": "Very High!"}, "reasoning.effort", "lower-case letters"),
        (
            "reasoning",
            {"summary": "auto", "generate_summary": "concise"},
            "reasoning.generate_summary",
            "contradicts reasoning.summary, which is 'auto'",
        ),
        ("text", {"verbosity": ""}, "text.verbosity", "lower-case letters"),
        ("text", {"format": {"type": "json_schema", "name": "a b", "schema": {}}}, "text.format.name", "1 to 64"),
        ("text", {"format": {"type": "json_schema", "name": "a"}}, "text.format.schema", "is needed"),
        ("metadata", {"k": "v" * 513}, "metadata.k", "at most 512 characters long; got 513"),
        ("user", "u" * 1025, "user", "at most 1024 characters long"),
        ("safety_identifier", "s" * 65, "safety_identifier", "at most 64 characters long"),
        ("service_tier", "Fast Please", "service_tier", "lower-case letters"),
        ("rule_id", "x", "rule_id", "must be a UUID"),
        (
            "context_management",
            [{"type": "compaction", "compact_threshold": 999}],
            "context_management[0].compact_threshold",
            "at least 1000",
        ),
        ("moderation", {"model": ""}, "moderation.model", "is needed"),
    ],
)
def test_a_value_against_a_rule_is_named_with_what_to_do(field: str, value: Any, path: str, sentence: str) -> None:
    found = complaints(request(**{field: value}))
    assert set(found) == {path}
    assert sentence in found[path]


def test_a_request_without_a_model_says_where_to_name_one() -> None:
    assert set(complaints(pb.CreateResponseRequest(input=request().input))) == {"model"}


def test_what_is_nested_too_deeply_is_told_so_wherever_it_stands() -> None:
    deep = '{"type":"x","a":' + "[" * 101 + "]" * 101 + "}"
    ask = request()
    ask.tools.add().opaque.CopyFrom(content_pb2.Opaque(type="x", json=deep))
    ask.input.add().opaque.CopyFrom(content_pb2.Opaque(type="x", json=deep))
    told = complaints(ask)
    assert told == dict.fromkeys(
        ("tools[0]", "input[1]"), "must be a JSON object as text: nested deeper than 100 levels"
    )


def test_background_and_store_false_contradict_and_both_are_named() -> None:
    assert set(complaints(background=True, store=False)) == {"background", "store"}
    assert read(background=True).background


@pytest.mark.parametrize(
    ("fields", "path", "advice"),
    [
        ({"conversation": "conv_1"}, "conversation", "continue one with previous_response_id"),
        ({"conversation": {"id": "conv_1"}}, "conversation", "continue one with previous_response_id"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "as instructions and input"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]},
            "input[0].content[0].file_id",
            "send the image in image_url",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
            "input[0].content[0].file_id",
            "send the bytes in file_data",
        ),
        (
            {"input": [USER, {"type": "code_interpreter_call", "id": "ci_1", "container_id": "c", "status": "x"}]},
            "input[1].container_id",
            "continue with previous_response_id",
        ),
        (
            {
                "input": [
                    {
                        "type": "computer_call_output",
                        "call_id": "c",
                        "output": {"type": "computer_screenshot", "file_id": "file-1"},
                    }
                ]
            },
            "input[0].output.file_id",
            "send the screenshot in image_url",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_video", "file_id": "file-1"}]}]},
            "input[0].content[0].file_id",
            "send what it holds",
        ),
        (
            {
                "input": [
                    USER,
                    {"type": "additional_tools", "tools": [{"type": "x", "vector_store_ids": ["vs_1"]}]},
                ]
            },
            "input[1].tools[0].vector_store_ids",
            "leave the item out",
        ),
        (
            {"input": [USER, {"type": "additional_tools", "tools": [{"type": "x", "container": "cntr_1"}]}]},
            "input[1].tools[0].container",
            'use {"type": "auto"}',
        ),
    ],
    ids=str,
)
def test_what_names_state_at_a_provider_is_refused_with_what_to_do_instead(
    fields: dict[str, Any], path: str, advice: str
) -> None:
    error = refused(**fields)
    assert error.reason is Reason.FOREIGN_STATE
    assert [violation.path for violation in error.violations] == [path]
    assert advice in error.message


def message(*content: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(content)}


PNG = "https://a.example/b.png"
IMAGE = {"type": "input_image", "image_url": PNG}
TEXT = {"type": "input_text", "text": "a"}


@pytest.mark.parametrize(
    ("item", "path", "sentence"),
    [
        ({"role": "narrator", "content": "a"}, ".role", "must be one of user, assistant, system, developer"),
        ({"role": "user", "content": []}, ".content", "must hold text"),
        ({**USER, "phase": "commentary"}, ".phase", "in an assistant message only"),
        ({"role": "assistant", "content": "a", "phase": "Last Words"}, ".phase", "commentary or final_answer"),
        (message({"type": "output_text", "text": "a"}), ".content[0]", "a user message takes"),
        (message(IMAGE, role="system"), ".content[0]", "a system message takes input_text parts only"),
        (message(IMAGE, role="assistant"), ".content[0]", "an assistant message takes"),
        (message({"type": "reasoning_text", "text": "a"}), ".content[0]", "not reasoning_text"),
        (message({"type": "input_image"}), ".content[0]", "either image_url or file_id"),
        (message({**IMAGE, "file_id": "f"}), ".content[0]", "either image_url or file_id"),
        (message({"type": "input_image", "image_url": "b.png"}), ".content[0].image_url", "http or https address"),
        (message({**IMAGE, "detail": "Very"}), ".content[0].detail", "auto, low or high"),
        (
            message({"type": "input_file", "filename": "a"}),
            ".content[0]",
            "one of file_data, file_url and file_id",
        ),
        (message({"type": "input_file", "file_data": "?"}), ".content[0].file_data", "base64"),
        (message({"type": "input_file", "file_url": "ftp://a"}), ".content[0].file_url", "http or https"),
        (message({"type": "input_file", "file_data": "AAAA", "detail": "!"}), ".content[0].detail", "low or high"),
        (
            message({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "aiff"}}),
            ".content[0].input_audio.format",
            "must be one of wav",
        ),
        (
            message({**TEXT, "prompt_cache_breakpoint": {"mode": "x"}}),
            ".content[0].prompt_cache_breakpoint.mode",
            "must be explicit",
        ),
        ({**CALL, "call_id": ""}, ".call_id", "must not be empty"),
        ({"type": "item_reference", "id": ""}, ".id", "must be the id of an item"),
        ({"type": "item_reference", "id": "msg_1"}, ".id", "no item 'msg_1' of yours is stored here"),
        (OUTPUT, ".call_id", "no call has the call_id 'call_1'"),
        ({**OUTPUT, "call_id": ""}, ".call_id", "is needed"),
        (CALL, "", "add a function_call_output with the call_id 'call_1'"),
        (
            {"type": "custom_tool_call", "call_id": "c", "name": "g", "input": ""},
            "",
            "add a custom_tool_call_output with the call_id 'c'",
        ),
        ({"type": "local_shell_call_output", "output": "{}"}, ".call_id", "is needed here or in id"),
        (
            {"type": "reasoning", "summary": [], "content": [{"type": "summary_text", "text": "a"}]},
            ".content[0]",
            "takes reasoning_text parts only",
        ),
        (
            {"type": "reasoning", "summary": [{"type": "reasoning_text", "text": "a"}]},
            ".summary[0]",
            "takes summary_text parts only",
        ),
    ],
    ids=str,
)
def test_a_wrong_item_is_named_by_its_place(item: dict[str, Any], path: str, sentence: str) -> None:
    found = complaints(input=[USER, item])
    assert set(found) == {f"input[1]{path}"}
    assert sentence in found[f"input[1]{path}"]


@pytest.mark.parametrize("arguments", ["{", "[]", "1", '"a"', "null"])
def test_arguments_that_are_no_json_object_are_named_with_their_call(arguments: str) -> None:
    found = complaints(input=[USER, {**CALL, "arguments": arguments}, OUTPUT])
    assert set(found) == {"input[1].arguments"}
    assert "of the call of 'f'" in found["input[1].arguments"]


def test_a_call_and_an_output_are_there_once() -> None:
    found = complaints(input=[USER, CALL, CALL, OUTPUT])
    assert found["input[2].call_id"] == "'call_1' is the call_id of input[1] too: each call needs its own"
    again = complaints(input=[USER, CALL, OUTPUT, OUTPUT])
    assert again == {"input[3].call_id": "'call_1' has its output already: send it once"}


def test_an_output_has_the_kind_of_its_call() -> None:
    wrong = {"type": "custom_tool_call_output", "call_id": "call_1", "output": "a"}
    assert complaints(input=[USER, CALL, wrong]) == {
        "input[2]": "answers a function_call: it must be a function_call_output"
    }
    custom = {"type": "custom_tool_call", "call_id": "call_1", "name": "g", "input": ""}
    assert complaints(input=[USER, custom, OUTPUT]) == {
        "input[2]": "answers a custom_tool_call: it must be a custom_tool_call_output"
    }


def test_a_failed_patch_says_so_in_the_apis_words() -> None:
    patch = {"type": "apply_patch_call", "call_id": "c", "operation": {"type": "delete_file", "path": "a"}}
    gave = {"type": "apply_patch_call_output", "call_id": "c", "status": "meh"}
    assert set(complaints(input=[USER, patch, gave])) == {"input[2].status"}


def test_a_conversation_has_a_bound() -> None:
    ask = request()
    for _ in range(MAX_ITEMS):
        ask.input.add().CopyFrom(ask.input[0])
    assert complaints(ask)["input"] == "must be at most 10000 items; got 10001"


def test_texts_that_should_hold_json_are_checked_when_they_come_over_grpc() -> None:
    ask = request(tools=[{"type": "function", "name": "f"}, {"type": "shell"}])
    ask.tools[0].function.parameters = "[]"
    ask.tools[0].function.output_schema = "{"
    ask.tools[1].shell.environment = '{}, "type": "function"'
    ask.input.add().web_search_call.action = "{"
    ask.input.add().shell_call.CopyFrom(items_pb.ShellCall(call_id="c", action='{"a":', caller="[]"))
    ask.input.add().mcp_call.CopyFrom(items_pb.McpCall(error="oops"))
    ask.input.add().opaque.CopyFrom(content_pb2.Opaque(type="a", json='{"type":"b"}'))
    assert set(complaints(ask)) == {
        "tools[0].parameters",
        "tools[0].output_schema",
        "tools[1].environment",
        "input[1].action",
        "input[2].action",
        "input[2].caller",
        "input[3].error",
        "input[4]",
    }


def test_what_json_can_not_leave_open_is_refused_when_it_comes_over_grpc() -> None:
    ask = pb.CreateResponseRequest(model="m", input=[items_pb.ResponseItem()], tools=[items_pb.ResponseTool()])
    ask.tool_choice.SetInParent()
    ask.text.format.SetInParent()
    ask.input.add().message.CopyFrom(items_pb.ResponseMessage(role="user", content=[items_pb.ResponseContent()]))
    wrong = {"input[0]", "input[1].content[0]", "tools[0]", "tool_choice", "text.format"}
    assert set(complaints(ask)) == wrong


def test_a_named_kind_can_not_hide_from_its_checks_in_a_kind_that_nobody_named() -> None:
    ask = request()
    hidden = content_pb2.Opaque(type="input_file", json='{"type":"input_file","file_id":"x"}')
    ask.input[0].message.content.add().opaque.CopyFrom(hidden)
    ask.input.add().opaque.CopyFrom(content_pb2.Opaque(type="message", json='{"type":"message"}'))
    ask.tools.add().opaque.CopyFrom(content_pb2.Opaque(type="function", json='{"type":"function"}'))
    ask.extra["temperature"] = "9"
    assert set(complaints(ask)) == {"input[0].content[1]", "input[1]", "tools[0]", "temperature"}


def test_fields_of_a_later_contract_are_refused_where_dropping_them_would_change_the_call() -> None:
    unknown = b"\xa2\x3f\x01x"
    for holder in ("input[0]", "input[0].content[0]", "tools[0]", "reasoning", ""):
        ask = request(tools=[{"type": "function", "name": "f"}], reasoning={"effort": "low"})
        first = ask.input[0].message
        first.content.add().input_text.text = "b"
        places: dict[str, Message] = {
            "input[0]": first,
            "input[0].content[0]": first.content[0].input_text,
            "tools[0]": ask.tools[0].function,
            "reasoning": ask.reasoning,
            "": ask,
        }
        places[holder].MergeFromString(unknown)
        error = refused(ask)
        assert error.reason is Reason.UNKNOWN_FIELD
        assert [violation.path for violation in error.violations] == [holder]


def test_a_number_that_is_none_is_out_of_range() -> None:
    ask = request()
    ask.temperature = math.nan
    assert set(complaints(ask)) == {"temperature"}


def test_reading_a_stored_response_checks_what_it_includes() -> None:
    check_include(["reasoning.encrypted_content"])
    with pytest.raises(ServiceError, match=r"include\[0\]: must be one of"):
        check_include(["everything"])


_TEXTS = st.text(max_size=5) | st.sampled_from(
    ["{}", "[]", '{"type":"a"}', '[{"type":"function","name":"f"}]', "f", "call_1", "user", "assistant", "shell"]
)


@settings(max_examples=500)
@given(messages(pb.CreateResponseRequest, _TEXTS), messages(items_pb.ResponseItem, _TEXTS), st.booleans())
def test_no_message_whatever_it_holds_ends_in_anything_but_a_refusal(
    ask: Message, earlier: Message, streaming: bool
) -> None:
    assert isinstance(ask, pb.CreateResponseRequest)
    assert isinstance(earlier, items_pb.ResponseItem)
    try:
        call = read_request(ask, hint_fields=frozenset(), streaming=streaming)
        conversation(call, [earlier], {"f": earlier})
    except ServiceError as error:
        _is_told_well(error)


@settings(max_examples=500)
@given(st.lists(messages(items_pb.ResponseItem, _TEXTS), min_size=1, max_size=4))
def test_no_item_whatever_it_holds_ends_in_anything_but_a_refusal(items: list[Message]) -> None:
    ask = pb.CreateResponseRequest(model="m")
    for item in items:
        assert isinstance(item, items_pb.ResponseItem)
        ask.input.add().CopyFrom(item)
    try:
        conversation(read_request(ask, hint_fields=frozenset(), streaming=False), list(ask.input), {})
    except ServiceError as error:
        _is_told_well(error)


def _is_told_well(error: ServiceError) -> None:
    assert error.spec.fault == "caller"
    assert 0 < len(error.violations) <= 10
    for violation in error.violations:
        assert violation.message


def test_parts_of_messages_are_bounded_together_in_protobuf_as_well() -> None:
    part = items_pb.ResponseContent(input_text=items_pb.ResponseInputText(text="a"))
    item = items_pb.ResponseItem(message=items_pb.ResponseMessage(role="user", content=[part] * 25_000))
    most = pb.CreateResponseRequest(model="m", input=[item, item])
    assert read_request(most, hint_fields=frozenset(), streaming=False).entries
    most.input[0].message.content.add().CopyFrom(part)
    with pytest.raises(ServiceError) as caught:
        read_request(most, hint_fields=frozenset(), streaming=False)
    [violation] = caught.value.violations
    assert (violation.path, violation.message) == (
        "input",
        "must hold at most 50000 parts of messages in all; got 50001",
    )
