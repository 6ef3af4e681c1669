"""A Generation as the body of Mistral's POST /chat/completions: the top level, where it differs from OpenAI's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from adapters.providers.dialect import UpstreamRequest
from adapters.providers.efforts import level_of, unknown_effort
from adapters.providers.openai_chat.build import PATH, request_of, write_options, write_output, write_sampling
from adapters.providers.openai_chat.tools import write_tools
from service.domain.catalog import Endpoint
from service.domain.errors import invalid
from service.domain.fields import Field
from service.domain.generation import Generation, JsonSchema

from .messages import MistralMessages

EFFORTS: Final = {"none": "none", "high": "high"}
"""`reasoning_effort` by effort where the catalogue has no table: the two that Mistral's OpenAPI document and
docs.mistral.ai/capabilities/reasoning/adjustable name. The rest go elsewhere: nothing is rounded."""

_HOTTEST: Final = 1.5
_NO_ARGUMENTS: Final = {"type": "object", "properties": {}}


def build(generation: Generation, endpoint: Endpoint, *, stream: bool) -> UpstreamRequest:
    """The call that asks `endpoint` for `generation`. Usage comes with every stream, unasked.

    Raises:
        ServiceError: INVALID_REQUEST for a value outside of Mistral's ranges, an order of turns, a file or a
            sound that it does not take, an effort that it does not know.
    """
    if generation.functions_style:
        # The old `functions` are unknown here: they and their calls and results are those of tools.
        generation = replace(generation, functions_style=False)
    _check(generation, endpoint)
    body: dict[str, Any] = {
        "model": endpoint.upstream_model,
        "messages": MistralMessages(generation, endpoint).write(),
    }
    if stream:
        body["stream"] = True
    write_sampling(body, generation, endpoint, "max_tokens")
    if "seed" in body:
        body["random_seed"] = body.pop("seed")
    effort = generation.reasoning_effort
    if effort is not None and Field.REASONING_EFFORT in endpoint.expressible:
        body["reasoning_effort"] = _effort(effort, endpoint)
    if generation.output is not None:
        write_output(body, generation.output, endpoint)
    write_tools(body, generation, endpoint)
    for tool in body.get("tools", ()):
        # The document demands a schema of every function.
        tool["function"].setdefault("parameters", _NO_ARGUMENTS)
    write_options(body, generation, endpoint)
    if "prediction" in body:
        body["prediction"] = _prediction(body["prediction"])
    return request_of(PATH, body, stream=stream)


def _check(generation: Generation, endpoint: Endpoint) -> None:
    can = endpoint.expressible
    temperature, seed, output = generation.temperature, generation.seed, generation.output
    if temperature is not None and Field.TEMPERATURE in can and not 0 <= temperature <= _HOTTEST:
        raise invalid("temperature", f"this endpoint takes 0 to {_HOTTEST}, not {temperature:g}")
    if seed is not None and Field.SEED in can and seed < 0:
        raise invalid("seed", "this endpoint takes 0 or more")
    if isinstance(output, JsonSchema) and output.schema is None and Field.JSON_SCHEMA in can:
        raise invalid("response_format.json_schema.schema", "this endpoint needs the schema itself")


def _effort(effort: str, endpoint: Endpoint) -> str:
    if endpoint.efforts:
        return level_of(effort, endpoint)
    known = EFFORTS.get(effort)
    if known is None:
        raise unknown_effort(EFFORTS)
    return known


def _prediction(prediction: Any) -> dict[str, Any]:
    """One text, which OpenAI may have in parts."""
    content = prediction.get("content")
    text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())
    return {"type": "content", "content": text}
