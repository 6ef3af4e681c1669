"""Items that are calls of the caller's own tools, and what these gave back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson
from eurouter.v1 import response_items_pb2 as pb

from service.api.problems import read_json, shown
from service.api.responses.call import DIALECT, ResponsesDraft
from service.api.responses.content import OUTPUT_PARTS, read_parts
from service.api.responses.entries import Beside, Entry, Output, Place
from service.api.tool_checks import check_name, read_arguments
from service.domain.fields import Field
from service.domain.generation import (
    File,
    Image,
    LocalToolKind,
    Opaque,
    Part,
    Text,
    ToolCall,
    ToolKind,
    ToolResult,
)
from service.wire import render_bytes

# An apply_patch_call knows no state between these two and the end.
_CUT: Final = frozenset({"incomplete", "in_progress"})
_JSON: Final = frozenset({"caller", "environment"})
_CONTAINERS: Final = frozenset({"container_reference", "container_auto"})


def in_container(environment: str) -> bool:
    """Whether a shell's environment, as JSON text, is a container of the provider's."""
    parsed = read_json(environment) if environment else ""
    return isinstance(parsed, tuple) and isinstance(parsed[0], dict) and parsed[0].get("type") in _CONTAINERS


def _call(
    draft: ResponsesDraft,
    place: Place,
    item: Any,
    name: str,
    arguments: str,
    kind: ToolKind,
    hints: tuple[str, ...],
) -> Beside:
    if not item.call_id:
        draft.problems.add(f"{place.path}.call_id", "must not be empty: the call's output names it")
    details = _details(draft, place, item, hints)
    return Beside(place, ToolCall(item.call_id, name, arguments, kind, details), item.id, _was_cut(place, item))


def _function_call(draft: ResponsesDraft, place: Place, item: pb.ResponseFunctionCall) -> Beside:
    check_name(draft.problems, place.path, item.name)
    arguments = item.arguments
    if not _was_cut(place, item):
        arguments = read_arguments(draft.problems, place.path, item.name, arguments)
    return _call(draft, place, item, item.name, arguments, "function", ("namespace", "caller"))


def _custom_call(draft: ResponsesDraft, place: Place, item: pb.ResponseCustomToolCall) -> Beside:
    check_name(draft.problems, place.path, item.name)
    return _call(draft, place, item, item.name, item.input, "custom", ("namespace", "caller"))


def _was_cut(place: Place, item: Any) -> bool:
    """Whether an earlier answer ended within this call. In the request itself it is its caller's to leave out."""
    return not place.own and item.status in _CUT


def _local_call(kind: LocalToolKind, body: str) -> Callable[[ResponsesDraft, Place, Any], Entry]:
    def read(draft: ResponsesDraft, place: Place, item: Any) -> Entry:
        if kind == "shell" and in_container(item.environment):
            return _in_container(draft, place, item)
        hints = {"shell": ("environment", "caller"), "apply_patch": ("caller",)}.get(kind, ())
        return _call(draft, place, item, kind, getattr(item, body), kind, hints)

    return read


def _in_container(draft: ResponsesDraft, place: Place, item: pb.ShellCall) -> Beside:
    """A trace of commands that the provider ran."""
    if place.own:
        draft.problems.foreign(
            f"{place.path}.environment",
            "names a container stored at a provider: continue with previous_response_id, or leave the item out",
        )
    draft.need_server(place.path)
    return Beside(place, opaque_item(pb.ResponseItem(shell_call=item)), item.call_id)


def opaque_item(item: pb.ResponseItem) -> Opaque:
    """An item that goes to endpoints of its own dialect as it is."""
    return Opaque(DIALECT, item.WhichOneof("item") or "", render_bytes(item).decode())


def _details(draft: ResponsesDraft, place: Place, item: Any, names: tuple[str, ...]) -> str | None:
    """What only the Responses API says of a call or its output: the fields `names`, as one JSON object."""
    values: dict[str, object] = {}
    for name in names:
        if not item.HasField(name):
            continue
        value = getattr(item, name)
        # A wrong one was noted; it must not spoil the others' text.
        values[name] = orjson.Fragment(value) if name in _JSON and isinstance(read_json(value), tuple) else value
        draft.need(Field.TOOL_DETAILS, f"{place.path}.{name}")
    return orjson.dumps(values).decode() if values else None


