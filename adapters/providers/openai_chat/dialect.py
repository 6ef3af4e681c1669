"""What this dialect is made of; each piece stands in a module of its own."""

from __future__ import annotations

from typing import Final

from adapters.providers.dialect import Dialect
from service.domain.catalog import Quirks
from service.domain.fields import Field

from .build import build
from .errors import classify
from .read import read
from .stream import StreamDecoder

# A reasoning summary has no place on OpenAI's chat wire; see _expressible_with. The others are the Responses
# API's own.
_EXPRESSIBLE: Final = frozenset(Field) - {
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


def _expressible_with(quirks: Quirks) -> frozenset[Field]:
    """Where the effort goes decides whether a summary can go there, too."""
    match quirks.reasoning_style:
        case "reasoning_effort":
            return _EXPRESSIBLE
        case "reasoning_object":
            return _EXPRESSIBLE | {Field.REASONING_SUMMARY}
        case "none":
            return _EXPRESSIBLE - {Field.REASONING_EFFORT}


DIALECT: Final = Dialect(
    name="openai_chat",
    expressible=_EXPRESSIBLE,
    expressible_with=_expressible_with,
    build=build,
    read=read,
    decoder=StreamDecoder,
    classify=classify,
)
"""Chat Completions (platform.openai.com/docs/api-reference/chat) and its look-alikes."""
