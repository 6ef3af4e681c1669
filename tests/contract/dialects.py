"""Every dialect, one row each: the contract suite and the golden cases run over this list."""

from __future__ import annotations

from tests.contract import anthropic, azure, bedrock, gemini, mistral, openai_chat, openai_responses
from tests.contract.sample import DialectSample

DIALECTS: tuple[DialectSample, ...] = (
    openai_chat.SAMPLE,
    anthropic.SAMPLE,
    openai_responses.SAMPLE,
    mistral.SAMPLE,
    azure.SAMPLE,
    bedrock.SAMPLE,
    gemini.SAMPLE,
)
