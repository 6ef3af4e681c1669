"""Google's generateContent, as the Gemini API and Vertex AI speak it."""

from .dialect import DIALECT

__all__ = ["DIALECT"]
