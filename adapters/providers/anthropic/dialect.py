"""What this dialect is made of; each piece stands in a module of its own."""

from __future__ import annotations

from typing import Final

from adapters.providers.dialect import Dialect, less_reasoning
from service.domain.fields import Field

from .build import build
from .errors import classify
from .read import read
from .stream import StreamDecoder

# What is missing has no counterpart: several choices, log probabilities, penalties, a seed, JSON without a
# schema, grammars, audio, tools without a schema (the router gives those as functions).
_EXPRESSIBLE: Final = frozenset(
    {
        Field.MAX_OUTPUT_TOKENS,
        Field.TEMPERATURE,
        Field.TOP_P,
        Field.STOP,
        Field.REASONING_EFFORT,
        Field.JSON_SCHEMA,
        Field.TOOLS,
        Field.TOOL_CHOICE,
        Field.PARALLEL_TOOL_CALLS,
        Field.IMAGE_INPUT,
        Field.IMAGE_URL,
        Field.FILE_INPUT,
        Field.FILE_URL,
        Field.TOOL_MEDIA,
        Field.PROMPT_CACHE_BREAKPOINT,
        Field.PROMPT_CACHE_OPTIONS,
        Field.USER,
    }
)

DIALECT: Final = Dialect(
    name="anthropic",
    expressible=_EXPRESSIBLE,
    expressible_with=less_reasoning(_EXPRESSIBLE, Field.REASONING_EFFORT),
    build=build,
    read=read,
    decoder=StreamDecoder,
    classify=classify,
)
"""Messages (docs.anthropic.com/en/api/messages); facts checked against the SDK `anthropic` 2.12."""
