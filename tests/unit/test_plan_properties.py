"""What holds for every plan, over random catalogues, requests, rules and floors."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.catalog import Endpoint, Facts, ProviderStatus
from service.domain.fields import BRIDGED, HINTS, Field
from service.domain.plan import plan
from service.domain.preferences import Floor, Policy, Preferences
from service.domain.regions import EEA, EU
from service.domain.routing import Attempt, Needs, Plan, WantedModel
from tests.support.catalogs import endpoint, facts, model, provider
from tests.support.upstreams import FixedHealth

NOW = 50.0
SLUGS = ("alpha", "beta", "gamma", "delta")
COUNTRIES = ("fr", "de", "no", "us", "gb", "eu", "eea", "global")
FIELDS = (Field.SEED, Field.TOOLS, Field.CUSTOM_TOOLS, Field.LOGPROBS, Field.USER, Field.METADATA)
QUANTIZATIONS = ("int4", "fp8", "bf16")


STATED: dict[str, st.SearchStrategy[object]] = {
    "regions": st.lists(st.sampled_from(COUNTRIES), max_size=3, unique=True).map(tuple),
    "retention_days": st.sampled_from([None, 7, 30]),
    "trains": st.sampled_from([None, True]),
    "parent": st.sampled_from([None, "us", "gb"]),
}


def facts_of(values: dict[str, Any]) -> Facts:
    good: dict[str, Any] = {"regions": ("fr",), "retention_days": 0, "trains": False, "parent": "fr"}
    return facts(**good | values)


# Good in all but one or two respects: a filter that lets its own fact slip would let the endpoint through.
some_facts = st.deferred(lambda: few_of(STATED, 0)).map(facts_of) | st.just(Facts())

residency = st.sampled_from(["eu", "eea", "eu", "eea", "fr", "us"])

slugs = st.lists(st.sampled_from(SLUGS), min_size=1, max_size=3).map(tuple)

PREFERENCES: dict[str, st.SearchStrategy[object]] = {
    "order": slugs,
    "only": slugs,
    "ignore": slugs,
    "allow_fallbacks": st.booleans(),
    "sort": st.sampled_from(["price", "latency", "throughput"]),
    "require_parameters": st.just(True),
    "quantizations": st.lists(st.sampled_from(QUANTIZATIONS), min_size=1, max_size=2).map(tuple),
    "data_collection": st.sampled_from(["allow", "deny"]),
    "data_residency": residency,
    "max_retention_days": st.sampled_from([0, 10, 40]),
    "eu_owned": st.booleans(),
}
FLOORS: dict[str, st.SearchStrategy[object]] = {
    "data_residency": st.lists(residency, min_size=1, max_size=2).map(tuple),
    "data_collection_deny": st.just(True),
    "max_retention_days": st.sampled_from([0, 10, 40]),
    "eu_owned": st.just(True),
}


def few_of(choices: dict[str, st.SearchStrategy[object]], smallest: int) -> st.SearchStrategy[dict[str, object]]:
    """At most two of them set: with more, hardly any plan would have an attempt left to look at."""
    names = st.lists(st.sampled_from(sorted(choices)), min_size=smallest, max_size=2, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: choices[name] for name in chosen}))


def preferences_of(values: dict[str, Any]) -> Preferences:
    return Preferences(**values)


def floor_of(values: dict[str, Any]) -> Floor:
    return Floor(**values)


preferences_or_none = few_of(PREFERENCES, 0).map(preferences_of)
floor_or_none = few_of(FLOORS, 0).map(floor_of)
some_floor = few_of(FLOORS, 1).map(floor_of)

needs = st.builds(
    Needs,
    fields=st.lists(st.sampled_from(FIELDS), max_size=3, unique=True).map(lambda fs: {f: f"{f}[0].x" for f in fs}),
    extra=st.sets(st.sampled_from(["top_k", "trace"]), max_size=2).map(frozenset),
    extra_hints=st.sampled_from([frozenset(), frozenset({"trace"})]),
    dialects=st.sampled_from([{}, {}, {}, {}, {}, {"anthropic": "messages[0].content[0]"}]),
    server_tools=st.sampled_from(
        [{}, {}, {"tools[1]": "anthropic"}, {"tools[1]": "openai_chat", "x[2]": "other"}]
    ),
)


@st.composite
def endpoints(draw: st.DrawFn, model_id: str) -> tuple[Endpoint, ...]:
    chosen = draw(st.lists(st.sampled_from(SLUGS), min_size=1, max_size=4, unique=True))
    rows = []
    for slug in chosen:
        row = provider(
            slug,
            dialect=draw(st.sampled_from(["openai_chat"] * 4 + ["anthropic"])),
            facts=draw(some_facts),
            status=draw(st.sampled_from([ProviderStatus.ACTIVE] * 4 + [ProviderStatus.NOT_CONFIGURED])),
            owner=draw(st.sampled_from([None, None, None, None, "local", "bob"])),
            passthrough=draw(st.sampled_from([(), ("top_k",)])),
        )
        expressible = set(Field) - set(draw(st.lists(st.sampled_from(FIELDS), max_size=1)))
        price = draw(st.sampled_from(["0", "0.5", "1", "1", "30"]))
        quantization = draw(st.sampled_from([None, *QUANTIZATIONS]))
        rows.append(endpoint(row, model=model_id, price=price, expressible=expressible, quantization=quantization))
    return tuple(rows)


@st.composite
def wanted(draw: st.DrawFn) -> tuple[WantedModel, ...]:
    rows = [dataclasses.replace(model(name), endpoints=draw(endpoints(name))) for name in ("v/one", "v/two")]
    pairs = st.tuples(st.sampled_from(rows), st.sampled_from(["", "floor", "nitro", "free"]))
    return tuple(WantedModel(row, variant) for row, variant in draw(st.lists(pairs, min_size=1, max_size=3)))


ids = [f"{slug}/{name}" for slug in SLUGS for name in ("v/one", "v/two")]
healths = st.builds(
    FixedHealth,
    scores=st.dictionaries(st.sampled_from(ids), st.floats(0, 1), max_size=3),
    cooling=st.dictionaries(st.sampled_from(ids), st.sampled_from([NOW - 1, NOW + 30]), max_size=2),
    latencies=st.dictionaries(st.sampled_from(ids), st.floats(0, 9), max_size=3),
    throughputs=st.dictionaries(st.sampled_from(ids), st.floats(0, 99), max_size=3),
)
caps = st.integers(1, 5)


def make(
    asked: Needs, policy: Policy, models: tuple[WantedModel, ...], health: FixedHealth, cap: int = 99
) -> Plan:
    return plan(asked, policy, models, health, NOW, max_attempts=cap, owner="local")


def attempt_breaks(attempt: Attempt, asked: Needs, preferences: Preferences, floor: Floor) -> str | None:
    """Which rule an attempt breaks, worked out from the documentation and not from the code under test."""
    row = attempt.endpoint
    slug, known = row.provider.slug, row.facts
    regions = set(known.regions.value) if known.regions else set()
    for code in (*([preferences.data_residency] if preferences.data_residency else []), *floor.data_residency):
        allowed = {"eu": EU | {"eu"}, "eea": EEA | {"eu", "eea"}}.get(code, {code})
        if not regions or not regions <= allowed:
            return f"residency {code}"
    for days in (preferences.max_retention_days, floor.max_retention_days):
        if days is not None and (known.retention_days is None or known.retention_days.value > days):
            return "retention"
    deny = preferences.data_collection == "deny" or floor.data_collection_deny
    eu_owned = preferences.eu_owned or floor.eu_owned
    missing = [field for field in asked.fields if field not in row.expressible]
    bridged = BRIDGED if Field.TOOLS in row.expressible else frozenset()
    left_out = [path for path, dialect in asked.server_tools.items() if dialect != row.provider.dialect]
    extras = asked.extra - row.provider.passthrough
    unused = [*missing, *extras, *left_out]
    broken = {
        "training": deny and (known.trains_on_data is None or known.trains_on_data.value),
        "ownership": eu_owned and (known.parent_country is None or known.parent_country.value not in EU),
        "only": bool(preferences.only) and slug not in (preferences.only or ()),
        "ignore": slug in (preferences.ignore or ()),
        "quantizations": bool(preferences.quantizations)
        and row.quantization not in (preferences.quantizations or ()),
        "free": attempt.variant == "free" and not row.price.free,
        "status": row.provider.status is not ProviderStatus.ACTIVE,
        "owner": row.provider.owner not in (None, "local"),
        "field": any(field not in HINTS and field not in bridged for field in missing),
        "named": not set(left_out) <= set(attempt.ignored),
        "extra": bool(extras - asked.extra_hints),
        "dialect": any(dialect != row.provider.dialect for dialect in asked.dialects),
        "require_parameters": bool(preferences.require_parameters and unused),
    }
    return next((name for name, is_broken in broken.items() if is_broken), None)


@settings(max_examples=200)
@given(needs, preferences_or_none, st.just(Preferences()) | preferences_or_none, floor_or_none, wanted(), healths)
def test_an_attempt_never_violates_a_filter_of_request_rule_or_floor(
    asked: Needs,
    request: Preferences,
    rule: Preferences,
    floor: Floor,
    models: tuple[WantedModel, ...],
    health: FixedHealth,
) -> None:
    merged = request.over(rule)
    for field in dataclasses.fields(Preferences):
        mine = getattr(request, field.name)
        assert getattr(merged, field.name) == (getattr(rule, field.name) if mine is None else mine)
    for attempt in make(asked, Policy(merged, floor), models, health).attempts:
        assert attempt_breaks(attempt, asked, merged, floor) is None
        assert health.cooling_until(attempt.endpoint.id, NOW) is None


def test_each_filter_alone_agrees_with_the_documentation_on_every_fact() -> None:
    policies = [
        *(Policy(Preferences(data_residency=code)) for code in ("eu", "eea", "fr", "us")),
        *(Policy(Preferences(max_retention_days=days)) for days in (0, 7, 29, 30)),
        *(Policy(Preferences(data_collection=choice)) for choice in ("allow", "deny")),
        *(Policy(Preferences(eu_owned=choice)) for choice in (True, False)),
        *(Policy(floor=Floor(data_residency=codes)) for codes in (("eu",), ("eea", "fr"), ("us",))),
        *(Policy(floor=Floor(max_retention_days=days)) for days in (0, 30)),
        *(Policy(Preferences(ignore=(slug,))) for slug in ("alpha", "beta")),
        *(Policy(Preferences(only=(slug,))) for slug in ("alpha", "beta")),
        Policy(floor=Floor(data_collection_deny=True)),
        Policy(floor=Floor(eu_owned=True)),
    ]
    regions = (None, (), *((code,) for code in COUNTRIES), ("fr", "de"), ("fr", "us"), ("de", "no"))
    everything = itertools.product(policies, regions, (None, 0, 7, 30), (None, True, False), (None, "de", "us"))
    outcomes: Counter[bool] = Counter()
    for policy, places, days, trains, parent in everything:
        row = endpoint(provider(facts=facts(regions=places, retention_days=days, trains=trains, parent=parent)))
        chosen = bool(make(Needs(), policy, (WantedModel(model("vendor/model", row)),), FixedHealth()).attempts)
        trial = Attempt(row, row.model, "", 0, row.price.blended, 1.0)
        assert chosen is (attempt_breaks(trial, Needs(), policy.preferences, policy.floor) is None)
        outcomes[chosen] += 1
    assert min(outcomes[True], outcomes[False]) > 1000


@given(needs, preferences_or_none, some_floor, floor_or_none, wanted(), healths)
def test_adding_a_floor_never_adds_an_attempt(
    asked: Needs,
    preferences: Preferences,
    more: Floor,
    floor: Floor,
    models: tuple[WantedModel, ...],
    health: FixedHealth,
) -> None:
    # Without a limit to attempts: a limit lets later ones move up when the floor removes earlier ones.
    free = dataclasses.replace(preferences, allow_fallbacks=None)
    before = make(asked, Policy(free, floor), models, health)
    after = make(asked, Policy(free, floor.narrowed_by(more)), models, health)
    assert {a.endpoint.id for a in after.attempts} <= {a.endpoint.id for a in before.attempts}


@given(needs, preferences_or_none, floor_or_none, wanted(), healths, caps)
def test_every_endpoint_of_the_wanted_models_is_an_attempt_or_a_rejection_exactly_once(
    asked: Needs,
    preferences: Preferences,
    floor: Floor,
    models: tuple[WantedModel, ...],
    health: FixedHealth,
    cap: int,
) -> None:
    result = make(asked, Policy(preferences, floor), models, health, cap)
    told = Counter([a.endpoint.id for a in result.attempts] + [r.endpoint.id for r in result.rejected])
    assert told == Counter({e.id for item in models for e in item.model.endpoints})
    assert len(result.attempts) <= cap
    assert all(rejection.message for rejection in result.rejected)


@given(needs, preferences_or_none, floor_or_none, wanted(), healths, caps)
def test_a_plan_is_deterministic_and_blind_to_the_order_of_catalogue_rows(
    asked: Needs,
    preferences: Preferences,
    floor: Floor,
    models: tuple[WantedModel, ...],
    health: FixedHealth,
    cap: int,
) -> None:
    policy = Policy(preferences, floor)
    first = make(asked, policy, models, health, cap)
    assert make(asked, policy, models, health, cap) == first
    turned = tuple(
        WantedModel(dataclasses.replace(item.model, endpoints=item.model.endpoints[::-1]), item.variant)
        for item in models
    )
    assert make(asked, policy, turned, health, cap) == first
