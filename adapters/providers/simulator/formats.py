"""The wire formats that the simulator speaks. Each stands in a module of its own; nothing else belongs here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .anthropic import AnthropicMessages
from .azure import AzureChat
from .bedrock import BedrockConverse
from .gemini import GeminiContent
from .mistral import MistralChat
from .openai_chat import OpenAIChat
from .openai_responses import OpenAIResponses
from .wire import WireFormat

BASES: Final[Mapping[str, str]] = {
    "openai_chat": "/v1",
    "openai_responses": "/v1",
    "anthropic": "/v1",
    "azure": "/openai/v1",
    "mistral": "/mistral/v1",
    "gemini": "/v1beta",
    "bedrock": "",
}
"""What follows the simulator's address in a row's `base_url`, by dialect."""

WIRE_FORMATS: tuple[WireFormat, ...] = (
    OpenAIChat(),
    OpenAIResponses(),
    AnthropicMessages(),
    AzureChat(),
    GeminiContent(),
    BedrockConverse(),
    MistralChat(),
)
