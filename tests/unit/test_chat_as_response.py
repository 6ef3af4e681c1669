"""A chat request in the form of a response: what is shown of it, and its messages as items to be continued."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from eurouter.v1 import chat_pb2 as pb

from service.api.chat.as_items import as_items
from service.api.chat.as_response import as_response_request
from service.api.responses.echo import new_response
from service.api.responses.ids import as_kept
from service.api.responses.read_request import conversation
from service.domain.errors import ServiceError
from service.domain.generation import (
    Audio,
    File,
    Image,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)
from service.wire import WireError, parse, render_bytes
from tests.support import response_requests
from tests.support.chats import USER, read, request
from tests.support.recorded import read_exchanges
from tests.support.response_events import CREATED, RESPONSE_ID, as_json
from tests.support.responses_schema import check_item, check_response

PIXEL: Final = "data:image/png;base64,iVBORw0KGgo="
SCHEMA: Final = {"type": "object", "properties": {"a": {"type": "string"}}}
FUNCTION: Final = {"name": "look_up", "description": "Looks.", "parameters": SCHEMA}
GRAMMAR: Final = {"definition": "start: /a+/", "syntax": "lark"}
CUSTOM: Final = {"name": "run", "description": "Runs.", "format": {"type": "grammar", "grammar": GRAMMAR}}
TOOLS: Final = [{"type": "function", "function": FUNCTION}, {"type": "custom", "custom": CUSTOM}]
SHOWN_FUNCTION: Final = {"type": "function", **FUNCTION, "strict": False}
ALLOWED: Final = {
    "mode": "required",
    "tools": [
        {"type": "function", "function": {"name": "look_up"}},
        {"type": "custom", "custom": {"name": "run"}},
    ],
}

# Field -> a value and what the response shows of it, by the response's names.
SHOWN: Final[dict[str, tuple[Any, dict[str, Any]]]] = {
    "max_tokens": (7, {"max_output_tokens": 7}),
    "max_completion_tokens": (8, {"max_output_tokens": 8}),
    "temperature": (0.0, {"temperature": 0.0}),
    "top_p": (0.5, {"top_p": 0.5}),
    "frequency_penalty": (0.25, {"frequency_penalty": 0.25}),
    "presence_penalty": (-1.0, {"presence_penalty": -1.0}),
    "top_logprobs": (2, {"top_logprobs": 2}),
    "reasoning": (
        {"effort": "low", "summary": "auto"},
        {"reasoning": {"effort": "low", "summary": "auto"}},
    ),
    "reasoning_effort": ("high", {"reasoning": {"effort": "high"}}),
    "response_format": (
        {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": SCHEMA, "strict": True, "description": "d"},
        },
        {
            "text": {
                "format": {
                    "type": "json_schema",
                    "name": "n",
                    "schema": SCHEMA,
                    "strict": True,
                    "description": "d",
                }
            }
        },
    ),
    "tool_choice": (
        {"type": "function", "function": {"name": "look_up"}},
        {"tool_choice": {"type": "function", "name": "look_up"}},
    ),
    "tools": (
        TOOLS,
        {
            "tools": [
                SHOWN_FUNCTION,
                {
                    "type": "custom",
                    "name": "run",
                    "description": "Runs.",
                    "format": {"type": "grammar", **GRAMMAR},
                },
            ]
        },
    ),
    "user": ("u-1", {"user": "u-1"}),
    "metadata": ({"team": "blue"}, {"metadata": {"team": "blue"}}),
    "parallel_tool_calls": (False, {"parallel_tool_calls": False}),
    "verbosity": ("low", {"text": {"format": {"type": "text"}, "verbosity": "low"}}),
    "service_tier": ("flex", {"service_tier": "flex"}),
    "prompt_cache_key": ("k-1", {"prompt_cache_key": "k-1"}),
    "prompt_cache_retention": ("24h", {"prompt_cache_retention": "24h"}),
    "prompt_cache_options": (
        {"mode": "explicit", "ttl": "30m"},
        {"prompt_cache_options": {"mode": "explicit", "ttl": "30m"}},
    ),
    "safety_identifier": ("s-1", {"safety_identifier": "s-1"}),
    "functions": ([FUNCTION], {"tools": [SHOWN_FUNCTION]}),
    "function_call": ({"name": "look_up"}, {"tool_choice": {"type": "function", "name": "look_up"}}),
}
NOT_SHOWN: Final[dict[str, Any]] = {
    "models": ["vendor/other"],
    "rule_id": "11111111-1111-4111-8111-111111111111",
    "rule_name": "mine",
    "stream": True,
    "stream_options": {"include_usage": True},
    "logit_bias": {"1": 2},
    "logprobs": True,
    "seed": 5,
    "stop": ["x"],
    "provider": {"sort": "price"},
    "n": 1,
    "store": True,
    "modalities": ["text"],
    "prediction": {"type": "content", "content": "x"},
    "web_search_options": {"search_context_size": "low"},
    "moderation": {"model": "m"},
    "top_k": 5,
}
"""What the Responses API has no place for, routing, and `store`, which means something else there."""

ELSEWHERE: Final = {"model", "messages", "extra", "audio"}
"""The model is told as whoever answers, messages are the input, `top_k` is an extra, audio is refused."""


def shown(**fields: object) -> dict[str, Any]:
    """The response of a chat request as its caller reads it, before there is any output."""
    asked = as_response_request(request(**fields))
    made = new_response(asked, response_id=RESPONSE_ID, created_at=CREATED, store=True, model="vendor-model")
    value = as_json(made)
    assert isinstance(value, dict)
    return value


def test_the_samples_name_every_field_of_a_chat_request() -> None:
    names = {field.name for field in pb.CreateChatCompletionRequest.DESCRIPTOR.fields}
    assert SHOWN.keys() | NOT_SHOWN.keys() - {"top_k"} | ELSEWHERE == names


def test_a_plain_chat_request_is_shown_with_the_defaults_and_in_the_background() -> None:
    response = shown()
    check_response(response)
    assert (response["background"], response["store"], response["instructions"]) == (True, True, None)
    assert response["output"] == []


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_each_field_that_a_response_has_a_place_for_is_shown(name: str) -> None:
    value, expected = SHOWN[name]
    with_it = shown(**{name: value})
    check_response(with_it)
    before = shown()
    changed = {key: told for key, told in with_it.items() if told != before.get(key)}
    assert changed.keys() == expected.keys()
    for key, told in expected.items():
        assert _pruned(changed[key]) == _pruned(told)


@pytest.mark.parametrize("name", sorted(NOT_SHOWN))
def test_what_a_response_has_no_place_for_changes_nothing_of_it(name: str) -> None:
    assert shown(**{name: NOT_SHOWN[name]}) == shown()


def test_the_newer_name_of_the_limit_wins_whichever_comes_first() -> None:
    assert shown(max_tokens=3, max_completion_tokens=9)["max_output_tokens"] == 9


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("none", "none"),
        ("required", "required"),
        ({"type": "custom", "custom": {"name": "run"}}, {"type": "custom", "name": "run"}),
        (
            {"type": "allowed_tools", "allowed_tools": ALLOWED},
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "look_up"}, {"type": "custom", "name": "run"}],
            },
        ),
        ({"type": "web_search"}, {"type": "web_search"}),
    ],
)
def test_every_choice_of_tools_is_shown_in_the_responses_form(asked: object, told: object) -> None:
    assert shown(tools=TOOLS, tool_choice=asked)["tool_choice"] == told


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"type": "text"}, {"type": "text"}),
        ({"type": "json_object"}, {"type": "json_object"}),
        ({"type": "grammar", "grammar": "root ::= x"}, {"type": "grammar", "grammar": "root ::= x"}),
        ({"type": "python"}, {"type": "python"}),
        ({"type": "regex", "pattern": "a+"}, {"type": "regex", "pattern": "a+"}),
    ],
)
def test_every_form_of_an_answer_is_shown_and_kinds_of_the_chat_api_alone_as_they_came(
    asked: object, told: object
) -> None:
    assert shown(response_format=asked)["text"]["format"] == told


def test_a_tool_that_the_provider_runs_is_shown_as_it_came() -> None:
    tool = {"type": "openrouter:web", "max_results": 3}
    assert shown(tools=[tool])["tools"] == [tool]


def test_old_functions_without_a_choice_leave_the_choice_to_the_model() -> None:
    assert shown(functions=[FUNCTION], function_call="auto")["tool_choice"] == "auto"
    assert shown(functions=[FUNCTION], function_call="none")["tool_choice"] == "none"


def _pruned(value: Any) -> Any:
    """Without nulls, which the API writes where a request says nothing."""
    if isinstance(value, dict):
        return {key: _pruned(below) for key, below in value.items() if below is not None}
    return [_pruned(below) for below in value] if isinstance(value, list) else value


def listed(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    """The items of messages as ListInputItems gives them, held to the published descriptions."""
    read(messages=list(messages))
    items = as_kept(as_items(request(messages=list(messages)).messages), RESPONSE_ID)
    return [_pruned(orjson.loads(render_bytes(item))) for item in items]


def continued(*messages: dict[str, Any]) -> list[Turn]:
    """The turns that a response to these messages hands on to the one that continues it."""
    call = response_requests.read(input="and now?", previous_response_id=RESPONSE_ID)
    items = as_kept(as_items(request(messages=list(messages)).messages), RESPONSE_ID)
    generation, _ = conversation(call, items, {})
    assert generation.turns[-1].parts == (Text("and now?"),)
    return [replace(turn, items=()) for turn in generation.turns[:-1]]


CALL = {"id": "call_a", "type": "function", "function": {"name": "look_up", "arguments": '{"a":"b"}'}}
CUSTOM_CALL = {"id": "call_b", "type": "custom", "custom": {"name": "run", "input": "ls"}}
CITED: Final[dict[str, Any]] = {
    "type": "url_citation",
    "url_citation": {"url": "https://x.eu", "title": "X", "start_index": 4, "end_index": 7},
}
TALK: Final[list[dict[str, Any]]] = [
    {"role": "system", "content": "Be short."},
    {"role": "developer", "content": [{"type": "text", "text": "In English."}]},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "Look", "prompt_cache_breakpoint": {"mode": "explicit"}},
            {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
            {"type": "file", "file": {"filename": "r.pdf", "file_data": "data:application/pdf;base64,aGk="}},
        ],
    },
    {"role": "assistant", "content": "I look.", "reasoning": "hm", "tool_calls": [CALL, CUSTOM_CALL]},
    {"role": "tool", "tool_call_id": "call_a", "content": "42"},
    {"role": "tool", "tool_call_id": "call_b", "content": [{"type": "text", "text": "a.txt"}]},
    {"role": "assistant", "content": "see X now", "annotations": [CITED]},
    {"role": "user", "content": "more"},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    {"role": "user", "content": ""},
]


def test_a_conversation_is_listed_as_items_with_every_part_in_its_place() -> None:
    items = listed(*TALK)
    kinds = [(item["type"], item.get("role")) for item in items]
    assert kinds == [
        ("message", "system"),
        ("message", "developer"),
        ("message", "user"),
        ("reasoning", None),
        ("message", "assistant"),
        ("function_call", None),
        ("custom_tool_call", None),
        ("function_call_output", None),
        ("custom_tool_call_output", None),
        ("message", "assistant"),
        ("message", "user"),
        ("message", "assistant"),
        ("message", "user"),
    ]
    assert [item["id"][-4:] for item in items] == [f"{place:04x}" for place in range(len(items))]
    assert items[2]["content"] == [
        {"type": "input_text", "text": "Look", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "input_image", "image_url": PIXEL, "detail": "low"},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
        {"type": "input_file", "filename": "r.pdf", "file_data": "data:application/pdf;base64,aGk="},
    ]
    assert items[3]["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert (items[5]["call_id"], items[5]["name"], items[5]["arguments"]) == ("call_a", "look_up", '{"a":"b"}')
    assert (items[6]["call_id"], items[6]["name"], items[6]["input"]) == ("call_b", "run", "ls")
    assert (items[7]["call_id"], items[7]["output"]) == ("call_a", "42")
    assert items[9]["content"][0]["annotations"] == [{"type": "url_citation", **CITED["url_citation"]}]
    assert items[11]["content"] == [{"type": "refusal", "refusal": "No."}]


def _alike(turn: Turn) -> Turn:
    """Without authors' names, which items lack, and with what listings always say: ids, levels of detail."""

    def part_alike(part: Part) -> Part:
        match part:
            case ToolResult():
                # The Chat API's reader leaves it to the call to say of what kind it is.
                return replace(part, name=None, kind="function")
            case Image(detail=None):
                return replace(part, detail="auto")
            case Reasoning():
                return replace(part, id=None)
            case _:
                return part

    return replace(turn, name=None, items=(), parts=tuple(map(part_alike, turn.parts)))


