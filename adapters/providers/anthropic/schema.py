"""Whether a JSON Schema is one that Anthropic's structured outputs take. Nothing is stripped or added silently."""

from __future__ import annotations

from typing import Any, Final

import orjson

from service.domain.errors import invalid
from service.domain.generation import JsonSchema

_PATH: Final = "response_format.json_schema.schema"

# Docs: structured outputs, JSON Schema limitations. The SDK moves the same ones into descriptions.
REFUSED: Final = frozenset(
    {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "maxItems",
        "uniqueItems",
        "contains",
        "prefixItems",
        "minProperties",
        "maxProperties",
        "patternProperties",
        "propertyNames",
        "dependentRequired",
        "oneOf",
        "not",
        "if",
    }
)
_ONE: Final = ("items",)
_LISTS: Final = ("anyOf", "allOf")
_MAPS: Final = ("properties", "$defs", "definitions")


def checked_schema(output: JsonSchema) -> Any:
    """The schema for the wire, key order and numbers kept.

    Raises:
        ServiceError: INVALID_REQUEST naming the place in the schema that Anthropic does not take.
    """
    if output.schema is None:
        raise invalid(_PATH, "this endpoint needs the schema that the answer must match")
    parsed = orjson.loads(output.schema)
    _check(parsed, _PATH)
    if output.description and isinstance(parsed, dict) and "description" not in parsed:
        return {"description": output.description, **parsed}
    return orjson.Fragment(output.schema)


def _check(node: Any, path: str) -> None:
    if not isinstance(node, dict):
        # true and false are schemas, too, and say nothing that could be refused here.
        return
    refused = sorted(REFUSED & node.keys())
    if refused:
        raise invalid(f"{path}.{refused[0]}", "this endpoint's structured outputs don't take this keyword")
    minimum = node.get("minItems")
    if minimum is not None and minimum not in (0, 1):
        raise invalid(f"{path}.minItems", "this endpoint's structured outputs take 0 and 1 only")
    if _is_object(node) and node.get("additionalProperties") is not False:
        raise invalid(
            f"{path}.additionalProperties",
            "this endpoint's structured outputs want false here, on every object of the schema",
        )
    for key in _ONE:
        _check(node.get(key), f"{path}.{key}")
    for key in _LISTS:
        entries = node.get(key)
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            _check(entry, f"{path}.{key}[{index}]")
    for key in _MAPS:
        named = node.get(key)
        for name, entry in (named if isinstance(named, dict) else {}).items():
            _check(entry, f"{path}.{key}.{name}")


def _is_object(node: dict[str, Any]) -> bool:
    kind = node.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in node
