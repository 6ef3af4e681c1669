"""Prometheus metrics of the process itself: its version and start, its event loop, its certificates, and which
endpoints it gives a rest.

What its work comes to is counted in the other telemetries. No path and no subject of a certificate is a label.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cryptography import x509
from prometheus_client import CollectorRegistry, Gauge, Histogram

from adapters.endpoint_series import ShownEndpoints
from service.domain.catalog import Catalog
from service.domain.failure import FailureKind

PERIOD: Final = 60.0
"""Seconds between two looks at certificates: they change by the month."""

_COOLING_PERIOD: Final = 2.0
"""The shortest cool-down is 5 seconds."""

_LAG_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_NOTHING: Final = float("nan")


class ProcessTelemetry:
    """One per process; `registry` None: in the files of several processes. `now` gives Unix seconds."""

    def __init__(
        self, registry: CollectorRegistry | None, version: str, *, now: Callable[[], float] = time.time
    ) -> None:
        build = Gauge(
            "eurouter_build_info",
            "1, with the version that runs.",
            ("version",),
            registry=registry,
            multiprocess_mode="max",
        )
        build.labels(version).set(1)
        # Of several processes the youngest: a child that ends again and again is seen by that.
        started = Gauge(
            "eurouter_start_time_seconds",
            "When the process began, in Unix seconds; of several processes the youngest.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        started.set(now())
        self._lag = Histogram(
            "eurouter_event_loop_lag_seconds",
            "How late the event loop wakes a timer of 20 ms, in seconds. 20 ms late on average: it is behind for "
            "half of the time.",
            registry=registry,
            buckets=_LAG_BUCKETS,
        )
        self._cooling = Gauge(
            "eurouter_endpoint_cooling",
            "1 while the process gives an endpoint a rest after failures, by the kind of the one that it lasts "
            "for; 0 once it was over; missing: never.",
            ("endpoint", "kind"),
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._expiry = Gauge(
            "eurouter_certificate_expiry_seconds",
            "When the certificate in a door's file ends, in Unix seconds. NaN while the file can't be read.",
            ("door",),
            registry=registry,
            multiprocess_mode="livemin",
        )
        # The files of several processes can't lose a series.
        self._drops = registry is not None
        self._shown = ShownEndpoints()
        self._ever: set[tuple[str, FailureKind]] = set()
        self._cooled: set[tuple[str, FailureKind]] = set()

    def loop_lag(self, seconds: float) -> None:
        """The event loop woke a timer so late."""
        self._lag.observe(seconds)

    def cooling(self, endpoints: Mapping[str, FailureKind]) -> None:
        """These endpoints rest now, each after a failure of this kind, and no others."""
        now = set(endpoints.items())
        for endpoint, kind in now - self._cooled:
            self._cooling.labels(endpoint, kind.value).set(1)
        for endpoint, kind in self._cooled - now:
            self._cooling.labels(endpoint, kind.value).set(0)
        self._cooled = now
        self._ever |= now

    def declare(self, catalog: Catalog) -> None:
        """This catalogue is in force now: the series of endpoints that left go."""
        if not self._drops:
            return
        shown = self._shown.of(catalog)
        for gone in [each for each in self._ever if each[0] not in shown]:
            self._cooling.remove(gone[0], gone[1].value)
            self._ever.discard(gone)
            self._cooled.discard(gone)

    async def watch_cooling(self, resting: Callable[[], Mapping[str, FailureKind]]) -> None:
        """Shows again and again what `resting` gives, until cancelled."""
        while True:
            self.cooling(resting())
            await asyncio.sleep(_COOLING_PERIOD)

    async def watch_certificates(self, doors: Mapping[str, Path], *, period: float = PERIOD) -> None:
        """Shows again and again when the certificate of each door's file ends, until cancelled."""
        while True:
            for door, path in doors.items():
                self._expiry.labels(door).set(await asyncio.to_thread(expiry, path))
            await asyncio.sleep(period)


def expiry(path: Path) -> float:
    """When the first certificate of a PEM file ends, in Unix seconds; NaN where none can be read.

    The first is the door's own, those after it its issuers'. RFC 5280, section 4.1.2.5: notAfter.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        # Whoever uses the file reports what is wrong with it.
        return _NOTHING
