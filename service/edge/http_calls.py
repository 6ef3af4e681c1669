"""Runs one HTTP call: context, admission, time limit, errors to answers, a log line and a measurement.

Knows no route.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import orjson
import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict

from service.api.responses.ids import is_response_id
from service.domain import crash
from service.domain.calls import CallContext
from service.domain.errors import Reason, ServiceError
from service.domain.tracing import TRACEPARENT, TRACESTATE, Attributes, Tracer
from service.edge import http_errors, log_events, spans
from service.edge.admission import Admission
from service.edge.calls import Calls, request_id_of

# The router ends a call at its deadline by itself; what is left for here is a client that sends or reads nothing.
_GRACE_SECONDS: Final = 1.0


@dataclass(slots=True)
class HttpCall:
    """What a route's body gets: the request and the call's context; `weigh` is told how large the request is.

    A body that streams sets `stream` once the headers are out: from then on errors are told in the stream, in
    the words of `tell` where the body has its own.
    """

    request: web.Request
    call: CallContext
    stream: web.StreamResponse | None = None
    tell: Callable[[ServiceError], bytes] | None = None
    weigh: Callable[[int], None] = lambda _size: None

    async def read(self) -> bytes:
        """The request's body, decompressed. It is weighed as it comes: one that never ends counts, too.

        Raises:
            ServiceError: BODY_TOO_LARGE, MALFORMED_BODY when it is not what its headers announce, OVERLOADED when
                it is more than they announce and there is no room for that.
        """
        body = bytearray()
        try:
            await self._read_into(body)
        except ServiceError:
            # The error's traceback holds this frame until the garbage collector comes by.
            body.clear()
            raise
        return bytes(body)

    async def _read_into(self, body: bytearray) -> None:
        limit = self.request._client_max_size  # noqa: SLF001  aiohttp names the limit nowhere else
        try:
            # Not `request.read()`: that unpacks up to `limit` bytes before anybody can weigh them.
            while piece := await self.request.content.readany():
                body += piece
                if len(body) > limit:
                    raise ServiceError(
                        Reason.BODY_TOO_LARGE,
                        f"the body is larger than {limit} bytes: send less or raise http.max_body_bytes",
                    )
                self.weigh(len(body))
        except (web.RequestPayloadError, HttpProcessingError):
            raise ServiceError(
                Reason.MALFORMED_BODY,
                "the body can't be read: it must be as its content-encoding and transfer-encoding say",
            ) from None


Body = Callable[[HttpCall], Awaitable[web.StreamResponse]]


class HttpCalls:
    """Wraps route bodies. `where`: what spans say of this door."""

    def __init__(
        self,
        calls: Calls,
        admission: Admission,
        tracer: Tracer | None = None,
        where: Attributes | None = None,
    ) -> None:
        self._calls = calls
        self._admission = admission
        self._tracer = tracer
        self._where = where or {}
        self._log = structlog.get_logger().bind()

    def route(
        self, method: str, body: Body, *, public: bool = False, asks: bool = False
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """A handler for a route; `method` names it in logs and metrics.

        `public`: no key is asked for. `asks`: it asks providers.
        """
        self._admission.offer("http", method, asks=asks)

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._run(method, body, request, public=public)

        return handle

    async def _run(self, method: str, body: Body, request: web.Request, *, public: bool) -> web.StreamResponse:
        request_id = request_id_of(request.headers)
        outcome = "ok"
        started: float | None = None
        http: HttpCall | None = None
        recorded: spans.CallSpan | None = None
        answer: web.StreamResponse | None = None
        try:
            try:
                started = self._admission.enter(_announced(request))
                names, headers = _certificate_names(request), _headers(request)
                call = self._calls.context(headers, request_id, "http", certificate_names=names, public=public)
                if self._tracer is not None and not public:
                    name, attributes = _span_of(request)
                    call, recorded = spans.begin(self._tracer, call, headers, name, {**self._where, **attributes})
                http = HttpCall(request, call, weigh=self._admission.weigh)
                answer = await self._in_time(body, http)
                return answer  # noqa: TRY300  what the span is told must be known below
            except ConnectionError:
                raise
            except asyncio.CancelledError:
                interruption = self._admission.interruption()
                if interruption is None:
                    raise
                failure = interruption
            except Exception as error:  # noqa: BLE001  the last line before aiohttp would answer with a text page
                failure = self._failure(error, method, request_id)
            outcome = failure.reason.value
            if http is not None and http.stream is not None:
                return await _tell(http.stream, _told(http, failure, request_id))
            answer = _answer(request, failure, request_id)
            return answer  # noqa: TRY300
        except (asyncio.CancelledError, ConnectionError):
            if outcome == "ok":
                outcome = Reason.CANCELLED.value
            raise
        finally:
            self._finish(method, outcome, request_id, started)
            if recorded is not None:
                if answer is None and http is not None:
                    answer = http.stream
                spans.end_http(recorded, outcome, None if answer is None else answer.status)

    async def _in_time(self, body: Body, http: HttpCall) -> web.StreamResponse:
        left = max(0.0, http.call.deadline - self._calls.clock())
        try:
            async with asyncio.timeout(left + _GRACE_SECONDS) as limit:
                return await body(http)
        except TimeoutError:
            if not limit.expired():
                raise
            transport = http.request.transport
            if http.stream is not None and transport is not None:
                # Its buffers are full: it would not read the error either.
                transport.abort()
            raise ServiceError(
                Reason.DEADLINE_EXCEEDED, "the call's deadline passed while the client was waited for"
            ) from None

    def _failure(self, error: Exception, method: str, request_id: str) -> ServiceError:
        if isinstance(error, ServiceError):
            return error
        self._log.error(log_events.REQUEST_CRASHED, method=method, request_id=request_id, **crash.describe(error))
        return ServiceError(Reason.INTERNAL, f"a fault of ours; quote request id {request_id}")

    def _finish(self, method: str, outcome: str, request_id: str, started: float | None) -> None:
        seconds = self._admission.leave("http", method, outcome, started)
        ms = round(seconds * 1000, 2)
        self._log.info(log_events.REQUEST_FINISHED, method=method, outcome=outcome, request_id=request_id, ms=ms)


def _announced(request: web.Request) -> int:
    """Bytes that the body may have by its headers: one in chunks says nothing, one too large is not read on."""
    return min(request.content_length or 0, request._client_max_size)  # noqa: SLF001  as above


def _headers(request: web.Request) -> Mapping[str, str]:
    """The headers; those of a trace that came on several lines are joined, as `metadata_of` does it for gRPC.

    https://www.w3.org/TR/trace-context/#tracestate-header-field-values. Of two traceparents none is the caller's.
    """
    headers = request.headers
    if TRACEPARENT not in headers:
        return headers
    parents, states = headers.getall(TRACEPARENT), headers.getall(TRACESTATE, ())
    if len(parents) == 1 and len(states) < 2:
        return headers
    joined = CIMultiDict(headers)
    joined[TRACEPARENT] = ", ".join(parents)
    joined[TRACESTATE] = ", ".join(states)
    return joined


def _span_of(request: web.Request) -> tuple[str, Attributes]:
    """Name and attributes: the route as it was declared, never what stands in the query.

    What stands in a route's place is the caller's text: it is shown if it is a response's id.
    https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server-span.
    """
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else ""
    given = request.match_info
    attributes = {
        "http.request.method": request.method,
        "http.route": route,
        "url.scheme": request.scheme,
        "url.path": request.path if all(map(is_response_id, given.values())) else route,
    }
    return f"{request.method} {route}", attributes


def _answer(request: web.Request, failure: ServiceError, request_id: str) -> web.Response:
    answer = http_errors.answer(failure, request_id, request.path)
    if request.content.exception() is not None:
        # Where the next request would begin can't be known.
        answer.force_close()
    return answer


def _told(http: HttpCall, failure: ServiceError, request_id: str) -> bytes:
    """The headers are gone: clients read the error from the stream, which then ends without [DONE]."""
    if http.tell is not None:
        return http.tell(failure)
    return b"data: " + orjson.dumps(http_errors.body(failure, request_id, http.request.path)) + b"\n\n"


async def _tell(stream: web.StreamResponse, told: bytes) -> web.StreamResponse:
    await stream.write_eof(told)
    return stream


def _certificate_names(request: web.Request) -> tuple[str, ...]:
    certificate = request.get_extra_info("peercert")
    if not certificate:
        return ()
    names = [value for _, value in certificate.get("subjectAltName", ())]
    for group in certificate.get("subject", ()):
        names.extend(value for key, value in group if key == "commonName")
    return tuple(names)
