"""Turns as Mistral's messages, where they differ from OpenAI's."""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2s
from typing import Any, Final

import orjson

from adapters.providers.openai_chat.message import MISTRAL
from adapters.providers.openai_chat.messages import MessageWriter
from service.domain.catalog import Endpoint
from service.domain.errors import invalid
from service.domain.fields import Field
from service.domain.generation import (
    Audio,
    File,
    Generation,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    Turn,
)

from .media import audio_chunk, document_chunk

_ID: Final = re.compile(r"[a-zA-Z0-9]{9}")
_LETTERS: Final = bytes.maketrans(
    b"+/", b"xy"
)  # in place of base64's two characters that are neither letter nor digit
_AFTER: Final = {
    Role.SYSTEM: (Role.SYSTEM, Role.USER, Role.ASSISTANT),
    Role.USER: (Role.SYSTEM, Role.USER, Role.ASSISTANT),
    Role.ASSISTANT: (Role.USER, Role.ASSISTANT, Role.TOOL),
    Role.TOOL: (Role.ASSISTANT, Role.TOOL),
}
"""Who may speak after whom (Mistral's own `mistral-common`, MistralRequestValidator; the API answers 400, code
3230, to anything else)."""


class MistralMessages(MessageWriter):
    """Writes one request's messages for one endpoint."""

    def __init__(self, generation: Generation, endpoint: Endpoint) -> None:
        super().__init__(generation, endpoint)
        self._system_role = "system"
        self._ids: dict[str, str] = {}
        # Models that can't reason refuse thinking parts.
        self._thinks = Field.REASONING_EFFORT in endpoint.expressible

    def write(self) -> list[dict[str, Any]]:
        """The messages. An assistant's turn at the end is the beginning of the answer (`prefix`).

        Raises:
            ServiceError: INVALID_REQUEST for a part that the endpoint can't take, or a turn out of order.
        """
        check_order(self._turns)
        messages = super().write()
        last = messages[-1] if messages else {}
        if last.get("role") == "assistant" and "tool_calls" not in last:
            last["prefix"] = True
        return messages

    def _assistant(self, turn: Turn, path: str) -> dict[str, Any] | None:
        kinds = {type(part) for part in turn.parts}
        thinking: list[dict[str, Any]] = []
        if Reasoning in kinds:
            thinking = [chunk for part in turn.parts if (chunk := self._thinking(part)) is not None]
        if Refusal in kinds:
            # This wire has no place for a refusal but the text.
            parts = tuple(Text(part.text) if isinstance(part, Refusal) else part for part in turn.parts)
            turn = replace(turn, parts=parts)
        message = super()._assistant(turn, path)
        if not thinking:
            return message
        message = message or {"role": "assistant", "content": None}
        said = message["content"] or []
        message["content"] = [*thinking, *([{"type": "text", "text": said}] if isinstance(said, str) else said)]
        return message

    def _thinking(self, part: Part) -> dict[str, Any] | None:
        """Readable reasoning as Mistral gave it; of other providers' only the text means something here."""
        if not isinstance(part, Reasoning) or not part.text or not self._thinks:
            return None
        chunk: dict[str, Any] = {"type": "thinking", "thinking": [{"type": "text", "text": part.text}]}
        if part.signature is not None and part.format == MISTRAL:
            chunk["signature"] = part.signature
        return chunk

    def _call(self, call: ToolCall) -> dict[str, Any]:
        return super()._call(call if call.arguments else replace(call, arguments="{}"))

    def _call_id(self, call_id: str) -> str:
        # Each is written at least twice: with the call and with its result.
        written = self._ids.get(call_id)
        if written is None:
            written = self._ids[call_id] = wire_id(call_id)
        return written

    def _part(self, part: Part, path: str) -> dict[str, Any] | orjson.Fragment:
        match part:
            case File():
                self._demand(Field.FILE_INPUT, path, "files")
                if part.url is not None:
                    self._demand(Field.FILE_URL, f"{path}.file.file_url", "files by their address")
                return document_chunk(part, path)
            case Audio():
                self._demand(Field.AUDIO_INPUT, path, "audio")
                return audio_chunk(part, path)
            case _:
                return super()._part(part, path)


def wire_id(call_id: str) -> str:
    """A call's id as Mistral takes it: nine letters and digits; its own as they are, others by their digest."""
    if _ID.fullmatch(call_id):
        return call_id
    digest = blake2s(call_id.encode(), digest_size=7).digest()
    return b2a_base64(digest, newline=False)[:9].translate(_LETTERS).decode()


def check_order(turns: Sequence[Turn]) -> None:
    """Whether Mistral takes turns in this order.

    Raises:
        ServiceError: INVALID_REQUEST at the first turn that may not stand where it does.
    """
    before: Role | None = None
    for index, turn in enumerate(turns):
        role = Role.SYSTEM if turn.role is Role.DEVELOPER else turn.role
        if before is not None and role not in _AFTER[before]:
            move = " or move it to the front" if role is Role.SYSTEM else ""
            raise invalid(
                f"messages[{index}]",
                f"this endpoint takes no {role} message right after one of role {before}: "
                f"put an assistant message between them{move}",
            )
        before = role
