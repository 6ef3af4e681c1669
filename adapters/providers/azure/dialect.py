"""The dialect's four verbs: `openai_chat`'s, at Azure's paths and within what an API version knows.

Reading Azure's additions (filter results with tokens and in chunks of their own, a first chunk without choices,
the filters' names in errors) is `openai_chat`'s business: proxies pass them on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from adapters.providers.dialect import Decoder, UpstreamRequest
from adapters.providers.openai_chat.build import PATH, request_of, write_body
from adapters.providers.openai_chat.dialect import OpenAIChat
from adapters.providers.openai_chat.errors import classify
from adapters.providers.openai_chat.read import read
from adapters.providers.openai_chat.stream import StreamDecoder
from service.domain.catalog import Endpoint, Quirks
from service.domain.events import Event
from service.domain.failure import Failure
from service.domain.fields import Field
from service.domain.generation import Generation

from .versions import limit_of, tells_usage, without_later

_UNSAID: Final = frozenset(
    {
        # OpenAI's own search and moderation; formats and kinds that no page of Azure's mentions.
        Field.WEB_SEARCH,
        Field.MODERATION,
        Field.OPAQUE_TOOLS,
        Field.OPAQUE_FORMAT,
        Field.OPAQUE_INPUT,
        Field.GRAMMAR,
        Field.PYTHON_FORMAT,
        # No published type has it in a request.
        Field.ANNOTATION_HISTORY,
    }
)


class AzureChat:
    """Chat completions of Azure OpenAI (learn.microsoft.com/azure/ai-foundry/openai/reference).

    Without a quirk `api_version` the row's base URL ends in /openai/v1 and the deployment is the body's model;
    with one it is the resource's root and the deployment stands in the path.
    """

    name: Final = "azure"
    expressible: Final = OpenAIChat.expressible - _UNSAID

    @staticmethod
    def expressible_with(quirks: Quirks) -> frozenset[Field]:
        """The same for a row with these quirks: less what comes with later API versions."""
        fields = OpenAIChat.expressible_with(quirks) - _UNSAID
        return fields if quirks.api_version is None else without_later(fields, quirks.api_version)

    def build(self, generation: Generation, endpoint: Endpoint, *, stream: bool) -> UpstreamRequest:
        """The call. Raises ServiceError INVALID_REQUEST for what this endpoint's wire can't take."""
        quirks = endpoint.provider.quirks
        path, limit, usage, version = PATH, quirks.max_tokens_field, quirks.stream_usage, quirks.api_version
        if version is not None:
            deployment = quote(endpoint.upstream_model, safe="")
            path = f"/openai/deployments/{deployment}{PATH}?api-version={version}"
            limit = limit_of(version) if limit == "max_completion_tokens" else limit
            usage = usage and tells_usage(version)
        body = write_body(generation, endpoint, stream=stream, limit=limit, usage=usage)
        return request_of(path, body, stream=stream)

    def read(self, body: bytes) -> Sequence[Event]:
        """A whole answer's events. Raises UpstreamError: an error in a 200, PROTOCOL."""
        return read(body)

    def decoder(self) -> Decoder:
        """A fresh decoder."""
        return StreamDecoder()

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a status other than 2xx means."""
        return classify(status, headers, body)


DIALECT: Final = AzureChat()
