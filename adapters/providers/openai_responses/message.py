"""A message among the output items as neutral events: text, refusals, sources, log probabilities."""

from __future__ import annotations

from typing import Any, Final

import orjson

from adapters.providers.openai_chat.message import read_logprobs
from service.domain.events import (
    Event,
    MessageStart,
    OpaqueAnnotation,
    RefusalDelta,
    TextDelta,
    UrlCitation,
)

from .output import rest_of

_CITATION: Final = {"type", "url", "title", "start_index", "end_index"}


class Said:
    """What all messages of an answer have said so far."""

    __slots__ = ("characters", "messages", "visible")

    def __init__(self) -> None:
        self.characters = 0
        self.messages = 0
        self.visible = False


class _Part:
    __slots__ = ("logs", "notes", "start", "texts")

    def __init__(self, start: int) -> None:
        self.start = start  # where its text begins in the answer's
        self.texts: list[str] = []
        self.logs = 0
        self.notes = 0


class MessageReader:
    """One message. As the other readers it takes a stream's events, and the finished item as often as it comes."""

    __slots__ = ("_book", "_parts", "id")

    def __init__(self, item: dict[str, Any], book: Said, out: list[Event]) -> None:
        self.id = item.get("id")
        self._book = book
        self._parts: dict[int, _Part] = {}
        book.messages += 1
        phase = item.get("phase")
        if phase or book.messages > 1:
            out.append(MessageStart(phase))

    def text(self, index: int, text: Any, logprobs: Any, out: list[Event]) -> None:
        """More text of a part."""
        part = self._parts.get(index) or self._part(index)
        logs = read_logprobs(logprobs)
        if text or logs:
            part.logs += len(logs)
            self._say(part, text or "")
            out.append(TextDelta(text or "", 0, logs))

    def refusal(self, index: int, text: Any, out: list[Event]) -> None:
        """More of a refusal."""
        if text:
            part = self._parts.get(index) or self._part(index)
            part.texts.append(text)
            self._book.visible = True
            out.append(RefusalDelta(text))

    def annotation(self, index: int, annotation: Any, out: list[Event]) -> None:
        """One more source of a part."""
        part = self._parts.get(index) or self._part(index)
        part.notes += 1
        self._book.visible = True
        out.append(_annotation(annotation, part.start))

    def whole_part(self, index: int, content: dict[str, Any], out: list[Event]) -> None:
        """A finished part: what it has beyond what was said."""
        part = self._parts.get(index)
        kind = content.get("type")
        if kind == "output_text":
            part = part or self._part(index)
            logs = read_logprobs(content.get("logprobs"))[part.logs :]
            rest = rest_of(part.texts, content.get("text"))
            if rest or logs:
                part.logs += len(logs)
                self._book.characters += len(rest)
                self._book.visible = True
                out.append(TextDelta(rest, 0, logs))
            for annotation in (content.get("annotations") or ())[part.notes :]:
                self.annotation(index, annotation, out)
        elif kind == "refusal":
            part = part or self._part(index)
            rest = rest_of(part.texts, content.get("refusal"))
            if rest:
                self._book.visible = True
                out.append(RefusalDelta(rest))
        elif part is None and kind is not None:
            self._part(index)
            self._book.visible = True
            out.append(OpaqueAnnotation(str(kind), orjson.dumps(content).decode()))

    def finish(self, item: dict[str, Any], out: list[Event]) -> None:
        """The finished item."""
        for index, content in enumerate(item.get("content") or ()):
            self.whole_part(index, content, out)

    def _part(self, index: int) -> _Part:
        part = self._parts[index] = _Part(self._book.characters)
        return part

    def _say(self, part: _Part, text: str) -> None:
        part.texts.append(text)
        self._book.characters += len(text)
        self._book.visible = True


def _annotation(annotation: dict[str, Any], start: int) -> Event:
    """A source; one that says more than a citation of ours can hold stays whole."""
    kind = annotation.get("type") or ""
    if kind == "url_citation" and annotation.keys() == _CITATION and annotation["title"] is not None:
        first, last = annotation["start_index"], annotation["end_index"]
        return UrlCitation(annotation["url"], annotation["title"], start + first, start + last)
    return OpaqueAnnotation(kind, orjson.dumps(annotation).decode())
