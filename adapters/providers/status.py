"""What a failed call means, for every dialect: the table by status and error code, Retry-After, safe messages.

Reading a provider's error body is the dialect's business; it hands over what it found there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from service.domain.failure import Failure, FailureKind

MAX_MESSAGE: Final = 500

LONGEST_WAIT: Final = 86_400.0
"""Seconds. The longest limits that providers reset are daily ones (requests per day: Groq, OpenAI); who names more
is asked again after a day. No caller is told nonsense then, and no job waits for a moment beyond what a database
can hold."""

STATUSES: Final[dict[int, FailureKind]] = {
    400: FailureKind.INVALID_REQUEST,
    401: FailureKind.AUTH,
    402: FailureKind.QUOTA,
    403: FailureKind.AUTH,
    # A wrong base URL, path or model name answers 404, 405 or 410: our catalogue's mistake, not the caller's.
    # `kind_of` tells the rare 404 about something that the caller named.
    404: FailureKind.MODEL_MISSING,
    405: FailureKind.MODEL_MISSING,
    408: FailureKind.TIMEOUT,
    410: FailureKind.MODEL_MISSING,
    413: FailureKind.TOO_LARGE,
    422: FailureKind.INVALID_REQUEST,
    429: FailureKind.RATE_LIMITED,
    # Groq: the flex tier's capacity is exceeded (console.groq.com/docs/errors).
    498: FailureKind.OVERLOADED,
    503: FailureKind.OVERLOADED,
    504: FailureKind.TIMEOUT,
    # Anthropic: overloaded_error (docs.anthropic.com, API errors).
    529: FailureKind.OVERLOADED,
}

CODES: Final[dict[str, FailureKind]] = {
    # OpenAI (platform.openai.com/docs/guides/error-codes and recorded answers).
    "insufficient_quota": FailureKind.QUOTA,
    "billing_hard_limit_reached": FailureKind.QUOTA,
    "billing_not_active": FailureKind.QUOTA,
    "invalid_api_key": FailureKind.AUTH,
    "model_not_found": FailureKind.MODEL_MISSING,
    "context_length_exceeded": FailureKind.CONTEXT_LENGTH,
    "content_policy_violation": FailureKind.CONTENT_POLICY,
    "rate_limit_exceeded": FailureKind.RATE_LIMITED,
    # Azure OpenAI (learn.microsoft.com, content filtering; recorded answers).
    "content_filter": FailureKind.CONTENT_POLICY,
    "ResponsibleAIPolicyViolation": FailureKind.CONTENT_POLICY,
    "DeploymentNotFound": FailureKind.MODEL_MISSING,
    # Mistral gives this as the error's type.
    "invalid_model": FailureKind.MODEL_MISSING,
    # llama.cpp's server gives this as the error's type.
    "exceed_context_size_error": FailureKind.CONTEXT_LENGTH,
}
"""Error codes whose meaning is finer than their status."""

# Only for servers that have no code for it, only in answers that reject a request, so that a prompt that an
# error repeats can never make a failure look like one worth a retry. vLLM, llama.cpp, SGLang, TGI,
# Anthropic, OpenAI.
_TOO_LONG: Final = re.compile(
    r"maximum context length|exceeds? the (?:available|model's) context (?:size|length|window)"
    r"|longer than the (?:maximum model length|model's context length)"
    r"|`inputs` (?:tokens \+|must have less than)|prompt is too long|input is too long for",
    re.IGNORECASE,
)
# Anthropic answers a spent account with 400 invalid_request_error and this sentence.
_SPENT: Final = re.compile(r"credit balance is too low", re.IGNORECASE)
_REJECTED: Final = frozenset({400, 413, 422})

_SECRETS: Final = re.compile(
    r"\bbearer\s+[\w.~+/*=-]{8,}|\bbasic\s+[\w+/=-]{16,}"
    r"|\b(?:sk|pk|rk|gsk|csk|xai|eur|hf|nvapi|pplx|fw|tgp)[-_][\w*.-]*[\w*]"
    r"|\bAIza[\w-]{10,}|\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\beyJ[\w-]{8,}\.[\w.-]+"
    r"|(?<=api key provided: )[^\s,]*[^\s,.]",
    re.IGNORECASE,
)


def kind_of(status: int, message: str, code: str | None = None, param: str | None = None) -> FailureKind:
    """The kind of failure that an answer with this status, code and message is."""
    kind = CODES.get(code) if code else None
    if kind is not None:
        return kind
    if status in _REJECTED:
        if _TOO_LONG.search(message):
            return FailureKind.CONTEXT_LENGTH
        if _SPENT.search(message):
            return FailureKind.QUOTA
        if param == "model":
            # The provider's name of the model stands in our catalogue, the caller never sees it.
            return FailureKind.MODEL_MISSING
    if status == 404 and param and param != "model":
        # OpenAI names the parameter when something that the request names (a file, a response) is not there.
        return FailureKind.INVALID_REQUEST
    kind = STATUSES.get(status)
    if kind is None:
        kind = FailureKind.SERVER_ERROR if 500 <= status <= 599 else FailureKind.UNKNOWN
    return kind


def failure_for(
    status: int,
    headers: Mapping[str, str],
    message: str,
    code: str | None = None,
    param: str | None = None,
    now: float | None = None,
) -> Failure:
    """The failure that an HTTP answer stands for.

    Header names are in lower case. `message` is the provider's, as it came. `now` (Unix seconds) is for dates
    in Retry-After; without it the answer's own Date header serves.
    """
    text = safe_message(message) or f"the provider answered with status {status}"
    kind = kind_of(status, message, code, param)
    return Failure(kind, text, status, code, param, retry_after(headers, now))


def safe_message(message: str) -> str:
    """A provider's sentence without credentials, on one line, at most MAX_MESSAGE characters."""
    # Cut generously before masking: the expressions must not run over megabytes of an error page.
    text = _SECRETS.sub("***", " ".join(message[: 8 * MAX_MESSAGE].split()))
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds to wait that the provider named, or None.

    retry-after-ms, then Retry-After (seconds or an HTTP date), then x-ratelimit-reset*: of the limits that
    are used up the latest, else the earliest. At most LONGEST_WAIT.
    """
    named = _named(headers, now)
    return None if named is None else min(named, LONGEST_WAIT)


def _named(headers: Mapping[str, str], now: float | None) -> float | None:
    if now is None:
        now = _http_date(headers.get("date", ""))
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "")
    if value:
        seconds = _number(value)
        if seconds is not None:
            return seconds
        at = _http_date(value)
        if at is not None and now is not None:
            return max(0.0, at - now)
    return _reset(headers, now)


def _reset(headers: Mapping[str, str], now: float | None) -> float | None:
    spent: list[float] = []
    waits: list[float] = []
    for name, value in headers.items():
        key = name.lower()
        if not key.startswith("x-ratelimit-reset"):
            continue
        wait = reset_seconds(value, now)
        if wait is None:
            continue
        waits.append(wait)
        if headers.get(key.replace("reset", "remaining", 1)) == "0":
            spent.append(wait)
    if spent:
        return max(spent)
    return min(waits, default=None)


_STEP: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def reset_seconds(value: str, now: float | None) -> float | None:
    """Seconds from an x-ratelimit-reset value: `1s`, `6m0s`, `20ms`, seconds, Unix time (s or ms), RFC 3339."""
    value = value.strip()
    number = _number(value)
    if number is not None:
        if number < 1e9:
            return number
        at = number / 1000 if number > 1e11 else number
        return None if now is None else max(0.0, at - now)
    steps = _STEP.findall(value)
    if steps and "".join(amount + unit for amount, unit in steps) == value:
        return sum(float(amount) * _UNITS[unit] for amount, unit in steps)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return None if now is None or moment.tzinfo is None else max(0.0, moment.timestamp() - now)


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\s*\d{1,15}(?:\.\d{1,9})?\s*", text) else None


def _http_date(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
