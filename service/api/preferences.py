"""Routing preferences between protobuf and the domain. What values mean and whether they exist is judged there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from eurouter.v1 import preferences_pb2 as pb

from service.api.problems import Problems
from service.domain.preferences import Policy, Preferences
from service.domain.regions import inside

_COLLECTION: Final[dict[int, str]] = {pb.DATA_COLLECTION_ALLOW: "allow", pb.DATA_COLLECTION_DENY: "deny"}
_COLLECTION_ENUM: Final = {"allow": pb.DATA_COLLECTION_ALLOW, "deny": pb.DATA_COLLECTION_DENY}
_LISTS: Final = frozenset({"order", "only", "ignore", "quantizations"})


def to_preferences(message: pb.ProviderPreferences, path: str, problems: Problems) -> Preferences:
    """What the message sets; everything else is None. Violations of its form go to `problems`, under `path`."""
    # A preference that this version doesn't know may be a filter: to drop it would widen the choice.
    problems.unknown_fields(message, path)
    values: dict[str, Any] = {}
    for field, value in message.ListFields():
        name = field.name
        if name in _LISTS:
            values[name] = tuple(value)
        elif name == "data_collection":
            values[name] = _COLLECTION.get(value)
            if value not in _COLLECTION:
                problems.add(f"{path}.{name}", f"must be allow or deny; got the number {value}")
        else:
            values[name] = value
    return Preferences(**values)


def from_policy(policy: Policy) -> pb.ProviderPreferences:
    """Floor and preferences as one: what a call obeys. Regions that no single one covers are joined by a comma."""
    wanted, floor = policy.preferences, policy.floor
    deny = floor.data_collection_deny or wanted.data_collection == "deny"
    collection = "deny" if deny else wanted.data_collection
    days = [d for d in (wanted.max_retention_days, floor.max_retention_days) if d is not None]
    regions = (*floor.data_residency, *((wanted.data_residency,) if wanted.data_residency else ()))
    return pb.ProviderPreferences(
        order=wanted.order or (),
        only=wanted.only or (),
        ignore=wanted.ignore or (),
        allow_fallbacks=wanted.allow_fallbacks,
        sort=wanted.sort,
        require_parameters=wanted.require_parameters,
        quantizations=wanted.quantizations or (),
        data_collection=_COLLECTION_ENUM[collection] if collection else pb.DATA_COLLECTION_UNSPECIFIED,
        data_residency=",".join(_narrowest(regions)) or None,
        max_retention_days=min(days) if days else None,
        eu_owned=True if floor.eu_owned else wanted.eu_owned,
    )


def _narrowest(regions: Iterable[str]) -> list[str]:
    """Without the regions that another one lies in."""
    distinct = list(dict.fromkeys(region.lower() for region in regions))
    return [r for r in distinct if not any(other != r and inside((other,), r) for other in distinct)]
