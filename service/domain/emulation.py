"""An answer of a given form where an endpoint knows none: a tool that must be called. The request's side.

The tool's parameters are the schema; what the model calls it with is the answer (`emulated_answer`). Which
requests this serves is decided here; whether it is allowed, and that what comes back matches, is others' business.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Final

from service.domain.errors import ServiceError, Violation, invalid
from service.domain.fields import Field
from service.domain.generation import FunctionTool, Generation, JsonSchema, NamedChoice, ToolCall
from service.domain.json_schema import REFERENCE, SchemaError, dialect_of, schemas
from service.domain.routing import Needs

PATH: Final = "response_format.json_schema"

VALUE: Final = "value"
"""The one property of the object that other values are wrapped in: a tool's parameters are an object."""

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
# A tool's parameters may hold these, but not at the top (Anthropic, OpenAI in strict mode).
_NOT_AT_THE_TOP: Final = frozenset({REFERENCE, "anyOf", "oneOf", "allOf", "not", "enum", "const", "if"})
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
    return needs.schema.obstacle


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


def _is_object(schema: str) -> bool:
    top = json.loads(schema)
    return isinstance(top, dict) and top.get("type") == "object" and _NOT_AT_THE_TOP.isdisjoint(top)


def _wrap(schema: str) -> str:
    """The schema of an object that holds what `schema` means; its references to itself lead to where they led."""
    inner = _moved(schema)
    properties = f'"properties":{{"{VALUE}":{inner}}}'
    return f'{{"type":"object",{properties},"required":["{VALUE}"],"additionalProperties":false}}'


def _moved(schema: str) -> str:
    """The text as it was written; written anew, key order and numbers kept, where it refers to itself."""
    top = json.loads(schema, parse_float=_Number, parse_int=_Number)
    try:
        parts = [part for _, part in schemas(top, dialect_of(top)) if isinstance(part, dict)]
    except SchemaError:
        # It is refused, by its path, before anything is sent.
        return schema
    own = [part for part in parts if str(part.get(REFERENCE, "")).startswith("#")]
    for part in own:
        part[REFERENCE] = f"#/properties/{VALUE}{part[REFERENCE][1:]}"
    return _written(top) if own else schema


class _Number(str):
    """A number as it stands in a JSON text."""

    __slots__ = ()


def _written(value: object) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_written(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _free_name(wanted: str, generation: Generation) -> str:
    """The schema's name, unless a tool in history has it: the model must not take the one for the other."""
    taken = {part.name for turn in generation.turns for part in turn.parts if isinstance(part, ToolCall)}
    free, number = wanted[:_NAME_LENGTH] or "answer", 1
    while free in taken:
        number += 1
        ending = f"_{number}"
        free = wanted[: _NAME_LENGTH - len(ending)] + ending
    return free
