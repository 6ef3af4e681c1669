"""Tools of a Responses request: from protobuf to the domain, checked. The choice among them stands next door."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, assert_never

import orjson
from eurouter.v1 import content_pb2
from eurouter.v1 import response_items_pb2 as pb

from service.api.media import read_opaque, refuse_stored
from service.api.responses.call import DIALECT, ResponsesDraft
from service.api.responses.calls import in_container
from service.api.responses.json_fields import check_json_fields
from service.api.responses.strict import keeps_to_strict
from service.api.tool_checks import MAX_TOOLS, check_name, no_duplicates, read_custom_form, read_function
from service.domain.fields import Field
from service.domain.generation import CustomTool, FunctionTool, Grammar, LocalTool, Opaque, Tool
from service.wire import render_bytes

_KINDS: Final = frozenset(
    field.name for field in pb.ResponseTool.DESCRIPTOR.oneofs_by_name["tool"].fields if field.name != "opaque"
)
_LOCAL_SHELL: Final = '{"type":"local_shell"}'


def read_tools(draft: ResponsesDraft, tools: Sequence[pb.ResponseTool]) -> None:
    """The field `tools`."""
    if len(tools) > MAX_TOOLS:
        draft.problems.add("tools", f"must be at most {MAX_TOOLS}; got {len(tools)}")
        return
    places = [f"tools[{index}]" for index in range(len(tools))]
    read = tuple(_tool(draft, at, tool) for at, tool in zip(places, tools, strict=True))
    no_duplicates(draft.problems, read, places)
    draft.values["tools"] = read


def _tool(draft: ResponsesDraft, at: str, tool: pb.ResponseTool) -> Tool:
    kind = tool.WhichOneof("tool")
    if kind is not None and kind != "opaque":
        draft.problems.unknown_fields(getattr(tool, kind), at)
        check_json_fields(draft.problems, at, getattr(tool, kind))
    match kind:
        case "function":
            draft.need(Field.TOOLS, "tools")
            return _function(draft, at, tool.function)
        case "custom":
            draft.need(Field.CUSTOM_TOOLS, at)
            return _custom(draft, at, tool.custom)
        case "local_shell":
            return _local(draft, at, "local_shell", _LOCAL_SHELL)
        case "shell":
            return _shell(draft, at, tool)
        case "apply_patch":
            _hint(draft, at, _details(tool.apply_patch, ("allowed_callers",)))
            return _local(draft, at, "apply_patch", render_bytes(tool).decode())
        case "opaque":
            return _server_tool(draft, at, tool.opaque)
        case None:
            draft.problems.add(at, "is empty: give it a type, such as function, and what belongs to it")
            draft.problems.unknown_fields(tool, at)
            return FunctionTool("")
        case _:
            assert_never(kind)


def _function(draft: ResponsesDraft, at: str, function: pb.ResponseFunctionTool) -> FunctionTool:
    before = draft.problems.count
    read = read_function(draft.problems, at, function)
    strict = read.strict
    if strict is None and read.parameters is not None and draft.problems.count == before:
        strict = keeps_to_strict(read.parameters) or None
    details = _hint(draft, at, _details(function, ("defer_loading", "allowed_callers", "output_schema")))
    return FunctionTool(
        read.name, read.description, read.parameters, strict, details, strict_unsaid=read.strict is None
    )


def _custom(draft: ResponsesDraft, at: str, tool: pb.ResponseCustomTool) -> CustomTool:
    check_name(draft.problems, at, tool.name)
    form = None
    if tool.HasField("format"):
        form = read_custom_form(draft.problems, f"{at}.format", tool.format, f"{at}.format")
    if isinstance(form, Grammar):
        draft.need(Field.CUSTOM_GRAMMAR, f"{at}.format")
    details = _hint(draft, at, _details(tool, ("defer_loading", "allowed_callers")))
    return CustomTool(tool.name, tool.description if tool.HasField("description") else None, form, details)


def _shell(draft: ResponsesDraft, at: str, tool: pb.ResponseTool) -> Tool:
    text = render_bytes(tool).decode()
    if in_container(tool.shell.environment):
        refuse_stored(draft, at, text, "leave the tool out")
        draft.need_server(at)
        return Opaque(DIALECT, "shell", text)
    _hint(draft, at, _details(tool.shell, ("allowed_callers",)))
    return _local(draft, at, "shell", text)


def _local(
    draft: ResponsesDraft, at: str, kind: Literal["local_shell", "shell", "apply_patch"], text: str
) -> LocalTool:
    draft.need(Field.LOCAL_TOOLS, at)
    return LocalTool(kind, text)


def _details(
    tool: pb.ResponseFunctionTool | pb.ResponseCustomTool | pb.ResponseShellTool | pb.ResponseApplyPatchTool,
    names: Sequence[str],
) -> dict[str, object]:
    """What only the Responses API says of a tool, as it says it."""
    given = {field.name: value for field, value in tool.ListFields() if field.name in names}
    return {name: value if isinstance(value, bool) else orjson.Fragment(value) for name, value in given.items()}


def _hint(draft: ResponsesDraft, at: str, details: dict[str, object]) -> str | None:
    if not details:
        return None
    draft.need(Field.TOOL_DETAILS, f"{at}.{next(iter(details))}")
    return orjson.dumps(details).decode()


def _server_tool(draft: ResponsesDraft, at: str, opaque: content_pb2.Opaque) -> Opaque:
    read = read_opaque(draft, at, opaque, _KINDS)
    refuse_stored(draft, at, read.json, "leave the tool out")
    draft.need_server(at)
    return read
