"""Tools of a Responses request, the choice among them, and which of the provider's own bind."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from service.api.responses.strict import keeps_to_strict
from service.domain.errors import Reason
from service.domain.fields import Field
from service.domain.generation import (
    AllowedChoice,
    CustomTool,
    FunctionTool,
    Grammar,
    LocalTool,
    NamedChoice,
    Opaque,
)
from tests.support.response_requests import complaints, read, refused

NATIVE = "openai_responses"
FUNCTION = {"type": "function", "name": "f"}
CUSTOM = {"type": "custom", "name": "g"}
SEARCH = {"type": "web_search"}
STRICT = {
    "type": "object",
    "properties": {"a": {"type": "string"}, "b": {"type": ["integer", "null"]}},
    "required": ["b", "a"],
    "additionalProperties": False,
}


def test_functions_are_flattened_and_strict_where_their_schema_already_keeps_to_the_rules() -> None:
    """Line 27."""
    loose = {"type": "object", "properties": {"a": {"type": "string"}}}
    made = read(
        tools=[
            {**FUNCTION, "description": "d", "parameters": STRICT},
            {"type": "function", "name": "loose", "parameters": loose},
            {"type": "function", "name": "said", "parameters": STRICT, "strict": False},
            {"type": "function", "name": "bare"},
        ]
    )
    text = orjson.dumps(STRICT).decode()
    assert made.generation.tools == (
        FunctionTool("f", "d", text, strict=True, strict_unsaid=True),
        FunctionTool("loose", None, orjson.dumps(loose).decode(), strict_unsaid=True),
        FunctionTool("said", None, text, strict=False),
        FunctionTool("bare", strict_unsaid=True),
    )
    assert made.needs.fields == {Field.TOOLS: "tools"}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (STRICT, True),
        ({"type": "object", "properties": {}, "required": [], "additionalProperties": False}, True),
        ({**STRICT, "properties": {**STRICT["properties"], "c": STRICT}, "required": ["a", "b", "c"]}, True),  # type: ignore[dict-item]
        ({**STRICT, "$defs": {"x": STRICT}}, True),
        ({}, False),
        ({"type": "object"}, False),
        ({**STRICT, "required": ["a"]}, False),
        ({**STRICT, "required": ["a", "b", "c"]}, False),
        ({**STRICT, "required": "a"}, False),
        ({**STRICT, "required": [{}, []]}, False),
        ({**STRICT, "additionalProperties": True}, False),
        ({**STRICT, "$defs": {"x": {"type": "object"}}}, False),
        ({**STRICT, "$defs": []}, False),
        ({**STRICT, "anyOf": [STRICT]}, False),
        ({**STRICT, "properties": {"a": {"type": "string", "pattern": "x"}, "b": {"type": "string"}}}, False),
        ({**STRICT, "properties": {"a": {}, "b": {"type": "string"}}}, False),
        ({**STRICT, "properties": {"a": True, "b": {"type": "string"}}}, False),
        (
            {**STRICT, "properties": {"a": {"type": "array", "items": {"type": "object"}}, "b": {"const": 1}}},
            False,
        ),
        ({**STRICT, "properties": {"a": {"type": ["object", "null"]}, "b": {"const": 1}}}, False),
        ({**STRICT, "properties": {"a": {"anyOf": [{"type": "object"}]}, "b": {"const": 1}}}, False),
        ({**STRICT, "properties": {"a": {"anyOf": [STRICT, {"type": "null"}]}, "b": {"$ref": "#"}}}, True),
        ({**STRICT, "properties": {"a": {"type": "array", "items": STRICT}, "b": {"enum": [1]}}}, True),
    ],
)
def test_only_a_schema_that_needs_no_rewriting_is_strict_unasked(schema: dict[str, Any], strict: bool) -> None:
    assert keeps_to_strict(orjson.dumps(schema).decode()) is strict


def test_what_only_this_api_says_of_a_tool_is_kept_as_a_hint() -> None:
    more = {"defer_loading": False, "allowed_callers": ["direct"]}
    made = read(tools=[{**FUNCTION, **more, "output_schema": {"b": 1}}, {**CUSTOM, **more}])
    function, custom = made.generation.tools
    assert isinstance(function, FunctionTool)
    assert isinstance(custom, CustomTool)
    assert orjson.loads(function.details or "") == {**more, "output_schema": {"b": 1}}
    assert orjson.loads(custom.details or "") == more
    assert made.needs.fields[Field.TOOL_DETAILS] == "tools[0].defer_loading"
    local = read(tools=[{"type": "shell", "allowed_callers": ["direct"]}])
    assert local.needs.fields[Field.TOOL_DETAILS] == "tools[0].allowed_callers"


def test_custom_and_local_tools_name_what_an_endpoint_may_be_bridged_for() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: X"}
    made = read(
        tools=[
            {**CUSTOM, "description": "d", "format": grammar},
            {"type": "custom", "name": "h", "format": {"type": "text"}},
            {"type": "local_shell"},
            {"type": "shell", "environment": {"type": "local"}},
            {"type": "apply_patch"},
        ]
    )
    assert made.generation.tools == (
        CustomTool("g", "d", Grammar("start: X", "lark")),
        CustomTool("h", None, "text"),
        LocalTool("local_shell", '{"type":"local_shell"}'),
        LocalTool("shell", '{"type":"shell","environment":{"type":"local"}}'),
        LocalTool("apply_patch", '{"type":"apply_patch"}'),
    )
    assert made.needs.fields == {
        Field.CUSTOM_TOOLS: "tools[0]",
        Field.CUSTOM_GRAMMAR: "tools[0].format",
        Field.LOCAL_TOOLS: "tools[2]",
    }


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_tools_that_the_provider_runs_may_be_left_out_while_nothing_names_them(choice: str | None) -> None:
    made = read(tools=[FUNCTION, SEARCH, {"type": "mcp", "server_label": "s"}], tool_choice=choice)
    assert made.generation.tools[1] == Opaque(NATIVE, "web_search", '{"type":"web_search"}')
    assert made.needs.server_tools == {"tools[1]": NATIVE, "tools[2]": NATIVE}
    assert not made.needs.dialects


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [FUNCTION, SEARCH], "tool_choice": {"type": "web_search"}},
        {"tools": [SEARCH], "tool_choice": "required"},
        {
            "tools": [FUNCTION, SEARCH],
            "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [FUNCTION, SEARCH]},
        },
        {
            "tools": [{"type": "shell", "environment": {"type": "container_auto"}}],
            "tool_choice": {"type": "shell"},
        },
    ],
    ids=str,
)
def test_named_by_the_choice_or_alone_under_required_they_bind(fields: dict[str, Any]) -> None:
    needs = read(**fields).needs
    place = f"tools[{len(fields['tools']) - 1}]"
    assert needs.dialects == {NATIVE: place}
    assert needs.fields[Field.OPAQUE_TOOLS] == place
    assert not needs.server_tools


def test_required_beside_a_function_leaves_the_providers_tools_free() -> None:
    needs = read(tools=[FUNCTION, SEARCH], tool_choice="required").needs
    assert needs.server_tools == {"tools[1]": NATIVE}
    assert not needs.dialects


@pytest.mark.parametrize(
    ("choice", "read_as"),
    [
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "name": "f"}, NamedChoice("f")),
        ({"type": "custom", "name": "g"}, NamedChoice("g", "custom")),
        ({"type": "shell"}, NamedChoice("shell", "shell")),
        ({"type": "apply_patch"}, NamedChoice("apply_patch", "apply_patch")),
    ],
)
def test_every_choice_has_its_neutral_form(choice: object, read_as: object) -> None:
    made = read(tools=[FUNCTION, CUSTOM, {"type": "shell"}, {"type": "apply_patch"}], tool_choice=choice)
    assert made.generation.tool_choice == read_as
    assert made.needs.fields[Field.TOOL_CHOICE] == "tool_choice"


def test_allowed_tools_are_rewritten_into_the_chat_apis_form() -> None:
    entries = [FUNCTION, CUSTOM, {"type": "local_shell"}]
    made = read(
        tools=[FUNCTION, CUSTOM, {"type": "local_shell"}],
        tool_choice={"type": "allowed_tools", "mode": "required", "tools": entries},
    )
    choice = made.generation.tool_choice
    assert isinstance(choice, AllowedChoice)
    assert choice.mode == "required"
    assert orjson.loads(choice.tools) == [
        {"type": "function", "function": {"name": "f"}},
        {"type": "custom", "custom": {"name": "g"}},
        {"type": "local_shell"},
    ]
    assert made.needs.fields[Field.TOOL_CHOICE_ALLOWED] == "tool_choice"
    assert not made.needs.dialects


def test_a_bound_on_the_providers_own_calls_is_a_hint_only_where_there_are_any() -> None:
    assert Field.MAX_TOOL_CALLS not in read(tools=[FUNCTION], max_tool_calls=2).needs.fields
    made = read(tools=[SEARCH], max_tool_calls=2)
    assert made.needs.fields[Field.MAX_TOOL_CALLS] == "max_tool_calls"
    assert made.generation.options[Field.MAX_TOOL_CALLS] == 2


@pytest.mark.parametrize(
    ("tool", "path"),
    [
        ({"type": "file_search", "vector_store_ids": ["vs_1"]}, "tools[0].vector_store_ids"),
        ({"type": "code_interpreter", "container": "cntr_1"}, "tools[0].container"),
        (
            {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-1"]}},
            "tools[0].container.file_ids",
        ),
        (
            {"type": "image_generation", "input_image_mask": {"file_id": "file-1"}},
            "tools[0].input_image_mask.file_id",
        ),
        (
            {"type": "shell", "environment": {"type": "container_reference", "container_id": "cntr_1"}},
            "tools[0].environment.container_id",
        ),
        (
            {
                "type": "shell",
                "environment": {
                    "type": "container_auto",
                    "skills": [{"type": "skill_reference", "skill_id": "s"}],
                },
            },
            "tools[0].environment.skills[0].skill_id",
        ),
    ],
)
def test_a_tool_that_names_state_stored_at_a_provider_is_refused(tool: dict[str, Any], path: str) -> None:
    error = refused(tools=[tool])
    assert error.reason is Reason.FOREIGN_STATE
    assert [violation.path for violation in error.violations] == [path]


def test_a_function_inside_a_namespace_may_have_an_argument_called_file_id() -> None:
    inner = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {"file_id": {}}}}
    read(tools=[{"type": "namespace", "name": "n", "description": "d", "tools": [inner]}])
    read(tools=[{"type": "code_interpreter", "container": {"type": "auto"}}])


@pytest.mark.parametrize(
    ("fields", "path", "sentence"),
    [
        ({"tools": [FUNCTION, {**CUSTOM, "name": "f"}]}, "tools[1].name", "declared twice"),
        ({"tools": [{"type": "shell"}, {"type": "shell"}]}, "tools[1]", "shell is declared twice"),
        ({"tools": [{**FUNCTION, "name": "a.b"}]}, "tools[0].name", "1 to 64 letters"),
        ({"tools": [{**CUSTOM, "name": ""}]}, "tools[0].name", "1 to 64 letters"),
        (
            {"tools": [{**CUSTOM, "format": {"type": "grammar", "syntax": "abnf", "definition": "x"}}]},
            "tools[0].format.syntax",
            "lark or regex",
        ),
        ({"tools": [FUNCTION] * 129}, "tools", "at most 128; got 129"),
        ({"tool_choice": "required"}, "tool_choice", "needs tools"),
        (
            {"tool_choice": {"type": "function", "name": "x"}, "tools": [FUNCTION]},
            "tool_choice.name",
            "declared function",
        ),
        (
            {"tool_choice": {"type": "custom", "name": "f"}, "tools": [FUNCTION]},
            "tool_choice.name",
            "declared custom",
        ),
        ({"tool_choice": {"type": "shell"}, "tools": [FUNCTION, SEARCH]}, "tool_choice", "there is no 'shell'"),
        ({"tool_choice": {"type": "web_search"}, "tools": [FUNCTION]}, "tool_choice", "there is no 'web_search'"),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "any", "tools": [FUNCTION]}, "tools": [FUNCTION]},
            "tool_choice.mode",
            "auto or required",
        ),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}, "tools": [FUNCTION]},
            "tool_choice.tools",
            "at least one",
        ),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [CUSTOM]}, "tools": [FUNCTION]},
            "tool_choice.tools[0].name",
            "declared custom",
        ),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": ["f"]}, "tools": [FUNCTION]},
            "tool_choice.tools[0]",
            "must be an object",
        ),
        (
            {
                "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "shell"}]},
                "tools": [FUNCTION],
            },
            "tool_choice.tools[0]",
            "there is no 'shell'",
        ),
    ],
)
def test_wrong_tools_and_choices_are_named_with_what_to_do(
    fields: dict[str, Any], path: str, sentence: str
) -> None:
    found = complaints(**fields)
    assert set(found) == {path}
    assert sentence in found[path]
