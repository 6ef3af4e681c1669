"""Which prefixes are cached and for how long, as `cache_control` (docs: prompt caching; SDK `anthropic` 2.12)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from service.domain.errors import invalid
from service.domain.fields import Field
from service.domain.generation import Generation, Json

_MOST_MARKS: Final = 4
"""Blocks with cache_control in one request, the automatic one included; a fifth is refused there."""

_TTLS: Final = ((5 * 60, "5m"), (60 * 60, "1h"))
"""Lifetimes in seconds, by the names that they have there."""

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PATH: Final = "prompt_cache_options"


def write_cache(body: dict[str, Any], generation: Generation, can: frozenset[Field]) -> None:
    """Gives the marked blocks of a body that has its turns their lifetime, and marks the end where that is asked.

    Of more marks than fit the latest count, as the Chat API has it. The lifetime that a caller names is the
    least that a prefix is to be kept.

    Raises:
        ServiceError: INVALID_REQUEST for a mode or a lifetime that there is not.
    """
    marked = [block for block in _blocks(body) if "cache_control" in block]
    options = generation.options.get(Field.PROMPT_CACHE_OPTIONS) if Field.PROMPT_CACHE_OPTIONS in can else None
    control: dict[str, Any] = {"type": "ephemeral"}
    most = _MOST_MARKS
    if isinstance(options, dict):
        if options.get("ttl") is not None:
            control["ttl"] = _ttl(options["ttl"])
        if _is_implicit(options.get("mode")):
            body["cache_control"] = control
            most -= 1
    for block in marked[:-most]:
        del block["cache_control"]
    for block in marked[-most:]:
        block["cache_control"] = control


def _blocks(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for content in (body.get("system"), *(message["content"] for message in body["messages"])):
        for block in content if isinstance(content, list) else ():
            inner = block.get("content") if block["type"] == "tool_result" else None
            if isinstance(inner, list):
                yield from inner
            yield block


def _is_implicit(mode: Json) -> bool:
    if mode not in (None, "implicit", "explicit"):
        raise invalid(f"{_PATH}.mode", "this endpoint takes implicit and explicit")
    return mode == "implicit"


def _ttl(text: Json) -> str:
    """The shortest lifetime that is long enough."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text) if isinstance(text, str) else None
    asked = int(found[1]) * _UNITS[found[2]] if found else 0
    for seconds, name in _TTLS:
        if 0 < asked <= seconds:
            return name
    raise invalid(f"{_PATH}.ttl", "this endpoint keeps a prefix for at most an hour: ask for 5m, 30m or 1h")
