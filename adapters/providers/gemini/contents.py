"""Turns as Gemini's systemInstruction and contents.

System and developer turns move to the instruction; neighbours of one role become one content; in a user content
the answers of functions come first, in the order of their calls. Empty text has no part: it would be refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from adapters.providers.parts import arguments_of, untold
from service.domain.catalog import Endpoint
from service.domain.errors import invalid
from service.domain.fields import Field
from service.domain.generation import (
    Audio,
    File,
    Image,
    Opaque,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)

from .media import inline_data
from .signatures import Part, TextSignatures, mark_unsigned, signatures_of_calls
from .thinking import is_before_3

_INPUTS: Final[dict[type, Field]] = {
    Image: Field.IMAGE_INPUT,
    Audio: Field.AUDIO_INPUT,
    File: Field.FILE_INPUT,
}
_SYSTEM: Final = (Role.SYSTEM, Role.DEVELOPER)


class ContentWriter:
    """Writes one conversation for one endpoint. Not reusable."""

    def __init__(self, turns: Sequence[Turn], endpoint: Endpoint) -> None:
        self._turns = turns
        self._can = endpoint.expressible
        self._before_3 = is_before_3(endpoint.upstream_model)
        self._signatures = signatures_of_calls(turns)
        self._calls: dict[str, tuple[str, int]] = {}  # name and place of the calls so far, by id

    def write(self) -> tuple[list[Part], list[dict[str, Any]]]:
        """The instruction's parts and the contents.

        Raises:
            ServiceError: INVALID_REQUEST for a part that this API can't take, an answer to no call, or when
                nothing is left to ask.
        """
        system: list[Part] = []
        contents: list[dict[str, Any]] = []
        for index, turn in enumerate(self._turns):
            path = f"messages[{index}]"
            if turn.role in _SYSTEM:
                system += self._said(turn, path)
                continue
            role = "model" if turn.role is Role.ASSISTANT else "user"
            parts = self._answered(turn, path) if role == "model" else self._said(turn, path)
            if not parts:
                continue
            if contents and contents[-1]["role"] == role:
                contents[-1]["parts"] += parts
            else:
                contents.append({"role": role, "parts": parts})
        if not contents:
            raise invalid("messages", "this endpoint needs a user message that is not empty")
        for content in contents:
            if content["role"] == "user":
                content["parts"].sort(key=self._results_first)
        if not self._before_3:
            mark_unsigned(contents)
        return system, contents

    def _said(self, turn: Turn, path: str) -> list[Part]:
        """What a user, a tool or the system says."""
        parts: list[Part] = []
        for place, part in enumerate(turn.parts):
            at = f"{path}.content[{place}]"
            match part:
                case Text():
                    if part.text:
                        parts.append({"text": part.text})
                case Image() | Audio() | File() if turn.role is Role.USER:
                    parts.append({"inlineData": self._inline(part, at)})
                case ToolResult(kind="function") if turn.role is Role.TOOL:
                    parts.append({"functionResponse": self._result(part, path)})
                case Opaque() if turn.role is Role.TOOL:
                    pass  # the trace of a tool that another provider ran: named as ignored by the plan
                case _:
                    raise untold(at, part)
        return parts

    def _answered(self, turn: Turn, path: str) -> list[Part]:
        """What the model said."""
        parts: list[Part] = []
        signatures = TextSignatures()
        for place, part in enumerate(turn.parts):
            match part:
                case Text() | Refusal():
                    if part.text:
                        parts.append(signatures.sign({"text": part.text}))
                case Reasoning():
                    signatures.hold(part, self._signatures, parts)
                case ToolCall(kind="function"):
                    parts.append(self._call(part, path))
                case Opaque():
                    pass
                case _:
                    raise untold(f"{path}.content[{place}]", part)
        signatures.close(parts)
        return parts

    def _call(self, call: ToolCall, path: str) -> Part:
        self._calls[call.id] = (call.name, len(self._calls))
        part: Part = {"functionCall": {"id": call.id, "name": call.name, "args": arguments_of(call, path)}}
        if call.id in self._signatures:
            part["thoughtSignature"] = self._signatures[call.id]
        return part

    def _result(self, result: ToolResult, path: str) -> dict[str, Any]:
        name = self._calls.get(result.call_id, (result.name, 0))[0]
        if not name:
            raise invalid(f"{path}.tool_call_id", "no assistant message before this one has a call with this id")
        texts: list[str] = []
        media: list[Part] = []
        for place, part in enumerate(result.parts):
            at = f"{path}.content[{place}]"
            match part:
                case Text():
                    texts.append(part.text)
                case Image() | Audio() | File() if Field.TOOL_MEDIA in self._can:
                    if self._before_3:
                        raise invalid(at, "this endpoint's model takes text only as a tool's answer")
                    media.append({"inlineData": self._inline(part, at)})
                case _:
                    raise untold(at, part)
        # "output" is the key for what a function gave back (SDK `google-genai` 3.4: FunctionResponse.response).
        written: dict[str, Any] = {"id": result.call_id, "name": name, "response": {"output": "".join(texts)}}
        if media:
            written["parts"] = media
        return written

    def _inline(self, part: Image | Audio | File, at: str) -> dict[str, Any]:
        if _INPUTS[type(part)] not in self._can:
            raise untold(at, part)
        return inline_data(part, at)

    def _results_first(self, part: Part) -> int:
        result = part.get("functionResponse")
        if result is None:
            return len(self._calls)
        return self._calls.get(result["id"], ("", -1))[1]
