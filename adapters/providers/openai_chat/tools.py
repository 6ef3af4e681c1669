"""Tools and the choice between them on the wire, in their present form and in the old one (`functions`)."""

from __future__ import annotations

from typing import Any

import orjson

from service.domain.catalog import Endpoint
from service.domain.errors import invalid
from service.domain.fields import Field
from service.domain.generation import (
    AllowedChoice,
    CustomTool,
    FunctionTool,
    Generation,
    Grammar,
    LocalTool,
    NamedChoice,
    Opaque,
    Tool,
    ToolChoice,
)

from .verbatim import fragment, is_ours, opaque


def write_tools(body: dict[str, Any], generation: Generation, endpoint: Endpoint) -> None:
    """Puts the tools that `endpoint` can run into `body`; the router names those left out as ignored.

    Raises:
        ServiceError: INVALID_REQUEST for a choice that the old form can't say, or of another dialect.
    """
    tools = [written for tool in generation.tools if (written := _tool(tool, generation, endpoint)) is not None]
    if tools:
        body["functions" if generation.functions_style else "tools"] = tools
    elif generation.tools:
        # OpenAI refuses a choice between no tools.
        return
    choice = generation.tool_choice
    if choice is not None and Field.TOOL_CHOICE in endpoint.expressible:
        if generation.functions_style:
            body["function_call"] = _function_call(choice)
        elif not isinstance(choice, AllowedChoice) or Field.TOOL_CHOICE_ALLOWED in endpoint.expressible:
            body["tool_choice"] = _choice(choice, endpoint)
    parallel = generation.parallel_tool_calls
    if parallel is not None and Field.PARALLEL_TOOL_CALLS in endpoint.expressible:
        body["parallel_tool_calls"] = parallel


def _tool(tool: Tool, generation: Generation, endpoint: Endpoint) -> dict[str, Any] | orjson.Fragment | None:
    can = endpoint.expressible
    match tool:
        case FunctionTool():
            if Field.TOOLS not in can:
                return None
            function = _function(tool)
            return function if generation.functions_style else {"type": "function", "function": function}
        case CustomTool():
            return {"type": "custom", "custom": _custom(tool, can)} if Field.CUSTOM_TOOLS in can else None
        case LocalTool():
            return None  # not of this wire; the router has given it as a function before
        case Opaque():
            return fragment(tool.json) if Field.OPAQUE_TOOLS in can and is_ours(tool) else None


def _function(tool: FunctionTool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = fragment(tool.parameters)
    if tool.strict is not None:
        function["strict"] = tool.strict
    return function


def _custom(tool: CustomTool, can: frozenset[Field]) -> dict[str, Any]:
    custom: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        custom["description"] = tool.description
    if isinstance(tool.format, Grammar):
        if Field.CUSTOM_GRAMMAR in can:
            grammar = {"definition": tool.format.definition, "syntax": tool.format.syntax}
            custom["format"] = {"type": "grammar", "grammar": grammar}
    elif tool.format is not None:
        custom["format"] = {"type": tool.format}
    return custom


def _choice(choice: ToolChoice, endpoint: Endpoint) -> Any:
    match choice:
        case "none" | "auto" | "required":
            return choice
        case NamedChoice(name=name, kind=kind):
            return {"type": kind, kind: {"name": name}}
        case AllowedChoice(mode=mode, tools=tools):
            return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": fragment(tools)}}
        case Opaque():
            return opaque(choice, "tool_choice", endpoint)


def _function_call(choice: ToolChoice) -> str | dict[str, str]:
    match choice:
        case "none" | "auto":
            return choice
        case NamedChoice(name=name):
            return {"name": name}
        case _:
            raise invalid("function_call", 'must be "none", "auto" or a function\'s name')
