"""The error catalogue: every reason for which a call fails and how each door shows it.

One table serves the gRPC edge, the HTTP edge and the docs. `Reason` has the names of the protobuf enum
`ErrorReason`; a test keeps the two equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal


class Reason(StrEnum):
    """Why a call failed. Described one by one in protos/eurouter/v1/errors.proto."""

    INVALID_REQUEST = "INVALID_REQUEST"
    MALFORMED_BODY = "MALFORMED_BODY"
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    UNSUPPORTED_FIELD = "UNSUPPORTED_FIELD"
    FOREIGN_STATE = "FOREIGN_STATE"
    PROVIDER_REJECTED = "PROVIDER_REJECTED"
    CONTEXT_LENGTH_EXCEEDED = "CONTEXT_LENGTH_EXCEEDED"
    CONTENT_POLICY = "CONTENT_POLICY"
    BODY_TOO_LARGE = "BODY_TOO_LARGE"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    RULE_NOT_FOUND = "RULE_NOT_FOUND"
    ROUTE_NOT_FOUND = "ROUTE_NOT_FOUND"
    API_NOT_OFFERED = "API_NOT_OFFERED"
    INVALID_KEY = "INVALID_KEY"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    PROVIDER_RATE_LIMITED = "PROVIDER_RATE_LIMITED"
    PROVIDER_QUOTA_SPENT = "PROVIDER_QUOTA_SPENT"
    PROVIDER_AUTH_FAILED = "PROVIDER_AUTH_FAILED"
    PROVIDER_MODEL_MISSING = "PROVIDER_MODEL_MISSING"
    PROVIDER_UNAVAILABLE = "PROVIDER_UNAVAILABLE"
    PROVIDER_TIMEOUT = "PROVIDER_TIMEOUT"
    PROVIDER_BROKEN_ANSWER = "PROVIDER_BROKEN_ANSWER"
    NO_ENDPOINT_ALLOWED = "NO_ENDPOINT_ALLOWED"
    NO_ENDPOINT_AVAILABLE = "NO_ENDPOINT_AVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    INTERNAL = "INTERNAL"
    RESPONSE_NOT_FOUND = "RESPONSE_NOT_FOUND"
    PREVIOUS_RESPONSE_NOT_FOUND = "PREVIOUS_RESPONSE_NOT_FOUND"
    CONVERSATION_TOO_LONG = "CONVERSATION_TOO_LONG"
    WRONG_STATE = "WRONG_STATE"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    IDEMPOTENCY_IN_PROGRESS = "IDEMPOTENCY_IN_PROGRESS"
    OVERLOADED = "OVERLOADED"


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """How a reason looks at each door.

    `grpc` is the canonical code's name, `http` the status, `code` EUrouter's error code under /api/v1,
    `openai_code`/`openai_type` what OpenAI's clients read, `retryable` whether the same call may succeed
    later without a change, `fault` who can mend it.
    """

    grpc: str
    http: int
    code: str
    openai_code: str | None
    openai_type: str
    retryable: bool
    fault: Literal["caller", "policy", "provider", "us"]


_INVALID = "invalid_request_error"
_SERVER = "server_error"

ERRORS: Final[dict[Reason, ErrorSpec]] = {
    Reason.INVALID_REQUEST: ErrorSpec(
        "INVALID_ARGUMENT", 400, "BAD_REQUEST", "invalid_value", _INVALID, False, "caller"
    ),
    Reason.MALFORMED_BODY: ErrorSpec("INVALID_ARGUMENT", 400, "BAD_REQUEST", None, _INVALID, False, "caller"),
    Reason.UNKNOWN_FIELD: ErrorSpec(
        "INVALID_ARGUMENT", 400, "BAD_REQUEST", "unknown_parameter", _INVALID, False, "caller"
    ),
    Reason.UNSUPPORTED_FIELD: ErrorSpec(
        "INVALID_ARGUMENT", 400, "BAD_REQUEST", "unsupported_parameter", _INVALID, False, "caller"
    ),
    Reason.FOREIGN_STATE: ErrorSpec(
        "INVALID_ARGUMENT", 400, "BAD_REQUEST", "unsupported_parameter", _INVALID, False, "caller"
    ),
    Reason.PROVIDER_REJECTED: ErrorSpec(
        "INVALID_ARGUMENT", 400, "BAD_REQUEST", "invalid_value", _INVALID, False, "caller"
    ),
    Reason.CONTEXT_LENGTH_EXCEEDED: ErrorSpec(
        "INVALID_ARGUMENT", 400, "BAD_REQUEST", "context_length_exceeded", _INVALID, False, "caller"
    ),
    Reason.CONTENT_POLICY: ErrorSpec(
        "INVALID_ARGUMENT", 400, "BAD_REQUEST", "content_policy_violation", _INVALID, False, "caller"
    ),
    Reason.BODY_TOO_LARGE: ErrorSpec(
        "RESOURCE_EXHAUSTED", 413, "BAD_REQUEST", "request_too_large", _INVALID, False, "caller"
    ),
    Reason.MODEL_NOT_FOUND: ErrorSpec("NOT_FOUND", 404, "NOT_FOUND", "model_not_found", _INVALID, False, "caller"),
    Reason.RULE_NOT_FOUND: ErrorSpec("NOT_FOUND", 404, "NOT_FOUND", "rule_not_found", _INVALID, False, "caller"),
    Reason.ROUTE_NOT_FOUND: ErrorSpec("NOT_FOUND", 404, "NOT_FOUND", "not_found", _INVALID, False, "caller"),
    Reason.API_NOT_OFFERED: ErrorSpec("NOT_FOUND", 404, "NOT_FOUND", "not_found", _INVALID, False, "caller"),
    Reason.INVALID_KEY: ErrorSpec(
        "UNAUTHENTICATED", 401, "UNAUTHORIZED", "invalid_api_key", "authentication_error", False, "caller"
    ),
    Reason.PERMISSION_DENIED: ErrorSpec(
        "PERMISSION_DENIED", 403, "FORBIDDEN", "permission_denied", "permission_error", False, "caller"
    ),
    Reason.PROVIDER_RATE_LIMITED: ErrorSpec(
        "RESOURCE_EXHAUSTED", 429, "RATE_LIMITED", "rate_limit_exceeded", "rate_limit_error", True, "provider"
    ),
    Reason.PROVIDER_QUOTA_SPENT: ErrorSpec(
        "FAILED_PRECONDITION", 503, "SERVICE_UNAVAILABLE", "insufficient_quota", _SERVER, False, "us"
    ),
    Reason.PROVIDER_AUTH_FAILED: ErrorSpec(
        "FAILED_PRECONDITION", 503, "SERVICE_UNAVAILABLE", "server_error", _SERVER, False, "us"
    ),
    Reason.PROVIDER_MODEL_MISSING: ErrorSpec(
        "FAILED_PRECONDITION", 503, "SERVICE_UNAVAILABLE", "server_error", _SERVER, False, "us"
    ),
    Reason.PROVIDER_UNAVAILABLE: ErrorSpec(
        "UNAVAILABLE", 503, "SERVICE_UNAVAILABLE", "server_error", _SERVER, True, "provider"
    ),
    Reason.PROVIDER_TIMEOUT: ErrorSpec(
        "DEADLINE_EXCEEDED", 504, "SERVICE_UNAVAILABLE", "server_error", _SERVER, True, "provider"
    ),
    Reason.PROVIDER_BROKEN_ANSWER: ErrorSpec(
        "UNAVAILABLE", 502, "SERVICE_UNAVAILABLE", "server_error", _SERVER, True, "provider"
    ),
    Reason.NO_ENDPOINT_ALLOWED: ErrorSpec(
        "FAILED_PRECONDITION", 503, "SERVICE_UNAVAILABLE", "no_endpoint_allowed", _SERVER, False, "policy"
    ),
    Reason.NO_ENDPOINT_AVAILABLE: ErrorSpec(
        "UNAVAILABLE", 503, "SERVICE_UNAVAILABLE", "server_error", _SERVER, True, "provider"
    ),
    Reason.DEADLINE_EXCEEDED: ErrorSpec(
        "DEADLINE_EXCEEDED", 504, "SERVICE_UNAVAILABLE", "deadline_exceeded", _SERVER, False, "caller"
    ),
    Reason.CANCELLED: ErrorSpec("CANCELLED", 499, "BAD_REQUEST", "cancelled", _INVALID, False, "caller"),
    Reason.SHUTTING_DOWN: ErrorSpec(
        "UNAVAILABLE", 503, "SERVICE_UNAVAILABLE", "server_error", _SERVER, True, "us"
    ),
    Reason.INTERNAL: ErrorSpec("INTERNAL", 500, "INTERNAL_ERROR", "server_error", _SERVER, False, "us"),
    Reason.RESPONSE_NOT_FOUND: ErrorSpec("NOT_FOUND", 404, "NOT_FOUND", "not_found", _INVALID, False, "caller"),
    # 400 as OpenAI answers it: 404 would look like a wrong path.
    Reason.PREVIOUS_RESPONSE_NOT_FOUND: ErrorSpec(
        "NOT_FOUND", 400, "BAD_REQUEST", "previous_response_not_found", _INVALID, False, "caller"
    ),
    Reason.CONVERSATION_TOO_LONG: ErrorSpec(
        "INVALID_ARGUMENT", 400, "BAD_REQUEST", "conversation_too_long", _INVALID, False, "caller"
    ),
    Reason.WRONG_STATE: ErrorSpec(
        "FAILED_PRECONDITION", 400, "BAD_REQUEST", "invalid_value", _INVALID, False, "caller"
    ),
    Reason.STORE_UNAVAILABLE: ErrorSpec(
        "UNAVAILABLE", 503, "SERVICE_UNAVAILABLE", "not_stored", _SERVER, True, "us"
    ),
    # Not 409: OpenAI's clients send that again.
    Reason.IDEMPOTENCY_CONFLICT: ErrorSpec(
        "ALREADY_EXISTS", 422, "BAD_REQUEST", "idempotency_key_reused", _INVALID, False, "caller"
    ),
    Reason.IDEMPOTENCY_IN_PROGRESS: ErrorSpec(
        "ABORTED", 409, "BAD_REQUEST", "idempotency_key_in_use", _INVALID, True, "caller"
    ),
    # Not RESOURCE_EXHAUSTED, 429: nobody's allowance is used up, and clients try UNAVAILABLE at another replica.
    Reason.OVERLOADED: ErrorSpec("UNAVAILABLE", 503, "SERVICE_UNAVAILABLE", "server_error", _SERVER, True, "us"),
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One wrong field: its JSON path as the caller wrote it ("" for the body as a whole) and what to do."""

    path: str
    message: str


