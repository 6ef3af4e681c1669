"""A ServiceError as a gRPC status: code, message, google.rpc details and the pushback that stops retries."""

from __future__ import annotations

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, QuotaFailure, RetryInfo
from google.rpc.status_pb2 import Status

from service.domain.errors import Reason, ServiceError

ERROR_DOMAIN = "eurouter.dev"
# gRPC peers drop metadata above 8 KiB by default (GRPC_ARG_MAX_METADATA_SIZE), so details are kept well below.
_MAX_MESSAGE = 1000
_MAX_ENDPOINTS = 12
_MAX_ENDPOINT_TEXT = 160
_MAX_VIOLATIONS = 10


def status_code(error: ServiceError) -> grpc.StatusCode:
    """The canonical code of `error`."""
    return grpc.StatusCode[error.spec.grpc]


def status_message(error: ServiceError) -> str:
    """The message, cut to what fits into trailers."""
    return error.message if len(error.message) <= _MAX_MESSAGE else error.message[: _MAX_MESSAGE - 1] + "…"


def trailers(error: ServiceError, request_id: str) -> tuple[tuple[str, str | bytes], ...]:
    """Trailing metadata: the details, `grpc-retry-pushback-ms` (-1: don't), the request id, the routing so far.

    Pushback: https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback.
    """
    status = Status(code=status_code(error).value[0], message=status_message(error))
    for detail in _details(error, request_id):
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    pushback = str(int((error.retry_after or 0) * 1000)) if error.may_retry else "-1"
    return (
        ("grpc-status-details-bin", status.SerializeToString()),
        ("grpc-retry-pushback-ms", pushback),
        ("x-should-retry", "true" if error.may_retry else "false"),
        *error.decision,
    )


def _details(error: ServiceError, request_id: str) -> list[Message]:
    info = ErrorInfo(reason=error.reason.value, domain=ERROR_DOMAIN, metadata={"request_id": request_id})
    code = error.code or error.spec.openai_code
    if code:
        info.metadata["code"] = code[:_MAX_ENDPOINT_TEXT]
    if error.param:
        info.metadata["param"] = error.param[:_MAX_ENDPOINT_TEXT]
    for endpoint, why in error.endpoints[:_MAX_ENDPOINTS]:
        info.metadata[f"endpoint.{endpoint}"] = why[:_MAX_ENDPOINT_TEXT]
    details: list[Message] = [info]
    if error.violations:
        details.append(
            BadRequest(
                field_violations=[
                    BadRequest.FieldViolation(field=v.path[:200], description=v.message[:300])
                    for v in error.violations[:_MAX_VIOLATIONS]
                ]
            )
        )
    if error.retry_after is not None:
        seconds = int(error.retry_after)
        nanos = int((error.retry_after - seconds) * 1e9)
        details.append(RetryInfo(retry_delay=Duration(seconds=seconds, nanos=nanos)))
    if error.reason in (Reason.PROVIDER_RATE_LIMITED, Reason.PROVIDER_QUOTA_SPENT):
        what = "rate" if error.reason is Reason.PROVIDER_RATE_LIMITED else "credit"
        violation = QuotaFailure.Violation(
            subject="provider", description=f"the operator's {what} at the provider"
        )
        details.append(QuotaFailure(violations=[violation]))
    return details
