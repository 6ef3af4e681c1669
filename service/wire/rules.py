"""What a descriptor can't say about a message's JSON shape, as data keyed by full names.

A message with a real oneof is a union: `type` names the arm, whose value stands beside it under the arm's
name; an arm of type `Empty` has no value; an arm `opaque` keeps kinds that are not named. Everything else
that deviates from "a field is a key" is a row here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, OneofDescriptor

_P: Final = "eurouter.v1."

EMPTY: Final = _P + "Empty"
OPAQUE: Final = _P + "Opaque"
EXTRA: Final = "extra"


class JsonShape(Enum):
    """What a string field that holds JSON takes."""

    OBJECT = "an object"
    ARRAY = "an array"
    OBJECT_OR_ARRAY = "an object or an array"


# String fields that hold JSON as text.
JSON_TEXT: Final[Mapping[str, JsonShape]] = {
    _P + "FunctionDefinition.parameters": JsonShape.OBJECT,
    _P + "JsonSchemaFormat.schema": JsonShape.OBJECT,
    _P + "AllowedTools.tools": JsonShape.ARRAY,
    _P + "Moderation.policy": JsonShape.OBJECT_OR_ARRAY,
    _P + "ChatCompletion.prompt_filter_results": JsonShape.OBJECT_OR_ARRAY,
    _P + "ChatCompletionChunk.prompt_filter_results": JsonShape.OBJECT_OR_ARRAY,
    _P + "Choice.content_filter_results": JsonShape.OBJECT_OR_ARRAY,
    _P + "ChunkChoice.content_filter_results": JsonShape.OBJECT_OR_ARRAY,
}

# Lists of parts for which a string means one text part.
TEXT_OR_PARTS: Final = frozenset({_P + "ChatMessage.content", _P + "Prediction.content"})

# Lists of strings for which a string means a list of one.
ONE_OR_MANY: Final = frozenset({_P + "CreateChatCompletionRequest.stop"})

# Strings that may also be {"id": "..."}, kept as JSON text.
STRING_OR_ID: Final = frozenset({_P + "ChatAudioParam.voice"})

# Messages that are no union but carry a constant `type`.
TYPE_LITERALS: Final[Mapping[str, str]] = {
    _P + "Prediction": "content",
    _P + "UserLocation": "approximate",
}

# Unions that may be a bare string: the enum arm `mode`, restricted to these names.
STRING_MODES: Final[Mapping[str, tuple[str, ...]]] = {
    _P + "ToolChoice": ("none", "auto", "required"),
    _P + "FunctionCallChoice": ("none", "auto"),
}
MODE: Final = "mode"

# Unions whose object form has no `type`: the arm's key alone tells.
UNTYPED: Final = frozenset({_P + "FunctionCallChoice"})

# Unions of which real clients omit `type` where one arm's key stands alone.
TYPE_OPTIONAL: Final = frozenset({_P + "Tool", _P + "ToolCall", _P + "ToolCallDelta"})

# Unions that may have no arm at all: a fragment of a call that carries only its id.
ARM_OPTIONAL: Final = frozenset({_P + "ToolCallDelta"})

# Unions that print `type` only together with this field.
TYPE_WITH: Final[Mapping[str, str]] = {_P + "ToolCallDelta": "id"}

# Fields that OpenAI's answers always have, null when there is nothing to say.
NULL_WHEN_UNSET: Final = frozenset(
    _P + name
    for name in (
        "AssistantMessage.content",
        "AssistantMessage.refusal",
        "ChatLogprobs.content",
        "ChatLogprobs.refusal",
        "Choice.finish_reason",
        "Choice.logprobs",
        "ChunkChoice.finish_reason",
        "ChunkChoice.logprobs",
        "TokenLogprob.bytes",
        "TopLogprob.bytes",
    )
)

# Lists that answers always have, empty ones included.
LIST_WHEN_EMPTY: Final = frozenset(
    _P + name
    for name in (
        "Architecture.input_modalities",
        "Architecture.output_modalities",
        "ChatCompletion.choices",
        "ChatCompletionChunk.choices",
        "DryRunModel.endpoints",
        "DryRunModel.rejected",
        "DryRunRoutingResponse.models",
        "ListModelsResponse.models",
        "ListProvidersResponse.providers",
        "Model.categories",
        "Model.providers",
        "Model.supported_api_endpoints",
        "Model.supported_parameters",
        "TokenLogprob.top_logprobs",
    )
)

# Objects that answers always have.
OBJECT_WHEN_UNSET: Final = frozenset({_P + "ChunkChoice.delta"})


def union_of(descriptor: Descriptor) -> OneofDescriptor | None:
    """The message's real oneof, if it is a union. `optional` makes synthetic ones, named after their field."""
    real = [one for one in descriptor.oneofs if one.name != f"_{one.fields[0].name}"]
    if len(real) > 1:
        raise TypeError(f"{descriptor.full_name} has several oneofs: it needs a rule of its own")
    return real[0] if real else None


def extra_of(descriptor: Descriptor) -> FieldDescriptor | None:
    """The map that takes the fields which the message does not name."""
    field = descriptor.fields_by_name.get(EXTRA)
    return field if field is not None and map_value(field) is not None else None


def map_value(field: FieldDescriptor) -> FieldDescriptor | None:
    """The value field of a protobuf map, None for any other field."""
    entry = field.message_type
    return entry.fields_by_name["value"] if entry is not None and entry.GetOptions().map_entry else None


def enum_names(enum: EnumDescriptor) -> dict[int, str]:
    """number -> name in JSON: lower case, without the prefix; the zero value, which says nothing, left out."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {value.number: value.name.removeprefix(prefix).lower() for value in enum.values if value.number}
