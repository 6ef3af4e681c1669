"""OpenAI's Responses API as OpenAI, Azure and self-hosted servers speak it."""

from .dialect import DIALECT

__all__ = ["DIALECT"]
