"""Flat unions and the other shapes of the Responses API: what is read, what is refused, and how it is said."""

from typing import Any

import orjson
import pytest
from eurouter.v1 import response_items_pb2, responses_pb2, tools_pb2
from google.protobuf.message import Message

from service.domain.errors import Reason
from service.wire import WireError, parse, parse_bytes, render_bytes

Request = responses_pb2.CreateResponseRequest
Item = response_items_pb2.ResponseItem
Content = response_items_pb2.ResponseContent
Tool = response_items_pb2.ResponseTool
Choice = response_items_pb2.ResponseToolChoice
Format = response_items_pb2.ResponseTextFormat


def refused(value: object, kind: type[Message] = Request, **options: Any) -> tuple[tuple[str, str], ...]:
    with pytest.raises(WireError) as caught:
        parse(kind, value, **options)
    return caught.value.violations


def rendered(message: Message) -> Any:
    return orjson.loads(render_bytes(message))


def user(*parts: object) -> dict[str, object]:
    return {"input": [{"role": "user", "content": list(parts)}]}


@pytest.mark.parametrize("field", [f.name for f in Request.DESCRIPTOR.fields if f.name != "extra"])
def test_null_is_unset_for_every_field_of_a_request(field: str) -> None:
    assert parse(Request, {field: None}) == Request()


def test_a_string_as_input_is_one_message_of_the_users() -> None:
    for text in ("hi", ""):
        (item,) = parse(Request, {"input": text}).input
        assert item.message.role == "user"
        assert [part.input_text.text for part in item.message.content] == [text]
        assert item.message.content[0].WhichOneof("part") == "input_text"
    assert parse(Request, {"input": "hi"}) == parse(Request, user({"type": "input_text", "text": "hi"}))


@pytest.mark.parametrize("role", ["user", "assistant", "system", "developer"])
def test_a_string_as_content_is_one_part_whoever_speaks(role: str) -> None:
    (item,) = parse(Request, {"input": [{"role": role, "content": "hi"}]}).input
    assert item.message.role == role
    assert [part.input_text.text for part in item.message.content] == ["hi"]


@pytest.mark.parametrize("kind", ["function_call_output", "custom_tool_call_output"])
def test_a_string_as_output_is_one_part_and_a_lone_part_a_string(kind: str) -> None:
    text = {"type": kind, "call_id": "c", "output": "done"}
    listed = {**text, "output": [{"type": "input_text", "text": "done"}]}
    assert parse(Item, text) == parse(Item, listed)
    assert rendered(parse(Item, listed)) == text
    image = {"type": "input_image", "image_url": "https://a/b.png"}
    both = {**text, "output": [{"type": "input_text", "text": "done"}, image]}
    assert rendered(parse(Item, both)) == both
    marked = {"type": "input_text", "text": "done", "prompt_cache_breakpoint": {"mode": "explicit"}}
    assert rendered(parse(Item, {**text, "output": [marked]}))["output"] == [marked]


def test_a_messages_content_is_printed_as_a_list_even_when_it_came_as_a_string() -> None:
    assert rendered(parse(Item, {"role": "user", "content": "hi"})) == {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "hi"}],
    }


@pytest.mark.parametrize(
    ("value", "path", "text"),
    [
        ({"input": 5}, "input", "expected a string or an array of items, got a number"),
        ({"input": {}}, "input", "expected a string or an array of items, got an object"),
        ({"input": ["hi"]}, "input[0]", "expected an object, got a string"),
        ({"input": [None]}, "input[0]", "expected an object, got null"),
        (
            {"input": [{"role": "user", "content": {}}]},
            "input[0].content",
            "expected a string or an array of parts, got an object",
        ),
        ({"input": "\ud800"}, "input", "holds invalid Unicode (a lone surrogate)"),
        (
            {"input": [{"role": "user", "content": "\ud800"}]},
            "input[0].content",
            "holds invalid Unicode (a lone surrogate)",
        ),
        ({"input": [{"type": "x", "y": "\ud800"}]}, "input[0]", "is no valid JSON value"),
    ],
)
def test_input_that_is_none_is_named_with_its_path(value: object, path: str, text: str) -> None:
    assert refused(value) == ((path, text),)