def _output(
    place: Place, kind: str, item: Any, parts: tuple[Part, ...], details: str | None, name: str | None = None
) -> Output:
    return Output(place, kind, ToolResult(item.call_id, parts, name, details=details))


def _tool_output(kind: str) -> Callable[[ResponsesDraft, Place, pb.ResponseToolOutput], Entry]:
    def read(draft: ResponsesDraft, place: Place, item: pb.ResponseToolOutput) -> Entry:
        _check_call_id(draft, place, item.call_id)
        at = f"{place.path}.output"
        parts = read_parts(draft, at, item.output, OUTPUT_PARTS, "a tool's output")
        if any(isinstance(part, Image | File) for part in parts):
            draft.need(Field.TOOL_MEDIA, at)
        name = None
        if item.HasField("name"):
            name = item.name
            check_name(draft.problems, place.path, name)
            draft.need(Field.AUTHOR_NAME, f"{place.path}.name")
        details = _details(draft, place, item, ("namespace", "caller"))
        # A tool that has nothing to say has still answered.
        return _output(place, kind, item, parts or (Text(""),), details, name)

    return read


def _check_call_id(draft: ResponsesDraft, place: Place, call_id: str) -> None:
    if not call_id:
        draft.problems.add(f"{place.path}.call_id", "is needed: the call_id of the call that it answers")


def _local_shell_output(draft: ResponsesDraft, place: Place, item: pb.LocalShellCallOutput) -> Entry:
    call_id = item.call_id or item.id
    if not call_id:
        draft.problems.add(f"{place.path}.call_id", "is needed here or in id: the call that it answers")
    return Output(place, "local_shell_call_output", ToolResult(call_id, (Text(item.output),)))


def _shell_output(draft: ResponsesDraft, place: Place, item: pb.ShellCallOutput) -> Entry:
    _check_call_id(draft, place, item.call_id)
    details = _details(draft, place, item, ("max_output_length", "caller"))
    result = ToolResult(item.call_id, (Text(item.output),), details=details)
    return Output(place, "shell_call_output", result, opaque_item(pb.ResponseItem(shell_call_output=item)))


def _patch_output(draft: ResponsesDraft, place: Place, item: pb.ApplyPatchCallOutput) -> Entry:
    _check_call_id(draft, place, item.call_id)
    status = item.status if item.HasField("status") else "completed"
    if status not in ("completed", "failed"):
        draft.problems.add(f"{place.path}.status", f"must be completed or failed; got {shown(status)}")
    more = _details(draft, place, item, ("caller",))
    details = orjson.dumps({"status": status, **(orjson.loads(more) if more else {})}).decode()
    # Without a word of the caller's its status is what there is to tell.
    text = item.output or status
    return _output(place, "apply_patch_call_output", item, (Text(text),), details)


ANSWERS: Final[dict[str, frozenset[ToolKind]]] = {
    # Agents answer local_shell calls with either form.
    "function_call_output": frozenset({"function", "local_shell"}),
    "custom_tool_call_output": frozenset({"custom"}),
    "local_shell_call_output": frozenset({"local_shell"}),
    "shell_call_output": frozenset({"shell"}),
    "apply_patch_call_output": frozenset({"apply_patch"}),
}
"""The kinds of calls that each kind of output answers."""

OUTPUT_TYPES: Final[dict[ToolKind, str]] = {
    "function": "function_call_output",
    "custom": "custom_tool_call_output",
    "local_shell": "local_shell_call_output",
    "shell": "shell_call_output",
    "apply_patch": "apply_patch_call_output",
}
"""The item that answers a call of each kind."""

CALL_READERS: Final[dict[str, Callable[[ResponsesDraft, Place, Any], Entry | None]]] = {
    "function_call": _function_call,
    "function_call_output": _tool_output("function_call_output"),
    "custom_tool_call": _custom_call,
    "custom_tool_call_output": _tool_output("custom_tool_call_output"),
    "local_shell_call": _local_call("local_shell", "action"),
    "local_shell_call_output": _local_shell_output,
    "shell_call": _local_call("shell", "action"),
    "shell_call_output": _shell_output,
    "apply_patch_call": _local_call("apply_patch", "operation"),
    "apply_patch_call_output": _patch_output,
}
"""By the kind of item."""
