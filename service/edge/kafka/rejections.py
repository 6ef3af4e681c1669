"""Why a record is no job and goes to the dead letters. What becomes of it there does not stand here."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from service.domain.errors import Reason, ServiceError, Violation


class Rejection(StrEnum):
    """The reason in a dead letter. None of them goes away by trying again; a database that is away is none."""

    UNDECODABLE = "undecodable"
    UNKNOWN_CONTENT_TYPE = "unknown_content_type"
    UNKNOWN_API = "unknown_api"
    TOO_LARGE = "too_large"
    UNAUTHENTICATED = "unauthenticated"
    BAD_SIGNATURE = "bad_signature"
    EXPIRED = "expired"
    FOREIGN_REPLY_TOPIC = "foreign_reply_topic"
    INVALID = "invalid"
    UNKNOWN_MODEL = "unknown_model"
    NOT_ALLOWED = "not_allowed"
    IDENTITY_CONFLICT = "identity_conflict"
    INTERNAL = "internal"
    """A fault of ours that this record alone meets."""


class RejectedRecordError(Exception):
    """A record that is no job, and never will be one as it is.

    `message` names what is wrong and what to do, fields by their paths, and holds nothing of the record's
    value but names of fields. `violations` are the fields one by one, `owner` is "" as long as nobody knows whose
    record it is.
    """

    def __init__(
        self, reason: Rejection, message: str, *, violations: Sequence[Violation] = (), owner: str = ""
    ) -> None:
        # Names of fields are the caller's: nothing that a terminal or a log would obey goes on from here.
        self.message = message if message.isprintable() else _printable(message)
        super().__init__(self.message)
        self.reason = reason
        self.violations = tuple(violations)
        self.owner = owner


def malformed(*violations: Violation) -> RejectedRecordError:
    """An INVALID that names these fields or headers."""
    return RejectedRecordError(Rejection.INVALID, _sentence(violations), violations=violations)


def rejection_of(error: ServiceError, owner: str, path_prefix: str = "") -> RejectedRecordError | None:
    """What an error of an API means for its record; None: nothing, the record is to be tried again later.

    `path_prefix` is the Intake's: it goes before every field's path. Messages of APIs may show a few characters of
    a wrong value: they are for whoever may read the record, not for logs.
    """
    reason = _REASONS.get(error.reason)
    if reason is None:
        return None
    violations = tuple(Violation(_below(path_prefix, one.path), one.message) for one in error.violations)
    text = _sentence(violations) if violations and path_prefix else error.message
    return RejectedRecordError(reason, text, violations=violations, owner=owner)


def _printable(text: str) -> str:
    return "".join(
        one if one.isprintable() else " " if one.isspace() else one.encode("unicode_escape").decode()
        for one in text
    )


def _below(prefix: str, path: str) -> str:
    return f"{prefix}{path}" if path else prefix.rstrip(".")


def _sentence(violations: Sequence[Violation]) -> str:
    return "; ".join(f"{one.path}: {one.message}" if one.path else one.message for one in violations)


# Left out is what time mends, and what is no answer to a request that is only accepted.
_REASONS: Final[dict[Reason, Rejection]] = {
    **dict.fromkeys(
        (
            Reason.INVALID_REQUEST,
            Reason.UNKNOWN_FIELD,
            Reason.UNSUPPORTED_FIELD,
            Reason.FOREIGN_STATE,
            Reason.PROVIDER_REJECTED,
            Reason.CONTEXT_LENGTH_EXCEEDED,
            Reason.CONTENT_POLICY,
            Reason.RULE_NOT_FOUND,
            Reason.ROUTE_NOT_FOUND,
            Reason.RESPONSE_NOT_FOUND,
            Reason.PREVIOUS_RESPONSE_NOT_FOUND,
            Reason.CONVERSATION_TOO_LONG,
            Reason.WRONG_STATE,
        ),
        Rejection.INVALID,
    ),
    Reason.MALFORMED_BODY: Rejection.UNDECODABLE,
    Reason.BODY_TOO_LARGE: Rejection.TOO_LARGE,
    Reason.API_NOT_OFFERED: Rejection.UNKNOWN_API,
    Reason.MODEL_NOT_FOUND: Rejection.UNKNOWN_MODEL,
    Reason.INVALID_KEY: Rejection.UNAUTHENTICATED,
    Reason.PERMISSION_DENIED: Rejection.NOT_ALLOWED,
    Reason.NO_ENDPOINT_ALLOWED: Rejection.NOT_ALLOWED,
    Reason.IDEMPOTENCY_CONFLICT: Rejection.IDENTITY_CONFLICT,
    Reason.INTERNAL: Rejection.INTERNAL,
}
