"""The dialects that are built, by the names that catalogue rows use."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from adapters.providers import anthropic, azure, bedrock, gemini, mistral, openai_chat, openai_responses
from adapters.providers.dialect import Dialect

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {
        dialect.name: dialect
        for dialect in (
            openai_chat.DIALECT,
            anthropic.DIALECT,
            openai_responses.DIALECT,
            mistral.DIALECT,
            azure.DIALECT,
            bedrock.DIALECT,
            gemini.DIALECT,
        )
    }
)
