"""Output items that are no messages, as neutral events: reasoning, calls of the caller's tools, and all others.

A reader takes what a stream says of its item, then the finished item, from as many places as repeat it: only
what was not said yet becomes events. Of a whole answer it takes the finished item alone.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import orjson

from adapters.providers.openai_chat.calls import made_id
from service.domain.events import (
    Event,
    OpaqueItem,
    OpaqueProgress,
    ReasoningDelta,
    ReasoningSeal,
    ToolCallDelta,
    ToolCallStart,
)
from service.domain.failure import Failure, FailureKind, UpstreamError
from service.domain.generation import ToolKind

from .verbatim import FORMAT, NAME

CALLS: Final[dict[str, tuple[ToolKind, str]]] = {
    "function_call": ("function", "arguments"),
    "custom_tool_call": ("custom", "input"),
    "local_shell_call": ("local_shell", "action"),
    "shell_call": ("shell", "action"),
    "apply_patch_call": ("apply_patch", "operation"),
}
"""Items that call the caller's tools: the kind of call and the field that says what to do."""

Kind = Literal["text", "summary"]


def rest_of(said: list[str], whole: Any) -> str:
    """What `whole` has beyond `said`, which is said from then on; nothing where the two don't agree."""
    if not isinstance(whole, str) or not whole:
        return ""
    if not said:
        said.append(whole)
        return whole
    before = "".join(said)
    if not whole.startswith(before):
        return ""
    said[:] = (whole,)
    return whole[len(before) :]


class ReasoningReader:
    """One reasoning item."""

    __slots__ = ("_sealed", "_texts", "id")

    def __init__(self, item: dict[str, Any]) -> None:
        self.id = item.get("id")
        self._texts: dict[tuple[Kind, int], list[str]] = {}
        self._sealed = False

    def delta(self, kind: Kind, part: int, text: Any, out: list[Event]) -> None:
        """More of a paragraph."""
        if text and not self._sealed:
            self._texts.setdefault((kind, part), []).append(text)
            out.append(ReasoningDelta(text, kind=kind, part=part))

    def paragraph(self, kind: Kind, part: int, text: Any, out: list[Event]) -> None:
        """A whole paragraph."""
        rest = "" if self._sealed else rest_of(self._texts.setdefault((kind, part), []), text)
        if rest:
            out.append(ReasoningDelta(rest, kind=kind, part=part))

    def finish(self, item: dict[str, Any], out: list[Event]) -> None:
        """The finished item: its encrypted content is whole only now."""
        if self._sealed:
            return
        for part, entry in enumerate(item.get("summary") or ()):
            self.paragraph("summary", part, entry.get("text"), out)
        for part, entry in enumerate(item.get("content") or ()):
            self.paragraph("text", part, entry.get("text"), out)
        self._sealed = True
        encrypted = item.get("encrypted_content") or None
        out.append(ReasoningSeal(FORMAT, encrypted=encrypted, id=item.get("id") or self.id or None))


class CallReader:
    """One call of a tool that the caller runs; `index` counts them."""

    __slots__ = ("_field", "_held", "_id", "_index", "_kind", "_name", "_said", "_started", "id")

    def __init__(self, index: int, item: dict[str, Any], out: list[Event]) -> None:
        self._index = index
        self._kind, self._field = CALLS[item["type"]]
        self._name = "" if self._kind in ("function", "custom") else self._kind
        self._id = ""
        self._said: list[str] = []
        self._held = False  # arguments that came before the call had its id and name
        self._started = False
        self.id = item.get("id")
        self._begin(item, out)

    def delta(self, text: Any, out: list[Event]) -> None:
        """More of the arguments or the input."""
        if not text:
            return
        self._said.append(text)
        if self._started:
            out.append(ToolCallDelta(self._index, text))
        else:
            self._held = True

    def arguments(self, text: Any, out: list[Event]) -> None:
        """All of the arguments or the input."""
        if text is not None and not isinstance(text, str):
            text = orjson.dumps(text).decode()
        rest = rest_of(self._said, text)
        if not rest:
            return
        if self._started:
            out.append(ToolCallDelta(self._index, rest))
        else:
            self._held = True

    def finish(self, item: dict[str, Any], answer_id: str, out: list[Event]) -> None:
        """The finished item.

        Raises:
            UpstreamError: PROTOCOL, a call without a name.
        """
        self._begin(item, out)
        if not self._started:
            if not self._name:
                raise UpstreamError(Failure(FailureKind.PROTOCOL, "the provider sent a tool call without a name"))
            self._id = self._id or made_id(answer_id, 0, self._index)
            self._start(out)
        self.arguments(item.get(self._field), out)

    def _begin(self, item: dict[str, Any], out: list[Event]) -> None:
        self._id = self._id or item.get("call_id") or ""
        self._name = self._name or item.get("name") or ""
        if self._id and self._name and not self._started:
            self._start(out)

    def _start(self, out: list[Event]) -> None:
        self._started = True
        out.append(ToolCallStart(self._index, self._id, self._name, self._kind))
        if self._held:
            out.append(ToolCallDelta(self._index, "".join(self._said)))


class OpaqueReader:
    """One item of another kind, such as a search that the provider ran; `index` counts them."""

    __slots__ = ("_done", "_index", "_type", "id")

    def __init__(self, index: int, item: dict[str, Any]) -> None:
        self._index = index
        self._type = str(item.get("type"))
        self._done = False
        self.id = item.get("id")

    def begin(self, item: dict[str, Any], out: list[Event]) -> None:
        """The item as a stream shows it first."""
        out.append(OpaqueItem(self._index, NAME, self._type, orjson.dumps(item).decode(), done=False))

    def progress(self, kind: str, event: dict[str, Any], out: list[Event]) -> None:
        """A stream's event about the item."""
        if not self._done:
            out.append(OpaqueProgress(self._index, kind, orjson.dumps(event).decode()))

    def finish(self, item: dict[str, Any], out: list[Event]) -> None:
        """The finished item."""
        if not self._done:
            self._done = True
            out.append(OpaqueItem(self._index, NAME, self._type, orjson.dumps(item).decode()))


def is_call(item: dict[str, Any]) -> bool:
    """Whether the caller is to run what `item` calls; a shell in a provider's container is not the caller's."""
    environment = item.get("environment")
    hosted = isinstance(environment, dict) and environment.get("type") not in (None, "local")
    return item.get("type") in CALLS and not hosted
