"""What tools gave back, as the item that answers each kind of call."""

from __future__ import annotations

from typing import Any

import orjson

from service.domain.catalog import Endpoint
from service.domain.fields import Field
from service.domain.generation import File, Image, Text, ToolResult

from .content import input_content
from .verbatim import cannot, details_of, json_of


def write_result(result: ToolResult, path: str, endpoint: Endpoint) -> dict[str, Any]:
    """The item.

    Raises:
        ServiceError: INVALID_REQUEST for a part that the endpoint or this kind of result can't take.
    """
    can = endpoint.expressible
    item: dict[str, Any] = {"type": f"{_CALLS[result.kind]}_output", "call_id": result.call_id}
    match result.kind:
        case "function" | "custom":
            if Field.TOOL_MEDIA not in can and any(isinstance(part, Image | File) for part in result.parts):
                raise cannot(path, "images and files as the output of a call", endpoint)
            item["output"] = input_content(result.parts, path, endpoint)
        case "local_shell":
            # OpenAI's schema wants the call's id under both names.
            item |= {"id": result.call_id, "output": _text(result, path, endpoint)}
        case "shell":
            what = f"the output of call {result.call_id}"
            item["output"] = json_of(_text(result, path, endpoint), list, f"{path}.output", what)
        case "apply_patch":
            # How it went is no hint.
            status = orjson.loads(result.details or "{}").get("status", "completed")
            item |= {"status": status, "output": _text(result, path, endpoint)}
    return item | details_of(result.details, can)


_CALLS = {
    "function": "function_call",
    "custom": "custom_tool_call",
    "local_shell": "local_shell_call",
    "shell": "shell_call",
    "apply_patch": "apply_patch_call",
}


def _text(result: ToolResult, path: str, endpoint: Endpoint) -> str:
    texts = [part.text for part in result.parts if isinstance(part, Text)]
    if len(texts) != len(result.parts):
        raise cannot(path, f"anything but text as the output of a {result.kind} call", endpoint)
    return "".join(texts)
