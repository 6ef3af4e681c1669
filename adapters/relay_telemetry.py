"""Prometheus metrics of relays, log lines where something needs a person, and how much waits in the outbox.

No content in any of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import random
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.domain.outbox import Outbox, OutboxKind, OutboxRow
from service.domain.publishing import Delivery
from service.domain.stored import StoreError

OUTBOX_ROW_CRASHED: Final = "outbox_row_crashed"
OUTBOX_SEND_FAILED: Final = "outbox_send_failed"
OUTBOX_STORE_FAILED: Final = "outbox_store_failed"
PUBLISHER_FAILED: Final = "publisher_failed"

PERIOD: Final = 10.0

_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_NOTHING: Final = float("nan")


class PrometheusRelayTelemetry:
    """Counts what a process's relay does. `registry` None: in the files of several processes."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
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
        self._log.warning(OUTBOX_SEND_FAILED, delivery=delivery.value, topic=topic)

    def late(self, rows: int) -> None:
        """So many rows may have gone out when their shard was another's."""
        self._late.inc(rows)

    def store_failed(self, what: str) -> None:
        """The database failed at `what`."""
        self._store_failures.inc()
        self._log.warning(OUTBOX_STORE_FAILED, what=what)

    def publisher_failed(self, error: BaseException) -> None:
        """The broker can't be reached."""
        self._publisher_failures.inc()
        self._log.warning(PUBLISHER_FAILED, error=str(error))

    def crashed(self, kind: OutboxKind, error: BaseException) -> None:
        """A row could not be made a message. The error may quote content: its type is all that is told."""
        self._log.error(OUTBOX_ROW_CRASHED, kind=kind.value, error_type=type(error).__name__)


class OutboxGauges:
    """How much waits, of the whole database; NaN while it can't be asked. Use it once per process."""

    def __init__(self, registry: CollectorRegistry | None, outbox: Outbox, *, period: float = PERIOD) -> None:
        self._outbox = outbox
        self._period = period
        self._depth = _gauge("rows", "Rows of the outbox that wait to be published.", registry)
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
            except StoreError:
                # Whoever sweeps the same database reports it.
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