def test_items_of_a_chat_request_keep_to_the_published_descriptions() -> None:
    for item in as_kept(as_items(request(messages=TALK).messages), RESPONSE_ID):
        value = orjson.loads(render_bytes(item))
        if not any(part.get("type") == "input_audio" for part in value.get("content") or ()):
            check_item(value)


def test_a_conversation_is_continued_with_the_turns_that_it_had() -> None:
    assert list(map(_alike, continued(*TALK))) == list(map(_alike, read(messages=TALK).generation.turns))


def test_old_functions_are_bound_to_their_results_by_their_names() -> None:
    talk: list[dict[str, Any]] = [
        USER,
        {"role": "assistant", "content": None, "function_call": {"name": "look_up", "arguments": "{}"}},
        {"role": "function", "name": "look_up", "content": "42"},
    ]
    assert [item["type"] for item in listed(*talk)] == ["message", "function_call", "function_call_output"]
    turns = continued(*talk)
    assert turns[1].parts == (ToolCall("call_1", "look_up", "{}"),)
    assert turns[2].parts == (ToolResult("call_1", (Text("42"),)),)


@pytest.mark.parametrize(
    ("detail", "part"),
    [
        (
            {
                "type": "reasoning.text",
                "text": "hm",
                "signature": "sig",
                "format": "anthropic-claude-v1",
                "id": "r1",
            },
            Reasoning("hm", signature="sig", format="anthropic-claude-v1", id="r1", details=True),
        ),
        (
            {"type": "reasoning.summary", "summary": "short", "signature": "s", "format": "f"},
            Reasoning(summary="short", signature="s", format="f", details=True),
        ),
        (
            {"type": "reasoning.encrypted", "data": "xyz", "format": "openai-responses-v1", "id": "rs_1"},
            Reasoning(encrypted="xyz", format="openai-responses-v1", id="rs_1", details=True),
        ),
        (
            {"type": "reasoning.encrypted", "data": "xyz"},
            Reasoning(encrypted="xyz", format="unknown", details=True),
        ),
    ],
)
def test_what_providers_want_back_of_their_reasoning_reaches_them_again(
    detail: dict[str, Any], part: Reasoning
) -> None:
    found = continued(USER, {"role": "assistant", "content": "so", "reasoning_details": [detail]})[1].parts[0]
    assert isinstance(found, Reasoning)
    # Without an id of the provider's it is the item's.
    assert replace(found, id=part.id) == part
    assert part.id is None or found.id == part.id


