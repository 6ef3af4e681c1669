"""A stream's events in this dialect as neutral events. Kinds that nobody named say nothing."""

from __future__ import annotations

from typing import Any, Final, Literal

from service.domain.events import Event
from service.domain.failure import UpstreamError

from .answer import AnswerReader, Reader, protocol_error
from .errors import failure_in
from .message import MessageReader
from .output import CallReader, OpaqueReader, ReasoningReader

_TERMINAL: Final = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
_ERRORS: Final = frozenset({"error", "response.error"})
_TOLD: Final = frozenset({"delta", "done"})
_ARGUMENTS: Final = {
    "response.function_call_arguments": ("function_call", "arguments"),
    "response.custom_tool_call_input": ("custom_tool_call", "input"),
}
_REASONING: Final[dict[str, tuple[Literal["text", "summary"], str]]] = {
    "response.reasoning_summary_text": ("summary", "summary_index"),
    "response.reasoning_text": ("text", "content_index"),
    # Open Responses' name for the same.
    "response.reasoning": ("text", "content_index"),
}
_PARTS: Final = {"response.output_text": ("output_text", "text"), "response.refusal": ("refusal", "refusal")}


class EventReader(AnswerReader):
    """Reads one stream's events in order. Not reusable."""

    def take(self, kind: str, event: dict[str, Any], out: list[Event]) -> None:
        """One event.

        Raises:
            UpstreamError: an error event or a failed answer (its own kind), PROTOCOL.
        """
        if kind == "response.output_text.delta":
            self._message(event, out).text(_part(event), event.get("delta"), event.get("logprobs"), out)
        elif kind in _TERMINAL:
            self.end(event["response"], _TERMINAL[kind], out)
        elif kind in _ERRORS:
            raise UpstreamError(failure_in(event))
        elif "response" in event:
            self._start(event["response"], out)
        elif kind == "response.output_item.added":
            index = event.get("output_index")
            self._open(self._last + 1 if index is None else index, event["item"], out, streamed=True)
        elif kind == "response.output_item.done":
            self._finish(self._at(event, event["item"], out), event["item"], out)
        else:
            self._more(kind, event, out)

    def _more(self, kind: str, event: dict[str, Any], out: list[Event]) -> None:
        name, _, state = kind.rpartition(".")
        if kind == "response.output_text.annotation.added":
            self._message(event, out).annotation(_part(event), event["annotation"], out)
        elif state in _TOLD and name in _REASONING:
            self._reasoning(name, state, event, out)
        elif state in _TOLD and name in _ARGUMENTS:
            self._arguments(name, state, event, out)
        elif kind == "response.refusal.delta":
            self._message(event, out).refusal(_part(event), event.get("delta"), out)
        elif state == "done" and name in _PARTS:
            type_, field = _PARTS[name]
            content = {"type": type_, field: event.get(field), "logprobs": event.get("logprobs")}
            self._message(event, out).whole_part(_part(event), content, out)
        else:
            reader = self._by_index.get(event.get("output_index", -1))
            if isinstance(reader, OpaqueReader):
                reader.progress(kind, event, out)

    def _reasoning(self, name: str, state: str, event: dict[str, Any], out: list[Event]) -> None:
        reader = self._at(event, {"type": "reasoning", "id": event.get("item_id")}, out)
        if isinstance(reader, ReasoningReader):
            kind, counter = _REASONING[name]
            if state == "delta":
                reader.delta(kind, event.get(counter) or 0, event.get("delta"), out)
            else:
                reader.paragraph(kind, event.get(counter) or 0, event.get("text"), out)

    def _arguments(self, name: str, state: str, event: dict[str, Any], out: list[Event]) -> None:
        type_, field = _ARGUMENTS[name]
        item = {"type": type_, "id": event.get("item_id"), "name": event.get("name")}
        reader = self._at(event, item, out)
        if isinstance(reader, CallReader):
            if state == "delta":
                reader.delta(event.get("delta"), out)
            else:
                reader.arguments(event.get(field), out)

    def _message(self, event: dict[str, Any], out: list[Event]) -> MessageReader:
        reader = self._by_index.get(event.get("output_index", self._last))
        if type(reader) is MessageReader:
            return reader
        opened = self._at(event, {"type": "message", "id": event.get("item_id")}, out)
        if isinstance(opened, MessageReader):
            return opened
        raise protocol_error("text of an item that is no message")

    def _at(self, event: dict[str, Any], item: dict[str, Any], out: list[Event]) -> Reader:
        """The reader of the item that an event is about; one is opened where the stream forgot to say so."""
        index = event.get("output_index")
        if index is None:
            index = max(self._last, 0)
        reader = self._by_index.get(index)
        return reader if reader is not None else self._open(index, item, out, streamed=True)


def _part(event: dict[str, Any]) -> int:
    return event.get("content_index") or 0
