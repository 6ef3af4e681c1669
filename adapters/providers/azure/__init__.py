"""Azure OpenAI's chat completions: OpenAI's, at a deployment's path with an api-version or at the v1 path."""

from .dialect import DIALECT

__all__ = ["DIALECT"]
