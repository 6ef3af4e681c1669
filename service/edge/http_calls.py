"""Runs one HTTP call: context, admission, errors to answers, a log line and a measurement. Knows no route."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from aiohttp import web

from service.domain.calls import CallContext
from service.domain.errors import Reason, ServiceError
from service.edge import crash, http_errors, log_events
from service.edge.admission import Admission
from service.edge.calls import Calls, request_id_of


class StreamFailedError(Exception):
    """A call failed after its headers went out: `error` was already told in the stream."""

    def __init__(self, error: ServiceError) -> None:
        super().__init__(error.reason.value)
        self.error = error


@dataclass(frozen=True, slots=True)
class HttpCall:
    """What a route's body gets: the request and the call's context."""

    request: web.Request
    call: CallContext


Body = Callable[[HttpCall], Awaitable[web.StreamResponse]]


class HttpCalls:
    """Wraps route bodies. With `needs_key` false (the catalogue) no key is asked for."""

    def __init__(self, calls: Calls, admission: Admission) -> None:
        self._calls = calls
        self._admission = admission
        self._log = structlog.get_logger().bind()

    def route(self, method: str, body: Body) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """A handler for a route; `method` names it in logs and metrics."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._run(method, body, request)

        return handle

    async def _run(self, method: str, body: Body, request: web.Request) -> web.StreamResponse:
        request_id = request_id_of(request.headers)
        outcome = "ok"
        started: float | None = None
        try:
            started = self._admission.enter()
            call = self._calls.context(
                request.headers, request_id, "http", certificate_names=_certificate_names(request)
            )
            return await body(HttpCall(request, call))
        except ServiceError as error:
            outcome = error.reason.value
            failure = error
        except StreamFailedError as error:
            outcome = error.error.reason.value
            raise
        except web.HTTPRequestEntityTooLarge:
            outcome = Reason.BODY_TOO_LARGE.value
            limit = request._client_max_size  # noqa: SLF001  aiohttp names the limit nowhere else
            failure = ServiceError(
                Reason.BODY_TOO_LARGE,
                f"the body is larger than {limit} bytes: send less or raise http.max_body_bytes",
            )
        except (asyncio.CancelledError, ConnectionResetError):
            outcome = Reason.CANCELLED.value
            raise
        except Exception as error:  # noqa: BLE001  the last line before aiohttp would answer with a text page
            outcome = Reason.INTERNAL.value
            failure = ServiceError(Reason.INTERNAL, f"a fault of ours; quote request id {request_id}")
            self._log.error(
                log_events.REQUEST_CRASHED, method=method, request_id=request_id, **crash.describe(error)
            )
        finally:
            self._finish(method, outcome, request_id, started)
        return http_errors.answer(failure, request_id, request.path)

    def _finish(self, method: str, outcome: str, request_id: str, started: float | None) -> None:
        if started is None:
            return
        seconds = self._admission.leave("http", method, outcome, started)
        ms = round(seconds * 1000, 2)
        self._log.info(log_events.REQUEST_FINISHED, method=method, outcome=outcome, request_id=request_id, ms=ms)


def _certificate_names(request: web.Request) -> tuple[str, ...]:
    certificate = request.get_extra_info("peercert")
    if not certificate:
        return ()
    names = [value for _, value in certificate.get("subjectAltName", ())]
    for group in certificate.get("subject", ()):
        names.extend(value for key, value in group if key == "commonName")
    return tuple(names)
