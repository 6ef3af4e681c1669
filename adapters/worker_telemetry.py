"""Prometheus metrics of workers, and a log line where one has a fault of ours. No content in either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.domain.errors import ServiceError
from service.domain.stored import StoreError

JOB_CRASHED: Final = "job_crashed"
JOB_STORE_FAILED: Final = "job_store_failed"

OUTCOMES: Final = (
    "completed",
    "incomplete",
    "failed",
    "retried",
    "put_off",
    "fenced",
    "handed_back",
    "crashed",
)
"""What may become of a run."""

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class PrometheusWorkerTelemetry:
    """Counts what a process's worker does. `registry` None: in the files of several processes.

    `heard` is told what came of each claim: why the database failed, or None. `places` gives how many jobs may
    run here at a time.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None,
        *,
        heard: Callable[[StoreError | None], None] = lambda _error: None,
        places: Callable[[], int] = lambda: 0,
    ) -> None:
        self._heard = heard
        self._places = places
        self._claims = Histogram(
            "eurouter_job_claim_seconds", "Duration of claims in seconds.", registry=registry, buckets=_BUCKETS
        )
        self._claimed = Counter("eurouter_jobs_claimed", "Jobs claimed.", registry=registry)
        self._running = Gauge(
            "eurouter_jobs_running", "Jobs under way.", registry=registry, multiprocess_mode="livesum"
        )
        self._shown_places = Gauge(
            "eurouter_jobs_places",
            "Jobs that may be under way at a time; 0 until the database answered a claim, and while it does not.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._ended = Counter("eurouter_job_runs", "Runs that ended, by outcome.", ("outcome",), registry=registry)
        # A series that begins above 0 has grown by nothing for Prometheus.
        for outcome in OUTCOMES:
            self._ended.labels(outcome)
        self._crashes = Counter(
            "eurouter_job_crashes",
            "Faults of the service in runs: those that failed their job, and those that escaped.",
            registry=registry,
        )
        self._seconds = Histogram(
            "eurouter_job_run_seconds",
            "Duration of runs in seconds.",
            registry=registry,
            buckets=(*_BUCKETS, 30, 60, 300, 1800),
        )
        self._lag = Histogram(
            "eurouter_job_renew_lag_seconds",
            "How much later than due leases were looked after, in seconds.",
            registry=registry,
            buckets=_BUCKETS,
        )
        self._fenced = Counter(
            "eurouter_jobs_fenced", "Writes that the store refused as another's.", registry=registry
        )
        self._events = Counter("eurouter_job_events", "Events appended.", registry=registry)
        self._flushes = Counter("eurouter_job_flushes", "Statements that appended events.", registry=registry)
        self._store_failures = Counter(
            "eurouter_job_store_failures",
            "Failed calls of the database, by what for.",
            ("what",),
            registry=registry,
        )
        self._log = structlog.get_logger().bind()

    def claimed(self, jobs: int, seconds: float) -> None:
        """A claim took `seconds` and brought so many jobs."""
        self._claims.observe(seconds)
        self._claimed.inc(jobs)
        self._shown_places.set(self._places())
        self._heard(None)

    def running(self, jobs: int) -> None:
        """So many jobs run now."""
        self._running.set(jobs)

    def ended(self, outcome: str, seconds: float) -> None:
        """A run ended after `seconds`."""
        self._ended.labels(outcome).inc()
        self._seconds.observe(seconds)

    def renewed(self, lag: float) -> None:
        """Leases were looked after, `lag` seconds later than was due."""
        self._lag.observe(max(0.0, lag))

    def fenced(self, jobs: int) -> None:
        """The store refused the writes of so many jobs: they were ours no more."""
        self._fenced.inc(jobs)

    def flushed(self, jobs: int, events: int) -> None:  # noqa: ARG002  one statement, however many jobs
        """One statement appended events of so many jobs."""
        self._flushes.inc()
        self._events.inc(events)

    def store_failed(self, what: str, error: StoreError | ServiceError) -> None:
        """The database failed at `what`, and will be asked again. The texts of both errors are ours."""
        self._store_failures.labels(what).inc()
        self._log.warning(JOB_STORE_FAILED, what=what, error=str(error))
        if what == "claim":
            self._shown_places.set(0)
            if isinstance(error, StoreError):
                self._heard(error)

    def crashed(self, job_id: str, error: BaseException) -> None:
        """A run met a fault of ours. What the error says may quote content: its type is all that is told."""
        self._crashes.inc()
        self._log.error(JOB_CRASHED, job=job_id, error_type=type(error).__name__)
