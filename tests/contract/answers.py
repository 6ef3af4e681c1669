"""The answers that every dialect must be able to read, by what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.domain.events import FinishReason


@dataclass(frozen=True)
class Meaning:
    """What a case's answer says, whichever wire it came over. Tokens as (input, output, cached)."""

    text: str | None = None
    reasoning: str = ""
    refusal: str | None = None
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    finish: FinishReason = FinishReason.STOP
    tokens: tuple[int, int, int | None] = (12, 7, None)


ANSWERS: dict[str, Meaning] = {
    # U+2028 is no line end on this wire; the emoji takes four bytes.
    "text": Meaning(text='Grüße, 世界 🌍\u2028"quoted"\nand a second line'),
    "tool_call": Meaning(
        calls=(("get_weather", {"city": "Köln", "days": 3}),), finish=FinishReason.TOOL_CALLS, tokens=(80, 21, 0)
    ),
    "parallel_tool_calls": Meaning(
        text="Looking both up.",
        calls=(("get_weather", {"city": "Oslo"}), ("get_time", {"zone": "Europe/Oslo"})),
        finish=FinishReason.TOOL_CALLS,
        tokens=(95, 40, 0),
    ),
    "tool_call_without_arguments": Meaning(calls=(("list_files", {}),), finish=FinishReason.TOOL_CALLS),
    "reasoning": Meaning(text="Seven.", reasoning="Three and four.", tokens=(20, 30, 0)),
    "reasoning_then_tool_call": Meaning(
        reasoning="I need the weather.",
        calls=(("get_weather", {"city": "Rome"}),),
        finish=FinishReason.TOOL_CALLS,
        tokens=(60, 33, 0),
    ),
    "refusal": Meaning(refusal="I can't help with that."),
    "content_filter": Meaning(text="Once upon", finish=FinishReason.CONTENT_FILTER),
    "length": Meaning(text="The list goes on and", finish=FinishReason.LENGTH, tokens=(12, 5, None)),
    "stop_sequence": Meaning(text="one, two, "),
    "cached_usage": Meaning(text="Ja.", tokens=(2048, 3, 1920)),
    "empty": Meaning(text="", tokens=(12, 0, None)),
}
