"""What Anthropic says when it fails, as a Failure (docs.anthropic.com/en/api/errors)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from adapters.providers.status import failure_for
from service.domain.failure import Failure, FailureKind

TYPES: Final[dict[str, int]] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The status that goes with an error's type: errors inside a stream come without one."""

_CODES: Final[dict[str, FailureKind]] = {
    # Both come with 429, and no waiting mends them.
    "contract_spend_limit_reached": FailureKind.QUOTA,
    "enforced_spend_limit_reached": FailureKind.QUOTA,
}
"""`error.details.error_code` where it says more than the type."""

# The API has no code for these two; only read where it rejects a request.
_TOO_LONG: Final = re.compile(r"exceed context limit", re.IGNORECASE)
_FILTERED: Final = re.compile(r"blocked by content filtering policy", re.IGNORECASE)


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
    """The failure that an error event, or an error in the place of an answer with status 200, stands for."""
    error = document.get("error")
    kind = error.get("type") if isinstance(error, dict) else None
    status = TYPES.get(kind, 500) if isinstance(kind, str) else 500
    return replace(_failure(status, {}, document), status=200)


def _failure(status: int, headers: Mapping[str, str], document: Any) -> Failure:
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return failure_for(status, headers, error if isinstance(error, str) else "")
    kind, message, details = error.get("type"), error.get("message"), error.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    code = code if isinstance(code, str) else kind if isinstance(kind, str) else None
    failure = failure_for(status, headers, message if isinstance(message, str) else "", code)
    if code in _CODES:
        return replace(failure, kind=_CODES[code])
    if failure.kind is FailureKind.INVALID_REQUEST:
        if _TOO_LONG.search(failure.message):
            return replace(failure, kind=FailureKind.CONTEXT_LENGTH)
        if _FILTERED.search(failure.message):
            return replace(failure, kind=FailureKind.CONTENT_POLICY)
    return failure
