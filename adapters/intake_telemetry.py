"""Prometheus metrics of the loops that read from the broker, and log lines where something needs a person.

No content in either: of records it is told where they stand, of errors their type. Only errors of consumers are
told as they are: they hold no content.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.domain.consuming import ConsumerError, Place, Record
from service.domain.intake import BatchOutcome

CONSUMER_GIVEN_UP: Final = "consumer_given_up"
INTAKE_STORE_FAILED: Final = "intake_store_failed"
INTAKE_RECORDS_CRASHED: Final = "intake_records_crashed"

_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class _Consumers:
    """What consumers of every kind tell. `of` is the first part of its metrics' names."""

    def __init__(self, registry: CollectorRegistry | None, of: str) -> None:
        self._of = of
        self._registry = registry
        self._given_up = Counter(
            f"eurouter_{of}_consumers_given_up",
            "Consumers that were given up, by reason; each was followed by another.",
            ("reason",),
            registry=registry,
        )
        self._lag = Gauge(
            f"eurouter_{of}_lag_records",
            "Records that come after the last that was read, by partition. NaN or missing: it is read elsewhere.",
            ("topic", "partition"),
            registry=registry,
            # A partition is read by one process at a time: the one that looked last.
            multiprocess_mode="livemostrecent",
        )
        self._working = Gauge(
            f"eurouter_{of}_working",
            "Consumers that read records, or would if there were any.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._shown: set[Place] = set()
        self._log = structlog.get_logger().bind()

    def gave_up(self, failure: str, error: BaseException | None) -> None:
        """A consumer is given up, and another one made."""
        self._given_up.labels(failure).inc()
        told = str(error) if isinstance(error, ConsumerError) else _type(error)
        self._log.warning(CONSUMER_GIVEN_UP, consumer=self._of, reason=failure, error=told)

    def working(self, *, working: bool) -> None:
        """Whether records are read."""
        self._working.set(int(working))

    def lag(self, lag: Mapping[Place, int]) -> None:
        """How many records come after those that were read, of each partition that is read here."""
        for topic, partition in self._shown - lag.keys():
            self._lag.labels(topic, partition).set(float("nan"))
            if self._registry is not None:
                self._lag.remove(topic, partition)
        for (topic, partition), records in lag.items():
            self._lag.labels(topic, partition).set(records)
        self._shown = set(lag)


class PrometheusIntakeTelemetry(_Consumers):
    """Counts what a process's intake does. `registry` None: in the files of several processes.

    `reasons`: those that dead letters may have.
    """

    def __init__(self, registry: CollectorRegistry | None, *, reasons: Iterable[str] = ()) -> None:
        super().__init__(registry, "intake")
        self._read = Counter("eurouter_intake_records", "Records that came.", registry=registry)
        self._stored = Counter(
            "eurouter_intake_outcomes",
            "What became of records: jobs, jobs that there were already, dead letters. One that is judged again "
            "after a failure is counted again.",
            ("outcome",),
            registry=registry,
        )
        self._letters = Counter(
            "eurouter_intake_dead_letters", "Dead letters, by their reason.", ("reason",), registry=registry
        )
        # A series that begins above 0 has grown by nothing for Prometheus.
        for reason in reasons:
            self._letters.labels(reason)
        self._batches = Histogram(
            "eurouter_intake_batch_seconds",
            "For how long batches were judged and stored, tries included, in seconds.",
            registry=registry,
            buckets=_BUCKETS,
        )
        self._paused = Gauge(
            "eurouter_intake_paused",
            "Consumers that read nothing for now: many jobs could be run, many records are aside, or the database "
            "is away.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._aside = Gauge(
            "eurouter_intake_aside",
            "Records that can't be judged or stored for now while others are; their partitions are not committed "
            "beyond.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._store_failures = Counter(
            "eurouter_intake_store_failures",
            "Failed calls of the database by intake, by what for.",
            ("what",),
            registry=registry,
        )

    def read(self, records: int) -> None:
        """So many records came."""
        self._read.inc(records)

    def stored(self, outcome: BatchOutcome) -> None:
        """What became of records is stored."""
        self._stored.labels("accepted").inc(outcome.accepted)
        self._stored.labels("repeated").inc(outcome.repeated)
        self._stored.labels("rejected").inc(outcome.rejected)

    def dead_letter(self, reason: str) -> None:
        """A record is a dead letter, for this reason."""
        self._letters.labels(reason).inc()

    def batch(self, seconds: float) -> None:
        """A batch was dealt with, so long after it came."""
        self._batches.observe(seconds)

    def paused(self, paused: bool) -> None:
        """Nothing is read for a while, or is read on."""
        self._paused.set(int(paused))

    def store_failed(self, what: str, error: BaseException) -> None:
        """The database failed at `what`."""
        self._store_failures.labels(what).inc()
        self._log.warning(INTAKE_STORE_FAILED, what=what, error_type=_type(error))

    def crashed(self, records: Sequence[Record], error: BaseException) -> None:
        """Records could not be judged together, by a fault of ours."""
        first = records[0]
        self._log.error(
            INTAKE_RECORDS_CRASHED,
            records=len(records),
            topic=first.topic,
            partition=first.partition,
            offset=first.offset,
            error_type=_type(error),
        )

    def aside(self, records: int) -> None:
        """So many records wait until they can be judged."""
        self._aside.set(records)


class PrometheusWakeUpTelemetry(_Consumers):
    """Counts what a process's reader of wake-ups does. `registry` None: in the files of several processes."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        super().__init__(registry, "wakeup")
        self._hints = Counter(
            "eurouter_wakeup_records",
            "Wake-ups that came, by whether they were too old to help.",
            ("stale",),
            registry=registry,
        )

    def hints(self, fresh: int, stale: int) -> None:
        """So many wake-ups came, and so many that were too old to help."""
        self._hints.labels("no").inc(fresh)
        self._hints.labels("yes").inc(stale)


def _type(error: BaseException | None) -> str:
    return "" if error is None else type(error).__name__
