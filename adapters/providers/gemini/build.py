"""A Generation as the body of generateContent: the top level. Contents, tools, thinking: beside it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

import orjson

from adapters.providers.dialect import UpstreamRequest
from adapters.providers.schema_text import with_first
from service.domain.catalog import Endpoint
from service.domain.errors import ServiceError, invalid
from service.domain.fields import Field
from service.domain.generation import Generation, JsonSchema

from .contents import ContentWriter
from .thinking import is_before_3, thinking_config
from .tools import write_tools

_HEADERS: Final = (("content-type", "application/json"),)
_JSON: Final = "application/json"
_SCHEMA: Final = "response_format.json_schema.schema"

MAX_STOP: Final = 5
"""The most stop sequences (ai.google.dev/api/generate-content, GenerationConfig)."""

_SEEDS: Final = range(-(2**31), 2**31)
_PLAIN: Final[tuple[tuple[Field, str, str], ...]] = (
    (Field.MAX_OUTPUT_TOKENS, "max_output_tokens", "maxOutputTokens"),
    (Field.TOP_P, "top_p", "topP"),
    (Field.FREQUENCY_PENALTY, "frequency_penalty", "frequencyPenalty"),
    (Field.PRESENCE_PENALTY, "presence_penalty", "presencePenalty"),
    (Field.LOGPROBS, "logprobs", "responseLogprobs"),
    (Field.TOP_LOGPROBS, "top_logprobs", "logprobs"),
)
_TIERS: Final = {"default": "standard", "standard": "standard", "flex": "flex", "priority": "priority"}
"""`serviceTier` by service_tier (SDK `google-genai` 3.4: ServiceTier). auto is what a request without one gets; a
tier that Google has no word for is a hint that can't be said, so it is left out too."""


def build(generation: Generation, endpoint: Endpoint, *, stream: bool) -> UpstreamRequest:
    """The call that asks `endpoint` for `generation`.

    Raises:
        ServiceError: INVALID_REQUEST for a value outside Gemini's ranges, a name, medium or combination that it
            does not take.
    """
    can = endpoint.expressible
    system, contents = ContentWriter(generation.turns, endpoint).write()
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": system}
    write_tools(body, generation, can)
    config: dict[str, Any] = {}
    _write_sampling(config, generation, can)
    thinking = thinking_config(generation, endpoint)
    if thinking:
        config["thinkingConfig"] = thinking
    if _write_output(config, generation, can) and "tools" in body and is_before_3(endpoint.upstream_model):
        raise invalid("response_format", "this endpoint's model can't be given tools and asked for JSON at once")
    if config:
        body["generationConfig"] = config
    tier = generation.options.get(Field.SERVICE_TIER) if Field.SERVICE_TIER in can else None
    if isinstance(tier, str) and tier in _TIERS:
        body["serviceTier"] = _TIERS[tier]
    for name, text in generation.extra.items():
        if name in endpoint.provider.passthrough and name not in body:
            body[name] = orjson.Fragment(text)
    return UpstreamRequest(_path(endpoint.upstream_model, stream=stream), _HEADERS, orjson.dumps(body))


@lru_cache(maxsize=256)
def _path(model: str, *, stream: bool) -> str:
    """Tuned models name their collection themselves: tunedModels/NAME."""
    resource = quote(model if "/" in model else f"models/{model}", safe="/")
    return f"/{resource}:streamGenerateContent?alt=sse" if stream else f"/{resource}:generateContent"


def _write_sampling(config: dict[str, Any], generation: Generation, can: frozenset[Field]) -> None:
    temperature = generation.temperature
    if temperature is not None and Field.TEMPERATURE in can:
        if not 0 <= temperature <= 2:
            raise invalid("temperature", f"this endpoint takes 0 to 2, not {temperature:g}")
        config["temperature"] = temperature
    for field, name, theirs in _PLAIN:
        value = getattr(generation, name)
        if value is not None and field in can:
            config[theirs] = value
    if generation.seed is not None and Field.SEED in can:
        if generation.seed not in _SEEDS:
            raise invalid("seed", f"this endpoint takes {_SEEDS.start} to {_SEEDS.stop - 1}")
        config["seed"] = generation.seed
    if generation.stop and Field.STOP in can:
        if len(generation.stop) > MAX_STOP:
            raise invalid("stop", f"this endpoint takes at most {MAX_STOP} stop sequences")
        config["stopSequences"] = generation.stop


def _write_output(config: dict[str, Any], generation: Generation, can: frozenset[Field]) -> bool:
    """Whether JSON was asked for."""
    output = generation.output
    if output is None or output == "text":
        return False
    if isinstance(output, JsonSchema):
        if Field.JSON_SCHEMA not in can:
            raise _cannot()
        config["responseMimeType"] = _JSON
        config["responseJsonSchema"] = _schema(output)
    elif output == "json_object" and Field.JSON_OBJECT in can:
        config["responseMimeType"] = _JSON
    else:
        raise _cannot()
    return True


def _schema(output: JsonSchema) -> Any:
    """The schema, key order and numbers kept. The description of the whole has no place of its own."""
    if output.schema is None:
        raise invalid(_SCHEMA, "this endpoint needs the schema that the answer must match")
    if output.description:
        parsed = orjson.loads(output.schema)
        if isinstance(parsed, dict) and "description" not in parsed:
            return with_first(output.schema, "description", output.description)
    return orjson.Fragment(output.schema)


def _cannot() -> ServiceError:
    return invalid("response_format", "this endpoint takes text, json_object and json_schema, if at all")
