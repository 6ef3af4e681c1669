"""Mistral's chat completions: OpenAI's shape with differences of its own."""

from .dialect import DIALECT

__all__ = ["DIALECT"]
