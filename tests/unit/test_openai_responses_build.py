"""What the Responses dialect writes beyond the golden cases: what is left out or refused, what rows change."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from adapters.providers.openai_responses import DIALECT
from service.domain.catalog import Endpoint, Quirks
from service.domain.errors import Reason, ServiceError
from service.domain.fields import HINTS, Field
from service.domain.generation import (
    Audio,
    AudioReference,
    File,
    FunctionTool,
    Generation,
    GrammarFormat,
    Image,
    JsonSchema,
    LocalTool,
    NamedChoice,
    Opaque,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)
from tests.contract.sample import endpoint_for

OWN, FORMAT = "openai_responses", "openai-responses-v1"
HELLO = Turn(Role.USER, (Text("Hello"),))
ROW = endpoint_for(DIALECT)


def body(generation: Generation, endpoint: Endpoint = ROW, *, stream: bool = False) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(DIALECT.build(generation, endpoint, stream=stream).body)
    return written


def items(*turns: Turn, endpoint: Endpoint = ROW) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body(Generation(turns), endpoint)["input"]
    return found


def assistant(*parts: Part, **more: Any) -> Turn:
    return Turn(Role.ASSISTANT, parts, **more)


def without(*fields: Field) -> Endpoint:
    return endpoint_for(DIALECT, DIALECT.expressible - set(fields))


def passing(*names: str, **quirks: Any) -> Endpoint:
    row = endpoint_for(DIALECT, **quirks)
    return replace(row, provider=replace(row.provider, passthrough=frozenset(names)))


def refusal(generation: Generation, endpoint: Endpoint = ROW) -> str:
    with pytest.raises(ServiceError) as error:
        body(generation, endpoint)
    assert error.value.reason is Reason.INVALID_REQUEST
    return error.value.violations[0].path


# Nothing stays at the provider.


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("store", [None, True, False])
def test_store_is_false_whatever_was_asked_for(stream: bool, store: bool | None) -> None:
    generation = Generation((HELLO,), options={} if store is None else {Field.STORE: store})
    assert body(generation, stream=stream)["store"] is False
    assert Field.STORE not in DIALECT.expressible
    assert Field.STORE not in HINTS


def test_no_item_of_ours_names_state_by_an_id() -> None:
    turns = (
        assistant(
            Reasoning(summary="Hm.", encrypted="gAAA==", format=FORMAT, id="rs_1", details=True),
            Text("Hi"),
            ToolCall("call_1", "f", "{}"),
            Opaque(OWN, "compaction", '{"type":"compaction","id":"cmp_1","encrypted_content":"x"}'),
            Opaque(OWN, "web_search_call", '{"type":"web_search_call","id":"ws_1","status":"completed"}'),
        ),
        Turn(Role.TOOL, (ToolResult("call_1", (Text("1"),)),)),
    )
    with_ids = [item["type"] for item in items(*turns) if "id" in item]
    # Its schema wants one.
    assert with_ids == ["web_search_call"]


def test_a_file_goes_by_its_address_where_that_is_what_was_given() -> None:
    file = File(url="https://example.com/a.pdf", filename="a.pdf", detail="low")
    (item,) = items(Turn(Role.USER, (file,)))
    assert item["content"] == [
        {"type": "input_file", "filename": "a.pdf", "file_url": "https://example.com/a.pdf", "detail": "low"}
    ]
    asked = Generation((Turn(Role.USER, (file,)),))
    assert refusal(asked, without(Field.FILE_URL)) == "messages[0].content[0].file_url"


def test_an_image_by_its_address_is_refused_by_name_where_only_bytes_are_taken() -> None:
    asked = Generation((Turn(Role.USER, (Image("https://example.com/a.png"),)),))
    assert refusal(asked, without(Field.IMAGE_URL)) == "messages[0].content[0].image_url"


# Reasoning.


def test_encrypted_reasoning_goes_back_to_its_kind_of_provider_only() -> None:
    own = Reasoning(encrypted="gAAA==", format=FORMAT)
    foreign = Reasoning("Hm.", signature="c2ln", encrypted="b3Bh", format="anthropic-claude-v1")
    found = items(assistant(foreign, own, Text("Hi")))
    assert [item["type"] for item in found] == ["reasoning", "message"]
    assert found[0] == {"type": "reasoning", "summary": [], "encrypted_content": "gAAA=="}


def test_pieces_of_one_item_become_one_item_again() -> None:
    # As the Chat API's reasoning_details bring them back.
    pieces = (
        Reasoning(summary="One.", details=True),
        Reasoning(summary="Two.", details=True),
        Reasoning(encrypted="gA==", format=FORMAT, id="rs_1", details=True),
        Reasoning(summary="Three.", details=True),
        Reasoning(encrypted="gB==", format=FORMAT, id="rs_2", details=True),
    )
    assert items(assistant(*pieces)) == [
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "One."}, {"type": "summary_text", "text": "Two."}],
            "encrypted_content": "gA==",
        },
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "Three."}],
            "encrypted_content": "gB==",
        },
    ]


def test_readable_reasoning_goes_only_where_the_row_says_that_it_is_wanted() -> None:
    turn = assistant(Reasoning("Hm, seven.", id="rs_9"), Text("Seven."))
    # OpenAI refuses an item with content.
    assert [item["type"] for item in items(turn)] == ["message"]
    first, _ = items(turn, endpoint=passing("input.reasoning.content"))
    assert first == {
        "type": "reasoning",
        "id": "rs_9",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "Hm, seven."}],
    }


def test_reasoning_with_nothing_to_read_is_not_sent() -> None:
    empty = assistant(Reasoning(summary="Only a summary.", id="rs_1"), Text("Hi"))
    assert [item["type"] for item in items(empty, endpoint=passing("input.reasoning.content"))] == ["message"]


def test_encrypted_reasoning_is_asked_for_where_a_request_has_to_do_with_reasoning() -> None:
    wanted = ["reasoning.encrypted_content"]
    # OpenAI answers 400 for models that don't reason, so not everywhere.
    assert "include" not in body(Generation((HELLO,)))
    assert body(Generation((HELLO,), reasoning_effort="low"))["include"] == wanted
    history = assistant(Reasoning(encrypted="gA==", format=FORMAT))
    assert body(Generation((history, HELLO)))["include"] == wanted
    asked = Generation((HELLO,), reasoning_effort="low", options={Field.INCLUDE: [*wanted]})
    assert body(asked)["include"] == wanted
    # Whether the row knows other names of `include` does not matter to this one.
    assert body(asked, without(Field.INCLUDE))["include"] == wanted


def test_log_probabilities_are_asked_for_in_the_wires_own_words() -> None:
    written = body(Generation((HELLO,), logprobs=True, top_logprobs=2))
    assert (written["include"], written["top_logprobs"]) == (["message.output_text.logprobs"], 2)
    named = Generation((HELLO,), logprobs=True, options={Field.INCLUDE: ["message.output_text.logprobs"]})
    assert body(named)["include"] == ["message.output_text.logprobs"]
    assert "include" not in body(named, without(Field.LOGPROBS))


def test_a_row_without_reasoning_gets_no_word_of_it() -> None:
    can = DIALECT.expressible_with(Quirks(reasoning_style="none"))
    generation = Generation(
        (HELLO,),
        reasoning_effort="high",
        reasoning_summary="auto",
        options={Field.REASONING_CONTEXT: {"context": "all_turns"}},
    )
    written = body(generation, endpoint_for(DIALECT, can))
    assert "reasoning" not in written
    assert "include" not in written


# Messages.


def test_only_text_that_was_instructions_stands_as_instructions() -> None:
    marked = Turn(Role.SYSTEM, (Text("Be brief."),), items=("instructions",))
    assert body(Generation((marked, HELLO)))["instructions"] == "Be brief."
    plain = Turn(Role.SYSTEM, (Text("Be brief."),))
    written = body(Generation((plain, HELLO)))
    assert "instructions" not in written
    assert written["input"][0] == {"type": "message", "role": "system", "content": "Be brief."}


def test_a_row_may_know_one_role_for_system_prompts_only() -> None:
    turn = Turn(Role.DEVELOPER, (Text("Be brief."),))
    assert items(turn, endpoint=endpoint_for(DIALECT, system_role="system"))[0]["role"] == "system"
    assert items(turn)[0]["role"] == "developer"


def test_an_item_that_the_caller_answers_with_stands_beside_messages() -> None:
    approval = Opaque(OWN, "mcp_approval_response", '{"type":"mcp_approval_response","approve":true,"id":"mr_1"}')
    assert items(Turn(Role.USER, (approval,))) == [{"type": "mcp_approval_response", "approve": True}]


def test_content_of_a_kind_that_nobody_named_stays_in_its_message() -> None:
    video = Opaque(OWN, "input_video", '{"type":"input_video","video_url":"https://example.com/v"}')
    (item,) = items(Turn(Role.USER, (Text("What is this?"), video)))
    assert [part["type"] for part in item["content"]] == ["input_text", "input_video"]


def test_traces_of_a_providers_tools_are_left_out_where_the_row_has_no_such_tools() -> None:
    trace = Opaque(OWN, "web_search_call", '{"type":"web_search_call","id":"ws_1"}')
    compaction = Opaque(OWN, "compaction", '{"type":"compaction","encrypted_content":"x"}')
    found = items(assistant(trace, compaction, Text("Hi")), endpoint=without(Field.OPAQUE_TOOLS))
    assert [item["type"] for item in found] == ["compaction", "message"]


@pytest.mark.parametrize(
    ("turn", "path"),
    [
        (Turn(Role.USER, (Audio("UklGRg==", "wav"),)), "messages[1].content[0]"),
        (assistant(AudioReference("audio_1")), "messages[1].audio"),
        (assistant(Image("https://example.com/a.png")), "messages[1].content[0]"),
        (Turn(Role.USER, (Opaque("openai_chat", "video_url", "{}"),)), "messages[1].content[0]"),
        (Turn(Role.TOOL, (Text("loose"),)), "messages[1]"),
        (assistant(ToolCall("c", "shell", "not json", "shell")), "messages[1].tool_calls"),
        (Turn(Role.TOOL, (ToolResult("c", (Text("{}"),), kind="shell"),)), "messages[1].output"),
        (Turn(Role.TOOL, (ToolResult("c", (Image("x"),), kind="local_shell"),)), "messages[1]"),
    ],
)
def test_a_part_that_has_no_place_is_refused_by_its_own(turn: Turn, path: str) -> None:
    assert refusal(Generation((HELLO, turn))) == path


def test_a_refusal_names_the_items_where_the_api_did() -> None:
    turn = Turn(Role.USER, (Audio("UklGRg==", "wav"),), items=("input[3]",))
    assert refusal(Generation((HELLO, turn))) == "input[3].content[0]"


# Tools.


def test_a_function_is_strict_only_when_that_was_said() -> None:
    # Left out it would be true here, where the Chat API means false.
    tools = (FunctionTool("a"), FunctionTool("b", strict=True), FunctionTool("c", strict=False))
    assert [tool["strict"] for tool in body(Generation((HELLO,), tools))["tools"]] == [False, True, False]


def test_what_a_caller_of_this_api_left_to_the_model_is_left_to_it() -> None:
    tools = (FunctionTool("a", strict_unsaid=True), FunctionTool("b", strict=True, strict_unsaid=True))
    assert [tool["strict"] for tool in body(Generation((HELLO,), tools))["tools"]] == [None, None]


def test_the_result_of_a_custom_tool_is_one_though_the_chat_api_does_not_say_so() -> None:
    call, result = ToolCall("call_1", "math", "4 + 4", "custom"), ToolResult("call_1", (Text("8"),))
    found = items(assistant(call), Turn(Role.TOOL, (result,)))
    assert [item["type"] for item in found] == ["custom_tool_call", "custom_tool_call_output"]


def test_images_as_a_result_need_a_row_that_takes_them() -> None:
    turn = Turn(Role.TOOL, (ToolResult("call_1", (Image("https://example.com/a.png"),)),))
    (item,) = items(turn)
    assert item["output"] == [{"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"}]
    assert refusal(Generation((turn,)), without(Field.TOOL_MEDIA)) == "messages[0]"


def test_a_patch_says_how_it_went_even_where_details_are_not_wanted() -> None:
    result = ToolResult("c", (Text("no space"),), kind="apply_patch", details='{"status":"failed"}')
    for endpoint in (ROW, without(Field.TOOL_DETAILS)):
        (item,) = items(Turn(Role.TOOL, (result,)), endpoint=endpoint)
        assert (item["status"], item["output"]) == ("failed", "no space")


def test_who_may_call_a_local_tool_is_left_out_where_details_are_not_wanted() -> None:
    tool = LocalTool("shell", '{"type":"shell","allowed_callers":["direct"]}')
    generation = Generation((HELLO,), (tool,))
    assert body(generation)["tools"] == [{"type": "shell", "allowed_callers": ["direct"]}]
    assert body(generation, without(Field.TOOL_DETAILS))["tools"] == [{"type": "shell"}]


def test_a_choice_between_no_tools_is_not_written() -> None:
    generation = Generation((HELLO,), (LocalTool("shell", '{"type":"shell"}'),), NamedChoice("shell", "shell"))
    written = body(generation, without(Field.LOCAL_TOOLS))
    assert "tools" not in written
    assert "tool_choice" not in written


# Formats and fields.


def test_a_schema_is_needed_where_one_is_promised() -> None:
    generation = Generation((HELLO,), output=JsonSchema("person"))
    assert refusal(generation) == "response_format.json_schema.schema"


def test_formats_of_other_apis_are_refused() -> None:
    assert refusal(Generation((HELLO,), output="python")) == "response_format"
    assert refusal(Generation((HELLO,), output=GrammarFormat("root ::= [a-z]+"))) == "response_format"


def test_fields_that_nobody_named_go_where_the_row_lets_them() -> None:
    generation = Generation((HELLO,), extra={"top_k": "40", "min_p": "0.1", "store": "true"})
    written = body(generation, passing("top_k", "store"))
    assert written["top_k"] == 40
    assert "min_p" not in written
    assert written["store"] is False


def test_what_openais_responses_cannot_say_is_never_written() -> None:
    generation = Generation(
        (replace(HELLO, name="ada"),),
        frequency_penalty=0.5,
        presence_penalty=0.5,
        logit_bias={"1": 1.0},
        seed=1,
        stop=("x",),
        n=2,
        options={Field.MODALITIES: ["text"], Field.PREDICTION: {}, Field.WEB_SEARCH: {}, Field.AUDIO_OUTPUT: {}},
    )
    everything = replace(ROW, expressible=frozenset(Field))
    for endpoint in (ROW, everything):
        assert body(generation, endpoint) == {
            "model": "upstream-model",
            "store": False,
            "input": [{"type": "message", "role": "user", "content": "Hello"}],
        }
