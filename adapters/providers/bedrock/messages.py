"""Turns as Converse's system text and messages.

System and developer turns move to `system`; neighbours of one role become one message, so that roles alternate;
in a user message tool results come first. An assistant's blocks keep their order: sealed reasoning must come back
in the place where it was said. Blank text has no block: it would be refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from adapters.providers.call_ids import with_own_ids
from adapters.providers.parts import arguments_of, id_within, untold
from service.domain.errors import invalid
from service.domain.fields import Field
from service.domain.generation import (
    Audio,
    File,
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

from .media import audio_block, document_block, image_block

REDACTED: Final = "bedrock-redacted-v1"
"""Marks encrypted reasoning of a model that its answer does not tell: no Claude had signed anything before it. GPT
and Grok give all of their reasoning so, Claude some of it."""

# Shapes ToolUseId and ToolName.
_ID: Final = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_CACHE_POINT: Final = {"cachePoint": {"type": "default"}}

MOST_DOCUMENTS: Final = 5
"""In one message (docs of Message.content, botocore 1.44.5)."""

Block = dict[str, Any]
_Group = list[Block]  # a block and what must stay behind it: its cache point


def checked_name(name: str, path: str) -> str:
    """A tool's name. Our doors have the same rule, so none needs another name on this wire and a way back.

    Raises:
        ServiceError: INVALID_REQUEST for a name that Converse does not take.
    """
    if not _NAME.fullmatch(name):
        raise invalid(path, "this endpoint takes names of 1 to 64 letters, digits, underscores or dashes")
    return name


class Conversation:
    """`system` and `messages` as they are put together. `tools`: the names of the tools in history, in order.

    `replays` are the formats of the reasoning that the model takes back; all other is left out.
    """

    __slots__ = ("_can", "_messages", "_names", "_replays", "system", "tools")

    def __init__(self, can: frozenset[Field], replays: frozenset[str]) -> None:
        self._can = can
        self._replays = replays
        self._names: dict[str, int] = {}  # of documents
        self._messages: list[tuple[str, str, list[_Group]]] = []  # role, path of the first turn, content
        self.system: list[Block] = []
        self.tools: dict[str, None] = {}

    def write(self, turns: Sequence[Turn]) -> list[dict[str, Any]]:
        """The messages.

        Raises:
            ServiceError: INVALID_REQUEST for a part that this API can't take, a conversation that does not begin
                with the user, or when nothing is left to ask.
        """
        for index, turn in enumerate(with_own_ids(turns)):
            self._add(turn, f"messages[{index}]")
        if not self._messages:
            raise invalid("messages", "this endpoint needs a user message that is not blank")
        if self._messages[0][0] != "user":
            raise invalid("messages", "this endpoint wants conversations that begin with a user message")
        if self._names:
            self._check_documents()
        return [{"role": role, "content": _ordered(role, groups)} for role, _, groups in self._messages]

    def _check_documents(self) -> None:
        """Docs of Message.content: documents want a text in the same message, and there may be a few only."""
        for _, path, groups in self._messages:
            kinds = [kind for group in groups for block in group for kind in block]
            if "document" in kinds and "text" not in kinds:
                raise invalid(path, "this endpoint wants a text beside a file in the same message")
            if kinds.count("document") > MOST_DOCUMENTS:
                raise invalid(path, f"this endpoint takes at most {MOST_DOCUMENTS} files in a message")

    def _add(self, turn: Turn, path: str) -> None:
        groups: list[_Group] = []
        for place, part in enumerate(turn.parts):
            if type(part) is Text and not part.cache_breakpoint:
                if part.text.strip():
                    groups.append([{"text": part.text}])
                continue
            block = self._block(part, turn.role, path, place)
            if block is not None:
                groups.append([block, _CACHE_POINT] if self._ends_prefix(part) else [block])
        if not groups:
            return
        if turn.role is Role.SYSTEM or turn.role is Role.DEVELOPER:
            self.system += [block for group in groups for block in group]
            return
        role = "assistant" if turn.role is Role.ASSISTANT else "user"
        if self._messages and self._messages[-1][0] == role:
            self._messages[-1][2].extend(groups)
        else:
            self._messages.append((role, path, groups))

    def _block(self, part: Part, role: Role, path: str, place: int) -> Block | None:
        match part:
            case Text() | Refusal():
                return {"text": part.text} if part.text.strip() else None
            case ToolCall(kind="function") if role is Role.ASSISTANT:
                return self._call(part, path)
            case ToolResult():
                return self._result(part, f"{path}.content[{place}]")
            case Reasoning():
                return self._reasoning(part)
            case Image() | File() | Audio() if role is Role.USER:
                return self._media(part, f"{path}.content[{place}]")
            case Opaque() if role in (Role.ASSISTANT, Role.TOOL):
                return None  # the trace of a tool that another provider ran: named as ignored by the plan
            case _:
                raise untold(f"{path}.content[{place}]", part)

    def _ends_prefix(self, part: Part) -> bool:
        if isinstance(part, ToolResult):
            # Its content has no place for a cache point: that stands behind the result.
            ends = any(getattr(inner, "cache_breakpoint", False) for inner in part.parts)
        else:
            ends = getattr(part, "cache_breakpoint", False)
        return ends and Field.PROMPT_CACHE_BREAKPOINT in self._can

    def _media(self, part: Image | File | Audio, path: str) -> Block:
        match part:
            case Image() if Field.IMAGE_INPUT in self._can:
                return image_block(part, path)
            case File() if Field.FILE_INPUT in self._can:
                return document_block(part, path, self._names)
            case Audio() if Field.AUDIO_INPUT in self._can:
                return audio_block(part, path)
            case _:
                raise untold(path, part)

    def _call(self, part: ToolCall, path: str) -> Block:
        name = self._tool(part.name, path)
        return {"toolUse": {"toolUseId": id_within(_ID, part.id), "name": name, "input": arguments_of(part, path)}}

    def _tool(self, name: str, path: str) -> str:
        if Field.TOOLS not in self._can:
            raise invalid(f"{path}.tool_calls", "this endpoint takes no tools, nor calls of them in earlier turns")
        self.tools[checked_name(name, f"{path}.tool_calls")] = None
        return name

    def _result(self, part: ToolResult, path: str) -> Block:
        if Field.TOOLS not in self._can:
            raise untold(path, part)
        content: list[Block] = []
        for place, inner in enumerate(part.parts):
            at = f"{path}.content[{place}]"
            match inner:
                case Text():
                    if inner.text.strip():
                        content.append({"text": inner.text})
                case Image() | File() if Field.TOOL_MEDIA in self._can:
                    content.append(self._media(inner, at))
                case _:
                    raise untold(at, inner)
        return {"toolResult": {"toolUseId": id_within(_ID, part.call_id), "content": content}}

    def _reasoning(self, part: Reasoning) -> Block | None:
        """The model's own, unchanged."""
        if part.format not in self._replays:
            return None
        if part.encrypted is not None:
            return {"reasoningContent": {"redactedContent": part.encrypted}}
        if part.signature is not None:
            return {"reasoningContent": {"reasoningText": {"text": part.text, "signature": part.signature}}}
        return None


def _ordered(role: str, groups: list[_Group]) -> list[Block]:
    if len(groups) == 1:
        return groups[0]
    if role == "user":
        groups.sort(key=lambda group: "toolResult" not in group[0])
    return [block for group in groups for block in group]
