"""The span of a call at either door, from the moment that it is known who calls until its last byte.

A call that is refused before that has none: nobody unknown can have anything recorded.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextvars import Token
from dataclasses import dataclass, replace
from typing import Final

from service.domain.calls import CallContext
from service.domain.errors import ERRORS, Reason
from service.domain.tracing import (
    TRACEPARENT,
    TRACESTATE,
    Attributes,
    Kind,
    Span,
    Tracer,
    current,
    is_fault,
    remote_of,
    unsampled,
)

OK: Final = "ok"
REQUEST: Final = "eurouter.request.id"

_EVERYWHERE: Final = frozenset({"0.0.0.0", "::", "[::]", "0:0:0:0:0:0:0:0"})  # noqa: S104  compared with, not bound


@dataclass(frozen=True, slots=True)
class CallSpan:
    """The span of a call that is recorded, and how log lines stop to name it."""

    span: Span
    token: Token[Span | None]


def server(host: str, port: int) -> Attributes:
    """What a door is called by: the address that it listens on, or this machine's name where it listens on all.

    From the settings: what callers call it is the callers' text, and gRPC's server does not show it. Port 0, which
    takes a free one, is left out. https://opentelemetry.io/docs/specs/semconv/rpc/grpc/#server-span.
    """
    address = socket.gethostname() if host in _EVERYWHERE else host.strip("[]")
    return {"server.address": address, "server.port": port} if port else {"server.address": address}


def begin(
    tracer: Tracer, call: CallContext, headers: Mapping[str, str], name: str, attributes: Attributes
) -> tuple[CallContext, CallSpan | None]:
    """The call as it goes on, below a span if it is recorded; without one, it says so to whom it calls."""
    caller = remote_of(headers.get(TRACEPARENT), headers.get(TRACESTATE))
    if not tracer.samples(caller):
        return replace(call, traceparent=unsampled(call.traceparent)), None
    span = tracer.start(name, Kind.SERVER, {**attributes, REQUEST: call.request_id}, parent=caller)
    below = replace(call, span=span, traceparent=span.traceparent, tracestate=span.tracestate)
    return below, CallSpan(span, current.set(span))


def end_grpc(recorded: CallSpan, outcome: str) -> None:
    """The call is over; `outcome` is ok or a Reason's value."""
    code = "OK" if outcome == OK else ERRORS[Reason(outcome)].grpc
    recorded.span.set("rpc.response.status_code", code)
    _end(recorded, outcome)


def end_http(recorded: CallSpan, outcome: str, status: int | None) -> None:
    """The call is over; `status` is what its client was told, None: nothing."""
    if status is not None:
        recorded.span.set("http.response.status_code", status)
    _end(recorded, outcome)


def _end(recorded: CallSpan, outcome: str) -> None:
    if outcome != OK:
        # By its reason, not by its status: what fails after a stream's headers are out keeps their 200.
        recorded.span.fail(outcome, fault=is_fault(Reason(outcome)))
    recorded.span.end()
    # The next call of a connection runs in the same task.
    current.reset(recorded.token)
