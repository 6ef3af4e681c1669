"""Wrong chat requests: every rule ends in an error that names the field as the caller wrote it and what to do."""

from __future__ import annotations

import base64
import math
from typing import Any

import pytest
from eurouter.v1 import chat_pb2 as pb
from eurouter.v1 import content_pb2, tools_pb2
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.chat.to_domain import to_domain
from service.domain.errors import Reason, ServiceError
from service.domain.generation import Reasoning, Refusal, Role, Text, ToolCall, ToolResult
from tests.support.any_message import messages
from tests.support.chats import USER, complaints, read, refused, request

F = {"type": "function", "function": {"name": "f"}}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n1234").decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0\x00\x10JFIF").decode()
WEBP = base64.b64encode(b"RIFF\x04\x00\x00\x00WEBP").decode()


def call(arguments: str = "{}", call_id: str = "call-1", name: str = "f") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def said(*parts: object) -> list[dict[str, object]]:
    return [{"role": "user", "content": list(parts)}]


@pytest.mark.parametrize(
    ("field", "value", "path", "sentence"),
    [
        ("temperature", 3.5, "temperature", "must be between 0 and 2; got 3.5"),
        ("temperature", -0.1, "temperature", "must be between 0 and 2; got -0.1"),
        ("top_p", 1.01, "top_p", "must be between 0 and 1; got 1.01"),
        ("frequency_penalty", 2.1, "frequency_penalty", "must be between -2 and 2; got 2.1"),
        ("presence_penalty", -2.1, "presence_penalty", "must be between -2 and 2; got -2.1"),
        ("max_tokens", 0, "max_tokens", "must be at least 1; got 0"),
        ("max_completion_tokens", -1, "max_completion_tokens", "must be at least 1; got -1"),
        ("n", 0, "n", "must be between 1 and 128; got 0"),
        ("n", 129, "n", "must be between 1 and 128; got 129"),
        ("top_logprobs", 2, "top_logprobs", "needs logprobs"),
        ("messages", [], "messages", "must hold at least one message"),
        ("stop", ["a", "b", "c", "d", "e"], "stop", "at most 4 sequences; got 5"),
        ("stop", ["a", ""], "stop[1]", "must not be empty"),
        ("logit_bias", {"7": 101}, "logit_bias.7", "must be between -100 and 100; got 101"),
        ("logit_bias", {"seven": 1}, "logit_bias.seven", "token id"),
        ("metadata", {str(i): "" for i in range(17)}, "metadata", "at most 16 pairs; got 17"),
        ("metadata", {"k" * 65: ""}, f"metadata.{'k' * 64}", "at most 64 characters; got 65"),
        ("metadata", {"k": "v" * 513}, "metadata.k", "at most 512 characters long; got 513"),
        ("rule_id", "not-a-uuid", "rule_id", "must be a UUID; got 'not-a-uuid'"),
        ("rule_id", "11111111-1111-9111-8111-111111111111", "rule_id", "must be a UUID"),
        ("model", "", "model", "1 to 255 characters"),
        ("models", ["a", ""], "models[1]", "1 to 255 characters"),
        ("stream_options", {"include_usage": True}, "stream_options", "is for streams only"),
        ("stream", True, "stream", "must be false or left out"),
        ("tool_choice", "required", "tool_choice", "needs tools"),
        ("function_call", {"name": "f"}, "function_call", "needs functions"),
        ("reasoning_effort", "Very High!", "reasoning_effort", "lower-case letters"),
        ("verbosity", "", "verbosity", "lower-case letters"),
        ("safety_identifier", "s" * 65, "safety_identifier", "at most 64 characters long"),
        ("modalities", ["text", "audio"], "audio", "needed with modality audio"),
        ("audio", {"voice": "alloy", "format": "wav"}, "modalities", "must contain audio"),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "a b"}}, None, "1 to 64 letters"),
        ("tools", [F, F], "tools[1].function.name", "declared twice"),
        (
            "tools",
            [{"type": "function", "function": {"name": "a.b"}}],
            "tools[0].function.name",
            "1 to 64 letters",
        ),
        ("tools", [F] * 129, "tools", "at most 128; got 129"),
        ("functions", [{"name": "f"}, {"name": ""}], "functions[1].name", "1 to 64 letters"),
    ],
)
def test_a_value_against_a_rule_is_named_with_what_to_do(
    field: str, value: object, path: str | None, sentence: str
) -> None:
    found = complaints(request(**{field: value}))
    assert len(found) == 1
    if path is not None:
        assert set(found) == {path}
    assert sentence in next(iter(found.values()))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_out_of_every_range(value: float) -> None:
    message = request(logprobs=True)
    for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty"):
        setattr(message, name, value)
    message.logit_bias["1"] = value
    assert set(complaints(message)) == {
        "temperature",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
        "logit_bias.1",
    }


