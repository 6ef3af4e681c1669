"""What goes out to Converse: one test per rule that gateways get wrong."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from adapters.providers.anthropic.messages import FORMAT
from adapters.providers.bedrock import DIALECT
from adapters.providers.bedrock.messages import MOST_DOCUMENTS, REDACTED
from service.domain.catalog import Effort, Quirks
from service.domain.errors import Reason, ServiceError
from service.domain.events import ReasoningDelta, ReasoningSeal, TextDelta, ToolCallStart
from service.domain.fields import Field
from service.domain.generation import (
    AllowedChoice,
    Audio,
    CustomTool,
    File,
    FunctionTool,
    Generation,
    Image,
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
from tests.contract.sample import decode, endpoint_for
from tests.golden.requests import PNG, SCHEMA, called, result, said
from tests.support import bedrock_model, eventstream

HELLO = said(Role.USER, "Hello")
TOOL = FunctionTool("get_weather", "Weather", '{"type":"object","properties":{"city":{"type":"string"}}}')
PDF = base64.b64encode(b"%PDF-1.7").decode()
CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
ADAPTIVE = "global.anthropic.claude-opus-4-7-v1"
NOVA = "eu.amazon.nova-lite-v1:0"
NOVA_2 = "eu.amazon.nova-2-lite-v1:0"
OSS = "openai.gpt-oss-120b-1:0"
PROFILE = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/1arbu5hu2sjr"


def body(generation: Generation, upstream: str = CLAUDE, limit: int | None = 64000, **more: Any) -> dict[str, Any]:
    endpoint = replace(endpoint_for(DIALECT), upstream_model=upstream, max_output_tokens=limit, **more)
    written: dict[str, Any] = json.loads(DIALECT.build(generation, endpoint, stream=False).body)
    params = bedrock_model.params_of(written, upstream, stream=False)
    assert bedrock_model.problems_of(params, stream=False) == []
    return written


def refused(generation: Generation, upstream: str = CLAUDE, limit: int | None = 64000, **more: Any) -> str:
    """The path that the refusal names."""
    with pytest.raises(ServiceError) as caught:
        body(generation, upstream, limit, **more)
    assert caught.value.reason is Reason.INVALID_REQUEST
    return caught.value.violations[0].path


def asking(*parts: Any, **more: Any) -> Generation:
    return Generation((Turn(Role.USER, tuple(parts)),), **more)


def test_system_and_developer_turns_move_in_their_order_to_the_top_wherever_they_stand() -> None:
    turns = (HELLO, said(Role.DEVELOPER, "One."), said(Role.USER, "You?"), said(Role.SYSTEM, "Two."))
    written = body(Generation(turns))
    assert written["system"] == [{"text": "One."}, {"text": "Two."}]
    assert [message["role"] for message in written["messages"]] == ["user"]


def test_roles_alternate() -> None:
    turns = (HELLO, said(Role.USER, "there"), said(Role.ASSISTANT, "a"), said(Role.ASSISTANT, "b"), HELLO)
    messages = body(Generation(turns))["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[0]["content"] == [{"text": "Hello"}, {"text": "there"}]


def test_a_conversation_must_begin_with_the_user() -> None:
    assert refused(Generation((said(Role.ASSISTANT, "Hi"), HELLO))) == "messages"
    assert refused(Generation((said(Role.SYSTEM, "Be brief."), said(Role.USER, " \n")))) == "messages"


def test_blank_text_has_no_block_and_an_assistant_turn_of_it_no_message() -> None:
    turns = (said(Role.USER, " ", "Hi"), said(Role.ASSISTANT, "\n"), said(Role.USER, "You?"))
    assert body(Generation(turns))["messages"] == [{"role": "user", "content": [{"text": "Hi"}, {"text": "You?"}]}]


def test_tool_results_after_a_call_are_one_user_turn_with_the_results_before_the_text() -> None:
    calls = (ToolCall("a", "get_weather", "{}"), ToolCall("b", "get_weather", ""))
    turns = (HELLO, called(*calls), result("a", "1"), said(Role.USER, "Hurry."), result("b", " "))
    messages = body(Generation(turns, (TOOL,)))["messages"]
    assert messages[2]["content"] == [
        {"toolResult": {"toolUseId": "a", "content": [{"text": "1"}]}},
        {"toolResult": {"toolUseId": "b", "content": []}},
        {"text": "Hurry."},
    ]


def test_tool_input_is_an_object_and_its_numbers_keep_their_digits() -> None:
    turns = (HELLO, called(ToolCall("a", "t", " "), ToolCall("b", "t", '{"z":1, "a":90071992547409931}')))
    request = DIALECT.build(Generation(turns, (TOOL,)), endpoint_for(DIALECT), stream=False)
    assert b'"input":{}' in request.body
    assert b'"input":{"z":1, "a":90071992547409931}' in request.body


@pytest.mark.parametrize("arguments", ["{", "[1]", "7", '"a"'])
def test_arguments_that_are_no_object_are_refused_by_the_calls_name(arguments: str) -> None:
    generation = Generation((HELLO, called(ToolCall("call_9", "get_weather", arguments))), (TOOL,))
    assert refused(generation) == "messages[1].tool_calls"


def test_history_with_calls_brings_their_tools_along_when_none_are_offered() -> None:
    turns = (HELLO, called(ToolCall("a", "one", ""), ToolCall("b", "two", ""), ToolCall("c", "one", "")))
    config = body(Generation(turns))["toolConfig"]
    assert [tool["toolSpec"]["name"] for tool in config["tools"]] == ["one", "two"]
    assert config.keys() == {"tools"}


def test_no_tools_may_be_called_by_leaving_them_out_but_not_once_there_are_calls() -> None:
    assert "toolConfig" not in body(Generation((HELLO,), (TOOL,), tool_choice="none"))
    history = (HELLO, called(ToolCall("a", "get_weather", "")), result("a", "1"))
    assert refused(Generation(history, (TOOL,), tool_choice="none")) == "tool_choice"


def test_calls_in_history_need_an_endpoint_that_takes_tools() -> None:
    can = DIALECT.expressible - {Field.TOOLS, Field.TOOL_CHOICE}
    turns = (HELLO, called(ToolCall("a", "get_weather", "")))
    assert refused(Generation(turns), expressible=can) == "messages[1].tool_calls"


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (None, None),
        ("auto", {"auto": {}}),
        ("required", {"any": {}}),
        (NamedChoice("get_weather"), {"tool": {"name": "get_weather"}}),
    ],
)
def test_tool_choices_by_their_names_here(choice: Any, written: Any) -> None:
    config = body(Generation((HELLO,), (TOOL,), tool_choice=choice))["toolConfig"]
    assert config.get("toolChoice") == written


def test_a_choice_among_some_tools_has_no_counterpart() -> None:
    choice = AllowedChoice("auto", '[{"type":"function","function":{"name":"get_weather"}}]')
    assert refused(Generation((HELLO,), (TOOL,), tool_choice=choice)) == "tool_choice"


@pytest.mark.parametrize("name", ["a.b", "größe", "x" * 65, ""])
def test_names_that_converse_does_not_take_are_refused_where_they_stand(name: str) -> None:
    assert refused(Generation((HELLO,), (FunctionTool(name),))) == "tools[0].function.name"
    assert refused(Generation((HELLO, called(ToolCall("a", name, ""))))) == "messages[1].tool_calls"


def test_ids_of_calls_that_converse_does_not_take_get_one_that_binds_call_and_result() -> None:
    odd = "call/" + "x" * 80
    messages = body(Generation((HELLO, called(ToolCall(odd, "t", "")), result(odd, "1"))))["messages"]
    made = messages[1]["content"][0]["toolUse"]["toolUseId"]
    assert made == messages[2]["content"][0]["toolResult"]["toolUseId"] != odd
    assert body(Generation((HELLO, called(ToolCall("a.b:c-d_1", "t", "")))))["messages"][1]["content"] == [
        {"toolUse": {"toolUseId": "a.b:c-d_1", "name": "t", "input": {}}}
    ]


def test_a_tool_without_a_schema_takes_an_object() -> None:
    tools = (FunctionTool("a"), FunctionTool("b", " ", '{"properties":{}}'), FunctionTool("c", strict=False))
    specs = [tool["toolSpec"] for tool in body(Generation((HELLO,), tools))["toolConfig"]["tools"]]
    assert specs == [
        {"name": "a", "inputSchema": {"json": {"type": "object", "properties": {}}}},
        {"name": "b", "inputSchema": {"json": {"type": "object", "properties": {}}}},
        {"name": "c", "inputSchema": {"json": {"type": "object", "properties": {}}}},
    ]


def test_tools_of_other_kinds_are_refused_and_those_that_a_provider_runs_left_out() -> None:
    assert refused(Generation((HELLO,), (CustomTool("free"),))) == "tools[0]"
    tools = (Opaque("openai_responses", "web_search", "{}"), TOOL)
    assert len(body(Generation((HELLO,), tools))["toolConfig"]["tools"]) == 1


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp"])
def test_an_image_goes_out_as_its_bytes(kind: str) -> None:
    (message,) = body(asking(Image(f"data:image/{kind};base64,QUJD")))["messages"]
    assert message["content"] == [{"image": {"format": kind, "source": {"bytes": "QUJD"}}}]


def test_an_address_is_refused_by_its_path_in_the_callers_schema() -> None:
    assert Field.IMAGE_URL not in DIALECT.expressible
    assert Field.FILE_URL not in DIALECT.expressible
    url = "https://example.com/a.png"
    assert refused(asking(Text("?"), Image(url))) == "messages[0].content[1].image_url.url"
    assert refused(asking(Text("?"), File(url=url))) == "messages[0].content[1].file.file_url"
    assert refused(asking(Text("?"), File(file_id="f1"))) == "messages[0].content[1].file.file_id"
    assert refused(asking(Image("data:image/bmp;base64,QUJD"))) == "messages[0].content[0].image_url.url"


@pytest.mark.parametrize(
    ("file", "kind", "name"),
    [
        (File(f"data:application/pdf;base64,{PDF}", "report.pdf"), "pdf", "report"),
        (File(PDF, "Q3  report_final!.v2.pdf"), "pdf", "Q3 report-final-v2"),
        (File(PDF), "pdf", "document"),
        (File("QUJD", "Notes [draft] (1).TXT"), "txt", "Notes [draft] (1)"),
        (File("data:text/plain;base64,QUJD"), "txt", "document"),
        (File("data:text/csv;base64,QUJD", "табл.csv"), "csv", "document"),
        (File("data:text/markdown;base64,QUJD", "x" * 300 + ".md"), "md", "x" * 190),
    ],
)
def test_a_file_goes_out_as_a_document_with_a_name_that_converse_takes(file: File, kind: str, name: str) -> None:
    (message,) = body(asking(Text("Sum up."), file))["messages"]
    document = message["content"][1]["document"]
    assert (document["format"], document["name"]) == (kind, name)


def test_documents_of_one_name_get_a_number_each_and_thousands_of_them_linear_time() -> None:
    names = ["a.pdf", "a.pdf", "a (2).pdf", "a.pdf", "b.pdf"]
    (message,) = body(asking(Text("?"), *(File(PDF, name) for name in names)))["messages"]
    found = [block["document"]["name"] for block in message["content"][1:]]
    assert found == ["a", "a (2)", "a (2) (2)", "a (3)", "b"]
    turns = (Turn(Role.USER, (Text("?"), File(PDF, "a.pdf"))), said(Role.ASSISTANT, "!"))
    started = time.process_time()
    DIALECT.build(Generation(turns * 10_000), endpoint_for(DIALECT), stream=False)
    # A search from the first number on for each would try 50,000,000 names.
    assert time.process_time() - started < 3


def test_more_documents_than_a_message_takes_are_refused_by_the_message_that_they_would_be_in() -> None:
    files: tuple[Any, ...] = (Text("?"), *(File(PDF) for _ in range(MOST_DOCUMENTS)))
    later = Generation((HELLO, said(Role.ASSISTANT, "Hi"), Turn(Role.USER, files), said(Role.USER, "And?")))
    assert len(body(later)["messages"][2]["content"]) == MOST_DOCUMENTS + 2
    more = replace(later, turns=(*later.turns, Turn(Role.USER, (File(PDF),))))
    assert refused(more) == "messages[2]"


def test_a_tools_schema_keeps_every_digit_also_where_its_type_is_added() -> None:
    tool = FunctionTool("t", None, ' {"properties":{"a":{"maximum":123456789012345678901234567890}}}')
    written = DIALECT.build(
        Generation((HELLO,), (tool, FunctionTool("u", None, "{ }"))), endpoint_for(DIALECT), stream=False
    )
    schema = b'{"type":"object","properties":{"a":{"maximum":123456789012345678901234567890}}}'
    assert b'"inputSchema":{"json":%s}' % schema in written.body
    assert b'"inputSchema":{"json":{"type":"object"}}' in written.body


def test_files_that_are_no_documents_are_refused() -> None:
    for file in (File("QUJD"), File("QUJD", "a.exe"), File("data:application/zip;base64,QUJD", "a.pdf")):
        assert refused(asking(Text("?"), file)) == "messages[0].content[1].file.file_data"


def test_a_document_needs_a_text_beside_it() -> None:
    assert refused(Generation((HELLO, said(Role.ASSISTANT, "Hi"), Turn(Role.USER, (File(PDF),))))) == "messages[2]"


def test_sound_goes_out_by_its_format_but_raw_samples_do_not() -> None:
    (message,) = body(asking(Audio("UklGRg==", "wav")))["messages"]
    assert message["content"] == [{"audio": {"format": "wav", "source": {"bytes": "UklGRg=="}}}]
    assert refused(asking(Audio("AAAA", "pcm16"))) == "messages[0].content[0].input_audio.format"


def test_media_that_the_model_does_not_take_are_refused_by_name() -> None:
    can = DIALECT.expressible - {Field.IMAGE_INPUT, Field.TOOL_MEDIA}
    assert refused(asking(Image(PNG)), expressible=can) == "messages[0].content[0]"
    turns = (HELLO, called(ToolCall("a", "t", "")), Turn(Role.TOOL, (ToolResult("a", (Image(PNG),)),)))
    assert refused(Generation(turns), expressible=can) == "messages[2].content[0].content[0]"


def test_a_cache_point_stands_behind_what_it_ends_also_when_results_move_to_the_front() -> None:
    turns = (
        Turn(Role.SYSTEM, (Text("Rules.", cache_breakpoint=True), Text("More."))),
        HELLO,
        called(ToolCall("a", "t", "")),
        Turn(Role.USER, (Text("Hurry.", cache_breakpoint=True),)),
        Turn(Role.TOOL, (ToolResult("a", (Text("1", cache_breakpoint=True),)),)),
    )
    written = body(Generation(turns))
    point = {"cachePoint": {"type": "default"}}
    assert written["system"] == [{"text": "Rules."}, point, {"text": "More."}]
    kinds = [next(iter(block)) for block in written["messages"][2]["content"]]
    assert kinds == ["toolResult", "cachePoint", "text", "cachePoint"]


def test_a_blank_text_has_no_cache_point_either() -> None:
    assert body(asking(Text(" ", cache_breakpoint=True), Text("a")))["messages"][0]["content"] == [{"text": "a"}]


HISTORY = (
    HELLO,
    Turn(
        Role.ASSISTANT,
        (
            Text("Look."),
            Reasoning("I think.", signature="c2ln", format=FORMAT),
            Reasoning(encrypted="b3Bh", format=FORMAT),
            Reasoning(encrypted="Z3B0", format=REDACTED),
            Reasoning(encrypted="b2Fp", format="openai-responses-v1"),
            Reasoning("plain"),
            Refusal("No."),
            ToolCall("a", "t", ""),
        ),
    ),
    result("a", "1"),
)


@pytest.mark.parametrize(
    ("model", "replayed"),
    [
        (
            CLAUDE,
            [
                {"reasoningContent": {"reasoningText": {"text": "I think.", "signature": "c2ln"}}},
                {"reasoningContent": {"redactedContent": "b3Bh"}},
                {"reasoningContent": {"redactedContent": "Z3B0"}},
            ],
        ),
        (OSS, [{"reasoningContent": {"redactedContent": "Z3B0"}}]),
        (NOVA_2, []),
        ("us.deepseek.r1-v1:0", []),
    ],
)
def test_a_model_gets_its_own_reasoning_back_in_its_place_and_unchanged_and_no_other(
    model: str, replayed: list[dict[str, Any]]
) -> None:
    content = body(Generation(HISTORY), model)["messages"][1]["content"]
    call = {"toolUse": {"toolUseId": "a", "name": "t", "input": {}}}
    assert content == [{"text": "Look."}, *replayed, {"text": "No."}, call]


CALL = {"toolUse": {"toolUseId": "a", "name": "t", "input": {}}}
SIGNED = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}}
HIDDEN = {"reasoningContent": {"redactedContent": "b3BhcXVl"}}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "blocks",
    [[HIDDEN, CALL], [HIDDEN, SIGNED, CALL], [SIGNED, HIDDEN, CALL], [SIGNED, {"text": "So."}, HIDDEN, CALL]],
)
def test_claudes_redacted_reasoning_goes_back_to_it_wherever_it_stood(blocks: list[Any], streamed: bool) -> None:
    turn = Turn(Role.ASSISTANT, read_back(blocks, streamed=streamed))
    history = Generation((HELLO, turn, result("a", "1")), (TOOL,))
    assert body(history)["messages"][1]["content"] == blocks


def read_back(blocks: list[dict[str, Any]], *, streamed: bool) -> tuple[Reasoning | Text | ToolCall, ...]:
    """The parts of history that an answer of these blocks becomes, in their order."""
    events = (
        decode(DIALECT, eventstream.encode(streaming(blocks))) if streamed else DIALECT.read(answering(blocks))
    )
    parts: list[Reasoning | Text | ToolCall] = []
    thought = ""
    for event in events:
        match event:
            case ReasoningDelta():
                thought += event.text
            case ReasoningSeal():
                parts.append(Reasoning(thought, None, event.signature, event.encrypted, event.format))
                thought = ""
            case TextDelta():
                parts.append(Text(event.text))
            case ToolCallStart():
                parts.append(ToolCall(event.id, event.name, ""))
            case _:
                pass
    return tuple(parts)


def answering(blocks: list[dict[str, Any]]) -> bytes:
    usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
    answer = {
        "output": {"message": {"role": "assistant", "content": blocks}},
        "stopReason": "tool_use",
        "usage": usage,
    }
    return json.dumps(answer).encode()


def streaming(blocks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    def event(kind: str, **payload: Any) -> dict[str, Any]:
        return {"event": kind, "payload": payload}

    yield event("messageStart", role="assistant")
    for at, block in enumerate(blocks):
        ((kind, content),) = block.items()
        if kind == "toolUse":
            start = {"toolUseId": content["toolUseId"], "name": content["name"]}
            yield event("contentBlockStart", contentBlockIndex=at, start={kind: start})
        else:
            delta = content.get("reasoningText", content) if kind == "reasoningContent" else content
            yield event("contentBlockDelta", contentBlockIndex=at, delta={kind: delta})
        yield event("contentBlockStop", contentBlockIndex=at)
    yield event("messageStop", stopReason="tool_use")
    yield event("metadata", usage={"inputTokens": 1, "outputTokens": 1, "totalTokens": 2})


def test_claude_behind_a_profile_without_a_name_is_known_by_our_own_name_of_it() -> None:
    ours = "anthropic/claude-sonnet-4.5"
    sealed = body(Generation(HISTORY), PROFILE, model=ours)["messages"][1]["content"][1]
    assert sealed["reasoningContent"]["reasoningText"]["signature"] == "c2ln"
    written = body(Generation((HELLO,), reasoning_effort="low"), PROFILE, model=ours)
    assert written["additionalModelRequestFields"]["thinking"]["type"] == "enabled"


def test_claudes_effort_is_a_budget_below_the_limit_or_a_level() -> None:
    old = body(Generation((HELLO,), reasoning_effort="high"), CLAUDE, 10000)
    assert old["additionalModelRequestFields"] == {"thinking": {"type": "enabled", "budget_tokens": 8000}}
    assert old["inferenceConfig"] == {"maxTokens": 10000}
    new = body(Generation((HELLO,), reasoning_effort="high", output=SCHEMA), ADAPTIVE)
    assert new["additionalModelRequestFields"]["thinking"]["type"] == "adaptive"
    assert new["outputConfig"]["effort"] == "high"
    assert "textFormat" in new["outputConfig"]
    assert "inferenceConfig" not in new
    off = body(Generation((HELLO,), reasoning_effort="none"))
    assert off["additionalModelRequestFields"] == {"thinking": {"type": "disabled"}}


def test_what_thinking_excludes_is_refused_by_name() -> None:
    assert refused(Generation((HELLO,), reasoning_effort="low", temperature=0.5)) == "temperature"
    assert refused(Generation((HELLO,), reasoning_effort="low", max_output_tokens=500)) == "max_completion_tokens"
    assert refused(Generation((HELLO,), (TOOL,), reasoning_effort="low", tool_choice="required")) == "tool_choice"


def test_other_families_have_their_own_words_for_effort() -> None:
    ask = Generation((HELLO,), reasoning_effort="medium")
    nova = {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}}
    assert body(ask, NOVA_2)["additionalModelRequestFields"] == nova
    assert body(ask, OSS)["additionalModelRequestFields"] == {"reasoning_effort": "medium"}
    off = body(Generation((HELLO,), reasoning_effort="none"), NOVA_2)
    assert off["additionalModelRequestFields"] == {"reasoningConfig": {"type": "disabled"}}
    table = {"xhigh": Effort("high")}
    written = body(Generation((HELLO,), reasoning_effort="xhigh"), OSS, efforts=table)
    assert written["additionalModelRequestFields"] == {"reasoning_effort": "high"}
    written = body(Generation((HELLO,), reasoning_effort="xhigh"), NOVA_2, efforts=table)
    assert written["additionalModelRequestFields"]["reasoningConfig"]["maxReasoningEffort"] == "high"


@pytest.mark.parametrize(("model", "effort"), [(NOVA, "low"), (NOVA_2, "xhigh"), (OSS, "none"), (CLAUDE, "most")])
def test_an_effort_that_the_model_does_not_take_is_refused(model: str, effort: str) -> None:
    assert refused(Generation((HELLO,), reasoning_effort=effort), model) == "reasoning.effort"


def test_a_row_of_models_that_do_not_reason_can_say_so() -> None:
    assert Field.REASONING_EFFORT not in DIALECT.expressible_with(Quirks(reasoning_style="none"))
    assert DIALECT.expressible_with(Quirks()) == DIALECT.expressible


def test_temperature_is_0_to_1_here() -> None:
    assert refused(Generation((HELLO,), temperature=1.1)) == "temperature"
    assert body(Generation((HELLO,), temperature=1.0))["inferenceConfig"] == {"temperature": 1.0}


def test_a_schema_goes_out_as_its_text_and_keeps_the_rules_of_structured_outputs() -> None:
    written = body(Generation((HELLO,), output=SCHEMA))["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert written == {"schema": SCHEMA.schema, "name": "person", "description": "A person"}
    loose = JsonSchema("a", '{"type":"object","properties":{}}')
    path = "response_format.json_schema.schema.additionalProperties"
    assert refused(Generation((HELLO,), output=loose)) == path
    assert refused(Generation((HELLO,), output=JsonSchema("a"))) == "response_format.json_schema.schema"
    assert refused(Generation((HELLO,), output="json_object")) == "response_format"


def test_fields_without_a_name_of_ours_pass_where_the_row_lets_them() -> None:
    provider = replace(endpoint_for(DIALECT).provider, passthrough=frozenset({"guardrailConfig", "messages"}))
    guardrail = '{"guardrailIdentifier":"abc","guardrailVersion":"DRAFT"}'
    extra = {"guardrailConfig": guardrail, "messages": "[]", "performanceConfig": '{"latency":"optimized"}'}
    written = body(Generation((HELLO,), extra=extra), provider=provider)
    assert written["guardrailConfig"] == json.loads(guardrail)
    assert written.keys() == {"guardrailConfig", "messages"}
    assert written["messages"]
