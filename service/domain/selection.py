"""From the names and preferences of a request to wanted models and one policy. Pure; no health, no endpoint.

Precedence of preferences, field by field: request over rule over alias; the floor is ANDed later.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

from service.domain.catalog import Alias, Catalog, Provider, Rule
from service.domain.errors import Reason, ServiceError, Violation, invalid
from service.domain.preferences import Floor, Policy, Preferences
from service.domain.regions import residency_problem
from service.domain.routing import WantedModel

VARIANTS: Final[frozenset[str]] = frozenset({"floor", "nitro", "free"})
"""Suffixes of a model's name: sort by price, sort by throughput, only endpoints that cost nothing."""

QUANTIZATIONS: Final[tuple[str, ...]] = ("int4", "int8", "fp4", "fp6", "fp8", "fp16", "bf16", "fp32")
SORTS: Final[tuple[str, ...]] = ("price", "latency", "throughput")

_UNSET: Final = Preferences()


@dataclass(frozen=True, slots=True)
class Selection:
    """What a request asks the router for: models in their order of fallback, the policy, the rule applied."""

    wanted: tuple[WantedModel, ...]
    policy: Policy
    rule: Rule | None = None


def select(
    catalog: Catalog,
    *,
    model: str | None,
    models: tuple[str, ...],
    rule_id: str | None,
    rule_name: str | None,
    preferences: Preferences,
    floor: Floor,
) -> Selection:
    """Resolves a request's routing fields. `rule_id` wins over `rule_name`.

    The request's `model` replaces the rule's `model`, its `models` both of the rule's fields.

    Raises:
        ServiceError: MODEL_NOT_FOUND, RULE_NOT_FOUND, or INVALID_REQUEST for wrong preferences or no model.
    """
    rule = _find_rule(catalog, rule_id, rule_name)
    rule_path = "rule_id" if rule_id else "rule_name"
    names: list[tuple[str, str]] = []
    if model:
        names.append(("model", model))
    elif rule is not None and rule.model and not models:
        names.append((rule_path, rule.model))
    if models:
        names += [(f"models[{place}]", name) for place, name in enumerate(models)]
    elif rule is not None:
        names += [(rule_path, name) for name in rule.models]
    if not names:
        raise invalid("model", "name a model, in `model`, in `models` or by a routing rule that has one")

    mine = preferences if preferences == _UNSET else checked(preferences, catalog.providers, "provider.")
    if rule is not None and rule.preferences != _UNSET:
        mine = mine.over(_stored(rule.preferences, catalog, rule_path, f"the routing rule {_quoted(rule.name)}"))
    wanted, aliases = _resolve_all(catalog, names)
    if aliases:
        mine = mine.over(_of_aliases(catalog, aliases, mine))
    return Selection(wanted, Policy(mine, floor), rule)


def _find_rule(catalog: Catalog, rule_id: str | None, rule_name: str | None) -> Rule | None:
    if rule_id:
        wanted = rule_id.lower()
        found = next((rule for rule in catalog.rules if rule.id == wanted and rule.enabled), None)
    elif rule_name:
        found = next((rule for rule in catalog.rules if rule.name == rule_name and rule.enabled), None)
    else:
        return None
    if found is None:
        path, value = ("rule_id", rule_id) if rule_id else ("rule_name", rule_name)
        message = f"there is no enabled routing rule {_quoted(value or '')}"
        if not rule_id:
            message += _suggestion(rule_name or "", [rule.name for rule in catalog.rules if rule.enabled])
        raise ServiceError(Reason.RULE_NOT_FOUND, message, violations=(Violation(path, message),))
    return found


def _resolve_all(
    catalog: Catalog, names: list[tuple[str, str]]
) -> tuple[tuple[WantedModel, ...], list[tuple[str, Alias]]]:
    """All names in order, a model that adds nothing to an earlier mention of it left out."""
    wanted: list[WantedModel] = []
    aliases: list[tuple[str, Alias]] = []
    variants: dict[str, set[str]] = {}
    for path, name in names:
        resolved, alias = _resolve(catalog, path, name)
        if alias is not None:
            aliases.append((path, alias))
        for item in resolved:
            before = variants.setdefault(item.model.id, set())
            # After `name:free` plain `name` still adds the paid endpoints; every other repetition adds none.
            if not before or (before == {"free"} and item.variant != "free"):
                wanted.append(item)
            before.add(item.variant)
    return tuple(wanted), aliases


def _resolve(catalog: Catalog, path: str, name: str) -> tuple[list[WantedModel], Alias | None]:
    found = _find_model(catalog, name)
    if found is not None:
        return [found], None
    alias, variant = _find_alias(catalog, name)
    if alias is None:
        raise _model_not_found(catalog, path, name)
    members: list[WantedModel] = []
    for member in alias.models:
        item = _find_model(catalog, member)
        if item is None:
            raise _model_not_found(catalog, path, member)
        # A variant asked for with the alias wins over those in its list.
        members.append(replace(item, variant=variant) if variant else item)
    return members, alias


def _find_model(catalog: Catalog, name: str) -> WantedModel | None:
    """The whole name first: ids may hold a colon of their own."""
    found = _lookup(catalog, name, "")
    if found is None:
        base, colon, variant = name.rpartition(":")
        if colon and variant.lower() in VARIANTS:
            found = _lookup(catalog, base, variant.lower())
    return found