def test_sources_of_several_texts_stand_at_the_text_that_they_cite() -> None:
    late = {"url": "https://y.eu", "title": "Y", "start_index": 10, "end_index": 12}
    texts = [{"type": "text", "text": "12345678"}, {"type": "text", "text": "abcdef"}]
    told = {"type": "url_citation", "url_citation": late}
    message = {"role": "assistant", "content": texts, "annotations": [told]}
    content = listed(USER, message)[1]["content"]
    assert content[0].get("annotations", []) == []
    assert content[1]["annotations"] == [{"type": "url_citation", **late, "start_index": 2, "end_index": 4}]


def test_sources_without_any_text_get_an_empty_one() -> None:
    message = {"role": "assistant", "content": None, "refusal": "No.", "annotations": [CITED]}
    content = listed(USER, message)[1]["content"]
    assert [part["type"] for part in content] == ["refusal", "output_text"]
    assert content[1]["text"] == ""


def test_a_part_that_nobody_named_stays_what_it_is_and_one_that_responses_name_gets_its_name() -> None:
    video = {"type": "video_url", "video_url": {"url": "https://x.eu/v"}}
    named = {"type": "input_text", "text": "hi"}
    talk = {"role": "user", "content": [video, named]}
    assert listed(talk)[0]["content"] == [video, named]
    parts = continued(talk)[0].parts
    assert [type(part) for part in parts] == [Opaque, Text]
    assert isinstance(parts[0], Opaque)
    assert parts[0].type == "video_url"


