"""The usage object as the neutral Usage."""

from __future__ import annotations

from typing import Final

from adapters.providers.counts import UsageReader

read_usage: Final = UsageReader("input", "output").read
