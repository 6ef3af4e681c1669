"""One answer's books: its items in order, its end. What a stream says on the way stands in `events`.

Lenient in what it takes: null is absent everywhere, and fields of the answer that nobody named survive.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from service.domain.events import NATIVE_FINISH_REASON, Event, Extra, Finish, FinishReason, Start, TextDelta
from service.domain.failure import Failure, FailureKind, UpstreamError

from .errors import failure_in
from .message import MessageReader, Said
from .output import CallReader, OpaqueReader, ReasoningReader, is_call
from .usage import read_usage

Reader = MessageReader | ReasoningReader | CallReader | OpaqueReader

# What a Response holds by OpenAI's and Open Responses' descriptions; `moderation`, a finding, is left to `extra`.
_NAMES: Final = """
background completed_at conversation created_at error frequency_penalty id incomplete_details instructions
max_output_tokens max_tool_calls metadata model next_response_ids object output output_text parallel_tool_calls
presence_penalty previous_response_id prompt prompt_cache_key prompt_cache_options prompt_cache_retention reasoning
safety_identifier service_tier status store temperature text tool_choice tools top_logprobs top_p truncation usage
user
"""
KNOWN: Final = frozenset(_NAMES.split())

_INCOMPLETE: Final = {
    "max_output_tokens": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}
_UNFINISHED: Final = frozenset({"in_progress", "queued"})


def protocol_error(what: str) -> UpstreamError:
    """The provider did not answer in this dialect; `what` holds nothing of the answer's content."""
    return UpstreamError(Failure(FailureKind.PROTOCOL, f"the provider's answer is not a response: {what}"))


class AnswerReader:
    """Reads one answer: `end` with the whole of it, whether or not a stream came before. Not reusable."""

    def __init__(self) -> None:
        self.done = False
        self._answer_id = ""
        self._started = False
        self._said = Said()
        self._calls = 0
        self._opaque = 0
        self._readers: list[tuple[str, Reader]] = []
        self._by_index: dict[int, Reader] = {}
        self._last = -1

    def end(self, response: dict[str, Any], status: str, out: list[Event]) -> None:
        """The whole answer; `status` is its own, or what the event that holds it says.

        Raises:
            UpstreamError: a failed answer (its own kind), PROTOCOL.
        """
        own = response.get("status") or status
        if status == "completed" and own not in _UNFINISHED:
            status = own
        if status == "failed" or response.get("error"):
            raise UpstreamError(failure_in({"error": response.get("error") or {}}))
        if status == "cancelled":
            raise UpstreamError(Failure(FailureKind.SERVER_ERROR, "the provider cancelled its answer"))
        if status not in ("completed", "incomplete"):
            raise protocol_error("it is not finished")
        self._start(response, out)
        items = response.get("output") or []
        for item, known in zip(items, self._streamed(items), strict=True):
            reader = known or self._open(self._last + 1, item, out, streamed=False)
            self._finish(reader, item, out)
        for _, reader in self._readers:
            if isinstance(reader, ReasoningReader | CallReader):
                self._finish(reader, {}, out)
        self._close(response, status, out)

    def _streamed(self, items: list[dict[str, Any]]) -> list[Reader | None]:
        """The reader of what a stream said of each item.

        By id, else by order within its kind: servers are known to give a streamed item another id in the end,
        and to leave kinds out there.
        """
        free = list(self._readers)
        if not free:
            return [None] * len(items)

        def take(item: dict[str, Any], *, by_id: bool) -> Reader | None:
            for entry in free:
                kind, reader = entry
                if kind == item.get("type") and (not by_id or (reader.id and reader.id == item.get("id"))):
                    free.remove(entry)
                    return reader
            return None

        found = [take(item, by_id=True) for item in items]
        return [reader or take(item, by_id=False) for reader, item in zip(found, items, strict=True)]

    def _open(self, index: int, item: dict[str, Any], out: list[Event], *, streamed: bool) -> Reader:
        if not self._started:
            self._start({}, out)
        kind = item.get("type") or ""
        reader: Reader
        if kind == "message":
            reader = MessageReader(item, self._said, out)
        elif kind == "reasoning":
            reader = ReasoningReader(item)
        elif is_call(item):
            reader = CallReader(self._calls, item, out)
            self._calls += 1
        else:
            reader = OpaqueReader(self._opaque, item)
            self._opaque += 1
            if streamed:
                reader.begin(item, out)
        self._readers.append((kind, reader))
        self._by_index[index] = reader
        self._last = index
        return reader

    def _finish(self, reader: Reader, item: dict[str, Any], out: list[Event]) -> None:
        if isinstance(reader, CallReader):
            reader.finish(item, self._answer_id, out)
        else:
            reader.finish(item, out)

    def _start(self, response: dict[str, Any], out: list[Event]) -> None:
        if self._started:
            return
        self._started = True
        self._answer_id = response.get("id") or ""
        model, created = response.get("model") or "", int(response.get("created_at") or 0)
        tier = response.get("service_tier")
        # A stream begins with the tier that was asked for; which one `auto` became is known at its end.
        tier = None if tier == "auto" and response.get("status") in _UNFINISHED else tier
        out.append(Start(self._answer_id, model, created, service_tier=tier))

    def _close(self, response: dict[str, Any], status: str, out: list[Event]) -> None:
        self.done = True
        silent = not (self._said.visible or self._calls or self._opaque)
        if silent and (self._said.messages or not self._readers):
            out.append(TextDelta(""))
        word = status
        reason = FinishReason.TOOL_CALLS if self._calls else FinishReason.STOP
        if status == "incomplete":
            word = (response.get("incomplete_details") or {}).get("reason") or status
            reason = _INCOMPLETE.get(word, FinishReason.LENGTH)
        out.append(Finish(reason, word))
        if status == "incomplete" and word not in _INCOMPLETE:
            # A word that is not known is told beside the one that comes nearest.
            out.append(Extra("choice", ((NATIVE_FINISH_REASON, orjson.dumps(word).decode()),)))
        if response.get("usage"):
            out.append(read_usage(response["usage"]))
        if not KNOWN.issuperset(response):
            more = ((name, value) for name, value in response.items() if name not in KNOWN and value is not None)
            fields = tuple((name, orjson.dumps(value).decode()) for name, value in more)
            if fields:
                out.append(Extra("answer", fields))
