"""One candidate of an answer, whole or in chunks, as neutral events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from service.domain.events import (
    NATIVE_FINISH_REASON,
    Event,
    Extra,
    Finish,
    FinishReason,
    ReasoningDelta,
    ReasoningSeal,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
    TopToken,
)

from .citations import citations
from .signatures import FORMAT

_R = FinishReason
FINISH: Final = {
    "STOP": _R.STOP,
    "MAX_TOKENS": _R.LENGTH,
    "CONTINUATION": _R.LENGTH,
    "SAFETY": _R.CONTENT_FILTER,
    "RECITATION": _R.CONTENT_FILTER,
    "LANGUAGE": _R.CONTENT_FILTER,
    "BLOCKLIST": _R.CONTENT_FILTER,
    "PROHIBITED_CONTENT": _R.CONTENT_FILTER,
    "SPII": _R.CONTENT_FILTER,
    "ESCALATION": _R.CONTENT_FILTER,
    "MODEL_ARMOR": _R.CONTENT_FILTER,
    "IMAGE_SAFETY": _R.CONTENT_FILTER,
    "IMAGE_PROHIBITED_CONTENT": _R.CONTENT_FILTER,
    "IMAGE_RECITATION": _R.CONTENT_FILTER,
    "MALFORMED_FUNCTION_CALL": _R.ERROR,
    "UNEXPECTED_TOOL_CALL": _R.ERROR,
    "TOO_MANY_TOOL_CALLS": _R.ERROR,
    "MISSING_THOUGHT_SIGNATURE": _R.ERROR,
    "MALFORMED_RESPONSE": _R.ERROR,
    "PUP_LIMITED_DISABLED": _R.ERROR,
    "IMAGE_OTHER": _R.ERROR,
    "NO_IMAGE": _R.ERROR,
    "OTHER": _R.ERROR,
}
"""Finish reasons by Google's (SDK `google-genai` 3.4: FinishReason); one that is not known is told as well."""

MOST_KEPT: Final = 1024 * 1024
"""Characters of an answer that are kept; the longest answer of a model, 65,536 tokens, has a third of it."""

_UNSET: Final = "FINISH_REASON_UNSPECIFIED"
_READ: Final = frozenset({"content", "index", "finishReason", "logprobsResult", "citationMetadata", "tokenCount"})
_PART: Final = frozenset({"text", "thought", "thoughtSignature", "functionCall"})


class Candidate:
    """Keeps one candidate's books. `new_id` makes the id of a call that came without, from its place."""

    __slots__ = (
        "_called",
        "_choice",
        "_cited",
        "_extra",
        "_new_id",
        "_others",
        "_size",
        "_texts",
        "finish",
        "shown",
    )

    def __init__(self, choice: int, new_id: Callable[[int, int], str]) -> None:
        self._choice = choice
        self._new_id = new_id
        self._called = 0
        self._cited: Any = None
        self._extra: dict[str, Any] = {}
        self._others: list[Any] = []
        self._size = 0
        self._texts: list[str] = []
        self.shown = False  # something that a caller sees
        self.finish = ""

    def take(self, candidate: dict[str, Any], out: list[Event]) -> None:
        """The whole candidate, or a chunk of it."""
        logprobs = _logprobs(candidate.get("logprobsResult"))
        for part in (candidate.get("content") or {}).get("parts") or ():
            logprobs = self._part(part, logprobs, out)
        if logprobs:
            self._text("", logprobs, out)
        word = candidate.get("finishReason")
        if word and word != _UNSET:
            self.finish = str(word)
        self._cited = candidate.get("citationMetadata") or self._cited
        if not _READ.issuperset(candidate):
            self._extra.update(
                (name, value) for name, value in candidate.items() if name not in _READ and value is not None
            )

    def keep(self, text: str) -> None:
        """Text of the answer, for citations to point into: they come last, so that it is kept until then."""
        self._size += len(text)
        if self._size <= MOST_KEPT:
            self._texts.append(text)
        else:
            self._texts.clear()

    def close(self, out: list[Event]) -> None:
        """The candidate is over; one without any content says nothing, as text."""
        choice = self._choice
        if not self.shown:
            out.append(TextDelta("", choice))
        text = "".join(self._texts) if self._size <= MOST_KEPT else None
        out += citations(text, choice, self._cited, self._extra.get("groundingMetadata"))
        reason = FINISH.get(self.finish, _R.STOP)
        if reason is _R.STOP and self._called:
            # Google ends a turn that calls functions as any other.
            reason = _R.TOOL_CALLS
        out.append(Finish(reason, self.finish, choice))
        if self.finish and self.finish not in FINISH:
            self._extra[NATIVE_FINISH_REASON] = self.finish
        if self._extra:
            out.append(Extra("choice", _as_json(self._extra), choice))
        if self._others:
            out.append(Extra("message", _as_json({"parts": self._others}), choice))

    def _part(
        self, part: dict[str, Any], logprobs: tuple[TokenLogprob, ...], out: list[Event]
    ) -> tuple[TokenLogprob, ...]:
        """One part; the log probabilities go with the first text and are returned until then."""
        signature, call, text = part.get("thoughtSignature"), part.get("functionCall"), part.get("text")
        _check(signature, text)
        if call is not None:
            self._call(call, signature, out)
            return logprobs
        if signature:
            out.append(ReasoningSeal(FORMAT, encrypted=signature, choice=self._choice))
        if part.get("thought"):
            if text:
                self.shown = True
                out.append(ReasoningDelta(text, self._choice, "summary"))
        elif text:
            self._text(text, logprobs, out)
            return ()
        elif not _PART.issuperset(part):
            # Code that Google ran, media that nobody asked for: told, but no content of a chat.
            self._others.append(part)
        return logprobs

    def _text(self, text: str, logprobs: tuple[TokenLogprob, ...], out: list[Event]) -> None:
        self.shown = True
        self.keep(text)
        out.append(TextDelta(text, self._choice, logprobs))

    def _call(self, call: dict[str, Any], signature: str | None, out: list[Event]) -> None:
        at, choice = self._called, self._choice
        _check(call["name"], call.get("id"))
        call_id = call.get("id") or self._new_id(choice, at)
        if signature:
            out.append(ReasoningSeal(FORMAT, encrypted=signature, id=call_id, choice=choice))
        out.append(ToolCallStart(at, call_id, call["name"], choice=choice))
        out.append(ToolCallDelta(at, orjson.dumps(call.get("args") or {}).decode(), choice))
        self._called += 1
        self.shown = True


def _check(*texts: object) -> None:
    """Raises TypeError for what should be text and is not: it must not reach who reads the events."""
    for text in texts:
        if text is not None and type(text) is not str:
            raise TypeError


def _logprobs(result: dict[str, Any] | None) -> tuple[TokenLogprob, ...]:
    if not result:
        return ()
    tops = result.get("topCandidates") or ()
    return tuple(
        TokenLogprob(
            chosen.get("token") or "",
            chosen.get("logProbability") or 0.0,
            top=tuple(
                TopToken(top.get("token") or "", top.get("logProbability") or 0.0)
                for top in (tops[at].get("candidates") or () if at < len(tops) else ())
            ),
        )
        for at, chosen in enumerate(result.get("chosenCandidates") or ())
    )


def _as_json(fields: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((name, orjson.dumps(value).decode()) for name, value in fields.items())