class ServiceError(Exception):
    """A call failed for a reason that the caller may know.

    `violations` name fields; `retry_after` is seconds after which the same call may succeed; `may_retry`
    is False when a plan was run and nobody says when it would go better: a retry above us would only
    multiply attempts. `endpoints` says of each endpoint considered what was wrong. `code` and `param`
    replace the table's OpenAI code and name a field at a provider that rejected the request. `decision`
    are the routing headers known when it failed.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        violations: tuple[Violation, ...] = (),
        retry_after: float | None = None,
        endpoints: tuple[tuple[str, str], ...] = (),
        code: str | None = None,
        param: str | None = None,
        decision: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = violations
        self.retry_after = retry_after
        self.endpoints = endpoints
        self.code = code
        self.param = param
        self.decision = decision

    @property
    def spec(self) -> ErrorSpec:
        """How this error looks at each door."""
        return ERRORS[self.reason]

    @property
    def may_retry(self) -> bool:
        """Whether a client may send the same call again: only when we can say when, or never got to try."""
        if self.reason is Reason.SHUTTING_DOWN:
            return True
        return self.spec.retryable and self.retry_after is not None


def invalid(path: str, message: str, *more: Violation) -> ServiceError:
    """An INVALID_REQUEST about the field at `path`."""
    violations = (Violation(path, message), *more)
    text = f"{path}: {message}" if path else message
    return ServiceError(Reason.INVALID_REQUEST, text, violations=violations)
