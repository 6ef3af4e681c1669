"""What OpenAI and its look-alikes say when they fail, as a Failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from adapters.providers.status import CODES, failure_for, safe_message
from service.domain.failure import Failure

# Error types that say what a status would, for errors that come after status 200. OpenAI, vLLM, Mistral.
_TYPES: Final = {
    "invalid_request_error": 400,
    "BadRequestError": 400,
    "bad_request": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "NotFoundError": 404,
    "timeout": 504,
    "tokens": 429,
    "requests": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "overloaded_error": 503,
    "service_unavailable": 503,
    "unavailable_error": 503,
}


@dataclass(frozen=True, slots=True)
class _Found:
    message: str = ""
    codes: tuple[str, ...] = ()
    param: str | None = None
    status: int | None = None


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """What a status other than 2xx means; the body's own words make it finer."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        # A page of a proxy says nothing to the caller; a short sentence might.
        text = body[:2000].decode("utf-8", "replace") if body[:1] != b"<" else ""
        return failure_for(status, headers, text)
    found = _find(document)
    return failure_for(status, headers, found.message, _code(found), found.param)


def failure_in(document: dict[str, Any]) -> Failure:
    """The failure that an error in a 200 answer stands for: {"error": ...} of a body, a chunk or a choice.

    An error of no known kind is the provider's: it had accepted the request.
    """
    found = _find(document)
    named = next((_TYPES[code] for code in found.codes if code in _TYPES), 500)
    failure = failure_for(found.status or named, {}, found.message, _code(found), found.param)
    message = failure.message if found.message else "the provider sent an error without a message"
    return Failure(failure.kind, message, 200, failure.code, failure.param)


def _code(found: _Found) -> str | None:
    """The code that decides: a known one among code, inner code and type, else the first."""
    known = next((code for code in found.codes if code in CODES), None)
    return known or next(iter(found.codes), None)


def _find(document: Any) -> _Found:
    if isinstance(document, list):
        # Google's look-alike wraps its error in a list; FastAPI lists what is wrong.
        document = document[0] if document else {}
    if isinstance(document, str):
        return _Found(document)
    if not isinstance(document, dict):
        return _Found()
    error = document.get("error")
    if isinstance(error, dict):
        return _of(error)
    if isinstance(error, str):
        return _of({"message": error} | {k: v for k, v in document.items() if k != "error"})
    return _of(document)


def _of(error: dict[str, Any]) -> _Found:
    inner = error.get("innererror")
    inner_code = inner.get("code") if isinstance(inner, dict) else None
    codes: list[str] = []
    status: int | None = None
    for value in (error.get("code"), inner_code, error.get("type"), error.get("status")):
        number = _status(value)
        if number is not None:
            status = status or number
        elif isinstance(value, str) and value:
            codes.append(safe_message(value)[:100])
    param = error.get("param")
    return _Found(_message(error) + _filters(inner), tuple(codes), str(param)[:200] if param else None, status)


def _filters(inner: Any) -> str:
    """The names of Azure's filters that struck (learn.microsoft.com, content filtering): its sentence has none."""
    results = inner.get("content_filter_result") if isinstance(inner, dict) else None
    if not isinstance(results, dict):
        return ""
    struck = [name for name, result in results.items() if isinstance(result, dict) and result.get("filtered")]
    return f" ({', '.join(struck[:10])})" if struck else ""


def _status(value: Any) -> int | None:
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    return value if type(value) is int and 400 <= value <= 599 else None


def _message(error: dict[str, Any]) -> str:
    for name in ("message", "detail", "error", "errors"):
        value = error.get(name)
        if isinstance(value, dict):
            # Mistral: {"message": {"detail": [...]}}.
            value = value.get("detail", value.get("message"))
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list) and value:
            return "; ".join(filter(None, map(_entry, value[:5])))
    return ""


def _entry(entry: Any) -> str:
    """One of FastAPI's findings: {"loc": ["body", "temperature"], "msg": "..."}."""
    if not isinstance(entry, dict):
        return str(entry)
    message = entry.get("msg") or entry.get("message") or ""
    place = ".".join(str(step) for step in entry.get("loc") or () if step != "body")
    return f"{place}: {message}" if place else str(message)
