"""Reasoning effort as Anthropic's thinking: a level for models that think adaptively, a budget for older ones.

Which model takes what stands in the catalogue (`efforts`); the tables here are for models that it says nothing of.

A budget is the most that is spent, the catalogue's as well: the limit of the answer counts thinking too, so where
its share is smaller, that is the budget. It only ever becomes less, down to LEAST_BUDGET; what has no room for
that is refused. Refusing every limit below a model's largest budget would refuse what most callers send.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from adapters.providers.efforts import unknown_effort
from service.domain.catalog import Effort, Endpoint
from service.domain.errors import ServiceError, invalid
from service.domain.generation import Generation, NamedChoice

LEAST_BUDGET: Final = 1024
"""Anthropic's least `budget_tokens` (docs: extended thinking)."""

BUDGET_SHARES: Final[Mapping[str, float]] = MappingProxyType(
    {"minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8, "xhigh": 0.95}
)
"""The share of `max_tokens`, which counts thinking too, that is an effort's most; at least LEAST_BUDGET."""

_LARGEST_SHARE: Final = 0.95
_NO_LIMIT: Final = 2**31 - 1
_OFF: Final = Effort(budget=0)

LEVELS: Final[Mapping[str, Effort]] = MappingProxyType(
    {"none": _OFF, "minimal": Effort("low")}  # the least that there is
    | {level: Effort(level) for level in ("low", "medium", "high", "xhigh", "max")}
)
"""`output_config.effort` by effort, for Claude models without a table (docs: effort)."""

BUDGETS: Final[Mapping[str, Effort]] = MappingProxyType(
    {"none": _OFF} | {effort: Effort(budget=_NO_LIMIT) for effort in BUDGET_SHARES}
)
"""The same for models that know budgets only: as much as their shares allow."""

# These refuse "adaptive"; from 4.7 on models refuse a budget, 4.6 takes both (docs: adaptive thinking). The
# list of older models no longer grows.
_BUDGET_ONLY: Final = (
    "claude-3",
    "claude-opus-4-0",
    "claude-opus-4-1",
    "claude-opus-4-2",  # claude-opus-4-20250514
    "claude-opus-4-5",
    "claude-sonnet-4-0",
    "claude-sonnet-4-2",
    "claude-sonnet-4-5",
    "claude-haiku-4-5",
)
_LEAST_TOP_P: Final = 0.95


def efforts_of(endpoint: Endpoint) -> Mapping[str, Effort]:
    """What the endpoint's model takes; look-alikes that serve other models know budgets only."""
    if endpoint.efforts:
        return endpoint.efforts
    model = endpoint.upstream_model
    return LEVELS if model.startswith("claude-") and not model.startswith(_BUDGET_ONLY) else BUDGETS


def write_thinking(body: dict[str, Any], generation: Generation, endpoint: Endpoint) -> None:
    """Puts `thinking`, and for adaptive models `output_config.effort`, into a body that has its `max_tokens`.

    Raises:
        ServiceError: INVALID_REQUEST for an effort that is not known, or what thinking excludes.
    """
    effort = generation.reasoning_effort or ""
    known = efforts_of(endpoint)
    to = known.get(effort)
    if to is None:
        raise unknown_effort(known)
    if to.level is None and not to.budget:
        body["thinking"] = {"type": "disabled"}
        return
    _exclude(generation, endpoint)
    if to.level is not None:
        # Models from 4.7 on leave the thinking's text out unless they are asked for it.
        body["thinking"] = {"type": "adaptive", "display": "summarized"}
        body["output_config"] = {"effort": to.level}
        return
    max_tokens = body["max_tokens"]
    if max_tokens <= LEAST_BUDGET:
        raise invalid(
            "max_completion_tokens",
            f"this endpoint spends at least {LEAST_BUDGET} tokens on reasoning: set more than that, "
            "or reasoning.effort none",
        )
    share = int(max_tokens * BUDGET_SHARES.get(effort, _LARGEST_SHARE))
    budget = max(LEAST_BUDGET, min(to.budget or 0, share))
    body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _exclude(generation: Generation, endpoint: Endpoint) -> None:
    """What can't go with thinking (docs: extended thinking, feature compatibility)."""
    if generation.temperature not in (None, 1):
        raise _excluded("temperature", "takes no temperature but 1 together with reasoning")
    if generation.top_p is not None and generation.top_p < _LEAST_TOP_P:
        raise _excluded("top_p", f"takes {_LEAST_TOP_P} to 1 together with reasoning")
    if "top_k" in generation.extra and "top_k" in endpoint.provider.passthrough:
        raise _excluded("top_k", "takes no top_k together with reasoning")
    if generation.tool_choice == "required" or isinstance(generation.tool_choice, NamedChoice):
        raise _excluded("tool_choice", "can't be made to call a tool together with reasoning: use auto or none")


def _excluded(path: str, what: str) -> ServiceError:
    return invalid(path, f"this endpoint {what}; leave one of the two out")
