"""OpenAI's usage objects as the neutral Usage. Its two APIs, and all that are like them, differ in names alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from service.domain.events import Usage

_READ: Final = frozenset({"cached_tokens", "cache_write_tokens"})
_WRITTEN: Final = frozenset({"reasoning_tokens"})
"""Details that `Usage` has places of their own for."""


class UsageReader:
    """Reads one API's usage objects: what it calls the tokens that were read and written, such as `prompt`.

    `cached`: names at the top of the object under which some servers count what came from a cache.
    """

    __slots__ = ("_cached", "_named", "_read", "_read_details", "_written", "_written_details")

    def __init__(self, read: str, written: str, *, cached: Sequence[str] = ()) -> None:
        self._read, self._read_details = f"{read}_tokens", f"{read}_tokens_details"
        self._written, self._written_details = f"{written}_tokens", f"{written}_tokens_details"
        self._cached = cached
        self._named = frozenset(
            {"total_tokens", self._read, self._read_details, self._written, self._written_details}
        )

    def read(self, usage: dict[str, Any]) -> Usage:
        """Counts as they came, but for reasoning that output leaves out; zero is kept, null is absent.

        Details have the Chat API's names whichever API told them.
        """
        read_details = usage.get(self._read_details) or {}
        written_details = usage.get(self._written_details) or {}
        cached = read_details.get("cached_tokens")
        if cached is None:
            cached = next((usage[name] for name in self._cached if usage.get(name) is not None), None)
        details: list[tuple[str, int]] = []
        extra: list[tuple[str, str]] = []
        for side, found, placed in (("prompt", read_details, _READ), ("completion", written_details, _WRITTEN)):
            for key, value in found.items():
                if key in placed or value is None:
                    continue
                if type(value) is int:
                    details.append((f"{side}.{key}", value))
                else:
                    extra.append((f"{side}_tokens_details.{key}", orjson.dumps(value).decode()))
        named = self._named
        for key, value in usage.items():
            if key not in named and value is not None:
                extra.append((key, orjson.dumps(value).decode()))
        read, written = usage.get(self._read) or 0, usage.get(self._written) or 0
        total, reasoning = usage.get("total_tokens"), written_details.get("reasoning_tokens")
        if reasoning and total == read + written + reasoning:
            # Some servers leave reasoning out of the output, and only their total has it.
            written += reasoning
        return Usage(
            read,
            written,
            read + written if total is None else total,
            cached_tokens=cached,
            cache_write_tokens=read_details.get("cache_write_tokens"),
            reasoning_tokens=reasoning,
            details=tuple(details),
            extra=tuple(extra),
        )
