"""Why an endpoint may not serve a request: policy and expression, each with a sentence. No order, no health.

A fact that the catalogue does not state fails the filter that asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from service.domain.catalog import Endpoint, ProviderStatus
from service.domain.emulation import obstacle
from service.domain.fields import BRIDGES, EMULATED, FETCHED, HINTS, Field
from service.domain.preferences import OPEN, Floor, Policy, Preferences
from service.domain.regions import EU, inside
from service.domain.routing import STRUCTURED_OUTPUT, Filter, Needs

Check: TypeAlias = tuple[Filter, Callable[[Endpoint], str | None]]
"""A filter and what it has against an endpoint: a sentence, or None."""

STATUS_FILTERS: Final[dict[ProviderStatus, tuple[Filter, str]]] = {
    ProviderStatus.NOT_CONFIGURED: (Filter.NOT_CONFIGURED, "is not configured here"),
    ProviderStatus.DIALECT_MISSING: (Filter.DIALECT_MISSING, "speaks a dialect that this version does not have"),
    ProviderStatus.DISABLED: (Filter.DISABLED, "is switched off"),
}

_ASKED: Final = "asked"
_FLOOR: Final = "required by the operator's policy"
_CONVERSATION: Final = "kept by the conversation that is continued"


def policy_checks(policy: Policy) -> tuple[Check, ...]:
    """The checks that `policy` asks for, floor and preferences ANDed; empty when it asks for nothing."""
    checks: list[Check] = []
    if policy.preferences != _NO_PREFERENCES:
        checks += _choice_checks(policy.preferences)
        checks += _fact_checks(policy.preferences.data_filters, _ASKED)
    if policy.floor != OPEN:
        checks += _fact_checks(policy.floor, _FLOOR)
    if policy.conversation != OPEN:
        checks += _fact_checks(policy.conversation, _CONVERSATION)
    return tuple(checks)


_NO_PREFERENCES: Final = Preferences()


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


@dataclass(frozen=True, slots=True)
class Said:
    """What an endpoint leaves out of a request that it can say.

    `ignored` are the paths of hints and of tools that a provider would have to run, sorted; `left_out` counts
    the latter. `emulated`: the answer's form is none that it knows.
    """

    ignored: tuple[str, ...] = ()
    left_out: int = 0
    emulated: bool = False


_ALL_SAID: Final = Said()


def expression(endpoint: Endpoint, needs: Needs, *, strict: bool) -> Said | Unsaid:
    """What `endpoint` would leave out of the request, or why it can't say it.

    Tools that it gets as functions leave nothing out. With `strict` (require_parameters) hints, such tools and
    tools that a provider runs count like binding fields.
    """
    too_long = _asks_for_more(endpoint, needs)
    efforts = _other_efforts(endpoint, needs)
    can = endpoint.expressible
    special = needs.extra or needs.dialects or needs.server_tools or too_long or efforts
    if not special and can.issuperset(needs.fields):
        return _ALL_SAID
    binding, bridged, hints = _missing(endpoint, needs)
    foreign = [path for dialect, path in needs.dialects.items() if dialect != endpoint.provider.dialect]
    unknown = sorted(needs.extra - endpoint.provider.passthrough)
    refused = [name for name in unknown if name not in needs.extra_hints]
    hints.update(name for name in unknown if name in needs.extra_hints)
    left_out = _left_out(endpoint, needs.server_tools)
    limit = needs.fields.get(Field.MAX_OUTPUT_TOKENS, "") if too_long else ""
    effort = needs.fields.get(Field.REASONING_EFFORT, "") if efforts else ""
    values = (path for path in (limit, effort) if path and path not in binding)
    paths = (*binding, *values, *foreign, *refused)
    if binding:
        emulation = not_emulated(endpoint, needs)
        why = f" ({emulation})" if emulation else ""
        if not_fetched(endpoint, needs):
            why += " (it takes bytes only, and fetching is off for this key)"
        message = f"can't express {', '.join(binding)}{why}"
        return Unsaid(Filter.FIELD, message, paths)
    if too_long:
        message = f"writes at most {endpoint.max_output_tokens} tokens; {limit} asks for {needs.max_output_tokens}"
        return Unsaid(Filter.FIELD, message, paths)
    if efforts:
        message = f"takes the efforts {efforts}; {effort} asks for {needs.reasoning_effort}"
        return Unsaid(Filter.FIELD, message, paths)
    if foreign:
        message = f"speaks {endpoint.provider.dialect}; {', '.join(foreign)} is of another dialect"
        return Unsaid(Filter.DIALECT, message, paths)
    if refused:
        return Unsaid(Filter.EXTRA, f"does not know the field {', '.join(refused)}", paths)
    ignored = tuple(sorted(hints.union(left_out)))
    if strict and (ignored or bridged):
        paths = tuple(sorted({*ignored, *bridged}))
        message = f"would not use {', '.join(paths)}; require_parameters asked"
        return Unsaid(Filter.REQUIRE_PARAMETERS, message, paths)
    emulated = any(needs.fields.get(field) in bridged for field in EMULATED)
    return Said(ignored, len(left_out), emulated) if ignored or emulated else _ALL_SAID


def _missing(endpoint: Endpoint, needs: Needs) -> tuple[list[str], list[str], set[str]]:
    """The paths of fields that an endpoint lacks: those that bind, those that are bridged, and hints."""
    can = endpoint.expressible
    binding: list[str] = []
    bridged: list[str] = []
    hints: set[str] = set()
    for field, path in needs.fields.items():
        # A custom tool that becomes a function takes its grammar with it.
        lost = field not in can or (field is Field.CUSTOM_GRAMMAR and Field.CUSTOM_TOOLS not in can)
        if not lost or (field in FETCHED and not can >= BRIDGES[field]):
            # Where there are no images at all, it is of no interest how they are given.
            continue
        if field in HINTS:
            hints.add(_without_indexes(path))
        elif _may_be_bridged(field, endpoint, needs):
            if field not in FETCHED:
                # What is fetched is sent as it is: a strict caller misses nothing of it.
                bridged.append(path)
        else:
            binding.append(path)
    return binding, bridged, hints


def _may_be_bridged(field: Field, endpoint: Endpoint, needs: Needs) -> bool:
    if field not in needs.bridges and field not in endpoint.provider.emulates:
        return False
    return endpoint.expressible >= BRIDGES[field] and (field not in EMULATED or obstacle(needs) is None)


def not_emulated(endpoint: Endpoint, needs: Needs) -> str:
    """What keeps an endpoint that does not know the answer's form from emulating it; "" where nothing does."""
    can, form = endpoint.expressible, Field.JSON_SCHEMA
    if (
        form not in needs.fields
        or form in can
        or not can >= BRIDGES[form]
        or _may_be_bridged(form, endpoint, needs)
    ):
        return ""
    why = obstacle(needs)
    return f"it is emulated with {STRUCTURED_OUTPUT}: emulate" if why is None else f"it is not emulated: {why}"


