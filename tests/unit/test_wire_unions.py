"""Unions: `type` names the arm that stands beside it; a few may be a bare string."""

import orjson
import pytest
from eurouter.v1 import chat_pb2, content_pb2, tools_pb2
from google.protobuf.message import Message

from service.wire import WireError, parse, render_bytes

UNIONS: list[tuple[type[Message], object]] = [
    (content_pb2.ContentPart, {"type": "text", "text": ""}),
    (content_pb2.ContentPart, {"type": "refusal", "refusal": "no"}),
    (content_pb2.ContentPart, {"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "low"}}),
    (content_pb2.ContentPart, {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}),
    (content_pb2.ContentPart, {"type": "file", "file": {"file_id": "f"}}),
    (content_pb2.ContentPart, {"type": "text", "text": "a", "prompt_cache_breakpoint": {}}),
    (content_pb2.ContentPart, {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}),
    (content_pb2.ContentPart, {"type": "video_url", "video_url": {"url": "u", "fps": 1.0}, "n": None}),
    (content_pb2.ContentPart, {"b": 1, "type": "opaque", "a": 2}),
    (tools_pb2.Tool, {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}),
    (tools_pb2.Tool, {"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}}),
    (
        tools_pb2.Tool,
        {
            "type": "custom",
            "custom": {
                "name": "c",
                "format": {"type": "grammar", "grammar": {"definition": "d", "syntax": "lark"}},
            },
        },
    ),
    (tools_pb2.Tool, {"type": "web_search"}),
    (tools_pb2.ToolCall, {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}),
    (tools_pb2.ToolCall, {"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}),
    (tools_pb2.ToolCall, {"id": "c", "type": "shell", "shell": ["ls"]}),
    (
        tools_pb2.ToolCallDelta,
        {"index": 1, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}},
    ),
    (tools_pb2.ToolCallDelta, {"index": 1, "function": {"arguments": "{"}}),
    (tools_pb2.ToolCallDelta, {"index": 0, "custom": {"input": "x"}}),
    (tools_pb2.ToolCallDelta, {"index": 0}),
    (tools_pb2.ToolChoice, "none"),
    (tools_pb2.ToolChoice, "auto"),
    (tools_pb2.ToolChoice, "required"),
    (tools_pb2.ToolChoice, {"type": "function", "function": {"name": "f"}}),
    (tools_pb2.ToolChoice, {"type": "custom", "custom": {"name": "f"}}),
    (
        tools_pb2.ToolChoice,
        {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
        },
    ),
    (tools_pb2.ToolChoice, {"type": "web_search"}),
    (tools_pb2.ToolChoice, {"type": "mode", "mode": "auto"}),
    (chat_pb2.FunctionCallChoice, "none"),
    (chat_pb2.FunctionCallChoice, "auto"),
    (chat_pb2.FunctionCallChoice, {"name": "f"}),
    (chat_pb2.ResponseFormat, {"type": "text"}),
    (chat_pb2.ResponseFormat, {"type": "json_object"}),
    (chat_pb2.ResponseFormat, {"type": "python"}),
    (chat_pb2.ResponseFormat, {"type": "grammar", "grammar": 'root ::= "a"'}),
    (
        chat_pb2.ResponseFormat,
        {"type": "json_schema", "json_schema": {"name": "n", "schema": {"z": 1, "a": 1.0}, "strict": True}},
    ),
    (chat_pb2.ResponseFormat, {"type": "structural_tag", "structures": []}),
    (
        content_pb2.Annotation,
        {
            "type": "url_citation",
            "url_citation": {"start_index": 0, "end_index": 5, "url": "https://a", "title": "A"},
        },
    ),
    (content_pb2.Annotation, {"type": "file_citation", "file_id": "f"}),
]


@pytest.mark.parametrize(("kind", "value"), UNIONS)
def test_a_union_comes_out_as_it_went_in(kind: type[Message], value: object) -> None:
    assert orjson.loads(render_bytes(parse(kind, value))) == value


def test_an_unknown_kind_is_kept_whole_with_its_key_order() -> None:
    value = {"z": 1, "type": "video", "a": {"c": 1.0, "b": None}}
    part = parse(content_pb2.ContentPart, value)
    assert part.opaque.type == "video"
    assert part.opaque.json == '{"z":1,"type":"video","a":{"c":1.0,"b":null}}'


def test_the_id_of_a_call_of_an_unknown_kind_is_still_its_id() -> None:
    call = parse(tools_pb2.ToolCall, {"id": "c", "type": "shell", "shell": 1})
    assert (call.id, call.opaque.type) == ("c", "shell")


@pytest.mark.parametrize(
    ("kind", "known"),
    [(tools_pb2.CustomToolFormat, "text, grammar"), (tools_pb2.ToolCallDelta, "function, custom")],
)
def test_an_unknown_kind_is_refused_where_nothing_can_keep_it(kind: type[Message], known: str) -> None:
    with pytest.raises(WireError) as caught:
        parse(kind, {"type": "other", "other": {}})
    assert caught.value.violations[0] == ("type", f"unknown type; expected one of {known}")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (content_pb2.ContentPart, {"text": "a"}),
        (content_pb2.ContentPart, {"type": None, "text": "a"}),
        (chat_pb2.ResponseFormat, {}),
        (tools_pb2.ToolChoice, {"function": {"name": "f"}}),
        (content_pb2.Annotation, {"url_citation": {}}),
        (tools_pb2.CustomToolFormat, {"grammar": {}}),
        (tools_pb2.Tool, {}),
        (tools_pb2.Tool, {"function": {"name": "f"}, "custom": {"name": "c"}}),
        (tools_pb2.ToolCall, {"id": "c"}),
    ],
)
def test_a_missing_type_is_refused_and_is_the_only_complaint(kind: type[Message], value: object) -> None:
    with pytest.raises(WireError) as caught:
        parse(kind, value)
    ((path, text),) = caught.value.violations
    assert path == "type"
    assert text.startswith("missing; expected one of ")


@pytest.mark.parametrize("kind", [tools_pb2.Tool, tools_pb2.ToolCall, tools_pb2.ToolCallDelta])
def test_tools_and_calls_may_omit_type_where_one_arm_stands_alone(kind: type[Message]) -> None:
    for arm in ("function", "custom"):
        message = parse(kind, {arm: {"name": "f"}})
        assert getattr(message, arm).name == "f"


def test_a_fragment_may_name_its_type_before_it_has_a_value() -> None:
    fragment = parse(tools_pb2.ToolCallDelta, {"index": 0, "id": "c", "type": "custom"})
    assert fragment.WhichOneof("call") == "custom"


@pytest.mark.parametrize("value", [{"type": "text"}, {"type": "text", "text": None}])
def test_an_arm_without_its_value_is_refused(value: object) -> None:
    with pytest.raises(WireError) as caught:
        parse(content_pb2.ContentPart, value)
    assert caught.value.violations == (("text", 'missing; type "text" needs it'),)


def test_another_arm_beside_the_named_one_is_refused_unless_null() -> None:
    parse(content_pb2.ContentPart, {"type": "text", "text": "a", "image_url": None})
    with pytest.raises(WireError) as caught:
        parse(content_pb2.ContentPart, {"type": "text", "text": "a", "image_url": {"url": "u"}})
    assert caught.value.violations == (("image_url", 'does not go with type "text"; remove it'),)


def test_an_empty_kind_has_no_value() -> None:
    with pytest.raises(WireError) as caught:
        parse(chat_pb2.ResponseFormat, {"type": "json_object", "json_object": {}, "x": 1})
    assert caught.value.violations == (
        ("json_object", 'does not go with type "json_object"; remove it'),
        ("x", "unknown field; remove it"),
    )


@pytest.mark.parametrize("value", [5, ["text"], {}, True])
def test_a_type_is_a_string(value: object) -> None:
    with pytest.raises(WireError) as caught:
        parse(chat_pb2.ResponseFormat, {"type": value})
    ((path, text),) = caught.value.violations
    assert path == "type"
    assert text.startswith("expected one of text, json_object, json_schema, grammar, python, got ")


def test_a_choice_by_string_knows_its_own_words_only() -> None:
    for kind, words in (
        (tools_pb2.ToolChoice, "none, auto, required"),
        (chat_pb2.FunctionCallChoice, "none, auto"),
    ):
        with pytest.raises(WireError) as caught:
            parse(kind, "any")
        assert caught.value.violations == (("", f"unknown value; expected one of {words}"),)
    with pytest.raises(WireError):
        parse(chat_pb2.FunctionCallChoice, "required")


@pytest.mark.parametrize("value", [{}, {"name": None}])
def test_a_function_call_choice_needs_its_name(value: object) -> None:
    with pytest.raises(WireError, match="expected an object with the field name"):
        parse(chat_pb2.FunctionCallChoice, value)


def test_a_function_call_choice_has_no_type() -> None:
    with pytest.raises(WireError, match="type: unknown field; remove it"):
        parse(chat_pb2.FunctionCallChoice, {"type": "function", "name": "f"})


def test_paths_leave_the_oneof_wrappers_out() -> None:
    request = {
        "messages": [
            {"role": "user", "content": "a"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": 5}}],
            },
        ],
        "tools": [{"type": "custom", "custom": {"format": {"type": "grammar", "grammar": {"syntax": 1}}}}],
        "tool_choice": {"type": "function", "function": {"name": 1}},
        "response_format": {"type": "json_schema", "json_schema": {"strict": 1}},
    }
    with pytest.raises(WireError) as caught:
        parse(chat_pb2.CreateChatCompletionRequest, request)
    assert [path for path, _ in caught.value.violations] == [
        "messages[1].content[1].image_url.url",
        "tools[0].custom.format.grammar.syntax",
        "tool_choice.function.name",
        "response_format.json_schema.strict",
    ]
