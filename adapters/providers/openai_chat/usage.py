"""The usage object as the neutral Usage."""

from __future__ import annotations

from typing import Any, Final

import orjson

from adapters.providers.counts import output_with_reasoning
from service.domain.events import Usage

_NAMED: Final = frozenset(
    {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"}
)
_CACHED: Final = ("cached_tokens", "prompt_cache_hit_tokens", "num_cached_tokens")
_SIDES: Final = (
    ("prompt", "prompt_tokens_details", frozenset({"cached_tokens", "cache_write_tokens"})),
    ("completion", "completion_tokens_details", frozenset({"reasoning_tokens"})),
)


def read_usage(usage: dict[str, Any]) -> Usage:
    """Counts as they came, but for reasoning that output leaves out; zero is kept, null is absent."""
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    cached = prompt.get("cached_tokens")
    if cached is None:
        # At the top: Moonshot, DeepSeek (recorded answers), Mistral (its OpenAPI document: UsageInfo).
        cached = next((usage[name] for name in _CACHED if usage.get(name) is not None), None)
    details: list[tuple[str, int]] = []
    extra: list[tuple[str, str]] = []
    for side, name, fields in _SIDES:
        for key, value in (usage.get(name) or {}).items():
            if key in fields or value is None:
                continue
            if type(value) is int:
                details.append((f"{side}.{key}", value))
            else:
                extra.append((f"{name}.{key}", orjson.dumps(value).decode()))
    for key, value in usage.items():
        if key not in _NAMED and value is not None:
            extra.append((key, orjson.dumps(value).decode()))
    read = usage.get("prompt_tokens") or 0
    total, reasoning = usage.get("total_tokens"), completion.get("reasoning_tokens")
    written = output_with_reasoning(read, usage.get("completion_tokens") or 0, total, reasoning)
    return Usage(
        input_tokens=read,
        output_tokens=written,
        total_tokens=read + written if total is None else total,
        cached_tokens=cached,
        cache_write_tokens=prompt.get("cache_write_tokens"),
        reasoning_tokens=reasoning,
        details=tuple(details),
        extra=tuple(extra),
    )
