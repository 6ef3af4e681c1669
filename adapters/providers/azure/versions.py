"""What Azure's dated API versions know (learn.microsoft.com: Azure OpenAI API lifecycle).

A dated version refuses fields that it does not know; the v1 API, which has no version, takes what OpenAI's does.
"""

from __future__ import annotations

from typing import Final

from service.domain.fields import Field

F = Field

SINCE: Final[dict[Field, str]] = {
    F.JSON_SCHEMA: "2024-08-01",
    F.PARALLEL_TOOL_CALLS: "2024-09-01",
    F.REASONING_EFFORT: "2024-12-01",
    F.STORE: "2024-12-01",
    F.METADATA: "2024-12-01",
    F.PREDICTION: "2025-01-01",
    F.MODALITIES: "2025-01-01",
    F.AUDIO_INPUT: "2025-01-01",
    F.AUDIO_OUTPUT: "2025-01-01",
    F.AUDIO_HISTORY: "2025-01-01",
}
"""The day of the first version that has a field."""

_USAGE_SINCE: Final = "2024-09-01"
# The published specification of the general version 2024-10-21 has max_tokens and no other name for it.
_LIMIT_SINCE: Final = "2024-09-01"
_ONLY_MAX_TOKENS: Final = frozenset({"2024-10-21"})

ONLY_V1: Final = frozenset(
    {
        F.CUSTOM_TOOLS,
        F.CUSTOM_GRAMMAR,
        F.TOOL_CHOICE_ALLOWED,
        F.VERBOSITY,
        F.SAFETY_IDENTIFIER,
        F.SERVICE_TIER,
        F.PROMPT_CACHE_KEY,
        F.PROMPT_CACHE_RETENTION,
        F.PROMPT_CACHE_OPTIONS,
        F.PROMPT_CACHE_BREAKPOINT,
        F.OBFUSCATION,
        F.FILE_INPUT,
    }
)
"""What OpenAI added later, and no dated version is known to have."""


def without_later(fields: frozenset[Field], version: str) -> frozenset[Field]:
    """`fields` less those that `version` (2024-10-21, 2025-01-01-preview) does not know."""
    day = version[:10]
    return fields - ONLY_V1 - {field for field, since in SINCE.items() if day < since}


def limit_of(version: str) -> str:
    """The version's name of the output limit."""
    return "max_tokens" if version[:10] < _LIMIT_SINCE or version in _ONLY_MAX_TOKENS else "max_completion_tokens"


def tells_usage(version: str) -> bool:
    """Whether a stream's usage can be asked for."""
    return version[:10] >= _USAGE_SINCE
