"""JSON Schemas as the text that they came in: key order and numbers of any size stay. No dialect's rules."""

from __future__ import annotations

from typing import Any

import orjson


def parameters_of(schema: str) -> Any:
    """A function's schema as the value to write: an object's, also where the caller left that unsaid."""
    parsed = orjson.loads(schema)
    if isinstance(parsed, dict) and "type" not in parsed:
        return with_first(schema, "type", "object")
    return orjson.Fragment(schema)


def with_first(schema: str, name: str, value: str) -> orjson.Fragment:
    """The text of an object with one more member, before all that it has; `name` must not be among them."""
    head = orjson.dumps({name: value})[:-1]
    rest = schema.strip()[1:].lstrip()
    return orjson.Fragment(head + (b"" if rest == "}" else b",") + rest.encode())
