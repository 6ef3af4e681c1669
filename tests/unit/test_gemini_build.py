"""What goes out to Gemini: one test per rule that gateways get wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from adapters.providers.gemini import DIALECT
from adapters.providers.gemini.signatures import FORMAT, UNSIGNED
from service.domain.catalog import Effort, Quirks
from service.domain.errors import Reason, ServiceError
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
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)
from tests.contract.sample import endpoint_for
from tests.golden.requests import PNG, TIME, WEATHER, called, result, said

HELLO = said(Role.USER, "Hello")
G3, G25 = "gemini-3-flash-preview", "gemini-2.5-flash"


def request(
    generation: Generation,
    model: str = G3,
    efforts: Mapping[str, Effort] | None = None,
    *,
    stream: bool = False,
) -> tuple[str, bytes]:
    endpoint = replace(endpoint_for(DIALECT), upstream_model=model, efforts=efforts or {})
    written = DIALECT.build(generation, endpoint, stream=stream)
    return written.path, written.body


def body(generation: Generation, model: str = G3, efforts: Mapping[str, Effort] | None = None) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(request(generation, model, efforts)[1])
    return written


def refused(
    generation: Generation, model: str = G3, efforts: Mapping[str, Effort] | None = None
) -> tuple[str, str]:
    with pytest.raises(ServiceError) as caught:
        body(generation, model, efforts)
    assert caught.value.reason is Reason.INVALID_REQUEST
    (violation,) = caught.value.violations
    return violation.path, violation.message


def seal(signature: str, of: str | None = None) -> Reasoning:
    return Reasoning(encrypted=signature, format=FORMAT, id=of, details=True)


def answered(*parts: Part) -> Turn:
    return Turn(Role.ASSISTANT, parts)


def signatures(content: dict[str, Any]) -> list[str | None]:
    return [part.get("thoughtSignature") for part in content["parts"]]


CALL_1, CALL_2 = ToolCall("call_1", "get_weather", '{"city":"Oslo"}'), ToolCall("call_2", "get_time", "{}")
RESULTS = (result("call_1", "12 °C"), result("call_2", "12:00"))


def test_of_parallel_calls_only_the_one_that_was_signed_gets_its_signature_back() -> None:
    turns = (HELLO, answered(seal("c2ln", "call_1"), CALL_1, CALL_2), *RESULTS)
    contents = body(Generation(turns, (WEATHER, TIME)))["contents"]
    assert signatures(contents[1]) == ["c2ln", None]
    # Chat's messages list all reasoning before the calls.
    turns = (HELLO, answered(seal("c2ln", "call_2"), Text("Both."), CALL_1, CALL_2), *RESULTS)
    assert signatures(body(Generation(turns))["contents"][1]) == [None, None, "c2ln"]


def test_each_step_of_a_tool_loop_keeps_its_own_signature() -> None:
    turns = (
        HELLO,
        answered(seal("b25l", "call_1"), CALL_1),
        RESULTS[0],
        answered(seal("dHdv", "call_2"), CALL_2),
        RESULTS[1],
        answered(seal("dGhyZWU="), Text("Cold.")),
        said(Role.USER, "Thanks."),
    )
    contents = body(Generation(turns, (WEATHER, TIME)))["contents"]
    assert [content["role"] for content in contents] == ["user", "model", "user", "model", "user", "model", "user"]
    assert [signatures(content) for content in contents[1::2]] == [["b25l"], ["dHdv"], ["dGhyZWU="]]


@pytest.mark.parametrize(
    ("parts", "written"),
    [
        ((seal("QQ=="), Text("Hi")), [{"text": "Hi", "thoughtSignature": "QQ=="}]),
        # A stream's signature comes after the text that it belongs to.
        ((Text("Hi"), seal("QQ==")), [{"text": "Hi", "thoughtSignature": "QQ=="}]),
        (
            (seal("QQ=="), Text("Hi"), seal("Qg==")),
            [{"text": "Hi", "thoughtSignature": "QQ=="}, {"text": "", "thoughtSignature": "Qg=="}],
        ),
        (
            (seal("QQ=="), seal("Qg=="), Text("Hi")),
            [{"text": "", "thoughtSignature": "QQ=="}, {"text": "Hi", "thoughtSignature": "Qg=="}],
        ),
        ((seal("QQ=="),), [{"text": "", "thoughtSignature": "QQ=="}]),
    ],
)
def test_a_signature_of_text_goes_back_to_a_text(parts: tuple[Part, ...], written: list[dict[str, Any]]) -> None:
    assert body(Generation((HELLO, answered(*parts), HELLO)))["contents"][1]["parts"] == written


def test_thoughts_and_what_other_providers_signed_are_left_out_and_nothing_else() -> None:
    turns = (
        HELLO,
        answered(
            Reasoning("Hm.", signature="c2ln", format="anthropic-claude-v1"),
            Reasoning(encrypted="gAAA", format="openai-responses-v1", id="call_1"),
            Reasoning("Plain thoughts."),
            Reasoning(summary="A summary.", format=FORMAT),
            Text("Let me look."),
            CALL_1,
        ),
        RESULTS[0],
        HELLO,
    )
    (_, model, *_) = body(Generation(turns))["contents"]
    assert model["parts"] == [
        {"text": "Let me look."},
        {"functionCall": {"id": "call_1", "name": "get_weather", "args": {"city": "Oslo"}}},
    ]


def test_calls_that_another_model_made_are_marked_once_a_step_and_in_the_running_turn_only() -> None:
    turns = (
        HELLO,
        answered(CALL_2),
        RESULTS[1],
        said(Role.USER, "And Oslo?"),
        answered(CALL_1, ToolCall("call_3", "get_time", "")),
        RESULTS[0],
        result("call_3", "13:00"),
        answered(seal("c2ln", "call_4"), ToolCall("call_4", "get_time", "")),
        result("call_4", "13:01"),
    )
    contents = body(Generation(turns, (WEATHER, TIME)))["contents"]
    assert [signatures(content) for content in contents if content["role"] == "model"] == [
        [None],
        [UNSIGNED, None],
        ["c2ln"],
    ]
    assert UNSIGNED.encode() not in request(Generation(turns, (WEATHER, TIME)), G25)[1]


def test_a_tools_answer_names_its_function_and_stands_in_the_order_of_the_calls_before_text() -> None:
    turns = (HELLO, answered(CALL_1, CALL_2), RESULTS[1], said(Role.USER, "Hurry."), RESULTS[0])
    assert body(Generation(turns, (WEATHER, TIME)))["contents"][2]["parts"] == [
        {"functionResponse": {"id": "call_1", "name": "get_weather", "response": {"output": "12 °C"}}},
        {"functionResponse": {"id": "call_2", "name": "get_time", "response": {"output": "12:00"}}},
        {"text": "Hurry."},
    ]


def test_an_answer_to_no_call_is_refused_unless_it_names_its_function() -> None:
    path, _ = refused(Generation((HELLO, result("call_9", "12"))))
    assert path == "messages[1].tool_call_id"
    (content,) = body(Generation((HELLO, result("call_9", "12", "get_time"))))["contents"]
    assert content["parts"][0]["functionResponse"]["name"] == "get_time"


def test_no_number_of_a_call_or_a_schema_changes_on_the_way() -> None:
    call = ToolCall("call_1", "get_weather", '{"id":123456789012345678901234567890,"x":1.0}')
    schema = JsonSchema("n", '{"type":"integer","maximum":123456789012345678901234567890}', 'A "number"')
    _, raw = request(Generation((HELLO, called(call), result("call_1", "1")), (WEATHER,), output=schema))
    assert b'{"id":123456789012345678901234567890,"x":1.0}' in raw
    assert b'"maximum":9007199254740993,"default":1.0' in raw
    expected = b'{"description":"A \\"number\\"","type":"integer","maximum":123456789012345678901234567890}'
    assert b'"responseJsonSchema":' + expected in raw


def test_arguments_that_are_no_object_are_refused_with_the_calls_name() -> None:
    for arguments in ("{", "[]", '"text"'):
        path, message = refused(Generation((HELLO, called(ToolCall("call_1", "get_time", arguments)))))
        assert path == "messages[1].tool_calls"
        assert "call_1 (get_time)" in message


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        (G3, "minimal", {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
        (G3, "high", {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-3.8-flash", "xhigh", {"thinkingLevel": "XHIGH", "includeThoughts": True}),
        (G25, "none", {"thinkingBudget": 0}),
        (G25, "low", {"thinkingBudget": 1024, "includeThoughts": True}),
        (G25, "medium", {"thinkingBudget": 8192, "includeThoughts": True}),
        ("models/gemini-2.5-pro", "high", {"thinkingBudget": 24576, "includeThoughts": True}),
    ],
)
def test_an_effort_is_a_level_from_gemini_3_on_and_a_budget_before(
    model: str, effort: str, thinking: dict[str, Any]
) -> None:
    assert body(Generation((HELLO,), reasoning_effort=effort), model)["generationConfig"] == {
        "thinkingConfig": thinking
    }


@pytest.mark.parametrize(
    ("model", "effort", "known"),
    [
        (G3, "none", "minimal, low, medium, high, xhigh"),
        (G3, "max", "minimal, low, medium, high, xhigh"),
        (G25, "xhigh", "none, minimal, low, medium, high"),
        ("gemini-2.5-pro", "none", "minimal, low, medium, high"),
    ],
)
def test_an_effort_that_a_model_does_not_take_is_refused_and_those_it_takes_are_named(
    model: str, effort: str, known: str
) -> None:
    assert refused(Generation((HELLO,), reasoning_effort=effort), model) == (
        "reasoning.effort",
        f"this endpoint takes {known}",
    )


def test_the_catalogues_efforts_go_before_the_dialects_own() -> None:
    table = {"none": Effort(budget=0), "low": Effort("LOW"), "high": Effort(budget=32768)}

    def thinking(effort: str) -> Any:
        return body(Generation((HELLO,), reasoning_effort=effort), G3, table)["generationConfig"]["thinkingConfig"]

    assert thinking("none") == {"thinkingBudget": 0}
    assert thinking("low") == {"thinkingLevel": "LOW", "includeThoughts": True}
    assert thinking("high") == {"thinkingBudget": 32768, "includeThoughts": True}
    assert refused(Generation((HELLO,), reasoning_effort="minimal"), G3, table)[0] == "reasoning.effort"


def test_a_row_whose_models_know_no_thinking_says_so() -> None:
    lost = DIALECT.expressible - DIALECT.expressible_with(Quirks(reasoning_style="none"))
    assert lost == {Field.REASONING_EFFORT, Field.REASONING_SUMMARY}


def test_who_may_call_some_functions_but_need_not_is_shown_no_others() -> None:
    some = '[{"type":"function","function":{"name":"get_time"}}]'
    may = body(Generation((HELLO,), (WEATHER, TIME), tool_choice=AllowedChoice("auto", some)))
    assert may["tools"] == [{"functionDeclarations": [{"name": "get_time"}]}]
    assert may["toolConfig"] == {"functionCallingConfig": {"mode": "AUTO"}}
    must = body(Generation((HELLO,), (WEATHER, TIME), tool_choice=AllowedChoice("required", some)))
    assert len(must["tools"][0]["functionDeclarations"]) == 2
    assert must["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["get_time"]}}
    none = body(Generation((HELLO,), (WEATHER,), tool_choice=AllowedChoice("auto", some)))
    assert none.keys() == {"contents"}


def test_choices_and_tools_that_are_no_functions_are_refused() -> None:
    custom = AllowedChoice("auto", '[{"type":"custom","custom":{"name":"free"}}]')
    for choice in (custom, NamedChoice("free", "custom"), Opaque("openai_responses", "mcp", "{}")):
        assert refused(Generation((HELLO,), (TIME,), tool_choice=choice))[0] == "tool_choice"
    assert refused(Generation((HELLO,), (TIME, CustomTool("free"))))[0] == "tools[1]"


@pytest.mark.parametrize("name", ["1st", "-x", "a b", "grüße", "a" * 129, ""])
def test_a_function_with_a_name_that_google_refuses_is_refused_before_the_call(name: str) -> None:
    assert refused(Generation((HELLO,), (TIME, FunctionTool(name))))[0] == "tools[1].function.name"


def test_models_before_gemini_3_are_not_given_tools_and_asked_for_json_at_once() -> None:
    asked = Generation((HELLO,), (TIME,), output="json_object")
    assert refused(asked, G25)[0] == "response_format"
    assert body(asked)["generationConfig"] == {"responseMimeType": "application/json"}
    assert "tools" not in body(replace(asked, tools=()), G25)


@pytest.mark.parametrize(
    ("setting", "path"),
    [
        ({"stop": tuple("abcdef")}, "stop"),
        ({"seed": 2**31}, "seed"),
        ({"seed": -(2**31) - 1}, "seed"),
        ({"temperature": 2.1}, "temperature"),
        ({"output": JsonSchema("empty")}, "response_format.json_schema.schema"),
        ({"output": "python"}, "response_format"),
    ],
)
def test_a_value_outside_of_googles_ranges_is_refused_by_the_callers_name_of_it(
    setting: dict[str, Any], path: str
) -> None:
    assert refused(Generation((HELLO,), **setting))[0] == path


def test_values_at_the_end_of_googles_ranges_go_out() -> None:
    penalties: dict[str, Any] = {"frequency_penalty": -0.5, "presence_penalty": 1.5}
    config = body(Generation((HELLO,), stop=tuple("abcde"), seed=2**31 - 1, temperature=2.0, **penalties))[
        "generationConfig"
    ]
    assert config.pop("frequencyPenalty") == -0.5
    assert config.pop("presencePenalty") == 1.5
    assert config == {"temperature": 2.0, "seed": 2**31 - 1, "stopSequences": list("abcde")}


def test_several_choices_are_not_asked_for_as_nothing_tells_when_a_stream_of_them_is_whole() -> None:
    assert Field.N not in DIALECT.expressible
    assert "generationConfig" not in body(Generation((HELLO,), n=2))


@pytest.mark.parametrize(
    ("tier", "theirs"),
    [("default", "standard"), ("flex", "flex"), ("priority", "priority"), ("auto", None), ("scale", None)],
)
def test_a_service_tier_has_googles_name_and_one_without_is_a_hint_that_is_left_out(
    tier: str, theirs: str | None
) -> None:
    assert body(Generation((HELLO,), options={Field.SERVICE_TIER: tier})).get("serviceTier") == theirs


@pytest.mark.parametrize(
    ("part", "path"),
    [
        (Image("https://example.com/a.png"), "image_url.url"),
        (Image("data:image/gif;base64,R0lGOA=="), "image_url.url"),
        (Audio("UklGRg==", "pcm16"), "input_audio.format"),
        (File(url="https://example.com/a.pdf"), "file.file_url"),
        (File(file_id="file-1"), "file.file_id"),
        (File("UEsDBA==", "a.zip"), "file.file_data"),
        (File("data:application/zip;base64,UEsDBA=="), "file.file_data"),
    ],
)
def test_media_that_gemini_does_not_take_are_refused_with_their_place(part: Part, path: str) -> None:
    turn = Turn(Role.USER, (Text("See:"), part))
    assert refused(Generation((turn,)))[0] == f"messages[0].content[1].{path}"


@pytest.mark.parametrize(
    ("part", "mime_type", "data"),
    [
        (Image("data:image/WEBP;base64,UklGRg=="), "image/webp", "UklGRg=="),
        (Audio("SUQz", "mp3"), "audio/mp3", "SUQz"),
        (File("JVBERi0=", "x"), "application/pdf", "JVBERi0="),
        (File("aGk=", "notes.MD"), "text/markdown", "aGk="),
        (File("data:text/csv;charset=utf-8;base64,YQ=="), "text/csv", "YQ=="),
        (File("data:video/mp4;base64,AAAA"), "video/mp4", "AAAA"),
    ],
)
def test_media_stand_inline_with_their_type(part: Part, mime_type: str, data: str) -> None:
    (content,) = body(Generation((Turn(Role.USER, (part,)),)))["contents"]
    assert content["parts"] == [{"inlineData": {"mimeType": mime_type, "data": data}}]


def test_an_image_that_a_tool_gave_back_goes_to_gemini_3_only() -> None:
    turns = (
        HELLO,
        called(ToolCall("call_1", "look", "{}")),
        Turn(Role.TOOL, (ToolResult("call_1", (Text("The garden:"), Image(PNG))),)),
    )
    (answer,) = body(Generation(turns))["contents"][2]["parts"]
    assert answer["functionResponse"]["response"] == {"output": "The garden:"}
    assert [part["inlineData"]["mimeType"] for part in answer["functionResponse"]["parts"]] == ["image/png"]
    assert refused(Generation(turns), G25)[0] == "messages[2].content[1]"


def test_empty_text_has_no_part_and_nothing_to_ask_is_refused() -> None:
    turns = (Turn(Role.USER, (Text(""), Text("Hi"))), said(Role.ASSISTANT, ""), said(Role.USER, "There?"))
    assert body(Generation(turns))["contents"] == [{"role": "user", "parts": [{"text": "Hi"}, {"text": "There?"}]}]
    assert refused(Generation((said(Role.SYSTEM, "Be brief."), said(Role.USER, ""))))[0] == "messages"


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (G3, f"/models/{G3}:generateContent"),
        ("tunedModels/mine", "/tunedModels/mine:generateContent"),
        ("a?b#c d", "/models/a%3Fb%23c%20d:generateContent"),
    ],
)
def test_the_model_stands_in_the_path(model: str, path: str) -> None:
    assert request(Generation((HELLO,)), model)[0] == path
    assert request(Generation((HELLO,)), model, stream=True)[0] == path.replace(
        ":generateContent", ":streamGenerateContent?alt=sse"
    )


def test_fields_without_a_name_of_ours_go_out_where_the_row_lets_them_through() -> None:
    endpoint = endpoint_for(DIALECT)
    endpoint = replace(endpoint, provider=replace(endpoint.provider, passthrough=frozenset({"safetySettings"})))
    generation = Generation((HELLO,), extra={"safetySettings": "[]", "contents": "[]", "other": "1"})
    written = json.loads(DIALECT.build(generation, endpoint, stream=False).body)
    assert written.keys() == {"contents", "safetySettings"}
    assert written["contents"]


def test_a_tools_schema_keeps_every_digit_also_where_its_type_is_added() -> None:
    tool = FunctionTool("t", None, ' {"properties":{"a":{"maximum":123456789012345678901234567890}}}')
    tools = (tool, FunctionTool("u", None, "{ }"))
    written = DIALECT.build(Generation((HELLO,), tools), endpoint_for(DIALECT), stream=False).body
    schema = b'{"type":"object","properties":{"a":{"maximum":123456789012345678901234567890}}}'
    assert b'"parametersJsonSchema":%s' % schema in written
    assert b'"parametersJsonSchema":{"type":"object"}' in written
