"""What Bedrock says when it fails, as a Failure.

Exceptions: botocore 1.44.5, service model bedrock-runtime (errors of Converse, members of ConverseStreamOutput);
docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html; those of the credentials:
docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html and recorded answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from adapters.providers.status import failure_for
from service.domain.failure import Failure, FailureKind

_K: Final = FailureKind
KINDS: Final[dict[str, tuple[int, FailureKind]]] = {
    "accessdenied": (403, _K.AUTH),
    "expiredtoken": (403, _K.AUTH),
    "incompletesignature": (400, _K.AUTH),
    "invalidclienttokenid": (403, _K.AUTH),
    "invalidsignature": (403, _K.AUTH),
    "missingauthenticationtoken": (403, _K.AUTH),
    "notauthorized": (400, _K.AUTH),
    "optinrequired": (403, _K.AUTH),
    "signaturedoesnotmatch": (403, _K.AUTH),
    "unrecognizedclient": (403, _K.AUTH),
    "requestexpired": (400, _K.AUTH),
    "throttling": (429, _K.RATE_LIMITED),
    "toomanyrequests": (429, _K.RATE_LIMITED),
    "servicequotaexceeded": (400, _K.QUOTA),
    "resourcenotfound": (404, _K.MODEL_MISSING),
    "modelnotready": (429, _K.OVERLOADED),
    "modeltimeout": (408, _K.TIMEOUT),
    # The model broke, not the request, though the status (424) is of the 400s.
    "modelerror": (424, _K.SERVER_ERROR),
    "modelstreamerror": (424, _K.SERVER_ERROR),
    "internalserver": (500, _K.SERVER_ERROR),
    "internalfailure": (500, _K.SERVER_ERROR),
    "serviceunavailable": (503, _K.OVERLOADED),
    "validation": (400, _K.INVALID_REQUEST),
}
"""Status and kind by an exception's name, without "Exception", in lower case: frames come without a status."""

# A ValidationException says in words only what it refuses: the sentences of Claude, Nova and the service itself.
_TOO_LONG: Final = re.compile(
    r"input is too long|prompt is too long|exceed context limit|too many input tokens|input tokens? exceed",
    re.IGNORECASE,
)
_NO_MODEL: Final = re.compile(
    r"model identifier is invalid|on-demand throughput isn.t supported|model .{0,80}\bend of its life",
    re.IGNORECASE,
)
_FILTERED: Final = re.compile(r"blocked by content filtering policy", re.IGNORECASE)
# Names of accounts, roles and users stand in what callers read when access is denied.
_ARN: Final = re.compile(r"\barn:aws[\w-]*:[^\s,;'\"]+")


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """What a status other than 2xx means: by x-amzn-errortype or the body's __type, else by the status."""
    document = _object(body)
    name = headers.get("x-amzn-errortype") or (document or {}).get("__type")
    if document is not None:
        text = _message(document)
    else:
        # A page of a proxy says nothing to the caller; a short sentence might.
        text = body[:2000].decode("utf-8", "replace") if body[:1] not in (b"<", b"{", b"[") else ""
    return _failure(status, headers, name if isinstance(name, str) else "", text)


def is_error(document: dict[str, Any]) -> bool:
    """Whether a document with status 200 is an error in an answer's place."""
    return "output" not in document and ("__type" in document or bool(_message(document)))


def failure_in(document: dict[str, Any]) -> Failure:
    """The failure that an error in the place of an answer with status 200 stands for."""
    name = document.get("__type")
    return _in_200(name if isinstance(name, str) else "", _message(document))


def failure_named(name: str, message: str, payload: bytes) -> Failure:
    """The failure that an exception frame, or an error frame with its message among the headers, stands for."""
    return _in_200(name, message or _message(_object(payload) or {}))


def _in_200(name: str, message: str) -> Failure:
    status, _ = KINDS.get(_short(name), (500, _K.SERVER_ERROR))
    return replace(_failure(status, {}, name, message), status=200)


def _failure(status: int, headers: Mapping[str, str], name: str, message: str) -> Failure:
    code = name.rpartition("#")[2].partition(":")[0]
    failure = failure_for(status, headers, _ARN.sub("arn:***", message), code or None)
    _, kind = KINDS.get(_short(name), (status, failure.kind))
    if kind is _K.INVALID_REQUEST:
        kind = failure.kind
        if _TOO_LONG.search(message):
            kind = _K.CONTEXT_LENGTH
        elif _NO_MODEL.search(message):
            kind = _K.MODEL_MISSING
        elif _FILTERED.search(message):
            kind = _K.CONTENT_POLICY
    return replace(failure, kind=kind)


def _short(name: str) -> str:
    """`com.amazon.coral.service#ThrottlingException:http://...` as throttling."""
    return name.rpartition("#")[2].partition(":")[0].removesuffix("Exception").lower()


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def _message(document: dict[str, Any]) -> str:
    message = document.get("message") or document.get("Message")
    return message if isinstance(message, str) else ""
