"""How many jobs wait and run, as Prometheus gauges that a side task keeps fresh.

They tell of the database, not of this process. While it can't be asked they are NaN, not the last numbers: those
would look like a queue at rest, and comparisons with NaN are false in every alert.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from random import random
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from service.domain.job_queries import JobQueries, PriorityStats
from service.domain.job_store import Priority
from service.domain.stored import StoreError

PERIOD: Final = 10.0
"""Seconds between two looks; about, so that replicas don't look together."""

_SAME: Final = (
    "Of the whole database: every replica shows the same, so take max, not sum. NaN while it can't be asked."
)
_CAPPED: Final = ", those that their owner's cap (jobs.per_owner) holds back included"
_NOTHING: Final = float("nan")


class QueueGauges:
    """Use it once per process. `registry` None: in the files of several processes.

    `heard` is told what came of each look: why the database failed, or None.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None,
        jobs: JobQueries,
        *,
        period: float = PERIOD,
        heard: Callable[[StoreError | None], None] = lambda _error: None,
    ) -> None:
        self._jobs = jobs
        self._period = period
        self._heard = heard
        self._runnable = _gauge(
            "runnable", f"Jobs whose time has come and that no worker has, by priority{_CAPPED}.", registry
        )
        self._oldest = _gauge(
            "oldest_runnable_seconds",
            f"For how long the oldest of these waits, by priority{_CAPPED}; 0 without any.",
            registry,
        )
        self._waiting = _gauge("waiting", "Jobs whose time has not come, by priority.", registry)
        self._in_progress = _gauge("in_progress", "Jobs that workers have, by priority.", registry)

    async def run(self) -> None:
        """Looks again and again until cancelled."""
        while True:
            try:
                self._show(await self._jobs.queue_stats(None))
            except StoreError as error:
                self._show({})
                self._heard(error)
            else:
                self._heard(None)
            await asyncio.sleep(self._period * (0.9 + 0.2 * random()))  # noqa: S311 - not a secret

    def _show(self, stats: Mapping[Priority, PriorityStats]) -> None:
        for priority in Priority:
            name, found = priority.name.lower(), stats.get(priority)
            oldest = None if found is None else found.oldest_runnable or 0.0
            self._runnable.labels(name).set(_NOTHING if found is None else found.runnable)
            self._oldest.labels(name).set(_NOTHING if oldest is None else max(0.0, oldest))
            self._waiting.labels(name).set(_NOTHING if found is None else found.waiting)
            self._in_progress.labels(name).set(_NOTHING if found is None else found.in_progress)


def _gauge(name: str, text: str, registry: CollectorRegistry | None) -> Gauge:
    return Gauge(
        f"eurouter_jobs_{name}",
        f"{text} {_SAME}",
        ("priority",),
        registry=registry,
        # Of several processes of one machine the one that looked last knows best.
        multiprocess_mode="livemostrecent",
    )
