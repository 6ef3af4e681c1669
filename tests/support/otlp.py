"""A collector that speaks OTLP over HTTP, and what it got, easy to ask.

async with Collector() as collector:
    ...
    (call,) = await collector.named("POST /v1/chat/completions")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.running import until


@dataclass(frozen=True, slots=True)
class Seen:
    """A span as it arrived; ids are hexadecimal, `link` is the trace's and the span's, both "" without one."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    link: tuple[str, str]
    attributes: dict[str, Any]
    events: tuple[str, ...]
    is_error: bool
    started: int
    ended: int
    tracestate: str
    resource: dict[str, Any]

    @property
    def traceparent(self) -> str:
        """The header that names it."""
        return f"00-{self.trace_id}-{self.span_id}-01"


class Collector:
    """Listens on a free port of loopback. `status` is what it answers; `bodies` is all that it was sent.

    Of every message that it takes it says that it rejects `rejects` spans or points, and `complaint` of them;
    `answers` are the headers of its answers, `raw` is their body in place of OTLP's.
    """

    def __init__(self) -> None:
        self.status = 200
        self.rejects = 0
        self.complaint = ""
        self.raw: bytes | None = None
        self.answers: dict[str, str] = {}
        self.spans: list[Seen] = []
        self.metrics: dict[str, Metric] = {}
        self.resource: dict[str, Any] = {}
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.port = 0

    @property
    def url(self) -> str:
        """As the settings name it."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/traces", self._traces)
        app.router.add_post("/v1/metrics", self._metrics)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def named(self, name: str, count: int = 1, seconds: float = 10.0) -> list[Seen]:
        """The spans of this name, once there are so many, in the order of their beginning."""

        def found() -> list[Seen]:
            return sorted((span for span in self.spans if span.name == name), key=lambda span: span.started)

        await until(lambda: len(found()) >= count, f"{count} spans {name!r}; there are {self.names}", seconds)
        assert len(found()) == count, [span.attributes for span in found()]
        return found()

    @property
    def names(self) -> list[str]:
        """The names of all spans."""
        return [span.name for span in self.spans]

    def below(self, span: Seen) -> list[Seen]:
        """The spans whose parent it is, in the order of their beginning."""
        found = [each for each in self.spans if each.parent_id == span.span_id and each.trace_id == span.trace_id]
        return sorted(found, key=lambda each: each.started)

    async def _traces(self, request: web.Request) -> web.Response:
        body = await self._taken(request)
        if self.status == 200:
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = _values(group.resource.attributes)
                for scope in group.scope_spans:
                    self.spans += [_seen(span, resource) for span in scope.spans]
        told = ExportTraceServiceResponse()
        if self.rejects:
            told.partial_success.rejected_spans = self.rejects
            told.partial_success.error_message = self.complaint
        return self._answer(told.SerializeToString())

    async def _metrics(self, request: web.Request) -> web.Response:
        body = await self._taken(request)
        if self.status == 200:
            for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.resource = _values(group.resource.attributes)
                for scope in group.scope_metrics:
                    self.metrics |= {metric.name: metric for metric in scope.metrics}
        told = ExportMetricsServiceResponse()
        if self.rejects:
            told.partial_success.rejected_data_points = self.rejects
            told.partial_success.error_message = self.complaint
        return self._answer(told.SerializeToString())

    def _answer(self, body: bytes) -> web.Response:
        headers = {"content-type": "application/x-protobuf", **self.answers}
        body = body if self.raw is None else self.raw
        return web.Response(status=self.status, body=body if self.status == 200 else b"", headers=headers)

    async def _taken(self, request: web.Request) -> bytes:
        body = await request.read()
        self.bodies.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        return body


def _seen(span: Span, resource: dict[str, Any]) -> Seen:
    (link,) = [(each.trace_id.hex(), each.span_id.hex()) for each in span.links] or [("", "")]
    return Seen(
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        link=link,
        attributes=_values(span.attributes),
        events=tuple(event.name for event in span.events),
        is_error=span.status.code == Status.STATUS_CODE_ERROR,
        started=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        tracestate=span.trace_state,
        resource=resource,
    )


def _values(pairs: Sequence[Any]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, str(kind))


def tree(spans: Sequence[Seen]) -> str:
    """Spans as an indented text, with their attributes: what a person would look at."""
    known = {span.span_id for span in spans}
    lines: list[str] = []

    def tell(span: Seen, depth: int) -> None:
        pad = "  " * depth
        milliseconds = (span.ended - span.started) / 1e6
        lines.append(f"{pad}{span.name}  [{span.kind}] {milliseconds:.2f} ms{'  ERROR' if span.is_error else ''}")
        above = f" parent={span.parent_id}" if span.parent_id else ""
        lines.append(f"{pad}  trace={span.trace_id} span={span.span_id}{above}")
        if span.link[0]:
            lines.append(f"{pad}  link -> trace={span.link[0]} span={span.link[1]}")
        lines.extend(f"{pad}  {name} = {value}" for name, value in span.attributes.items())
        lines.extend(f"{pad}  event {name}" for name in span.events)
        for below in sorted(spans, key=lambda each: each.started):
            if below.parent_id == span.span_id:
                tell(below, depth + 1)

    for span in sorted(spans, key=lambda each: each.started):
        if span.parent_id not in known:
            tell(span, 0)
    return "\n".join(lines)