def test_paths_leave_the_oneof_wrappers_out() -> None:
    value = {
        **user(
            {"type": "input_text", "text": "a"},
            {"type": "input_image", "image_url": {"url": "https://a/b.png"}},
            {"type": "input_audio", "input_audio": {"data": 1}},
        ),
        "tools": [
            {"type": "function", "name": 1},
            {"type": "custom", "name": "c", "format": {"type": "grammar", "syntax": 1}},
        ],
        "tool_choice": {"type": "function", "name": 1},
        "text": {"format": {"type": "json_schema", "strict": 1}},
    }
    assert [path for path, _ in refused(value)] == [
        "input[0].content[1].image_url",
        "input[0].content[2].input_audio.data",
        "tools[0].name",
        "tools[1].format.syntax",
        "tool_choice.name",
        "text.format.strict",
    ]


def test_a_missing_type_means_a_message_or_a_reference() -> None:
    for value in ({"role": "user", "content": "hi"}, {"type": None, "id": "m", "role": "user", "content": "hi"}):
        assert parse(Item, value).WhichOneof("item") == "message"
    for value in ({"id": "msg_1"}, {"type": None, "id": "msg_1", "status": None}):
        assert parse(Item, value).item_reference.id == "msg_1"
    assert parse(Item, {"type": "item_reference", "id": "msg_1"}).item_reference.id == "msg_1"


@pytest.mark.parametrize("value", [{}, {"id": "a", "content": "hi"}, {"call_id": "c", "output": "x"}])
def test_any_other_item_needs_its_type(value: object) -> None:
    assert refused({"input": [value]}) == (
        ("input[0].type", 'missing; only an object with "role" or "id" alone may leave it out'),
    )


@pytest.mark.parametrize(
    ("kind", "known"),
    [
        (Format, "text, json_object, json_schema"),
        (Tool, "function, custom, local_shell, shell, apply_patch"),
        (Choice, "function, custom, apply_patch, shell, allowed_tools"),
        (response_items_pb2.ResponseCustomToolFormat, "text, grammar"),
        (
            response_items_pb2.ResponseAnnotation,
            "url_citation, file_citation, container_file_citation, file_path",
        ),
    ],
)
def test_every_other_flat_union_needs_its_type_and_that_is_the_only_complaint(
    kind: type[Message], known: str
) -> None:
    assert refused({"name": "f"}, kind) == (("type", f"missing; expected one of {known}"),)
    assert refused({"type": 5, "name": "f"}, kind) == (("type", f"expected one of {known}, got a number"),)
    assert refused({"type": [], "name": "f"}, kind) == (("type", f"expected one of {known}, got an array"),)
    with pytest.raises(WireError, match="expected"):
        parse(kind, [])


def test_an_unknown_type_is_kept_whole_with_its_key_order() -> None:
    value = {"z": 1, "type": "tool_search_call", "a": {"c": 1.0, "b": None}, "id": "tsc_1"}
    item = parse(Item, value)
    assert item.opaque.type == "tool_search_call"
    assert item.opaque.json == '{"z":1,"type":"tool_search_call","a":{"c":1.0,"b":null},"id":"tsc_1"}'
    assert rendered(item) == value
    # The arm's own name, and that of a hidden one, are types like any other.
    assert rendered(parse(Item, {"type": "opaque", "json": 1})) == {"type": "opaque", "json": 1}
    assert rendered(parse(Choice, {"type": "mode", "mode": 1})) == {"type": "mode", "mode": 1}


def test_an_unknown_type_is_refused_where_nothing_can_keep_it() -> None:
    tool = {"type": "custom", "name": "c", "format": {"type": "abnf", "definition": "d"}}
    assert refused({"tools": [tool]}) == (("tools[0].format.type", "unknown type; expected one of text, grammar"),)


