"""The wire formats that the simulator speaks. Each stands in a module of its own; nothing else belongs here."""

from __future__ import annotations

from .anthropic import AnthropicMessages
from .azure import AzureChat
from .bedrock import BedrockConverse
from .gemini import GeminiContent
from .mistral import MistralChat
from .openai_chat import OpenAIChat
from .openai_responses import OpenAIResponses
from .wire import WireFormat

WIRE_FORMATS: tuple[WireFormat, ...] = (
    OpenAIChat(),
    OpenAIResponses(),
    AnthropicMessages(),
    AzureChat(),
    GeminiContent(),
    BedrockConverse(),
    MistralChat(),
)
