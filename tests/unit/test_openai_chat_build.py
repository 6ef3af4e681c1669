"""What a row's quirks, refusals and passthrough make of an OpenAI chat request."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from adapters.providers.openai_chat import DIALECT
from service.domain.catalog import Endpoint, Quirks
from service.domain.errors import Reason, ServiceError
from service.domain.fields import Field
from service.domain.generation import (
    CustomTool,
    FunctionTool,
    Generation,
    Grammar,
    Image,
    Opaque,
    Reasoning,
    Role,
    Text,
    ToolCall,
    Turn,
)
from tests.contract.sample import endpoint_for
from tests.golden.requests import HELLO, WEATHER, called, result, said


def body(generation: Generation, endpoint: Endpoint | None = None, *, stream: bool = False) -> dict[str, Any]:
    request = DIALECT.build(generation, endpoint or endpoint_for(DIALECT), stream=stream)
    found: dict[str, Any] = json.loads(request.body)
    return found


def without(*refused: Field) -> Endpoint:
    return endpoint_for(DIALECT, DIALECT.expressible - set(refused))


def passing(*names: str) -> Endpoint:
    endpoint = endpoint_for(DIALECT)
    return replace(endpoint, provider=replace(endpoint.provider, passthrough=frozenset(names)))


def test_the_row_names_the_output_limit() -> None:
    generation = Generation((HELLO,), max_output_tokens=5)
    assert body(generation, endpoint_for(DIALECT, max_tokens_field="max_tokens"))["max_tokens"] == 5
    assert body(generation)["max_completion_tokens"] == 5


@pytest.mark.parametrize("role", ["system", "developer"])
def test_the_row_names_the_operators_role(role: str) -> None:
    generation = Generation((said(Role.SYSTEM, "a"), said(Role.DEVELOPER, "b"), HELLO))
    messages = body(generation, endpoint_for(DIALECT, system_role=role))["messages"]
    assert [message["role"] for message in messages] == [role, role, "user"]


def test_the_row_says_where_the_effort_goes() -> None:
    generation = Generation((HELLO,), reasoning_effort="low", reasoning_summary="auto")
    both = DIALECT.expressible | {Field.REASONING_SUMMARY}
    assert "reasoning" not in body(generation)
    style = endpoint_for(DIALECT, both, reasoning_style="reasoning_object")
    assert body(generation, style)["reasoning"] == {"effort": "low", "summary": "auto"}
    none = body(generation, endpoint_for(DIALECT, both, reasoning_style="none"))
    assert not none.keys() & {"reasoning", "reasoning_effort"}


def test_what_a_row_can_express_follows_its_reasoning_style() -> None:
    for style, effort, summary in (
        ("reasoning_effort", True, False),
        ("reasoning_object", True, True),
        ("none", False, False),
    ):
        table = DIALECT.expressible_with(Quirks(reasoning_style=style))  # type: ignore[arg-type]
        assert (Field.REASONING_EFFORT in table, Field.REASONING_SUMMARY in table) == (effort, summary)


def test_usage_is_asked_for_only_of_rows_that_know_the_option() -> None:
    assert body(Generation((HELLO,)), stream=True)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in body(
        Generation((HELLO,)), endpoint_for(DIALECT, stream_usage=False), stream=True
    )
    assert not body(Generation((HELLO,))).keys() & {"stream", "stream_options"}


def test_a_stream_is_asked_for_as_one() -> None:
    for stream, accept in ((True, "text/event-stream"), (False, "application/json")):
        request = DIALECT.build(Generation((HELLO,)), endpoint_for(DIALECT), stream=stream)
        assert request.path == "/chat/completions"
        assert dict(request.headers)["accept"] == accept


def test_more_stop_sequences_than_the_row_takes_are_an_error_that_names_the_field() -> None:
    with pytest.raises(ServiceError) as error:
        body(Generation((HELLO,), stop=("a", "b")), endpoint_for(DIALECT, max_stop=1))
    assert error.value.reason is Reason.INVALID_REQUEST
    assert error.value.violations[0].path == "stop"


def test_an_image_for_an_endpoint_without_eyes_is_an_error_and_never_dropped() -> None:
    turn = Turn(Role.USER, (Text("?"), Image("https://example.com/a.png")))
    with pytest.raises(ServiceError) as error:
        body(Generation((HELLO, turn)), without(Field.IMAGE_INPUT))
    assert error.value.violations[0].path == "messages[1].content[1]"


def test_hints_that_the_endpoint_lacks_are_left_out() -> None:
    turn = Turn(Role.USER, (Image("https://example.com/a.png", "high", cache_breakpoint=True),), name="ada")
    lean = without(Field.AUTHOR_NAME, Field.IMAGE_DETAIL, Field.PROMPT_CACHE_BREAKPOINT, Field.USER)
    written = body(Generation((turn,), options={Field.USER: "u"}), lean)
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    assert written == {"model": "upstream-model", "messages": [{"role": "user", "content": [image]}]}


def test_unnamed_fields_go_only_where_the_row_passes_them_and_never_over_ours() -> None:
    generation = Generation((HELLO,), extra={"top_k": "40", "min_p": "0.10", "model": '"evil"'})
    written = body(generation, passing("top_k", "model"))
    assert written["top_k"] == 40
    assert written["model"] == "upstream-model"
    assert "min_p" not in written
    assert b'"top_k":40' in DIALECT.build(generation, passing("top_k"), stream=False).body


def test_unknown_kinds_of_our_dialect_go_as_they_came_and_others_never() -> None:
    part = Opaque("openai_chat", "video_url", '{"type":"video_url","video_url":{"url":"https://e.com/v"}}')
    written = body(Generation((Turn(Role.USER, (part,)),)))
    assert written["messages"][0]["content"] == [json.loads(part.json)]
    with pytest.raises(ServiceError):
        body(Generation((Turn(Role.USER, (replace(part, dialect="openai_responses"),)),)))


def test_a_server_run_tool_of_another_dialect_is_left_out_and_so_is_a_choice_between_none() -> None:
    foreign = Opaque("openai_responses", "web_search", '{"type":"web_search"}')
    assert not body(Generation((HELLO,), (foreign,), tool_choice="auto")).keys() & {"tools", "tool_choice"}
    both = body(Generation((HELLO,), (foreign, FunctionTool("f")), tool_choice="auto"))
    assert both["tools"] == [{"type": "function", "function": {"name": "f"}}]
    assert both["tool_choice"] == "auto"


def test_reasoning_goes_back_only_where_the_row_wants_it_and_in_its_spelling() -> None:
    turn = Turn(
        Role.ASSISTANT,
        (
            Reasoning("Plain. "),
            Reasoning("Signed.", signature="c2ln", format="anthropic-claude-v1", details=True),
            Reasoning(encrypted="b3A=", format="anthropic-claude-v1", id="rs_1", details=True),
            Text("Done."),
        ),
    )
    generation = Generation((HELLO, turn, HELLO))
    assert body(generation)["messages"][1] == {"role": "assistant", "content": "Done."}
    plain = body(generation, passing("messages.reasoning_content"))["messages"][1]
    assert plain == {"role": "assistant", "content": "Done.", "reasoning_content": "Plain. Signed."}
    detailed = body(generation, passing("messages.reasoning_details"))["messages"][1]
    assert detailed["reasoning_details"] == [
        {
            "type": "reasoning.text",
            "text": "Signed.",
            "signature": "c2ln",
            "format": "anthropic-claude-v1",
            "index": 0,
        },
        {
            "type": "reasoning.encrypted",
            "data": "b3A=",
            "format": "anthropic-claude-v1",
            "id": "rs_1",
            "index": 1,
        },
    ]


def test_several_calls_in_one_turn_are_tool_calls_even_in_the_old_style() -> None:
    turns = (
        HELLO,
        called(ToolCall("a", "f", "{}"), ToolCall("b", "g", "{}")),
        result("a", "1"),
        result("b", "2"),
    )
    messages = body(Generation(turns, (FunctionTool("f"),), functions_style=True))["messages"]
    assert [call["id"] for call in messages[1]["tool_calls"]] == ["a", "b"]
    # The old form names a result by its function.
    assert [(message["role"], message["name"]) for message in messages[2:]] == [
        ("function", "f"),
        ("function", "g"),
    ]


def test_the_old_form_has_no_word_for_required() -> None:
    with pytest.raises(ServiceError) as error:
        body(Generation((HELLO,), (FunctionTool("f"),), tool_choice="required", functions_style=True))
    assert error.value.violations[0].path == "function_call"


def test_biases_are_integers_where_they_can_be() -> None:
    request = DIALECT.build(
        Generation((HELLO,), logit_bias={"1": 5.0, "2": -1.5}), endpoint_for(DIALECT), stream=False
    )
    assert b'"logit_bias":{"1":5,"2":-1.5}' in request.body


def test_json_texts_keep_their_key_order_and_numbers() -> None:
    schema = '{"z":1.0,"a":123456789012345678901234567890,"m":{"b":1e2,"a":null}}'
    request = DIALECT.build(
        Generation((HELLO,), (FunctionTool("f", parameters=schema),)), endpoint_for(DIALECT), stream=False
    )
    assert schema.encode() in request.body


def test_a_tools_name_is_a_hint() -> None:
    turns = (HELLO, called(ToolCall("a", "f", "{}")), result("a", "1", "f"))
    assert body(Generation(turns))["messages"][2]["name"] == "f"
    assert "name" not in body(Generation(turns), without(Field.AUTHOR_NAME))["messages"][2]


def test_what_another_provider_ran_is_left_out() -> None:
    search = Opaque("openai_responses", "web_search", '{"type":"web_search"}')
    trace = Opaque("openai_responses", "web_search_call", "{}")
    call = ToolCall("c1", "get_weather", "{}")
    history = (
        HELLO,
        Turn(Role.ASSISTANT, (Reasoning("hm"), trace)),
        HELLO,
        Turn(Role.ASSISTANT, (trace, Text("Found"), call)),
        Turn(Role.TOOL, (*result("c1", "12").parts, trace)),
    )
    written = body(Generation(history, (search, WEATHER), tool_choice="auto"))
    assert [tool["type"] for tool in written["tools"]] == ["function"]
    roles = [(message["role"], message["content"]) for message in written["messages"]]
    assert roles == [("user", "Hello"), ("user", "Hello"), ("assistant", "Found"), ("tool", "12")]
    alone = body(Generation((HELLO,), (search,), tool_choice="auto", parallel_tool_calls=False))
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & alone.keys()


def test_a_custom_tool_goes_without_a_grammar_that_the_row_refuses() -> None:
    generation = Generation((HELLO,), (CustomTool("math", "Computes", Grammar("start: NUMBER", "lark")),))
    (tool,) = body(generation, without(Field.CUSTOM_GRAMMAR))["tools"]
    assert tool == {"type": "custom", "custom": {"name": "math", "description": "Computes"}}
