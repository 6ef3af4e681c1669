"""Reasoning effort as Anthropic's thinking: a level for models that think adaptively, a budget for older ones."""

from __future__ import annotations

from typing import Any, Final

from service.domain.errors import ServiceError, invalid
from service.domain.generation import Generation, NamedChoice

LEAST_BUDGET: Final = 1024
"""Anthropic's least `budget_tokens` (docs: extended thinking)."""

BUDGET_SHARES: Final[dict[str, float]] = {
    "minimal": 0.1,
    "low": 0.2,
    "medium": 0.5,
    "high": 0.8,
    "xhigh": 0.95,
}
"""The budget as a share of `max_tokens`, which counts thinking too; at least LEAST_BUDGET."""

LEVELS: Final[dict[str, str]] = {
    "minimal": "low",  # the least that there is
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
"""`output_config.effort` by effort."""

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


def is_adaptive(model: str) -> bool:
    """Whether the model takes a level of effort; look-alikes that serve other models know budgets only."""
    return model.startswith("claude-") and not model.startswith(_BUDGET_ONLY)


def write_thinking(body: dict[str, Any], generation: Generation, model: str) -> None:
    """Puts `thinking`, and for adaptive models `output_config.effort`, into a body that has its `max_tokens`.

    Raises:
        ServiceError: INVALID_REQUEST for an effort that is not known, or what thinking excludes.
    """
    effort = generation.reasoning_effort
    if effort == "none":
        body["thinking"] = {"type": "disabled"}
        return
    adaptive = is_adaptive(model)
    known = LEVELS if adaptive else BUDGET_SHARES
    if effort is None or effort not in known:
        names = ", ".join(("none", *known))
        raise invalid("reasoning.effort", f"this endpoint takes {names}")
    _exclude(generation)
    if adaptive:
        # Models from 4.7 on leave the thinking's text out unless they are asked for it.
        body["thinking"] = {"type": "adaptive", "display": "summarized"}
        body["output_config"] = {"effort": LEVELS[effort]}
        return
    max_tokens = body["max_tokens"]
    if max_tokens <= LEAST_BUDGET:
        raise invalid(
            "max_completion_tokens",
            f"this endpoint spends at least {LEAST_BUDGET} tokens on reasoning: set more than that, "
            "or reasoning.effort none",
        )
    budget = max(LEAST_BUDGET, int(max_tokens * BUDGET_SHARES[effort]))
    body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _exclude(generation: Generation) -> None:
    """What can't go with thinking (docs: extended thinking, feature compatibility)."""
    if generation.temperature not in (None, 1):
        raise _excluded("temperature", "takes no temperature but 1 together with reasoning")
    if generation.top_p is not None and generation.top_p < _LEAST_TOP_P:
        raise _excluded("top_p", f"takes {_LEAST_TOP_P} to 1 together with reasoning")
    if generation.tool_choice == "required" or isinstance(generation.tool_choice, NamedChoice):
        raise _excluded("tool_choice", "can't be made to call a tool together with reasoning: use auto or none")


def _excluded(path: str, what: str) -> ServiceError:
    return invalid(path, f"this endpoint {what}; leave one of the two out")
