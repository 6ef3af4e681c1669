"""Responses, their items and events, held to both published descriptions.

    check_response(value)   a Response object as decoded JSON: an answer, a stored one, an event's
    check_event(value)      one event of a stream as decoded JSON (the `data:` line without [DONE])
    check_item(value)       one item of ListInputItems
    response_problems, event_problems, item_problems    the same as lists of sentences, empty when all is well

OpenAI's schema always holds; Open Responses' holds where it knows the types of the item and the event, its
required keys always. Keys that neither names are problems. Without the folder `shared` only required keys are
looked at. Where the descriptions disagree, and where a schema contradicts itself, the exception is a name below.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from jsonschema.protocols import Validator

from tests.support.openai_schema import SLICE, validator
from tests.support.parts import SHARED

OPEN: Final = SHARED / "specs" / "openresponses-openapi-2026-04-24.json"

REQUIRED_KEYS: Final = {
    "background",
    "completed_at",
    "created_at",
    "error",
    "frequency_penalty",
    "id",
    "incomplete_details",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "object",
    "output",
    "parallel_tool_calls",
    "presence_penalty",
    "previous_response_id",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "status",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "usage",
}
"""The keys that Open Responses asks of every Response; OpenAI asks for no others."""

OUR_EVENTS: Final = {"response.cancelled", "response.restarted"}

NULL_BEFORE_THE_END: Final = {"usage"}
"""OpenAI's schema leaves them out where Open Responses, and OpenAI's own answers, say null."""

EVENT_NAMED_OTHERWISE: Final = {
    "response.reasoning_text.delta": "response.reasoning.delta",
    "response.reasoning_text.done": "response.reasoning.done",
}
"""OpenAI's name -> Open Responses' name for the same event."""

EVENT_SHAPED_OTHERWISE: Final = {"error"}
"""Open Responses nests code, message and param; OpenAI's form, which its clients read, is flat."""

NOT_IN_THE_SLICE: Final[dict[str, set[str]]] = {
    "image_generation_call": {"action", "background", "output_format", "quality", "revised_prompt", "size"},
    "local_shell_call_output": {"call_id"},
    "custom_tool_call": {"status"},
}
"""Keys that OpenAI's clients send or its answers carry, though its document does not name them."""

RESPONSE_NOT_IN_THE_SLICE: Final = {"billing", "tool_usage", "prompt_filter_results"}
"""Keys that OpenAI's and Azure's own answers carry, though no document names them: they pass through us."""

PARTS_NOT_IN_THE_SLICE: Final = {"input_audio"}
"""Parts of a user's message that its document leaves out."""

SCHEMA_MISTAKES: Final = {
    "mcp_approval_response": "request_id",
    "response.audio.done": "response_id",
    "response.audio.transcript.delta": "response_id",
    "response.audio.transcript.done": "response_id",
}
"""OpenAI's document requires a key that it doesn't define."""


def check_response(value: dict[str, Any]) -> None:
    """Fails the test with what is wrong with a Response."""
    found = response_problems(value)
    assert not found, _report(found, value)


def check_event(value: dict[str, Any]) -> None:
    """Fails the test with what is wrong with an event."""
    found = event_problems(value)
    assert not found, _report(found, value)


def check_item(value: dict[str, Any]) -> None:
    """Fails the test with what is wrong with an item of a conversation."""
    found = item_problems(value)
    assert not found, _report(found, value)


def response_problems(value: dict[str, Any]) -> list[str]:
    """What is wrong with a Response."""
    found = [f"{key!r} is missing" for key in sorted(REQUIRED_KEYS - value.keys())]
    if not SLICE.exists():
        return found
    found += _beyond("response", value, fields_of_response() | RESPONSE_NOT_IN_THE_SLICE)
    found += _errors(SLICE, "Response", _as_openai_has_it(value) | {"output": []})
    found += _errors(OPEN, "ResponseResource", _as_open_responses_has_it(value) | {"output": []})
    output = value.get("output")
    if not isinstance(output, list):
        return [*found, "'output' is no array"]
    for index, item in enumerate(output):
        found += [f"output[{index}] {problem}" for problem in _output_item_problems(item)]
    return found


def event_problems(value: dict[str, Any]) -> list[str]:
    """What is wrong with an event, and with the Response or the item inside it."""
    kind = value.get("type")
    found: list[str] = []
    if "response" in value:
        found += [f"response: {problem}" for problem in response_problems(value["response"])]
    if not SLICE.exists() or kind in OUR_EVENTS:
        return found
    if "item" in value:
        found += [f"item: {problem}" for problem in _output_item_problems(value["item"])]
    name = _events(SLICE).get(kind)
    if name is None:
        return [*found, f"{kind!r} is not an event of OpenAI's"]
    # What is inside was judged above, with the listed exceptions.
    outside = {key: item for key, item in value.items() if key not in {"response", "item"}}
    found += _beyond("event", value, _properties(SLICE, name))
    found += [
        text
        for text in _errors(SLICE, name, outside)
        if not _is_about_the_inside(text, value) and not _is_mistake(str(kind), text)
    ]
    other = EVENT_NAMED_OTHERWISE.get(str(kind), kind)
    if (name := _events(OPEN).get(other)) is not None and kind not in EVENT_SHAPED_OTHERWISE:
        outside = {**_known_annotations(outside), "type": other}
        found += [text for text in _errors(OPEN, name, outside) if not _is_about_the_inside(text, value)]
    return found


