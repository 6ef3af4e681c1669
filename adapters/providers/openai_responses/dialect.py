"""What this dialect is made of; each piece stands in a module of its own."""

from __future__ import annotations

from typing import Final

from adapters.providers.dialect import Dialect, less_reasoning
from service.domain.fields import Field

from .build import build
from .errors import classify
from .read import read
from .stream import StreamDecoder
from .verbatim import NAME

# OpenAI's schema of the request (CreateResponse) has no place for these. `store` would keep the answer at
# the provider, which is never asked for.
_EXPRESSIBLE: Final = frozenset(Field) - {
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

DIALECT: Final = Dialect(
    name=NAME,
    expressible=_EXPRESSIBLE,
    expressible_with=less_reasoning(
        _EXPRESSIBLE, Field.REASONING_EFFORT, Field.REASONING_SUMMARY, Field.REASONING_CONTEXT
    ),
    build=build,
    read=read,
    decoder=StreamDecoder,
    classify=classify,
)
"""Responses (platform.openai.com/docs/api-reference/responses) and its look-alikes."""
