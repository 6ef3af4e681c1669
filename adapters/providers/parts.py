"""Parts of turns as wires with blocks write them: calls whose arguments are an object, ids in a wire's characters.

What a block looks like is its dialect's.
"""

from __future__ import annotations

import re
from hashlib import blake2s
from typing import Any

import orjson

from service.domain.errors import ServiceError, invalid
from service.domain.generation import Part, ToolCall


def arguments_of(call: ToolCall, path: str) -> Any:
    """The arguments as an object; the text itself goes out, so that no number changes on the way.

    Raises:
        ServiceError: INVALID_REQUEST that names the call whose arguments are none.
    """
    if not call.arguments.strip():
        return {}
    try:
        parsed = orjson.loads(call.arguments)
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        raise invalid(f"{path}.tool_calls", f"the arguments of call {call.id} ({call.name}) are not a JSON object")
    return orjson.Fragment(call.arguments)


def id_within(taken: re.Pattern[str], call_id: str) -> str:
    """The id of a call, in the characters that a wire takes; the same text always gives the same id."""
    if taken.fullmatch(call_id):
        return call_id
    return f"call_{blake2s(call_id.encode(), digest_size=12).hexdigest()}"


def untold(path: str, part: Part) -> ServiceError:
    """The error for a part that a wire has no block for."""
    return invalid(path, f"this endpoint can't take a part of kind {type(part).__name__} here")
