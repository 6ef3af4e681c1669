"""A Generation as the body of POST /model/ID/converse: the top level. Turns, media, reasoning: beside it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

import orjson

from adapters.providers.anthropic.schema import checked_schema
from adapters.providers.dialect import UpstreamRequest
from adapters.providers.schema_text import parameters_of
from service.domain.catalog import Endpoint
from service.domain.errors import invalid
from service.domain.fields import Field
from service.domain.generation import FunctionTool, Generation, JsonSchema, NamedChoice, Opaque, Tool

from .messages import Conversation, checked_name
from .thinking import replayed_by, write_reasoning

_HEADERS: Final = (("content-type", "application/json"),)
_NO_ARGUMENTS: Final = {"type": "object", "properties": {}}
_CALLED_EARLIER: Final = "Was called earlier in this conversation. It is not offered any more: do not call it."


def build(generation: Generation, endpoint: Endpoint, *, stream: bool) -> UpstreamRequest:
    """The call that asks `endpoint` for `generation`.

    Raises:
        ServiceError: INVALID_REQUEST for a value outside Converse's ranges, combinations that it has no words
            for, a schema or media that it does not take.
    """
    can = endpoint.expressible
    conversation = Conversation(can, replayed_by(endpoint))
    body: dict[str, Any] = {"messages": conversation.write(generation.turns)}
    if conversation.system:
        body["system"] = conversation.system
    inference = _inference(generation, can)
    if inference:
        body["inferenceConfig"] = inference
    tool_config = _tool_config(generation, can, conversation.tools)
    if tool_config:
        body["toolConfig"] = tool_config
    if generation.reasoning_effort is not None and Field.REASONING_EFFORT in can:
        write_reasoning(body, generation, endpoint)
    _write_output(body, generation, can)
    for name, text in generation.extra.items():
        if name in endpoint.provider.passthrough and name not in body:
            body[name] = orjson.Fragment(text)
    path = f"{_model_path(endpoint.upstream_model)}/{'converse-stream' if stream else 'converse'}"
    return UpstreamRequest(path, _HEADERS, orjson.dumps(body))


@lru_cache(maxsize=1024)
def _model_path(model: str) -> str:
    """Colons and slashes of ARNs and profiles stay within one path segment, as botocore writes them."""
    return f"/model/{quote(model, safe='')}"


def _inference(generation: Generation, can: frozenset[Field]) -> dict[str, Any]:
    """Ranges: botocore 1.44.5, shape InferenceConfiguration."""
    written: dict[str, Any] = {}
    if generation.max_output_tokens is not None and Field.MAX_OUTPUT_TOKENS in can:
        written["maxTokens"] = generation.max_output_tokens
    temperature, top_p = generation.temperature, generation.top_p
    if temperature is not None and Field.TEMPERATURE in can:
        if not 0 <= temperature <= 1:
            raise invalid("temperature", f"this endpoint takes 0 to 1, not {temperature:g}")
        written["temperature"] = temperature
    if top_p is not None and Field.TOP_P in can:
        written["topP"] = top_p
    if generation.stop and Field.STOP in can:
        written["stopSequences"] = generation.stop
    return written


def _tool_config(generation: Generation, can: frozenset[Field], earlier: dict[str, None]) -> dict[str, Any] | None:
    """The tools and the choice. Calls in history are refused without any tools: those are told of then."""
    choice = generation.tool_choice if Field.TOOL_CHOICE in can else None
    # Tools that a provider runs are of other dialects: the plan has named them as ignored.
    offered = [tool for tool in generation.tools if not isinstance(tool, Opaque)] if Field.TOOLS in can else []
    if choice == "none":
        if earlier:
            raise invalid(
                "tool_choice", "this endpoint can't be kept from calling tools once there are calls: use auto"
            )
        return None
    if not offered:
        return {"tools": [_earlier_tool(name) for name in earlier]} if earlier else None
    config: dict[str, Any] = {"tools": [_tool(tool, at) for at, tool in enumerate(offered)]}
    match choice:
        case None:
            pass
        case "auto":
            config["toolChoice"] = {"auto": {}}
        case "required":
            config["toolChoice"] = {"any": {}}
        case NamedChoice():
            config["toolChoice"] = {"tool": {"name": choice.name}}
        case _:
            raise invalid("tool_choice", "this endpoint takes none, auto, required or one named function")
    return config


def _tool(tool: Tool, index: int) -> dict[str, Any]:
    if not isinstance(tool, FunctionTool):
        raise invalid(f"tools[{index}]", "this endpoint takes function tools only")
    spec: dict[str, Any] = {"name": checked_name(tool.name, f"tools[{index}].function.name")}
    if tool.description and tool.description.strip():
        spec["description"] = tool.description
    spec["inputSchema"] = {"json": _NO_ARGUMENTS if tool.parameters is None else parameters_of(tool.parameters)}
    if tool.strict:
        spec["strict"] = True
    return {"toolSpec": spec}


def _earlier_tool(name: str) -> dict[str, Any]:
    return {
        "toolSpec": {"name": name, "description": _CALLED_EARLIER, "inputSchema": {"json": {"type": "object"}}}
    }


def _write_output(body: dict[str, Any], generation: Generation, can: frozenset[Field]) -> None:
    """Schemas keep Anthropic's rules (docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html)."""
    output = generation.output
    if isinstance(output, JsonSchema):
        if Field.JSON_SCHEMA in can:
            checked_schema(replace(output, description=None))
            schema = {"schema": output.schema, "name": output.name}
            if output.description:
                schema["description"] = output.description
            written = {"type": "json_schema", "structure": {"jsonSchema": schema}}
            body.setdefault("outputConfig", {})["textFormat"] = written
    elif output not in (None, "text"):
        raise invalid("response_format", "this endpoint takes text and json_schema only")
