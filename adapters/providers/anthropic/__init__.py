"""Anthropic's Messages API, as Anthropic and the servers that mirror it speak it."""

from .dialect import DIALECT

__all__ = ["DIALECT"]
