"""Prometheus metrics, and a log line per failed attempt, behind the domain's telemetry ports.

No content, and no label that callers can invent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
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

from adapters.endpoint_series import ShownEndpoints
from adapters.usage_telemetry import UsageCounters
from service.domain.catalog import Catalog, Endpoint, ProviderStatus
from service.domain.crash import describe
from service.domain.errors import ERRORS, Reason
from service.domain.events import Usage
from service.domain.failure import HARMS_HEALTH, OPERATORS_FAULT, REASONS, FailureKind

ATTEMPT_FAILED: Final = "attempt_failed"
ATTEMPT_CRASHED: Final = "attempt_crashed"

# A series that begins above 0 has grown by nothing for Prometheus: no alert would see a process's first failure.
# What alerts count is there as 0 as soon as its labels are known, and nothing else is: most would stay 0 for ever.
_OUR_OWN: Final = tuple(
    reason.value for reason in Reason if ERRORS[reason].fault == "us" and reason not in REASONS.values()
)
_OF_PROVIDERS: Final = tuple(
    reason.value
    for reason in Reason
    if ERRORS[reason].fault in ("us", "provider") and reason.value not in _OUR_OWN
)
OUTCOMES_AT_PROVIDERS: Final = (
    "ok",
    *(kind.value for kind in FailureKind if kind in HARMS_HEALTH | {FailureKind.UNKNOWN}),
)
"""Outcomes of attempts that say something of the provider: nothing that callers asked wrongly or gave up."""

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
        self._shown = ShownEndpoints()
        self._counted: set[str] = set()
        self._by_request: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}
        self._by_attempt: dict[tuple[str, str], tuple[Counter, Histogram]] = {}

    def request_offered(self, door: str, method: str, *, asks: bool) -> None:
        """Calls of this method may come from now on; `asks`: they are passed on to providers."""
        for outcome in ("ok", *_OUR_OWN, *(_OF_PROVIDERS if asks else ())):
            self._requests.labels(door, method, outcome)

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
            found = (self._requests.labels(*key), self._seconds.labels(door, method))
            self._by_request[key] = found
        return found

    def declare(self, catalog: Catalog) -> None:
        """The endpoints of this catalogue may be asked from now on. Providers of one before stay as they are.

        The series of endpoints that left go, except in the files of several processes, which can't lose any.
        """
        if self.shared_registry is not None:
            self._drop_all_but(self._shown.of(catalog))
        endpoints = (endpoint for model in catalog.models.values() for endpoint in model.endpoints)
        for slug in {e.provider.slug for e in endpoints if e.provider.status is ProviderStatus.ACTIVE}:
            for outcome in OUTCOMES_AT_PROVIDERS:
                self._attempts.labels(slug, outcome)

    def _drop_all_but(self, endpoints: AbstractSet[str]) -> None:
        self._usage.keep(endpoints)
        for gone in self._counted - endpoints:
            self._endpoint_in_flight.remove(gone)
            self._passed_over.remove(gone)
        self._counted &= endpoints

    def attempt(self, endpoint: Endpoint, outcome: str, seconds: float) -> None:
        """An upstream attempt ended."""
        key = (endpoint.provider.slug, outcome)
        found = self._by_attempt.get(key)
        if found is None:
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

    def attempt_crashed(self, endpoint: Endpoint, error: Exception, request_id: str, number: int) -> None:
        """Logs where a fault of ours ended an attempt, never the error's words: they may quote the prompt."""
        structlog.get_logger().error(
            ATTEMPT_CRASHED, endpoint=endpoint.id, attempt=number, request_id=request_id, **describe(error)
        )

    def first_token(self, endpoint: Endpoint, seconds: float) -> None:
        """A stream's first visible event came."""
        self._first_token.labels(endpoint.provider.slug).observe(seconds)

    def used(self, endpoint: Endpoint, usage: Usage) -> None:
        """What an answer used and costs."""
        self._usage.add(endpoint, usage)

    def endpoint_in_flight(self, endpoint_id: str, calls: int) -> None:
        """So many calls are under way at the endpoint."""
        self._counted.add(endpoint_id)
        self._endpoint_in_flight.labels(endpoint_id).set(calls)

    def passed_over(self, endpoint: Endpoint) -> None:
        """A call found the endpoint full."""
        self._counted.add(endpoint.id)
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
