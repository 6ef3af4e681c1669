"""What this dialect is made of; each piece stands in a module of its own."""

from __future__ import annotations

from typing import Final

from adapters.providers.dialect import Dialect, less_reasoning
from service.domain.fields import Field

from .build import build
from .errors import classify
from .read import read
from .stream import StreamDecoder

# What is missing has no counterpart: several choices, log probabilities, penalties, a seed, calls one at a
# time, JSON without a schema, grammars, media by address, tools without a schema (the router gives those as
# functions). A service tier and metadata exist, but models that lack the tier, and characters that the logs'
# filter lacks, fail the call: no hint is worth that.
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
        Field.IMAGE_INPUT,
        Field.AUDIO_INPUT,
        Field.FILE_INPUT,
        Field.TOOL_MEDIA,
        Field.PROMPT_CACHE_BREAKPOINT,
    }
)

DIALECT: Final = Dialect(
    name="bedrock",
    expressible=_EXPRESSIBLE,
    expressible_with=less_reasoning(_EXPRESSIBLE, Field.REASONING_EFFORT),
    build=build,
    read=read,
    decoder=StreamDecoder,
    classify=classify,
)
"""Converse and ConverseStream; facts checked against the service model in botocore 1.44.5."""
