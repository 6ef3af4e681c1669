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


class BedrockConverse:
    """Converse and ConverseStream; facts checked against the service model in botocore 1.44.5."""

    name: Final = "bedrock"
    # What is missing has no counterpart: several choices, log probabilities, penalties, a seed, calls one at a
    # time, JSON without a schema, grammars, media by address, tools without a schema (the router gives those as
    # functions). A service tier and metadata exist, but models that lack the tier, and characters that the logs'
    # filter lacks, fail the call: no hint is worth that.
    expressible: Final = frozenset(
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

    @staticmethod
    def expressible_with(quirks: Quirks) -> frozenset[Field]:
        """The same for a row with these quirks: a row of models that don't reason."""
        if quirks.reasoning_style == "none":
            return BedrockConverse.expressible - {Field.REASONING_EFFORT}
        return BedrockConverse.expressible

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


DIALECT: Final = BedrockConverse()
