"""How long a request is, by estimate, and how it is made shorter: the oldest turns go, the rest stays in order.

Pure. Which budget an endpoint has and when to cut is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from service.domain.generation import (
    Audio,
    AudioReference,
    CustomTool,
    File,
    FunctionTool,
    Generation,
    Grammar,
    Image,
    JsonSchema,
    LocalTool,
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

MEDIA_TOKENS: Final = 1000
"""An image, a recording or a document, each: by the vision guides of OpenAI and Anthropic a picture of 1024 by
1024 pixels is 765 and about 1,400 tokens; what a document holds can't be told from its bytes."""

TURN_TOKENS: Final = 4
"""What a turn costs beside its text: its role and the marks around it."""

Counter: TypeAlias = Callable[[str], int]
"""Tokens of a text. Where a real tokenizer is at hand, it takes the place of `by_bytes`."""

_ANSWERS: Final = ("_output", "_response")
"""How the kinds of items end that answer a call of a kind that nobody named."""

_KEPT: Final = frozenset({Role.SYSTEM, Role.DEVELOPER})


def by_bytes(text: str) -> int:
    """A third of the bytes in UTF-8, rounded up: more than most tokenizers make of English, which take four."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return -(-size // 3)


def estimate(generation: Generation, count: Counter = by_bytes) -> int:
    """Tokens that a model reads when it is asked `generation`; the answer comes on top."""
    return _declared(generation, count) + sum(_turn_tokens(turn, count) for turn in generation.turns)


def truncate(generation: Generation, budget: int, count: Counter = by_bytes) -> tuple[Generation, tuple[str, ...]]:
    """`generation` without its oldest turns, so many that it is within `budget` tokens, and what they were.

    A user turn goes with all that follows it up to the next user turn. The last such group stays; of it only
    earlier steps go, each an assistant turn with its tools' results: an agent's loop is one long group. Its
    last step stays, and a call and its result are never parted, however far they stand from one another. What
    a caller answers in a dialect's own words (a screenshot, an approval) is a result like these.
    System and developer turns stay wherever they are. When even that is over `budget`, that is what there is;
    when nothing can go, the same object comes back.
    """
    sizes = [_turn_tokens(turn, count) for turn in generation.turns]
    excess = _declared(generation, count) + sum(sizes) - budget
    gone: set[int] = set()
    for unit in _units(generation.turns):
        if excess <= 0:
            break
        gone.update(unit)
        excess -= sum(sizes[place] for place in unit)
    if not gone:
        return generation, ()
    kept = tuple(turn for place, turn in enumerate(generation.turns) if place not in gone)
    names = tuple(name for place in sorted(gone) for name in generation.turns[place].items)
    return replace(generation, turns=kept), names


def _units(turns: Sequence[Turn]) -> Iterator[Sequence[int]]:
    """The places of what may go, the oldest first."""
    groups = _grouped(turns, range(len(turns)), _asks)
    if not groups:
        return
    *older, last = groups
    yield from older
    head = next((at for at, place in enumerate(last) if _acts(turns[place])), len(last))
    # Up to here stands the question itself; merged groups may hold several.
    steps = _grouped(turns, last[head:], _acts)
    for step in steps[:-1]:
        unit = [place for place in step if not _asks(turns[place])]
        if unit:
            yield unit


def _asks(turn: Turn) -> bool:
    """Whether a user says something here, rather than answering a call that only a dialect knows."""
    return turn.role is Role.USER and not any(
        isinstance(part, Opaque) and part.type.endswith(_ANSWERS) for part in turn.parts
    )


def _acts(turn: Turn) -> bool:
    return turn.role is Role.ASSISTANT


def _grouped(turns: Sequence[Turn], places: Sequence[int], opens: Callable[[Turn], bool]) -> list[list[int]]:
    """`places` without those that stay anyway, cut before each turn that `opens`.

    Groups that a call and its result would span are one.
    """
    groups: list[list[int]] = []
    reach: list[int] = []  # for each group the last one that holds a result of its calls
    called: dict[str, int] = {}
    for place in places:
        turn = turns[place]
        if turn.role in _KEPT:
            continue
        if opens(turn) or not groups:
            reach.append(len(groups))
            groups.append([])
        groups[-1].append(place)
        for part in turn.parts:
            if isinstance(part, ToolCall):
                called[part.id] = len(groups) - 1
            elif isinstance(part, ToolResult) and part.call_id in called:
                reach[called[part.call_id]] = len(groups) - 1
    merged: list[list[int]] = []
    until = -1
    for at, group in enumerate(groups):
        if at <= until:
            merged[-1] += group
        else:
            merged.append(group)
        until = max(until, reach[at])
    return merged


def _declared(generation: Generation, count: Counter) -> int:
    """Tools and the output's schema."""
    total = 0
    for tool in generation.tools:
        match tool:
            case FunctionTool():
                total += count(f"{tool.name}{tool.description or ''}{tool.parameters or ''}")
            case CustomTool():
                grammar = tool.format.definition if isinstance(tool.format, Grammar) else ""
                total += count(f"{tool.name}{tool.description or ''}{grammar}")
            case LocalTool() | Opaque():
                total += count(tool.json)
    if isinstance(generation.output, JsonSchema):
        total += count(generation.output.schema or "")
    return total


def _turn_tokens(turn: Turn, count: Counter) -> int:
    return TURN_TOKENS + sum(_part_tokens(part, count) for part in turn.parts)


def _part_tokens(part: Part, count: Counter) -> int:
    match part:
        case Text() | Refusal():
            return count(part.text)
        case Reasoning():
            return sum(count(text) for text in (part.text, part.summary, part.encrypted) if text)
        case ToolCall():
            return count(part.name) + count(part.arguments)
        case ToolResult():
            return sum(_part_tokens(inner, count) for inner in part.parts)
        case Opaque():
            return count(part.json)
        case Image() | Audio() | File() | AudioReference():
            return MEDIA_TOKENS
