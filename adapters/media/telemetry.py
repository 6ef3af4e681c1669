"""Prometheus metrics of fetches. No address and no host is a label: callers invent those."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from adapters.media.errors import Outcome
from service.domain.media import TAKEN

_OF_NETWORKS: Final[tuple[Outcome, ...]] = ("ok", "unreachable", "timeout")
"""Outcomes that an alert counts; the others tell of the address that a caller wrote."""

_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class PrometheusMediaTelemetry:
    """Counts what is fetched. `registry` None: in the files of several processes."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._fetches = Counter(
            "eurouter_media_fetches",
            "Fetches of what requests have by address, by kind and outcome.",
            ("kind", "outcome"),
            registry=registry,
        )
        # A series that begins above 0 has grown by nothing for Prometheus.
        for kind in TAKEN:
            for outcome in _OF_NETWORKS:
                self._fetches.labels(kind, outcome)
        self._bytes = Counter(
            "eurouter_media_bytes", "Bytes fetched and used, by kind.", ("kind",), registry=registry
        )
        self._seconds = Histogram(
            "eurouter_media_seconds", "Duration of fetches in seconds.", registry=registry, buckets=_BUCKETS
        )

    def fetched(self, kind: str, outcome: str, size: int, seconds: float) -> None:
        """A fetch ended."""
        self._fetches.labels(kind, outcome).inc()
        self._bytes.labels(kind).inc(size)
        self._seconds.observe(seconds)
