"""Turns as Anthropic's system text and messages.

System and developer turns move to `system`; neighbours of one role become one message; in a user message
tool results come first. An assistant's blocks keep their order: sealed thinking must come back in the place where
it was said, first or between text and calls. Blank text has no block: it would be refused.
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
from service.domain.media import is_data_uri

from .media import document_block, image_block

FORMAT: Final = "anthropic-claude-v1"
"""Marks reasoning whose signature or encrypted content Anthropic made; others' can't be replayed there."""

_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
_EPHEMERAL: Final = {"type": "ephemeral"}

Block = dict[str, Any]


def write_turns(turns: Sequence[Turn], can: frozenset[Field]) -> tuple[str | list[Block], list[dict[str, Any]]]:
    """`system` ("" without one) and `messages`, with what the endpoint can express.

    Raises:
        ServiceError: INVALID_REQUEST for a part that this API can't take, or when nothing is left to ask.
    """
    system: list[Block] = []
    messages: list[dict[str, Any]] = []
    for index, turn in enumerate(with_own_ids(turns)):
        path = f"messages[{index}]"
        blocks: list[Block] = []
        for place, part in enumerate(turn.parts):
            block = _text(part, can) if type(part) is Text else _block(part, turn.role, path, place, can)
            if block is not None:
                blocks.append(block)
        if not blocks:
            continue
        if turn.role in (Role.SYSTEM, Role.DEVELOPER):
            system += blocks
            continue
        role = "assistant" if turn.role is Role.ASSISTANT else "user"
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += blocks
        else:
            messages.append({"role": role, "content": blocks})
    if not messages:
        raise invalid("messages", "this endpoint needs a user message that is not blank")
    for message in messages:
        content = message["content"]
        if len(content) == 1:
            message["content"] = _short(content)
        elif message["role"] == "user":
            content.sort(key=_results_first)
    return _short(system) if system else "", messages


def _results_first(block: Block) -> bool:
    return str(block["type"]) != "tool_result"


def _short(blocks: list[Block]) -> str | list[Block]:
    """A lone plain text stands as a string."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        text: str = blocks[0]["text"]
        return text
    return blocks


def _block(part: Part, role: Role, path: str, place: int, can: frozenset[Field]) -> Block | None:
    match part:
        case Text():
            return _text(part, can)
        case Image() | File() if role is Role.USER:
            return _media(part, f"{path}.content[{place}]", can)
        case ToolCall(kind="function") if role is Role.ASSISTANT:
            return {
                "type": "tool_use",
                "id": id_within(_ID, part.id),
                "name": part.name,
                "input": arguments_of(part, path),
            }
        case ToolResult():
            return _result(part, path, can)
        case Refusal():
            return {"type": "text", "text": part.text} if part.text.strip() else None
        case Reasoning():
            return _thinking(part)
        case Opaque() if role in (Role.ASSISTANT, Role.TOOL):
            return None  # the trace of a tool that another provider ran: named as ignored by the plan
        case _:
            raise untold(f"{path}.content[{place}]", part)


def _text(part: Text, can: frozenset[Field]) -> Block | None:
    if not part.text.strip():
        return None
    block = {"type": "text", "text": part.text}
    return _cached(block, part, can) if part.cache_breakpoint else block


def _media(part: Image | File, path: str, can: frozenset[Field]) -> Block:
    if (Field.IMAGE_INPUT if isinstance(part, Image) else Field.FILE_INPUT) not in can:
        raise untold(path, part)
    _check_address(part, path, can)
    block = image_block(part, f"{path}.image_url.url") if isinstance(part, Image) else document_block(part, path)
    return _cached(block, part, can)


def _check_address(part: Image | File, path: str, can: frozenset[Field]) -> None:
    if isinstance(part, Image):
        if not is_data_uri(part.url) and Field.IMAGE_URL not in can:
            raise invalid(f"{path}.image_url.url", "this endpoint takes images inline only: send a data URI")
    elif part.url is not None and Field.FILE_URL not in can:
        raise invalid(f"{path}.file.file_url", "this endpoint takes files inline only: send file_data")


def _cached(block: Block, part: Text | Image | File, can: frozenset[Field]) -> Block:
    if part.cache_breakpoint and Field.PROMPT_CACHE_BREAKPOINT in can:
        block["cache_control"] = _EPHEMERAL
    return block


def _thinking(part: Reasoning) -> Block | None:
    if part.format != FORMAT:
        return None
    if part.encrypted is not None:
        return {"type": "redacted_thinking", "data": part.encrypted}
    if part.signature is not None:
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}
    return None


def _result(part: ToolResult, path: str, can: frozenset[Field]) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": id_within(_ID, part.call_id)}
    content: list[Block] = []
    for place, inner in enumerate(part.parts):
        at = f"{path}.content[{place}]"
        match inner:
            case Text():
                written = _text(inner, can)
            case Image() | File() if Field.TOOL_MEDIA in can:
                written = _media(inner, at, can)
            case _:
                raise untold(at, inner)
        if written is not None:
            content.append(written)
    if content:
        block["content"] = _short(content)
    return block
