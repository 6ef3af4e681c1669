"""Spans and Prometheus' families as OTLP's messages. Pure.

https://opentelemetry.io/docs/specs/otlp/; metrics under the names that /metrics shows, as
https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/ says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Final, TypeAlias

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from adapters.otlp.spans import RecordedSpan
from service.domain.tracing import SAMPLED, Attributes

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

SCHEMA: Final = "https://opentelemetry.io/schemas/1.44.0"
SCOPE: Final = "eurouter"

_UNITS: Final = {"seconds": "s", "bytes": "By", "ratio": "1"}
_Pairs: TypeAlias = "RepeatedCompositeFieldContainer[KeyValue]"
_HAS_REMOTE: Final = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_IS_REMOTE: Final = SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


def resource_of(attributes: Attributes) -> Resource:
    """Who sends."""
    made = Resource()
    _put(made.attributes, attributes)
    return made


def spans_request(resource: Resource, version: str, spans: Iterable[RecordedSpan]) -> bytes:
    """An ExportTraceServiceRequest."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add(resource=resource, schema_url=SCHEMA)
    scope = group.scope_spans.add(scope=InstrumentationScope(name=SCOPE, version=version), schema_url=SCHEMA)
    for span in spans:
        _span(span, scope.spans.add())
    return request.SerializeToString()


def _span(span: RecordedSpan, made: Span) -> None:
    made.trace_id = bytes.fromhex(span.trace_id)
    made.span_id = bytes.fromhex(span.span_id)
    made.parent_span_id = bytes.fromhex(span.parent_id)
    made.trace_state = span.tracestate
    made.name = span.name
    made.kind = Span.SpanKind.ValueType(span.kind)
    made.start_time_unix_nano = span.started
    made.end_time_unix_nano = span.ended
    made.flags = SAMPLED | _HAS_REMOTE | (_IS_REMOTE if span.parent_is_remote else 0)
    _put(made.attributes, span.attributes)
    for at, name in span.events:
        made.events.add(time_unix_nano=at, name=name)
    if span.link is not None:
        made.links.add(
            trace_id=bytes.fromhex(span.link.trace_id),
            span_id=bytes.fromhex(span.link.span_id),
            trace_state=span.link.tracestate,
            flags=span.link.flags | _HAS_REMOTE | _IS_REMOTE,
        )
    if span.fault:
        made.status.code = Status.STATUS_CODE_ERROR


def _put(pairs: _Pairs, attributes: Attributes) -> None:
    """Adds attributes to a message, in place: made apart and copied they would cost twice as much."""
    for name, value in attributes.items():
        pair = pairs.add()
        pair.key = name
        # bool before int, which it is one of.
        if isinstance(value, str):
            # A lone surrogate, which no UTF-8 has, would be the end of its whole batch.
            pair.value.string_value = value if value.isascii() else value.encode(errors="replace").decode()
        elif isinstance(value, bool):
            pair.value.bool_value = value
        elif isinstance(value, int):
            pair.value.int_value = value
        elif isinstance(value, float):
            pair.value.double_value = value
        else:
            for each in value:
                pair.value.array_value.values.add(string_value=each)


def metrics_request(resource: Resource, version: str, families: Iterable[Metric], started: int, now: int) -> bytes:
    """An ExportMetricsServiceRequest of cumulative figures; both times in nanoseconds since 1970."""
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add(resource=resource, schema_url=SCHEMA)
    scope = group.scope_metrics.add(scope=InstrumentationScope(name=SCOPE, version=version), schema_url=SCHEMA)
    for family in families:
        made = _metric(family, started, now)
        if made is not None:
            scope.metrics.append(made)
    return request.SerializeToString()


def _metric(family: Metric, started: int, now: int) -> pb.Metric | None:
    if family.type == "histogram":
        points = [_histogram(labels, samples, started, now) for labels, samples in _by_labels(family)]
        made = pb.Metric(name=family.name)
        made.histogram.aggregation_temporality = pb.AGGREGATION_TEMPORALITY_CUMULATIVE
        made.histogram.data_points.extend(points)
    elif family.type == "counter":
        counted = [sample for sample in family.samples if sample.name.endswith("_total")]
        made = pb.Metric(name=f"{family.name}_total")
        made.sum.aggregation_temporality = pb.AGGREGATION_TEMPORALITY_CUMULATIVE
        made.sum.is_monotonic = True
        points_of_sum = [_number(sample, now) for sample in counted]
        for point in points_of_sum:
            point.start_time_unix_nano = started
        made.sum.data_points.extend(points_of_sum)
        points = points_of_sum  # type: ignore[assignment]
    else:
        shown = [_number(sample, now) for sample in family.samples if sample.name == family.name]
        made = pb.Metric(name=family.name)
        made.gauge.data_points.extend(shown)
        points = shown  # type: ignore[assignment]
    made.description = family.documentation
    made.unit = _unit(family.name)
    return made if points else None


def _unit(name: str) -> str:
    return next((unit for word, unit in _UNITS.items() if name.endswith(f"_{word}")), "")


def _by_labels(family: Metric) -> Iterable[tuple[Mapping[str, str], Sequence[Sample]]]:
    """The samples of each histogram of a family, with its labels."""
    found: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in family.samples:
        labels = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        found.setdefault(labels, []).append(sample)
    return [(dict(labels), samples) for labels, samples in found.items()]


def _histogram(
    labels: Mapping[str, str], samples: Sequence[Sample], started: int, now: int
) -> pb.HistogramDataPoint:
    """One histogram: Prometheus' buckets hold what is in all below, OTLP's do not."""
    point = pb.HistogramDataPoint(start_time_unix_nano=started, time_unix_nano=now)
    _put(point.attributes, labels)
    below = 0
    buckets = sorted((float(s.labels["le"]), int(s.value)) for s in samples if s.name.endswith("_bucket"))
    for bound, upto in buckets:
        if bound != inf:
            point.explicit_bounds.append(bound)
        point.bucket_counts.append(upto - below)
        below = upto
    point.count = below
    point.sum = sum(s.value for s in samples if s.name.endswith("_sum"))
    return point


def _number(sample: Sample, now: int) -> pb.NumberDataPoint:
    point = pb.NumberDataPoint(time_unix_nano=now, as_double=sample.value)
    _put(point.attributes, sample.labels)
    return point
