"""The usage object as the neutral Usage, with the names that the Chat API gives to its details."""

from __future__ import annotations

from typing import Any, Final

import orjson

from adapters.providers.counts import output_with_reasoning
from service.domain.events import Usage

_NAMED: Final = frozenset(
    {"input_tokens", "output_tokens", "total_tokens", "input_tokens_details", "output_tokens_details"}
)
_SIDES: Final = (
    ("prompt", "input_tokens_details", frozenset({"cached_tokens", "cache_write_tokens"})),
    ("completion", "output_tokens_details", frozenset({"reasoning_tokens"})),
)


def read_usage(usage: dict[str, Any]) -> Usage:
    """Counts as they came, but for reasoning that output leaves out; zero is kept, null is absent."""
    taken = usage.get("input_tokens_details") or {}
    given = usage.get("output_tokens_details") or {}
    details: list[tuple[str, int]] = []
    extra: list[tuple[str, str]] = []
    for side, name, fields in _SIDES:
        for key, value in (usage.get(name) or {}).items():
            if key in fields or value is None:
                continue
            if type(value) is int:
                details.append((f"{side}.{key}", value))
            else:
                extra.append((f"{side}_tokens_details.{key}", orjson.dumps(value).decode()))
    for key, value in usage.items():
        if key not in _NAMED and value is not None:
            extra.append((key, orjson.dumps(value).decode()))
    read = usage.get("input_tokens") or 0
    total, reasoning = usage.get("total_tokens"), given.get("reasoning_tokens")
    written = output_with_reasoning(read, usage.get("output_tokens") or 0, total, reasoning)
    return Usage(
        input_tokens=read,
        output_tokens=written,
        total_tokens=read + written if total is None else total,
        cached_tokens=taken.get("cached_tokens"),
        cache_write_tokens=taken.get("cache_write_tokens"),
        reasoning_tokens=reasoning,
        details=tuple(details),
        extra=tuple(extra),
    )
