"""What whole answers and streams have in common: content blocks, stop reasons and usage as events."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any, Final

import orjson

from adapters.providers.anthropic.messages import FORMAT
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

from .messages import REDACTED

STOP_REASONS: Final[dict[str, FinishReason]] = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "guardrail_intervened": FinishReason.CONTENT_FILTER,
    "content_filtered": FinishReason.CONTENT_FILTER,
    "malformed_model_output": FinishReason.ERROR,
    "malformed_tool_use": FinishReason.ERROR,
}
"""Finish reasons by stopReason (botocore: StopReason); an unknown one counts as a stop, and is told."""


def protocol_error(what: str) -> UpstreamError:
    """The provider did not answer in this dialect; `what` holds nothing of the answer's content."""
    return UpstreamError(Failure(FailureKind.PROTOCOL, f"the provider's answer is not a Converse answer: {what}"))


class Block:
    """A content block that has begun and not ended: what must be told when it ends."""

    __slots__ = ("call", "citations", "redacted", "signature", "wrote")

    def __init__(self, call: int = -1) -> None:
        self.call = call
        self.wrote = False
        self.signature = ""
        self.redacted: list[str] = []
        self.citations: list[dict[str, Any]] = []


class Blocks:
    """Turns content blocks into events. Text and reasoning blocks begin with their first delta.

    Indexes of tool calls count the caller's tools only. Images and the blocks of tools that Bedrock ran itself
    have no place in a chat answer and yield nothing.
    """

    __slots__ = ("_any", "_begin", "_calls", "_open", "_signed", "_text")

    def __init__(self) -> None:
        self._any = False
        self._calls = 0
        self._signed = False
        self._text = 0  # characters of all text so far
        self._begin = 0  # as many of them came before the block at hand
        self._open: dict[int, Block] = {}

    def whole(self, block: dict[str, Any], out: list[Event]) -> None:
        """A block of an answer that is not streamed."""
        index = -1
        cited = block.get("citationsContent")
        if "text" in block:
            self.text(block["text"], out)
        elif "toolUse" in block:
            self.begin(index, block, out)
            if index in self._open:
                written = orjson.dumps(block["toolUse"]["input"]).decode()
                self.delta(index, {"toolUse": {"input": written}}, out)
        elif "reasoningContent" in block:
            reasoning = block["reasoningContent"]
            self.delta(index, {"reasoningContent": {**reasoning.get("reasoningText", {}), **reasoning}}, out)
        elif cited is not None:
            opened = self._opened(index)
            for part in cited.get("content") or ():
                self.text(part.get("text") or "", out)
            opened.citations = list(cited.get("citations") or ())
        self.end(index, out)

    def begin(self, index: int, start: dict[str, Any], out: list[Event]) -> None:
        """A block opens that says what it is: a tool call; `type` marks one that the provider runs."""
        if index in self._open:
            raise protocol_error("a block begins twice")
        tool = start.get("toolUse")
        if tool is not None and tool.get("type") is None:
            self._any = True
            out.append(ToolCallStart(self._calls, tool["toolUseId"], tool["name"]))
            self._open[index] = Block(self._calls)
            self._calls += 1

    def delta(self, index: int, delta: dict[str, Any], out: list[Event]) -> None:
        """More of a block, other than plain text."""
        if "toolUse" in delta:
            block = self._open.get(index)
            if block is not None and block.call >= 0 and delta["toolUse"]["input"]:
                block.wrote = True
                out.append(ToolCallDelta(block.call, delta["toolUse"]["input"]))
        elif "reasoningContent" in delta:
            self._reasoning(index, delta["reasoningContent"], out)
        elif "citation" in delta:
            self._opened(index).citations.append(delta["citation"])
        elif "text" in delta:
            self.text(delta["text"], out)

    def end(self, index: int, out: list[Event]) -> None:
        """The block ends; one of plain text has nothing to tell then."""
        begin, self._begin = self._begin, self._text
        block = self._open.pop(index, None)
        if block is None:
            return
        if block.call >= 0 and not block.wrote:
            out.append(ToolCallDelta(block.call, "{}"))
        if block.signature:
            self._signed = True
            out.append(ReasoningSeal(FORMAT, signature=block.signature))
        if block.redacted:
            out.append(ReasoningSeal(FORMAT if self._signed else REDACTED, encrypted=_joined(block.redacted)))
        out.extend(self._citation(citation, begin) for citation in block.citations)

    def close(self, out: list[Event]) -> None:
        """The answer ends; one without any content says nothing, as text."""
        for index in list(self._open):
            self.end(index, out)
        if not self._any:
            out.append(TextDelta(""))

    def text(self, text: str, out: list[Event]) -> None:
        """More text."""
        if text:
            self._any = True
            self._text += len(text)
            out.append(TextDelta(text))

    def _opened(self, index: int) -> Block:
        block = self._open.get(index)
        if block is None:
            block = self._open[index] = Block()
        return block

    def _reasoning(self, index: int, reasoning: dict[str, Any], out: list[Event]) -> None:
        self._any = True
        if reasoning.get("text"):
            out.append(ReasoningDelta(reasoning["text"]))
        if reasoning.get("signature"):
            self._opened(index).signature += reasoning["signature"]
        if reasoning.get("redactedContent"):
            self._opened(index).redacted.append(reasoning["redactedContent"])

    def _citation(self, citation: dict[str, Any], start: int) -> Event:
        location = citation.get("location") or {}
        web = location.get("web")
        if web and web.get("url"):
            return UrlCitation(web["url"], citation.get("title") or "", start, self._text)
        return OpaqueAnnotation(next(iter(location), "citation"), orjson.dumps(citation).decode())


def _joined(pieces: list[str]) -> str:
    """Base64 of all bytes: a stream may give them in several pieces, each encoded by itself."""
    if len(pieces) == 1:
        return pieces[0]
    return b64encode(b"".join(b64decode(piece, validate=True) for piece in pieces)).decode()


def finish(stop_reason: str) -> list[Event]:
    """The end of the only choice."""
    reason = STOP_REASONS.get(stop_reason)
    if reason is not None:
        return [Finish(reason, stop_reason)]
    extra = Extra("choice", ((NATIVE_FINISH_REASON, orjson.dumps(stop_reason).decode()),))
    return [Finish(FinishReason.STOP, stop_reason), extra]


def usage_of(counts: dict[str, Any]) -> Usage:
    """Usage; Bedrock's inputTokens leave cache reads and writes out; totalTokens and ours have them."""
    read, written = counts.get("cacheReadInputTokens"), counts.get("cacheWriteInputTokens")
    taken = counts["inputTokens"] + (read or 0) + (written or 0)
    given = counts["outputTokens"]
    return Usage(taken, given, taken + given, cached_tokens=read, cache_write_tokens=written)
