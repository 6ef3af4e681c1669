"""Google's generateContent, as the Gemini API and Vertex AI speak it."""

from .dialect import DIALECT, GeminiContent

__all__ = ["DIALECT", "GeminiContent"]
