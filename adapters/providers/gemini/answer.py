"""One answer, whole or in chunks, as neutral events. A whole answer is read as a single chunk of everything."""

from __future__ import annotations

from datetime import datetime
from hashlib import blake2s
from typing import Any, Final

import orjson

from service.domain.events import Event, Extra, FinishReason, Start, TextDelta
from service.domain.failure import Failure, FailureKind, UpstreamError

from .candidate import FINISH, Candidate
from .errors import blocked, failure_in
from .usage import usage_of

_READ: Final = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId", "createTime", "error"})
_PLAIN: Final = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId"})
_PLAIN_CANDIDATE: Final = frozenset({"content", "index"})


def protocol_error(what: str) -> UpstreamError:
    """The provider did not answer in this dialect; `what` holds nothing of the answer's content."""
    return UpstreamError(Failure(FailureKind.PROTOCOL, f"the provider's answer is no generated content: {what}"))


class AnswerReader:
    """Reads one answer's documents in order. Not reusable."""

    __slots__ = ("_candidates", "_extra", "_seed", "_started", "_usage")

    def __init__(self) -> None:
        self._started = False
        self._seed = ""
        self._candidates: dict[int, Candidate] = {}
        self._usage: dict[str, Any] = {}
        self._extra: dict[str, Any] = {}

    @property
    def finished(self) -> bool:
        """Whether there are candidates and each has said how it ended."""
        return bool(self._candidates) and all(candidate.finish for candidate in self._candidates.values())

    def take(self, document: dict[str, Any], out: list[Event]) -> None:
        """A whole answer or one chunk.

        Raises:
            UpstreamError: an error in the answer's place, a prompt that was blocked.
        """
        if document.get("error"):
            raise UpstreamError(failure_in(document))
        feedback = document.get("promptFeedback")
        if feedback and feedback.get("blockReason"):
            raise blocked(feedback)
        self._usage.update(document.get("usageMetadata") or ())
        candidates = document.get("candidates") or ()
        if not self._started and (candidates or document.get("responseId")):
            self._start(document, out)
        for position, candidate in enumerate(candidates):
            index = candidate.get("index")
            if index is None:
                index = position
            reader = self._candidates.get(index)
            if reader is None:
                reader = self._candidates[index] = Candidate(index, self._new_id)
            reader.take(candidate, out)
        if not _READ.issuperset(document):
            self._extra.update(
                (name, value) for name, value in document.items() if name not in _READ and value is not None
            )

    def plain(self, document: dict[str, Any]) -> TextDelta | None:
        """The one event of a chunk that holds a piece of text and counts, the hot path; else None."""
        candidates = document.get("candidates")
        if not candidates or len(candidates) != 1 or not _PLAIN.issuperset(document):
            return None
        candidate = candidates[0]
        if not _PLAIN_CANDIDATE.issuperset(candidate):
            return None
        content = candidate.get("content")
        parts = content.get("parts") if content else None
        if not parts or len(parts) != 1 or len(parts[0]) != 1:
            return None  # counts come in chunks without any part, too
        text = parts[0].get("text")
        index = candidate.get("index", 0)
        reader = self._candidates.get(index)
        if type(text) is not str or not text or reader is None or not reader.shown:
            return None  # the general path keeps the candidate's books once
        counts = document.get("usageMetadata")
        if counts:
            self._usage.update(counts)
        reader.keep(text)
        return TextDelta(text, index)

    def more(self, text: str, last: dict[str, Any]) -> TextDelta:
        """The text of several plain chunks, the last of which is `last`."""
        index = last["candidates"][0].get("index", 0)
        self._usage.update(last.get("usageMetadata") or ())
        self._candidates[index].keep(text)
        return TextDelta(text, index)

    def close(self, out: list[Event]) -> None:
        """The answer is over: how its candidates ended, and what was used.

        Raises:
            UpstreamError: PROTOCOL, there was no answer at all; SERVER_ERROR, the model broke off before it had
                said anything.
        """
        if not self._candidates:
            raise protocol_error("it has no candidates")
        readers = self._candidates.values()
        if not any(reader.shown for reader in readers):
            broken = next((r.finish for r in readers if FINISH.get(r.finish) is FinishReason.ERROR), None)
            if broken is not None:
                # Nothing came of it: a failure that another endpoint may make good, not an answer.
                message = f"the provider ended the answer with {broken}"
                raise UpstreamError(Failure(FailureKind.SERVER_ERROR, message, 200, broken))
        for reader in readers:
            reader.close(out)
        if self._extra:
            fields = tuple((name, orjson.dumps(value).decode()) for name, value in self._extra.items())
            out.append(Extra("answer", fields))
        if self._usage:
            out.append(usage_of(self._usage))

    def _start(self, document: dict[str, Any], out: list[Event]) -> None:
        self._started = True
        answer_id, created = str(document.get("responseId") or ""), str(document.get("createTime") or "")
        # Where an answer has no id, its place in the conversation tells it from those before: prompts only grow.
        self._seed = answer_id or f"{created}/{self._usage.get('promptTokenCount')}"
        out.append(Start(answer_id, str(document.get("modelVersion") or ""), _seconds(created)))

    def _new_id(self, choice: int, place: int) -> str:
        """The id of a call that came without: the same in every reading, another for each of a conversation."""
        return f"call_{blake2s(f'{self._seed}/{choice}/{place}'.encode(), digest_size=12).hexdigest()}"


def _seconds(created: str) -> int:
    try:
        return int(datetime.fromisoformat(created).timestamp()) if created else 0
    except ValueError:
        return 0
