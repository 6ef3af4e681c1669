"""No field of a Responses request is dropped: each one, however deep, changes what is asked or is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from eurouter.v1 import responses_pb2 as pb

from service.api.responses.fields import READERS
from service.api.responses.include import INCLUDES
from service.api.responses.read_request import conversation, read_request
from service.domain.errors import ServiceError, Violation
from service.domain.fields import Field
from service.domain.generation import JsonSchema, Opaque
from tests.support.any_message import change, leaves, names_below
from tests.support.openai_schema import SLICE
from tests.support.parts import require
from tests.support.response_requests import read, request, whole

FUNCTION = {
    "type": "function",
    "name": "f",
    "description": "d",
    "parameters": {"type": "object"},
    "strict": True,
    "defer_loading": True,
    "allowed_callers": ["direct"],
    "output_schema": {"type": "string"},
}
GRAMMAR = {"type": "grammar", "definition": "x", "syntax": "lark"}
USER = {"role": "user", "content": "hello"}
BREAKPOINT = {"mode": "explicit"}

# Each field alone, with a value that asks for something; beside it what it can't stand without.
ALONE: dict[str, Any] = {
    "model": "other",
    "models": ["a"],
    "rule_id": "11111111-1111-4111-8111-111111111111",
    "rule_name": "mine",
    "provider": {"sort": "price"},
    "input": "other",
    "instructions": "Be brief.",
    "previous_response_id": "resp_1",
    "stream_options": {"include_obfuscation": False},
    "max_output_tokens": 5,
    "temperature": 0.5,
    "top_p": 0.5,
    "tools": [FUNCTION],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "truncation": "auto",
    "metadata": {"a": "b"},
    "user": "u",
    "store": False,
    "reasoning": {"effort": "low"},
    "text": {"verbosity": "low"},
    "background": True,
    "include": ["web_search_call.results"],
    "max_tool_calls": 3,
    "service_tier": "flex",
    "presence_penalty": -0.5,
    "frequency_penalty": 0.5,
    "top_logprobs": 2,
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"ttl": "30m"},
    "moderation": {"model": "m"},
    "context_management": [{"type": "compaction", "compact_threshold": 1000}],
}
BESIDE: dict[str, dict[str, Any]] = {
    "tool_choice": {"tools": [FUNCTION]},
    "max_tool_calls": {"tools": [{"type": "web_search"}]},
}
FOREIGN = {"conversation": "conv_1", "prompt": {"id": "pmpt_1"}}
OURS = {"model", "models", "rule_id", "rule_name", "provider", "input", "instructions", "previous_response_id"} | {
    "truncation",
    "store",
    "background",
}


def test_the_samples_and_the_readers_name_every_field() -> None:
    names = {field.name for field in pb.CreateResponseRequest.DESCRIPTOR.fields}
    assert set(READERS) == names
    assert set(ALONE) | set(FOREIGN) | {"stream", "extra"} == names


@pytest.mark.parametrize("name", sorted(ALONE))
def test_each_field_alone_changes_the_call_and_what_an_endpoint_must_be_able_to_say(name: str) -> None:
    streaming = name == "stream_options"
    beside = BESIDE.get(name, {})
    call = read(request(**{**beside, name: ALONE[name]}), streaming=streaming)
    before = read(request(**beside), streaming=streaming)
    assert call != before
    if name not in OURS:
        assert set(call.needs.fields.items()) - set(before.needs.fields.items())
    else:
        assert call.needs == before.needs


@pytest.mark.parametrize(
    "fields",
    [
        {"parallel_tool_calls": True},
        {"presence_penalty": 0},
        {"frequency_penalty": 0},
        {"top_logprobs": 0},
        {"truncation": "disabled"},
        {"text": {"format": {"type": "text"}}},
        {"reasoning": {"context": "auto", "mode": "auto"}},
        {"max_tool_calls": 3},
        {"include": ["reasoning.encrypted_content", "message.input_image.image_url"]},
        {"store": True},
    ],
    ids=str,
)
def test_what_needs_no_endpoint_rules_none_out(fields: dict[str, Any]) -> None:
    call = read(request(**fields))
    assert call.generation != read().generation or fields.keys() & {"store", "truncation"}
    assert not call.needs.fields


def test_every_field_and_include_of_openais_schema_is_known() -> None:
    require("shared/specs", SLICE.exists(), "put the folder beside the checkout")
    schemas = json.loads(SLICE.read_text())["components"]["schemas"]
    whole_request = schemas["CreateResponse"]["allOf"]
    fields = set(whole_request[-1]["properties"])
    for part in whole_request[:-1]:
        fields |= set(_properties(schemas, part))
    assert len(fields) > 25
    assert fields <= READERS.keys()
    assert set(INCLUDES) == set(schemas["IncludeEnum"]["enum"])


def _properties(schemas: dict[str, Any], part: dict[str, Any]) -> Iterator[str]:
    schema = schemas[part["$ref"].rpartition("/")[2]] if "$ref" in part else part
    yield from schema.get("properties", {})
    for one in schema.get("allOf", ()):
        yield from _properties(schemas, one)


def test_the_service_keeps_its_own_fields_to_itself() -> None:
    call = read(store=False, background=False, previous_response_id="resp_1", include=["web_search_call.results"])
    assert (call.store, call.background, call.previous_response_id) == (False, False, "resp_1")
    assert call.include == {"web_search_call.results"}
    assert Field.STORE not in call.generation.options
    plain = read()
    assert plain.store is None
    assert plain.previous_response_id is None
    assert not plain.background
    assert not plain.include


def test_included_log_probabilities_are_asked_for_as_in_the_chat_api() -> None:
    call = read(include=["reasoning.encrypted_content", "message.output_text.logprobs"])
    assert call.generation.logprobs is True
    assert call.needs.fields == {Field.LOGPROBS: "include[1]"}
    assert call.generation.options[Field.INCLUDE] == [
        "reasoning.encrypted_content",
        "message.output_text.logprobs",
    ]
    some = read(top_logprobs=3)
    assert (some.generation.logprobs, some.generation.top_logprobs) == (True, 3)
    assert some.needs.fields == {Field.TOP_LOGPROBS: "top_logprobs", Field.LOGPROBS: "top_logprobs"}
    assert read(top_logprobs=0).generation.logprobs is None


def test_an_include_that_only_some_endpoints_know_is_a_hint_at_its_place() -> None:
    names = ["reasoning.encrypted_content", "web_search_call.results", "file_search_call.results"]
    assert read(include=names).needs.fields == {Field.INCLUDE: "include[1]"}


def test_the_flattened_format_is_the_chat_apis_response_format() -> None:
    """Line 27."""
    form = {"type": "json_schema", "name": "n", "description": "d", "schema": {"b": 1, "a": 2}, "strict": True}
    call = read(text={"format": form, "verbosity": "high"})
    assert call.generation.output == JsonSchema("n", '{"b":1,"a":2}', "d", strict=True)
    assert call.generation.verbosity == "high"
    assert call.needs.fields == {Field.JSON_SCHEMA: "text.format", Field.VERBOSITY: "text.verbosity"}
    assert read(text={"format": {"type": "json_object"}}).needs.fields == {Field.JSON_OBJECT: "text.format"}
    other = read(text={"format": {"type": "shape"}})
    assert other.generation.output == Opaque("openai_responses", "shape", '{"type":"shape"}')
    assert other.needs.dialects == {"openai_responses": "text.format"}


def test_a_reasoning_summary_may_be_asked_for_by_its_old_name() -> None:
    for reasoning in (
        {"generate_summary": "auto"},
        {"summary": "auto"},
        {"summary": "auto", "generate_summary": "auto"},
    ):
        assert read(reasoning=reasoning).generation.reasoning_summary == "auto"


def test_which_earlier_reasoning_counts_and_its_mode_bind() -> None:
    call = read(reasoning={"context": "auto", "mode": "pro"})
    assert call.generation.options[Field.REASONING_CONTEXT] == {"context": "auto", "mode": "pro"}
    assert call.needs.fields == {Field.REASONING_CONTEXT: "reasoning.mode"}


def test_truncation_is_the_callers_choice() -> None:
    assert read(truncation="auto").generation.truncate is True
    assert read(truncation="disabled").generation.truncate is False
    assert read().generation.truncate is False


def test_max_output_tokens_is_kept_for_the_choice_of_an_endpoint() -> None:
    call = read(max_output_tokens=1)
    assert call.generation.max_output_tokens == call.needs.max_output_tokens == 1


def test_a_field_that_nobody_named_is_kept_and_is_a_hint_only_when_settings_say_so() -> None:
    call = read(request(top_k=5, client_metadata={"a": 1}), hints=("client_metadata",))
    assert call.generation.extra == {"top_k": "5", "client_metadata": '{"a":1}'}
    assert call.needs.extra == {"top_k", "client_metadata"}
    assert call.needs.extra_hints == {"client_metadata"}


# Requests that between them set every field of every message below the request.
URL = {"type": "url_citation", "start_index": 1, "end_index": 2, "url": "u", "title": "t"}
LIKELY = {"token": "a", "logprob": -1, "bytes": [97]}
CALLER = {"type": "program", "caller_id": "p"}
DEEP: list[dict[str, Any]] = [
    {
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "a", "prompt_cache_breakpoint": BREAKPOINT},
                    {
                        "type": "input_image",
                        "image_url": "https://a.example/b.png",
                        "detail": "low",
                        "prompt_cache_breakpoint": BREAKPOINT,
                    },
                    {
                        "type": "input_file",
                        "filename": "a.pdf",
                        "file_data": "AAAA",
                        "detail": "low",
                        "prompt_cache_breakpoint": BREAKPOINT,
                    },
                    {"type": "input_file", "file_url": "https://a.example/b.pdf"},
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                    {"type": "input_video", "url": "x"},
                ],
            },
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "phase": "commentary",
                "content": [
                    {
                        "type": "output_text",
                        "text": "b",
                        "annotations": [
                            URL,
                            {"type": "file_citation", "file_id": "f", "filename": "n", "index": 1},
                            {
                                "type": "container_file_citation",
                                "container_id": "c",
                                "file_id": "f",
                                "filename": "n",
                                "start_index": 1,
                                "end_index": 2,
                            },
                            {"type": "file_path", "file_id": "f", "index": 1},
                            {"type": "other", "x": 1},
                        ],
                        "logprobs": [{**LIKELY, "top_logprobs": [LIKELY]}],
                    },
                    {"type": "refusal", "refusal": "no"},
                ],
            },
            {
                "type": "reasoning",
                "id": "rs_1",
                "status": "completed",
                "summary": [{"type": "summary_text", "text": "s"}],
                "content": [{"type": "reasoning_text", "text": "r"}],
                "encrypted_content": "gAAA",
            },
            {
                "type": "function_call",
                "id": "fc_1",
                "call_id": "call_1",
                "name": "f",
                "arguments": '{"a":1}',
                "status": "completed",
                "namespace": "n",
                "caller": CALLER,
            },
            {
                "type": "custom_tool_call",
                "id": "ctc_1",
                "call_id": "call_2",
                "name": "g",
                "input": "x",
                "namespace": "n",
                "caller": CALLER,
            },
            {"type": "local_shell_call", "id": "lsh_1", "call_id": "call_3", "action": {"command": ["ls"]}},
            {
                "type": "shell_call",
                "id": "sh_1",
                "call_id": "call_4",
                "action": {"commands": ["ls"]},
                "environment": {"type": "local"},
                "caller": CALLER,
            },
            {
                "type": "apply_patch_call",
                "id": "apc_1",
                "call_id": "call_5",
                "operation": {"type": "delete_file", "path": "a"},
                "caller": CALLER,
            },
            {
                "type": "function_call_output",
                "id": "fco_1",
                "call_id": "call_1",
                "output": "d",
                "name": "f",
                "namespace": "n",
                "caller": CALLER,
            },
            {"type": "custom_tool_call_output", "call_id": "call_2", "output": "d"},
            {"type": "local_shell_call_output", "call_id": "call_3", "output": "{}"},
            {
                "type": "shell_call_output",
                "call_id": "call_4",
                "output": [{"stdout": "a"}],
                "max_output_length": 5,
                "caller": CALLER,
            },
            {
                "type": "apply_patch_call_output",
                "call_id": "call_5",
                "status": "failed",
                "output": "no",
                "caller": CALLER,
            },
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
            {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": ["q"], "results": []},
            {"type": "code_interpreter_call", "id": "ci_1", "status": "completed", "code": "1", "outputs": []},
            {
                "type": "image_generation_call",
                "id": "ig_1",
                "status": "completed",
                "result": "A",
                "revised_prompt": "p",
                "background": "opaque",
                "output_format": "png",
                "quality": "high",
                "size": "1x1",
                "action": "edit",
            },
            {
                "type": "computer_call",
                "id": "cu_1",
                "call_id": "c",
                "action": {"type": "wait"},
                "actions": [],
                "pending_safety_checks": [],
                "status": "completed",
            },
            {
                "type": "computer_call_output",
                "id": "cuo_1",
                "call_id": "c",
                "output": {"type": "computer_screenshot", "image_url": "x"},
                "acknowledged_safety_checks": [],
                "status": "completed",
            },
            {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "s", "tools": [], "error": "e"},
            {"type": "mcp_approval_request", "id": "m1", "server_label": "s", "name": "n", "arguments": "{}"},
            {
                "type": "mcp_approval_response",
                "id": "m2",
                "approval_request_id": "m1",
                "approve": True,
                "reason": "r",
            },
            {
                "type": "mcp_call",
                "id": "m3",
                "server_label": "s",
                "name": "n",
                "arguments": "{}",
                "output": "o",
                "error": "e",
                "status": "failed",
                "approval_request_id": "m1",
            },
            {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"},
            {"type": "something_new", "x": 1},
            {"type": "item_reference", "id": "msg_stored"},
        ],
        "tools": [
            FUNCTION,
            {
                "type": "custom",
                "name": "g",
                "description": "d",
                "format": GRAMMAR,
                "defer_loading": True,
                "allowed_callers": ["direct"],
            },
            {"type": "custom", "name": "h", "format": {"type": "text"}},
            {"type": "local_shell"},
            {"type": "shell", "environment": {"type": "local"}, "allowed_callers": ["direct"]},
            {"type": "apply_patch", "allowed_callers": ["direct"]},
            {"type": "web_search"},
        ],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {
            "format": {"type": "json_schema", "name": "n", "description": "d", "schema": {"a": 1}, "strict": True},
            "verbosity": "low",
        },
        "reasoning": {"effort": "low", "summary": "auto", "context": "current_turn", "mode": "pro"},
        "prompt_cache_options": {"mode": "implicit", "ttl": "30m"},
        "moderation": {"model": "m", "policy": {"a": 1}},
        "provider": {"order": ["a"], "data_residency": "de"},
        "stream_options": {"include_obfuscation": True},
        "context_management": [{"type": "compaction", "compact_threshold": 2000}],
    },
    {"reasoning": {"generate_summary": "auto"}},
    {"text": {"format": {"type": "json_object"}}},
    {"text": {"format": {"type": "text"}}},
    {"text": {"format": {"type": "shape"}}},
    {"tool_choice": {"type": "custom", "name": "g"}, "tools": [{"type": "custom", "name": "g"}]},
    {"tool_choice": {"type": "shell"}, "tools": [{"type": "shell"}]},
    {"tool_choice": {"type": "apply_patch"}, "tools": [{"type": "apply_patch"}]},
    {"tool_choice": {"type": "web_search"}, "tools": [{"type": "web_search"}]},
    {"tool_choice": "required", "tools": [FUNCTION]},
    {
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        "tools": [FUNCTION],
    },
]

# What a request may hold only to be refused.
REFUSED = {"ResponseInputImage.file_id", "ResponseInputFile.file_id", "CodeInterpreterCall.container_id"}
# What says nothing to a model: ids bind nothing, and states and makers are what an answer says of itself.
WITHOUT_MEANING = {
    *(f"{name}.id" for name in ("ResponseMessage", "ResponseFunctionCall", "ResponseToolOutput")),
    *(f"{name}.id" for name in ("ResponseCustomToolCall", "LocalShellCall", "ShellCall", "ApplyPatchCall")),
    "ShellCallOutput.id",
    "ApplyPatchCallOutput.id",
    "LocalShellCallOutput.id",
    *(f"{name}.status" for name in ("ResponseMessage", "ResponseFunctionCall", "ResponseToolOutput")),
    *(f"{name}.status" for name in ("ResponseCustomToolCall", "LocalShellCall", "ShellCall", "ApplyPatchCall")),
    "ResponseReasoningItem.status",
    "LocalShellCallOutput.status",
    "ShellCallOutput.status",
    "ResponseToolOutput.created_by",
    "ShellCall.created_by",
    "ShellCallOutput.created_by",
    "ApplyPatchCall.created_by",
    "ApplyPatchCallOutput.created_by",
    "ResponseOutputText.logprobs",
}
# Kept whole by the same line as their neighbours; no sample has them.
LIKE_OTHERS = {"ComputerCallOutput.created_by", "Compaction.created_by"}


def _outcome(message: pb.CreateResponseRequest) -> object:
    stored = request(input=[{"type": "message", "id": "msg_stored", **USER}]).input[0]
    try:
        call = read_request(message, hint_fields=frozenset(), streaming=True)
        return conversation(call, [], {"msg_stored": stored}), call.preferences, call.model
    except ServiceError as error:
        return error.violations


def _leaf_count(body: dict[str, Any]) -> int:
    return sum(1 for _ in leaves(request(**body)))


@pytest.mark.parametrize("body", DEEP, ids=range(len(DEEP)))
def test_no_value_of_a_request_can_change_without_changing_what_is_asked(body: dict[str, Any]) -> None:
    before = _outcome(request(**body))
    assert isinstance(before, tuple)
    assert not any(isinstance(part, Violation) for part in before), before
    for place in range(_leaf_count(body)):
        changed = request(**body)
        name, holder, field, item = list(leaves(changed))[place]
        if name in WITHOUT_MEANING or holder.DESCRIPTOR.name in ("ResponseLogprob", "ResponseTopLogprob"):
            continue
        change(holder, field, item)
        assert _outcome(changed) != before, f"{name} ({place}) was dropped"


def test_the_deep_requests_set_every_field_of_every_message() -> None:
    top = pb.CreateResponseRequest.DESCRIPTOR.name + "."
    everything = {name for name in names_below(pb.CreateResponseRequest.DESCRIPTOR) if not name.startswith(top)}
    everything = {name for name in everything if not name.startswith("ProviderPreferences.")}
    covered = {name for body in DEEP for name, *_ in leaves(request(**body))}
    assert everything - covered - WITHOUT_MEANING == LIKE_OTHERS | REFUSED
    assert not covered & REFUSED


def test_needs_are_told_at_the_path_that_the_caller_used() -> None:
    fields = read(request(**DEEP[0]), streaming=True).needs.fields
    assert fields[Field.PHASE] == "input[1].phase"
    assert fields[Field.LOCAL_TOOLS] == "tools[3]"
    assert fields[Field.CUSTOM_TOOLS] == "tools[1]"
    assert fields[Field.CUSTOM_GRAMMAR] == "tools[1].format"
    assert whole(input=[USER], metadata={"a": "b"})[1].fields == {Field.METADATA: "metadata"}
