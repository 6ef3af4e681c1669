"""What a descriptor can't say about a message's JSON shape, as data keyed by full names.

A message with a real oneof is a union: `type` names the arm, whose value stands beside it under the arm's
name; an arm of type `Empty` has no value; an arm `opaque` keeps kinds that are not named. In a flat union the
arm's fields stand beside `type` themselves. Everything else that deviates from "a field is a key" is a row here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    ANY = "any JSON value"


def _fields(names: str) -> frozenset[str]:
    return frozenset(_P + name for name in names.split())


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
    # A server's own error may be a sentence or an object.
    **dict.fromkeys(_fields("McpListTools.error McpCall.error"), JsonShape.ANY),
    **dict.fromkeys(
        _fields(
            "ApplyPatchCall.caller ApplyPatchCall.operation ApplyPatchCallOutput.caller ComputerCall.action"
            " ComputerCallOutput.output CreateResponseRequest.prompt LocalShellCall.action Response.moderation"
            " ResponseCustomToolCall.caller ResponseFunctionCall.caller ResponseFunctionTool.output_schema"
            " ResponseFunctionTool.parameters ResponseJsonSchema.schema ResponseShellOutputDeltaEvent.delta"
            " ResponseShellTool.environment ResponseToolOutput.caller ShellCall.action ShellCall.caller"
            " ShellCall.environment ShellCallOutput.caller WebSearchCall.action"
        ),
        JsonShape.OBJECT,
    ),
    **dict.fromkeys(
        _fields(
            "CodeInterpreterCall.outputs ComputerCall.actions ComputerCall.pending_safety_checks"
            " ComputerCallOutput.acknowledged_safety_checks FileSearchCall.results McpListTools.tools"
            " ResponseAllowedTools.tools ResponseApplyPatchTool.allowed_callers"
            " ResponseCustomTool.allowed_callers ResponseFunctionTool.allowed_callers"
            " ResponseShellOutputEvent.output ResponseShellTool.allowed_callers ShellCallOutput.output"
        ),
        JsonShape.ARRAY,
    ),
}

# String fields that hold a number in decimal digits, which is a number in JSON.
NUMBER_TEXT: Final = _fields("ResponseUsage.cost Usage.cost")

# Lists of parts for which a string means one part: the field and that part's arm.
TEXT_OR_PARTS: Final[Mapping[str, str]] = {
    _P + "ChatMessage.content": "text",
    _P + "Prediction.content": "text",
    _P + "ResponseMessage.content": "input_text",
    _P + "ResponseToolOutput.output": "input_text",
}

# Of these the ones that are printed as a list even when a string would do.
PARTS_ALWAYS: Final = frozenset({_P + "ResponseMessage.content"})

# Lists of items for which a string means one message of the user's.
TEXT_OR_ITEMS: Final = frozenset({_P + "CreateResponseRequest.input"})

# Lists of strings for which a string means a list of one.
ONE_OR_MANY: Final = frozenset({_P + "CreateChatCompletionRequest.stop"})

# Strings that may also be {"id": "..."}, kept as JSON text.
STRING_OR_ID: Final = frozenset({_P + "ChatAudioParam.voice", _P + "CreateResponseRequest.conversation"})

# Messages that are no union but carry a constant `type`.
TYPE_LITERALS: Final[Mapping[str, str]] = {
    _P + "Prediction": "content",
    _P + "UserLocation": "approximate",
}

# Unions that may be a bare string: the enum arm `mode`, restricted to these names.
STRING_MODES: Final[Mapping[str, tuple[str, ...]]] = {
    _P + "ToolChoice": ("none", "auto", "required"),
    _P + "FunctionCallChoice": ("none", "auto"),
    _P + "ResponseToolChoice": ("none", "auto", "required"),
}
MODE: Final = "mode"

# Unions whose arm's fields stand beside `type`, not in an object of their own.
FLAT: Final = _fields(
    "ResponseAnnotation ResponseContent ResponseCustomToolFormat ResponseItem ResponseStreamEvent"
    " ResponseTextFormat ResponseTool ResponseToolChoice"
)


@dataclass(frozen=True, slots=True)
class DefaultType:
    """The `type` of an object that has none: it has `key`, and with `alone` nothing else."""

    type: str
    key: str
    alone: bool


# Flat unions of which objects may lack `type`; the first that fits is taken.
DEFAULT_TYPES: Final[Mapping[str, tuple[DefaultType, ...]]] = {
    _P + "ResponseItem": (
        DefaultType("message", "role", alone=False),
        DefaultType("item_reference", "id", alone=True),
    ),
}

EVENT: Final = _P + "ResponseStreamEvent"

# Unions whose object form has no `type`: the arm's key alone tells.
UNTYPED: Final = frozenset({_P + "FunctionCallChoice"})

# Unions of which real clients omit `type` where one arm's key stands alone.
TYPE_OPTIONAL: Final = frozenset({_P + "Tool", _P + "ToolCall", _P + "ToolCallDelta"})

# Unions that may have no arm at all: a fragment of a call that carries only its id.
ARM_OPTIONAL: Final = frozenset({_P + "ToolCallDelta"})

# Unions that print `type` only together with this field.
TYPE_WITH: Final[Mapping[str, str]] = {_P + "ToolCallDelta": "id"}

# Fields that answers always have, null when there is nothing to say.
NULL_WHEN_UNSET: Final = _fields(
    "AssistantMessage.content AssistantMessage.refusal ChatLogprobs.content ChatLogprobs.refusal"
    " Choice.finish_reason Choice.logprobs ChunkChoice.finish_reason ChunkChoice.logprobs TokenLogprob.bytes"
    " TopLogprob.bytes"
    " CodeInterpreterCall.code CodeInterpreterCall.outputs ImageGenerationCall.result"
    " ListInputItemsResponse.first_id ListInputItemsResponse.last_id"
    " Response.completed_at Response.error Response.incomplete_details Response.instructions"
    " Response.max_output_tokens Response.max_tool_calls Response.previous_response_id"
    " Response.prompt_cache_key Response.reasoning Response.safety_identifier Response.usage"
    " ResponseErrorEvent.code ResponseErrorEvent.param ResponseFunctionTool.description"
    " ResponseFunctionTool.parameters ResponseFunctionTool.strict ResponseInputImage.image_url"
    " ResponseReasoning.effort ResponseReasoning.summary ShellCall.environment"
    " ShellCallOutput.max_output_length"
)

# Lists that answers always have, empty ones included.
LIST_WHEN_EMPTY: Final = _fields(
    "Architecture.input_modalities Architecture.output_modalities ChatCompletion.choices"
    " ChatCompletionChunk.choices DryRunModel.endpoints DryRunModel.rejected DryRunRoutingResponse.models"
    " ListModelsResponse.models ListProvidersResponse.providers Model.categories Model.providers"
    " Model.supported_api_endpoints Model.supported_parameters TokenLogprob.top_logprobs"
    " ComputerCall.pending_safety_checks FileSearchCall.queries ListInputItemsResponse.data Response.output"
    " Response.tools ResponseLogprob.bytes ResponseLogprob.top_logprobs ResponseMessage.content"
    " ResponseOutputText.annotations ResponseOutputText.logprobs ResponseOutputTextDeltaEvent.logprobs"
    " ResponseOutputTextDoneEvent.logprobs ResponseReasoningItem.summary ResponseToolOutput.output"
    " ResponseTopLogprob.bytes ListJobsResponse.jobs QueueStats.priorities"
    " ListDeadLettersResponse.dead_letters RedriveDeadLettersResponse.letters"
)

# Objects that answers always have, with what they always have themselves.
OBJECT_WHEN_UNSET: Final = _fields(
    "ChunkChoice.delta Response.metadata ResponseUsage.input_tokens_details ResponseUsage.output_tokens_details"
)

# Counts that answers always have, 0 where the provider doesn't say.
ZERO_WHEN_UNSET: Final = _fields("ResponseInputTokensDetails.cache_write_tokens")

# An event's arm is what it is about and a last word, output_text_delta; these last words are two.
_LONG_ENDINGS: Final = ("in_progress", "partial_image")
# What it is about is one word in JSON, but for these.
_EVENT_SUBJECTS: Final[Mapping[str, str]] = {
    "audio_transcript": "audio.transcript",
    "output_text_annotation": "output_text.annotation",
}


def arm_types(oneof: OneofDescriptor) -> dict[str, str]:
    """arm -> `type`: the same name, but for events."""
    is_event = oneof.containing_type.full_name == EVENT
    return {arm.name: _event_type(arm.name) if is_event else arm.name for arm in oneof.fields}


def _event_type(arm: str) -> str:
    if arm == "error":
        return arm
    ending = next((one for one in _LONG_ENDINGS if arm.endswith(one)), arm.rpartition("_")[2])
    subject = arm.removesuffix(ending).removesuffix("_")
    return ".".join(filter(None, ("response", _EVENT_SUBJECTS.get(subject, subject), ending)))


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