def test_the_bounds_themselves_are_allowed() -> None:
    read(temperature=2, top_p=0, frequency_penalty=-2, presence_penalty=2, n=128, max_tokens=1)
    read(logprobs=True, top_logprobs=20, stop=["a", "b", "c", "d"], logit_bias={"0": -100, "1": 100})
    read(metadata={f"{i:064}": "v" * 512 for i in range(16)}, tools=[_named(i) for i in range(128)])
    read(rule_id="00000000-0000-0000-0000-000000000000")
    read(rule_id="ffffffff-ffff-ffff-ffff-ffffffffffff")


def _named(number: int) -> dict[str, Any]:
    return {"type": "function", "function": {"name": f"f{number}"}}


def test_all_violations_are_told_at_once_up_to_ten() -> None:
    error = refused(temperature=3, top_p=2, messages=[])
    assert [v.path for v in error.violations] == ["temperature", "top_p", "messages"]
    assert error.reason is Reason.INVALID_REQUEST
    assert error.message == "temperature: must be between 0 and 2; got 3.0 (and 2 more)"
    assert len(refused(stop=[""] * 4, models=[""] * 20).violations) == 10


def test_a_request_needs_a_model_or_something_that_names_one() -> None:
    message = request()
    message.ClearField("model")
    assert set(complaints(message)) == {"model"}
    for field, value in (
        ("models", ["m"]),
        ("rule_name", "r"),
        ("rule_id", "1" * 8 + "-1111-4111-8111-" + "1" * 12),
    ):
        assert read(request(**{"model": None, field: value})).model is None


def test_max_completion_tokens_wins_over_max_tokens_and_both_are_checked() -> None:
    assert read(max_tokens=5, max_completion_tokens=7).generation.max_output_tokens == 7
    assert set(complaints(max_tokens=0, max_completion_tokens=7)) == {"max_tokens"}


def test_an_effort_may_be_given_twice_but_not_with_two_values() -> None:
    assert read(reasoning_effort="low", reasoning={"effort": "low"}).generation.reasoning_effort == "low"
    assert "contradicts" in complaints(reasoning_effort="high", reasoning={"effort": "low"})["reasoning_effort"]
    assert read(reasoning_effort="colossal").generation.reasoning_effort == "colossal"


def test_tool_arguments_in_history_must_be_an_object_and_nothing_counts_as_an_empty_one() -> None:
    def spoken(arguments: str) -> list[dict[str, Any]]:
        return [USER, {"role": "assistant", "tool_calls": [call(arguments)]}]

    for wrong in ('{"a":', "[]", "1", "null", "{'a': 1}", "NaN"):
        found = complaints(messages=spoken(wrong))
        assert set(found) == {"messages[1].tool_calls[0].function.arguments"}
        assert "'f'" in found["messages[1].tool_calls[0].function.arguments"]
    assert read(messages=spoken("")).generation.turns[1].parts == (ToolCall("call-1", "f", "{}"),)
    kept = '{"b": 1.0, "a": 12345678901234567890123}'
    assert read(messages=spoken(kept)).generation.turns[1].parts == (ToolCall("call-1", "f", kept),)


def test_a_tool_message_answers_a_call_before_it() -> None:
    made = {"role": "assistant", "tool_calls": [call(), call(call_id="call-2")]}
    result = {"role": "tool", "tool_call_id": "call-1", "content": "42"}
    turns = read(messages=[USER, made, result]).generation.turns
    assert turns[2].parts == (ToolResult("call-1", (Text("42"),)),)
    assert "call-1" in complaints(messages=[USER, result, made])["messages[1].tool_call_id"]
    assert set(complaints(messages=[USER, made, {"role": "tool", "content": "42"}])) == {
        "messages[2].tool_call_id"
    }
    assert set(complaints(messages=[USER, {"role": "assistant", "tool_calls": [call(), call()]}])) == {
        "messages[1].tool_calls[1].id"
    }


