"""A chat request -> the Responses request that its job's response echoes.

For requests that `to_domain` has read and found right. It is for reading only: the model is asked what the chat
request says. What the Responses API has no place for is not shown: stop sequences, seed, bias of tokens,
prediction, web search options, moderation, routing preferences, fields that nobody named. `store` is about the
provider in the Chat API and about us in the Responses API, so it is not taken over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, assert_never

import orjson
from eurouter.v1 import chat_pb2 as pb
from eurouter.v1 import response_items_pb2 as items_pb
from eurouter.v1 import responses_pb2, tools_pb2

from service import wire
from service.api.chat.as_items import as_items, unnamed

# Equal in name, type and meaning on both sides.
_ALIKE: Final = frozenset(
    {
        "temperature",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
        "top_logprobs",
        "user",
        "parallel_tool_calls",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
    }
)
_NAMED: Final = frozenset({"function", "custom"})


def as_response_request(request: pb.CreateChatCompletionRequest) -> responses_pb2.CreateResponseRequest:
    """What a response shows of a chat request, `input` without ids."""
    shown = responses_pb2.CreateResponseRequest(background=True, input=as_items(request.messages))
    for field, value in request.ListFields():
        name = field.name
        if name in _ALIKE:
            setattr(shown, name, value)
        elif (write := _WRITERS.get(name)) is not None:
            write(shown, value)
    return shown


def _limit(shown: responses_pb2.CreateResponseRequest, value: int) -> None:
    # The second one, which is the newer, wins.
    shown.max_output_tokens = value


def _metadata(shown: responses_pb2.CreateResponseRequest, value: Any) -> None:
    shown.metadata.update(value)


def _cache_options(shown: responses_pb2.CreateResponseRequest, value: pb.PromptCacheOptions) -> None:
    shown.prompt_cache_options.CopyFrom(value)


def _reasoning(shown: responses_pb2.CreateResponseRequest, value: pb.Reasoning) -> None:
    if value.HasField("effort"):
        shown.reasoning.effort = value.effort
    if value.HasField("summary"):
        shown.reasoning.summary = value.summary


def _reasoning_effort(shown: responses_pb2.CreateResponseRequest, value: str) -> None:
    shown.reasoning.effort = value


def _verbosity(shown: responses_pb2.CreateResponseRequest, value: str) -> None:
    shown.text.verbosity = value


def _response_format(shown: responses_pb2.CreateResponseRequest, form: pb.ResponseFormat) -> None:
    target = shown.text.format
    kind = form.WhichOneof("format")
    match kind:
        case "text":
            target.text.SetInParent()
        case "json_object":
            target.json_object.SetInParent()
        case "json_schema":
            schema = form.json_schema
            target.json_schema.name = schema.name
            for field, value in schema.ListFields():
                setattr(target.json_schema, field.name, value)
        case "grammar" | "python":
            # Not kinds of the Responses API: told as they were asked for.
            target.opaque.type = kind
            target.opaque.json = wire.render_bytes(form).decode()
        case "opaque" | None:
            target.opaque.CopyFrom(form.opaque)
        case _:
            assert_never(kind)


def _tools(shown: responses_pb2.CreateResponseRequest, tools: Any) -> None:
    for tool in tools:
        kind = tool.WhichOneof("tool")
        if kind == "function":
            _function(shown, tool.function)
        elif kind == "custom":
            _custom(shown, tool.custom)
        else:
            shown.tools.append(unnamed(items_pb.ResponseTool, tool.opaque))


def _functions(shown: responses_pb2.CreateResponseRequest, functions: Any) -> None:
    for function in functions:
        _function(shown, function)


def _function(shown: responses_pb2.CreateResponseRequest, function: tools_pb2.FunctionDefinition) -> None:
    # What is left out means no in the Chat API, and "if possible" in the Responses API.
    made = shown.tools.add().function
    made.name, made.strict = function.name, function.strict
    if function.HasField("description"):
        made.description = function.description
    if function.HasField("parameters"):
        made.parameters = function.parameters


def _custom(shown: responses_pb2.CreateResponseRequest, tool: tools_pb2.CustomToolDefinition) -> None:
    made = shown.tools.add().custom
    made.name = tool.name
    if tool.HasField("description"):
        made.description = tool.description
    if tool.format.HasField("text"):
        made.format.text.SetInParent()
    elif tool.format.HasField("grammar"):
        made.format.grammar.CopyFrom(tool.format.grammar)


def _tool_choice(shown: responses_pb2.CreateResponseRequest, choice: tools_pb2.ToolChoice) -> None:
    target = shown.tool_choice
    kind = choice.WhichOneof("choice")
    match kind:
        case "mode":
            target.mode = choice.mode
        case "function":
            target.function.CopyFrom(choice.function)
        case "custom":
            target.custom.CopyFrom(choice.custom)
        case "allowed_tools":
            target.allowed_tools.mode = choice.allowed_tools.mode
            named = [_allowed(entry) for entry in orjson.loads(choice.allowed_tools.tools)]
            target.allowed_tools.tools = orjson.dumps(named).decode()
        case "opaque" | None:
            target.opaque.CopyFrom(choice.opaque)
        case _:
            assert_never(kind)


def _allowed(entry: Any) -> Any:
    """One allowed tool: in the Chat API its name stands one level deeper."""
    kind = entry["type"]
    return {"type": kind, "name": entry[kind]["name"]} if kind in _NAMED else entry


def _function_call(shown: responses_pb2.CreateResponseRequest, choice: pb.FunctionCallChoice) -> None:
    if choice.HasField("name"):
        shown.tool_choice.function.name = choice.name
    else:
        shown.tool_choice.mode = choice.mode


_WRITERS: Final[dict[str, Callable[[responses_pb2.CreateResponseRequest, Any], None]]] = {
    "max_tokens": _limit,
    "max_completion_tokens": _limit,
    "metadata": _metadata,
    "prompt_cache_options": _cache_options,
    "reasoning": _reasoning,
    "reasoning_effort": _reasoning_effort,
    "verbosity": _verbosity,
    "response_format": _response_format,
    "tools": _tools,
    "functions": _functions,
    "tool_choice": _tool_choice,
    "function_call": _function_call,
}
"""By field name; called in the order of field numbers."""
