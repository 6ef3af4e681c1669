"""What is Azure's own: `openai_chat`'s calls go to Azure's paths and keep within what an API version knows.

Reading Azure's additions (filter results with tokens and in chunks of their own, a first chunk without choices,
the filters' names in errors) is `openai_chat`'s business: proxies pass them on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final
from urllib.parse import quote

from adapters.providers import openai_chat
from adapters.providers.dialect import UpstreamRequest
from adapters.providers.openai_chat.build import PATH, request_of, write_body
from service.domain.catalog import Endpoint, Quirks
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


def _expressible_with(quirks: Quirks) -> frozenset[Field]:
    """Less what comes with later API versions."""
    fields = openai_chat.DIALECT.expressible_with(quirks) - _UNSAID
    return fields if quirks.api_version is None else without_later(fields, quirks.api_version)


def _build(generation: Generation, endpoint: Endpoint, *, stream: bool) -> UpstreamRequest:
    quirks = endpoint.provider.quirks
    path, limit, usage, version = PATH, quirks.max_tokens_field, quirks.stream_usage, quirks.api_version
    if version is not None:
        deployment = quote(endpoint.upstream_model, safe="")
        path = f"/openai/deployments/{deployment}{PATH}?api-version={version}"
        limit = limit_of(version) if limit == "max_completion_tokens" else limit
        usage = usage and tells_usage(version)
    body = write_body(generation, endpoint, stream=stream, limit=limit, usage=usage)
    return request_of(path, body, stream=stream)


DIALECT: Final = replace(
    openai_chat.DIALECT,
    name="azure",
    expressible=openai_chat.DIALECT.expressible - _UNSAID,
    expressible_with=_expressible_with,
    build=_build,
)
"""Chat completions of Azure OpenAI (learn.microsoft.com/azure/ai-foundry/openai/reference).

Without a quirk `api_version` the row's base URL ends in /openai/v1 and the deployment is the body's model;
with one it is the resource's root and the deployment stands in the path.
"""