def not_fetched(endpoint: Endpoint, needs: Needs) -> list[str]:
    """The paths of addresses that an endpoint can't take and whose bytes it could, were fetching allowed."""
    can = endpoint.expressible
    off = FETCHED.intersection(needs.fields) - can - needs.bridges
    return [needs.fields[field] for field in off if can >= BRIDGES[field]]


def _left_out(endpoint: Endpoint, server_tools: Mapping[str, str]) -> list[str]:
    """The paths of tools that this provider can't run: of another dialect, or of its own when the row says so."""
    own = endpoint.provider.dialect if Field.OPAQUE_TOOLS in endpoint.expressible else None
    return [path for path, dialect in server_tools.items() if dialect != own]


def _asks_for_more(endpoint: Endpoint, needs: Needs) -> bool:
    """Whether the request allows an answer longer than the endpoint's longest; nothing is cut to it silently."""
    asked, most = needs.max_output_tokens, endpoint.max_output_tokens
    return asked is not None and most is not None and asked > most


def _other_efforts(endpoint: Endpoint, needs: Needs) -> str:
    """The efforts that the model takes where the one that is asked for is not among them; "" where it is."""
    asked, known = needs.reasoning_effort, endpoint.efforts
    if asked is None or not known or asked in known or Field.REASONING_EFFORT not in endpoint.expressible:
        return ""
    return ", ".join(known)


def _without_indexes(path: str) -> str:
    return re.sub(r"\[[^\]]*\]", "", path)
