"""What Mistral is asked, where that differs from OpenAI's chat, and what is refused before the call."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from adapters.providers.mistral import DIALECT
from adapters.providers.mistral.messages import wire_id
from service.domain.catalog import Effort, Endpoint, Quirks
from service.domain.errors import ServiceError
from service.domain.fields import Field
from service.domain.generation import (
    Audio,
    File,
    FunctionTool,
    Generation,
    JsonSchema,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)
from tests.contract.sample import endpoint_for
from tests.golden.requests import CASES, HELLO, WEATHER, called, result, said

NINE = re.compile(r"[a-zA-Z0-9]{9}")
LOOP = (HELLO, called(ToolCall("call_1", "get_weather", "{}")), result("call_1", "12"))


def body(generation: Generation, endpoint: Endpoint | None = None, *, stream: bool = False) -> dict[str, Any]:
    request = DIALECT.build(generation, endpoint or endpoint_for(DIALECT), stream=stream)
    found: dict[str, Any] = json.loads(request.body)
    return found


def refused(generation: Generation, endpoint: Endpoint | None = None) -> tuple[str, str]:
    """The place and the sentence of the refusal."""
    with pytest.raises(ServiceError) as error:
        body(generation, endpoint)
    (violation,) = error.value.violations
    return violation.path, violation.message


def test_an_assistants_turn_at_the_end_is_a_prefix_of_the_answer() -> None:
    messages = body(Generation((HELLO, said(Role.ASSISTANT, "Dear "))))["messages"]
    assert messages[-1] == {"role": "assistant", "content": "Dear ", "prefix": True}
    assert "prefix" not in body(Generation((HELLO, said(Role.ASSISTANT, "Hi"), HELLO)))["messages"][1]
    assert "prefix" not in body(Generation(LOOP[:2]))["messages"][-1]


def test_call_ids_are_nine_letters_and_digits_and_a_result_still_finds_its_call() -> None:
    calls = [ToolCall(name, "get_weather", "{}") for name in ("call_1", "toolu_01A", "", "EscTeQY62", "ab-cd_efg")]
    results = [result(call.id, "12") for call in calls]
    messages = body(Generation((HELLO, called(*calls), *results)))["messages"]
    sent = [call["id"] for call in messages[1]["tool_calls"]]
    assert [message["tool_call_id"] for message in messages[2:]] == sent
    assert all(NINE.fullmatch(call_id) for call_id in sent)
    assert len(set(sent)) == len(sent)
    assert sent[3] == "EscTeQY62"


def test_ten_thousand_foreign_ids_stay_apart() -> None:
    assert len({wire_id(f"call_{number}") for number in range(10_000)}) == 10_000


def test_a_call_without_arguments_has_an_empty_object() -> None:
    messages = body(Generation((HELLO, called(ToolCall("call_1", "now", "")), result("call_1", "12"))))["messages"]
    assert messages[1]["tool_calls"][0]["function"] == {"name": "now", "arguments": "{}"}


@pytest.mark.parametrize(
    ("turns", "path", "after"),
    [
        ((*LOOP, HELLO), "messages[3]", "tool"),
        ((*LOOP, said(Role.SYSTEM, "Stop.")), "messages[3]", "tool"),
        (
            (HELLO, said(Role.ASSISTANT, "Hi"), said(Role.DEVELOPER, "Be brief."), HELLO),
            "messages[2]",
            "assistant",
        ),
        ((HELLO, result("call_1", "12")), "messages[1]", "user"),
    ],
)
def test_a_turn_that_mistral_would_not_take_there_is_refused_by_its_place(
    turns: tuple[Turn, ...], path: str, after: str
) -> None:
    where, sentence = refused(Generation(turns))
    assert where == path
    assert f"right after one of role {after}" in sentence


def test_an_assistants_turn_after_a_result_makes_the_order_good() -> None:
    roles = [m["role"] for m in body(Generation((*LOOP, said(Role.ASSISTANT, "12."), HELLO)))["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]


@pytest.mark.parametrize(
    ("generation", "path"),
    [
        (Generation((HELLO,), temperature=1.6), "temperature"),
        (Generation((HELLO,), seed=-1), "seed"),
        (Generation((HELLO,), output=JsonSchema("person")), "response_format.json_schema.schema"),
        (Generation((HELLO,), reasoning_effort="enormous"), "reasoning.effort"),
        (Generation((Turn(Role.USER, (Audio("AAAA", "pcm16"),)),)), "messages[0].content[0].input_audio.format"),
        (Generation((Turn(Role.USER, (File("AAAA", "a.bin"),)),)), "messages[0].content[0].file.file_data"),
        (Generation((HELLO,), stop=("a", "b", "c", "d", "e")), "stop"),
    ],
)
def test_a_value_that_mistral_does_not_take_is_refused_by_the_callers_path(
    generation: Generation, path: str
) -> None:
    assert refused(generation)[0] == path


@pytest.mark.parametrize(
    ("file", "chunk"),
    [
        (File("JVBERi0="), {"type": "document_url", "document_url": "data:application/pdf;base64,JVBERi0="}),
        (
            File("AAAA", "a.PDF"),
            {
                "type": "document_url",
                "document_url": "data:application/pdf;base64,AAAA",
                "document_name": "a.PDF",
            },
        ),
        (File(url="https://example.com/a"), {"type": "document_url", "document_url": "https://example.com/a"}),
        (File(file_id="0d3f"), {"type": "file", "file_id": "0d3f"}),
    ],
)
def test_a_file_is_a_document_by_address_by_bytes_or_by_its_id(file: File, chunk: dict[str, Any]) -> None:
    assert body(Generation((Turn(Role.USER, (file,)),)))["messages"][0]["content"] == [chunk]


def test_a_file_by_address_is_refused_where_the_row_takes_bytes_only() -> None:
    endpoint = endpoint_for(DIALECT, DIALECT.expressible - {Field.FILE_URL})
    generation = Generation((Turn(Role.USER, (File(url="https://example.com/a.pdf"),)),))
    assert refused(generation, endpoint)[0] == "messages[0].content[0].file.file_url"


def test_operators_turns_are_system_messages_and_the_seed_has_its_own_name() -> None:
    sent = body(Generation((said(Role.DEVELOPER, "Be brief."), HELLO), seed=3, max_output_tokens=9), stream=True)
    assert sent["messages"][0]["role"] == "system"
    assert (sent["random_seed"], sent["max_tokens"], sent["stream"]) == (3, 9, True)
    assert not sent.keys() & {"seed", "max_completion_tokens", "stream_options"}


def test_a_function_without_a_schema_gets_one_that_has_no_arguments() -> None:
    tools = body(Generation((HELLO,), (FunctionTool("now"), WEATHER)))["tools"]
    assert tools[0]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert tools[1]["function"]["parameters"]["required"] == ["city"]


def test_functions_of_old_are_sent_as_tools() -> None:
    sent = body(CASES["functions_of_old"].generation)
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}
    assert sent["tools"][0]["function"]["name"] == "get_weather"
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "tool"]
    assert not sent.keys() & {"functions", "function_call"}


def test_a_prediction_in_parts_is_one_text() -> None:
    assert body(CASES["predicted_output"].generation)["prediction"] == {
        "type": "content",
        "content": "Hello world",
    }


def test_what_only_mistral_has_passes_when_the_row_lets_it() -> None:
    generation = Generation((HELLO,), extra={"safe_prompt": "true", "guardrails": "[]", "top_k": "3"})
    endpoint = endpoint_for(DIALECT)
    row = replace(endpoint.provider, passthrough=frozenset({"safe_prompt", "guardrails"}))
    sent = body(generation, replace(endpoint, provider=row))
    assert (sent["safe_prompt"], sent["guardrails"]) == (True, [])
    assert "top_k" not in sent
    assert "safe_prompt" not in body(generation)


def thinking(*parts: Reasoning | Text) -> Generation:
    return Generation((HELLO, Turn(Role.ASSISTANT, parts), HELLO))


def test_thinking_is_replayed_first_and_with_mistrals_own_signature_only() -> None:
    own = Reasoning("Hm.", signature="c2ln", format="mistral-v1")
    foreign = Reasoning("So.", signature="b3Ro", format="anthropic-claude-v1")
    sealed = Reasoning(encrypted="eA==", format="openai-responses-v1")
    content = body(thinking(Text("Yes."), own, foreign, sealed))["messages"][1]["content"]
    assert content == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}], "signature": "c2ln"},
        {"type": "thinking", "thinking": [{"type": "text", "text": "So."}]},
        {"type": "text", "text": "Yes."},
    ]


def test_a_turn_of_thinking_alone_is_kept_and_one_of_foreign_seals_alone_is_not() -> None:
    assert body(thinking(Reasoning("Hm.")))["messages"][1] == {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}],
    }
    sealed = Reasoning(encrypted="eA==", format="openai-responses-v1")
    assert [m["role"] for m in body(thinking(sealed))["messages"]] == ["user", "user"]


def test_a_model_that_does_not_reason_gets_no_thinking() -> None:
    plain = endpoint_for(DIALECT, DIALECT.expressible - {Field.REASONING_EFFORT})
    sent = body(replace(thinking(Reasoning("Hm."), Text("Yes.")), reasoning_effort="high"), plain)
    assert sent["messages"][1]["content"] == "Yes."
    assert "reasoning_effort" not in sent


def test_an_effort_is_none_or_high_unless_the_catalogue_knows_better() -> None:
    def sent(effort: str, endpoint: Endpoint | None = None) -> str:
        return str(body(Generation((HELLO,), reasoning_effort=effort), endpoint)["reasoning_effort"])

    assert [sent(effort) for effort in ("none", "high")] == ["none", "high"]
    with pytest.raises(ServiceError, match=r"reasoning\.effort|takes none, high"):
        sent("low")
    table = {"none": Effort("none"), "low": Effort("low")}
    assert sent("low", replace(endpoint_for(DIALECT), efforts=table)) == "low"
    with pytest.raises(ServiceError, match=r"reasoning\.effort|takes none, low"):
        sent("high", replace(endpoint_for(DIALECT), efforts=table))


def test_a_row_without_reasoning_can_not_express_an_effort() -> None:
    assert Field.REASONING_EFFORT in DIALECT.expressible_with(Quirks())
    assert Field.REASONING_EFFORT not in DIALECT.expressible_with(Quirks(reasoning_style="none"))


def test_several_texts_of_a_result_stay_apart() -> None:
    turn = Turn(Role.TOOL, (ToolResult("call_1", (Text("1"), Text("2"))),))
    assert body(Generation((*LOOP[:2], turn)))["messages"][2]["content"] == [
        {"type": "text", "text": "1"},
        {"type": "text", "text": "2"},
    ]
