"""The spans of what a relay publishes for jobs that are recorded: each stands in the trace that its message names.

https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/. The header of a message stays what it is:
it was promised to whoever submitted the job, and a message that goes out twice is the same twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from service.domain.outbox import OutboxKind, OutboxRow
from service.domain.publishing import Delivery, Message
from service.domain.tracing import TRACEPARENT, Attributes, Kind, Remote, Tracer, remote_of

_SENDS: Final = "send"


class SendSpans:
    """Tells of batches; without a tracer of none."""

    def __init__(self, tracer: Tracer | None) -> None:
        self._tracer = tracer

    def begin(self) -> int:
        """When a batch begins to go out."""
        return 0 if self._tracer is None else self._tracer.now()

    def ended(
        self, batch: Sequence[tuple[OutboxRow, Message]], deliveries: Sequence[Delivery], since: int
    ) -> None:
        """What became of a batch that began to go out at `since`."""
        tracer = self._tracer
        if tracer is None:
            return
        for (row, message), delivery in zip(batch, deliveries, strict=True):
            named = _named(message)
            if named is None or not _is_recorded(tracer, named, row.record.kind):
                continue
            span = tracer.start(
                f"{_SENDS} {message.topic}", Kind.PRODUCER, _attributes(message), parent=named, since=since
            )
            if delivery is not Delivery.SENT:
                span.fail(delivery.value)
            span.end()


def _is_recorded(tracer: Tracer, named: Remote, kind: OutboxKind) -> bool:
    """A dead letter has its submitter's own header, all others have ours, which say what was decided."""
    return tracer.samples(named) if kind is OutboxKind.DEAD_LETTER else named.sampled


def _named(message: Message) -> Remote | None:
    """The span that a message's header names."""
    for name, value in message.headers:
        if name == TRACEPARENT and value:
            return remote_of(value.decode(errors="replace"))
    return None


def _attributes(message: Message) -> Attributes:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": _SENDS,
        "messaging.operation.type": _SENDS,
        "messaging.destination.name": message.topic,
        "messaging.message.body.size": len(message.value or b""),
        "messaging.kafka.message.tombstone": message.value is None,
    }
