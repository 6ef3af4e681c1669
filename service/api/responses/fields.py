"""How each field of a Responses request is read: one table, so that none can be forgotten.

A reader checks one field alone and puts it into the draft. Input and tools are read next door, readers that
every API has stand in `service.api.readers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, assert_never

from eurouter.v1 import response_items_pb2, response_object_pb2
from eurouter.v1 import responses_pb2 as pb

from service.api.media import FOREIGN, read_opaque
from service.api.problems import Problems, field_names, shown
from service.api.readers import (
    MAX_IDENTIFIER,
    MAX_TEXT,
    NO_LIMIT,
    extra_reader,
    number,
    plain,
    read_cache_options,
    read_json_schema,
    read_metadata,
    read_models,
    read_moderation,
    read_provider,
    read_rule_id,
    read_stream,
    routing_name,
    text_option,
    word,
    word_option,
)
from service.api.responses.call import ResponsesDraft
from service.api.responses.choice import read_tool_choice
from service.api.responses.include import ENCRYPTED, INCLUDES, INPUT_IMAGES, LOGPROBS
from service.api.responses.items import read_input
from service.api.responses.tools import read_tools
from service.domain.fields import Field
from service.domain.generation import Json, OutputFormat

Read = Callable[[ResponsesDraft, Any], None]

_OURS: Final = frozenset({ENCRYPTED, LOGPROBS, INPUT_IMAGES})
"""What needs no endpoint that knows `include`: it is given here, or asked for otherwise."""

_MIN_THRESHOLD: Final = 1000
_FORMATS: Final = frozenset(
    field.name
    for field in response_items_pb2.ResponseTextFormat.DESCRIPTOR.oneofs_by_name["format"].fields
    if field.name != "opaque"
)


def complain_of_includes(problems: Problems, include: Iterable[str]) -> None:
    """Notes each name that `include` does not know."""
    for index, name in enumerate(include):
        if name not in INCLUDES:
            problems.add(f"include[{index}]", f"must be one of {', '.join(INCLUDES)}; got {shown(name)}")


def _include(draft: ResponsesDraft, include: Sequence[str]) -> None:
    complain_of_includes(draft.problems, include)
    names: list[Json] = list(dict.fromkeys(include))
    draft.options[Field.INCLUDE] = names
    draft.routing["include"] = frozenset(include)
    for index, name in enumerate(include):
        if name == LOGPROBS:
            draft.values["logprobs"] = True
            draft.need(Field.LOGPROBS, f"include[{index}]")
        elif name not in _OURS:
            draft.need(Field.INCLUDE, f"include[{index}]")


_top_logprobs_number = number("top_logprobs", Field.TOP_LOGPROBS, 0, 20, neutral=0)


def _top_logprobs(draft: ResponsesDraft, value: int) -> None:
    _top_logprobs_number(draft, value)
    if value:
        # In the Chat API the one needs the other.
        draft.values["logprobs"] = True
        draft.need(Field.LOGPROBS, "top_logprobs")


def _instructions(draft: ResponsesDraft, value: str) -> None:
    draft.routing["instructions"] = value


def _previous(draft: ResponsesDraft, value: str) -> None:
    if not value:
        draft.problems.add("previous_response_id", "must not be empty: name a stored response or leave it out")
    draft.routing["previous_response_id"] = value


def _flag(name: str) -> Read:
    def read(draft: ResponsesDraft, value: bool) -> None:
        draft.routing[name] = value

    return read


def _stream_options(draft: ResponsesDraft, options: pb.ResponseStreamOptions) -> None:
    draft.problems.unknown_fields(options, "stream_options")
    if options.HasField("include_obfuscation"):
        draft.need(Field.OBFUSCATION, "stream_options.include_obfuscation")
        draft.options[Field.OBFUSCATION] = options.include_obfuscation


def _truncation(draft: ResponsesDraft, value: str) -> None:
    if value not in ("auto", "disabled"):
        draft.problems.add("truncation", f"must be auto or disabled; got {shown(value)}")
    draft.values["truncate"] = value == "auto"


def _reasoning(draft: ResponsesDraft, reasoning: response_object_pb2.ResponseReasoning) -> None:
    draft.problems.unknown_fields(reasoning, "reasoning")
    if reasoning.HasField("effort"):
        draft.need(Field.REASONING_EFFORT, "reasoning.effort")
        draft.values["reasoning_effort"] = word(draft, "reasoning.effort", reasoning.effort)
    for name, is_set in (
        ("summary", reasoning.HasField("summary")),
        ("generate_summary", reasoning.HasField("generate_summary")),
    ):
        if is_set:
            path, value = f"reasoning.{name}", getattr(reasoning, name)
            draft.need(Field.REASONING_SUMMARY, path)
            before = draft.values.setdefault("reasoning_summary", word(draft, path, value))
            if before != value:
                draft.problems.add(path, f"contradicts reasoning.summary, which is {shown(before)}: give one")
    wanted: dict[str, Json] = {}
    for name, is_set in (("context", reasoning.HasField("context")), ("mode", reasoning.HasField("mode"))):
        if is_set:
            wanted[name] = word(draft, f"reasoning.{name}", getattr(reasoning, name))
    if wanted:
        draft.options[Field.REASONING_CONTEXT] = wanted
    bound = next((name for name, value in wanted.items() if value != "auto"), None)
    if bound is not None:
        draft.need(Field.REASONING_CONTEXT, f"reasoning.{bound}")


def _text(draft: ResponsesDraft, text: response_object_pb2.ResponseText) -> None:
    draft.problems.unknown_fields(text, "text")
    if text.HasField("verbosity"):
        draft.need(Field.VERBOSITY, "text.verbosity")
        draft.values["verbosity"] = word(draft, "text.verbosity", text.verbosity)
    if text.HasField("format"):
        draft.values["output"] = _format(draft, "text.format", text.format)


def _format(draft: ResponsesDraft, at: str, form: response_items_pb2.ResponseTextFormat) -> OutputFormat | None:
    kind = form.WhichOneof("format")
    match kind:
        case "text":
            return "text"
        case "json_object":
            draft.need(Field.JSON_OBJECT, at)
            return "json_object"
        case "json_schema":
            draft.need(Field.JSON_SCHEMA, at)
            draft.problems.unknown_fields(form.json_schema, at)
            if not form.json_schema.HasField("schema"):
                draft.problems.add(f"{at}.schema", "is needed: the JSON Schema that the answer must match")
            return read_json_schema(draft.problems, at, form.json_schema)
        case "opaque":
            draft.need(Field.OPAQUE_FORMAT, at)
            draft.need_dialect(at)
            return read_opaque(draft, at, form.opaque, _FORMATS)
        case None:
            draft.problems.add(at, "is empty: give it a type, such as json_schema")
            return None
        case _:
            assert_never(kind)


def _context_management(draft: ResponsesDraft, rows: Sequence[pb.ResponseContextManagement]) -> None:
    draft.need(Field.CONTEXT_MANAGEMENT, "context_management")
    wanted: list[Json] = []
    for index, row in enumerate(rows):
        at = f"context_management[{index}]"
        draft.problems.unknown_fields(row, at)
        one: dict[str, Json] = {"type": word(draft, f"{at}.type", row.type)}
        if row.HasField("compact_threshold"):
            one["compact_threshold"] = row.compact_threshold
            if row.compact_threshold < _MIN_THRESHOLD:
                draft.problems.add(
                    f"{at}.compact_threshold", f"must be at least {_MIN_THRESHOLD}; got {row.compact_threshold}"
                )
        wanted.append(one)
    draft.options[Field.CONTEXT_MANAGEMENT] = wanted


def _max_tool_calls(draft: ResponsesDraft, value: int) -> None:
    # Whether any endpoint has to know it is judged when the tools are known.
    if value < 1:
        draft.problems.add("max_tool_calls", f"must be at least 1; got {value}")
    draft.options[Field.MAX_TOOL_CALLS] = value


def _foreign(name: str, advice: str) -> Read:
    def read(draft: ResponsesDraft, _value: str) -> None:
        draft.problems.foreign(name, f"{FOREIGN}: {advice}")

    return read


READERS: Final[dict[str, Read]] = {
    "model": routing_name("model"),
    "models": read_models,
    "rule_id": read_rule_id,
    "rule_name": routing_name("rule_name"),
    "provider": read_provider,
    "input": read_input,
    "instructions": _instructions,
    "previous_response_id": _previous,
    "stream": read_stream,
    "stream_options": _stream_options,
    "max_output_tokens": number("max_output_tokens", Field.MAX_OUTPUT_TOKENS, 1, NO_LIMIT),
    "temperature": number("temperature", Field.TEMPERATURE, 0, 2),
    "top_p": number("top_p", Field.TOP_P, 0, 1),
    "tools": read_tools,
    "tool_choice": read_tool_choice,
    "parallel_tool_calls": plain("parallel_tool_calls", Field.PARALLEL_TOOL_CALLS, neutral=True),
    "truncation": _truncation,
    "metadata": read_metadata,
    "user": text_option("user", Field.USER, MAX_TEXT),
    "store": _flag("store"),
    "reasoning": _reasoning,
    "text": _text,
    "background": _flag("background"),
    "include": _include,
    "max_tool_calls": _max_tool_calls,
    "service_tier": word_option("service_tier", Field.SERVICE_TIER),
    "presence_penalty": number("presence_penalty", Field.PRESENCE_PENALTY, -2, 2, neutral=0),
    "frequency_penalty": number("frequency_penalty", Field.FREQUENCY_PENALTY, -2, 2, neutral=0),
    "top_logprobs": _top_logprobs,
    "safety_identifier": text_option("safety_identifier", Field.SAFETY_IDENTIFIER, MAX_IDENTIFIER),
    "prompt_cache_key": text_option("prompt_cache_key", Field.PROMPT_CACHE_KEY, MAX_TEXT),
    "prompt_cache_retention": word_option("prompt_cache_retention", Field.PROMPT_CACHE_RETENTION),
    "prompt_cache_options": read_cache_options,
    "moderation": read_moderation,
    "conversation": _foreign(
        "conversation", "conversations are kept here; continue one with previous_response_id"
    ),
    "prompt": _foreign("prompt", "send its text as instructions and input"),
    "context_management": _context_management,
    "extra": extra_reader(field_names(pb.CreateResponseRequest.DESCRIPTOR)),
}
"""By field name; called in the order of field numbers. A test keeps the keys equal to the message's fields."""
