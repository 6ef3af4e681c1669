"""Calls that a script refuses as too many before it answers: counted here, how many there are is the script's."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from .script import rate_limited

if TYPE_CHECKING:
    from .script import Script
    from .wire import Asked


class Busy:
    """Counts what was refused, by model and last user message."""

    def __init__(self) -> None:
        self._refused: Counter[tuple[str, str]] = Counter()

    def script(self, script: Script, asked: Asked) -> Script:
        """The script as this call gets it: its refusal, or without its busy beginning when that is over."""
        if not script.busy_calls:
            return script
        asker = (asked.form.model, asked.last_user)
        if self._refused[asker] >= script.busy_calls:
            return replace(script, busy_calls=0)
        self._refused[asker] += 1
        seconds = script.busy_seconds
        return replace(script, busy_calls=0, fault=rate_limited(int(seconds) if seconds.is_integer() else seconds))

    def forget(self) -> None:
        """Begins anew for everybody."""
        self._refused.clear()
