"""What the reader takes, what it refuses, and how it says so."""

from typing import Any

import pytest
from eurouter.v1 import chat_pb2, preferences_pb2, routing_pb2, tools_pb2

from service.domain.errors import Reason
from service.wire import MAX_VIOLATIONS, WireError, parse, parse_bytes
from service.wire.walk import MAX_ENTRIES

Request = chat_pb2.CreateChatCompletionRequest


def refused(value: object, **options: Any) -> tuple[tuple[str, str], ...]:
    with pytest.raises(WireError) as caught:
        parse(Request, value, **options)
    return caught.value.violations


def user(content: object, **fields: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": content, **fields}]}


@pytest.mark.parametrize("field", [f.name for f in Request.DESCRIPTOR.fields if f.name != "extra"])
def test_null_is_unset_for_every_field_of_a_request(field: str) -> None:
    assert parse(Request, {field: None}) == Request()


def test_null_is_unset_for_nested_and_for_unknown_fields_too() -> None:
    message = parse(Request, {**user("hi", refusal=None, not_ours=None), "not_ours": None})
    assert message == parse(Request, user("hi"))
    assert not message.extra


def test_scalars_keep_their_presence() -> None:
    message = parse(Request, {"temperature": 0, "stream": False, "user": "", "n": 0})
    for field in ("temperature", "stream", "user", "n"):
        assert message.HasField(field)
    assert not message.HasField("top_p")


def test_an_empty_object_is_present() -> None:
    assert parse(Request, {"stream_options": {}}).HasField("stream_options")


@pytest.mark.parametrize(("value", "number"), [(5, 5), (5.0, 5), (-0.0, 0), (2**31 - 1, 2**31 - 1)])
def test_a_count_takes_integers_and_integral_floats(value: object, number: int) -> None:
    assert parse(Request, {"max_tokens": value}).max_tokens == number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("5", "expected an integer, got a string"),
        (True, "expected an integer, got a boolean"),
        (5.5, "expected an integer, got a number with a fraction"),
        (2**31, "out of range; expected an integer from -2147483648 to 2147483647"),
        (-(2**31) - 1, "out of range; expected an integer from -2147483648 to 2147483647"),
        (1e300, "out of range; expected an integer from -2147483648 to 2147483647"),
        ([5], "expected an integer, got an array"),
    ],
)
def test_a_count_takes_nothing_else(value: object, text: str) -> None:
    assert refused({"max_tokens": value}) == (("max_tokens", text),)


def test_a_seed_takes_64_bits_and_no_more() -> None:
    assert parse(Request, {"seed": -(2**63)}).seed == -(2**63)
    assert parse_bytes(Request, b'{"seed": 9223372036854775807}').seed == 2**63 - 1
    with pytest.raises(WireError, match="seed: out of range"):
        parse_bytes(Request, b'{"seed": 9223372036854775808}')


@pytest.mark.parametrize("value", [1, 1.0, 2**53])
def test_a_real_number_takes_integers_and_floats(value: float) -> None:
    assert parse(Request, {"temperature": value}).temperature == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "expected a number, got a boolean"),
        ("1", "expected a number, got a string"),
        (float("nan"), "expected a finite number"),
        (float("inf"), "expected a finite number"),
        (10**400, "the number is too large"),
    ],
)
def test_a_real_number_takes_nothing_else(value: object, text: str) -> None:
    assert refused({"temperature": value}) == (("temperature", text),)


@pytest.mark.parametrize("value", [0, 1, "true", {}])
def test_a_boolean_is_a_boolean(value: object) -> None:
    assert refused({"stream": value})[0][1].startswith("expected a boolean, got ")


