"""Routing preferences and the operator's floor: what narrows the choice of endpoints."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Preferences:
    """One layer of preferences; None = not set in this layer. Meanings: protos/eurouter/v1/preferences.proto."""

    order: tuple[str, ...] | None = None
    only: tuple[str, ...] | None = None
    ignore: tuple[str, ...] | None = None
    allow_fallbacks: bool | None = None
    sort: Literal["price", "latency", "throughput"] | None = None
    require_parameters: bool | None = None
    quantizations: tuple[str, ...] | None = None
    data_collection: Literal["allow", "deny"] | None = None
    data_residency: str | None = None
    max_retention_days: int | None = None
    eu_owned: bool | None = None

    def over(self, below: Preferences) -> Preferences:
        """This layer over `below`, field by field: what this one sets wins."""
        if below is _UNSET:
            return self
        merged = {}
        for f in fields(self):
            mine = getattr(self, f.name)
            merged[f.name] = getattr(below, f.name) if mine is None else mine
        return Preferences(**merged)

    @property
    def data_filters(self) -> Floor:
        """Those of the preferences that say where data may go."""
        if self is _UNSET:
            return OPEN
        return Floor(
            data_residency=(self.data_residency,) if self.data_residency is not None else (),
            data_collection_deny=self.data_collection == "deny",
            max_retention_days=self.max_retention_days,
            eu_owned=bool(self.eu_owned),
        )


_UNSET = Preferences()


@dataclass(frozen=True, slots=True)
class Floor:
    """Filters that the operator sets for everyone (or a key): ANDed to every request, widened by nothing."""

    data_residency: tuple[str, ...] = ()
    data_collection_deny: bool = False
    max_retention_days: int | None = None
    eu_owned: bool = False

    def narrowed_by(self, other: Floor) -> Floor:
        """Both floors at once."""
        if other is OPEN:
            return self
        if self is OPEN:
            return other
        days = [d for d in (self.max_retention_days, other.max_retention_days) if d is not None]
        return Floor(
            data_residency=tuple(dict.fromkeys(self.data_residency + other.data_residency)),
            data_collection_deny=self.data_collection_deny or other.data_collection_deny,
            max_retention_days=min(days) if days else None,
            eu_owned=self.eu_owned or other.eu_owned,
        )


OPEN: Final = Floor()
"""No filter. Whoever has none uses this one, which is told by what it is: most calls have none, thrice."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a plan obeys: the floor AND the preferences (request over rule over alias) AND the conversation's.

    `conversation` are the filters under which what is continued was made.
    """

    preferences: Preferences = Preferences()
    floor: Floor = OPEN
    conversation: Floor = OPEN

    @property
    def data_filters(self) -> Floor:
        """All filters on data at once, whoever asked for them."""
        wanted = self.preferences.data_filters
        return self.floor.narrowed_by(self.conversation).narrowed_by(wanted)
