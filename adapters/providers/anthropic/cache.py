"""Which prefixes are cached and for how long, as `cache_control` (docs: prompt caching; SDK `anthropic` 2.12).

All of this is hints: a mode or a lifetime that the wire has no word for is left out, never refused. The plan names
the fields that an endpoint lacks, not their values, so that these are not named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from service.domain.fields import Field
from service.domain.generation import Generation, Json

_MOST_MARKS: Final = 4
"""Blocks with cache_control in one request, the automatic one included; a fifth is refused there."""

_TTLS: Final = ((5 * 60, "5m"), (60 * 60, "1h"))
"""Lifetimes in seconds, by the names that they have there."""

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def write_cache(body: dict[str, Any], generation: Generation, can: frozenset[Field]) -> None:
    """Gives the marked blocks of a body that has its turns their lifetime, and marks the end where that is asked.

    Both as the Chat API has it (SDK `openai` 3.54: PromptCacheOptions): of more marks than fit the latest are
    written, and the lifetime is the least that a prefix is to be kept, so that 30m, the only one there, takes the
    hour's price here. Where none is long enough it stays the provider's own, five minutes.
    """
    marked = [block for block in _blocks(body) if "cache_control" in block]
    options = generation.options.get(Field.PROMPT_CACHE_OPTIONS) if Field.PROMPT_CACHE_OPTIONS in can else None
    control: dict[str, Any] = {"type": "ephemeral"}
    most = _MOST_MARKS
    if isinstance(options, dict):
        ttl = _ttl(options.get("ttl"))
        if ttl is not None:
            control["ttl"] = ttl
        if options.get("mode") == "implicit":
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


def _ttl(text: Json) -> str | None:
    """The shortest lifetime that is long enough."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text) if isinstance(text, str) else None
    asked = int(found[1]) * _UNITS[found[2]] if found else 0
    return next((name for seconds, name in _TTLS if 0 < asked <= seconds), None)