def test_nested_unknown_fields_are_refused_by_path() -> None:
    value = {
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "a", "b": 1}], "foo": 1},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "output_text", "x": 1}]},
        ],
        "tools": [{"type": "local_shell", "name": "x"}],
        "tool_choice": {"type": "shell", "name": "x"},
        "reasoning": {"budget": 1},
    }
    with pytest.raises(WireError) as caught:
        parse(Request, value)
    assert [path for path, _ in caught.value.violations] == [
        "input[0].content[0].b",
        "input[0].foo",
        "input[1].output[0].x",
        "tools[0].name",
        "tool_choice.name",
        "reasoning.budget",
    ]
    assert {text for _, text in caught.value.violations} == {"unknown field; remove it"}
    assert caught.value.reason is Reason.UNKNOWN_FIELD


def test_a_nested_unknown_field_that_is_a_hint_is_left_out_and_named_once() -> None:
    part = {"type": "input_text", "text": "a", "cache_control": {"type": "ephemeral"}}
    value = {"input": [{"role": "user", "content": [part, part], "cache_control": {}}]}
    ignored: list[str] = []
    hints = frozenset({"input.cache_control", "input.content.cache_control"})
    message = parse(Request, value, hint_paths=hints, ignored=ignored)
    assert message == parse(Request, user(*[{"type": "input_text", "text": "a"}] * 2))
    assert sorted(ignored) == sorted(hints)
    assert [path for path, _ in refused(value, hint_paths=frozenset({"input.cache_control"}))] == [
        "input[0].content[0].cache_control",
        "input[0].content[1].cache_control",
    ]


def test_top_level_fields_that_nobody_named_go_to_extra() -> None:
    message = parse(Request, {"input": "hi", "min_p": 1.0, "client_metadata": {"b": [1], "a": None}})
    assert dict(message.extra) == {"min_p": "1.0", "client_metadata": '{"b":[1],"a":null}'}


def test_a_tool_choice_is_a_word_or_an_object() -> None:
    for word, number in (("none", 1), ("auto", 2), ("required", 3)):
        message = parse(Request, {"tool_choice": word})
        assert message.tool_choice.mode == number
        assert rendered(message) == {"tool_choice": word}
    assert parse(Choice, {"type": "function", "name": "f"}).function == tools_pb2.NamedTool(name="f")
    assert parse(Choice, {"type": "apply_patch"}).WhichOneof("choice") == "apply_patch"
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}
    assert parse(Choice, allowed).allowed_tools.tools == '[{"type":"function","name":"f"}]'
    assert parse(Choice, {"type": "web_search"}).opaque.type == "web_search"
    assert refused("any", Choice) == (("", "unknown value; expected one of none, auto, required"),)
    assert refused({"tool_choice": 5}) == (
        ("tool_choice", "expected one of none, auto, required or an object, got a number"),
    )


def test_json_is_kept_as_text_with_its_key_order_and_its_numbers() -> None:
    schema = b'{"b": 1, "a": 1.0, "z": 18446744073709551615}'
    text = '{"b":1,"a":1.0,"z":18446744073709551615}'
    body = b'{"tools": [{"type": "function", "name": "f", "parameters": %b}]}' % schema
    assert parse_bytes(Request, body).tools[0].function.parameters == text
    body = b'{"text": {"format": {"type": "json_schema", "name": "s", "schema": %b}}}' % schema
    message = parse_bytes(Request, body)
    assert message.text.format.json_schema.schema == text
    assert rendered(message)["text"]["format"]["schema"] == orjson.loads(schema)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({"type": "local_shell_call", "action": []}, "action: expected an object, got an array"),
        ({"type": "shell_call_output", "output": "x"}, "output: expected an array, got a string"),
        ({"type": "apply_patch_call", "operation": "x"}, "operation: expected an object, got a string"),
        ({"type": "computer_call_output", "output": "x"}, "output: expected an object, got a string"),
        ({"type": "local_shell_call_output", "output": {}}, "output: expected a string, got an object"),
        ({"type": "mcp_call", "arguments": {}}, "arguments: expected a string, got an object"),
        ({"type": "function_call", "arguments": {}}, "arguments: expected a string, got an object"),
        ({"type": "mcp_list_tools", "tools": {}}, "tools: expected an array, got an object"),
    ],
)
def test_what_is_json_and_what_is_a_string_are_told_apart(value: object, what: str) -> None:
    with pytest.raises(WireError) as caught:
        parse(Item, value)
    assert str(caught.value) == what