def _lookup(catalog: Catalog, name: str, variant: str) -> WantedModel | None:
    model = catalog.models.get(name)
    if model is None:
        model_id = catalog.names.get(name.lower())
        model = catalog.models.get(model_id) if model_id is not None else None
    return WantedModel(model, variant) if model is not None else None


def _find_alias(catalog: Catalog, name: str) -> tuple[Alias | None, str]:
    low = name.lower()
    if low in catalog.aliases:
        return catalog.aliases[low], ""
    base, _, variant = low.rpartition(":")
    return (catalog.aliases.get(base), variant) if variant in VARIANTS else (None, "")


def _model_not_found(catalog: Catalog, path: str, name: str) -> ServiceError:
    low = name.lower()
    same = [known for known in catalog.models if known.lower().rpartition("/")[2] == low]
    base, colon, variant = name.rpartition(":")
    if len(same) > 1:
        message = f"the name {_quoted(name)} is ambiguous; use one of {', '.join(sorted(same)[:10])}"
    elif colon and _lookup(catalog, base, ""):
        known = ", ".join(f":{each}" for each in sorted(VARIANTS))
        message = f"there is no variant {_quoted(':' + variant)} of the model {base}; variants are {known}"
    else:
        message = f"there is no model {_quoted(name)}"
        message += _suggestion(low, {*catalog.names, *(m.lower() for m in catalog.models), *catalog.aliases})
    return ServiceError(Reason.MODEL_NOT_FOUND, message, violations=(Violation(path, message),))


def _stored(preferences: Preferences, catalog: Catalog, path: str, whose: str) -> Preferences:
    """Preferences that did not come with the request: what is wrong with them is told at `path`."""
    try:
        return checked(preferences, catalog.providers, "")
    except ServiceError as error:
        raise invalid(path, f"{whose} can't be used: {error.message}") from None


def _of_aliases(catalog: Catalog, aliases: list[tuple[str, Alias]], above: Preferences) -> Preferences:
    """The preferences of all aliases at once: one policy holds for the whole call, so they must agree."""
    merged = _UNSET
    for path, alias in aliases:
        stored = _stored(alias.preferences, catalog, path, f"the alias {_quoted(alias.name)}")
        for f in fields(Preferences):
            ours, theirs = getattr(merged, f.name), getattr(stored, f.name)
            if getattr(above, f.name) is None and None not in (ours, theirs) and ours != theirs:
                message = f"the aliases named here want different `{f.name}`; name one or set provider.{f.name}"
                raise invalid(path, message)
        merged = merged.over(stored)
    return merged


def checked(preferences: Preferences, providers: Mapping[str, Provider], prefix: str) -> Preferences:
    """`preferences` with codes and slugs in lower case and empty lists as not set.

    Raises:
        ServiceError: INVALID_REQUEST naming every wrong field, its path after `prefix`.
    """
    problems = [Violation(prefix + path, message) for path, message in _problems(preferences, providers)]
    if problems:
        first, *more = problems
        raise invalid(first.path, first.message, *more)
    residency = preferences.data_residency
    return replace(
        preferences,
        order=_lower(preferences.order),
        only=_lower(preferences.only),
        ignore=_lower(preferences.ignore),
        quantizations=_lower(preferences.quantizations),
        data_residency=None if residency is None else residency.lower(),
    )


def _lower(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return tuple(value.lower() for value in values) if values else None


def _problems(preferences: Preferences, providers: Mapping[str, Provider]) -> Iterable[tuple[str, str]]:
    # An unknown slug is an error everywhere: a typo in `ignore` would silently widen the choice.
    for name in ("order", "only", "ignore"):
        for place, slug in enumerate(getattr(preferences, name) or ()):
            if slug.lower() not in providers:
                message = f"there is no provider {_quoted(slug)}{_suggestion(slug.lower(), providers)}"
                yield f"{name}[{place}]", message
    for place, quantization in enumerate(preferences.quantizations or ()):
        if quantization.lower() not in QUANTIZATIONS:
            yield f"quantizations[{place}]", f"{_quoted(quantization)} is none of {', '.join(QUANTIZATIONS)}"
    if preferences.sort is not None and preferences.sort not in SORTS:
        yield "sort", f"{_quoted(preferences.sort)} is none of {', '.join(SORTS)}"
    if preferences.data_collection not in (None, "allow", "deny"):
        yield "data_collection", f"{_quoted(preferences.data_collection)} is none of allow, deny"
    if preferences.data_residency is not None:
        problem = residency_problem(preferences.data_residency)
        if problem is not None:
            yield "data_residency", problem
    if preferences.max_retention_days is not None and preferences.max_retention_days < 0:
        yield "max_retention_days", "must be 0 (no retention) or more days"


def _suggestion(name: str, known: Iterable[str]) -> str:
    # The matcher's cost grows with the length, and a caller chooses the length.
    close = difflib.get_close_matches(name, known, n=3) if len(name) <= 100 else []
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _quoted(name: str) -> str:
    return f'"{name}"' if len(name) <= 100 else f'"{name[:100]}…"'
