"""The forms that a provider's request makes use of: its fields with what kind of thing stands in them.

    messages[user].content[image].source{base64}.media_type

Lists name the kind of each item, objects their `type`. Values are left out, but for the word of a tool choice; the
caller's own JSON (schemas, arguments) is one form, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

_CALLERS_OWN: Final = {
    *("parameters", "input_schema", "schema", "inputSchema", "json", "arguments", "metadata", "logit_bias"),
    *("headers", "definition"),
}
_SAID_BY_THE_KIND: Final = {"type", "role"}
_WORDS: Final = {"tool_choice"}


def forms(request: dict[str, Any]) -> set[str]:
    """All forms of one request."""
    return set(_of_object(request, ""))


def _of_object(value: dict[str, Any], path: str) -> Iterator[str]:
    for name, inner in value.items():
        if inner is not None and name not in _SAID_BY_THE_KIND:
            yield from _of(name, inner, f"{path}.{name}" if path else name)


def _of(name: str, value: Any, path: str) -> Iterator[str]:
    # The arguments of Anthropic's and Bedrock's calls are an object `input`; that of a response is a list or text.
    if name in _CALLERS_OWN or (name == "input" and isinstance(value, dict)):
        yield path
    elif isinstance(value, dict):
        place = path + (f"{{{value['type']}}}" if isinstance(value.get("type"), str) else "")
        yield place
        yield from _of_object(value, place)
    elif isinstance(value, list):
        for item in value:
            place = f"{path}[{_kind(item)}]"
            yield place
            if isinstance(item, dict):
                yield from _of_object(item, place)
    else:
        yield f"{path} {value}" if name in _WORDS else path


def _kind(item: Any) -> str:
    if not isinstance(item, dict):
        return type(item).__name__
    if "type" in item and item["type"] != "message":
        return str(item["type"])
    return str(item.get("role") or next(iter(item), ""))
