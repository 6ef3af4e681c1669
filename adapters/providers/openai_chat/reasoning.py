"""Reasoning of one choice, from any of the spellings that look-alikes use.

`reasoning_content` (DeepSeek, Qwen, vLLM, llama.cpp, Azure), `reasoning` (Groq, newer vLLM, OpenRouter) and
`reasoning_details` (OpenRouter), which repeats the text of `reasoning` in pieces that can be sent back.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import orjson

from service.domain.events import Event, Extra, ReasoningDelta, ReasoningSeal

FIELDS: Final = frozenset({"reasoning", "reasoning_content", "reasoning_details"})

_KINDS: Final[dict[str, Literal["text", "summary"]]] = {"reasoning.text": "text", "reasoning.summary": "summary"}


class ReasoningReader:
    """Emits deltas as they come, and a seal where a detailed piece ends."""

    __slots__ = ("_choice", "_format", "_id", "_piece")

    def __init__(self, choice: int) -> None:
        self._choice = choice
        self._piece: tuple[Any, str] | None = None  # index and kind of the open detailed piece
        self._format: str | None = None
        self._id: str | None = None

    @property
    def open(self) -> bool:
        """Whether a detailed piece is open."""
        return self._piece is not None

    def take(self, message: dict[str, Any], out: list[Event]) -> None:
        """The reasoning fields of a message or delta."""
        details = message.get("reasoning_details")
        if details and self._details(details, out):
            return
        text = message.get("reasoning") or message.get("reasoning_content")
        if text and isinstance(text, str):
            out.append(ReasoningDelta(text, self._choice))

    def close(self, out: list[Event]) -> None:
        """Seals the open piece, so that its format and id come back with it."""
        if self._piece is not None and (self._format or self._id):
            out.append(ReasoningSeal(self._format or "unknown", id=self._id, choice=self._choice))
        self._piece = self._format = self._id = None

    def _details(self, details: list[dict[str, Any]], out: list[Event]) -> bool:
        readable = False
        for detail in details:
            kind = _KINDS.get(detail.get("type") or "")
            if kind is not None:
                readable = self._text(detail, kind, out) or readable
                continue
            self.close(out)
            if detail.get("type") == "reasoning.encrypted":
                out.append(
                    ReasoningSeal(
                        detail.get("format") or "unknown",
                        encrypted=detail.get("data") or "",
                        id=detail.get("id"),
                        choice=self._choice,
                    )
                )
            else:
                name = f"reasoning_details.{detail.get('type')}"
                out.append(Extra("message", ((name, orjson.dumps(detail).decode()),), self._choice))
        return readable

    def _text(self, detail: dict[str, Any], kind: Literal["text", "summary"], out: list[Event]) -> bool:
        piece = (detail.get("index"), kind)
        if self._piece is not None and self._piece != piece:
            self.close(out)
        self._piece = piece
        self._format = detail.get("format") or self._format
        self._id = detail.get("id") or self._id
        text = detail.get(kind)
        if text:
            out.append(ReasoningDelta(text, self._choice, kind))
        signature = detail.get("signature")
        if signature:
            out.append(ReasoningSeal(self._format or "unknown", signature, id=self._id, choice=self._choice))
            self._piece = self._format = self._id = None
        return bool(text)
