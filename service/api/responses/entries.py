"""What one item of a conversation says, by itself: the form between items and turns.

`path` is where it stands, for errors: a JSON path of the request, or previous_response_id with the item's id
in brackets. `mark` names it in the answer where it was left out: its id, or its path in the request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from service.domain.generation import Opaque, Part, Reasoning, Role, ToolCall, ToolResult


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item stands. `own`: in the request itself, so that its caller can mend it."""

    path: str
    mark: str
    own: bool = True


@dataclass(frozen=True, slots=True)
class Said:
    """A turn of its own: a message that is not the assistant's, or a caller's word in a kind of its dialect."""

    place: Place
    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """A message of the assistant's."""

    place: Place
    parts: tuple[Part, ...]
    phase: str | None = None
    annotations: str | None = None


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands beside the messages of an assistant's turn. `id` is the item's.

    `cut`: a call within which an earlier answer ended, so it need not be answered.
    """

    place: Place
    part: Reasoning | ToolCall | Opaque
    id: str = ""
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """What a tool gave back. `type` is the item's; `call_id` may be the id of a local_shell_call's item.

    `opaque` stands for it where the call turns out to be one that the provider ran.
    """

    place: Place
    type: str
    result: ToolResult
    opaque: Opaque | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """An item of an earlier response, by its id."""

    place: Place
    id: str


Entry: TypeAlias = Said | Written | Beside | Output | Reference
