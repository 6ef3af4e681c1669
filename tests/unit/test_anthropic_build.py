"""What goes out to Anthropic's Messages API: one test per rule that gateways get wrong."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import orjson
import pytest
from anthropic.types.message_create_params import (
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)

from adapters.providers.anthropic import DIALECT
from adapters.providers.anthropic.build import DEFAULT_MAX_TOKENS
from adapters.providers.anthropic.messages import FORMAT
from service.domain.errors import Reason, ServiceError
from service.domain.fields import Field
from service.domain.generation import (
    CustomTool,
    File,
    FunctionTool,
    Generation,
    Image,
    Json,
    JsonSchema,
    NamedChoice,
    Opaque,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)
from tests.contract.sample import endpoint_for
from tests.golden.requests import CASES, PNG, WEATHER, called, result, said
from tests.support.strict_types import problems

HELLO = said(Role.USER, "Hello")
TOOL = FunctionTool("get_weather", "Weather", '{"type":"object","properties":{"city":{"type":"string"}}}')
PDF = base64.b64encode(b"%PDF-1.7").decode()


def body(generation: Generation, model: str = "claude-haiku-4-5", limit: int | None = 64000) -> dict[str, Any]:
    endpoint = replace(endpoint_for(DIALECT), upstream_model=model, max_output_tokens=limit)
    written: dict[str, Any] = json.loads(DIALECT.build(generation, endpoint, stream=False).body)
    return written


def refused(generation: Generation, model: str = "claude-haiku-4-5", limit: int | None = 64000) -> str:
    """The path that the refusal names."""
    with pytest.raises(ServiceError) as caught:
        body(generation, model, limit)
    assert caught.value.reason is Reason.INVALID_REQUEST
    return caught.value.violations[0].path


def asking(*parts: Any, **more: Any) -> Generation:
    return Generation((Turn(Role.USER, tuple(parts)),), **more)


def test_system_and_developer_turns_move_in_their_order_to_the_top_wherever_they_stand() -> None:
    turns = (
        said(Role.USER, "Hi"),
        said(Role.DEVELOPER, "One."),
        said(Role.USER, "You?"),
        said(Role.SYSTEM, "Two."),
    )
    written = body(Generation(turns))
    assert [block["text"] for block in written["system"]] == ["One.", "Two."]
    assert [message["role"] for message in written["messages"]] == ["user"]


def test_max_tokens_is_the_requests_then_the_catalogues_then_a_default_and_never_absent() -> None:
    assert body(Generation((HELLO,), max_output_tokens=5))["max_tokens"] == 5
    assert body(Generation((HELLO,)))["max_tokens"] == 64000
    assert body(Generation((HELLO,)), limit=None)["max_tokens"] == DEFAULT_MAX_TOKENS == 4096


def test_neighbours_of_one_role_merge() -> None:
    turns = (HELLO, said(Role.USER, "there"), said(Role.ASSISTANT, "a"), said(Role.ASSISTANT, "b"), HELLO)
    messages = body(Generation(turns))["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert [block["text"] for block in messages[0]["content"]] == ["Hello", "there"]


def test_tool_results_after_a_call_become_one_user_turn_with_the_results_before_the_text() -> None:
    turns = (
        HELLO,
        called(ToolCall("a", "get_weather", "{}"), ToolCall("b", "get_weather", "{}")),
        result("a", "1"),
        said(Role.USER, "Hurry."),
        result("b", "2"),
    )
    messages = body(Generation(turns, (TOOL,)))["messages"]
    assert [block["type"] for block in messages[2]["content"]] == ["tool_result", "tool_result", "text"]
    assert [block.get("tool_use_id") for block in messages[2]["content"]] == ["a", "b", None]


def test_blank_text_has_no_block_and_a_turn_of_tool_calls_no_text() -> None:
    turns = (said(Role.USER, " \n", "Hi"), called(ToolCall("a", "t", ""), text=""), result("a", " "))
    messages = body(Generation(turns, (TOOL,)))["messages"]
    assert messages[0]["content"] == "Hi"
    assert [block["type"] for block in messages[1]["content"]] == ["tool_use"]
    assert messages[2]["content"] == [{"type": "tool_result", "tool_use_id": "a"}]


def test_a_conversation_without_any_user_text_is_refused() -> None:
    assert refused(Generation((said(Role.SYSTEM, "Be brief."), said(Role.USER, "  ")))) == "messages"


def test_no_arguments_are_an_empty_object_and_a_number_keeps_its_digits() -> None:
    turns = (HELLO, called(ToolCall("a", "t", " "), ToolCall("b", "t", '{"z":1, "a":90071992547409931}')))
    endpoint = endpoint_for(DIALECT)
    request = DIALECT.build(Generation(turns, (TOOL,)), endpoint, stream=False)
    assert b'"input":{}' in request.body
    assert b'"input":{"z":1, "a":90071992547409931}' in request.body


@pytest.mark.parametrize("arguments", ["{", "[1]", "null", '"x"'])
def test_arguments_that_are_no_json_object_are_refused_with_the_calls_name(arguments: str) -> None:
    turns = (HELLO, called(ToolCall("call_9", "get_weather", arguments)))
    with pytest.raises(ServiceError, match="call_9 \\(get_weather\\)") as caught:
        body(Generation(turns, (TOOL,)))
    assert caught.value.violations[0].path == "messages[1].tool_calls"


def test_ids_that_anthropic_does_not_take_are_replaced_alike_in_call_and_result() -> None:
    turns = (
        HELLO,
        called(ToolCall("functions.get:0", "t", "{}"), ToolCall("call_1", "t", "{}")),
        result("functions.get:0", "1"),
    )
    _, call, answer = body(Generation(turns, (TOOL,)))["messages"]
    made = call["content"][0]["id"]
    assert made.startswith("call_")
    assert "." not in made
    assert answer["content"][0]["tool_use_id"] == made
    assert call["content"][1]["id"] == "call_1"


@pytest.mark.parametrize(
    ("choice", "parallel", "written"),
    [
        (None, None, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("auto", None, {"type": "auto"}),
        ("required", None, {"type": "any"}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        ("none", False, {"type": "none"}),
        (
            NamedChoice("get_weather"),
            True,
            {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": False},
        ),
    ],
)
def test_tool_choice_and_parallel_calls_share_one_object(choice: Any, parallel: bool | None, written: Any) -> None:
    generation = Generation((HELLO,), (TOOL,), tool_choice=choice, parallel_tool_calls=parallel)
    assert body(generation).get("tool_choice") == written


def test_tool_choice_is_not_sent_without_tools() -> None:
    assert "tool_choice" not in body(Generation((HELLO,), tool_choice="auto", parallel_tool_calls=False))


def test_a_function_without_a_schema_takes_an_empty_object() -> None:
    tools = (FunctionTool("a"), FunctionTool("b", parameters='{"properties":{}}'))
    written = body(Generation((HELLO,), tools))["tools"]
    assert [tool["input_schema"]["type"] for tool in written] == ["object", "object"]


@pytest.mark.parametrize("temperature", [1.01, 2.0])
def test_a_temperature_above_one_is_refused_and_not_clamped(temperature: float) -> None:
    assert refused(Generation((HELLO,), temperature=temperature)) == "temperature"


def test_a_temperature_within_the_range_goes_out_as_it_is() -> None:
    assert body(Generation((HELLO,), temperature=1.0))["temperature"] == 1.0


@pytest.mark.parametrize(
    ("effort", "max_tokens", "budget"),
    [
        ("minimal", 4096, 1024),
        ("low", 10000, 2000),
        ("medium", 10000, 5000),
        ("high", 10000, 8000),
        ("xhigh", 10000, 9500),
    ],
)
def test_an_older_models_effort_is_a_budget_of_at_least_1024_and_below_max_tokens(
    effort: str, max_tokens: int, budget: int
) -> None:
    written = body(Generation((HELLO,), reasoning_effort=effort, max_output_tokens=max_tokens))
    assert written["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert 1024 <= budget < written["max_tokens"]
    assert "output_config" not in written


def test_a_limit_that_leaves_no_room_for_thinking_is_refused() -> None:
    generation = Generation((HELLO,), reasoning_effort="low", max_output_tokens=1024)
    assert refused(generation) == "max_completion_tokens"


@pytest.mark.parametrize("model", ["claude-sonnet-4-6", "claude-opus-4-7", "claude-opus-5-5"])
def test_a_newer_models_effort_is_a_level_and_its_thinking_adaptive(model: str) -> None:
    written = body(Generation((HELLO,), reasoning_effort="medium", max_output_tokens=10), model)
    assert written["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert written["output_config"] == {"effort": "medium"}


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-sonnet-5"])
def test_effort_none_turns_thinking_off(model: str) -> None:
    written = body(Generation((HELLO,), reasoning_effort="none", temperature=0.2), model)
    assert written["thinking"] == {"type": "disabled"}


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-sonnet-5"])
def test_what_thinking_excludes_is_refused_by_name_and_never_dropped(model: str) -> None:
    def thinking(**more: Any) -> Generation:
        return Generation((HELLO,), (TOOL,), reasoning_effort="high", **more)

    assert refused(thinking(temperature=0.5), model) == "temperature"
    assert refused(thinking(top_p=0.5), model) == "top_p"
    assert refused(thinking(tool_choice="required"), model) == "tool_choice"
    assert refused(thinking(tool_choice=NamedChoice("get_weather")), model) == "tool_choice"
    assert body(thinking(temperature=1.0, top_p=0.97, tool_choice="auto"), model)["temperature"] == 1.0


def test_thinking_excludes_a_top_k_that_the_row_would_pass_through() -> None:
    endpoint = endpoint_for(DIALECT)
    passing = replace(endpoint, provider=replace(endpoint.provider, passthrough=frozenset({"top_k"})))
    generation = Generation((HELLO,), reasoning_effort="high", extra={"top_k": "40"})
    with pytest.raises(ServiceError) as caught:
        DIALECT.build(generation, passing, stream=False)
    assert caught.value.violations[0].path == "top_k"
    assert b"top_k" not in DIALECT.build(generation, endpoint, stream=False).body


def test_an_effort_that_nobody_knows_is_refused() -> None:
    assert refused(Generation((HELLO,), reasoning_effort="heroic")) == "reasoning.effort"


def test_thinking_is_replayed_unchanged_and_in_its_place_with_its_signature_and_its_redacted_pieces() -> None:
    turn = Turn(
        Role.ASSISTANT,
        (
            Reasoning("I think.", signature="c2ln", format=FORMAT, details=True),
            Reasoning(encrypted="ZGF0YQ==", format=FORMAT, details=True),
            Text("Let me see."),
            Reasoning("", signature="c2lnMg==", format=FORMAT, details=True),
            ToolCall("a", "get_weather", "{}"),
        ),
    )
    content = body(Generation((HELLO, turn, result("a", "1")), (TOOL,)))["messages"][1]["content"]
    assert content == [
        {"type": "thinking", "thinking": "I think.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZGF0YQ=="},
        {"type": "text", "text": "Let me see."},
        {"type": "thinking", "thinking": "", "signature": "c2lnMg=="},
        {"type": "tool_use", "id": "a", "name": "get_weather", "input": {}},
    ]


@pytest.mark.parametrize(
    "foreign",
    [
        Reasoning("I think."),
        Reasoning("I think.", signature="c2ln", format="google-gemini-v1"),
        Reasoning(encrypted="x", format="openai-responses-v1"),
        Reasoning("no seal", format=FORMAT),
    ],
)
def test_thinking_that_anthropic_did_not_seal_is_left_out(foreign: Reasoning) -> None:
    turns = (HELLO, Turn(Role.ASSISTANT, (foreign, Text("Yes."))), HELLO)
    assert body(Generation(turns))["messages"][1]["content"] == "Yes."


def test_images_go_as_addresses_or_as_their_bytes() -> None:
    content = body(asking(Image("https://example.com/a.png"), Image(PNG)))["messages"][0]["content"]
    assert content[0]["source"] == {"type": "url", "url": "https://example.com/a.png"}
    assert content[1]["source"] == {"type": "base64", "media_type": "image/png", "data": PNG.partition(",")[2]}


def test_an_image_of_a_kind_that_is_not_taken_is_refused() -> None:
    path = refused(asking(Text("See"), Image("data:image/tiff;base64,AAAA")))
    assert path == "messages[0].content[1].image_url.url"


@pytest.mark.parametrize(
    "file", [File(f"data:application/pdf;base64,{PDF}", "a.pdf"), File(PDF, "a.pdf"), File(PDF, "a.pdf")]
)
def test_a_pdf_is_a_document_block(file: File) -> None:
    (block,) = body(asking(file))["messages"][0]["content"]
    source = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    assert block == {"type": "document", "source": source, "title": "a.pdf"}


def test_a_plain_text_file_is_a_document_of_its_text() -> None:
    data = base64.b64encode("Grüße".encode()).decode()
    (block,) = body(asking(File(f"data:text/plain;charset=utf-8;base64,{data}")))["messages"][0]["content"]
    assert block["source"] == {"type": "text", "media_type": "text/plain", "data": "Grüße"}


@pytest.mark.parametrize("file", [File("data:text/csv;base64,YSxi"), File("YSxi", "a.bin"), File(file_id="f-1")])
def test_other_files_are_refused(file: File) -> None:
    assert refused(asking(file)).startswith("messages[0].content[0].file.")


def test_a_tool_may_answer_with_an_image() -> None:
    turn = Turn(Role.TOOL, (ToolResult("a", (Text("Here:"), Image(PNG))),))
    written = body(Generation((HELLO, called(ToolCall("a", "t", "{}")), turn), (TOOL,)))["messages"][2]["content"]
    assert [block["type"] for block in written[0]["content"]] == ["text", "image"]


def test_a_refusal_in_the_history_is_what_the_assistant_said() -> None:
    turns = (HELLO, Turn(Role.ASSISTANT, (Refusal("I can't."),)), HELLO)
    assert body(Generation(turns))["messages"][1] == {"role": "assistant", "content": "I can't."}


def test_cache_breakpoints_become_ephemeral_cache_control() -> None:
    turns = (
        Turn(Role.SYSTEM, (Text("Long.", cache_breakpoint=True),)),
        Turn(Role.USER, (Image(PNG, cache_breakpoint=True), Text("Go."))),
    )
    written = body(Generation(turns))
    assert written["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert written["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}


def schema(**more: Any) -> Generation:
    document = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False} | more
    return Generation((HELLO,), output=JsonSchema("s", json.dumps(document)))


def caching(marks: int, **options: str) -> Generation:
    turns = tuple(Turn(Role.USER, (Text(f"{at}", cache_breakpoint=True),)) for at in range(marks))
    given: dict[Field, Json] = {Field.PROMPT_CACHE_OPTIONS: dict(options)} if options else {}
    return Generation(turns or (HELLO,), options=given)


@pytest.mark.parametrize(
    ("ttl", "written"), [("90s", "5m"), ("5m", "5m"), ("30m", "1h"), ("60m", "1h"), ("1h", "1h")]
)
def test_a_prefix_is_kept_for_at_least_as_long_as_is_asked(ttl: str, written: str) -> None:
    (message,) = body(caching(1, ttl=ttl))["messages"]
    assert message["content"][0]["cache_control"] == {"type": "ephemeral", "ttl": written}


@pytest.mark.parametrize("ttl", ["24h", "61m", "0m", "soon", "5 m", "²h"])
def test_a_lifetime_that_there_is_not_is_a_hint_that_is_left_out_and_the_mark_stays(ttl: str) -> None:
    (message,) = body(caching(1, ttl=ttl))["messages"]
    assert message["content"][0]["cache_control"] == {"type": "ephemeral"}


def test_implicit_caching_marks_the_end_of_the_request_and_an_unknown_mode_is_left_out() -> None:
    assert body(caching(0, mode="implicit", ttl="5m"))["cache_control"] == {"type": "ephemeral", "ttl": "5m"}
    assert "cache_control" not in body(caching(0, mode="explicit"))
    assert "cache_control" not in body(caching(0, mode="always"))


def test_of_more_marks_than_fit_the_latest_count() -> None:
    def marked(generation: Generation) -> list[str]:
        (message,) = body(generation)["messages"]
        return [block["text"] for block in message["content"] if "cache_control" in block]

    assert marked(caching(6)) == ["2", "3", "4", "5"]
    assert marked(caching(6, mode="implicit")) == ["3", "4", "5"]


def test_a_schema_that_structured_outputs_take_goes_out_as_it_came() -> None:
    properties = '{"z":{"type":"integer"},"minimum":{"type":"string"}}'
    text = f'{{"type":"object","properties":{properties},"additionalProperties":false}}'
    request = DIALECT.build(
        Generation((HELLO,), output=JsonSchema("s", text)), endpoint_for(DIALECT), stream=False
    )
    assert f'"output_config":{{"format":{{"type":"json_schema","schema":{text}}}}}'.encode() in request.body


_NESTED = {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"additionalProperties": True}, "additionalProperties"),
        ({"properties": {"a": _NESTED}}, "properties.a.additionalProperties"),
        ({"properties": {"a": {"type": "array", "items": _NESTED}}}, "properties.a.items.additionalProperties"),
        (
            {"properties": {"a": {"anyOf": [{"type": "null"}, _NESTED]}}},
            "properties.a.anyOf[1].additionalProperties",
        ),
        ({"$defs": {"d": _NESTED}}, "$defs.d.additionalProperties"),
        ({"properties": {"a": {"type": "integer", "minimum": 1}}}, "properties.a.minimum"),
        ({"properties": {"a": {"type": "array", "minItems": 2}}}, "properties.a.minItems"),
    ],
)
def test_a_schema_that_structured_outputs_refuse_is_refused_at_its_place(more: dict[str, Any], place: str) -> None:
    assert refused(schema(**more)) == f"response_format.json_schema.schema.{place}"


def test_a_schema_format_without_a_schema_is_refused() -> None:
    assert refused(Generation((HELLO,), output=JsonSchema("s"))) == "response_format.json_schema.schema"


def test_what_has_no_counterpart_is_not_in_the_table_so_that_no_plan_chooses_it() -> None:
    for field in (
        Field.N,
        Field.LOGPROBS,
        Field.TOP_LOGPROBS,
        Field.LOGIT_BIAS,
        Field.SEED,
        Field.FREQUENCY_PENALTY,
        Field.PRESENCE_PENALTY,
        Field.JSON_OBJECT,
        Field.AUDIO_INPUT,
        Field.CUSTOM_TOOLS,
        Field.METADATA,
    ):
        assert field not in DIALECT.expressible


def test_what_another_provider_ran_is_left_out_and_what_the_caller_says_is_not() -> None:
    search = Opaque("openai_responses", "web_search", '{"type":"web_search"}')
    trace = Opaque("openai_responses", "web_search_call", "{}")
    history = (HELLO, Turn(Role.ASSISTANT, (trace, Text("Found"))), HELLO, Turn(Role.ASSISTANT, (trace,)), HELLO)
    written = body(Generation(history, (search, WEATHER), tool_choice="auto"))
    assert [tool["name"] for tool in written["tools"]] == [WEATHER.name]
    assert [message["content"] for message in written["messages"]][1] == "Found"
    assert len(written["messages"]) == 3
    alone = body(Generation((HELLO,), (search,), tool_choice="auto", parallel_tool_calls=False))
    assert not {"tools", "tool_choice"} & alone.keys()


def test_kinds_of_other_dialects_are_refused_rather_than_dropped() -> None:
    assert refused(Generation((HELLO,), (CustomTool("free"),))) == "tools[0]"
    assert refused(asking(Opaque("openai_chat", "video_url", "{}"))) == "messages[0].content[0]"
    assert refused(Generation((HELLO,), output="json_object")) == "response_format"


def test_stop_and_user_have_their_own_names() -> None:
    written = body(Generation((HELLO,), stop=("END",), options={Field.USER: "u-1"}))
    assert written["stop_sequences"] == ["END"]
    assert written["metadata"] == {"user_id": "u-1"}


def test_fields_that_the_row_passes_through_go_out_and_others_do_not() -> None:
    endpoint = endpoint_for(DIALECT)
    provider = replace(endpoint.provider, passthrough=frozenset({"top_k", "model"}))
    generation = Generation((HELLO,), extra={"top_k": "40", "model": '"other"', "speed": '"fast"'})
    request = DIALECT.build(generation, replace(endpoint, provider=provider), stream=True)
    written = json.loads(request.body)
    assert (written["top_k"], written["model"], written["stream"]) == (40, "upstream-model", True)
    assert "speed" not in written


def test_the_version_header_is_sent_and_the_path_stands_below_the_base_url() -> None:
    request = DIALECT.build(Generation((HELLO,)), endpoint_for(DIALECT), stream=False)
    assert dict(request.headers)["anthropic-version"] == "2023-06-01"
    assert request.path == "/messages"


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case].fits(DIALECT)])
@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-sonnet-5"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_request_fits_the_types_of_anthropics_own_client_to_the_last_field(
    case: str, model: str, stream: bool
) -> None:
    endpoint = replace(endpoint_for(DIALECT), upstream_model=model)
    request = DIALECT.build(CASES[case].generation, endpoint, stream=stream)
    written = json.loads(request.body)
    # The client is of the API's version 2026-10-21, which has no sampling any more; the version that we ask for
    # has it, as the recorded requests show.
    assert dict(request.headers)["anthropic-version"] == "2023-06-01"
    kept = {name: value for name, value in written.items() if name not in ("temperature", "top_p")}
    kind = MessageCreateParamsStreaming if stream else MessageCreateParamsNonStreaming
    assert problems(kind, orjson.dumps(kept)) == []


@pytest.mark.parametrize(
    "body",
    [
        {"top": 1},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "more": 1}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        {"thinking": {"type": "enabled", "budget_tokens": "1024"}},
        {"tools": [{"name": "a", "input_schema": {"type": "object"}, "parameters": {}}]},
    ],
)
def test_those_types_are_held_strictly(body: dict[str, Any]) -> None:
    whole = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "a"}]}
    assert problems(MessageCreateParamsNonStreaming, orjson.dumps(whole)) == []
    assert problems(MessageCreateParamsNonStreaming, orjson.dumps({**whole, **body})) != []


def test_a_tools_schema_keeps_every_digit_also_where_its_type_is_added() -> None:
    tool = FunctionTool("t", None, ' {"properties":{"a":{"maximum":123456789012345678901234567890}}}')
    tools = (tool, FunctionTool("u", None, "{ }"))
    written = DIALECT.build(Generation((HELLO,), tools), endpoint_for(DIALECT), stream=False).body
    schema = b'{"type":"object","properties":{"a":{"maximum":123456789012345678901234567890}}}'
    assert b'"input_schema":%s' % schema in written
    assert b'"input_schema":{"type":"object"}' in written
