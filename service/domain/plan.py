"""The routing decision: which endpoints to try, in which order, and why not the others. Pure and complete.

Every endpoint of every wanted model is either an attempt or a rejection. Nothing here runs a plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from service.domain.catalog import Endpoint, ProviderStatus
from service.domain.errors import Reason, ServiceError, Violation
from service.domain.fields import Field
from service.domain.filters import (
    STATUS_FILTERS,
    Check,
    Said,
    Unsaid,
    expression,
    not_emulated,
    not_fetched,
    policy_checks,
)
from service.domain.preferences import Policy
from service.domain.routing import Attempt, Filter, HealthView, Needs, Plan, Rejection, WantedModel

VARIANT_SORTS: Final[dict[str, str]] = {"floor": "price", "nitro": "throughput"}
"""The order that a model's variant asks for; it wins over `sort` for that model."""

_Eligible: TypeAlias = tuple[Endpoint, float, Said]


def plan(
    needs: Needs,
    policy: Policy,
    wanted: tuple[WantedModel, ...],
    health: HealthView,
    now: float,
    *,
    max_attempts: int,
    owner: str,
) -> Plan:
    """What a call by `owner` does at `now`: all endpoints of the first model, then those of the next.

    An endpoint's first problem is its rejection, in the order policy, provider's status, expression,
    cool-down: one rejected for a field is allowed and configured, one that cools down could serve the call.
    A model wanted again without `:free` adds the endpoints that only `:free` kept out before.
    """
    checks = policy_checks(policy)
    strict = bool(policy.preferences.require_parameters)
    attempts: list[Attempt] = []
    rejected: list[Rejection] = []
    seen: set[str] = set()
    for position, item in enumerate(wanted):
        model = item.model
        endpoints: Sequence[Endpoint] = model.endpoints
        if model.id in seen:
            endpoints, rejected = _only_not_free(model.id, rejected)
        seen.add(model.id)
        free_only = item.variant == "free"
        eligible: list[_Eligible] = []
        refused: list[Rejection] = []
        for endpoint in endpoints:
            reason = _forbidden(endpoint, checks, free_only, owner)
            if reason is not None:
                refused.append(Rejection(endpoint, model.id, *reason))
                continue
            said = expression(endpoint, needs, strict=strict)
            if isinstance(said, Unsaid):
                refused.append(Rejection(endpoint, model.id, said.filter, said.message, said.paths))
                continue
            until = health.cooling_until(endpoint.id, now)
            if until is not None:
                message = f"cools down after failures for another {until - now:.1f} s"
                refused.append(Rejection(endpoint, model.id, Filter.COOLING_DOWN, message, until=until))
                continue
            eligible.append((endpoint, health.score(endpoint.id), said))
        if len(eligible) > 1:
            eligible = _ordered(eligible, policy, _sort_of(item, policy), health)
        attempts += [_attempt(item, position, *each) for each in eligible]
        if len(refused) > 1:
            refused.sort(key=lambda rejection: (rejection.endpoint.provider.slug, rejection.endpoint.id))
        rejected += refused
    kept, beyond_cap = _limited(attempts, rejected, policy, max_attempts)
    return Plan(kept, tuple(rejected), _strategy(policy, wanted), beyond_cap)


def _attempt(item: WantedModel, position: int, endpoint: Endpoint, score: float, said: Said) -> Attempt:
    price = endpoint.price.blended
    return Attempt(
        endpoint, item.model.id, item.variant, position, price, score, said.ignored, emulated=said.emulated
    )


def _only_not_free(model: str, rejected: list[Rejection]) -> tuple[list[Endpoint], list[Rejection]]:
    again = [r for r in rejected if r.model == model and r.filter is Filter.FREE]
    rest = [r for r in rejected if r.model != model or r.filter is not Filter.FREE]
    return [r.endpoint for r in again], rest


