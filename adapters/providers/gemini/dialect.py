"""What this dialect is made of; each piece stands in a module of its own."""

from __future__ import annotations

from typing import Final

from adapters.providers.dialect import Dialect, less_reasoning
from service.domain.fields import Field

from .build import build
from .errors import classify
from .read import read
from .stream import StreamDecoder

# What is missing has no counterpart: a bias of tokens, strict tools, calls one at a time, verbosity, grammars.
# Vertex's labels are dimensions of the bill in a narrow alphabet, not a request's metadata. Files and images
# stand inline: an address would have to be known to Google. There is a `candidateCount`, but no marker ends a
# stream: one that is cut before another candidate begins would pass for whole, with fewer choices than asked.
_EXPRESSIBLE: Final = frozenset(
    {
        Field.MAX_OUTPUT_TOKENS,
        Field.TEMPERATURE,
        Field.TOP_P,
        Field.FREQUENCY_PENALTY,
        Field.PRESENCE_PENALTY,
        Field.LOGPROBS,
        Field.TOP_LOGPROBS,
        Field.SEED,
        Field.STOP,
        Field.REASONING_EFFORT,
        Field.REASONING_SUMMARY,
        Field.JSON_OBJECT,
        Field.JSON_SCHEMA,
        Field.TOOLS,
        Field.TOOL_CHOICE,
        Field.TOOL_CHOICE_ALLOWED,
        Field.IMAGE_INPUT,
        Field.AUDIO_INPUT,
        Field.FILE_INPUT,
        Field.TOOL_MEDIA,
        Field.SERVICE_TIER,
    }
)

DIALECT: Final = Dialect(
    name="gemini",
    expressible=_EXPRESSIBLE,
    expressible_with=less_reasoning(_EXPRESSIBLE, Field.REASONING_EFFORT, Field.REASONING_SUMMARY),
    build=build,
    read=read,
    decoder=StreamDecoder,
    classify=classify,
)
"""generateContent (ai.google.dev/api/generate-content); facts checked against the SDK `google-genai` 3.4.

The Gemini API and Vertex AI differ in base URL and auth only, as far as this dialect goes.
"""