@pytest.mark.parametrize(
    ("choice", "path"),
    [
        ({"type": "function", "function": {"name": "g"}}, "tool_choice.function.name"),
        ({"type": "custom", "custom": {"name": "f"}}, "tool_choice.custom.name"),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [F, {"type": "function", "function": {"name": "g"}}]},
            },
            "tool_choice.allowed_tools.tools[1].function.name",
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
            "tool_choice.allowed_tools.tools",
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "x", "tools": [F]}},
            "tool_choice.allowed_tools.mode",
        ),
    ],
)
def test_a_tool_choice_names_declared_tools(choice: object, path: str) -> None:
    assert set(complaints(tools=[F], tool_choice=choice)) == {path}


def test_a_choice_that_demands_nothing_may_stand_without_tools() -> None:
    assert read(tool_choice="auto").generation.tool_choice == "auto"
    assert not read(tool_choice="auto").needs.fields
    assert read(tool_choice="none").generation.tool_choice == "none"


def test_functions_become_tools_and_do_not_mix_with_them() -> None:
    history = [
        USER,
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "42"},
    ]
    asked = read(messages=history, functions=[{"name": "f"}], function_call="auto")
    assert asked.functions_style
    assert asked.generation.functions_style
    made, result = asked.generation.turns[1].parts[0], asked.generation.turns[2].parts[0]
    assert isinstance(made, ToolCall)
    assert isinstance(result, ToolResult)
    assert made.id == result.call_id != ""
    assert "functions" in complaints(functions=[{"name": "f"}], tools=[F])
    assert "function_call" in complaints(function_call="auto", tool_choice="auto")
    assert "functions" in complaints(
        functions=[{"name": "f"}], messages=[USER, {"role": "assistant", "tool_calls": [call()]}]
    )
    assert "messages[1].function_call" in complaints(messages=history, tools=[F])
    lone = {"role": "function", "name": "g", "content": "42"}
    assert "messages[0].name" in complaints(messages=[lone])


