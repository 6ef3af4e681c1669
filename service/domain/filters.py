"""Why an endpoint may not serve a request: policy and expression, each with a sentence. No order, no health.

A fact that the catalogue does not state fails the filter that asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from service.domain.catalog import Endpoint, ProviderStatus
from service.domain.fields import HINTS, Field
from service.domain.preferences import Floor, Policy, Preferences
from service.domain.regions import EU, inside
from service.domain.routing import Filter, Needs

Check: TypeAlias = tuple[Filter, Callable[[Endpoint], str | None]]
"""A filter and what it has against an endpoint: a sentence, or None."""

STATUS_FILTERS: Final[dict[ProviderStatus, tuple[Filter, str]]] = {
    ProviderStatus.NOT_CONFIGURED: (Filter.NOT_CONFIGURED, "is not configured here"),
    ProviderStatus.DIALECT_MISSING: (Filter.DIALECT_MISSING, "speaks a dialect that this version does not have"),
    ProviderStatus.DISABLED: (Filter.DISABLED, "is switched off"),
}

_ASKED: Final = "asked"
_FLOOR: Final = "required by the operator's policy"


def policy_checks(policy: Policy) -> tuple[Check, ...]:
    """The checks that `policy` asks for, floor and preferences ANDed; empty when it asks for nothing."""
    checks: list[Check] = []
    if policy.preferences != _NO_PREFERENCES:
        checks += _choice_checks(policy.preferences)
        checks += _fact_checks(_as_floor(policy.preferences), _ASKED)
    if policy.floor != _NO_FLOOR:
        checks += _fact_checks(policy.floor, _FLOOR)
    return tuple(checks)


_NO_PREFERENCES: Final = Preferences()
_NO_FLOOR: Final = Floor()


def _as_floor(preferences: Preferences) -> Floor:
    return Floor(
        data_residency=(preferences.data_residency,) if preferences.data_residency is not None else (),
        data_collection_deny=preferences.data_collection == "deny",
        max_retention_days=preferences.max_retention_days,
        eu_owned=bool(preferences.eu_owned),
    )


def _choice_checks(preferences: Preferences) -> list[Check]:
    checks: list[Check] = []
    if preferences.only:
        only = frozenset(preferences.only)
        checks.append((Filter.ONLY, lambda e: None if e.provider.slug in only else "is not among `only`"))
    if preferences.ignore:
        ignore = frozenset(preferences.ignore)
        checks.append((Filter.IGNORE, lambda e: "is among `ignore`" if e.provider.slug in ignore else None))
    if preferences.quantizations:
        checks.append((Filter.QUANTIZATIONS, _quantization_check(preferences.quantizations)))
    return checks


def _quantization_check(asked: tuple[str, ...]) -> Callable[[Endpoint], str | None]:
    def check(endpoint: Endpoint) -> str | None:
        if endpoint.quantization is None:
            return f"does not state its quantization; {', '.join(asked)} asked"
        if endpoint.quantization.lower() not in asked:
            return f"serves {endpoint.quantization}; {', '.join(asked)} asked"
        return None

    return check


def _fact_checks(floor: Floor, who: str) -> list[Check]:
    checks: list[Check] = [
        (Filter.DATA_RESIDENCY, _residency_check(code.lower(), who)) for code in floor.data_residency
    ]
    if floor.data_collection_deny:
        checks.append((Filter.DATA_COLLECTION, _training_check(who)))
    if floor.max_retention_days is not None:
        checks.append((Filter.MAX_RETENTION_DAYS, _retention_check(floor.max_retention_days, who)))
    if floor.eu_owned:
        checks.append((Filter.EU_OWNED, _ownership_check(who)))
    return checks


def _residency_check(code: str, who: str) -> Callable[[Endpoint], str | None]:
    def check(endpoint: Endpoint) -> str | None:
        fact = endpoint.facts.regions
        if fact is None or not fact.value:
            return f"does not state where it processes; {code} {who}"
        if inside(fact.value, code):
            return None
        return f"processes in {', '.join(fact.value)}; {code} {who}"

    return check


def _training_check(who: str) -> Callable[[Endpoint], str | None]:
    def check(endpoint: Endpoint) -> str | None:
        fact = endpoint.facts.trains_on_data
        if fact is None:
            return f"does not state whether it trains on data; data_collection deny {who}"
        return f"may train on data; data_collection deny {who}" if fact.value else None

    return check


def _retention_check(days: int, who: str) -> Callable[[Endpoint], str | None]:
    def check(endpoint: Endpoint) -> str | None:
        fact = endpoint.facts.retention_days
        if fact is None:
            return f"does not state its retention; at most {days} days {who}"
        return f"keeps data for {fact.value} days; at most {days} {who}" if fact.value > days else None

    return check


def _ownership_check(who: str) -> Callable[[Endpoint], str | None]:
    def check(endpoint: Endpoint) -> str | None:
        fact = endpoint.facts.parent_country
        if fact is None:
            return f"does not state its ultimate parent's country; eu_owned {who}"
        country = fact.value.lower()
        return None if country in EU else f"has its ultimate parent in {country}; eu_owned {who}"

    return check


@dataclass(frozen=True, slots=True)
class Unsaid:
    """What keeps an endpoint from saying the request: the filter, a sentence, and all JSON paths concerned."""

    filter: Filter
    message: str
    paths: tuple[str, ...]


def expression(endpoint: Endpoint, needs: Needs, *, strict: bool) -> tuple[str, ...] | Unsaid:
    """The hints that `endpoint` would not use, sorted, or why it can't say the request.

    With `strict` (require_parameters) an unused hint counts like a binding field.
    """
    too_long = _asks_for_more(endpoint, needs)
    if not (needs.extra or needs.dialects or too_long) and endpoint.expressible.issuperset(needs.fields):
        return ()
    missing = [field for field in needs.fields if field not in endpoint.expressible]
    binding = [needs.fields[field] for field in missing if field not in HINTS]
    foreign = [path for dialect, path in needs.dialects.items() if dialect != endpoint.provider.dialect]
    unknown = sorted(needs.extra - endpoint.provider.passthrough)
    refused = [name for name in unknown if name not in needs.extra_hints]
    hints = {_without_indexes(needs.fields[field]) for field in missing if field in HINTS}
    hints.update(name for name in unknown if name in needs.extra_hints)
    ignored = tuple(sorted(hints))
    limit = needs.fields.get(Field.MAX_OUTPUT_TOKENS, "") if too_long else ""
    paths = (*binding, *((limit,) if limit and limit not in binding else ()), *foreign, *refused)
    if binding:
        return Unsaid(Filter.FIELD, f"can't express {', '.join(binding)}", paths)
    if too_long:
        message = f"writes at most {endpoint.max_output_tokens} tokens; {limit} asks for {needs.max_output_tokens}"
        return Unsaid(Filter.FIELD, message, paths)
    if foreign:
        message = f"speaks {endpoint.provider.dialect}; {', '.join(foreign)} is of another dialect"
        return Unsaid(Filter.DIALECT, message, paths)
    if refused:
        return Unsaid(Filter.EXTRA, f"does not know the field {', '.join(refused)}", paths)
    if strict and ignored:
        message = f"would not use {', '.join(ignored)}; require_parameters asked"
        return Unsaid(Filter.REQUIRE_PARAMETERS, message, ignored)
    return ignored


def _asks_for_more(endpoint: Endpoint, needs: Needs) -> bool:
    """Whether the request allows an answer longer than the endpoint's longest; nothing is cut to it silently."""
    asked, most = needs.max_output_tokens, endpoint.max_output_tokens
    return asked is not None and most is not None and asked > most


def _without_indexes(path: str) -> str:
    return re.sub(r"\[[^\]]*\]", "", path)
