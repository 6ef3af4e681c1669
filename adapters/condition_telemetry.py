"""Whether a process is ready, and what is wrong with it, as Prometheus gauges; the sentences are in the log and at
/readyz, never here."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from adapters.condition_text import CONDITION, CONDITION_HELP, READY, READY_HELP


class ConditionGauge:
    """One number for each part of a process. `registry` None: in the files of several processes."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._registry = registry
        self._gauge = Gauge(
            CONDITION,
            CONDITION_HELP,
            ("part",),
            registry=registry,
            # Of several processes of one machine the worst counts.
            multiprocess_mode="livemin",
        )

    def show(self, part: str, good: bool) -> None:
        """How a part is from now on."""
        self._gauge.labels(part).set(int(good))

    def render(self) -> bytes:
        """Its registry's metrics in Prometheus' text format; none where it writes into files."""
        return b"" if self._registry is None else generate_latest(self._registry)


class ReadyGauge:
    """One number for the whole process, 0 at first. `registry` None: in the files of several processes.

    Of several processes of one machine only the parent has one, as it alone knows whether enough of them serve.
    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._gauge = Gauge(
            READY,
            READY_HELP,
            registry=registry,
            # Not "live...": the parent's values of those are forgotten once it has waited.
            multiprocess_mode="mostrecent",
        )

    def show(self, ready: bool) -> None:
        """How it is from now on."""
        self._gauge.set(int(ready))