@pytest.mark.parametrize("value", [1, True, {}, []])
def test_a_string_is_a_string(value: object) -> None:
    assert refused({"model": value})[0][1].startswith("expected a string, got ")


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"model": "\ud800"}, "model"),
        ({"models": ["a", "\udfff"]}, "models[1]"),
        ({"metadata": {"a": "\ud800"}}, "metadata.a"),
        ({"metadata": {"\ud800": "a"}}, "metadata.?"),
        (user("\ud800"), "messages[0].content"),
        ({"something": {"a": "\ud800"}}, "something"),
        ({"tools": [{"type": "web_\ud800"}]}, "tools[0]"),
    ],
)
def test_a_lone_surrogate_is_named_with_its_path(value: object, path: str) -> None:
    assert [where for where, _ in refused(value)] == [path]


def test_a_role_is_read_by_its_lower_case_name() -> None:
    for name in ("system", "developer", "user", "assistant", "tool", "function"):
        message = parse(Request, {"messages": [{"role": name}]})
        assert message.messages[0].role == chat_pb2.ChatRole.Value(f"CHAT_ROLE_{name.upper()}")


@pytest.mark.parametrize("value", ["", "User", "CHAT_ROLE_USER", "unspecified", "robot"])
def test_an_unknown_name_is_refused_with_the_allowed_ones_and_not_echoed(value: str) -> None:
    assert refused({"messages": [{"role": value}]}) == (
        (
            "messages[0].role",
            "unknown value; expected one of system, developer, user, assistant, tool, function",
        ),
    )


def test_an_enum_by_number_is_refused() -> None:
    assert refused({"provider": {"data_collection": 2}}) == (
        ("provider.data_collection", "expected one of allow, deny, got a number"),
    )
    message = parse(preferences_pb2.ProviderPreferences, {"data_collection": "deny"})
    assert message.data_collection == preferences_pb2.DATA_COLLECTION_DENY


def test_content_is_a_string_or_a_list_of_parts() -> None:
    (part,) = parse(Request, user("hi")).messages[0].content
    assert part.text == "hi"
    (part,) = parse(Request, user("")).messages[0].content
    assert part.WhichOneof("part") == "text"
    assert not parse(Request, user(None)).messages[0].content
    assert not parse(Request, user([])).messages[0].content
    parts = parse(Request, user([{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]))
    assert [part.WhichOneof("part") for part in parts.messages[0].content] == ["text", "refusal"]
    assert refused(user({"type": "text"})) == (
        ("messages[0].content", "expected a string or an array of parts, got an object"),
    )
    assert refused(user(["hi"])) == (("messages[0].content[0]", "expected an object, got a string"),)


def test_stop_is_a_string_or_a_list_of_strings() -> None:
    assert parse(Request, {"stop": "a"}).stop == ["a"]
    assert parse(Request, {"stop": ["a", "b"]}).stop == ["a", "b"]
    assert refused({"stop": ["a", None]}) == (("stop[1]", "expected a string, got null"),)
    assert refused({"stop": 5}) == (("stop", "expected a string or an array of strings, got a number"),)


def test_a_prediction_is_of_type_content() -> None:
    for content in ("x", [{"type": "text", "text": "x"}]):
        message = parse(Request, {"prediction": {"type": "content", "content": content}})
        assert message.prediction.content[0].text == "x"
    assert refused({"prediction": {"content": "x"}}) == (("prediction.type", 'missing; expected "content"'),)
    assert refused({"prediction": {"type": "text", "content": "x"}}) == (
        ("prediction.type", 'unknown value; expected "content"'),
    )
    assert refused({"prediction": {"type": 1}}) == (("prediction.type", 'expected "content", got a number'),)


def test_a_user_location_is_approximate() -> None:
    place = {"type": "approximate", "approximate": {"country": "DE", "city": "Berlin"}}
    message = parse(Request, {"web_search_options": {"user_location": place}})
    assert message.web_search_options.user_location.approximate.city == "Berlin"
    assert refused({"web_search_options": {"user_location": {"approximate": {}}}}) == (
        ("web_search_options.user_location.type", 'missing; expected "approximate"'),
    )


def test_a_voice_is_a_name_or_an_object_with_an_id() -> None:
    assert parse(Request, {"audio": {"voice": "alloy"}}).audio.voice == "alloy"
    assert parse(Request, {"audio": {"voice": {"id": "v 1"}}}).audio.voice == '{"id":"v 1"}'
    for voice in ({}, {"id": 1}, {"id": "a", "b": 1}):
        assert refused({"audio": {"voice": voice}})[0][0] == "audio.voice"


def function(parameters: object) -> dict[str, object]:
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]}


