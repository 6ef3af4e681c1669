"""From the names and preferences of a request to wanted models and one policy. Pure; no health, no endpoint.

Precedence of preferences, field by field: request over rule over alias; the floor is ANDed later.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

from service.domain.catalog import Alias, Catalog, Model, Provider, Rule, visible_to
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
    owner: str | None = None,
) -> Selection:
    """Resolves a request's routing fields. `rule_id` wins over `rule_name`.

    The request's `model` replaces the rule's `model`, its `models` both of the rule's fields. What other owners
    than `owner` have for themselves does not exist; None: nobody knows who calls.

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

    view = _View(catalog, owner)
    mine = preferences if preferences == _UNSET else checked(preferences, catalog.providers, "provider.", owner)
    if rule is not None and rule.preferences != _UNSET:
        mine = mine.over(_stored(rule.preferences, view, rule_path, f"the routing rule {_quoted(rule.name)}"))
    wanted, aliases = _resolve_all(view, names)
    if aliases:
        mine = mine.over(_of_aliases(view, aliases, mine))
    return Selection(wanted, Policy(mine, floor), rule)


@dataclass(frozen=True, slots=True)
class _View:
    """The catalogue as it is for one owner."""

    catalog: Catalog
    owner: str | None

    def model(self, name: str) -> Model | None:
        """The model of that id or bare name, in any case."""
        catalog, low = self.catalog, name.lower()
        found = catalog.models.get(name)
        if found is None and self.owner is not None:
            found = catalog.models.get(catalog.own_names.get(self.owner, {}).get(low, ""))
        if found is None:
            found = catalog.models.get(catalog.names.get(low, ""))
        return found if found is not None and visible_to(found, self.owner) else None

    def models(self) -> Iterable[str]:
        """The ids of those that there are."""
        return (name for name, model in self.catalog.models.items() if visible_to(model, self.owner))

    def names(self) -> set[str]:
        """All names in lower case."""
        own = self.catalog.own_names.get(self.owner, {}) if self.owner is not None else {}
        bare = {name for name in self.catalog.names if self.model(name) is not None}
        return {*bare, *own, *(name.lower() for name in self.models()), *self.catalog.aliases}


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
    view: _View, names: list[tuple[str, str]]
) -> tuple[tuple[WantedModel, ...], list[tuple[str, Alias]]]:
    """All names in order, a model that adds nothing to an earlier mention of it left out."""
    wanted: list[WantedModel] = []
    aliases: list[tuple[str, Alias]] = []
    variants: dict[str, set[str]] = {}
    for path, name in names:
        resolved, alias = _resolve(view, path, name)
        if alias is not None:
            aliases.append((path, alias))
        for item in resolved:
            before = variants.setdefault(item.model.id, set())
            # After `name:free` plain `name` still adds the paid endpoints; every other repetition adds none.
            if not before or (before == {"free"} and item.variant != "free"):
                wanted.append(item)
            before.add(item.variant)
    return tuple(wanted), aliases


def _resolve(view: _View, path: str, name: str) -> tuple[list[WantedModel], Alias | None]:
    found = _find_model(view, name)
    if found is not None and not found.model.discovered:
        return [found], None
    # Before what servers call theirs: an alias has preferences, and a name may not lose them.
    alias, variant = _find_alias(view.catalog, name)
    if alias is None:
        if found is None:
            raise _model_not_found(view, path, name)
        return [found], None
    members: list[WantedModel] = []
    for member in alias.models:
        item = _find_model(view, member)
        if item is not None:
            # A variant asked for with the alias wins over those in its list.
            members.append(replace(item, variant=variant) if variant else item)
        elif not _is_of_others(view, member):
            raise _model_not_found(view, path, member)
    if not members:
        raise _model_not_found(view, path, name)
    return members, alias


def _is_of_others(view: _View, member: str) -> bool:
    """Whether there is such a model, for other owners only."""
    return any(_find_model(_View(view.catalog, owner), member) for owner in view.catalog.own_names)


def _find_model(view: _View, name: str) -> WantedModel | None:
    """The whole name first, as ids may hold a colon of their own; but the file's models before discovered ones."""
    whole = view.model(name)
    if whole is not None and not whole.discovered:
        return WantedModel(whole, "")
    base, colon, variant = name.rpartition(":")
    asked = view.model(base) if colon and variant.lower() in VARIANTS else None
    if asked is not None and (whole is None or not asked.discovered):
        return WantedModel(asked, variant.lower())
    return None if whole is None else WantedModel(whole, "")


def _find_alias(catalog: Catalog, name: str) -> tuple[Alias | None, str]:
    low = name.lower()
    if low in catalog.aliases:
        return catalog.aliases[low], ""
    base, _, variant = low.rpartition(":")
    return (catalog.aliases.get(base), variant) if variant in VARIANTS else (None, "")


def _model_not_found(view: _View, path: str, name: str) -> ServiceError:
    low = name.lower()
    same = [known for known in view.models() if known.lower().rpartition("/")[2] == low]
    base, colon, variant = name.rpartition(":")
    if len(same) > 1:
        message = f"the name {_quoted(name)} is ambiguous; use one of {', '.join(sorted(same)[:10])}"
    elif colon and view.model(base):
        known = ", ".join(f":{each}" for each in sorted(VARIANTS))
        message = f"there is no variant {_quoted(':' + variant)} of the model {base}; variants are {known}"
    else:
        message = f"there is no model {_quoted(name)}"
        message += _suggestion(low, view.names())
    return ServiceError(Reason.MODEL_NOT_FOUND, message, violations=(Violation(path, message),))


def _stored(preferences: Preferences, view: _View, path: str, whose: str) -> Preferences:
    """Preferences that did not come with the request: what is wrong with them is told at `path`."""
    try:
        return checked(preferences, view.catalog.providers, "", view.owner)
    except ServiceError as error:
        raise invalid(path, f"{whose} can't be used: {error.message}") from None


def _of_aliases(view: _View, aliases: list[tuple[str, Alias]], above: Preferences) -> Preferences:
    """The preferences of all aliases at once: one policy holds for the whole call, so they must agree."""
    merged = _UNSET
    for path, alias in aliases:
        stored = _stored(alias.preferences, view, path, f"the alias {_quoted(alias.name)}")
        for f in fields(Preferences):
            ours, theirs = getattr(merged, f.name), getattr(stored, f.name)
            if getattr(above, f.name) is None and None not in (ours, theirs) and ours != theirs:
                message = f"the aliases named here want different `{f.name}`; name one or set provider.{f.name}"
                raise invalid(path, message)
        merged = merged.over(stored)
    return merged


def checked(
    preferences: Preferences, providers: Mapping[str, Provider], prefix: str, owner: str | None = None
) -> Preferences:
    """`preferences` with codes and slugs in lower case and empty lists as not set.

    Providers of other owners than `owner` are not suggested.

    Raises:
        ServiceError: INVALID_REQUEST naming every wrong field, its path after `prefix`.
    """
    problems = [Violation(prefix + path, message) for path, message in _problems(preferences, providers, owner)]
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


def _problems(
    preferences: Preferences, providers: Mapping[str, Provider], owner: str | None
) -> Iterable[tuple[str, str]]:
    # An unknown slug is an error everywhere: a typo in `ignore` would silently widen the choice.
    for name in ("order", "only", "ignore"):
        for place, slug in enumerate(getattr(preferences, name) or ()):
            if slug.lower() not in providers:
                known = [each.slug for each in providers.values() if each.owner in (None, owner)]
                message = f"there is no provider {_quoted(slug)}{_suggestion(slug.lower(), known)}"
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
