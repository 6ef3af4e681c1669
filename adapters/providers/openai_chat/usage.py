"""The usage object as the neutral Usage."""

from __future__ import annotations

from typing import Final

from adapters.providers.counts import UsageReader

# At the top: Moonshot, DeepSeek (recorded answers), Mistral (its OpenAPI document: UsageInfo).
read_usage: Final = UsageReader(
    "prompt", "completion", cached=("cached_tokens", "prompt_cache_hit_tokens", "num_cached_tokens")
).read