def test_a_schema_is_kept_as_text_with_its_key_order_and_its_numbers() -> None:
    schema = b'{"b": 1, "a": 1.0, "z": {"y": -0.0, "x": 18446744073709551615, "\xc3\xa9": "\\u00e9"}}'
    message = parse_bytes(
        Request, b'{"tools":[{"type":"function","function":{"name":"f","parameters":' + schema + b"}}]}"
    )
    text = '{"b":1,"a":1.0,"z":{"y":-0.0,"x":18446744073709551615,"é":"é"}}'
    assert message.tools[0].function.parameters == text
    message = parse_bytes(
        Request,
        b'{"response_format":{"type":"json_schema","json_schema":{"name":"s","schema":' + schema + b"}}}",
    )
    assert message.response_format.json_schema.schema == text


def test_an_integer_beyond_64_bits_becomes_a_float_of_the_same_size() -> None:
    message = parse_bytes(Request, b'{"extra_number": 18446744073709551616}')
    assert message.extra["extra_number"] == "1.8446744073709552e+19"


@pytest.mark.parametrize("value", [[], "{}", 1, True])
def test_a_schema_is_an_object(value: object) -> None:
    assert refused(function(value))[0][0] == "tools[0].function.parameters"
    assert refused(function(value))[0][1].startswith("expected an object, got ")
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": value}}
    assert refused({"response_format": form})[0][0] == "response_format.json_schema.schema"


def test_other_json_text_takes_what_its_comment_says() -> None:
    assert parse(Request, {"moderation": {"model": "m", "policy": [1]}}).moderation.policy == "[1]"
    assert parse(Request, {"moderation": {"model": "m", "policy": {}}}).moderation.policy == "{}"
    assert refused({"moderation": {"policy": "x"}}) == (
        ("moderation.policy", "expected an object or an array, got a string"),
    )
    tools = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": {}}}
    assert refused({"tool_choice": tools}) == (
        ("tool_choice.allowed_tools.tools", "expected an array, got an object"),
    )


def test_the_arguments_of_a_call_stay_the_string_that_they_are() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": '}}
    message = parse(Request, {"messages": [{"role": "assistant", "tool_calls": [call]}]})
    assert message.messages[0].tool_calls[0].function.arguments == '{"a": '
    call["function"] = {"name": "f", "arguments": {"a": 1}}
    assert refused({"messages": [{"role": "assistant", "tool_calls": [call]}]}) == (
        ("messages[0].tool_calls[0].function.arguments", "expected a string, got an object"),
    )


def test_metadata_holds_strings_and_logit_bias_numbers() -> None:
    message = parse(Request, {"metadata": {"a": "b", "": ""}, "logit_bias": {"1": 5, "2": -0.5}})
    assert dict(message.metadata) == {"a": "b", "": ""}
    assert dict(message.logit_bias) == {"1": 5.0, "2": -0.5}
    assert refused({"metadata": {"a": 1, "b": None}}) == (
        ("metadata.a", "expected a string, got a number"),
        ("metadata.b", "expected a string, got null"),
    )
    assert refused({"logit_bias": {"1": "x", "2": True}}) == (
        ("logit_bias.1", "expected a number, got a string"),
        ("logit_bias.2", "expected a number, got a boolean"),
    )
    assert refused({"metadata": []}) == (("metadata", "expected an object, got an array"),)


def test_top_level_fields_that_nobody_named_go_to_extra() -> None:
    message = parse(Request, {"min_p": 1.0, "thinking": {"b": [1], "a": None}, "extra": "x"})
    assert dict(message.extra) == {"min_p": "1.0", "thinking": '{"b":[1],"a":null}', "extra": '"x"'}


