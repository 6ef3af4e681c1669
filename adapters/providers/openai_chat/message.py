"""One choice's message, or the deltas that make it up, as neutral events."""

from __future__ import annotations

from typing import Any, Final

import orjson

from service.domain.events import (
    AudioDelta,
    Event,
    OpaqueAnnotation,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    TopToken,
    UrlCitation,
)

from .calls import CallTracker
from .reasoning import FIELDS as REASONING_FIELDS
from .reasoning import ReasoningReader

MESSAGE_FIELDS: Final = REASONING_FIELDS | {
    "role",
    "content",
    "refusal",
    "tool_calls",
    "function_call",
    "annotations",
    "audio",
}
MISTRAL: Final = "mistral-v1"
"""Marks reasoning that Mistral signed (SDK `mistralai` 3.7: ThinkChunk.signature)."""

_ANSWER: Final = frozenset({"content", "refusal", "tool_calls", "function_call"})
_CITATION: Final = {"url", "title", "start_index", "end_index"}


class ChoiceReader:
    """Keeps one choice's books: what was said, which calls are open."""

    __slots__ = ("_calls", "_choice", "_empty", "_reasoned", "_reasoning", "finish", "said", "saying", "shown")

    def __init__(self, choice: int) -> None:
        self._choice = choice
        self._calls = CallTracker(choice)
        self._reasoning = ReasoningReader(choice)
        self._reasoned = False
        self._empty = False  # content was "" at least once
        self.said = False  # text went out
        self.saying = False  # and no reasoning after it
        self.shown = False  # something else than text and reasoning went out
        self.finish = ""

    @property
    def called(self) -> bool:
        """Whether the choice calls tools."""
        return bool(self._calls)

    @property
    def visible(self) -> bool:
        """Whether anything came that a caller sees."""
        return self.said or self.shown or self._reasoned or self.called

    def take(
        self,
        message: dict[str, Any],
        logprobs: dict[str, Any] | None,
        answer_id: str,
        out: list[Event],
        *,
        whole: bool,
    ) -> None:
        """A message or a delta with the log probabilities beside it."""
        before = len(out)
        if not REASONING_FIELDS.isdisjoint(message):
            self._reasoning.take(message, out)
            self._reasoned = self._reasoned or len(out) > before
            self.saying = False
        if self._reasoning.open and not _ANSWER.isdisjoint(name for name, value in message.items() if value):
            # Readers tell reasoning from the answer by its place: its seal must not come behind what follows it.
            self._reasoning.close(out)
        logs = logprobs or {}
        self._content(message.get("content"), read_logprobs(logs.get("content")), out)
        refusal = message.get("refusal")
        refusal_logs = read_logprobs(logs.get("refusal"))
        if refusal or refusal_logs:
            out.append(RefusalDelta(refusal or "", self._choice, refusal_logs))
            self.shown = True
        calls = message.get("tool_calls")
        if calls:
            self._calls.take(calls, out, whole=whole)
        function_call = message.get("function_call")
        if function_call:
            self._calls.take_function_call(function_call, answer_id, out)
        for annotation in message.get("annotations") or ():
            out.append(read_annotation(annotation, self._choice))
            self.shown = True
        audio = message.get("audio")
        if audio:
            out.append(_audio(audio, self._choice))
            self.shown = True

    def close(self, answer_id: str, out: list[Event]) -> None:
        """The choice ended: calls and reasoning that were held, and an answer of empty text."""
        self._reasoning.close(out)
        self._calls.close(answer_id, out)
        # Streams open with content "" whatever follows; only where nothing does is it the answer.
        if self._empty and not (self.said or self.shown or self.called):
            self.said = True
            out.append(TextDelta("", self._choice))

    def _content(self, content: Any, logs: tuple[TokenLogprob, ...], out: list[Event]) -> None:
        if isinstance(content, list):
            for part in content:
                self._part(part, out)
            content = ""
        if content or logs:
            self.said = self.saying = True
            out.append(TextDelta(content or "", self._choice, logs))
        elif content == "":
            self._empty = True

    def _part(self, part: dict[str, Any], out: list[Event]) -> None:
        """A part of a content list, as Mistral's reasoning models and some look-alikes answer."""
        kind = part.get("type")
        if kind == "text":
            self._content(part.get("text") or "", (), out)
        elif kind == "thinking":
            pieces = part.get("thinking") or ()
            text = pieces if isinstance(pieces, str) else "".join(piece.get("text") or "" for piece in pieces)
            if text:
                self._reasoned = True
                out.append(ReasoningDelta(text, self._choice))
            if part.get("signature"):
                self._reasoned = True
                out.append(ReasoningSeal(MISTRAL, part["signature"], choice=self._choice))
        else:
            # Mistral's `reference` parts are sources; nothing else stands in an answer's content.
            self.shown = True
            out.append(OpaqueAnnotation(str(kind), orjson.dumps(part).decode(), self._choice))


def read_annotation(annotation: dict[str, Any], choice: int) -> UrlCitation | OpaqueAnnotation:
    """A source; one that says more than a citation of ours can hold stays whole."""
    kind = annotation.get("type") or ""
    found = annotation.get("url_citation")
    if kind == "url_citation" and isinstance(found, dict) and found.keys() == _CITATION:
        return UrlCitation(found["url"], found["title"], found["start_index"], found["end_index"], choice)
    return OpaqueAnnotation(kind, orjson.dumps(annotation).decode(), choice)


def read_logprobs(tokens: list[dict[str, Any]] | None) -> tuple[TokenLogprob, ...]:
    """Tokens with their log probabilities and alternatives."""
    if not tokens:
        return ()
    return tuple(
        TokenLogprob(
            token["token"],
            token["logprob"],
            _bytes(token),
            tuple(TopToken(top["token"], top["logprob"], _bytes(top)) for top in token.get("top_logprobs") or ()),
        )
        for token in tokens
    )


def _bytes(token: dict[str, Any]) -> tuple[int, ...] | None:
    found = token.get("bytes")
    return None if found is None else tuple(found)


def _audio(audio: dict[str, Any], choice: int) -> AudioDelta:
    return AudioDelta(
        audio.get("data") or "", audio.get("transcript") or "", audio.get("id"), audio.get("expires_at"), choice
    )
