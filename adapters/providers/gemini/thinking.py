"""Reasoning effort as Gemini's thinkingConfig: a level from Gemini 3 on, a budget of tokens before.

Which model takes what stands in the catalogue (`efforts`); the tables here are for models that it says nothing of.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from adapters.providers.efforts import unknown_effort
from service.domain.catalog import Effort, Endpoint
from service.domain.fields import Field
from service.domain.generation import Generation

LEVELS: Final[Mapping[str, Effort]] = MappingProxyType(
    {level: Effort(level.upper()) for level in ("minimal", "low", "medium", "high", "xhigh")}
)
"""`thinkingLevel` by effort (SDK `google-genai` 3.4: ThinkingLevel). Not every model takes each of them, and none
of them can be kept from thinking."""

BUDGETS: Final[Mapping[str, Effort]] = MappingProxyType(
    {
        "minimal": Effort(budget=1024),
        "low": Effort(budget=1024),
        "medium": Effort(budget=8192),
        "high": Effort(budget=24576),
    }
)
"""`thinkingBudget` by effort, as Google's own OpenAI door spends it (ai.google.dev/gemini-api/docs/openai)."""

_WITHOUT: Final[Mapping[str, Effort]] = MappingProxyType({"none": Effort(budget=0), **BUDGETS})
_ALWAYS_THINKS: Final = "gemini-2.5-pro"
_BEFORE_3: Final = ("gemini-1", "gemini-2")


@lru_cache(maxsize=256)
def is_before_3(model: str) -> bool:
    """Whether the model is of a generation before Gemini 3, the last of which no longer gets new members."""
    return model.rpartition("/")[2].startswith(_BEFORE_3)


def efforts_of(endpoint: Endpoint) -> Mapping[str, Effort]:
    """What the endpoint's model takes for each effort."""
    if endpoint.efforts:
        return endpoint.efforts
    if not is_before_3(endpoint.upstream_model):
        return LEVELS
    always = endpoint.upstream_model.rpartition("/")[2].startswith(_ALWAYS_THINKS)
    return BUDGETS if always else _WITHOUT


def thinking_config(generation: Generation, endpoint: Endpoint) -> dict[str, Any]:
    """The `thinkingConfig`, empty when nothing was said of it.

    Raises:
        ServiceError: INVALID_REQUEST for an effort that the model does not take.
    """
    can = endpoint.expressible
    effort = generation.reasoning_effort if Field.REASONING_EFFORT in can else None
    shown = generation.reasoning_summary is not None and Field.REASONING_SUMMARY in can
    if effort is None:
        return {"includeThoughts": True} if shown else {}
    known = efforts_of(endpoint)
    to = known.get(effort)
    if to is None:
        raise unknown_effort(known)
    if to.level is not None:
        return {"thinkingLevel": to.level, "includeThoughts": True}
    if not to.budget:
        # Who does not think has no thoughts to include: Vertex refuses to be asked for them.
        return {"thinkingBudget": 0}
    return {"thinkingBudget": to.budget, "includeThoughts": True}
