"""An assistant's calls of the caller's tools, as the item of each kind of call."""

from __future__ import annotations

from typing import Any

from service.domain.fields import Field
from service.domain.generation import ToolCall

from .verbatim import details_of, json_of


def write_call(call: ToolCall, path: str, can: frozenset[Field]) -> dict[str, Any]:
    """The item.

    Raises:
        ServiceError: INVALID_REQUEST for a local tool's action that is no JSON object.
    """
    where, what = f"{path}.tool_calls", f"what call {call.id} is to do"
    item: dict[str, Any]
    match call.kind:
        case "function":
            item = {"type": "function_call", "name": call.name, "arguments": call.arguments}
        case "custom":
            item = {"type": "custom_tool_call", "name": call.name, "input": call.arguments}
        case "local_shell" | "shell":
            action = json_of(call.arguments, dict, where, what)
            item = {"type": f"{call.kind}_call", "action": action, "status": "completed"}
        case "apply_patch":
            operation = json_of(call.arguments, dict, where, what)
            item = {"type": "apply_patch_call", "operation": operation, "status": "completed"}
    item["call_id"] = call.id
    return item | details_of(call.details, can)
