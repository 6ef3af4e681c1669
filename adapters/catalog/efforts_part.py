"""A table of reasoning efforts as it may be written in the catalogue file. What it means is in `rows`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator


def _effort(value: Any) -> Any:
    # YAML reads `off` and `yes` as truth values: neither is a level.
    if isinstance(value, str) and value and not any(c.isspace() for c in value):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError('must be the provider\'s word for it, such as "low", or a budget in tokens, 0 for none')


EffortName = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Efforts = dict[EffortName, Annotated[str | int, BeforeValidator(_effort)]]
"""By effort the provider's word, or a budget in tokens."""
