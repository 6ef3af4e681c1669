"""Scripts as JSON, for control from another process: the fields of Script under their own names.

A fault is `{"kind": "cut", "after_tokens": 3}`; kinds: cut, stall, garbage, error_in_200, slow_first_byte,
http_error, reset. An unknown or mistyped field is a ValueError that names it.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from .script import (
    Cut,
    ErrorIn200,
    Fault,
    Garbage,
    HttpError,
    Reason,
    Reset,
    Script,
    SlowFirstByte,
    Stall,
    ToolCall,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_FAULTS: Mapping[str, type[Fault]] = {
    "cut": Cut,
    "stall": Stall,
    "garbage": Garbage,
    "error_in_200": ErrorIn200,
    "slow_first_byte": SlowFirstByte,
    "http_error": HttpError,
    "reset": Reset,
}
_INTEGERS = {"tokens", "choices", "after_tokens", "status", "busy_calls"}
_COUNTS = {"prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"}
_NUMBERS = {"first_byte_delay", "pace", "latency", "seconds", "busy_seconds"}
_FLAGS = {"echo", "obey", "headers_first"}
_STRINGS = {"refusal", "finish_reason", "id", "name", "arguments", "message"}
_BYTES = {"body", "data"}
_NULLABLE = {
    *("text", "tokens", "finish_reason", "usage", "choices", "latency", "fault"),
    *("message", "after_tokens", "body"),
}


def script_from_json(value: object) -> Script:
    """Reads a script; raises ValueError with the field's path and what it must be."""
    script: Script = _build(Script, value, "script")
    return script


def _build(cls: type[Any], value: object, path: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{path}: must be an object")  # noqa: TRY004 - one kind for bad input
    known = {item.name: item for item in fields(cls)}
    for name in value:
        if name not in known:
            raise ValueError(f"{path}.{name}: unknown; known are {', '.join(known)}")
    given = {name: _field(name, item, f"{path}.{name}") for name, item in value.items()}
    try:
        return cls(**given)
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}.{error}") from None


def _field(name: str, value: object, path: str) -> Any:
    if value is None and name in _NULLABLE:
        return None
    if name in _INTEGERS | _COUNTS:
        return _typed(value, int, path, "an integer")
    if name in _NUMBERS:
        return float(_typed(value, (int, float), path, "a number of seconds"))
    if name in _FLAGS:
        return _typed(value, bool, path, "true or false")
    if name in _STRINGS:
        return _typed(value, str, path, "a string")
    if name in {"text", "reasoning"}:
        return value if isinstance(value, str) else _strings(value, path)
    if name in _BYTES:
        return _bytes(value, path)
    return _composite(name, value, path)


def _composite(name: str, value: object, path: str) -> Any:
    match name:
        case "tool_calls":
            items = _typed(value, list, path, "a list")
            return tuple(_build(ToolCall, item, f"{path}[{at}]") for at, item in enumerate(items))
        case "usage":
            return _build(Usage, value, path)
        case "logprobs":
            items = _typed(value, list, path, "a list of numbers")
            return tuple(float(_typed(item, (int, float), path, "a list of numbers")) for item in items)
        case "headers":
            pairs = _typed(value, dict, path, "an object of strings")
            return tuple((str(key), str(item)) for key, item in pairs.items())
        case "reason":
            return _one_of(value, {reason.value: reason for reason in Reason}, path)
        case "reasoning_field":
            return _one_of(value, {"reasoning_content": "reasoning_content", "reasoning": "reasoning"}, path)
        case "fault":
            fault = dict(_typed(value, dict, path, "an object with a kind"))
            return _build(_one_of(fault.pop("kind", None), _FAULTS, f"{path}.kind"), fault, path)
        case _:
            raise ValueError(f"{path}: can't be given in JSON")


def _typed(value: object, kind: type | tuple[type, ...], path: str, words: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{path}: must be {words}")
    return value


def _strings(value: object, path: str) -> tuple[str, ...]:
    words = "a string or a list of strings"
    return tuple(_typed(item, str, path, words) for item in _typed(value, list, path, words))


def _bytes(value: object, path: str) -> bytes:
    """Text as a string, other bytes as `{"base64": "…"}`."""
    if isinstance(value, str):
        return value.encode()
    encoded = value.get("base64") if isinstance(value, dict) else None
    try:
        return base64.b64decode(_typed(encoded, str, path, 'a string or {"base64": "…"}'), validate=True)
    except binascii.Error:
        raise ValueError(f"{path}.base64: not base64") from None


def _one_of(value: object, known: Mapping[str, Any], path: str) -> Any:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{path}: must be one of {', '.join(known)}")
    return known[value]
