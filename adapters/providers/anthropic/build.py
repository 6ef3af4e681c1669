"""A Generation as the body of POST /messages: the top level. Turns, thinking, schemas: beside it."""

from __future__ import annotations

from typing import Any, Final

import orjson

from adapters.providers.dialect import UpstreamRequest
from adapters.providers.schema_text import parameters_of
from service.domain.catalog import Endpoint
from service.domain.errors import invalid
from service.domain.fields import Field
from service.domain.generation import FunctionTool, Generation, JsonSchema, NamedChoice, Opaque, Tool

from .cache import write_cache
from .messages import write_turns
from .schema import checked_schema
from .thinking import write_thinking

_PATH: Final = "/messages"
_HEADERS: Final = (("content-type", "application/json"), ("anthropic-version", "2023-06-01"))
_NO_ARGUMENTS: Final = {"type": "object", "properties": {}}

DEFAULT_MAX_TOKENS: Final = 4096
"""`max_tokens` when neither the request nor the catalogue sets a limit: the API demands one, at least 1."""


def build(generation: Generation, endpoint: Endpoint, *, stream: bool) -> UpstreamRequest:
    """The call that asks `endpoint` for `generation`.

    Raises:
        ServiceError: INVALID_REQUEST for a value outside Anthropic's ranges, combinations that exclude one
            another there, a schema or a media type that it does not take.
    """
    can = endpoint.expressible
    system, messages = write_turns(generation.turns, can)
    asked = generation.max_output_tokens if Field.MAX_OUTPUT_TOKENS in can else None
    max_tokens = asked or endpoint.max_output_tokens or DEFAULT_MAX_TOKENS
    body: dict[str, Any] = {"model": endpoint.upstream_model, "max_tokens": max_tokens, "messages": messages}
    if system:
        body["system"] = system
    if Field.PROMPT_CACHE_BREAKPOINT in can:
        write_cache(body, generation, can)
    if stream:
        body["stream"] = True
    _write_sampling(body, generation, can)
    # Tools that a provider runs are of other dialects: the plan has named them as ignored.
    tools = [_tool(tool, at) for at, tool in enumerate(generation.tools) if not isinstance(tool, Opaque)]
    if tools and Field.TOOLS in can:
        body["tools"] = tools
        choice = _tool_choice(generation, can)
        if choice:
            body["tool_choice"] = choice
    if generation.reasoning_effort is not None and Field.REASONING_EFFORT in can:
        write_thinking(body, generation, endpoint)
    _write_output(body, generation, can)
    user = generation.options.get(Field.USER)
    if user is not None and Field.USER in can:
        body["metadata"] = {"user_id": user}
    for name, text in generation.extra.items():
        if name in endpoint.provider.passthrough and name not in body:
            body[name] = orjson.Fragment(text)
    return UpstreamRequest(_PATH, _HEADERS, orjson.dumps(body))


def _write_sampling(body: dict[str, Any], generation: Generation, can: frozenset[Field]) -> None:
    temperature = generation.temperature
    if temperature is not None and Field.TEMPERATURE in can:
        if not 0 <= temperature <= 1:
            raise invalid("temperature", f"this endpoint takes 0 to 1, not {temperature:g}")
        body["temperature"] = temperature
    if generation.top_p is not None and Field.TOP_P in can:
        body["top_p"] = generation.top_p
    if generation.stop and Field.STOP in can:
        body["stop_sequences"] = generation.stop


def _write_output(body: dict[str, Any], generation: Generation, can: frozenset[Field]) -> None:
    output = generation.output
    if isinstance(output, JsonSchema):
        if Field.JSON_SCHEMA in can:
            written = {"type": "json_schema", "schema": checked_schema(output)}
            body.setdefault("output_config", {})["format"] = written
    elif output not in (None, "text"):
        raise invalid("response_format", "this endpoint takes text and json_schema only")


def _tool(tool: Tool, index: int) -> dict[str, Any]:
    if not isinstance(tool, FunctionTool):
        raise invalid(f"tools[{index}]", "this endpoint takes function tools only")
    schema = _NO_ARGUMENTS if tool.parameters is None else parameters_of(tool.parameters)
    written: dict[str, Any] = {"name": tool.name, "input_schema": schema}
    if tool.description:
        written["description"] = tool.description
    if tool.strict is not None:
        written["strict"] = tool.strict
    return written


def _tool_choice(generation: Generation, can: frozenset[Field]) -> dict[str, Any] | None:
    choice = generation.tool_choice if Field.TOOL_CHOICE in can else None
    parallel = generation.parallel_tool_calls if Field.PARALLEL_TOOL_CALLS in can else None
    written: dict[str, Any]
    match choice:
        case None:
            if parallel is None:
                return None
            written = {"type": "auto"}
        case "none":
            # Where no tool may be called, there is nothing to be said about calls in parallel.
            return {"type": "none"}
        case "auto":
            written = {"type": "auto"}
        case "required":
            written = {"type": "any"}
        case NamedChoice():
            written = {"type": "tool", "name": choice.name}
        case _:
            raise invalid("tool_choice", "this endpoint takes none, auto, required or one named function")
    if parallel is not None:
        written["disable_parallel_tool_use"] = not parallel
    return written
