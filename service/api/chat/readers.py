"""How each field of a chat request is read: one table, so that none can be forgotten.

A reader checks one field alone and puts it into the draft. What several fields say together is judged in
`to_domain`; objects and messages are read next door.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from eurouter.v1 import chat_pb2 as pb
from eurouter.v1 import preferences_pb2

from service.api.chat import options, tools
from service.api.chat.call import Draft
from service.api.chat.messages import read_messages
from service.api.preferences import to_preferences
from service.api.problems import field_names, key_path, read_json, shown
from service.domain.fields import Field
from service.domain.generation import Json

# The pattern of the API's own schema: versions 1 to 8, or the nil or max UUID.
_RULE_ID: Final = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}"
    r"|00000000-0000-0000-0000-000000000000|ffffffff-ffff-ffff-ffff-ffffffffffff"
)
_MAX_NAME: Final = 255
_MAX_MODELS: Final = 32
_MAX_STOPS: Final = 4
_MAX_PAIRS: Final = 16
_MAX_KEY: Final = 64
_MAX_VALUE: Final = 512
_MAX_TOKEN: Final = 20
_MAX_IDENTIFIER: Final = 64
_MAX_TEXT: Final = 1024
_NO_LIMIT: Final = 2**31 - 1
_NAMED: Final = field_names(pb.CreateChatCompletionRequest.DESCRIPTOR)

Read = Callable[[Draft, Any], None]


def _number(
    name: str, field: Field, low: float, high: float, *, neutral: float | None = None, into: str | None = None
) -> Read:
    """A number within bounds, argument `into` of Generation. `neutral` asks for what all endpoints do unasked."""
    argument = into or name
    bounds = f"at least {low}" if high == _NO_LIMIT else f"between {low} and {high}"

    def read(draft: Draft, value: float) -> None:
        # Not-a-number fails every comparison, so it ends here too.
        if not low <= value <= high:
            draft.problems.add(name, f"must be {bounds}; got {value}")
        draft.values[argument] = value
        if value != neutral:
            draft.fields[field] = name

    return read


def _plain(name: str, field: Field, *, neutral: bool | None = None) -> Read:
    """A value without bounds. `neutral` asks for what all endpoints do unasked."""

    def read(draft: Draft, value: object) -> None:
        draft.values[name] = value
        if value is not neutral:
            draft.fields[field] = name

    return read


def _word(name: str, field: Field) -> Read:
    """A value of a set that providers grow, kept as an option."""

    def read(draft: Draft, value: str) -> None:
        draft.options[field] = options.word(draft, name, value)
        draft.fields[field] = name

    return read


def _text(name: str, field: Field, limit: int) -> Read:
    def read(draft: Draft, value: str) -> None:
        if len(value) > limit:
            draft.problems.add(name, f"must be at most {limit} characters long; got {len(value)}")
        draft.fields[field] = name
        draft.options[field] = value

    return read


def _routing_name(name: str) -> Read:
    def read(draft: Draft, value: str) -> None:
        if not 0 < len(value) <= _MAX_NAME:
            draft.problems.add(name, f"must be 1 to {_MAX_NAME} characters long; got {len(value)}")
        draft.routing[name] = value

    return read


def _models(draft: Draft, models: Sequence[str]) -> None:
    if len(models) > _MAX_MODELS:
        draft.problems.add("models", f"must be at most {_MAX_MODELS}; got {len(models)}")
    for index, name in enumerate(models):
        if not 0 < len(name) <= _MAX_NAME:
            draft.problems.add(f"models[{index}]", f"must be 1 to {_MAX_NAME} characters long; got {len(name)}")
    draft.routing["models"] = tuple(models)


def _rule_id(draft: Draft, value: str) -> None:
    if _RULE_ID.fullmatch(value) is None:
        draft.problems.add("rule_id", f"must be a UUID; got {shown(value)}")
    draft.routing["rule_id"] = value.lower()


def _provider(draft: Draft, message: preferences_pb2.ProviderPreferences) -> None:
    draft.routing["preferences"] = to_preferences(message, "provider", draft.problems)


def _stream(draft: Draft, value: bool) -> None:
    draft.stream = value


def _logit_bias(draft: Draft, bias: Mapping[str, float]) -> None:
    for token, value in bias.items():
        if not (token.isascii() and token.isdecimal() and len(token) <= _MAX_TOKEN):
            draft.problems.add(key_path("logit_bias", token), "must be named by a token id, a whole number")
        elif not -100 <= value <= 100:
            draft.problems.add(key_path("logit_bias", token), f"must be between -100 and 100; got {value}")
    draft.fields[Field.LOGIT_BIAS] = "logit_bias"
    draft.values["logit_bias"] = dict(bias)


def _stop(draft: Draft, stops: Sequence[str]) -> None:
    if len(stops) > _MAX_STOPS:
        draft.problems.add("stop", f"must be at most {_MAX_STOPS} sequences; got {len(stops)}")
    for index, text in enumerate(stops):
        if not text:
            draft.problems.add(f"stop[{index}]", "must not be empty")
    draft.fields[Field.STOP] = "stop"
    draft.values["stop"] = tuple(stops)


def _metadata(draft: Draft, metadata: Mapping[str, str]) -> None:
    if len(metadata) > _MAX_PAIRS:
        draft.problems.add("metadata", f"must be at most {_MAX_PAIRS} pairs; got {len(metadata)}")
    for key, value in metadata.items():
        at = key_path("metadata", key)
        if len(key) > _MAX_KEY:
            draft.problems.add(at, f"must have a key of at most {_MAX_KEY} characters; got {len(key)}")
        if len(value) > _MAX_VALUE:
            draft.problems.add(at, f"must be at most {_MAX_VALUE} characters long; got {len(value)}")
    draft.fields[Field.METADATA] = "metadata"
    draft.options[Field.METADATA] = dict(metadata)


def _modalities(draft: Draft, modalities: Sequence[str]) -> None:
    wanted: list[Json] = [options.word(draft, f"modalities[{i}]", name) for i, name in enumerate(modalities)]
    draft.options[Field.MODALITIES] = wanted
    if wanted != ["text"]:
        draft.fields[Field.MODALITIES] = "modalities"


def _verbosity(draft: Draft, value: str) -> None:
    draft.values["verbosity"] = options.word(draft, "verbosity", value)
    draft.fields[Field.VERBOSITY] = "verbosity"


def _store(draft: Draft, value: bool) -> None:
    draft.options[Field.STORE] = value
    if value:
        draft.fields[Field.STORE] = "store"


def _extra(draft: Draft, extra: Mapping[str, str]) -> None:
    for name, text in extra.items():
        at = name[:_MAX_KEY]
        if not name:
            draft.problems.add("extra", "must not hold a field without a name")
        elif name == "extra":
            draft.problems.add(at, "no such field: send what it holds at the top level of the request")
        elif name in _NAMED:
            draft.problems.add(at, "has a field of its own: set that one, not `extra`")
        elif isinstance(complaint := read_json(text), str):
            draft.problems.add(at, f"must be a JSON value as text: {complaint}")
    draft.extra = frozenset(extra)
    draft.extra_hints = draft.extra & draft.hint_fields
    draft.values["extra"] = dict(extra)


READERS: Final[dict[str, Read]] = {
    "model": _routing_name("model"),
    "models": _models,
    "rule_id": _rule_id,
    "rule_name": _routing_name("rule_name"),
    "messages": read_messages,
    "stream": _stream,
    "stream_options": options.read_stream_options,
    # The second one, read later, wins.
    "max_tokens": _number("max_tokens", Field.MAX_OUTPUT_TOKENS, 1, _NO_LIMIT, into="max_output_tokens"),
    "max_completion_tokens": _number(
        "max_completion_tokens", Field.MAX_OUTPUT_TOKENS, 1, _NO_LIMIT, into="max_output_tokens"
    ),
    "temperature": _number("temperature", Field.TEMPERATURE, 0, 2),
    "top_p": _number("top_p", Field.TOP_P, 0, 1),
    "frequency_penalty": _number("frequency_penalty", Field.FREQUENCY_PENALTY, -2, 2, neutral=0),
    "presence_penalty": _number("presence_penalty", Field.PRESENCE_PENALTY, -2, 2, neutral=0),
    "logit_bias": _logit_bias,
    "logprobs": _plain("logprobs", Field.LOGPROBS, neutral=False),
    "top_logprobs": _number("top_logprobs", Field.TOP_LOGPROBS, 0, 20),
    "seed": _plain("seed", Field.SEED),
    "stop": _stop,
    "reasoning": options.read_reasoning,
    "response_format": options.read_response_format,
    "tool_choice": tools.read_tool_choice,
    "tools": tools.read_tools,
    "user": _text("user", Field.USER, _MAX_TEXT),
    "metadata": _metadata,
    "provider": _provider,
    "n": _number("n", Field.N, 1, 128, neutral=1),
    "parallel_tool_calls": _plain("parallel_tool_calls", Field.PARALLEL_TOOL_CALLS, neutral=True),
    "reasoning_effort": options.read_reasoning_effort,
    "verbosity": _verbosity,
    "service_tier": _word("service_tier", Field.SERVICE_TIER),
    "store": _store,
    "modalities": _modalities,
    "audio": options.read_audio,
    "prediction": options.read_prediction,
    "web_search_options": options.read_web_search,
    "prompt_cache_key": _text("prompt_cache_key", Field.PROMPT_CACHE_KEY, _MAX_TEXT),
    "prompt_cache_retention": _word("prompt_cache_retention", Field.PROMPT_CACHE_RETENTION),
    "prompt_cache_options": options.read_cache_options,
    "safety_identifier": _text("safety_identifier", Field.SAFETY_IDENTIFIER, _MAX_IDENTIFIER),
    "functions": tools.read_functions,
    "function_call": tools.read_function_call,
    "moderation": options.read_moderation,
    "extra": _extra,
}
"""By field name; called in the order of field numbers. A test keeps the keys equal to the message's fields."""
