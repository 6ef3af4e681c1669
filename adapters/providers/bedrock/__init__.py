"""Amazon Bedrock's Converse API: one form for all models there, streamed as binary frames."""

from .dialect import DIALECT

__all__ = ["DIALECT"]
