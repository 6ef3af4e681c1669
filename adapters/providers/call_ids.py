"""Ids of calls for wires on which one may stand only once in a conversation.

Some models count their calls anew in each answer, so that a history holds the call "0" many times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from service.domain.generation import Part, ToolCall, ToolResult, Turn


def with_own_ids(turns: Sequence[Turn]) -> Sequence[Turn]:
    """The turns with an id of its own for each call; its results name it.

    The first call keeps its id, later ones get a number. It depends on what stands before alone, so that a
    conversation that goes on begins with the same bytes.
    """
    ids = [part.id for turn in turns for part in turn.parts if type(part) is ToolCall]
    if len(ids) == len(set(ids)):
        return turns
    given: dict[str, int] = {}
    waiting: dict[str, deque[str]] = {}
    return [_renamed(turn, given, waiting) for turn in turns]


def _renamed(turn: Turn, given: dict[str, int], waiting: dict[str, deque[str]]) -> Turn:
    """`waiting`: by the old id, the new ones of the last turn's calls, those without a result first."""
    calls: dict[str, deque[str]] = {}
    parts: list[Part] = []
    for part in turn.parts:
        if isinstance(part, ToolCall):
            own = _unused(part.id, given)
            calls.setdefault(part.id, deque()).append(own)
            parts.append(replace(part, id=own))
        elif isinstance(part, ToolResult) and part.call_id in waiting:
            own = waiting[part.call_id][0]
            waiting[part.call_id].rotate(-1)
            parts.append(replace(part, call_id=own))
        else:
            parts.append(part)
    waiting.update(calls)
    return replace(turn, parts=tuple(parts))


def _unused(call_id: str, given: dict[str, int]) -> str:
    """`given`: all ids so far, each with the last number behind it, so that many of one id take linear time."""
    own, number = call_id, given.get(call_id, 1)
    while own in given:
        number += 1
        own = f"{call_id}-{number}"
    given[own] = 1
    given[call_id] = number
    return own
