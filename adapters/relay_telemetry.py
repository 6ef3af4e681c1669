"""Prometheus metrics of relays, log lines where something needs a person, and how much waits in the outbox.

No content in any of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from random import random
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.domain.outbox import Outbox, OutboxKind, OutboxRow
from service.domain.publishing import Delivery, PublisherError

OUTBOX_ROW_CRASHED: Final = "outbox_row_crashed"
OUTBOX_SEND_FAILED: Final = "outbox_send_failed"
OUTBOX_TURN_CRASHED: Final = "outbox_turn_crashed"
OUTBOX_STORE_FAILED: Final = "outbox_store_failed"
PUBLISHER_FAILED: Final = "publisher_failed"

PERIOD: Final = 10.0

_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_NOTHING: Final = float("nan")

_QUIET: Final = 30.0
"""Seconds in which one failure of one topic is told once."""

_WHY: Final = {
    Delivery.REFUSED: "the topic is not there, or we may not write to it",
    Delivery.TOO_LARGE: "larger than the broker takes",
    Delivery.UNKNOWN: "no answer in time, it is sent again",
}


class PrometheusRelayTelemetry:
    """Counts what a process's relay does. `registry` None: in the files of several processes.

    `clock` gives seconds that never go back.
    """

    def __init__(self, registry: CollectorRegistry | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Of each failure of a topic, since when nothing of it was told, and how often it was met since.
        self._untold: dict[tuple[Delivery, str], tuple[float, int]] = {}
        self._shards = Gauge(
            "eurouter_outbox_shards",
            "Shards of the outbox that this process publishes.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._sent = Histogram(
            "eurouter_outbox_sent_seconds",
            "For how long published rows had waited when they were read, in seconds, by kind.",
            ("kind",),
            registry=registry,
            buckets=_BUCKETS,
        )
        self._dropped = Counter(
            "eurouter_outbox_dropped",
            "Rows that there was no use in publishing, by kind.",
            ("kind",),
            registry=registry,
        )
        self._failed = Counter(
            "eurouter_outbox_send_failures",
            "Messages that were not sent for certain, by what is known.",
            ("delivery",),
            registry=registry,
        )
        self._late = Counter(
            "eurouter_outbox_late",
            "Rows that may have gone out after a lease; they were followed up.",
            registry=registry,
        )
        self._store_failures = Counter(
            "eurouter_outbox_store_failures", "Failed calls of the database by relays.", registry=registry
        )
        self._publisher_failures = Counter(
            "eurouter_publisher_failures", "Times that the broker could not be reached.", registry=registry
        )
        self._crashes = Counter(
            "eurouter_outbox_crashes", "Faults of the service, in turns of relays and in rows.", registry=registry
        )
        self._log = structlog.get_logger().bind()

    def holds(self, shards: int) -> None:
        """The relay has so many shards now."""
        self._shards.set(shards)

    def sent(self, rows: Sequence[OutboxRow]) -> None:
        """Rows were published."""
        for row in rows:
            self._sent.labels(row.record.kind.value).observe(row.age)

    def dropped(self, rows: Sequence[OutboxRow]) -> None:
        """Rows were forgotten."""
        for row in rows:
            self._dropped.labels(row.record.kind.value).inc()

    def failed(self, delivery: Delivery, topic: str) -> None:
        """A message was not sent, as far as one knows."""
        self._failed.labels(delivery.value).inc()
        # A topic that is missing fails for every row of it, again and again: that is one line now and then.
        now = self._clock()
        told, count = self._untold.get((delivery, topic), (float("-inf"), 0))
        if now - told < _QUIET:
            self._untold[delivery, topic] = (told, count + 1)
            return
        self._untold[delivery, topic] = (now, 0)
        why = _WHY.get(delivery, "")
        self._log.warning(OUTBOX_SEND_FAILED, delivery=delivery.value, topic=topic, why=why, messages=count + 1)

    def late(self, rows: int) -> None:
        """So many rows may have gone out when their shard was another's."""
        self._late.inc(rows)

    def store_failed(self, what: str) -> None:
        """The database failed at `what`."""
        self._store_failures.inc()
        self._log.warning(OUTBOX_STORE_FAILED, what=what)

    def publisher_failed(self, error: BaseException) -> None:
        """The broker can't be reached. Of errors that publishers don't promise the type is all that is told."""
        self._publisher_failures.inc()
        told = str(error) if isinstance(error, PublisherError) else type(error).__name__
        self._log.warning(PUBLISHER_FAILED, error=told)

    def turn_crashed(self, error: BaseException) -> None:
        """A turn ended by a fault of ours."""
        self._crashes.inc()
        self._log.error(OUTBOX_TURN_CRASHED, error_type=type(error).__name__)

    def crashed(self, kind: OutboxKind, error: BaseException) -> None:
        """A row could not be made a message. The error may quote content: its type is all that is told."""
        self._crashes.inc()
        self._log.error(OUTBOX_ROW_CRASHED, kind=kind.value, error_type=type(error).__name__)


class OutboxGauges:
    """How much waits, of the whole database; NaN while it can't be asked. Use it once per process."""

    def __init__(self, registry: CollectorRegistry | None, outbox: Outbox, *, period: float = PERIOD) -> None:
        self._outbox = outbox
        self._period = period
        self._depth = _gauge(
            "rows", "Rows of the outbox that wait to be published; 100000 or more are 100000.", registry
        )
        self._oldest = _gauge(
            "oldest_seconds", "For how long the oldest row of the outbox waits; 0 without any.", registry
        )

    async def run(self) -> None:
        """Looks again and again until cancelled."""
        while True:
            try:
                stats = await self._outbox.stats()
                self._depth.set(stats.depth)
                self._oldest.set(stats.oldest or 0.0)
            except Exception:  # noqa: BLE001 - a figure is no reason to stop a process
                # Whoever sweeps the same database reports that it is away.
                self._depth.set(_NOTHING)
                self._oldest.set(_NOTHING)
            await asyncio.sleep(self._period * (0.9 + 0.2 * random()))  # noqa: S311 - not a secret


def _gauge(name: str, text: str, registry: CollectorRegistry | None) -> Gauge:
    return Gauge(
        f"eurouter_outbox_{name}",
        f"{text} Every replica shows the same, so take max, not sum. NaN while the database can't be asked.",
        registry=registry,
        # Of several processes of one machine the one that looked last knows best.
        multiprocess_mode="livemostrecent",
    )
