"""Prometheus metrics, and a log line per failed attempt, behind the domain's telemetry ports.

No content, and no label that callers can invent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    multiprocess,
    values,
)
from prometheus_client.metrics_core import Metric

from adapters.usage_telemetry import UsageCounters
from service.domain.catalog import Endpoint
from service.domain.errors import ERRORS, Reason
from service.domain.events import Usage
from service.domain.failure import OPERATORS_FAULT, FailureKind

ATTEMPT_FAILED: Final = "attempt_failed"

_OURS: Final = tuple(reason.value for reason in Reason if ERRORS[reason].fault == "us")

# One more series per label set, which nothing asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]


class _FileValue(values.MultiProcessValue()):  # type: ignore[misc]
    """A number in this process's file. Steps take neither a lock nor a look for a fork, which cost more than
    they do: a process is spawned, not forked, and counts on its event loop's thread alone."""

    def inc(self, amount: float) -> None:
        self._value += amount
        self._file.write_value(self._key, self._value, 0.0)


if values.ValueClass is not values.MutexValue:
    # PROMETHEUS_MULTIPROC_DIR is set, so the library has chosen files; metrics are made with what stands here.
    values.ValueClass = _FileValue

_LATENCY_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class PrometheusTelemetry:
    """Implements `Telemetry` and `RequestTelemetry`. One per process; label sets are looked up once each."""

    def __init__(self, *, multiprocess_mode: bool = False) -> None:
        # In multi-process mode each process writes memory-mapped files that `render_all` sums; the registry
        # then only serves to construct the metrics.
        self.registry = CollectorRegistry()
        self.shared_registry = registry = None if multiprocess_mode else self.registry
        self._requests = Counter(
            "eurouter_requests",
            "Calls that ended, by door, method and outcome.",
            ("door", "method", "outcome"),
            registry=registry,
        )
        self._seconds = Histogram(
            "eurouter_request_seconds",
            "Duration of calls in seconds.",
            ("door", "method"),
            registry=registry,
            buckets=_LATENCY_BUCKETS,
        )
        self._in_flight = Gauge(
            "eurouter_requests_in_flight", "Calls under way.", registry=registry, multiprocess_mode="livesum"
        )
        self._attempts = Counter(
            "eurouter_upstream_attempts",
            "Upstream attempts that ended, by provider and outcome.",
            ("provider", "outcome"),
            registry=registry,
        )
        self._attempt_seconds = Histogram(
            "eurouter_upstream_attempt_seconds",
            "Duration of upstream attempts in seconds.",
            ("provider",),
            registry=registry,
            buckets=_LATENCY_BUCKETS,
        )
        self._first_token = Histogram(
            "eurouter_upstream_first_token_seconds",
            "Seconds to the first visible event of a stream.",
            ("provider",),
            registry=registry,
            buckets=_LATENCY_BUCKETS,
        )
        self._usage = UsageCounters(registry)
        self._endpoint_in_flight, self._passed_over = _counted_endpoints(registry)
        self._by_request: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}
        self._by_attempt: dict[tuple[str, str], tuple[Counter, Histogram]] = {}

    def request_started(self) -> None:
        """A call was admitted."""
        self._in_flight.inc()

    def request_finished(self, door: str, method: str, outcome: str, seconds: float) -> None:
        """An admitted call ended."""
        self._in_flight.dec()
        counter, histogram = self._of_request(door, method, outcome)
        counter.inc()
        histogram.observe(seconds)

    def request_refused(self, door: str, method: str, outcome: str) -> None:
        """A call was not admitted: it is counted, and how long it took says nothing."""
        self._of_request(door, method, outcome)[0].inc()

    def _of_request(self, door: str, method: str, outcome: str) -> tuple[Counter, Histogram]:
        key = (door, method, outcome)
        found = self._by_request.get(key)
        if found is None:
            # A series that begins above 0 has grown by nothing for Prometheus: what alerts count begins at 0.
            for ours in _OURS:
                self._requests.labels(door, method, ours)
            found = (self._requests.labels(*key), self._seconds.labels(door, method))
            self._by_request[key] = found
        return found

    def attempt(self, endpoint: Endpoint, outcome: str, seconds: float) -> None:
        """An upstream attempt ended."""
        key = (endpoint.provider.slug, outcome)
        found = self._by_attempt.get(key)
        if found is None:
            for kind in OPERATORS_FAULT:
                self._attempts.labels(key[0], kind.value)
            found = (self._attempts.labels(*key), self._attempt_seconds.labels(key[0]))
            self._by_attempt[key] = found
        found[0].inc()
        found[1].observe(seconds)

    def attempt_failed(self, endpoint: Endpoint, kind: FailureKind, request_id: str, number: int) -> None:
        """Logs what failed, never the provider's words: they may quote the prompt or the key."""
        level = logging.WARNING if kind in OPERATORS_FAULT else logging.INFO
        structlog.get_logger().log(
            level, ATTEMPT_FAILED, endpoint=endpoint.id, kind=kind.value, attempt=number, request_id=request_id
        )

    def first_token(self, endpoint: Endpoint, seconds: float) -> None:
        """A stream's first visible event came."""
        self._first_token.labels(endpoint.provider.slug).observe(seconds)

    def used(self, endpoint: Endpoint, usage: Usage) -> None:
        """What an answer used and costs."""
        self._usage.add(endpoint, usage)

    def endpoint_in_flight(self, endpoint_id: str, calls: int) -> None:
        """So many calls are under way at the endpoint."""
        self._endpoint_in_flight.labels(endpoint_id).set(calls)

    def passed_over(self, endpoint: Endpoint) -> None:
        """A call found the endpoint full."""
        self._passed_over.labels(endpoint.id).inc()

    def render(self) -> bytes:
        """This process's metrics in Prometheus' text format."""
        return generate_latest(self.registry)


def _counted_endpoints(registry: CollectorRegistry | None) -> tuple[Gauge, Counter]:
    in_flight = Gauge(
        "eurouter_endpoint_in_flight",
        "Calls under way at endpoints that declare how many they bear.",
        ("endpoint",),
        registry=registry,
        multiprocess_mode="livesum",
    )
    passed_over = Counter(
        "eurouter_endpoint_passed_over",
        "Times that a call found an endpoint full.",
        ("endpoint",),
        registry=registry,
    )
    return in_flight, passed_over


def forget_process(folder: str, pid: int) -> None:
    """Takes an ended process's gauges out of the sums: what it had in flight is gone. Its counters stay."""
    multiprocess.mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]


def render_all(folder: str) -> bytes:
    """The sums over all processes that write into `folder` (PROMETHEUS_MULTIPROC_DIR)."""
    return generate_latest(_of_all(folder))


def collect_all(folder: str) -> Iterable[Metric]:
    """The same sums, as families."""
    return _of_all(folder).collect()


def _of_all(folder: str) -> CollectorRegistry:
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
    return registry
