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


class OpenAIChat:
    """Chat Completions (platform.openai.com/docs/api-reference/chat) and its look-alikes."""

    name: Final = "openai_chat"
    # A reasoning summary has no place on OpenAI's chat wire; see expressible_with. The others are the
    # Responses API's own.
    expressible: Final = frozenset(Field) - {
        Field.REASONING_SUMMARY,
        Field.REASONING_CONTEXT,
        Field.LOCAL_TOOLS,
        Field.TOOL_DETAILS,
        Field.PHASE,
        Field.INCLUDE,
        Field.MAX_TOOL_CALLS,
        Field.CONTEXT_MANAGEMENT,
        Field.FILE_URL,
        Field.FILE_DETAIL,
        Field.TOOL_MEDIA,
    }

    @staticmethod
    def expressible_with(quirks: Quirks) -> frozenset[Field]:
        """The same for a row with these quirks: where the effort goes decides whether a summary can too."""
        match quirks.reasoning_style:
            case "reasoning_effort":
                return OpenAIChat.expressible
            case "reasoning_object":
                return OpenAIChat.expressible | {Field.REASONING_SUMMARY}
            case "none":
                return OpenAIChat.expressible - {Field.REASONING_EFFORT}

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


DIALECT: Final = OpenAIChat()
