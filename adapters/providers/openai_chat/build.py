"""A Generation as the body of POST /chat/completions: the top level. Messages and tools have their own modules.

Everything passes the endpoint's `expressible`: a field that it lacks is never written. What other wires of this
family (Azure's, Mistral's) write alike, they take from here.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from adapters.providers.dialect import UpstreamRequest
from adapters.providers.efforts import level_of
from service.domain.catalog import Endpoint
from service.domain.errors import invalid
from service.domain.fields import Field
from service.domain.generation import Generation, GrammarFormat, JsonSchema, Opaque, OutputFormat

from .messages import MessageWriter
from .tools import write_tools
from .verbatim import fragment, opaque

PATH: Final = "/chat/completions"
_HEADERS: Final = (("content-type", "application/json"), ("accept", "application/json"))
_STREAM_HEADERS: Final = (("content-type", "application/json"), ("accept", "text/event-stream"))

# Where a field of the neutral request stands on the wire when it needs no translation.
_PLAIN: Final[tuple[tuple[Field, str], ...]] = (
    (Field.TEMPERATURE, "temperature"),
    (Field.TOP_P, "top_p"),
    (Field.FREQUENCY_PENALTY, "frequency_penalty"),
    (Field.PRESENCE_PENALTY, "presence_penalty"),
    (Field.LOGPROBS, "logprobs"),
    (Field.TOP_LOGPROBS, "top_logprobs"),
    (Field.SEED, "seed"),
    (Field.N, "n"),
    (Field.VERBOSITY, "verbosity"),
)


def build(generation: Generation, endpoint: Endpoint, *, stream: bool) -> UpstreamRequest:
    """The call that asks `endpoint` for `generation`.

    Raises:
        ServiceError: INVALID_REQUEST for more stop sequences than the provider takes, a part that the
            endpoint can't take, or a kind of another dialect.
    """
    quirks = endpoint.provider.quirks
    body = write_body(
        generation, endpoint, stream=stream, limit=quirks.max_tokens_field, usage=quirks.stream_usage
    )
    return request_of(PATH, body, stream=stream)


def request_of(path: str, body: dict[str, Any], *, stream: bool) -> UpstreamRequest:
    """The call whose body is `body`."""
    return UpstreamRequest(path, _STREAM_HEADERS if stream else _HEADERS, orjson.dumps(body))


def write_body(
    generation: Generation, endpoint: Endpoint, *, stream: bool, limit: str, usage: bool
) -> dict[str, Any]:
    """The body. `limit` is the name of the output limit; `usage`: whether a stream's usage must be asked for.

    Raises:
        ServiceError: as `build`.
    """
    body: dict[str, Any] = {
        "model": endpoint.upstream_model,
        "messages": MessageWriter(generation, endpoint).write(),
    }
    if stream:
        body["stream"] = True
        options = _stream_options(generation, endpoint, usage)
        if options:
            body["stream_options"] = options
    write_sampling(body, generation, endpoint, limit)
    _write_reasoning(body, generation, endpoint)
    if generation.output is not None:
        write_output(body, generation.output, endpoint)
    write_tools(body, generation, endpoint)
    write_options(body, generation, endpoint)
    return body


def write_sampling(body: dict[str, Any], generation: Generation, endpoint: Endpoint, limit: str) -> None:
    """Puts lengths, sampling and stop sequences into `body`, under OpenAI's names but for the `limit`.

    Raises:
        ServiceError: INVALID_REQUEST for more stop sequences than the provider takes.
    """
    can, most = endpoint.expressible, endpoint.provider.quirks.max_stop
    if generation.max_output_tokens is not None and Field.MAX_OUTPUT_TOKENS in can:
        body[limit] = generation.max_output_tokens
    for field, name in _PLAIN:
        value = getattr(generation, name)
        if value is not None and field in can:
            body[name] = value
    if generation.logit_bias is not None and Field.LOGIT_BIAS in can:
        # OpenAI's schema wants integers; a fraction goes as it is, for the provider to judge.
        body["logit_bias"] = {
            token: int(bias) if float(bias).is_integer() else bias for token, bias in generation.logit_bias.items()
        }
    if generation.stop and Field.STOP in can:
        if len(generation.stop) > most:
            raise invalid("stop", f"{endpoint.id} takes at most {most} stop sequences")
        body["stop"] = generation.stop


def _stream_options(generation: Generation, endpoint: Endpoint, usage: bool) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if usage:
        options["include_usage"] = True
    padding = generation.options.get(Field.OBFUSCATION)
    if padding is not None and Field.OBFUSCATION in endpoint.expressible:
        options["include_obfuscation"] = padding
    return options


def _write_reasoning(body: dict[str, Any], generation: Generation, endpoint: Endpoint) -> None:
    effort = generation.reasoning_effort if Field.REASONING_EFFORT in endpoint.expressible else None
    summary = generation.reasoning_summary if Field.REASONING_SUMMARY in endpoint.expressible else None
    if effort is not None and endpoint.efforts:
        effort = level_of(effort, endpoint)
    match endpoint.provider.quirks.reasoning_style:
        case "reasoning_effort":
            if effort is not None:
                body["reasoning_effort"] = effort
        case "reasoning_object":
            values = {"effort": effort, "summary": summary}
            given = {name: value for name, value in values.items() if value is not None}
            if given:
                body["reasoning"] = given
        case "none":
            pass


def write_output(body: dict[str, Any], output: OutputFormat, endpoint: Endpoint) -> None:
    """Puts `response_format` into `body`, if the endpoint knows the format."""
    can = endpoint.expressible
    value: Any
    match output:
        case "text":
            value = {"type": "text"}
        case "json_object":
            value = {"type": "json_object"} if Field.JSON_OBJECT in can else None
        case "python":
            value = {"type": "python"} if Field.PYTHON_FORMAT in can else None
        case JsonSchema():
            value = _json_schema(output) if Field.JSON_SCHEMA in can else None
        case GrammarFormat():
            value = {"type": "grammar", "grammar": output.grammar} if Field.GRAMMAR in can else None
        case Opaque():
            value = opaque(output, "response_format", endpoint) if Field.OPAQUE_FORMAT in can else None
    if value is not None:
        body["response_format"] = value


def _json_schema(output: JsonSchema) -> dict[str, Any]:
    schema: dict[str, Any] = {"name": output.name}
    if output.description is not None:
        schema["description"] = output.description
    if output.schema is not None:
        schema["schema"] = fragment(output.schema)
    if output.strict is not None:
        schema["strict"] = output.strict
    return {"type": "json_schema", "json_schema": schema}


def write_options(body: dict[str, Any], generation: Generation, endpoint: Endpoint) -> None:
    """Puts values that need no translation into `body`, and unnamed fields that the provider lets through."""
    for field, value in generation.options.items():
        # A dotted name is a place inside another field, written with that one.
        if field in endpoint.expressible and "." not in field.value and value is not None:
            body[field.value] = value
    for name, text in generation.extra.items():
        if name in endpoint.provider.passthrough and name not in body:
            body[name] = fragment(text)
