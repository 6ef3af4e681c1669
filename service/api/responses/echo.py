"""The response that echoes its request, before there is any output."""

from __future__ import annotations

from typing import Final

from eurouter.v1 import response_object_pb2 as object_pb
from eurouter.v1 import responses_pb2 as pb
from eurouter.v1 import tools_pb2

# What the API says of fields that a request leaves out.
_DEFAULTS: Final = object_pb.Response(
    object="response",
    status=object_pb.RESPONSE_STATUS_IN_PROGRESS,
    parallel_tool_calls=True,
    temperature=1.0,
    top_p=1.0,
    truncation="disabled",
    service_tier="default",
)
_DEFAULTS.text.format.text.SetInParent()
_DEFAULTS.tool_choice.mode = tools_pb2.TOOL_CHOICE_MODE_AUTO

SCALARS: Final = frozenset(
    {
        "background",
        "frequency_penalty",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "parallel_tool_calls",
        "presence_penalty",
        "previous_response_id",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "temperature",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)
MESSAGES: Final = frozenset({"prompt_cache_options", "reasoning", "text", "tool_choice"})
"""Echoed over the defaults of their fields."""


def new_response(
    request: pb.CreateResponseRequest, *, response_id: str, created_at: int, store: bool, model: str
) -> object_pb.Response:
    """The response in progress, without output: every field that the request and a response share.

    `created_at` in Unix seconds. `store`: whether it is kept, whatever the request said. `model`: who answers.
    """
    response = object_pb.Response()
    response.CopyFrom(_DEFAULTS)
    response.id = response_id
    response.created_at = created_at
    response.store = store
    response.model = model
    for field, value in request.ListFields():
        name = field.name
        if name in SCALARS:
            setattr(response, name, value)
        elif name in MESSAGES:
            getattr(response, name).MergeFrom(value)
        elif name == "tools":
            response.tools.extend(value)
        elif name == "metadata":
            response.metadata.update(value)
    return response
