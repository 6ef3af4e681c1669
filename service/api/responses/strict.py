"""Whether a function's schema may be declared strict when the caller did not say so."""

from __future__ import annotations

from typing import Any, Final

import orjson

# What every provider's strict mode takes. OpenAI's takes more (patterns, bounds), Anthropic's does not.
_KEYWORDS: Final = frozenset(
    {
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "const",
        "anyOf",
        "$ref",
        "$defs",
        "description",
        "title",
    }
)


def keeps_to_strict(schema: str) -> bool:
    """Whether `schema`, a JSON object's text, already keeps to the rules of strict mode.

    Responses functions are strict unless the caller says otherwise: OpenAI rewrites a schema that breaks the
    rules, and falls back to what is not strict where it can't. Nothing is rewritten here, so strict is only
    what needs no rewriting; any other schema is sent as it is, with nothing said of strictness.
    """
    root = orjson.loads(schema)
    return root.get("type") == "object" and "anyOf" not in root and _keeps(root)


def _keeps(node: Any) -> bool:
    if not isinstance(node, dict) or not _KEYWORDS.issuperset(node):
        return False
    properties, definitions, options = node.get("properties"), node.get("$defs", {}), node.get("anyOf", [])
    if node.get("type") == "object" or properties is not None:
        if not isinstance(properties, dict) or node.get("additionalProperties") is not False:
            return False
        required = node.get("required")
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            return False
        if set(required) != properties.keys() or not all(map(_keeps, properties.values())):
            return False
    elif _says_object(node):
        return False
    if not isinstance(definitions, dict) or not isinstance(options, list):
        return False
    return all(map(_keeps, (*definitions.values(), *options))) and ("items" not in node or _keeps(node["items"]))


def _says_object(node: dict[str, Any]) -> bool:
    """Whether objects are among several types, or free ones are: too little is said of them."""
    kind = node.get("type")
    said = "type" in node or "$ref" in node or "anyOf" in node or "enum" in node or "const" in node
    return not said or (isinstance(kind, list) and "object" in kind)
