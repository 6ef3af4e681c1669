"""Turns as input items.

No item carries an id where it can do without: an id names state stored at a provider, and there is none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import orjson

from service.domain.catalog import Endpoint
from service.domain.fields import Field
from service.domain.generation import (
    AudioReference,
    Generation,
    Opaque,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)

from .content import input_content, output_content, read_annotations
from .kinds import ID_REQUIRED, ITEM, PARTS_OF_ANSWERS, TRACES
from .reasoning import ReasoningWriter
from .results import write_result
from .toolcalls import write_call
from .verbatim import cannot, opaque

Item = dict[str, Any] | orjson.Fragment

INSTRUCTIONS: Final = ("instructions",)
"""What the Responses API names the turn that `instructions` became."""


class ItemWriter:
    """Writes one request's `instructions` and `input` for one endpoint."""

    def __init__(self, generation: Generation, endpoint: Endpoint) -> None:
        self._turns = generation.turns
        self._endpoint = endpoint
        self._can = endpoint.expressible
        self._system_role = endpoint.provider.quirks.system_role
        self._reasoning = ReasoningWriter(endpoint)
        self._items: list[Item] = []
        self._custom: set[str] = set()  # ids of calls of custom tools: the Chat API's results don't say it

    def write(self, body: dict[str, Any]) -> None:
        """Puts both into `body`.

        Raises:
            ServiceError: INVALID_REQUEST for a part that the endpoint can't take.
        """
        turns = self._turns
        instructions = _instructions(turns[0]) if turns else None
        if instructions is not None:
            body["instructions"] = instructions
        for position, turn in enumerate(turns):
            if position or instructions is None:
                self._turn(turn, turn.items[0] if turn.items else f"messages[{position}]")
        body["input"] = self._items

    def _turn(self, turn: Turn, path: str) -> None:
        match turn.role:
            case Role.ASSISTANT:
                self._assistant(turn, path)
            case Role.TOOL:
                for part in turn.parts:
                    self._outside(part, path)
            case Role.SYSTEM | Role.DEVELOPER:
                self._message(self._system_role or turn.role.value, turn, path)
            case Role.USER:
                self._message("user", turn, path)

    def _message(self, role: str, turn: Turn, path: str) -> None:
        items = [part for part in turn.parts if _is_item(part)]
        said = [part for part in turn.parts if not _is_item(part)] if items else turn.parts
        if said or not turn.parts:
            content = input_content(said, path, self._endpoint)
            self._items.append({"type": "message", "role": role, "content": content})
        for part in items:
            self._outside(part, path)

    def _outside(self, part: Part, path: str) -> None:
        """What is an item of its own beside messages: results of tools, and items that nobody named."""
        match part:
            case ToolResult():
                result = replace(part, kind="custom") if part.call_id in self._custom else part
                self._items.append(write_result(result, path, self._endpoint))
            case Opaque():
                self._opaque(part, path)
            case _:
                raise cannot(path, f"{type(part).__name__} in a tool message", self._endpoint)

    def _assistant(self, turn: Turn, path: str) -> None:
        said: list[Part] = []
        sources = self._annotations(turn)
        last_text = -1
        if sources:
            last_text = max((at for at, part in enumerate(turn.parts) if isinstance(part, Text)), default=-1)
        for at, part in enumerate(turn.parts):
            if type(part) is Text and at != last_text and not self._reasoning.open:
                said.append(part)
                continue
            if isinstance(part, Reasoning):
                self._said(said, turn, [], path)
                self._items += self._reasoning.take(part)
                continue
            self._items += self._reasoning.close()
            match part:
                case ToolCall():
                    self._said(said, turn, [], path)
                    self._items.append(write_call(part, path, self._can))
                    if part.kind == "custom":
                        self._custom.add(part.id)
                case Opaque() if not PARTS_OF_ANSWERS.fullmatch(part.type):
                    self._said(said, turn, [], path)
                    self._opaque(part, path)
                case AudioReference():
                    raise cannot(f"{path}.audio", "an earlier audio answer", self._endpoint)
                case _:
                    said.append(part)
                    if at == last_text and sources:
                        self._said(said, turn, sources, path)
        self._items += self._reasoning.close()
        if not turn.parts:
            said.append(Text(""))
        self._said(said, turn, [], path)

    def _said(self, said: list[Part], turn: Turn, sources: list[Any], path: str) -> None:
        if not said:
            return
        content = output_content(said, sources, path, self._endpoint)
        message: dict[str, Any] = {"type": "message", "role": "assistant", "content": content}
        if turn.phase is not None and Field.PHASE in self._can:
            message["phase"] = turn.phase
        self._items.append(message)
        said.clear()

    def _annotations(self, turn: Turn) -> list[Any]:
        if turn.annotations is None or Field.ANNOTATION_HISTORY not in self._can:
            return []
        return read_annotations(turn.annotations)

    def _opaque(self, part: Opaque, path: str) -> None:
        if part.type in TRACES and Field.OPAQUE_TOOLS not in self._can:
            return
        written = opaque(part, path, self._endpoint)
        item: dict[str, Any] = {} if part.type in ID_REQUIRED else orjson.loads(part.json)
        if "id" in item:
            del item["id"]
            self._items.append(item)
        else:
            self._items.append(written)


def _instructions(turn: Turn) -> str | None:
    """The first turn as `instructions`, if that is what it was: text and nothing else."""
    if turn.role is not Role.SYSTEM or turn.items != INSTRUCTIONS:
        return None
    texts = [part.text for part in turn.parts if isinstance(part, Text)]
    return "".join(texts) if len(texts) == len(turn.parts) else None


def _is_item(part: Part) -> bool:
    return isinstance(part, ToolResult) or (isinstance(part, Opaque) and ITEM.fullmatch(part.type) is not None)
