"""Items that only the Responses API has: traces of what a provider ran, and what needs such a provider to go on.

All stay as they are, for endpoints of the dialect. A trace may be left out elsewhere; what the next answer
depends on binds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from eurouter.v1 import content_pb2
from eurouter.v1 import response_items_pb2 as pb

from service.api.media import FOREIGN, read_opaque, refuse_stored
from service.api.problems import read_json
from service.api.responses.call import ResponsesDraft
from service.api.responses.calls import opaque_item
from service.api.responses.entries import Beside, Entry, Place, Said
from service.domain.fields import Field
from service.domain.generation import Role

_UNNAMED_TRACES: Final = frozenset({"tool_search_call", "tool_search_output", "program", "program_output"})
_KINDS: Final = frozenset(
    field.name for field in pb.ResponseItem.DESCRIPTOR.oneofs_by_name["item"].fields if field.name != "opaque"
)
_SAYS_WHAT_TO_DO: Final = "continue with previous_response_id, or leave the item out"


def _trace(kind: str) -> Callable[[ResponsesDraft, Place, Any], Entry]:
    """What a provider did by itself."""

    def read(draft: ResponsesDraft, place: Place, body: Any) -> Entry:
        draft.need_server(place.path)
        return Beside(place, opaque_item(pb.ResponseItem(**{kind: body})), body.id)

    return read


def _binding(kind: str) -> Callable[[ResponsesDraft, Place, Any], Entry]:
    """The provider's part of something that it wants to go on with."""

    def read(draft: ResponsesDraft, place: Place, body: Any) -> Entry:
        draft.need_dialect(place.path)
        return Beside(place, opaque_item(pb.ResponseItem(**{kind: body})), body.id)

    return read


def _reply(kind: str) -> Callable[[ResponsesDraft, Place, Any], Entry]:
    """The caller's part of it."""

    def read(draft: ResponsesDraft, place: Place, body: Any) -> Entry:
        draft.need_dialect(place.path)
        return Said(place, Role.USER, (opaque_item(pb.ResponseItem(**{kind: body})),))

    return read


def _code(draft: ResponsesDraft, place: Place, item: pb.CodeInterpreterCall) -> Entry:
    # What is in our own store came from this caller's own conversation.
    if place.own and item.container_id:
        draft.problems.foreign(f"{place.path}.container_id", f"{FOREIGN}: {_SAYS_WHAT_TO_DO}")
    return _trace("code_interpreter_call")(draft, place, item)


def _screen(draft: ResponsesDraft, place: Place, item: pb.ComputerCallOutput) -> Entry:
    parsed = read_json(item.output)
    value = parsed[0] if isinstance(parsed, tuple) else None
    if isinstance(value, dict) and value.get("file_id") is not None:
        draft.problems.foreign(f"{place.path}.output.file_id", f"{FOREIGN}: send the screenshot in image_url")
    return _reply("computer_call_output")(draft, place, item)


def _opaque(draft: ResponsesDraft, place: Place, opaque: content_pb2.Opaque) -> Entry:
    """A kind that this version does not name: nobody can say that a conversation is the same without it."""
    if place.own and opaque.type not in _KINDS:
        refuse_stored(draft, place.path, opaque.json, _SAYS_WHAT_TO_DO)
    if opaque.type in _UNNAMED_TRACES:
        draft.need_server(place.path)
    else:
        draft.need(Field.OPAQUE_INPUT, place.path)
        draft.need_dialect(place.path)
    return Beside(place, read_opaque(draft, place.path, opaque, _KINDS))


TRACE_READERS: Final[dict[str, Callable[[ResponsesDraft, Place, Any], Entry | None]]] = {
    "web_search_call": _trace("web_search_call"),
    "file_search_call": _trace("file_search_call"),
    "code_interpreter_call": _code,
    "image_generation_call": _trace("image_generation_call"),
    "computer_call": _binding("computer_call"),
    "computer_call_output": _screen,
    "mcp_list_tools": _trace("mcp_list_tools"),
    "mcp_approval_request": _binding("mcp_approval_request"),
    "mcp_approval_response": _reply("mcp_approval_response"),
    "mcp_call": _trace("mcp_call"),
    "compaction": _binding("compaction"),
    "opaque": _opaque,
}
"""By the kind of item."""
