"""No field of a chat request is dropped: each one, however deep, changes what is asked or is refused."""

from __future__ import annotations

from typing import Any

import pytest
from eurouter.v1 import chat_pb2 as pb

from service.api.chat.readers import READERS
from service.api.chat.to_domain import to_domain
from service.domain.errors import ServiceError
from service.domain.fields import Field
from tests.support.any_message import change, leaves, names_below
from tests.support.chats import USER, read, request

TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"a": 1}, "strict": True}}
GRAMMAR = {"type": "grammar", "grammar": {"definition": "x", "syntax": "lark"}}
BREAKPOINT = {"mode": "explicit"}

# Each field alone, with a value that asks for something; beside it what it can't stand without.
ALONE: dict[str, Any] = {
    "model": "other",
    "models": ["a"],
    "rule_id": "11111111-1111-4111-8111-111111111111",
    "rule_name": "mine",
    "messages": [{"role": "user", "content": "other"}],
    "stream_options": {"include_usage": True},
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "temperature": 0.5,
    "top_p": 0.5,
    "frequency_penalty": 0.5,
    "presence_penalty": -0.5,
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "top_logprobs": 2,
    "seed": 2**53 + 1,
    "stop": ["x"],
    "reasoning": {"effort": "low"},
    "response_format": {"type": "json_object"},
    "tool_choice": "required",
    "tools": [TOOL],
    "user": "u",
    "metadata": {"a": "b"},
    "provider": {"sort": "price"},
    "n": 2,
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "verbosity": "low",
    "service_tier": "flex",
    "store": True,
    "modalities": ["text", "audio"],
    "audio": {"voice": "alloy", "format": "wav"},
    "prediction": {"type": "content", "content": "x"},
    "web_search_options": {},
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"ttl": "30m"},
    "safety_identifier": "s",
    "functions": [{"name": "f"}],
    "function_call": {"name": "f"},
    "moderation": {"model": "m"},
    "extra": {},
}
BESIDE: dict[str, dict[str, Any]] = {
    "top_logprobs": {"logprobs": True},
    "tool_choice": {"tools": [TOOL]},
    "modalities": {"audio": {"voice": "alloy", "format": "wav"}},
    "audio": {"modalities": ["audio"]},
    "function_call": {"functions": [{"name": "f"}]},
}
NOT_FOR_ENDPOINTS = {"model", "models", "rule_id", "rule_name", "messages", "provider"}


def test_the_samples_and_the_readers_name_every_field() -> None:
    names = {field.name for field in pb.CreateChatCompletionRequest.DESCRIPTOR.fields}
    assert set(READERS) == names
    assert set(ALONE) | {"stream"} == names


@pytest.mark.parametrize("name", sorted(set(ALONE) - {"extra"}))
def test_each_field_alone_changes_the_call_and_what_an_endpoint_must_be_able_to_say(name: str) -> None:
    streaming = name == "stream_options"
    beside = BESIDE.get(name, {})
    without = request(**beside) if name not in ("modalities", "audio") else request()
    call = read(request(**{**beside, name: ALONE[name]}), streaming=streaming)
    before = read(without, streaming=streaming)
    assert call != before
    if name not in NOT_FOR_ENDPOINTS | {"stream_options"}:
        assert set(call.needs.fields.items()) - set(before.needs.fields.items())


def test_a_field_that_nobody_named_is_kept_and_is_a_hint_only_when_settings_say_so() -> None:
    body = request(top_k=5, min_p=0.1)
    call = read(body, hints=("min_p",))
    assert call.generation.extra == {"top_k": "5", "min_p": "0.1"}
    assert call.needs.extra == {"top_k", "min_p"}
    assert call.needs.extra_hints == {"min_p"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 1),
        ("logprobs", False),
        ("store", False),
        ("frequency_penalty", 0),
        ("presence_penalty", 0),
        ("parallel_tool_calls", True),
        ("modalities", ["text"]),
        ("response_format", {"type": "text"}),
    ],
)
def test_what_every_endpoint_does_unasked_is_passed_on_and_rules_no_endpoint_out(name: str, value: object) -> None:
    call = read(request(**{name: value}))
    assert call.generation != read().generation
    assert not call.needs.fields


