"""Counters of what answers used and cost. Who is asked and how long it took is counted in telemetry."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from prometheus_client import CollectorRegistry, Counter

from service.domain.catalog import Endpoint
from service.domain.cost import AUDIO_INPUT, AUDIO_OUTPUT
from service.domain.events import Usage


class UsageCounters:
    """Tokens and money by endpoint. One per process; label sets are looked up once each."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._tokens = Counter(
            "eurouter_tokens",
            "Tokens by provider, model and direction.",
            ("provider", "model", "direction"),
            registry=registry,
        )
        self._kinds = Counter(
            "eurouter_tokens_by_kind",
            "Of eurouter_tokens those of a kind: cached, cache_write, reasoning, audio_input, audio_output.",
            ("provider", "model", "kind"),
            registry=registry,
        )
        self._cost = Counter(
            "eurouter_cost",
            "What answers cost by the catalogue's prices, by endpoint, model and currency.",
            ("endpoint", "model", "currency"),
            registry=registry,
        )
        self._names: dict[str, tuple[str, str]] = {}
        self._by_endpoint: dict[str, tuple[Counter, Counter]] = {}
        self._by_kind: dict[tuple[str, str], Counter] = {}
        self._by_currency: dict[tuple[str, str], Counter] = {}

    def add(self, endpoint: Endpoint, usage: Usage) -> None:
        """One answer's usage; its cost as a float, as all of Prometheus' numbers are."""
        found = self._by_endpoint.get(endpoint.id)
        if found is None:
            labels = (endpoint.provider.slug, endpoint.model)
            found = (self._tokens.labels(*labels, "input"), self._tokens.labels(*labels, "output"))
            self._by_endpoint[endpoint.id] = found
            self._names[endpoint.id] = labels
        found[0].inc(usage.input_tokens)
        found[1].inc(usage.output_tokens)
        if usage.cached_tokens:
            self._add_kind(endpoint, "cached", usage.cached_tokens)
        if usage.cache_write_tokens:
            self._add_kind(endpoint, "cache_write", usage.cache_write_tokens)
        if usage.reasoning_tokens:
            self._add_kind(endpoint, "reasoning", usage.reasoning_tokens)
        for name, count in usage.details:
            if count and name in (AUDIO_INPUT, AUDIO_OUTPUT):
                self._add_kind(endpoint, "audio_input" if name == AUDIO_INPUT else "audio_output", count)
        if usage.cost is not None:
            self._add_cost(endpoint, usage.cost.currency, float(usage.cost.amount))

    def keep(self, endpoints: AbstractSet[str]) -> None:
        """Drops the series of all other endpoints. Not for several processes: their files keep what they have."""
        gone = self._names.keys() - endpoints
        for key in [key for key in self._by_currency if key[0] in gone]:
            self._cost.remove(key[0], self._names[key[0]][1], key[1])
            del self._by_currency[key]
        left = {names for endpoint, names in self._names.items() if endpoint not in gone}
        kinds = [key for key in self._by_kind if key[0] in gone]
        for endpoint, kind in kinds:
            del self._by_kind[endpoint, kind]
            if self._names[endpoint] not in left:
                self._kinds.remove(*self._names[endpoint], kind)
        for endpoint in gone:
            names = self._names.pop(endpoint)
            del self._by_endpoint[endpoint]
            if names not in left:
                self._tokens.remove(*names, "input")
                self._tokens.remove(*names, "output")

    def _add_kind(self, endpoint: Endpoint, kind: str, count: int) -> None:
        key = (endpoint.id, kind)
        found = self._by_kind.get(key)
        if found is None:
            found = self._kinds.labels(endpoint.provider.slug, endpoint.model, kind)
            self._by_kind[key] = found
        found.inc(count)

    def _add_cost(self, endpoint: Endpoint, currency: str, amount: float) -> None:
        key = (endpoint.id, currency)
        found = self._by_currency.get(key)
        if found is None:
            found = self._by_currency[key] = self._cost.labels(endpoint.id, endpoint.model, currency)
        found.inc(amount)
