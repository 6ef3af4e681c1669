"""What endpoints of this dialect say when they fail, as a Failure. Bodies are those of OpenAI's other APIs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from adapters.providers.openai_chat.errors import classify as classify_body
from adapters.providers.openai_chat.errors import failure_in as failure_of_error
from service.domain.failure import Failure, FailureKind

_REJECTED: Final = (
    "invalid_prompt",
    "invalid_image",
    "invalid_image_format",
    "invalid_base64_image",
    "invalid_image_url",
    "image_too_large",
    "image_too_small",
    "image_parse_error",
    "invalid_image_mode",
    "image_file_too_large",
    "unsupported_image_media_type",
    "empty_image_file",
    "failed_to_download_image",
    "image_file_not_found",
)

CODES: Final[dict[str, FailureKind]] = {
    # ResponseErrorCode of OpenAI's OpenAPI description. server_error and rate_limit_exceeded need no line here.
    **dict.fromkeys(_REJECTED, FailureKind.INVALID_REQUEST),
    "bio_policy": FailureKind.CONTENT_POLICY,
    "image_content_policy_violation": FailureKind.CONTENT_POLICY,
    # The account there is bound to another region than the call went to: the operator's to mend.
    "data_residency_mismatch": FailureKind.AUTH,
    "vector_store_timeout": FailureKind.TIMEOUT,
    # Codex, OpenAI's own client, takes these two for a busy server.
    "server_is_overloaded": FailureKind.OVERLOADED,
    "slow_down": FailureKind.OVERLOADED,
    # Types of errors in Open Responses, where they come without a code.
    "invalid_request": FailureKind.INVALID_REQUEST,
    "not_found": FailureKind.MODEL_MISSING,
    "too_many_requests": FailureKind.RATE_LIMITED,
}
"""Codes of errors inside an answer, which have no status that would tell."""


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """What a status other than 2xx means; the body's own words make it finer."""
    return classify_body(status, headers, body)


def failure_in(document: dict[str, Any]) -> Failure:
    """The failure that an error with status 200 stands for.

    `document` is a Response that failed, a body with `error`, or an `error` event: OpenAI's is flat, that of
    Open Responses has the error inside.
    """
    error = document.get("error")
    if not isinstance(error, dict):
        # The event's own type is no error's.
        error = {name: value for name, value in document.items() if name != "type"}
    failure = failure_of_error({"error": error})
    kind = CODES.get(failure.code or "")
    return failure if kind is None else replace(failure, kind=kind)