@pytest.mark.parametrize(
    ("role", "part", "kind"),
    [
        ("system", {"type": "image_url", "image_url": {"url": "https://a.example"}}, "image_url"),
        ("developer", {"type": "refusal", "refusal": "x"}, "refusal"),
        ("user", {"type": "refusal", "refusal": "x"}, "refusal"),
        ("assistant", {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "input_audio"),
    ],
)
def test_each_role_takes_its_own_kinds_of_parts(role: str, part: dict[str, Any], kind: str) -> None:
    found = complaints(messages=[USER, {"role": role, "content": [{"type": "text", "text": "a"}, part]}])
    assert set(found) == {"messages[1].content[1]"}
    assert kind in found["messages[1].content[1]"]


def test_fields_of_other_roles_are_refused() -> None:
    user = {"role": "user", "content": "a", "tool_calls": [call()], "refusal": "x", "tool_call_id": "y"}
    assert set(complaints(messages=[user])) == {
        "messages[0].tool_calls",
        "messages[0].refusal",
        "messages[0].tool_call_id",
    }
    assert set(complaints(messages=[USER, {"role": "assistant", "content": "a", "tool_call_id": "y"}])) == {
        "messages[1].tool_call_id"
    }


def test_messages_must_say_something_and_an_empty_text_is_something() -> None:
    assert set(complaints(messages=[{"role": "user", "content": None}])) == {"messages[0].content"}
    assert set(complaints(messages=[USER, {"role": "assistant", "content": []}])) == {"messages[1].content"}
    turns = read(messages=[{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]).generation.turns
    assert [turn.parts for turn in turns] == [(Text(""),), (Text(""),)]


def test_an_assistant_turn_keeps_reasoning_text_refusals_and_calls_in_this_order() -> None:
    message = {
        "role": "assistant",
        "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}],
        "refusal": "c",
        "reasoning": "r",
        "tool_calls": [call()],
        "name": "Bob",
    }
    turn = read(messages=[USER, message]).generation.turns[1]
    assert turn.role is Role.ASSISTANT
    assert turn.name == "Bob"
    assert turn.parts == (
        Reasoning("r"),
        Text("a"),
        Refusal("b", in_content=True),
        Refusal("c"),
        ToolCall("call-1", "f", "{}"),
    )


def test_reasoning_details_win_over_reasoning_and_hold_only_what_their_type_has() -> None:
    sealed = {"type": "reasoning.text", "text": "t", "signature": "s", "format": "anthropic"}
    turn = {"role": "assistant", "content": "a", "reasoning": "r", "reasoning_details": [sealed]}
    assert read(messages=[USER, turn]).generation.turns[1].parts[0] == Reasoning(
        "t", signature="s", format="anthropic", details=True
    )
    wrong = [{"type": "reasoning.text", "data": "x"}, {"type": "thoughts"}, {"type": "reasoning.encrypted"}]
    found = complaints(messages=[USER, {**turn, "reasoning_details": wrong}])
    at = "messages[1].reasoning_details"
    assert set(found) == {f"{at}[0].data", f"{at}[1].type", f"{at}[2].data"}


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{PNG}",
        f"data:image/jpeg;base64,{JPEG}",
        f"DATA:IMAGE/WEBP;base64,{WEBP}",
        "https://a.example/b.png?c=d",
        "http://a.example",
    ],
)
def test_images_come_by_address_or_inline(url: str) -> None:
    read(messages=said({"type": "image_url", "image_url": {"url": url}}))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.png",
        "ftp://a.example/b.png",
        "file:///etc/passwd",
        "https://",
        "https://a.example/b c",
        "https://a.example/" + "b" * 8192,
        f"data:image/svg+xml;base64,{PNG}",
        f"data:image/jpeg;base64,{PNG}",
        f"data:image/gif;base64,{base64.b64encode(b'%PDF-1.7').decode()}",
        "data:image/png;base64,AAAA",
        f"data:image/png,{PNG}",
        "data:image/png;base64,",
        "data:image/png;base64,a",
        "data:image/png;base64,a===",
        "data:image/png;base64,ab=c",
        "data:image/png;base64,ab c",
        "data:image/png;base64,äöüß",
        "data:image/png;base64," + "A" * 100_000 + "!AAA",
    ],
)
def test_other_images_are_refused(url: str) -> None:
    found = complaints(messages=said({"type": "image_url", "image_url": {"url": url}}))
    assert set(found) == {"messages[0].content[0].image_url.url"}
    assert len(str(found)) < 400


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "aiff"}}, "input_audio.format"),
        ({"type": "input_audio", "input_audio": {"data": "A", "format": "wav"}}, "input_audio.data"),
        ({"type": "file", "file": {"filename": "a.pdf"}}, "file"),
        ({"type": "file", "file": {"file_data": "AAAA", "file_id": "x"}}, "file"),
        ({"type": "file", "file": {"file_data": "data:;base64,AAAA"}}, "file.file_data"),
        ({"type": "file", "file": {"file_data": "no base64"}}, "file.file_data"),
        ({"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "x"}}, "prompt_cache_breakpoint.mode"),
    ],
)
def test_wrong_audio_files_and_cache_marks_are_named(part: dict[str, Any], path: str) -> None:
    assert set(complaints(messages=said(part))) == {f"messages[0].content[0].{path}"}


def test_what_names_state_at_a_provider_is_refused_with_the_reason() -> None:
    unnamed = refused(messages=said({"type": "input_video", "input_video": {"file_id": "file-1"}}))
    assert unnamed.reason is Reason.FOREIGN_STATE
    assert unnamed.violations[0].path == "messages[0].content[0].input_video.file_id"
    error = refused(messages=said({"type": "file", "file": {"file_id": "file-1"}}))
    assert error.reason is Reason.FOREIGN_STATE
    assert "send the bytes in file_data" in error.message
    spoken = [USER, {"role": "assistant", "audio": {"id": "audio-1"}}]
    assert refused(messages=spoken).reason is Reason.FOREIGN_STATE
    voice = {"audio": {"voice": {"id": "voice-1"}, "format": "wav"}, "modalities": ["audio"]}
    assert refused(request(**voice)).reason is Reason.FOREIGN_STATE
    assert refused(messages=spoken, temperature=9).reason is Reason.INVALID_REQUEST