# Requests that between them set every field of every message below the request.
DEEP: list[dict[str, Any]] = [
    {
        "messages": [
            {
                "role": "user",
                "name": "Ann",
                "content": [
                    {"type": "text", "text": "a", "prompt_cache_breakpoint": BREAKPOINT},
                    {"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "low"}},
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "AAAA"}},
                    {"type": "video_url", "video_url": {"url": "x"}},
                ],
            },
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "b"}, {"type": "refusal", "refusal": "c"}],
                "refusal": "no",
                "tool_calls": [
                    {"id": "call-1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
                    {"id": "call-2", "type": "custom", "custom": {"name": "g", "input": "x"}},
                ],
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "t", "signature": "s", "format": "f", "id": "i"},
                    {"type": "reasoning.summary", "summary": "t"},
                    {"type": "reasoning.encrypted", "data": "t"},
                ],
                "annotations": [
                    {
                        "type": "url_citation",
                        "url_citation": {"start_index": 1, "end_index": 2, "url": "u", "title": "t"},
                    },
                    {"type": "file_path", "file_path": {}},
                ],
            },
            {"role": "tool", "tool_call_id": "call-1", "content": "d"},
        ],
        "tools": [
            TOOL,
            {"type": "custom", "custom": {"name": "g", "description": "d", "format": GRAMMAR}},
            {"type": "custom", "custom": {"name": "h", "format": {"type": "text"}}},
            {"type": "web_search"},
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "description": "d", "schema": {"a": 1}, "strict": True},
        },
        "reasoning": {"effort": "low", "summary": "auto"},
        "prediction": {"type": "content", "content": "x"},
        "web_search_options": {
            "search_context_size": "low",
            "user_location": {
                "type": "approximate",
                "approximate": {
                    "country": "DE",
                    "region": "Bavaria",
                    "city": "Munich",
                    "timezone": "Europe/Berlin",
                },
            },
        },
        "prompt_cache_options": {"mode": "implicit", "ttl": "30m"},
        "moderation": {"model": "m", "policy": {"a": 1}},
        "provider": {
            "order": ["a"],
            "only": ["b"],
            "ignore": ["c"],
            "allow_fallbacks": True,
            "sort": "price",
            "require_parameters": True,
            "quantizations": ["fp8"],
            "data_collection": "deny",
            "data_residency": "de",
            "max_retention_days": 3,
            "eu_owned": True,
        },
        "audio": {"voice": "alloy", "format": "wav"},
        "modalities": ["audio"],
        "stream_options": {"include_usage": True, "include_obfuscation": True},
    },
    {
        "messages": [
            USER,
            {"role": "assistant", "reasoning": "r", "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "d"},
        ],
        "functions": [{"name": "f"}],
        "function_call": "none",
    },
    {"function_call": {"name": "f"}, "functions": [{"name": "f"}]},
    {"tool_choice": "required", "tools": [TOOL]},
    {
        "tool_choice": {"type": "custom", "custom": {"name": "g"}},
        "tools": [{"type": "custom", "custom": {"name": "g"}}],
    },
    {
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
        },
        "tools": [TOOL],
    },
    {"tool_choice": {"type": "web_search"}, "tools": [{"type": "web_search"}]},
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "text"}},
    {"response_format": {"type": "python"}},
    {"response_format": {"type": "grammar", "grammar": "x"}},
    {"response_format": {"type": "shape", "shape": {}}},
]

# What a request may hold only to be refused, and what says nothing of its own.
REFUSED = {"File.file_id", "ChatMessage.audio", "ChatAudioReference.id", "ToolCall.opaque"}
WITHOUT_MEANING = {"ReasoningDetail.index": "the list's order says the same"}


def _outcome(message: pb.CreateChatCompletionRequest) -> object:
    try:
        return to_domain(message, hint_fields=frozenset(), streaming=True)
    except ServiceError as error:
        return error.violations


def _leaf_count(body: dict[str, Any]) -> int:
    return sum(1 for _ in leaves(request(**body)))


@pytest.mark.parametrize("body", DEEP, ids=range(len(DEEP)))
def test_no_value_of_a_request_can_change_without_changing_what_is_asked(body: dict[str, Any]) -> None:
    before = _outcome(request(**body))
    for place in range(_leaf_count(body)):
        changed = request(**body)
        name, holder, field, item = list(leaves(changed))[place]
        change(holder, field, item)
        assert _outcome(changed) != before, f"{name} ({place}) was dropped"


def test_the_deep_requests_set_every_field_of_every_message() -> None:
    top = pb.CreateChatCompletionRequest.DESCRIPTOR.name + "."
    everything = {
        name for name in names_below(pb.CreateChatCompletionRequest.DESCRIPTOR) if not name.startswith(top)
    }
    covered = {name for body in DEEP for name, *_ in leaves(request(**body))}
    assert everything - covered == REFUSED | set(WITHOUT_MEANING)


def test_hints_and_binding_fields_alike_are_told_at_the_path_that_the_caller_used() -> None:
    call = read(request(**DEEP[0]), streaming=True)
    assert call.needs.fields[Field.IMAGE_INPUT] == "messages[0].content[1].image_url"
    assert call.needs.fields[Field.IMAGE_DETAIL] == "messages[0].content[1].image_url.detail"
    assert call.needs.fields[Field.AUTHOR_NAME] == "messages[0].name"
    assert call.needs.server_tools == {"tools[3]": "openai_chat"}
    assert call.needs.fields[Field.CUSTOM_GRAMMAR] == "tools[1].custom.format.grammar"
    assert call.needs.dialects == {"openai_chat": "messages[0].content[4]"}
    assert read(max_tokens=5).needs.fields == {Field.MAX_OUTPUT_TOKENS: "max_tokens"}
    assert read(functions=[{"name": "f"}]).needs.fields == {Field.TOOLS: "functions"}
