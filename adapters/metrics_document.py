"""Every metric that a process may show, from the objects that make them, as docs/metrics.md.

`python -m adapters.metrics_document` writes the page. `metrics` is for who must know what exists, as tests of
alert rules and dashboards do. Nothing is counted here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from adapters.condition_telemetry import ConditionGauge, ReadyGauge
from adapters.intake_telemetry import PrometheusIntakeTelemetry, PrometheusWakeUpTelemetry
from adapters.media.telemetry import PrometheusMediaTelemetry
from adapters.otlp.exporting import SpanExporter
from adapters.otlp.sender import Sender
from adapters.process_telemetry import ProcessTelemetry
from adapters.queue_gauges import QueueGauges
from adapters.relay_telemetry import OutboxGauges, PrometheusRelayTelemetry
from adapters.telemetry import OUTCOMES_AT_PROVIDERS, PrometheusTelemetry
from adapters.worker_telemetry import OUTCOMES, PrometheusWorkerTelemetry

PAGE: Final = Path("docs/metrics.md")

_START: Final = """\
# Metrics

In Prometheus' text format at `/metrics` of the admin port: 9090 of `eurouter serve` (`admin.port`), 9091 of
`eurouter work` (`jobs.admin_port`). No label's values can be invented by callers.

Prometheus sees no growth in a series that begins above 0. What the alerts count is therefore shown as 0 before it
happens. Any other metric with labels is missing until something was counted: write rules so that it does no harm.

| metric | shown as 0 from | outcomes or reasons | series |
|---|---|---|---|
{zeros}
Together 342 series of `eurouter serve` with a key for every provider of the catalogue that ships, no Kafka and no
collector.

Endpoints that left the catalogue are shown until it has changed once more, so that servers which name new models
with each start don't fill memory. Of several serving processes (`processes`) their series stay until a restart.

Of counters take `sum(rate(...))` over replicas. Of gauges that tell of the whole database every replica shows the
same: take `max`. A histogram NAME is shown as `NAME_bucket` (with the label `le`), `NAME_sum` and `NAME_count`.

Alert rules and dashboards made of them stand in `deploy/kubernetes/components/monitoring`; what to do when an
alert fires, in [runbooks](runbooks/README.md).
"""

SHOWN_AS_ZERO: Final = (
    (
        "eurouter_requests_total",
        "the start",
        "`ok`, and our own faults; of methods that ask providers also those of providers and of our account",
        "5 a method, 13 of one that asks",
    ),
    (
        "eurouter_upstream_attempts_total",
        "when a catalogue is loaded in which a provider has a key and an endpoint",
        "`ok`, and the failures that say something of the provider",
        f"{len(OUTCOMES_AT_PROVIDERS)} a provider",
    ),
    ("eurouter_media_fetches_total", "the start", "`ok`, `unreachable`, `timeout`", "3 a kind"),
    ("eurouter_job_runs_total", "the worker's start", "all", str(len(OUTCOMES))),
    ("eurouter_intake_dead_letters_total", "the start, where Kafka is set", "all", "1 a reason"),
    ("eurouter_spans_dropped_total", "the start, where a collector is set", "all", "2"),
)
"""What is there before it was counted: its metric, since when, which of it, and how many series that is."""

_NOBODY: Final[Any] = None
"""In place of a database: who only makes a gauge asks none."""


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` as Prometheus shows it, of a histogram without its ends. `kind`: counter, gauge or histogram."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def series(self) -> Mapping[str, frozenset[str]]:
        """The names under which its numbers stand, each with its labels."""
        labels = frozenset(self.labels)
        if self.kind != "histogram":
            return {self.name: labels}
        return {f"{self.name}_bucket": labels | {"le"}, f"{self.name}_sum": labels, f"{self.name}_count": labels}


def _spans(registry: CollectorRegistry) -> None:
    """What counts spans is made with the thread that sends them, which ends at once."""
    sender = Sender("http://127.0.0.1", "traces", dict, lambda _event, _values: None)
    exporter = SpanExporter(sender, lambda _spans: b"", registry)
    exporter.stop()
    exporter.join(5.0)


_PARTS: Final[Mapping[str, tuple[Callable[[CollectorRegistry], object], ...]]] = {
    "Process": (lambda registry: ProcessTelemetry(registry, "0"), ConditionGauge, ReadyGauge),
    "Traces, where a collector is set": (_spans,),
    "Media that stand at addresses": (PrometheusMediaTelemetry,),
    "The queue of jobs": (lambda registry: QueueGauges(registry, _NOBODY),),
    "Workers": (PrometheusWorkerTelemetry,),
    "Kafka: intake": (PrometheusIntakeTelemetry,),
    "Kafka: wake-ups": (PrometheusWakeUpTelemetry,),
    "Kafka: results and dead letters": (
        PrometheusRelayTelemetry,
        lambda registry: OutboxGauges(registry, _NOBODY),
    ),
}


def metrics() -> Mapping[str, tuple[Metric, ...]]:
    """What there is, by part of the service."""
    found = {"Calls and attempts": tuple(_in(PrometheusTelemetry().registry))}
    for title, makers in _PARTS.items():
        registry = CollectorRegistry()
        for make in makers:
            make(registry)
        found[title] = tuple(_in(registry))
    return found


def _in(registry: CollectorRegistry) -> Iterator[Metric]:
    # The registry tells families only with their samples, and a family with labels has none yet.
    for collector in registry._collector_to_names:  # noqa: SLF001
        if isinstance(collector, MetricWrapperBase):
            (family,) = collector.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield Metric(name, family.type, tuple(collector._labelnames), family.documentation)  # noqa: SLF001


def page() -> str:
    """The whole page."""
    zeros = "".join(f"| `{name}` | {' | '.join(told)} |\n" for name, *told in SHOWN_AS_ZERO)
    return _START.replace("{zeros}", zeros) + "".join(_section(title, found) for title, found in metrics().items())


def _section(title: str, found: tuple[Metric, ...]) -> str:
    rows = "\n".join(
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} | {one.meaning} |"
        for one in found
    )
    return f"\n## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n{rows}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
