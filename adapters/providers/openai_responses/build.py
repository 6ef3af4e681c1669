"""A Generation as the body of POST /responses: the top level. Items and tools have their own modules.

Everything passes the endpoint's `expressible`: a field that it lacks is never written.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from adapters.providers.dialect import UpstreamRequest
from adapters.providers.efforts import level_of
from service.domain.catalog import Endpoint
from service.domain.errors import invalid
from service.domain.fields import Field
from service.domain.generation import Generation, GrammarFormat, JsonSchema, Opaque, OutputFormat, Reasoning

from .items import ItemWriter
from .tools import write_tools
from .verbatim import FORMAT, opaque

_PATH: Final = "/responses"
_HEADERS: Final = (("content-type", "application/json"), ("accept", "application/json"))
_STREAM_HEADERS: Final = (("content-type", "application/json"), ("accept", "text/event-stream"))

ENCRYPTED: Final = "reasoning.encrypted_content"
LOGPROBS: Final = "message.output_text.logprobs"

_PLAIN: Final[tuple[tuple[Field, str], ...]] = (
    (Field.MAX_OUTPUT_TOKENS, "max_output_tokens"),
    (Field.TEMPERATURE, "temperature"),
    (Field.TOP_P, "top_p"),
    (Field.TOP_LOGPROBS, "top_logprobs"),
)
_OPTIONS: Final = (
    Field.MODERATION,
    Field.USER,
    Field.METADATA,
    Field.SERVICE_TIER,
    Field.PROMPT_CACHE_KEY,
    Field.PROMPT_CACHE_RETENTION,
    Field.PROMPT_CACHE_OPTIONS,
    Field.SAFETY_IDENTIFIER,
    Field.MAX_TOOL_CALLS,
    Field.CONTEXT_MANAGEMENT,
)


def build(generation: Generation, endpoint: Endpoint, *, stream: bool) -> UpstreamRequest:
    """The call that asks `endpoint` for `generation`. Nothing is ever stored there.

    Raises:
        ServiceError: INVALID_REQUEST for a part or format that the endpoint can't take, or a kind of another
            dialect.
    """
    can = endpoint.expressible
    body: dict[str, Any] = {"model": endpoint.upstream_model, "store": False}
    ItemWriter(generation, endpoint).write(body)
    if stream:
        body["stream"] = True
        padding = generation.options.get(Field.OBFUSCATION)
        if padding is not None and Field.OBFUSCATION in can:
            body["stream_options"] = {"include_obfuscation": padding}
    for field, name in _PLAIN:
        value = getattr(generation, name)
        if value is not None and field in can:
            body[name] = value
    reasoning = _reasoning(generation, endpoint)
    if reasoning:
        body["reasoning"] = reasoning
    text = _text(generation, endpoint)
    if text:
        body["text"] = text
    include = _include(generation, can, reasons=bool(reasoning))
    if include:
        body["include"] = include
    write_tools(body, generation, endpoint)
    _write_options(body, generation, endpoint)
    return UpstreamRequest(_PATH, _STREAM_HEADERS if stream else _HEADERS, orjson.dumps(body))


def _reasoning(generation: Generation, endpoint: Endpoint) -> dict[str, Any]:
    can = endpoint.expressible
    reasoning: dict[str, Any] = {}
    if generation.reasoning_effort is not None and Field.REASONING_EFFORT in can:
        reasoning["effort"] = level_of(generation.reasoning_effort, endpoint)
    if generation.reasoning_summary is not None and Field.REASONING_SUMMARY in can:
        reasoning["summary"] = generation.reasoning_summary
    context = generation.options.get(Field.REASONING_CONTEXT)
    if context is not None and Field.REASONING_CONTEXT in can:
        # An object holds what else decides over reasoning, such as its mode.
        reasoning |= context if isinstance(context, dict) else {"context": context}
    return reasoning


def _text(generation: Generation, endpoint: Endpoint) -> dict[str, Any]:
    text: dict[str, Any] = {}
    if generation.output is not None:
        written = _format(generation.output, endpoint)
        if written is not None:
            text["format"] = written
    if generation.verbosity is not None and Field.VERBOSITY in endpoint.expressible:
        text["verbosity"] = generation.verbosity
    return text


def _format(output: OutputFormat, endpoint: Endpoint) -> Any:
    can = endpoint.expressible
    match output:
        case "text":
            return {"type": "text"}
        case "json_object":
            return {"type": "json_object"} if Field.JSON_OBJECT in can else None
        case JsonSchema():
            return _json_schema(output) if Field.JSON_SCHEMA in can else None
        case Opaque():
            return opaque(output, "response_format", endpoint) if Field.OPAQUE_FORMAT in can else None
        case "python" | GrammarFormat():
            raise invalid("response_format", f"{endpoint.id} takes text, json_object and json_schema only")


def _json_schema(output: JsonSchema) -> dict[str, Any]:
    if output.schema is None:
        raise invalid(
            "response_format.json_schema.schema", "this endpoint needs the schema that the answer must match"
        )
    schema: dict[str, Any] = {"type": "json_schema", "name": output.name}
    if output.description is not None:
        schema["description"] = output.description
    schema["schema"] = orjson.Fragment(output.schema)
    if output.strict is not None:
        schema["strict"] = output.strict
    return schema


def _include(generation: Generation, can: frozenset[Field], *, reasons: bool) -> list[Any]:
    """What else the answer is to hold.

    Encrypted reasoning is asked for where the request has to do with reasoning: with nothing stored it is all
    that can be sent back. Not everywhere: OpenAI refuses the wish for models that don't reason (400).
    """
    asked = generation.options.get(Field.INCLUDE)
    names: list[Any] = list(asked) if isinstance(asked, list) else []
    if generation.logprobs:
        names.append(LOGPROBS)
    if reasons or _has_encrypted(generation):
        names.append(ENCRYPTED)
    # Two names say what other fields say, too, and go by those; every endpoint may be asked for the second.
    needs = {LOGPROBS: Field.LOGPROBS in can, ENCRYPTED: True}
    return [name for name in dict.fromkeys(names) if needs.get(name, Field.INCLUDE in can)]


def _has_encrypted(generation: Generation) -> bool:
    return any(
        isinstance(part, Reasoning) and part.format == FORMAT and bool(part.encrypted)
        for turn in generation.turns
        for part in turn.parts
    )


def _write_options(body: dict[str, Any], generation: Generation, endpoint: Endpoint) -> None:
    options = generation.options
    for field in _OPTIONS:
        value = options.get(field)
        if value is not None and field in endpoint.expressible:
            body[field.value] = value
    for name, text in generation.extra.items():
        if name in endpoint.provider.passthrough and name not in body:
            body[name] = orjson.Fragment(text)