def item_problems(value: dict[str, Any]) -> list[str]:
    """What is wrong with an item that a response was asked with, as ListInputItems shows it."""
    if not SLICE.exists():
        return [] if "id" in value else ["'id' is missing"]
    if value.get("type") != "message" or value.get("role") == "assistant":
        return _output_item_problems(value)
    content = value.get("content")
    if isinstance(content, list):
        content = [part for part in content if part.get("type") not in PARTS_NOT_IN_THE_SLICE]
    known = {**value, "content": content}
    found = [] if "id" in value else ["'id' is missing"]
    return [*found, *_errors(SLICE, "InputMessage", known), *_open_item_problems(known)]


def fields_of_response() -> set[str]:
    """The keys that either description names for a Response."""
    return _properties(SLICE, "Response") | _properties(OPEN, "ResponseResource") if SLICE.exists() else set()


def events_of(schema_file: str) -> set[str]:
    """The event types of `openai` or `open_responses`."""
    return set(_events({"openai": SLICE, "open_responses": OPEN}[schema_file]))


def _output_item_problems(item: dict[str, Any]) -> list[str]:
    kind = item.get("type")
    name = _items(SLICE, "OutputItem").get(kind)
    if name is None:
        return [f"{kind!r} is not an item of OpenAI's"]
    open_name = _items(OPEN, "ItemField").get(kind)
    known = _properties(SLICE, name) | (_properties(OPEN, open_name) if open_name else set())
    found = list(_beyond(str(kind), item, known | NOT_IN_THE_SLICE.get(str(kind), set())))
    found += [text for text in _errors(SLICE, name, item) if not _is_mistake(str(kind), text)]
    return found + _open_item_problems(item)


def _open_item_problems(item: dict[str, Any]) -> list[str]:
    name = _items(OPEN, "ItemField").get(item.get("type"))
    return [] if name is None else _errors(OPEN, name, _known_annotations(item))


def _as_openai_has_it(response: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in response.items() if not (k in NULL_BEFORE_THE_END and v is None)}


def _as_open_responses_has_it(response: dict[str, Any]) -> dict[str, Any]:
    """Without what Open Responses leaves to extensions: other tools, their choice, other text formats."""
    known = dict(response)
    known["tools"] = [tool for tool in response.get("tools") or () if tool.get("type") == "function"]
    choice = response.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") not in {"function", "allowed_tools"}:
        known["tool_choice"] = "auto"
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        tools = [tool for tool in choice["tools"] if tool.get("type") == "function"]
        known["tool_choice"] = {**choice, "tools": tools}
    text = response.get("text") or {}
    if text.get("format", {}).get("type") == "json_schema":
        # Its document allows nothing but null as the schema.
        known["text"] = {**text, "format": {"type": "text"}}
    return known


def _known_annotations(value: Any) -> Any:
    """Open Responses knows one kind of annotation."""
    if isinstance(value, list):
        return [_known_annotations(item) for item in value]
    if not isinstance(value, dict):
        return value
    inner = {key: _known_annotations(item) for key, item in value.items()}
    if isinstance(found := inner.get("annotations"), list):
        inner["annotations"] = [one for one in found if one.get("type") == "url_citation"]
    if isinstance(one := inner.get("annotation"), dict) and one.get("type") != "url_citation":
        inner["annotation"] = None
    return inner


def _is_about_the_inside(text: str, value: dict[str, Any]) -> bool:
    return any(f"'{key}' is a required property" in text for key in ("response", "item") if key in value)


def _is_mistake(kind: str, text: str) -> bool:
    return kind in SCHEMA_MISTAKES and f"'{SCHEMA_MISTAKES[kind]}' is a required property" in text


def _beyond(where: str, value: dict[str, Any], allowed: set[str]) -> Iterator[str]:
    for key in sorted(value.keys() - allowed):
        yield f"{where}: {key!r} is neither OpenAI's nor Open Responses'"


def _errors(path: Any, name: str, value: Any) -> list[str]:
    short = "openai" if path == SLICE else "open responses"
    return [f"{short} {name} {error.json_path}: {error.message}" for error in _of(path, name).iter_errors(value)]


@cache
def _of(path: Any, name: str) -> Validator:
    return validator(name, path)


@cache
def _schemas(path: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())["components"]["schemas"]
    return found


@cache
def _properties(path: Any, name: str) -> set[str]:
    """The keys that a schema names, with those of the schemas that it is made of."""
    schema = _schemas(path).get(name, {})
    return set(_walk_properties(path, schema))


def _walk_properties(path: Any, schema: dict[str, Any]) -> Iterator[str]:
    yield from schema.get("properties", {})
    for part in schema.get("allOf", ()):
        yield from _walk_properties(path, part)
    if "$ref" in schema:
        yield from _properties(path, _name(schema))


@cache
def _events(path: Any) -> dict[Any, str]:
    if path == OPEN:
        names = [name for name in _schemas(path) if name.endswith("StreamingEvent")]
    else:
        union = _schemas(path)["ResponseStreamEvent"]
        names = [_name(one) for one in union.get("anyOf") or union["oneOf"]]
    return {_type_of(path, name): name for name in names}


@cache
def _items(path: Any, union: str) -> dict[Any, str]:
    return {_type_of(path, _name(one)): _name(one) for one in _schemas(path)[union]["oneOf"]}


def _name(schema: dict[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _type_of(path: Any, name: str) -> str:
    schema = _schemas(path)[name]
    parts = [
        schema,
        *(_schemas(path).get(_name(one), one) if "$ref" in one else one for one in schema.get("allOf", ())),
    ]
    kinds = [part["properties"]["type"] for part in parts if "type" in part.get("properties", {})]
    return str(kinds[0].get("const") or kinds[0]["enum"][0])


def _report(found: list[str], value: dict[str, Any]) -> str:
    return "\n".join((*found, json.dumps(value, indent=1)[:4000]))
