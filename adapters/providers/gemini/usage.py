"""usageMetadata as the neutral Usage (SDK `google-genai` 3.4: GenerateContentResponseUsageMetadata)."""

from __future__ import annotations

from typing import Any, Final

import orjson

from service.domain.events import Usage

_SIDES: Final = (
    ("prompt", "promptTokensDetails"),
    ("prompt", "toolUsePromptTokensDetails"),
    ("completion", "candidatesTokensDetails"),
)
_COUNTED: Final = frozenset(
    {
        "promptTokenCount",
        "candidatesTokenCount",
        "thoughtsTokenCount",
        "toolUsePromptTokenCount",
        "cachedContentTokenCount",
        "totalTokenCount",
        *(name for _, name in _SIDES),
    }
)


def usage_of(counts: dict[str, Any]) -> Usage:
    """Usage. Google's candidates leave thoughts out, its prompt what tools brought in: ours include them.

    Its prompt includes what was read from the cache, as ours does.
    """
    tools = counts.get("toolUsePromptTokenCount")
    thoughts = counts.get("thoughtsTokenCount")
    taken = (counts.get("promptTokenCount") or 0) + (tools or 0)
    given = (counts.get("candidatesTokenCount") or 0) + (thoughts or 0)
    details: dict[str, int] = {}
    for side, name in _SIDES:
        for entry in counts.get(name) or ():
            key = f"{side}.{str(entry.get('modality')).lower()}_tokens"
            details[key] = details.get(key, 0) + (entry.get("tokenCount") or 0)
    if tools:
        details["prompt.tool_use_tokens"] = tools
    return Usage(
        taken,
        given,
        taken + given,
        cached_tokens=counts.get("cachedContentTokenCount"),
        reasoning_tokens=thoughts,
        details=tuple(details.items()),
        extra=tuple(
            (name, orjson.dumps(value).decode())
            for name, value in counts.items()
            if name not in _COUNTED and value is not None
        ),
    )
