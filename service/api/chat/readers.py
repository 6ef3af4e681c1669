"""How each field of a chat request is read: one table, so that none can be forgotten.

A reader checks one field alone and puts it into the draft. What several fields say together is judged in
`to_domain`; objects and messages are read next door, fields that every API has in `service.api.readers`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from eurouter.v1 import chat_pb2 as pb

from service.api.chat import options, tools
from service.api.chat.call import ChatDraft
from service.api.chat.messages import read_messages
from service.api.problems import field_names, key_path
from service.api.readers import (
    MAX_IDENTIFIER,
    MAX_TEXT,
    NO_LIMIT,
    extra_reader,
    number,
    plain,
    read_cache_options,
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
from service.domain.fields import Field
from service.domain.generation import Json

_MAX_STOPS: Final = 4
_MAX_TOKEN: Final = 20

Read = Callable[[ChatDraft, Any], None]


def _logit_bias(draft: ChatDraft, bias: Mapping[str, float]) -> None:
    for token, value in bias.items():
        if not (token.isascii() and token.isdecimal() and len(token) <= _MAX_TOKEN):
            draft.problems.add(key_path("logit_bias", token), "must be named by a token id, a whole number")
        elif not -100 <= value <= 100:
            draft.problems.add(key_path("logit_bias", token), f"must be between -100 and 100; got {value}")
    draft.fields[Field.LOGIT_BIAS] = "logit_bias"
    draft.values["logit_bias"] = dict(bias)


def _stop(draft: ChatDraft, stops: Sequence[str]) -> None:
    if len(stops) > _MAX_STOPS:
        draft.problems.add("stop", f"must be at most {_MAX_STOPS} sequences; got {len(stops)}")
    for index, text in enumerate(stops):
        if not text:
            draft.problems.add(f"stop[{index}]", "must not be empty")
    draft.fields[Field.STOP] = "stop"
    draft.values["stop"] = tuple(stops)


def _modalities(draft: ChatDraft, modalities: Sequence[str]) -> None:
    wanted: list[Json] = [word(draft, f"modalities[{i}]", name) for i, name in enumerate(modalities)]
    draft.options[Field.MODALITIES] = wanted
    if wanted != ["text"]:
        draft.fields[Field.MODALITIES] = "modalities"


def _verbosity(draft: ChatDraft, value: str) -> None:
    draft.values["verbosity"] = word(draft, "verbosity", value)
    draft.fields[Field.VERBOSITY] = "verbosity"


def _store(draft: ChatDraft, value: bool) -> None:
    draft.options[Field.STORE] = value
    if value:
        draft.fields[Field.STORE] = "store"


READERS: Final[dict[str, Read]] = {
    "model": routing_name("model"),
    "models": read_models,
    "rule_id": read_rule_id,
    "rule_name": routing_name("rule_name"),
    "messages": read_messages,
    "stream": read_stream,
    "stream_options": options.read_stream_options,
    # The second one, read later, wins.
    "max_tokens": number("max_tokens", Field.MAX_OUTPUT_TOKENS, 1, NO_LIMIT, into="max_output_tokens"),
    "max_completion_tokens": number(
        "max_completion_tokens", Field.MAX_OUTPUT_TOKENS, 1, NO_LIMIT, into="max_output_tokens"
    ),
    "temperature": number("temperature", Field.TEMPERATURE, 0, 2),
    "top_p": number("top_p", Field.TOP_P, 0, 1),
    "frequency_penalty": number("frequency_penalty", Field.FREQUENCY_PENALTY, -2, 2, neutral=0),
    "presence_penalty": number("presence_penalty", Field.PRESENCE_PENALTY, -2, 2, neutral=0),
    "logit_bias": _logit_bias,
    "logprobs": plain("logprobs", Field.LOGPROBS, neutral=False),
    "top_logprobs": number("top_logprobs", Field.TOP_LOGPROBS, 0, 20),
    "seed": plain("seed", Field.SEED),
    "stop": _stop,
    "reasoning": options.read_reasoning,
    "response_format": options.read_response_format,
    "tool_choice": tools.read_tool_choice,
    "tools": tools.read_tools,
    "user": text_option("user", Field.USER, MAX_TEXT),
    "metadata": read_metadata,
    "provider": read_provider,
    "n": number("n", Field.N, 1, 128, neutral=1),
    "parallel_tool_calls": plain("parallel_tool_calls", Field.PARALLEL_TOOL_CALLS, neutral=True),
    "reasoning_effort": options.read_reasoning_effort,
    "verbosity": _verbosity,
    "service_tier": word_option("service_tier", Field.SERVICE_TIER),
    "store": _store,
    "modalities": _modalities,
    "audio": options.read_audio,
    "prediction": options.read_prediction,
    "web_search_options": options.read_web_search,
    "prompt_cache_key": text_option("prompt_cache_key", Field.PROMPT_CACHE_KEY, MAX_TEXT),
    "prompt_cache_retention": word_option("prompt_cache_retention", Field.PROMPT_CACHE_RETENTION),
    "prompt_cache_options": read_cache_options,
    "safety_identifier": text_option("safety_identifier", Field.SAFETY_IDENTIFIER, MAX_IDENTIFIER),
    "functions": tools.read_functions,
    "function_call": tools.read_function_call,
    "moderation": read_moderation,
    "extra": extra_reader(field_names(pb.CreateChatCompletionRequest.DESCRIPTOR)),
}
"""By field name; called in the order of field numbers. A test keeps the keys equal to the message's fields."""
