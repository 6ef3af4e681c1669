"""What can go wrong with an upstream call, and what the retry loop may do about it.

Everything that the router knows about provider failures stands here: dialects and the HTTP stack produce a
`Failure`, the router reads the two tables. An unknown failure gives up.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from service.domain.errors import Reason
from service.domain.events import Usage


class FailureKind(StrEnum):
    """The kinds of failure of an upstream call, finer than what the caller is told."""

    INVALID_REQUEST = "invalid_request"
    CONTEXT_LENGTH = "context_length"
    CONTENT_POLICY = "content_policy"
    TOO_LARGE = "too_large"
    AUTH = "auth"
    QUOTA = "quota"
    MODEL_MISSING = "model_missing"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECT = "connect"
    CUT = "cut"
    PROTOCOL = "protocol"
    MISMATCH = "mismatch"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed upstream call.

    `message` is the provider's own sentence or ours, safe to show to the caller: no key, no prompt.
    `retry_after` in seconds, when the provider named one. `status` is the HTTP status, 0 without one.
    `code`/`param` are the provider's own error code and parameter name.
    """

    kind: FailureKind
    message: str
    status: int = 0
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None


class UpstreamError(Exception):
    """An upstream call failed; `failure` says how, `usage` what it used where an answer came that is of no use."""

    def __init__(self, failure: Failure, usage: Usage | None = None) -> None:
        super().__init__(f"{failure.kind}: {failure.message}")
        self.failure = failure
        self.usage = usage


TRY_ELSEWHERE: Final[frozenset[FailureKind]] = frozenset(
    {
        FailureKind.RATE_LIMITED,
        FailureKind.OVERLOADED,
        FailureKind.SERVER_ERROR,
        FailureKind.TIMEOUT,
        FailureKind.CONNECT,
        FailureKind.CUT,
        FailureKind.PROTOCOL,
        FailureKind.MISMATCH,
        # The operator's account or catalogue is wrong at this provider only; another may still serve the caller.
        FailureKind.AUTH,
        FailureKind.QUOTA,
        FailureKind.MODEL_MISSING,
    }
)
"""Failures after which the plan goes on to its next endpoint. The others would fail there as well."""

HARMS_HEALTH: Final[frozenset[FailureKind]] = TRY_ELSEWHERE - {FailureKind.MISMATCH}
"""Failures that count against the endpoint's health and start a cool-down.

An answer that is not of the caller's own schema is none of them: a schema that nobody can meet would take the
endpoint away from everybody.
"""

OPERATORS_FAULT: Final = frozenset({FailureKind.AUTH, FailureKind.QUOTA, FailureKind.MODEL_MISSING})
"""Failures that last until the operator mends the account, its key or the catalogue."""

DEADLINE: Final = "deadline"

CALLERS_END: Final = frozenset({"cancelled", DEADLINE})
"""Outcomes of attempts that were ended as the caller left, or its time ran out: they say nothing of a provider."""

REASONS: Final[dict[FailureKind, Reason]] = {
    FailureKind.INVALID_REQUEST: Reason.PROVIDER_REJECTED,
    FailureKind.CONTEXT_LENGTH: Reason.CONTEXT_LENGTH_EXCEEDED,
    FailureKind.CONTENT_POLICY: Reason.CONTENT_POLICY,
    FailureKind.TOO_LARGE: Reason.BODY_TOO_LARGE,
    FailureKind.AUTH: Reason.PROVIDER_AUTH_FAILED,
    FailureKind.QUOTA: Reason.PROVIDER_QUOTA_SPENT,
    FailureKind.MODEL_MISSING: Reason.PROVIDER_MODEL_MISSING,
    FailureKind.RATE_LIMITED: Reason.PROVIDER_RATE_LIMITED,
    FailureKind.OVERLOADED: Reason.PROVIDER_UNAVAILABLE,
    FailureKind.SERVER_ERROR: Reason.PROVIDER_UNAVAILABLE,
    FailureKind.TIMEOUT: Reason.PROVIDER_TIMEOUT,
    FailureKind.CONNECT: Reason.PROVIDER_UNAVAILABLE,
    FailureKind.CUT: Reason.PROVIDER_BROKEN_ANSWER,
    FailureKind.PROTOCOL: Reason.PROVIDER_BROKEN_ANSWER,
    FailureKind.MISMATCH: Reason.PROVIDER_BROKEN_ANSWER,
    FailureKind.UNKNOWN: Reason.PROVIDER_UNAVAILABLE,
}
"""What the caller is told about a failure that ends the call."""
