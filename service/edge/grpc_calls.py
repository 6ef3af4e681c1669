"""Runs one RPC: context, admission, errors to status, a log line and a measurement. Knows no method by name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, NoReturn, Protocol, TypeAlias, TypeVar, cast

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from grpc import aio

from service.domain import crash
from service.domain.calls import CallContext
from service.domain.errors import Reason, ServiceError
from service.domain.money import Cost
from service.domain.routing import Decision
from service.domain.tracing import Attributes, Tracer
from service.edge import log_events, spans
from service.edge.admission import Admission
from service.edge.calls import REQUEST_ID, Calls, request_id_of
from service.edge.grpc_errors import status_code, status_message, trailers

Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply", bound=Message)
# The router ends a call at its deadline by itself; what is left for here is a client that reads nothing.
_GRACE_SECONDS: Final = 1.0

RpcContext: TypeAlias = "aio.ServicerContext[Any, Any]"


@dataclass(frozen=True, slots=True)
class MethodName:
    """A method, as logs and metrics name it and as the wire does: `package.Service/Method`.

    `attributes` are those of its spans that are the same for every call.
    """

    short: str
    full: str
    attributes: Attributes = field(default_factory=dict)


def full_name(request_type: type[Message], method: str) -> MethodName:
    """The names of a method that takes this message, which stands in the file of its service."""
    for service in request_type.DESCRIPTOR.file.services_by_name.values():
        if method in service.methods_by_name:
            return MethodName(method, f"{service.full_name}/{method}")
    return MethodName(method, method)


@dataclass(frozen=True, slots=True)
class Rpc(Generic[Request]):
    """What a method's body gets: the request, the call's context and the transport's."""

    request: Request
    call: CallContext
    transport: RpcContext


