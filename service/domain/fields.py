"""The request fields that endpoints may or may not be able to express, and which of them are hints.

Every API names its own JSON paths for them; a dialect lists the ones that it can put on its wire. What a
field means for eligibility is decided here once: a *binding* field that an endpoint can't express makes it
ineligible, a *hint* is left out and named in the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Field(StrEnum):
    """A request field, named as in the Chat Completions API; media and history features included."""

    # The values double as `supported_parameters` of the catalogue.
    MAX_OUTPUT_TOKENS = "max_completion_tokens"
    TEMPERATURE = "temperature"
    TOP_P = "top_p"
    FREQUENCY_PENALTY = "frequency_penalty"
    PRESENCE_PENALTY = "presence_penalty"
    LOGIT_BIAS = "logit_bias"
    LOGPROBS = "logprobs"
    TOP_LOGPROBS = "top_logprobs"
    SEED = "seed"
    STOP = "stop"
    N = "n"
    REASONING_EFFORT = "reasoning.effort"
    REASONING_SUMMARY = "reasoning.summary"
    REASONING_CONTEXT = "reasoning.context"
    VERBOSITY = "verbosity"
    JSON_OBJECT = "response_format.json_object"
    JSON_SCHEMA = "response_format.json_schema"
    GRAMMAR = "response_format.grammar"
    PYTHON_FORMAT = "response_format.python"
    OPAQUE_FORMAT = "response_format.opaque"
    TOOLS = "tools"
    CUSTOM_TOOLS = "tools.custom"
    CUSTOM_GRAMMAR = "tools.custom.grammar"
    LOCAL_TOOLS = "tools.local"
    TOOL_DETAILS = "tools.details"
    OPAQUE_TOOLS = "tools.opaque"
    TOOL_CHOICE = "tool_choice"
    TOOL_CHOICE_ALLOWED = "tool_choice.allowed_tools"
    PARALLEL_TOOL_CALLS = "parallel_tool_calls"
    IMAGE_INPUT = "image_url"
    IMAGE_URL = "image_url.url"
    AUDIO_INPUT = "input_audio"
    FILE_INPUT = "file"
    FILE_URL = "file.file_url"
    FILE_DETAIL = "file.detail"
    TOOL_MEDIA = "messages.tool.media"
    OPAQUE_INPUT = "content.opaque"
    AUDIO_HISTORY = "messages.audio"
    STORE = "store"
    MODALITIES = "modalities"
    AUDIO_OUTPUT = "audio"
    PREDICTION = "prediction"
    WEB_SEARCH = "web_search_options"
    MODERATION = "moderation"
    USER = "user"
    METADATA = "metadata"
    SERVICE_TIER = "service_tier"
    PROMPT_CACHE_KEY = "prompt_cache_key"
    PROMPT_CACHE_RETENTION = "prompt_cache_retention"
    PROMPT_CACHE_OPTIONS = "prompt_cache_options"
    PROMPT_CACHE_BREAKPOINT = "prompt_cache_breakpoint"
    SAFETY_IDENTIFIER = "safety_identifier"
    AUTHOR_NAME = "messages.name"
    IMAGE_DETAIL = "image_url.detail"
    OBFUSCATION = "stream_options.include_obfuscation"
    ANNOTATION_HISTORY = "messages.annotations"
    PHASE = "messages.phase"
    INCLUDE = "include"
    MAX_TOOL_CALLS = "max_tool_calls"
    CONTEXT_MANAGEMENT = "context_management"


HINTS: Final[frozenset[Field]] = frozenset(
    {
        Field.USER,
        Field.METADATA,
        Field.SERVICE_TIER,
        Field.PROMPT_CACHE_KEY,
        Field.PROMPT_CACHE_RETENTION,
        Field.PROMPT_CACHE_OPTIONS,
        Field.PROMPT_CACHE_BREAKPOINT,
        Field.SAFETY_IDENTIFIER,
        Field.AUTHOR_NAME,
        Field.IMAGE_DETAIL,
        Field.FILE_DETAIL,
        Field.OBFUSCATION,
        Field.ANNOTATION_HISTORY,
        Field.PHASE,
        Field.INCLUDE,
        Field.MAX_TOOL_CALLS,
        Field.TOOL_DETAILS,
        Field.CUSTOM_GRAMMAR,
        Field.REASONING_SUMMARY,
    }
)
"""Fields whose loss does not change what the model is asked: left out where they can't be said, and named.

`max_tool_calls` bounds the calls that a provider runs by itself: one that runs none keeps to it. A grammar of
a custom tool binds the model's writing, not what the caller may get: callers check their input anyway. A
reasoning summary is a second account of reasoning that stays the same without it; agents ask for it always.
"""

BRIDGES: Final[Mapping[Field, frozenset[Field]]] = MappingProxyType(
    {
        Field.CUSTOM_TOOLS: frozenset({Field.TOOLS}),
        Field.LOCAL_TOOLS: frozenset({Field.TOOLS}),
        Field.IMAGE_URL: frozenset({Field.IMAGE_INPUT}),
        Field.FILE_URL: frozenset({Field.FILE_INPUT}),
        Field.JSON_SCHEMA: frozenset({Field.TOOLS, Field.TOOL_CHOICE}),
    }
)
"""Fields that an endpoint without them can be made to serve, and what it needs for that.

Tools become functions, their calls mapped back (service/domain/bridge.py); what stands at an address is fetched
and sent inline; a schema becomes a tool that must be called.
"""

BRIDGED: Final[frozenset[Field]] = frozenset({Field.CUSTOM_TOOLS, Field.LOCAL_TOOLS})
"""The bridges that every call may use; the others only where they are allowed."""

FETCHED: Final[frozenset[Field]] = frozenset({Field.IMAGE_URL, Field.FILE_URL})
"""Of the other bridges those that fetch what stands at an address: nothing is lost, but we ask strange hosts."""

EMULATED: Final[frozenset[Field]] = frozenset({Field.JSON_SCHEMA})
"""Of the other bridges those that stand for something else than was asked, so that answers say so."""
