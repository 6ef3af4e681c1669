"""One answer, whole or in chunks, as neutral events. A whole answer is read as a single chunk of everything.

Lenient in what it takes: null is absent everywhere, lists may be empty, unknown words and fields survive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from service.domain.events import NATIVE_FINISH_REASON, Event, Extra, Finish, FinishReason, Start, TextDelta
from service.domain.failure import Failure, FailureKind, UpstreamError

from .errors import failure_in
from .message import MESSAGE_FIELDS, ChoiceReader
from .usage import read_usage

ANSWER_FIELDS: Final = frozenset(
    {
        "id",
        "object",
        "created",
        "model",
        "choices",
        "usage",
        "system_fingerprint",
        "service_tier",
        "error",
        "obfuscation",
        "p",  # Mistral's padding (recorded streams)
    }
)
CHOICE_FIELDS: Final = frozenset({"index", "message", "delta", "finish_reason", "logprobs", "error"})

FINISH: Final = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
    "error": FinishReason.ERROR,
    # Mistral's published schema.
    "model_length": FinishReason.LENGTH,
    # DeepSeek's reference: interrupted for want of resources. vLLM: the engine dropped the request.
    "insufficient_system_resource": FinishReason.ERROR,
    "abort": FinishReason.ERROR,
}


def start_of(document: dict[str, Any]) -> Start:
    """What an answer says about itself as a whole."""
    return Start(
        document.get("id") or "",
        document.get("model") or "",
        int(document.get("created") or 0),
        document.get("system_fingerprint"),
        document.get("service_tier"),
    )


def _speaks(choices: Sequence[dict[str, Any]]) -> bool:
    return any(
        choice.get("delta") is not None or choice.get("message") is not None or choice.get("finish_reason")
        for choice in choices
    )


class AnswerReader:
    """Reads one answer's documents in order. Not reusable."""

    __slots__ = ("_choices", "_extras", "_held", "answer_id", "finished", "started")

    def __init__(self) -> None:
        self.answer_id = ""
        self.started = False
        self.finished = False  # some choice has ended
        self._choices: dict[int, ChoiceReader] = {}
        self._held: list[Event] = []
        self._extras: dict[tuple[str, int, str], str] = {}

    @property
    def has_choices(self) -> bool:
        """Whether any choice was seen."""
        return bool(self._choices)

    def take(self, document: dict[str, Any], out: list[Event]) -> None:
        """A whole answer or one chunk.

        Raises:
            UpstreamError: an error in the answer's place, or an answer that its provider broke off.
        """
        # Mistral's errors have no `error`: they are the object themselves.
        if document.get("error") or document.get("object") == "error":
            raise UpstreamError(failure_in(document))
        choices = document.get("choices") or ()
        target = out
        if not self.started:
            # Azure's chunks about its filters have no id and no model: none of them must become the start.
            if document.get("id") or _speaks(choices):
                self._start(document, out)
            else:
                target = self._held
        for position, choice in enumerate(choices):
            self._choice(choice, position, target)
        usage = document.get("usage")
        if usage:
            target.append(read_usage(usage))
        if not ANSWER_FIELDS.issuperset(document):
            self._extra("answer", 0, document, ANSWER_FIELDS, target)

    def plain(self, document: dict[str, Any]) -> TextDelta | None:
        """The one event of a chunk that holds a token of text and nothing else, the hot path; else None."""
        choices = document.get("choices")
        if not choices or len(choices) != 1 or not self.started:
            return None
        choice = choices[0]
        delta = choice.get("delta")
        if not delta or choice.get("finish_reason") or choice.get("logprobs"):
            return None
        # Some servers repeat the role in every chunk.
        if len(delta) != 1 and (len(delta) != 2 or "role" not in delta):
            return None
        text = delta.get("content")
        index = choice.get("index", 0)
        if (
            type(text) is not str
            or not text
            or document.get("usage")
            or not (CHOICE_FIELDS.issuperset(choice) or self._repeats("choice", index, choice, CHOICE_FIELDS))
            or not (ANSWER_FIELDS.issuperset(document) or self._repeats("answer", 0, document, ANSWER_FIELDS))
            or choice.get("error")
            or document.get("error")
        ):
            return None
        reader = self._choices.get(index)
        if reader is None or not reader.saying:
            return None  # the general path keeps the choice's books once
        return TextDelta(text, index)

    def close(self, out: list[Event]) -> None:
        """The answer is over: what choices without a finish still hold.

        Raises:
            UpstreamError: PROTOCOL, there was no answer at all.
        """
        if not self.started:
            raise UpstreamError(
                Failure(FailureKind.PROTOCOL, "the provider's answer holds neither id nor choices")
            )
        for choice in self._choices.values():
            choice.close(self.answer_id, out)

    def _start(self, document: dict[str, Any], out: list[Event]) -> None:
        self.started = True
        start = start_of(document)
        self.answer_id = start.id
        out += (start, *self._held)
        self._held.clear()

    def _choice(self, choice: dict[str, Any], position: int, out: list[Event]) -> None:
        index = choice.get("index")
        if index is None:
            index = position
        reader = self._choices.get(index)
        if reader is None:
            reader = self._choices[index] = ChoiceReader(index)
        message = choice.get("delta")
        whole = message is None
        if message is None:
            message = choice.get("message") or {}
        if choice.get("error"):
            raise UpstreamError(failure_in(choice))
        reader.take(message, choice.get("logprobs"), self.answer_id, out, whole=whole)
        if not MESSAGE_FIELDS.issuperset(message):
            self._extra("message", index, message, MESSAGE_FIELDS, out)
        if not CHOICE_FIELDS.issuperset(choice):
            self._extra("choice", index, choice, CHOICE_FIELDS, out)
        word = choice.get("finish_reason")
        if word:
            self._finish(reader, index, str(word), out)

    def _finish(self, reader: ChoiceReader, index: int, word: str, out: list[Event]) -> None:
        reason = FINISH.get(word)
        if reason is None:
            # An unknown word must not fail the call: it is told beside the one that comes nearest.
            reason = FinishReason.TOOL_CALLS if reader.called else FinishReason.STOP
        elif reason is FinishReason.ERROR and not reader.visible:
            # Nothing came of it: a failure that another endpoint may make good, not an answer.
            raise UpstreamError(Failure(FailureKind.SERVER_ERROR, f"the provider ended the answer with {word!r}"))
        reader.close(self.answer_id, out)
        self.finished = True
        if reader.finish != word:
            reader.finish = word
            out.append(Finish(reason, word, index))
            if word not in FINISH:
                out.append(Extra("choice", ((NATIVE_FINISH_REASON, orjson.dumps(word).decode()),), index))

    def _repeats(self, scope: str, index: int, found: dict[str, Any], known: frozenset[str]) -> bool:
        """Whether all that a provider added was told before, as Azure's filter results are with every token."""
        extras = self._extras
        return all(
            name in known or value is None or extras.get((scope, index, name)) == orjson.dumps(value).decode()
            for name, value in found.items()
        )

    def _extra(
        self, scope: Any, index: int, found: dict[str, Any], known: frozenset[str], out: list[Event]
    ) -> None:
        fields: list[tuple[str, str]] = []
        for name, value in found.items():
            if name in known or value is None:
                continue
            text = orjson.dumps(value).decode()
            # Many servers repeat the same value in every chunk: once is enough, a later one only replaces it.
            if self._extras.get((scope, index, name)) != text:
                self._extras[(scope, index, name)] = text
                fields.append((name, text))
        if fields:
            out.append(Extra(scope, tuple(fields), index))