def test_an_authors_name_is_kept_at_results_only_and_never_when_it_could_not_be_continued() -> None:
    asked = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    for name, kept in (("look_up", "look_up"), ("not a name", None)):
        answer = {"role": "tool", "tool_call_id": "call_a", "content": "42", "name": name}
        result = continued({**USER, "name": "ann"}, asked, answer)[2].parts[0]
        assert isinstance(result, ToolResult)
        assert result.name == kept


# Every line of the files is in here: one that silently stops being looked at fails the test.
RECORDED: Final = {"openai.chat": 593, "azure.chat": 70, "compat.chat": 86, "mistral.chat": 17}


@pytest.mark.parametrize("kind", RECORDED)
def test_every_recorded_conversation_is_continued_with_the_turns_that_it_had(kind: str, shared: Path) -> None:
    wrong, looked_at = [], 0
    for exchange in read_exchanges(shared, kind):
        try:
            body = {**(exchange.request or {}), "model": "vendor/model"}
            turns = read(parse(pb.CreateChatCompletionRequest, body), streaming=exchange.streamed).generation.turns
        except (WireError, ServiceError):
            continue  # no request, or one that the door refuses
        looked_at += 1
        if list(map(_alike, continued(*body["messages"]))) != list(map(_alike, turns)):
            wrong.append(str(exchange))
    assert not wrong
    assert looked_at == RECORDED[kind]


def test_every_kind_of_part_has_been_seen_by_a_test() -> None:
    seen = {type(part) for turn in continued(*TALK) for part in turn.parts}
    assert seen == {Text, Image, Audio, File, Reasoning, Refusal, ToolCall, ToolResult}
    assert {turn.role for turn in continued(*TALK)} == set(Role)
