"""Turns as OpenAI's messages."""

from __future__ import annotations

from typing import Any, assert_never

import orjson

from service.domain.catalog import Endpoint
from service.domain.fields import Field
from service.domain.generation import (
    Audio,
    AudioReference,
    File,
    Generation,
    Image,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)
from service.domain.media import is_data_uri

from .verbatim import cannot, fragment, is_ours, opaque

REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_details")
"""Where look-alikes want earlier reasoning back, if they do. They differ: DeepSeek demands
`reasoning_content` within a tool loop where other servers refuse it, OpenRouter takes `reasoning_details`,
OpenAI takes none. So none is sent unless the provider's `passthrough` lists `messages.` and the name."""


class MessageWriter:
    """Writes one request's messages for one endpoint."""

    def __init__(self, generation: Generation, endpoint: Endpoint) -> None:
        self._turns = generation.turns
        self._functions_style = generation.functions_style
        self._endpoint = endpoint
        self._can = endpoint.expressible
        self._system_role = endpoint.provider.quirks.system_role
        passthrough = endpoint.provider.passthrough
        self._reasoning_fields = [name for name in REASONING_FIELDS if f"messages.{name}" in passthrough]
        self._called: dict[str, str] = {}  # names by call id, for results in the old form

    def write(self) -> list[dict[str, Any]]:
        """The messages.

        Raises:
            ServiceError: INVALID_REQUEST for a part that the endpoint can't take.
        """
        messages: list[dict[str, Any]] = []
        for position, turn in enumerate(self._turns):
            path = f"messages[{position}]"
            match turn.role:
                case Role.SYSTEM | Role.DEVELOPER:
                    messages.append(self._message(self._system_role or turn.role.value, turn, path))
                case Role.USER:
                    messages.append(self._message("user", turn, path))
                case Role.ASSISTANT:
                    message = self._assistant(turn, path)
                    if message is not None:
                        messages.append(message)
                case Role.TOOL:
                    messages.extend(self._results(turn, path))
                case _:
                    assert_never(turn.role)
        return messages

    def _message(self, role: str, turn: Turn, path: str) -> dict[str, Any]:
        message: dict[str, Any] = {"role": role, "content": self._content(turn.parts, path) or ""}
        self._name(message, turn.name)
        return message

    def _assistant(self, turn: Turn, path: str) -> dict[str, Any] | None:
        """The message, or None where all that it held is for another dialect only."""
        said: list[Part] = []
        calls: list[ToolCall] = []
        reasoning: list[Reasoning] = []
        message: dict[str, Any] = {"role": "assistant", "content": None}
        for part in turn.parts:
            match part:
                case ToolCall():
                    calls.append(part)
                    self._called[part.id] = part.name
                case Reasoning():
                    reasoning.append(part)
                case Refusal(in_content=False):
                    message["refusal"] = message.get("refusal", "") + part.text
                case AudioReference():
                    self._demand(Field.AUDIO_HISTORY, f"{path}.audio", "an earlier audio answer")
                    message["audio"] = {"id": part.id}
                case Opaque() if not is_ours(part):
                    pass  # the trace of a tool that another provider ran: named as ignored by the plan
                case _:
                    said.append(part)
        if turn.parts and not (said or calls or len(message) > 2 or self._reasoning_fields):
            return None
        message["content"] = self._content(said, path)
        self._name(message, turn.name)
        if reasoning and self._reasoning_fields:
            self._reasoning(message, reasoning)
        if self._functions_style and len(calls) == 1 and calls[0].kind == "function":
            message["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments}
        elif calls:
            message["tool_calls"] = [self._call(call) for call in calls]
        if turn.annotations is not None and Field.ANNOTATION_HISTORY in self._can:
            message["annotations"] = fragment(turn.annotations)
        return message

    def _results(self, turn: Turn, path: str) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        for part in turn.parts:
            if isinstance(part, Opaque) and not is_ours(part):
                continue
            if not isinstance(part, ToolResult):
                raise cannot(path, "anything but a tool's result in a tool message", self._endpoint)
            content = self._content(part.parts, path) or ""
            name = turn.name or part.name
            if self._functions_style:
                name = name or self._called.get(part.call_id, "")
                messages.append({"role": "function", "name": name, "content": content})
                continue
            call_id = self._call_id(part.call_id)
            message: dict[str, Any] = {"role": "tool", "tool_call_id": call_id, "content": content}
            self._name(message, name)
            messages.append(message)
        return messages

    def _call(self, call: ToolCall) -> dict[str, Any]:
        body = {"name": call.name, "arguments" if call.kind == "function" else "input": call.arguments}
        return {"id": self._call_id(call.id), "type": call.kind, call.kind: body}

    def _call_id(self, call_id: str) -> str:
        """How a call's id is written, there and with its result."""
        return call_id

    def _name(self, message: dict[str, Any], name: str | None) -> None:
        if name is not None and Field.AUTHOR_NAME in self._can:
            message["name"] = name

    def _reasoning(self, message: dict[str, Any], pieces: list[Reasoning]) -> None:
        text = "".join(piece.text for piece in pieces)
        for name in self._reasoning_fields:
            if name == "reasoning_details":
                details = [_detail(piece, index) for index, piece in enumerate(p for p in pieces if p.details)]
                if details:
                    message[name] = details
            elif text:
                message[name] = text

    def _content(self, parts: list[Part] | tuple[Part, ...], path: str) -> Any:
        """A lone text as a string, None for nothing, else a list of parts."""
        if not parts:
            return None
        if len(parts) == 1 and isinstance(parts[0], Text) and not self._marks(parts[0].cache_breakpoint):
            return parts[0].text
        return [self._part(part, f"{path}.content[{index}]") for index, part in enumerate(parts)]

    def _marks(self, cache_breakpoint: bool) -> bool:
        return cache_breakpoint and Field.PROMPT_CACHE_BREAKPOINT in self._can

    def _part(self, part: Part, path: str) -> dict[str, Any] | orjson.Fragment:
        written: dict[str, Any]
        match part:
            case Text():
                written = {"type": "text", "text": part.text}
            case Image():
                self._demand(Field.IMAGE_INPUT, path, "images")
                if not is_data_uri(part.url):
                    self._demand(Field.IMAGE_URL, f"{path}.image_url.url", "images by their address")
                image = {"url": part.url}
                if part.detail is not None and Field.IMAGE_DETAIL in self._can:
                    image["detail"] = part.detail
                written = {"type": "image_url", "image_url": image}
            case Audio():
                self._demand(Field.AUDIO_INPUT, path, "audio")
                written = {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
            case File():
                self._demand(Field.FILE_INPUT, path, "files")
                if part.url is not None:
                    self._demand(Field.FILE_URL, f"{path}.file.file_url", "files by their address")
                values = {"file_id": part.file_id, "filename": part.filename, "file_data": part.data}
                written = {
                    "type": "file",
                    "file": {key: value for key, value in values.items() if value is not None},
                }
            case Refusal():
                return {"type": "refusal", "refusal": part.text}
            case Opaque():
                self._demand(Field.OPAQUE_INPUT, path, part.type)
                return opaque(part, path, self._endpoint)
            case Reasoning() | ToolCall() | ToolResult() | AudioReference():
                raise cannot(path, f"{type(part).__name__} among the content", self._endpoint)
            case _:
                assert_never(part)
        if self._marks(part.cache_breakpoint):
            written["prompt_cache_breakpoint"] = {"mode": "explicit"}
        return written

    def _demand(self, need: Field, path: str, what: str) -> None:
        if need not in self._can:
            raise cannot(path, what, self._endpoint)


def _detail(piece: Reasoning, index: int) -> dict[str, Any]:
    if piece.encrypted is not None:
        values: dict[str, Any] = {"type": "reasoning.encrypted", "data": piece.encrypted}
    elif piece.summary is not None:
        values = {"type": "reasoning.summary", "summary": piece.summary}
    else:
        values = {"type": "reasoning.text", "text": piece.text}
    more = {"signature": piece.signature, "format": piece.format, "id": piece.id}
    return values | {key: value for key, value in more.items() if value is not None} | {"index": index}