def _forbidden(
    endpoint: Endpoint, checks: tuple[Check, ...], free_only: bool, owner: str
) -> tuple[Filter, str] | None:
    for name, check in checks:
        problem = check(endpoint)
        if problem is not None:
            return name, problem
    provider = endpoint.provider
    if provider.owner is not None and provider.owner != owner:
        return Filter.OWNER, "belongs to another owner's account"
    if provider.status is not ProviderStatus.ACTIVE:
        name, sentence = STATUS_FILTERS[provider.status]
        return name, f"{sentence}: {provider.status_message}" if provider.status_message else sentence
    if free_only and not endpoint.price.free:
        # Last of its group: a later mention of the model without `:free` reconsiders exactly these.
        return Filter.FREE, "is not free; :free asked"
    return None


def _sort_of(item: WantedModel, policy: Policy) -> str | None:
    return VARIANT_SORTS.get(item.variant) or policy.preferences.sort


def _strategy(policy: Policy, wanted: tuple[WantedModel, ...]) -> str:
    """The name of the first model's order; several models may have different ones."""
    if policy.preferences.order:
        return "order"
    return (_sort_of(wanted[0], policy) if wanted else None) or "default"


def _ordered(eligible: list[_Eligible], policy: Policy, sort: str | None, health: HealthView) -> list[_Eligible]:
    listed = {slug: place for place, slug in reversed(list(enumerate(policy.preferences.order or ())))}

    def key(item: _Eligible) -> tuple[object, ...]:
        endpoint, score, said = item
        # A caller's own order or sort stands above running all of the tools, and above knowing the answer's form:
        # `require_parameters` would say so.
        default = (said.left_out, said.emulated, *_default_key(endpoint, score))
        if sort is None and not listed:
            return default
        place = listed.get(endpoint.provider.slug, len(listed))
        return (place, *_sort_key(endpoint, sort, health), *default)

    return sorted(eligible, key=key)


def _default_key(endpoint: Endpoint, score: float) -> tuple[object, ...]:
    """Free ones first (the healthier before), then the highest health / price²; ties by slug, then id."""
    price = endpoint.price
    slug = endpoint.provider.slug
    if price.free:
        return (0, -score, slug, endpoint.id)
    # Tokens may be free where requests or images are not: as cheap as can be, yet not free.
    value = score / price.rate**2 if price.rate else float("inf")
    return (1, -value, slug, endpoint.id)


def _sort_key(endpoint: Endpoint, sort: str | None, health: HealthView) -> tuple[object, ...]:
    if sort == "price":
        return (endpoint.price.rate,)
    if sort == "latency":
        seconds = health.latency(endpoint.id)
        return (seconds is None, seconds or 0.0)
    if sort == "throughput":
        speed = health.throughput(endpoint.id)
        return (speed is None, -(speed or 0.0))
    return ()


def _limited(
    attempts: list[Attempt], rejected: list[Rejection], policy: Policy, max_attempts: int
) -> tuple[tuple[Attempt, ...], tuple[Attempt, ...]]:
    """The attempts that may be made, and those that only the cap on their number keeps out."""
    limit, name = max_attempts, Filter.ATTEMPT_CAP
    message = f"comes after the {max_attempts} attempts that one call may make"
    if policy.preferences.allow_fallbacks is False and max_attempts > 0:
        limit, name, message = 1, Filter.ALLOW_FALLBACKS, "would be a fallback; allow_fallbacks is false"
    rejected += [Rejection(a.endpoint, a.model, name, message) for a in attempts[limit:]]
    over = attempts[limit:] if name is Filter.ATTEMPT_CAP else ()
    return tuple(attempts[:limit]), tuple(over)


_EXPRESSION: Final = frozenset({Filter.FIELD, Filter.DIALECT, Filter.EXTRA, Filter.REQUIRE_PARAMETERS})


