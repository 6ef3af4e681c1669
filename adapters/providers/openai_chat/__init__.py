"""OpenAI's Chat Completions API as OpenAI, Azure and the many servers compatible with it speak it."""

from .dialect import DIALECT

__all__ = ["DIALECT"]