def test_a_request_inside_another_message_has_its_own_extra() -> None:
    message = parse(routing_pb2.DryRunRoutingRequest, {"request": {"model": "m", "min_p": 1}})
    assert dict(message.request.extra) == {"min_p": "1"}
    with pytest.raises(WireError) as caught:
        parse(routing_pb2.DryRunRoutingRequest, {"min_p": 1})
    assert caught.value.violations == (("min_p", "unknown field; remove it"),)


def test_nested_unknown_fields_are_refused_by_path() -> None:
    request = {**user([{"type": "text", "text": "a", "b": 1}], foo=1), "stream_options": {"x": 1}}
    with pytest.raises(WireError) as caught:
        parse(Request, request)
    assert [path for path, _ in caught.value.violations] == [
        "messages[0].content[0].b",
        "messages[0].foo",
        "stream_options.x",
    ]
    assert {text for _, text in caught.value.violations} == {"unknown field; remove it"}
    assert caught.value.reason is Reason.UNKNOWN_FIELD


def test_a_nested_unknown_field_that_is_a_hint_is_left_out_and_named_once() -> None:
    part = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    ignored: list[str] = []
    hints = frozenset({"messages.cache_control", "messages.content.cache_control"})
    message = parse(Request, user([part, part], cache_control={}), hint_paths=hints, ignored=ignored)
    assert message == parse(Request, user([{"type": "text", "text": "a"}] * 2))
    assert sorted(ignored) == sorted(hints)


def test_a_hint_counts_at_its_own_path_only() -> None:
    hints = frozenset({"messages.cache_control"})
    tool = {"type": "function", "function": {"name": "f"}, "cache_control": {}}
    assert refused({"tools": [tool]}, hint_paths=hints) == (
        ("tools[0].cache_control", "unknown field; remove it"),
    )


def test_many_hints_do_not_hide_a_violation() -> None:
    messages: list[object] = [{"role": "user", "cache_control": 1} for _ in range(50)]
    hints = frozenset({"messages.cache_control"})
    value = {"messages": [*messages, {"role": "nobody"}]}
    assert [path for path, _ in refused(value, hint_paths=hints)] == ["messages[50].role"]


def test_the_first_violations_are_listed_and_no_more() -> None:
    violations = refused({"stop": [1] * 1000})
    assert [path for path, _ in violations] == [f"stop[{index}]" for index in range(MAX_VIOLATIONS)]


def test_an_error_names_types_and_never_values() -> None:
    secret = "sk-live-1234567890"
    values: list[dict[str, object]] = [
        {"temperature": secret},
        {"tool_choice": secret},
        {"messages": [{"role": secret}]},
        {"response_format": {"type": secret, "x": "\ud800"}},
        {"tools": [{"type": "custom", "custom": {"format": {"type": secret}}}]},
        {"prediction": {"type": secret}},
    ]
    for value in values:
        with pytest.raises(WireError) as caught:
            parse(Request, value)
        assert secret not in str(caught.value)


def test_a_long_field_name_is_cut() -> None:
    ((path, _),) = refused({"stream_options": {"x" * 5000: 1}})
    assert len(path) < 100


@pytest.mark.parametrize("value", [None, [], "x", 1, True])
def test_a_document_that_is_no_object_is_refused_at_the_empty_path(value: object) -> None:
    ((path, text),) = refused(value)
    assert path == ""
    assert text.startswith("expected an object, got ")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "the body is empty"),
        (b" \n", "the body is empty"),
        (b"{", "not valid JSON"),
        (b'{"model": "a",}', "not valid JSON"),
        (b'{"temperature": NaN}', "not valid JSON"),
        (b'{"temperature": 1e999}', "not valid JSON"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"model": "\xff"}', "not valid UTF-8"),
        (b'{"model": "\\ud800"}', "not valid JSON"),
        (b"[]", "expected a JSON object as the body, got an array"),
        (b"null", "expected a JSON object as the body, got null"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a":' * 100_000, "not valid JSON"),
    ],
)
def test_a_body_that_is_no_json_object_is_malformed(body: bytes, text: str) -> None:
    with pytest.raises(WireError) as caught:
        parse_bytes(Request, body)
    ((path, message),) = caught.value.violations
    assert path == ""
    assert text in message
    assert caught.value.reason is Reason.MALFORMED_BODY


