"""What Google's APIs say when they fail, as a Failure: google.rpc.Status with its details.

Docs: google.aip.dev/193, ai.google.dev/gemini-api/docs/troubleshooting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from adapters.providers.status import LONGEST_WAIT, failure_for, reset_seconds
from service.domain.failure import Failure, FailureKind, UpstreamError

STATUSES: Final[dict[str, int]] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""The HTTP status of a status' name (google/rpc/code.proto): errors inside a stream come without one."""

_REASONS: Final[dict[str, FailureKind]] = {
    # google.api.ErrorReason: an unknown key comes with 400, what follows with 403.
    "API_KEY_INVALID": FailureKind.AUTH,
    "API_KEY_EXPIRED": FailureKind.AUTH,
    "BILLING_DISABLED": FailureKind.QUOTA,
    "RATE_LIMIT_EXCEEDED": FailureKind.RATE_LIMITED,
}
"""`reason` of an ErrorInfo where it says more than the status."""

# The API has no code for this one; only read where it rejects a request.
_TOO_LONG: Final = re.compile(r"token count .{0,40}exceeds the maximum number of tokens", re.IGNORECASE)
_PER_DAY: Final = "PerDay"


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """What a status other than 2xx means; the body's own words make it finer."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        # A page of a proxy says nothing to the caller; a short sentence might.
        text = body[:2000].decode("utf-8", "replace") if body[:1] != b"<" else ""
        return failure_for(status, headers, text)
    return _failure(status, headers, document)


def failure_in(document: dict[str, Any]) -> Failure:
    """The failure that an error in a stream, or in the place of an answer with status 200, stands for."""
    error = document.get("error")
    word = error.get("status") if isinstance(error, dict) else None
    status = STATUSES.get(word, 500) if isinstance(word, str) else _code(error)
    return replace(_failure(status, {}, document), status=200)


def blocked(feedback: dict[str, Any]) -> UpstreamError:
    """The failure of a prompt that Google did not let through to the model; its content is not repeated."""
    reason = str(feedback["blockReason"])[:100]
    message = f"the provider blocked the prompt: {reason}"
    return UpstreamError(Failure(FailureKind.CONTENT_POLICY, message, 200, reason))


def _code(error: Any) -> int:
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code <= 599 else 500


def _failure(status: int, headers: Mapping[str, str], document: Any) -> Failure:
    if isinstance(document, list):
        # A stream that is no event stream is a list, and so is its error.
        document = document[0] if document else None
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return failure_for(status, headers, error if isinstance(error, str) else "")
    message, word = error.get("message"), error.get("status")
    code = word[:100] if isinstance(word, str) else None
    failure = failure_for(status, headers, message if isinstance(message, str) else "", code)
    found = error.get("details")
    details = [detail for detail in found if isinstance(detail, dict)] if isinstance(found, list) else []
    wait = _retry_delay(details)
    if wait is not None:
        failure = replace(failure, retry_after=min(wait, LONGEST_WAIT))
    return replace(failure, kind=_kind(failure, details))


def _kind(failure: Failure, details: list[dict[str, Any]]) -> FailureKind:
    for detail in details:
        reason = detail.get("reason")
        if isinstance(reason, str) and reason in _REASONS:
            return _REASONS[reason]
    if failure.kind is FailureKind.RATE_LIMITED and any(map(_is_spent, details)):
        return FailureKind.QUOTA
    if failure.code == "FAILED_PRECONDITION":
        # The account's project may not use the API from where we are, or not without billing.
        return FailureKind.QUOTA
    if failure.kind is FailureKind.INVALID_REQUEST and _TOO_LONG.search(failure.message):
        return FailureKind.CONTEXT_LENGTH
    return failure.kind


def _is_spent(detail: dict[str, Any]) -> bool:
    """Whether a quota is spent that no short wait gives back: those of a day say so in their id."""
    violations = detail.get("violations")
    return isinstance(violations, list) and any(
        isinstance(violation, dict) and _PER_DAY in str(violation.get("quotaId")) for violation in violations
    )


def _retry_delay(details: list[dict[str, Any]]) -> float | None:
    """Seconds of a RetryInfo, such as `36s` or `36.5s`."""
    for detail in details:
        delay = detail.get("retryDelay")
        if isinstance(delay, str):
            return reset_seconds(delay, None)
    return None
