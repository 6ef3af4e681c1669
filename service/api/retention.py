"""What a request may ask providers to keep where a filter says for how many days data may be kept.

The filter chooses providers by what they do unasked; a request that asks for more is refused here, at every door.
What this service itself keeps is judged in service/api/responses/keeping.py.
"""

from __future__ import annotations

import re
from typing import Final

from service.domain.errors import Violation, invalid
from service.domain.fields import Field
from service.domain.generation import Generation, Json
from service.domain.preferences import Policy

_DAY: Final = 86400
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": _DAY}

_IN_MEMORY: Final = frozenset({"in_memory", "in-memory"})
"""Names of a cache that is never written down (SDK `openai`: the first; earlier versions of it: the second)."""

_MEMORY_SECONDS: Final = 3600
"""As long as caches in memory last: OpenAI's up to an hour, Anthropic's longest lifetime is 1h (docs of both on
caching). What lasts no longer is not retention."""

_WISHES: Final = frozenset({Field.STORE, Field.PROMPT_CACHE_RETENTION, Field.PROMPT_CACHE_OPTIONS})


def check_retention(generation: Generation, policy: Policy) -> None:
    """Refuses what asks a provider to keep data for longer than the filters on data allow.

    A lifetime that is not understood is too long: what nobody stated fails the filter.

    Raises:
        ServiceError: INVALID_REQUEST.
    """
    options = generation.options
    if _WISHES.isdisjoint(options):
        return
    days = policy.data_filters.max_retention_days
    if days is None:
        return
    limit, by_caller = limit_of(policy, days)
    found: list[Violation] = []
    if options.get(Field.STORE) is True:
        # For how long is the provider's choice, so that no number of days is enough.
        found.append(Violation("store", needs_storage("true", limit, days)))
    cache = options.get(Field.PROMPT_CACHE_OPTIONS)
    lifetimes: dict[str, Json] = {
        "prompt_cache_retention": options.get(Field.PROMPT_CACHE_RETENTION),
        "prompt_cache_options.ttl": cache.get("ttl") if isinstance(cache, dict) else None,
    }
    for path, lifetime in lifetimes.items():
        if lifetime is not None and not _within(lifetime, days):
            why = f'may keep the prompt for longer than {limit} allows, which is {days}; got "{lifetime}"'
            found.append(Violation(path, f"{why}; leave one of them out"))
    if not found:
        return
    first, *more = found
    if by_caller:
        beside = ", ".join(violation.path for violation in found)
        more.append(Violation(limit, needs_nothing(days, beside)))
    raise invalid(first.path, first.message, *more)


def limit_of(policy: Policy, days: int) -> tuple[str, bool]:
    """Whose limit `days`, the least of them, is, and whether it stands in the request (or in its rule)."""
    if policy.preferences.max_retention_days == days:
        return "provider.max_retention_days", True
    whose = "operator" if policy.floor.max_retention_days == days else "conversation"
    return f"the {whose}'s max_retention_days", False


def needs_storage(verb: str, limit: str, days: int) -> str:
    """What is wrong with a field that wants something stored; `verb` is its value, "" where that says nothing."""
    then = "nothing is kept" if days == 0 else "nobody says for how long it is kept"
    return f"{verb + ' ' if verb else ''}needs storage, and {limit} is {days}: {then}; leave one of them out"


def needs_nothing(days: int, fields: str) -> str:
    """What is wrong with the limit of a request that has these fields."""
    return f"is {days}, which {'keeps nothing' if days == 0 else 'bounds what is kept'}, beside {fields}"


def _within(lifetime: Json, days: int) -> bool:
    if not isinstance(lifetime, str):
        return False
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", lifetime)
    if found is None:
        return lifetime in _IN_MEMORY
    return int(found[1]) * _UNITS[found[2]] <= max(_MEMORY_SECONDS, days * _DAY)