def test_a_named_kind_can_not_hide_from_its_checks_in_a_kind_that_nobody_named() -> None:
    hidden = content_pb2.Opaque(type="file", json='{"type":"file","file":{"file_id":"x"}}')
    message = request()
    message.messages[0].content.add().opaque.CopyFrom(hidden)
    message.extra["temperature"] = "9"
    message.tools.add().opaque.CopyFrom(content_pb2.Opaque(type="function", json='{"type":"function"}'))
    message.response_format.opaque.CopyFrom(content_pb2.Opaque(type="a", json='{"type":"text"}'))
    assert set(complaints(message)) == {"messages[0].content[1]", "temperature", "tools[0]", "response_format"}


def test_texts_that_should_hold_json_are_checked_when_they_come_over_grpc() -> None:
    message = request(tools=[F], response_format={"type": "json_schema", "json_schema": {"name": "n"}})
    message.tools[0].function.parameters = "[]"
    message.response_format.json_schema.schema = "{"
    message.moderation.CopyFrom(pb.Moderation(model="m", policy="1"))
    message.extra["top_k"] = "{"
    message.extra["deep"] = "[" * 200 + "]" * 200
    message.extra["flat"] = "[" + "[],{}," * 200 + "0]"
    assert set(complaints(message)) == {
        "tools[0].function.parameters",
        "response_format.json_schema.schema",
        "moderation.policy",
        "top_k",
        "deep",
    }


def test_a_field_called_extra_is_not_told_to_be_set_instead_of_extra() -> None:
    message = request()
    message.extra["extra"] = '{"top_k": 1}'
    error = refused(message)
    assert [v.path for v in error.violations] == ["extra"]
    assert error.violations[0].message == "no such field: send what it holds at the top level of the request"


def test_what_json_can_not_leave_open_is_refused_when_it_comes_over_grpc() -> None:
    said_a = content_pb2.ContentPart(text="a")
    message = pb.CreateChatCompletionRequest(
        model="m",
        messages=[
            pb.ChatMessage(content=[said_a]),
            pb.ChatMessage(role=pb.CHAT_ROLE_USER, content=[content_pb2.ContentPart()]),
        ],
        tools=[tools_pb2.Tool()],
        tool_choice=tools_pb2.ToolChoice(),
        response_format=pb.ResponseFormat(),
    )
    message.messages.add(role=77, content=[said_a])
    message.provider.data_collection = 77  # type: ignore[assignment]
    assert set(complaints(message)) == {
        "messages[0].role",
        "messages[1].content[0]",
        "messages[2].role",
        "tools[0]",
        "tool_choice",
        "response_format",
        "provider.data_collection",
    }


def test_fields_of_a_later_contract_are_refused_where_dropping_them_would_change_the_call() -> None:
    unknown = b"\xa2\x3f\x01x"
    for holder in ("provider", "messages", ""):
        message = request(provider={"sort": "price"})
        part = {"provider": message.provider, "messages": message.messages[0], "": message}[holder]
        part.MergeFromString(unknown)
        error = refused(message)
        assert error.reason is Reason.UNKNOWN_FIELD
        assert error.violations[0].path.partition("[")[0] == holder


_TEXTS = st.text(max_size=5) | st.sampled_from(
    ["{}", "[]", '{"type":"a"}', '[{"type":"function"}]', "f", "call-1"]
)


@settings(max_examples=400)
@given(messages(pb.CreateChatCompletionRequest, _TEXTS), st.booleans())
def test_no_message_whatever_it_holds_ends_in_anything_but_a_refusal(message: Message, streaming: bool) -> None:
    assert isinstance(message, pb.CreateChatCompletionRequest)
    try:
        to_domain(message, hint_fields=frozenset(), streaming=streaming)
    except ServiceError as error:
        assert error.spec.fault == "caller"
        assert 0 < len(error.violations) <= 10
        for violation in error.violations:
            assert violation.message


def test_messages_and_their_parts_are_bounded_together_in_protobuf_as_well() -> None:
    message = pb.ChatMessage(role=pb.CHAT_ROLE_USER, content=[content_pb2.ContentPart(text="a")] * 24_999)
    most = pb.CreateChatCompletionRequest(model="m", messages=[message, message])
    assert to_domain(most, hint_fields=frozenset(), streaming=False).generation.turns
    most.messages[0].content.add(text="one more")
    with pytest.raises(ServiceError) as caught:
        to_domain(most, hint_fields=frozenset(), streaming=False)
    [violation] = caught.value.violations
    assert violation.path == "messages"
    assert violation.message == "must hold at most 50000 messages and parts of them in all; got 50001"
