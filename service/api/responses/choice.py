"""The choice among a Responses request's tools, and which of the provider's own tools it binds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, assert_never, cast

import orjson
from eurouter.v1 import response_items_pb2 as pb

from service.api.media import read_opaque
from service.api.problems import json_complaint, read_json, shown
from service.api.responses.call import DIALECT, ResponsesDraft
from service.api.tool_checks import MODES, must_exist
from service.domain.fields import Field
from service.domain.generation import (
    AllowedChoice,
    LocalTool,
    LocalToolKind,
    NamedChoice,
    Opaque,
    Tool,
    ToolChoice,
)

_AT: Final = "tool_choice"
_NAMED: Final = frozenset({"function", "custom"})
_LOCAL: Final = frozenset({"local_shell", "shell", "apply_patch"})
_KINDS: Final = frozenset({"function", "custom", "apply_patch", "shell", "allowed_tools"})


def read_tool_choice(draft: ResponsesDraft, choice: pb.ResponseToolChoice) -> None:
    """The field `tool_choice`. Comes after `tools`, whose field number is lower."""
    kind = choice.WhichOneof("choice")
    tools = cast("tuple[Tool, ...]", draft.values.get("tools", ()))
    read: ToolChoice | None = None
    match kind:
        case "mode":
            read = _mode(draft, choice.mode, tools)
        case "function" | "custom":
            name = choice.function.name if kind == "function" else choice.custom.name
            must_exist(draft.problems, f"{_AT}.name", kind, name, tools)
            read = NamedChoice(name, kind)
        case "shell" | "apply_patch":
            read = _local(draft, kind, tools)
        case "allowed_tools":
            read = _allowed(draft, choice.allowed_tools, tools)
        case "opaque":
            read = read_opaque(draft, _AT, choice.opaque, _KINDS)
            _bind(draft, _AT, read.type, tools)
        case None:
            draft.problems.add(_AT, "is empty: give none, auto, required or an object that names a tool")
        case _:
            assert_never(kind)
    # What every endpoint does unasked needs no endpoint that can say it.
    if read is not None and read != "auto":
        draft.need(Field.TOOL_CHOICE, _AT)
    draft.values["tool_choice"] = read


def _mode(draft: ResponsesDraft, mode: int, tools: Sequence[Tool]) -> ToolChoice | None:
    read = MODES.get(mode)
    if read is None:
        draft.problems.add(_AT, "must be none, auto, required or an object that names a tool")
    elif read == "required":
        if not tools:
            draft.problems.add(_AT, "needs tools: declare them or leave tool_choice out")
        elif all(isinstance(tool, Opaque) for tool in tools):
            draft.bind_server_tools()
    return read


def _local(draft: ResponsesDraft, kind: LocalToolKind, tools: Sequence[Tool]) -> ToolChoice:
    if any(isinstance(tool, LocalTool) and tool.kind == kind for tool in tools):
        return NamedChoice(kind, kind)
    # A shell in a container is the provider's.
    _bind(draft, _AT, kind, [tool for tool in tools if isinstance(tool, Opaque) and tool.type == kind])
    return Opaque(DIALECT, kind, f'{{"type":"{kind}"}}')


def _bind(draft: ResponsesDraft, path: str, kind: str, tools: Sequence[Tool]) -> None:
    """A tool that the provider runs is named, so it can't be left out; which name fits is its matter."""
    if any(isinstance(tool, Opaque) for tool in tools):
        draft.bind_server_tools()
    else:
        draft.problems.add(path, f"must name a declared tool; there is no {shown(kind)} among tools")


def _allowed(draft: ResponsesDraft, allowed: pb.ResponseAllowedTools, tools: Sequence[Tool]) -> AllowedChoice:
    draft.need(Field.TOOL_CHOICE_ALLOWED, _AT)
    if allowed.mode not in ("auto", "required"):
        draft.problems.add(f"{_AT}.mode", f"must be auto or required; got {shown(allowed.mode)}")
    complaint = json_complaint(allowed.tools, list, "a list of tools")
    parsed = read_json(allowed.tools)
    entries = parsed[0] if isinstance(parsed, tuple) and isinstance(parsed[0], list) else []
    if complaint is not None:
        draft.problems.add(f"{_AT}.tools", complaint)
    elif not entries:
        draft.problems.add(f"{_AT}.tools", "must name at least one tool")
    rewritten = [_entry(draft, f"{_AT}.tools[{i}]", entry, tools) for i, entry in enumerate(entries)]
    return AllowedChoice("required" if allowed.mode == "required" else "auto", orjson.dumps(rewritten).decode())


def _entry(draft: ResponsesDraft, at: str, entry: Any, tools: Sequence[Tool]) -> Any:
    """One allowed tool in the neutral form, which is the Chat API's; kinds that it lacks stay as they are."""
    kind = entry.get("type") if isinstance(entry, dict) else None
    if not isinstance(kind, str):
        draft.problems.add(at, 'must be an object such as {"type": "function", "name": ...}')
    elif kind in _NAMED:
        name = entry.get("name")
        must_exist(draft.problems, f"{at}.name", kind, name if isinstance(name, str) else "", tools)
        return {"type": kind, kind: {"name": name}}
    elif not (kind in _LOCAL and any(isinstance(tool, LocalTool) and tool.kind == kind for tool in tools)):
        _bind(draft, at, kind, tools)
    return entry
