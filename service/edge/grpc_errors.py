"""A ServiceError as a gRPC status: code, message, google.rpc details and the pushback that stops retries."""

from __future__ import annotations

from typing import Final

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, QuotaFailure, RetryInfo
from google.rpc.status_pb2 import Status

from service.domain.errors import Reason, ServiceError, Violation

ERROR_DOMAIN = "eurouter.dev"
# gRPC peers refuse metadata above 8 KiB (GRPC_ARG_MAX_METADATA_SIZE). In it the message is percent-encoded and
# the details are base64: both are kept so short that they fit beside the routing headers, in any script.
_MAX_MESSAGE: Final = 1500
_MAX_STATUS: Final = 3800
_MAX_TEXT: Final = 160
_MAX_PATH: Final = 200
_MAX_DESCRIPTION: Final = 300
# Bytes that protobuf adds to a pair of strings, and to a detail for its type's name.
_ENTRY: Final = 12
_TYPE_URL: Final = 64


def status_code(error: ServiceError) -> grpc.StatusCode:
    """The canonical code of `error`."""
    return grpc.StatusCode[error.spec.grpc]


def status_message(error: ServiceError) -> str:
    """The message, cut to what fits into trailers."""
    data = error.message.encode(errors="replace")
    message = data.decode()
    if 3 * len(data) <= _MAX_MESSAGE:
        return message
    room = _MAX_MESSAGE - _percent_encoded("…")
    for at, character in enumerate(message):
        room -= _percent_encoded(character)
        if room < 0:
            return f"{message[:at]}…"
    return message


def _percent_encoded(character: str) -> int:
    """Bytes of a character in the trailer grpc-message."""
    plain = " " <= character <= "~" and character != "%"
    return 1 if plain else 3 * len(character.encode())


def trailers(error: ServiceError, request_id: str) -> tuple[tuple[str, str | bytes], ...]:
    """Trailing metadata: the details, `grpc-retry-pushback-ms` (-1: don't), the request id, the routing so far.

    Pushback: https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback.
    """
    status = Status(code=status_code(error).value[0], message=status_message(error))
    for detail in _details(error, request_id, _MAX_STATUS - status.ByteSize()):
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


def _details(error: ServiceError, request_id: str, room: int) -> list[Message]:
    """The details in at most about `room` bytes: texts are shortened, then wrong fields and endpoints left out."""
    info = ErrorInfo(reason=error.reason.value, domain=ERROR_DOMAIN, metadata={"request_id": request_id})
    code = error.code or error.spec.openai_code
    if code:
        info.metadata["code"] = _cut(code, _MAX_TEXT)
    if error.param:
        info.metadata["param"] = _cut(error.param, _MAX_TEXT)
    details: list[Message] = [info]
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
    room -= sum(detail.ByteSize() + _TYPE_URL for detail in details)
    if error.violations:
        fields = _bad_request(error.violations, room - _TYPE_URL)
        room -= fields.ByteSize() + _TYPE_URL
        details.insert(1, fields)
    _list_endpoints(info, error.endpoints, room)
    return details


def _bad_request(violations: tuple[Violation, ...], room: int) -> BadRequest:
    found = BadRequest()
    for violation in violations:
        path, text = _cut(violation.path, _MAX_PATH), _cut(violation.message, _MAX_DESCRIPTION)
        room -= len(path.encode()) + len(text.encode()) + _ENTRY
        if room < 0:
            break
        found.field_violations.add(field=path, description=text)
    return found


def _list_endpoints(info: ErrorInfo, endpoints: tuple[tuple[str, str], ...], room: int) -> None:
    room -= len("endpoints_left_out") + _ENTRY
    for position, (endpoint, why) in enumerate(endpoints):
        name, text = f"endpoint.{endpoint}", _cut(why, _MAX_TEXT)
        room -= len(name.encode()) + len(text.encode()) + _ENTRY
        if room < 0:
            info.metadata["endpoints_left_out"] = str(len(endpoints) - position)
            return
        info.metadata[name] = text


def _cut(text: str, most: int) -> str:
    """At most `most` bytes of UTF-8, on a character's boundary."""
    data = text.encode(errors="replace")
    if len(data) <= most:
        return data.decode()
    return data[: most - len("…".encode())].decode(errors="ignore") + "…"
