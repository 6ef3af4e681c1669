"""Tools and the choice between them, in the Responses API's flat form."""

from __future__ import annotations

from typing import Any, Final

import orjson

from service.domain.catalog import Endpoint
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

from .verbatim import details_of, is_ours, opaque

_NAMED: Final = ("function", "custom")
_NO_ARGUMENTS: Final = {"type": "object", "properties": {}, "additionalProperties": False}


def write_tools(body: dict[str, Any], generation: Generation, endpoint: Endpoint) -> None:
    """Puts the tools that `endpoint` can run into `body`; the router names those left out as ignored.

    Raises:
        ServiceError: INVALID_REQUEST for a choice of another dialect.
    """
    can = endpoint.expressible
    tools = [written for tool in generation.tools if (written := _tool(tool, can)) is not None]
    if tools:
        body["tools"] = tools
    elif generation.tools:
        return
    choice = generation.tool_choice
    sayable = Field.TOOL_CHOICE_ALLOWED in can or not isinstance(choice, AllowedChoice)
    if choice is not None and Field.TOOL_CHOICE in can and sayable:
        body["tool_choice"] = _choice(choice, endpoint)
    if generation.parallel_tool_calls is not None and Field.PARALLEL_TOOL_CALLS in can:
        body["parallel_tool_calls"] = generation.parallel_tool_calls


def _tool(tool: Tool, can: frozenset[Field]) -> dict[str, Any] | orjson.Fragment | None:
    match tool:
        case FunctionTool():
            return _function(tool, can) if Field.TOOLS in can else None
        case CustomTool():
            return _custom(tool, can) if Field.CUSTOM_TOOLS in can else None
        case LocalTool():
            return _local(tool, can) if Field.LOCAL_TOOLS in can else None
        case Opaque():
            return orjson.Fragment(tool.json) if Field.OPAQUE_TOOLS in can and is_ours(tool) else None


def _function(tool: FunctionTool, can: frozenset[Field]) -> dict[str, Any]:
    function: dict[str, Any] = {"type": "function", "name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = _NO_ARGUMENTS if tool.parameters is None else orjson.Fragment(tool.parameters)
    # Saying nothing means strict where the schema allows it, which is what a caller of this API says by it; in
    # the Chat API it means not strict.
    function["strict"] = None if tool.strict_unsaid else bool(tool.strict)
    return function | details_of(tool.details, can)


def _custom(tool: CustomTool, can: frozenset[Field]) -> dict[str, Any]:
    custom: dict[str, Any] = {"type": "custom", "name": tool.name}
    if tool.description is not None:
        custom["description"] = tool.description
    if isinstance(tool.format, Grammar):
        if Field.CUSTOM_GRAMMAR in can:
            grammar = {"syntax": tool.format.syntax, "definition": tool.format.definition}
            custom["format"] = {"type": "grammar", **grammar}
    elif tool.format is not None:
        custom["format"] = {"type": tool.format}
    return custom | details_of(tool.details, can)


def _local(tool: LocalTool, can: frozenset[Field]) -> dict[str, Any]:
    local: dict[str, Any] = {"type": tool.kind, **orjson.loads(tool.json)}
    if Field.TOOL_DETAILS not in can:
        local.pop("allowed_callers", None)
    return local


def _choice(choice: ToolChoice, endpoint: Endpoint) -> Any:
    match choice:
        case "none" | "auto" | "required":
            return choice
        case NamedChoice(name=name, kind=kind):
            return {"type": kind, "name": name} if kind in _NAMED else {"type": kind}
        case AllowedChoice(mode=mode, tools=tools):
            return {
                "type": "allowed_tools",
                "mode": mode,
                "tools": [_allowed(entry) for entry in orjson.loads(tools)],
            }
        case Opaque():
            return opaque(choice, "tool_choice", endpoint)


def _allowed(entry: Any) -> Any:
    """One of the tools that may be called; the Chat API has its name one level deeper."""
    kind = entry.get("type") if isinstance(entry, dict) else None
    inner = entry.get(kind) if isinstance(kind, str) else None
    return {"type": kind, **inner} if isinstance(inner, dict) else entry
