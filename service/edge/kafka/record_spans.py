"""The spans of the records of one batch: each stands in its submitter's trace, and becomes what its job points to.

https://opentelemetry.io/docs/specs/semconv/messaging/kafka/. Keys and headers of records stay out of them. A
record that can't be read as a request has none: nobody knows yet whose it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from service.domain.calls import CallContext
from service.domain.consuming import Record
from service.domain.tracing import Attributes, Kind, Remote, Span, Tracer, unsampled
from service.edge.kafka.rejections import Rejection

OUTCOME: Final = "eurouter.record.outcome"


class RecordSpans:
    """Spans between `begin` and `end` of each record, `group` being who reads them; without a tracer none."""

    __slots__ = ("_group", "_open", "_tracer")

    def __init__(self, tracer: Tracer | None, group: str) -> None:
        self._tracer = tracer
        self._group = group
        self._open: dict[tuple[str, int, int], Span] = {}

    def begin(self, record: Record, caller: Remote | None, context: CallContext) -> CallContext:
        """The context of the call that accepts the record; `caller` is the span that its headers name."""
        tracer = self._tracer
        if tracer is None:
            return context
        if not tracer.samples(caller):
            return replace(context, traceparent=unsampled(context.traceparent))
        span = tracer.start(f"process {record.topic}", Kind.CONSUMER, self._attributes(record), parent=caller)
        span.set("eurouter.request.id", context.request_id)
        self._open[_place(record)] = span
        return replace(context, span=span, traceparent=span.traceparent, tracestate=span.tracestate)

    def accepted(self, record: Record, response_id: str, *, repeated: bool) -> None:
        """It is a job, or was one before."""
        span = self._open.pop(_place(record), None)
        if span is not None:
            span.set("eurouter.response.id", response_id)
            span.set(OUTCOME, "repeated" if repeated else "accepted")
            span.end()

    def rejected(self, record: Record, reason: str) -> None:
        """It is a dead letter; whose fault that is says the reason."""
        span = self._open.pop(_place(record), None)
        if span is not None:
            span.set(OUTCOME, "rejected")
            span.fail(reason, fault=reason == Rejection.INTERNAL)
            span.end()

    def close(self) -> None:
        """The batch is over: what is left will be handed in again."""
        for span in self._open.values():
            span.set(OUTCOME, "later")
            span.end()
        self._open.clear()

    def _attributes(self, record: Record) -> Attributes:
        return {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": record.topic,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "messaging.consumer.group.name": self._group,
        }


def _place(record: Record) -> tuple[str, int, int]:
    return (record.topic, record.partition, record.offset)
