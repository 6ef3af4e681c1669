"""An answer of a given form where an endpoint knows none: a tool that must be called. The request's side.

The tool's parameters are the schema; what the model calls it with is the answer (`emulated_answer`). Which
requests this serves is decided here; whether it is allowed, and that what comes back matches, is others' business.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Final

from service.domain.errors import ServiceError, Violation, invalid
from service.domain.fields import Field
from service.domain.generation import FunctionTool, Generation, JsonSchema, NamedChoice, ToolCall
from service.domain.routing import Needs

PATH: Final = "response_format.json_schema"

VALUE: Final = "value"
"""The one property of the object that other values are wrapped in: a tool's parameters are an object."""

MAX_SCHEMA: Final = 64 * 1024
"""Characters of a schema that is checked on our own machine, once for every endpoint that a plan looks at."""

MAX_DEPTH: Final = 64
"""Levels of objects and lists in such a schema."""

_BESIDE: Final[dict[Field, str]] = {
    Field.TOOLS: "the request has tools of its own",
    Field.CUSTOM_TOOLS: "the request has tools of its own",
    Field.LOCAL_TOOLS: "the request has tools of its own",
    Field.OPAQUE_TOOLS: "the request has tools of its own",
    Field.WEB_SEARCH: "a model that must call one tool searches nothing",
    Field.LOGPROBS: "a call's arguments have no log probabilities",
    Field.TOP_LOGPROBS: "a call's arguments have no log probabilities",
    Field.STOP: "a stop sequence would cut the JSON",
    Field.AUDIO_OUTPUT: "the answer would be spoken, too",
}
# Python's regular expressions can neither be bounded nor interrupted, and these are the caller's.
_PATTERNS: Final = frozenset({"pattern", "patternProperties"})
# Here a reference need not mean what it says, or means another document.
_NAMES: Final = frozenset({"$id", "id", "$dynamicRef", "$recursiveRef"})
_REFERENCE: Final = "$ref"
# Values of these are data, whatever their keys are called.
_DATA: Final = frozenset({"const", "enum", "default", "examples"})
# Keys of these are names, not keywords.
_MAPS: Final = frozenset({"properties", "$defs", "definitions", "dependentSchemas", "dependentRequired"})
# A tool's parameters may hold these, but not at the top (Anthropic, OpenAI in strict mode).
_NOT_AT_THE_TOP: Final = frozenset({_REFERENCE, "anyOf", "oneOf", "allOf", "not", "enum", "const", "if"})
_OWN_REFERENCE: Final = re.compile(r'("\$ref"\s*:\s*"#)(?=["/])')
_ASK: Final = "Gives the answer. Call this once, with the whole answer to what was asked."
_NAME_LENGTH: Final = 64


@dataclass(frozen=True, slots=True)
class Emulated:
    """What a forced call stands for: an answer that matches `schema` (JSON text); `wrapped`: below VALUE."""

    tool: str
    schema: str
    wrapped: bool


def obstacle(needs: Needs) -> str | None:
    """Why the request's schema can't be emulated anywhere, half a sentence; None when it can be."""
    for field, why in _BESIDE.items():
        if field in needs.fields:
            return why
    if any(path.startswith("tools[") for path in needs.server_tools):
        return _BESIDE[Field.TOOLS]
    if needs.schema is None:
        return "there is no schema to check the answer against"
    if len(needs.schema) > MAX_SCHEMA:
        return f"the schema is longer than {MAX_SCHEMA} characters"
    return _unchecked(needs.schema)


def emulate(generation: Generation, output: JsonSchema, can: frozenset[Field]) -> tuple[Generation, Emulated]:
    """`generation` with a tool that must be called in place of `output`, for an endpoint that knows these fields.

    Raises:
        ServiceError: INVALID_REQUEST without a schema.
    """
    if output.schema is None:
        raise invalid(f"{PATH}.schema", "this endpoint needs the schema that the answer must match")
    wrapped = not _is_object(output.schema)
    name = _free_name(output.name, generation)
    says = _ASK if output.description is None else f"{_ASK}\n\n{output.description}"
    parameters = _wrap(output.schema) if wrapped else output.schema
    asked = replace(
        generation,
        tools=(FunctionTool(name, says, parameters, output.strict),),
        tool_choice=NamedChoice(name),
        parallel_tool_calls=False if Field.PARALLEL_TOOL_CALLS in can else None,
        output=None,
    )
    return asked, Emulated(name, output.schema, wrapped)


def about_the_schema(error: ServiceError) -> ServiceError:
    """A dialect's refusal of the forced tool, which the caller never wrote, as one of the schema."""
    ours = [each.path.startswith(("tool_choice", "tools", "parallel_tool_calls")) for each in error.violations]
    if not any(ours):
        return error
    violations = tuple(
        Violation(PATH, f"is emulated by a tool that must be called, and there {each.message}") if own else each
        for own, each in zip(ours, error.violations, strict=True)
    )
    first = violations[0]
    return ServiceError(error.reason, f"{first.path}: {first.message}", violations=violations)


def _unchecked(schema: str) -> str | None:
    """What in the schema nobody here checks, half a sentence."""
    found: list[tuple[object, int, bool]] = [(json.loads(schema), 1, False)]
    while found:
        node, depth, names = found.pop()
        if depth > MAX_DEPTH:
            return f"the schema is nested deeper than {MAX_DEPTH} levels"
        if isinstance(node, list):
            found += [(each, depth + 1, False) for each in node]
        if not isinstance(node, dict):
            continue
        problem = None if names else _problem(node, depth)
        if problem is not None:
            return problem
        found += [
            (each, depth + 1, not names and key in _MAPS)
            for key, each in node.items()
            if names or key not in _DATA
        ]
    return None


def _problem(node: dict[str, object], depth: int) -> str | None:
    patterns = sorted(_PATTERNS & node.keys())
    if patterns:
        return f"regular expressions ({patterns[0]}) are not checked here"
    named = sorted(_NAMES & node.keys())
    if named:
        return f"{named[0]} is not resolved here"
    if depth > 1 and "$schema" in node:
        return "its parts are of several dialects of JSON Schema"
    reference = node.get(_REFERENCE, "#")
    if not (isinstance(reference, str) and reference.startswith("#")):
        return "the schema refers to another document, and none is fetched"
    return None


def _is_object(schema: str) -> bool:
    top = json.loads(schema)
    return isinstance(top, dict) and top.get("type") == "object" and _NOT_AT_THE_TOP.isdisjoint(top)


def _wrap(schema: str) -> str:
    """The schema of an object that holds what `schema` means; its text stays, but for references to itself."""
    inner = _OWN_REFERENCE.sub(rf"\1/properties/{VALUE}", schema)
    properties = f'"properties":{{"{VALUE}":{inner}}}'
    return f'{{"type":"object",{properties},"required":["{VALUE}"],"additionalProperties":false}}'


def _free_name(wanted: str, generation: Generation) -> str:
    """The schema's name, unless a tool in history has it: the model must not take the one for the other."""
    taken = {part.name for turn in generation.turns for part in turn.parts if isinstance(part, ToolCall)}
    free, number = wanted[:_NAME_LENGTH] or "answer", 1
    while free in taken:
        number += 1
        ending = f"_{number}"
        free = wanted[: _NAME_LENGTH - len(ending)] + ending
    return free
