"""Tools, the choice among them and their calls in history: from protobuf to the domain, checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, assert_never, cast

from eurouter.v1 import chat_pb2
from eurouter.v1 import tools_pb2 as pb

from service.api.chat.call import ChatDraft
from service.api.media import read_opaque
from service.api.problems import Problems, json_complaint, read_json, shown
from service.api.tool_checks import (
    MAX_TOOLS,
    MODES,
    check_name,
    must_exist,
    no_duplicates,
    read_arguments,
    read_custom_form,
    read_function,
)
from service.domain.fields import Field
from service.domain.generation import (
    AllowedChoice,
    CustomTool,
    FunctionTool,
    NamedChoice,
    Opaque,
    Tool,
    ToolCall,
    ToolChoice,
)

_KINDS: Final = frozenset({"function", "custom"})
_CHOICE_KINDS: Final = frozenset({"function", "custom", "allowed_tools"})


def read_tools(draft: ChatDraft, tools: Sequence[pb.Tool]) -> None:
    """The field `tools`."""
    if len(tools) > MAX_TOOLS:
        draft.problems.add("tools", f"must be at most {MAX_TOOLS}; got {len(tools)}")
        return
    read = tuple(_tool(draft, f"tools[{index}]", tool) for index, tool in enumerate(tools))
    places = [
        f"tools[{i}].{'custom' if isinstance(tool, CustomTool) else 'function'}" for i, tool in enumerate(read)
    ]
    no_duplicates(draft.problems, read, places)
    draft.values["tools"] = read


def read_functions(draft: ChatDraft, functions: Sequence[pb.FunctionDefinition]) -> None:
    """The field `functions`, the old name of tools."""
    if len(functions) > MAX_TOOLS:
        draft.problems.add("functions", f"must be at most {MAX_TOOLS}; got {len(functions)}")
        return
    places = [f"functions[{index}]" for index in range(len(functions))]
    read = tuple(read_function(draft.problems, at, one) for at, one in zip(places, functions, strict=True))
    no_duplicates(draft.problems, read, places)
    draft.need(Field.TOOLS, "functions")
    draft.values["tools"] = read


def _tool(draft: ChatDraft, at: str, tool: pb.Tool) -> Tool:
    kind = tool.WhichOneof("tool")
    match kind:
        case "function":
            draft.need(Field.TOOLS, "tools")
            return read_function(draft.problems, f"{at}.function", tool.function)
        case "custom":
            draft.need(Field.CUSTOM_TOOLS, at)
            if tool.custom.format.HasField("grammar"):
                draft.need(Field.CUSTOM_GRAMMAR, f"{at}.custom.format.grammar")
            return _custom(draft.problems, f"{at}.custom", tool.custom)
        case "opaque":
            # Whether it binds depends on the choice among the tools: see check_choice.
            draft.need_server(at)
        case None:
            draft.problems.add(at, "is empty: give it a type, such as function, and the value for it")
            return FunctionTool("")
        case _:
            assert_never(kind)
    return read_opaque(draft, at, tool.opaque, _KINDS)


def _custom(problems: Problems, at: str, tool: pb.CustomToolDefinition) -> CustomTool:
    check_name(problems, at, tool.name)
    form = None
    if tool.HasField("format"):
        form = read_custom_form(problems, f"{at}.format", tool.format, f"{at}.format.grammar")
    return CustomTool(tool.name, tool.description if tool.HasField("description") else None, form)


def read_tool_choice(draft: ChatDraft, choice: pb.ToolChoice) -> None:
    """The field `tool_choice`; whether the tools that it names exist is checked once all fields are read."""
    kind = choice.WhichOneof("choice")
    read: ToolChoice | None = None
    match kind:
        case "mode":
            read = MODES.get(choice.mode)
            if read is None:
                draft.problems.add("tool_choice", "must be none, auto, required or an object that names a tool")
        case "function":
            read = NamedChoice(choice.function.name, "function")
        case "custom":
            read = NamedChoice(choice.custom.name, "custom")
        case "allowed_tools":
            read = _allowed(draft, choice.allowed_tools)
        case "opaque":
            draft.need_dialect("tool_choice")
            read = read_opaque(draft, "tool_choice", choice.opaque, _CHOICE_KINDS)
        case None:
            draft.problems.add("tool_choice", "is empty: give none, auto, required or an object that names a tool")
        case _:
            assert_never(kind)
    # What every endpoint does unasked needs no endpoint that can say it.
    if read is not None and read != "auto":
        draft.need(Field.TOOL_CHOICE, "tool_choice")
    draft.values["tool_choice"] = read


def _allowed(draft: ChatDraft, allowed: pb.AllowedTools) -> AllowedChoice:
    at = "tool_choice.allowed_tools"
    draft.need(Field.TOOL_CHOICE_ALLOWED, at)
    if allowed.mode not in ("auto", "required"):
        draft.problems.add(f"{at}.mode", f"must be auto or required; got {shown(allowed.mode)}")
    complaint = json_complaint(allowed.tools, list, "a list of tools")
    if complaint is not None:
        draft.problems.add(f"{at}.tools", complaint)
    return AllowedChoice("required" if allowed.mode == "required" else "auto", allowed.tools)


def read_function_call(draft: ChatDraft, choice: chat_pb2.FunctionCallChoice) -> None:
    """The field `function_call`, the old name of tool_choice."""
    kind = choice.WhichOneof("choice")
    read: ToolChoice | None = None
    match kind:
        case "mode":
            read = MODES.get(choice.mode)
            if read not in ("none", "auto"):
                draft.problems.add("function_call", "must be none, auto or an object with a function's name")
        case "name":
            read = NamedChoice(choice.name, "function")
        case None:
            draft.problems.add("function_call", "is empty: give none, auto or an object with a function's name")
        case _:
            assert_never(kind)
    if read is not None and read != "auto":
        draft.need(Field.TOOL_CHOICE, "function_call")
    draft.values["tool_choice"] = read


def check_choice(draft: ChatDraft) -> None:
    """That a choice of tools can be met by the tools that are declared.

    One that names a tool which providers run, or that only such tools can meet, makes them bind.
    """
    choice = draft.values.get("tool_choice")
    tools = cast("tuple[Tool, ...]", draft.values.get("tools", ()))
    old = "function_call" in draft.seen
    at, field = ("function_call", "functions") if old else ("tool_choice", "tools")
    if choice is None or choice in ("none", "auto"):
        return
    if not tools:
        draft.problems.add(at, f"needs {field}: declare them or leave {at} out")
    elif isinstance(choice, NamedChoice):
        path = f"{at}.name" if old else f"{at}.{choice.kind}.name"
        must_exist(draft.problems, path, choice.kind, choice.name, tools)
    elif isinstance(choice, AllowedChoice):
        if _check_allowed(draft.problems, choice, tools):
            draft.bind_server_tools()
    elif isinstance(choice, Opaque) or all(isinstance(tool, Opaque) for tool in tools):
        draft.bind_server_tools()


def _check_allowed(problems: Problems, choice: AllowedChoice, tools: Sequence[Tool]) -> bool:
    """Checks the tools of the choice; whether one of them is of an unnamed kind."""
    parsed = read_json(choice.tools)
    entries = parsed[0] if isinstance(parsed, tuple) else None
    if not isinstance(entries, list):
        return False
    unnamed = False
    path = "tool_choice.allowed_tools.tools"
    if not entries:
        problems.add(path, "must name at least one tool")
    for index, entry in enumerate(entries):
        kind = entry.get("type") if isinstance(entry, dict) else None
        body = entry.get(kind) if isinstance(entry, dict) and isinstance(kind, str) else None
        name = body.get("name") if isinstance(body, dict) else None
        if not isinstance(kind, str):
            problems.add(
                f"{path}[{index}]", 'must be an object such as {"type": "function", "function": {"name": ...}}'
            )
        elif kind in _KINDS:
            must_exist(
                problems, f"{path}[{index}].{kind}.name", kind, name if isinstance(name, str) else "", tools
            )
        else:
            unnamed = True
    return unnamed


def read_calls(draft: ChatDraft, at: str, calls: Iterable[pb.ToolCall]) -> list[ToolCall]:
    """The calls of an assistant message."""
    read: list[ToolCall] = []
    seen: set[str] = set()
    for index, call in enumerate(calls):
        path = f"{at}[{index}]"
        if not call.id:
            draft.problems.add(f"{path}.id", "must not be empty: a tool's result names it")
        elif call.id in seen:
            draft.problems.add(f"{path}.id", "is the id of an earlier call of this message: each needs its own")
        seen.add(call.id)
        made = _call(draft.problems, path, call)
        if made is not None:
            read.append(made)
    return read


def _call(problems: Problems, path: str, call: pb.ToolCall) -> ToolCall | None:
    kind = call.WhichOneof("call")
    match kind:
        case "function":
            return read_call(problems, f"{path}.function", call.id, call.function)
        case "custom":
            check_name(problems, f"{path}.custom", call.custom.name)
            return ToolCall(call.id, call.custom.name, call.custom.input, "custom")
        case "opaque":
            problems.add(path, f"must be a function or custom call; got {shown(call.opaque.type)}")
        case None:
            problems.add(path, "is empty: give it the type function and the value for it")
        case _:
            assert_never(kind)
    return None


def read_call(problems: Problems, path: str, call_id: str, call: pb.FunctionCall) -> ToolCall:
    """A function call in history: its arguments must be a JSON object; nothing at all counts as an empty one."""
    check_name(problems, path, call.name)
    arguments = read_arguments(problems, path, call.name, call.arguments)
    return ToolCall(call_id, call.name, arguments)