@pytest.mark.parametrize(
    ("template", "path"),
    [
        (b'{"anything": %s}', "anything"),
        (b'{"tools": [{"type": "web", "x": %s}]}', "tools[0]"),
        (b'{"moderation": {"policy": %s}}', "moderation.policy"),
    ],
)
def test_json_that_is_kept_may_be_deep_but_not_too_deep(template: bytes, path: str) -> None:
    parse_bytes(Request, template % (b"[" * 250 + b"]" * 250))
    with pytest.raises(WireError) as caught:
        parse_bytes(Request, template % (b"[" * 1000 + b"]" * 1000))
    assert caught.value.violations == ((path, "nested too deeply; at most 254 levels"),)


def test_deep_json_where_none_belongs_is_a_type_error() -> None:
    with pytest.raises(WireError, match=r"messages\[0\]: expected an object, got an array"):
        parse_bytes(Request, b'{"messages": ' + b"[" * 1000 + b"]" * 1000 + b"}")


def test_answers_keep_unknown_fields_at_each_level_that_has_extra() -> None:
    answer = {
        "id": "1",
        "x_groq": {"id": "r"},
        "choices": [
            {"index": 0, "seed": 5, "message": {"role": "assistant", "content": "a", "reasoning_content": "b"}}
        ],
        "usage": {"prompt_tokens": 1, "spent": 0.5},
    }
    message = parse(chat_pb2.ChatCompletion, answer)
    assert dict(message.extra) == {"x_groq": '{"id":"r"}'}
    assert dict(message.choices[0].extra) == {"seed": "5"}
    assert dict(message.choices[0].message.extra) == {"reasoning_content": '"b"'}
    assert dict(message.usage.extra) == {"spent": "0.5"}
    chunk = {"obfuscation": "x", "choices": [{"index": 0, "delta": {"token_id": 7}}]}
    piece = parse(chat_pb2.ChatCompletionChunk, chunk)
    assert dict(piece.extra) == {"obfuscation": '"x"'}
    assert dict(piece.choices[0].delta.extra) == {"token_id": "7"}


def test_type_on_a_message_that_is_no_union_is_a_field_like_any_other() -> None:
    detail = {"type": "reasoning.text", "text": "t"}
    message = parse(Request, {"messages": [{"role": "assistant", "reasoning_details": [detail]}]})
    assert message.messages[0].reasoning_details[0].type == "reasoning.text"
    assert refused({"functions": [{"type": "function", "name": "f"}]}) == (
        ("functions[0].type", "unknown field; remove it"),
    )


def test_a_union_can_be_parsed_on_its_own() -> None:
    assert parse(tools_pb2.ToolChoice, "auto").mode == tools_pb2.TOOL_CHOICE_MODE_AUTO
    with pytest.raises(WireError) as caught:
        parse(tools_pb2.ToolChoice, 5)
    assert caught.value.violations == (("", "expected one of none, auto, required or an object, got a number"),)


def test_lists_are_bounded_together_however_they_are_nested() -> None:
    text = {"type": "text", "text": "a"}
    half = [text] * (MAX_ENTRIES // 2)
    message = {"role": "user", "content": half}
    assert len(parse(Request, {"messages": [message, {**message, "content": half[2:]}]}).messages) == 2
    [(path, said)] = refused({"messages": [message, message]})
    assert path == "messages[1].content"
    assert said == "too long: all lists of a request may hold 50000 entries together"


def test_a_list_that_is_far_too_long_is_refused_before_it_is_read() -> None:
    [(path, said)] = refused({"messages": ["no message"] * (MAX_ENTRIES + 1)})
    assert (path, said[:9]) == ("messages", "too long:")
