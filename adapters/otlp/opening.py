"""A process's tracer and what sends for it, from options to `aclose`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Final
from urllib.parse import unquote

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from adapters.otlp.encode import metrics_request, resource_of, spans_request
from adapters.otlp.exporting import MetricsExporter, SpanExporter
from adapters.otlp.sender import Report, Sender
from adapters.otlp.spans import OtlpTracer

FLUSH_SECONDS: Final = 2.0
"""For which a process that ends waits for its last spans and figures to leave."""


@dataclass(frozen=True, slots=True)
class OtlpOptions:
    """Where to send and what. `endpoint` is a URL; /v1/traces and /v1/metrics are below it.

    `headers` gives those of a message. `ratio` (None: no traces) and `trust` are OtlpTracer's. `interval` in
    seconds; None: no metrics. `gather`: seconds for which spans wait for others.
    """

    endpoint: str
    headers: Callable[[], Mapping[str, str]] = dict
    ca_file: str | None = None
    ratio: float | None = 1.0
    trust: bool = True
    interval: float | None = None
    gather: float = 1.0


@dataclass(frozen=True, slots=True)
class Otlp:
    """What a process sends by; close it when nothing ends spans any more. `tracer` None: no traces are wanted."""

    tracer: OtlpTracer | None
    exporters: Sequence[SpanExporter | MetricsExporter] = field(default=())

    async def aclose(self) -> None:
        """Has what is left sent, for FLUSH_SECONDS at most."""
        for exporter in self.exporters:
            exporter.stop()
        until = monotonic() + FLUSH_SECONDS
        for exporter in self.exporters:
            await asyncio.to_thread(exporter.join, max(0.0, until - monotonic()))


def open_otlp(
    options: OtlpOptions,
    attributes: Mapping[str, str],
    *,
    registry: CollectorRegistry | None,
    collect: Callable[[], Iterable[Metric]],
    report: Report,
) -> Otlp:
    """Begins to send; the threads are this process's own.

    `attributes` say who sends, with `service.version` among them. The exporters count in `registry`; `collect`
    gives the metrics that are sent.

    Raises:
        OSError: the CA file can't be read or holds no certificate.
    """
    resource, version = resource_of(attributes), attributes["service.version"]

    def sender(signal: str) -> Sender:
        return Sender(options.endpoint, signal, options.headers, report, ca_file=options.ca_file)

    tracer = None
    exporters: list[SpanExporter | MetricsExporter] = []
    if options.ratio is not None:
        encode = partial(spans_request, resource, version)
        spans = SpanExporter(sender("traces"), encode, registry, gather=options.gather)
        tracer = OtlpTracer(spans.offer, ratio=options.ratio, trust=options.trust)
        exporters.append(spans)
    if options.interval is not None:
        encode_metrics = partial(metrics_request, resource, version)
        exporters.append(MetricsExporter(sender("metrics"), encode_metrics, collect, interval=options.interval))
    return Otlp(tracer, exporters)


def who(version: str, instance: str, env: Mapping[str, str]) -> dict[str, str]:
    """The attributes of who sends: ours, and over them OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME.

    https://opentelemetry.io/docs/specs/otel/resource/sdk/#specifying-resource-information-via-an-environment-variable.
    """
    found = {"service.name": "eurouter", "service.version": version, "service.instance.id": instance}
    for pair in env.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        name, equals, value = pair.partition("=")
        if equals and name.strip():
            found[name.strip()] = unquote(value.strip())
    if name := env.get("OTEL_SERVICE_NAME", "").strip():
        found["service.name"] = name
    return found
