"""The dialect's four verbs, put together; each stands in a module of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from adapters.providers.dialect import Decoder, UpstreamRequest
from service.domain.catalog import Endpoint, Quirks
from service.domain.events import Event
from service.domain.failure import Failure
from service.domain.fields import Field
from service.domain.generation import Generation

from .build import build
from .errors import classify
from .read import read
from .stream import StreamDecoder


class GeminiContent:
    """generateContent (ai.google.dev/api/generate-content); facts checked against the SDK `google-genai` 3.4.

    The Gemini API and Vertex AI differ in base URL and auth only, as far as this dialect goes.
    """

    name: Final = "gemini"
    # What is missing has no counterpart: a bias of tokens, strict tools, calls one at a time, verbosity, grammars.
    # Vertex's labels are dimensions of the bill in a narrow alphabet, not a request's metadata. Files and images
    # stand inline: an address would have to be known to Google. There is a `candidateCount`, but no marker ends a
    # stream: one that is cut before another candidate begins would pass for whole, with fewer choices than asked.
    expressible: Final = frozenset(
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

    @staticmethod
    def expressible_with(quirks: Quirks) -> frozenset[Field]:
        """The same for a row with these quirks: its models may know no thinking."""
        if quirks.reasoning_style == "none":
            return GeminiContent.expressible - {Field.REASONING_EFFORT, Field.REASONING_SUMMARY}
        return GeminiContent.expressible

    def build(self, generation: Generation, endpoint: Endpoint, *, stream: bool) -> UpstreamRequest:
        """The call. Raises ServiceError INVALID_REQUEST for what this wire can't take."""
        return build(generation, endpoint, stream=stream)

    def read(self, body: bytes) -> Sequence[Event]:
        """A whole answer's events. Raises UpstreamError: an error in a 200, a blocked prompt, PROTOCOL."""
        return read(body)

    def decoder(self) -> Decoder:
        """A fresh decoder."""
        return StreamDecoder()

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a status other than 2xx means."""
        return classify(status, headers, body)


DIALECT: Final = GeminiContent()
