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
from .verbatim import NAME

_REASONING: Final = frozenset({Field.REASONING_EFFORT, Field.REASONING_SUMMARY, Field.REASONING_CONTEXT})


class OpenAIResponses:
    """Responses (platform.openai.com/docs/api-reference/responses) and its look-alikes."""

    name: Final = NAME
    # OpenAI's schema of the request (CreateResponse) has no place for these. `store` would keep the answer at
    # the provider, which is never asked for.
    expressible: Final = frozenset(Field) - {
        Field.FREQUENCY_PENALTY,
        Field.PRESENCE_PENALTY,
        Field.LOGIT_BIAS,
        Field.SEED,
        Field.STOP,
        Field.N,
        Field.GRAMMAR,
        Field.PYTHON_FORMAT,
        Field.AUDIO_INPUT,
        Field.AUDIO_HISTORY,
        Field.STORE,
        Field.MODALITIES,
        Field.AUDIO_OUTPUT,
        Field.PREDICTION,
        Field.WEB_SEARCH,
        Field.AUTHOR_NAME,
    }

    @staticmethod
    def expressible_with(quirks: Quirks) -> frozenset[Field]:
        """The same for a row with these quirks: a server may know no reasoning."""
        if quirks.reasoning_style == "none":
            return OpenAIResponses.expressible - _REASONING
        return OpenAIResponses.expressible

    def build(self, generation: Generation, endpoint: Endpoint, *, stream: bool) -> UpstreamRequest:
        """The call. Raises ServiceError INVALID_REQUEST for what this endpoint's wire can't take."""
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


DIALECT: Final = OpenAIResponses()
