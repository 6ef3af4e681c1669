"""Tools that an endpoint can't say, given as functions: the request's side. Calls come back in bridge_calls.

A custom tool becomes a function with one text, a local tool one with the fields of its action. Earlier calls,
their results and the choice between tools follow. Pure: which fields an endpoint has is the caller's to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, cast

from service.domain.fields import Field
from service.domain.generation import (
    AllowedChoice,
    CustomTool,
    FunctionTool,
    Generation,
    Grammar,
    Json,
    LocalTool,
    LocalToolKind,
    NamedChoice,
    Part,
    Role,
    Tool,
    ToolCall,
    ToolChoice,
    ToolKind,
    ToolResult,
    Turn,
)
from service.domain.local_tools import arguments_of, as_function

INPUT: Final = "input"
"""The one property of a function that stands for a custom tool."""

_FIELD_OF: Final[dict[ToolKind, Field]] = {
    "custom": Field.CUSTOM_TOOLS,
    "local_shell": Field.LOCAL_TOOLS,
    "shell": Field.LOCAL_TOOLS,
    "apply_patch": Field.LOCAL_TOOLS,
}
_LOCAL: Final = frozenset({"local_shell", "shell", "apply_patch"})
_NAME_LENGTH: Final = 64
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9_-]")
_WITH_CALLS: Final = frozenset({Role.ASSISTANT, Role.TOOL})


@dataclass(frozen=True, slots=True)
class Bridged:
    """What a function stands for: a tool of this kind and name."""

    kind: ToolKind
    name: str


def tools_to_bridge(generation: Generation) -> frozenset[Field]:
    """The fields among CUSTOM_TOOLS and LOCAL_TOOLS that the tools or their calls in history make use of."""
    found: set[Field] = set()
    for tool in generation.tools:
        if isinstance(tool, CustomTool):
            found.add(Field.CUSTOM_TOOLS)
        elif isinstance(tool, LocalTool):
            found.add(Field.LOCAL_TOOLS)
    for turn in generation.turns:
        if turn.role in _WITH_CALLS:
            for part in turn.parts:
                if isinstance(part, ToolCall | ToolResult) and part.kind != "function":
                    found.add(_FIELD_OF[part.kind])
    return frozenset(found)


def bridge(generation: Generation, missing: frozenset[Field]) -> tuple[Generation, Mapping[str, Bridged]]:
    """`generation` with the tools of the `missing` fields as functions, and what these functions stand for."""
    return _Bridge(generation, missing).run()


class _Bridge:
    """One request's way over the bridge: the names that it gives out hold for all of it."""

    def __init__(self, generation: Generation, missing: frozenset[Field]) -> None:
        self._generation = generation
        self._missing = missing
        self._functions: dict[Bridged, str] = {}
        self._taken = {tool.name for tool in generation.tools if isinstance(tool, FunctionTool)}
        if Field.CUSTOM_TOOLS not in missing:
            self._taken |= {tool.name for tool in generation.tools if isinstance(tool, CustomTool)}

    def run(self) -> tuple[Generation, Mapping[str, Bridged]]:
        generation = self._generation
        bridged = replace(
            generation,
            tools=tuple(self._tool(tool) for tool in generation.tools),
            turns=tuple(self._turn(turn) for turn in generation.turns),
            tool_choice=self._choice(generation.tool_choice),
        )
        return bridged, {name: tool for tool, name in self._functions.items()}

    def _applies(self, kind: ToolKind) -> bool:
        return kind != "function" and _FIELD_OF[kind] in self._missing

    def _name(self, kind: ToolKind, name: str) -> str:
        """The name of the function that stands for a tool, the same whenever it is asked for."""
        tool = Bridged(kind, name)
        known = self._functions.get(tool)
        if known is not None:
            return known
        wanted = _NOT_IN_NAMES.sub("_", name)[:_NAME_LENGTH] or kind
        free, number = wanted, 1
        while free in self._taken:
            number += 1
            ending = f"_{number}"
            free = wanted[: _NAME_LENGTH - len(ending)] + ending
        self._taken.add(free)
        self._functions[tool] = free
        return free

    def _tool(self, tool: Tool) -> Tool:
        if isinstance(tool, CustomTool) and self._applies("custom"):
            return _custom_function(tool, self._name("custom", tool.name))
        if isinstance(tool, LocalTool) and self._applies(tool.kind):
            return as_function(tool.kind, self._name(tool.kind, tool.kind))
        return tool

    def _turn(self, turn: Turn) -> Turn:
        if turn.role not in _WITH_CALLS:
            return turn
        parts = tuple(self._part(part) for part in turn.parts)
        return turn if all(map(_same, parts, turn.parts)) else replace(turn, parts=parts)

    def _part(self, part: Part) -> Part:
        if isinstance(part, ToolCall) and self._applies(part.kind):
            name = self._name(part.kind, part.name)
            if part.kind == "custom":
                return ToolCall(part.id, name, _dumps({INPUT: part.arguments}), details=part.details)
            # What a local call says beside its action is of no function's.
            return ToolCall(part.id, name, arguments_of(cast("LocalToolKind", part.kind), part.arguments))
        if isinstance(part, ToolResult) and self._applies(part.kind):
            named = part.name and self._functions.get(Bridged(part.kind, part.name))
            details = part.details if part.kind == "custom" else None
            return replace(part, kind="function", name=named or part.name, details=details)
        return part

    def _choice(self, choice: ToolChoice | None) -> ToolChoice | None:
        if isinstance(choice, NamedChoice) and self._applies(choice.kind):
            return NamedChoice(self._name(choice.kind, choice.name))
        if isinstance(choice, AllowedChoice):
            return self._allowed(choice)
        return choice

    def _allowed(self, choice: AllowedChoice) -> AllowedChoice:
        entries: Json = json.loads(choice.tools)
        if not isinstance(entries, list):
            return choice
        written = [self._allowed_entry(entry) for entry in entries]
        return choice if written == entries else AllowedChoice(choice.mode, _dumps(written))

    def _allowed_entry(self, entry: Json) -> Json:
        kind = entry.get("type") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(kind, str) or kind not in _FIELD_OF:
            return entry
        body = entry.get(kind, entry)
        name = kind if kind in _LOCAL else body.get("name") if isinstance(body, dict) else None
        if not isinstance(name, str) or not self._applies(kind):
            return entry
        return {"type": "function", "function": {"name": self._name(kind, name)}}


def _custom_function(tool: CustomTool, name: str) -> FunctionTool:
    says = [tool.description] if tool.description else []
    if isinstance(tool.format, Grammar):
        says.append(f"The input must match this {tool.format.syntax} grammar:\n{tool.format.definition}")
    schema = {
        "type": "object",
        "properties": {INPUT: {"type": "string", "description": "The tool's whole input, as plain text."}},
        "required": [INPUT],
        "additionalProperties": False,
    }
    return FunctionTool(name, "\n\n".join(says) or None, _dumps(schema), details=tool.details)


def _same(one: Part, other: Part) -> bool:
    return one is other


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
