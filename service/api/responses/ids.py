"""Ids of responses and of their items.

An item's id holds its response's and its position there (the request's own input first, then the output), so
that a reference to an item is resolved by reading one response: no index of items has to be kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from eurouter.v1 import response_items_pb2 as pb

_RESPONSE: Final = re.compile(r"resp_[0-9a-f]{36}")
_ITEM: Final = re.compile(r"[a-z]{2,8}_([0-9a-f]{36})([0-9a-f]{4})")

# As OpenAI's ids begin, where it has the kind.
_PREFIXES: Final[Mapping[str, str]] = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "reasoning": "rs",
    "local_shell_call": "lsh",
    "local_shell_call_output": "lsho",
    "shell_call": "sh",
    "shell_call_output": "sho",
    "apply_patch_call": "apc",
    "apply_patch_call_output": "apco",
    "web_search_call": "ws",
    "file_search_call": "fs",
    "code_interpreter_call": "ci",
    "image_generation_call": "ig",
    "computer_call": "cu",
    "computer_call_output": "cuo",
    "mcp_list_tools": "mcpl",
    "mcp_approval_request": "mcpr",
    "mcp_approval_response": "mcpa",
    "mcp_call": "mcp",
    "compaction": "cmp",
}
_OTHER: Final = "item"


def new_response_id(digits: str) -> str:
    """The id of a response; `digits` are 36 hexadecimal ones, lower case."""
    return f"resp_{digits}"


def is_response_id(text: str) -> bool:
    """Whether `text` has the form of a response's id."""
    return _RESPONSE.fullmatch(text) is not None


def item_id(kind: str, response_id: str, position: int) -> str:
    """The id of the item of this kind that stands at `position` in its response."""
    return f"{_PREFIXES.get(kind, _OTHER)}_{response_id[5:]}{position:04x}"


def response_of_item(text: str) -> str | None:
    """The id of the response that the item with this id belongs to; None when the id is not ours."""
    match = _ITEM.fullmatch(text)
    return None if match is None else f"resp_{match[1]}"


def id_of(item: pb.ResponseItem) -> str:
    """An item's id, "" without one."""
    kind = item.WhichOneof("item")
    if kind is None or kind == "opaque":
        return ""
    found = getattr(item, kind).id
    return found if isinstance(found, str) else ""


def as_kept(items: Iterable[pb.ResponseItem], response_id: str) -> list[pb.ResponseItem]:
    """Copies of a request's own items as they are kept and listed: what a caller may leave out is filled in.

    That is the id, the status and an image's level of detail, which listings always have.
    """
    done = []
    for position, item in enumerate(items):
        copy = pb.ResponseItem()
        copy.CopyFrom(item)
        kind = copy.WhichOneof("item")
        if kind is not None and kind != "opaque":
            body = getattr(copy, kind)
            if not body.id:
                body.id = item_id(kind, response_id, position)
            if "status" in body.DESCRIPTOR.fields_by_name and not body.status:
                body.status = "completed"
            _fill_details(copy)
        done.append(copy)
    return done


def _fill_details(item: pb.ResponseItem) -> None:
    for part in (*item.message.content, *item.function_call_output.output, *item.custom_tool_call_output.output):
        if part.HasField("input_image") and not part.input_image.HasField("detail"):
            part.input_image.detail = "auto"