def no_endpoint_error(plan: Plan, needs: Needs, now: float) -> ServiceError:
    """The error for a plan without attempts, listing each endpoint with its reason.

    Which of the three kinds a mixture is goes by what would mend the call, the least first. An endpoint that
    only cools down needs nothing but time: NO_ENDPOINT_AVAILABLE, whatever the others lack. Else one that is
    allowed but can't express a field needs the request changed: UNSUPPORTED_FIELD (UNKNOWN_FIELD when all
    that is wrong are fields that nobody named and no allowed endpoint takes). Else filters or the operator
    stand in the way: NO_ENDPOINT_ALLOWED.
    """
    listing = tuple((r.endpoint.id, r.message) for r in plan.rejected)
    cooling = [r.until for r in plan.rejected if r.until is not None]
    if cooling:
        return ServiceError(
            Reason.NO_ENDPOINT_AVAILABLE,
            f"every endpoint that could serve this request cools down after failures: {_summary(listing)}",
            retry_after=max(0.0, min(cooling) - now),
            endpoints=listing,
        )
    unsaid = [r for r in plan.rejected if r.filter in _EXPRESSION]
    if unsaid:
        return _field_error(unsaid, needs, listing)
    return ServiceError(
        Reason.NO_ENDPOINT_ALLOWED,
        f"no endpoint may serve this request: {_summary(listing)}"
        if listing
        else "the catalogue has no endpoint for the models asked for",
        endpoints=listing,
    )


def _field_error(unsaid: list[Rejection], needs: Needs, listing: tuple[tuple[str, str], ...]) -> ServiceError:
    known_somewhere = frozenset[str]().union(*(r.endpoint.provider.passthrough for r in unsaid))
    paths: dict[str, list[Endpoint]] = {}
    for rejection in unsaid:
        for path in rejection.paths:
            paths.setdefault(path, []).append(rejection.endpoint)
    if paths.keys() <= needs.extra - needs.extra_hints - known_somewhere:
        violations = [Violation(path, "no such field; correct its name or leave it out") for path in paths]
        reason, text = Reason.UNKNOWN_FIELD, "unknown field"
    else:
        strict = any(r.filter is Filter.REQUIRE_PARAMETERS for r in unsaid)
        violations = [Violation(path, _advice(path, rows, needs, strict=strict)) for path, rows in paths.items()]
        reason, text = Reason.UNSUPPORTED_FIELD, "no endpoint can express all of the request"
    named = ", ".join(_short(path) for path in paths)
    return ServiceError(reason, f"{text}: {named}", violations=tuple(violations), endpoints=listing)


def _advice(path: str, endpoints: list[Endpoint], needs: Needs, *, strict: bool) -> str:
    ids = _few(endpoint.id for endpoint in endpoints)
    limits = [e.max_output_tokens for e in endpoints if e.max_output_tokens is not None]
    if limits and path == needs.fields.get(Field.MAX_OUTPUT_TOKENS):
        return f"is more than {ids} can write; ask for at most {max(limits)} or for another model"
    if path == needs.fields.get(Field.REASONING_EFFORT):
        efforts = dict.fromkeys(effort for endpoint in endpoints for effort in endpoint.efforts)
        if efforts:
            return f"{needs.reasoning_effort} is not taken by {ids}; ask for one of {', '.join(efforts)}"
    if any(path in not_fetched(endpoint, needs) for endpoint in endpoints):
        return (
            f"not supported by {ids}, which takes bytes only, and fetching from addresses is off for this key: "
            "send the bytes inline, or ask the operator for fetch_media"
        )
    emulation = next(filter(None, (not_emulated(endpoint, needs) for endpoint in endpoints)), None)
    if emulation is not None and path == needs.fields.get(Field.JSON_SCHEMA):
        return f"not supported by {ids}, where {emulation}; or leave it out, or ask for another model"
    if path == needs.fields.get(Field.JSON_OBJECT):
        return f"not supported by {ids}; ask for a json_schema in its place, leave it out or ask for another model"
    if strict:
        return f"not supported by {ids}; leave it out, or provider.require_parameters, or ask for another model"
    return f"not supported by {ids}; leave it out or ask for another model"


def _summary(listing: tuple[tuple[str, str], ...]) -> str:
    return _few((f"{endpoint} {message}" for endpoint, message in listing), "; ")


def _few(items: Iterable[str], separator: str = ", ") -> str:
    """The first three; the whole list stands in the error's `endpoints`."""
    everything = list(items)
    more = f" and {len(everything) - 3} more" if len(everything) > 3 else ""
    return separator.join(everything[:3]) + more


def _short(path: str) -> str:
    return path if len(path) <= 100 else f"{path[:100]}…"
