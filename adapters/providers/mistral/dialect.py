"""What is Mistral's own: what it asks. What it reads is OpenAI's shape with a few more kinds.

Reading those kinds (thinking and reference parts, padding, errors without `error`) is `openai_chat`'s business:
other servers send some of them, too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from adapters.providers import openai_chat
from adapters.providers.dialect import less_reasoning
from service.domain.fields import Field

from .build import build

# Fields that are not listed are not in the document, which allows no others: the API answers 422 to them.
# Log probabilities and service_tier stand in the SDK's types alone.
_EXPRESSIBLE: Final = frozenset(
    {
        Field.MAX_OUTPUT_TOKENS,
        Field.TEMPERATURE,
        Field.TOP_P,
        Field.FREQUENCY_PENALTY,
        Field.PRESENCE_PENALTY,
        Field.SEED,
        Field.STOP,
        Field.N,
        Field.REASONING_EFFORT,
        Field.JSON_OBJECT,
        Field.JSON_SCHEMA,
        Field.TOOLS,
        Field.TOOL_CHOICE,
        Field.PARALLEL_TOOL_CALLS,
        Field.IMAGE_INPUT,
        Field.IMAGE_URL,
        Field.IMAGE_DETAIL,
        Field.AUDIO_INPUT,
        Field.FILE_INPUT,
        Field.FILE_URL,
        Field.PREDICTION,
        Field.METADATA,
        Field.PROMPT_CACHE_KEY,
    }
)

DIALECT: Final = replace(
    openai_chat.DIALECT,
    name="mistral",
    expressible=_EXPRESSIBLE,
    expressible_with=less_reasoning(_EXPRESSIBLE, Field.REASONING_EFFORT),
    build=build,
)
"""POST /chat/completions: Mistral's OpenAPI document of 2026-08-21 and the SDK `mistralai` 3.7."""