class GrpcCalls:
    """Wraps method bodies for the server.

    `public`: no key is asked for (the catalogue). `certificates`: clients may show one, so it is looked at.
    `where`: what spans say of this door.
    """

    def __init__(
        self,
        calls: Calls,
        admission: Admission,
        *,
        public: bool = False,
        certificates: bool = False,
        tracer: Tracer | None = None,
        where: Attributes | None = None,
    ) -> None:
        self._calls = calls
        self._admission = admission
        self._public = public
        self._certificates = certificates
        self._tracer = tracer
        self._where = where or {}
        self._log = structlog.get_logger().bind()

    def unary(
        self,
        method: str,
        request_type: type[Request],
        body: Callable[[Rpc[Request]], Awaitable[Message]],
        *,
        asks: bool = False,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """A handler for a method with one answer; `asks`: it asks providers."""

        name = self._offer(request_type, method, asks=asks)

        async def handle(data: bytes, transport: RpcContext) -> Message | None:
            return await self._run(name, request_type, data, transport, body)

        return grpc.unary_unary_rpc_method_handler(handle, response_serializer=_serialize)

    def stream(
        self,
        method: str,
        request_type: type[Request],
        body: Callable[[Rpc[Request]], Awaitable[None]],
        *,
        asks: bool = False,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """A handler for a method that writes its answers to the transport itself; `asks`: it asks providers."""

        async def in_time(rpc: Rpc[Request]) -> None:
            # gRPC ends a call at its client's own deadline, in the middle of a write; at ours nobody else does.
            left = max(0.0, rpc.call.deadline - self._calls.clock())
            try:
                async with asyncio.timeout(left + _GRACE_SECONDS) as limit:
                    await body(rpc)
            except TimeoutError:
                if not limit.expired():
                    raise
                raise ServiceError(
                    Reason.DEADLINE_EXCEEDED, "the call's deadline passed while the client was waited for"
                ) from None

        name = self._offer(request_type, method, asks=asks)

        async def handle(data: bytes, transport: RpcContext) -> None:
            await self._run(name, request_type, data, transport, in_time)

        return grpc.unary_stream_rpc_method_handler(handle, response_serializer=_serialize)

    def _offer(self, request_type: type[Message], method: str, *, asks: bool) -> MethodName:
        self._admission.offer("grpc", method, asks=asks)
        name = full_name(request_type, method)
        return replace(name, attributes={**self._where, **_attributes(name.full)})

    async def _run(
        self,
        name: MethodName,
        request_type: type[Request],
        data: bytes,
        transport: RpcContext,
        body: Callable[[Rpc[Request]], Awaitable[Message | None]],
    ) -> Message | None:
        headers = metadata_of(transport)
        request_id = request_id_of(headers)
        outcome = "ok"
        started: float | None = None
        recorded: spans.CallSpan | None = None
        try:
            started = self._admission.enter(len(data))
            call = self._context(headers, request_id, transport)
            if self._tracer is not None:
                call, recorded = spans.begin(self._tracer, call, headers, name.full, name.attributes)
            return await body(Rpc(_parsed(request_type, data), call, transport))
        except ServiceError as error:
            outcome = error.reason.value
            failure = error
        except asyncio.CancelledError:
            interruption = self._admission.interruption()
            if interruption is None:
                outcome = (Reason.DEADLINE_EXCEEDED if _is_late(transport) else Reason.CANCELLED).value
                raise
            outcome = interruption.reason.value
            failure = interruption
        except Exception as error:  # noqa: BLE001  the last line before gRPC would show the message to the caller
            outcome = Reason.INTERNAL.value
            failure = ServiceError(Reason.INTERNAL, f"a fault of ours; quote request id {request_id}")
            self._log.error(
                log_events.REQUEST_CRASHED, method=name.short, request_id=request_id, **crash.describe(error)
            )
        finally:
            self._finish(name.short, outcome, request_id, started)
            if recorded is not None:
                spans.end_grpc(recorded, outcome)
        return await _abort(transport, failure, request_id)

    def _context(self, headers: Mapping[str, str], request_id: str, transport: RpcContext) -> CallContext:
        return self._calls.context(
            headers,
            request_id,
            "grpc",
            remaining=transport.time_remaining(),
            certificate_names=_certificate_names(transport) if self._certificates else (),
            public=self._public,
        )

    def _finish(self, method: str, outcome: str, request_id: str, started: float | None) -> None:
        seconds = self._admission.leave("grpc", method, outcome, started)
        self._log.info(
            log_events.REQUEST_FINISHED,
            method=method,
            outcome=outcome,
            request_id=request_id,
            ms=round(seconds * 1000, 2),
        )


def _attributes(method: str) -> Attributes:
    """https://opentelemetry.io/docs/specs/semconv/rpc/grpc/."""
    return {"rpc.system.name": "grpc", "rpc.method": method}


async def _abort(transport: RpcContext, error: ServiceError, request_id: str) -> NoReturn:
    details = (*trailers(error, request_id), (REQUEST_ID, request_id))
    await transport.abort(status_code(error), status_message(error), details)
    raise AssertionError("abort raises")


def _parsed(message_type: type[Request], data: bytes) -> Request:
    """The request. Here, not by gRPC: what is refused is never parsed, and gRPC's own error would be INTERNAL.

    Raises:
        ServiceError: MALFORMED_BODY.
    """
    try:
        return message_type.FromString(data)
    except DecodeError:
        expected = message_type.DESCRIPTOR.full_name
        text = f"the request's bytes are no {expected}: regenerate the client from our protos"
        raise ServiceError(Reason.MALFORMED_BODY, text) from None


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def decision_metadata(rpc: Rpc[Any], decision: Decision, cost: Cost | None = None) -> tuple[tuple[str, str], ...]:
    """How a call's endpoint was chosen, as metadata; at the end also what its answer costs, if that is known."""
    told = ((REQUEST_ID, rpc.call.request_id), *decision.headers())
    return told if cost is None else (*told, *cost.headers())


class Batches(Protocol):
    """Messages as they come."""

    async def next(self) -> Sequence[Message]:
        """The next ones; empty after the last."""
        ...


async def write_all(transport: RpcContext, source: Batches) -> None:
    """Writes messages as they come, to the last.

    Raises:
        ServiceError: the client left; or as the source does.
    """
    while batch := await source.next():
        try:
            for message in batch:
                await transport.write(message)
        except aio.InternalError:
            raise _client_left(transport) from None


def _client_left(transport: RpcContext) -> ServiceError:
    """What a write that failed means: gRPC notices in its midst that nobody reads, and cancels the call after."""
    reason = Reason.DEADLINE_EXCEEDED if _is_late(transport) else Reason.CANCELLED
    return ServiceError(reason, "the client left before the answer was complete")


def _is_late(transport: RpcContext) -> bool:
    """Whether a cancelled call was cancelled because its own deadline passed; timers may fire a little early."""
    # None for a call without a deadline, whatever the stubs say.
    remaining = cast("float | None", transport.time_remaining())
    return remaining is not None and remaining < 0.01


def metadata_of(transport: RpcContext) -> dict[str, str]:
    """What came with the call as metadata; what came twice under one key is joined, as HTTP does it."""
    found: dict[str, str] = {}
    for key, value in transport.invocation_metadata() or ():
        # Keys are lower case on the wire; values of "-bin" keys are bytes and of no use here.
        if isinstance(value, str):
            found[key] = f"{found[key]}, {value}" if key in found else value
    return found


def _certificate_names(transport: RpcContext) -> tuple[str, ...]:
    auth = transport.auth_context()
    if not auth:
        return ()
    names = (*auth.get("x509_subject_alternative_name", ()), *auth.get("x509_common_name", ()))
    return tuple(name.decode(errors="replace") for name in names)
