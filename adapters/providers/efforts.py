"""Reasoning efforts as words on the wire, by the catalogue's table. Budgets are their dialects' own business."""

from __future__ import annotations

from collections.abc import Iterable

from service.domain.catalog import Endpoint
from service.domain.errors import ServiceError, invalid


def level_of(effort: str, endpoint: Endpoint) -> str:
    """The provider's word for `effort`: the catalogue's, or the effort itself where it has no table.

    Raises:
        ServiceError: INVALID_REQUEST for an effort that the table has no word for.
    """
    table = endpoint.efforts
    if not table:
        return effort
    known = table.get(effort)
    if known is None or known.level is None:
        raise unknown_effort(name for name, to in table.items() if to.level is not None)
    return known.level


def unknown_effort(known: Iterable[str]) -> ServiceError:
    """The refusal of an effort that is none of `known`."""
    return invalid("reasoning.effort", f"this endpoint takes {', '.join(known)}")
