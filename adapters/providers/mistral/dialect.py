"""The dialect's four verbs. What it asks is Mistral's own; what it reads is OpenAI's shape with a few more kinds.

Reading those kinds (thinking and reference parts, padding, errors without `error`) is `openai_chat`'s business:
other servers send some of them, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from adapters.providers.dialect import Decoder, UpstreamRequest
from adapters.providers.openai_chat.errors import classify
from adapters.providers.openai_chat.read import read
from adapters.providers.openai_chat.stream import StreamDecoder
from service.domain.catalog import Endpoint, Quirks
from service.domain.events import Event
from service.domain.failure import Failure
from service.domain.fields import Field
from service.domain.generation import Generation

from .build import build


class Mistral:
    """POST /chat/completions: Mistral's OpenAPI document of 2026-08-21 and the SDK `mistralai` 3.7."""

    name: Final = "mistral"
    # Fields that are not listed are not in the document, which allows no others: the API answers 422 to them.
    # Log probabilities and service_tier stand in the SDK's types alone.
    expressible: Final = frozenset(
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

    @staticmethod
    def expressible_with(quirks: Quirks) -> frozenset[Field]:
        """The same for a row with these quirks: one may serve no model that reasons."""
        if quirks.reasoning_style == "none":
            return Mistral.expressible - {Field.REASONING_EFFORT}
        return Mistral.expressible

    def build(self, generation: Generation, endpoint: Endpoint, *, stream: bool) -> UpstreamRequest:
        """The call. Raises ServiceError INVALID_REQUEST for what this wire can't take."""
        return build(generation, endpoint, stream=stream)

    def read(self, body: bytes) -> Sequence[Event]:
        """A whole answer's events. Raises UpstreamError: an error in a 200, PROTOCOL."""
        return read(body)

    def decoder(self) -> Decoder:
        """A fresh decoder."""
        return StreamDecoder()

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a status other than 2xx means."""
        return classify(status, headers, body)


DIALECT: Final = Mistral()
