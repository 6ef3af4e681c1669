"""What whole answers and streams have in common: content blocks, stop reasons and usage as events."""

from __future__ import annotations

from typing import Any, Final

import orjson

from service.domain.events import (
    NATIVE_FINISH_REASON,
    Event,
    Extra,
    Finish,
    FinishReason,
    OpaqueAnnotation,
    ReasoningDelta,
    ReasoningSeal,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    UrlCitation,
    Usage,
)
from service.domain.failure import Failure, FailureKind, UpstreamError

from .messages import FORMAT

STOP_REASONS: Final[dict[str, FinishReason]] = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "pause_turn": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
}
"""Finish reasons by Anthropic's stop_reason; one that is not known here counts as a stop and is told as well."""


_MORE_USAGE: Final = ("cache_creation", "server_tool_use")
"""Counts without a name of ours, told as they are where they count something: cache writes by their lifetime,
calls of tools that Anthropic ran."""


def protocol_error(what: str) -> UpstreamError:
    """The provider did not answer in this dialect; `what` holds nothing of the answer's content."""
    return UpstreamError(Failure(FailureKind.PROTOCOL, f"the provider's answer is not a message: {what}"))


class Blocks:
    """Turns content blocks into events, one block open at a time.

    Indexes of tool calls count tool_use blocks only. Blocks of tools that Anthropic ran itself have no place
    in a chat answer and yield nothing.
    """

    __slots__ = ("_any", "_calls", "_citations", "_initial", "_kind", "_signature", "_start", "_text", "_wrote")

    def __init__(self) -> None:
        self._any = False
        self._calls = 0
        self._text = 0  # characters of all text blocks so far
        self._start = 0
        self._kind = ""
        self._signature = ""
        self._initial: Any = None
        self._wrote = False
        self._citations: list[dict[str, Any]] = []

    def begin(self, block: dict[str, Any], out: list[Event]) -> None:
        """A block opens; `block` is whole, or what content_block_start shows of it."""
        self.end(out)
        self._kind = kind = block["type"]
        # A text block without text is no content: some servers open one and write nothing.
        self._any = self._any or kind in ("thinking", "redacted_thinking", "tool_use")
        if kind == "text":
            self._start = self._text
            self._citations = list(block.get("citations") or ())
            self.text(block.get("text") or "", out)
        elif kind == "thinking":
            self._signature = block.get("signature") or ""
            self.thinking(block.get("thinking") or "", out)
        elif kind == "redacted_thinking":
            out.append(ReasoningSeal(FORMAT, encrypted=block["data"]))
        elif kind == "tool_use":
            out.append(ToolCallStart(self._calls, block["id"], block["name"]))
            # In a stream this is {} and no text of the arguments: those come in deltas, or none do.
            self._initial = block.get("input")
            self._wrote = False

    def delta(self, delta: dict[str, Any], out: list[Event]) -> None:
        """A content_block_delta of the open block."""
        kind = delta["type"]
        if kind == "text_delta":
            self.text(delta["text"], out)
        elif kind == "thinking_delta":
            self.thinking(delta["thinking"], out)
        elif kind == "signature_delta":
            self._signature += delta["signature"]
        elif kind == "citations_delta":
            self._citations.append(delta["citation"])
        elif kind == "input_json_delta" and self._kind == "tool_use" and delta["partial_json"]:
            self._wrote = True
            out.append(ToolCallDelta(self._calls, delta["partial_json"]))

    def end(self, out: list[Event]) -> None:
        """The open block ends, if one is open: look-alikes forget to say so."""
        if self._kind == "text":
            out.extend(self._citation(citation) for citation in self._citations)
            self._citations = []
        elif self._kind == "thinking" and self._signature:
            out.append(ReasoningSeal(FORMAT, signature=self._signature))
            self._signature = ""
        elif self._kind == "tool_use":
            if not self._wrote:
                out.append(ToolCallDelta(self._calls, orjson.dumps(self._initial or {}).decode()))
            self._calls += 1
        self._kind = ""

    def close(self, out: list[Event]) -> None:
        """The answer ends; one without any content says nothing, as text."""
        self.end(out)
        if not self._any:
            out.append(TextDelta(""))

    def text(self, text: str, out: list[Event]) -> None:
        """More text."""
        if text:
            self._any = True
            self._text += len(text)
            out.append(TextDelta(text))

    def thinking(self, text: str, out: list[Event]) -> None:
        """More thinking; models may seal a piece of it without showing its text."""
        if text:
            out.append(ReasoningDelta(text))

    def _citation(self, citation: dict[str, Any]) -> Event:
        kind = citation["type"]
        if kind == "web_search_result_location":
            return UrlCitation(citation["url"], citation.get("title") or "", self._start, self._text)
        return OpaqueAnnotation(kind, orjson.dumps(citation).decode())


def finish(stop_reason: str | None) -> list[Event]:
    """The end of the only choice."""
    if not stop_reason:
        return [Finish(FinishReason.STOP)]
    ended = Finish(STOP_REASONS.get(stop_reason, FinishReason.STOP), stop_reason)
    if stop_reason in STOP_REASONS:
        return [ended]
    return [ended, Extra("choice", ((NATIVE_FINISH_REASON, orjson.dumps(stop_reason).decode()),))]


def usage_of(counts: dict[str, Any]) -> Usage:
    """Usage; Anthropic's input_tokens leave cache reads and writes out, ours include them."""
    read, written = counts.get("cache_read_input_tokens"), counts.get("cache_creation_input_tokens")
    taken = (counts.get("input_tokens") or 0) + (read or 0) + (written or 0)
    given = counts.get("output_tokens") or 0
    details = counts.get("output_tokens_details") or {}
    return Usage(
        taken,
        given,
        taken + given,
        cached_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=details.get("thinking_tokens"),
        extra=tuple(
            (name, orjson.dumps(told).decode())
            for name in _MORE_USAGE
            if (told := counts.get(name)) and any(told.values())
        ),
    )