@pytest.mark.parametrize("error", ["it is down", {"type": "http_error", "code": 500, "message": "m"}, [1], 5])
def test_an_mcp_servers_error_is_kept_as_it_came(error: object) -> None:
    for kind in ("mcp_list_tools", "mcp_call"):
        item = parse(Item, {"type": kind, "error": error})
        assert rendered(item)["error"] == error


def test_a_conversation_is_an_id_or_an_object_with_one() -> None:
    for value in ("conv_1", {"id": "conv_1"}):
        assert rendered(parse(Request, {"conversation": value})) == {"conversation": value}
    assert refused({"conversation": {"id": 1}})[0][0] == "conversation"
    assert parse(Request, {"prompt": {"id": "p", "variables": {}}}).prompt == '{"id":"p","variables":{}}'
    assert refused({"prompt": "p"}) == (("prompt", "expected an object, got a string"),)


def test_settings_that_providers_grow_are_read() -> None:
    value = {
        "stream_options": {"include_obfuscation": False},
        "context_management": [{"type": "compaction", "compact_threshold": 1000}],
        "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
        "moderation": {"model": "m"},
        "metadata": {"a": "b"},
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "high", "summary": "auto", "context": "auto"},
        "text": {"verbosity": "low", "format": {"type": "json_object"}},
    }
    assert rendered(parse(Request, value)) == value


@pytest.mark.parametrize(
    ("template", "path"),
    [
        (b'{"input": [{"type": "x", "y": %s}]}', "input[0]"),
        (b'{"tools": [{"type": "function", "parameters": {"a": %s}}]}', "tools[0].parameters"),
        (b'{"anything": %s}', "anything"),
    ],
)
def test_json_that_is_kept_may_be_deep_but_not_too_deep(template: bytes, path: str) -> None:
    parse_bytes(Request, template % (b"[" * 250 + b"]" * 250))
    with pytest.raises(WireError) as caught:
        parse_bytes(Request, template % (b"[" * 1000 + b"]" * 1000))
    assert caught.value.violations == ((path, "nested too deeply; at most 254 levels"),)


def test_deep_json_where_none_belongs_is_a_type_error() -> None:
    for template, path in (
        (b'{"input": %s}', "input[0]"),
        (b'{"input": [{"role": "user", "content": %s}]}', "input[0].content[0]"),
    ):
        with pytest.raises(WireError) as caught:
            parse_bytes(Request, template % (b"[" * 1000 + b"]" * 1000))
        assert caught.value.violations == ((path, "expected an object, got an array"),)
    nested = b'{"role": "user", "content": [' * 300 + b"]}" * 300
    with pytest.raises(WireError) as caught:
        parse_bytes(Request, b'{"input": [%s]}' % nested)
    # A part with a role is no message: only items may leave their type out.
    assert caught.value.violations[0][0] == "input[0].content[0].type"


def test_an_error_names_types_and_never_values() -> None:
    secret = "sk-live-1234567890"
    values: list[dict[str, object]] = [
        {"input": [{"type": 5, "x": secret}]},
        {"input": [{"x": secret}]},
        {"tool_choice": secret},
        {"tools": [{"type": "custom", "format": {"type": secret}}]},
        {"tools": [{"type": "function", "parameters": secret}]},
        {"conversation": {"id": secret, "x": secret}},
    ]
    for value in values:
        with pytest.raises(WireError) as caught:
            parse(Request, value)
        assert secret not in str(caught.value)
