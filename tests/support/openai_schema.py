"""OpenAI's own description of its chat answers, to hold ours to; and the list of what we may add to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator

from tests.support.parts import SHARED

SLICE: Final = SHARED / "specs" / "openai-slice.json"
WHOLE: Final = "CreateChatCompletionResponse"
CHUNK: Final = "CreateChatCompletionStreamResponse"

_ROOT: Final = {"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"}
_MESSAGE: Final = {"role", "content", "refusal", "tool_calls", "function_call", "annotations", "audio"}
# What Azure's content filters found is told as it is.
ADDED_TO_ROOT: Final = {"provider", "prompt_filter_results"}
ADDED_TO_CHOICE: Final = {"content_filter_results", "native_finish_reason"}
ADDED_TO_MESSAGE: Final = {"reasoning", "reasoning_details"}


def problems(name: str, value: dict[str, Any]) -> list[str]:
    """What is wrong with an answer or a chunk: against OpenAI's schema, and keys that nobody listed.

    Without the folder `shared` only the keys are looked at.
    """
    found = list(_unlisted(name, value))
    if SLICE.exists():
        found += [f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(value)]
    return found


def _unlisted(name: str, value: dict[str, Any]) -> Iterator[str]:
    inner = "delta" if name == CHUNK else "message"
    yield from _beyond("", value, _ROOT | ADDED_TO_ROOT)
    for choice in value["choices"]:
        yield from _beyond("choices", choice, {"index", inner, "finish_reason", "logprobs"} | ADDED_TO_CHOICE)
        yield from _beyond(f"choices.{inner}", choice[inner], _MESSAGE | ADDED_TO_MESSAGE)


def _beyond(path: str, value: dict[str, Any], allowed: set[str]) -> Iterator[str]:
    for key in sorted(value.keys() - allowed):
        yield f"{path}: {key!r} is neither OpenAI's nor a listed extension"


@cache
def validator(name: str, path: Path = SLICE) -> Validator:
    """Of one of the schemas that an OpenAPI document names."""
    document = _nullable(json.loads(path.read_text()))
    document["$ref"] = f"#/components/schemas/{name}"
    return Draft202012Validator(document)


def _nullable(schema: Any) -> Any:
    """OpenAPI 3.0's `nullable: true`, which the document still uses, in the words of JSON Schema."""
    if isinstance(schema, list):
        return [_nullable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: _nullable(item) for key, item in schema.items() if key != "nullable"}
    return {"anyOf": [inner, {"type": "null"}]} if schema.get("nullable") is True else inner
