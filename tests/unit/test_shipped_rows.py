"""The catalogue that ships, as what it does to requests: who may be asked for what, and in which words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from adapters.catalog import DEFAULT_CATALOG, build_catalog, read_catalog
from adapters.providers.registry import DIALECTS
from service.domain.catalog import Catalog, Endpoint
from service.domain.fields import HINTS, Field
from service.domain.generation import Generation, Role
from service.domain.plan import plan
from service.domain.preferences import Floor, Policy, Preferences
from service.domain.routing import Filter, Needs, Plan, WantedModel
from tests.golden.requests import HELLO, said
from tests.support import chats
from tests.support.upstreams import FixedHealth

AZURE = ("openai/gpt-5-mini", "openai/gpt-4.1-mini")
BEDROCK = ("anthropic/claude-opus-4-6", "anthropic/claude-sonnet-4-6", "anthropic/claude-haiku-4-5")
US_OWNED = {"openai", "anthropic", "microsoft-foundry", "aws-bedrock"}
EU_OWNED = {"mistral", "scaleway", "nebius", "ionos", "ovhcloud"}


@pytest.fixture(scope="module")
def shipped() -> Catalog:
    dialects = {name: dialect.expressible_with for name, dialect in DIALECTS.items()}
    return build_catalog(read_catalog(DEFAULT_CATALOG), dialects, lambda _: True)


def planned(
    shipped: Catalog, name: str, preferences: Preferences | None = None, needs: Needs | None = None
) -> Plan:
    wanted = (WantedModel(shipped.models[name], ""),)
    policy = Policy(preferences or Preferences(), Floor())
    return plan(needs or Needs(), policy, wanted, FixedHealth(), 0.0, max_attempts=99, owner="local")


def reached(result: Plan) -> set[str]:
    return {attempt.endpoint.id for attempt in result.attempts}


def every_endpoint(shipped: Catalog) -> Iterator[Endpoint]:
    for row in shipped.models.values():
        yield from row.endpoints


def written(endpoint: Endpoint, generation: Generation) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(
        DIALECTS[endpoint.provider.dialect].build(generation, endpoint, stream=False).body
    )
    return body


# --- where ---


@pytest.mark.parametrize("name", AZURE)
def test_an_eu_request_reaches_azures_eu_data_zone_and_never_a_global_deployment(
    shipped: Catalog, name: str
) -> None:
    result = planned(shipped, name, Preferences(data_residency="eu"))
    assert reached(result) == {f"microsoft-foundry/{name}@data-zone-eu"}
    why = {rejection.endpoint.id: rejection.message for rejection in result.rejected}
    assert why[f"microsoft-foundry/{name}@global"] == "processes in global; eu asked"
    assert f"microsoft-foundry/{name}@global" in reached(planned(shipped, name))


@pytest.mark.parametrize("name", BEDROCK)
def test_an_eu_request_reaches_bedrocks_eu_profile_and_never_its_global_one(shipped: Catalog, name: str) -> None:
    result = planned(shipped, name, Preferences(data_residency="eu"))
    assert reached(result) == {f"aws-bedrock/{name}@eu"}
    assert {rejection.filter for rejection in result.rejected} == {Filter.DATA_RESIDENCY}
    assert reached(planned(shipped, name)) == {
        f"anthropic/{name}",
        f"aws-bedrock/{name}@eu",
        f"aws-bedrock/{name}@global",
    }


@pytest.mark.parametrize("country", ["de", "se", "ie", "fr"])
@pytest.mark.parametrize("name", [*AZURE, *BEDROCK])
def test_somewhere_in_the_eu_is_no_single_country(shipped: Catalog, name: str, country: str) -> None:
    assert not reached(planned(shipped, name, Preferences(data_residency=country)))


def test_a_profile_that_may_be_served_anywhere_satisfies_no_region(shipped: Catalog) -> None:
    for region in ("eu", "eea", "us", "de"):
        result = planned(shipped, "amazon/nova-2-lite", Preferences(data_residency=region))
        assert not result.attempts
        assert result.rejected[0].message == f"processes in global; {region} asked"


def test_a_bedrock_profiles_name_and_its_region_say_the_same(shipped: Catalog) -> None:
    profiles = [e for e in every_endpoint(shipped) if e.upstream_model.startswith(("eu.", "global."))]
    assert len(profiles) == 9
    for endpoint in profiles:
        profile, _, _ = endpoint.upstream_model.partition(".")
        assert endpoint.provider.slug == "aws-bedrock"
        assert endpoint.facts.regions is not None
        assert (endpoint.facts.regions.value, endpoint.id.rpartition("@")[2]) == ((profile,), profile)


def test_a_request_for_france_reaches_the_clouds_that_process_there(shipped: Catalog) -> None:
    result = planned(shipped, "openai/gpt-oss-120b", Preferences(data_residency="fr"))
    assert reached(result) == {"scaleway/openai/gpt-oss-120b", "ovhcloud/openai/gpt-oss-120b"}


# --- whose, and what for ---


def test_owned_in_the_eu_excludes_every_provider_with_a_parent_in_the_us(shipped: Catalog) -> None:
    for name in shipped.models:
        result = planned(shipped, name, Preferences(eu_owned=True))
        assert {attempt.endpoint.provider.slug for attempt in result.attempts} <= EU_OWNED
        for rejection in result.rejected:
            assert rejection.filter is Filter.EU_OWNED
            assert rejection.endpoint.provider.slug not in EU_OWNED
    parents = {slug: row.facts.parent_country for slug, row in shipped.providers.items()}
    assert {slug for slug, fact in parents.items() if fact is not None and fact.value == "us"} == US_OWNED


def test_who_states_nothing_on_its_owner_its_training_or_its_retention_is_not_taken_at_a_guess(
    shipped: Catalog,
) -> None:
    for strict in (
        Preferences(eu_owned=True),
        Preferences(data_collection="deny"),
        Preferences(max_retention_days=3650),
    ):
        result = planned(shipped, "google/gemini-2.5-flash", strict)
        assert not result.attempts
        assert all("does not state" in rejection.message for rejection in result.rejected)


def test_every_fact_has_a_source_and_the_day_on_which_it_was_read(shipped: Catalog) -> None:
    stated = [row.facts for row in shipped.providers.values()] + [row.facts for row in every_endpoint(shipped)]
    facts = [fact for row in stated for name in row.__slots__ if (fact := getattr(row, name))]
    assert len(facts) > 50
    for fact in facts:
        assert fact.source.startswith(("https://", "EUrouter's documentation"))
        assert fact.verified_on == "2026-11-22"


def test_a_profile_of_one_geography_costs_a_tenth_more_than_the_global_one(shipped: Catalog) -> None:
    for name in BEDROCK:
        prices = {e.id.rpartition("@")[2]: e.price for e in shipped.models[name].endpoints}
        eu, everywhere = prices["eu"], prices["global"]
        for kind in ("prompt", "completion", "cache_read", "cache_write"):
            assert getattr(eu, kind) == getattr(everywhere, kind) * Decimal("1.1"), (name, kind)


# --- in which words ---


def test_every_endpoint_can_be_asked_and_says_the_model_in_its_providers_words(shipped: Catalog) -> None:
    for endpoint in every_endpoint(shipped):
        dialect = DIALECTS[endpoint.provider.dialect]
        request = dialect.build(Generation((HELLO,)), endpoint, stream=True)
        name = endpoint.upstream_model
        assert name in request.path.replace("%3A", ":") or json.loads(request.body)["model"] == name
        assert endpoint.expressible <= dialect.expressible


def test_what_a_row_refuses_is_something_that_its_dialect_could_say(shipped: Catalog) -> None:
    for provider in shipped.providers.values():
        assert provider.refuses <= DIALECTS[provider.dialect].expressible, provider.slug


def test_a_binding_field_that_a_provider_refuses_sends_the_request_elsewhere(shipped: Catalog) -> None:
    several = chats.read(chats.request(n=2)).needs
    result = planned(shipped, "mistralai/mistral-small-3.2", needs=several)
    assert reached(result) == {"ovhcloud/mistralai/mistral-small-3.2"}
    (rejection,) = result.rejected
    assert (rejection.endpoint.provider.slug, rejection.paths) == ("scaleway", ("n",))


def test_a_hint_that_a_provider_refuses_is_left_out_and_named(shipped: Catalog) -> None:
    asks = chats.read(chats.request(metadata={"team": "blue"}, user="ada")).needs
    result = planned(shipped, "openai/gpt-oss-120b", needs=asks)
    ignored = {attempt.endpoint.provider.slug: attempt.ignored for attempt in result.attempts}
    assert ignored == {
        "scaleway": ("metadata", "user"),
        "nebius": ("metadata",),
        "ovhcloud": ("metadata",),
        "aws-bedrock": ("metadata", "user"),
    }
    for attempt in result.attempts:
        generation = Generation((HELLO,), options={Field.METADATA: {"team": "blue"}, Field.USER: "ada"})
        body = written(attempt.endpoint, generation)
        assert not {"metadata", "user"} & body.keys() & set(attempt.ignored)


def test_a_tool_that_takes_a_text_is_a_function_where_there_are_functions_only(shipped: Catalog) -> None:
    asks = chats.read(chats.request(tools=[{"type": "custom", "custom": {"name": "g"}}])).needs
    for name in ("openai/gpt-oss-120b", "anthropic/claude-haiku-4-5", "mistralai/mistral-medium-3.5"):
        result = planned(shipped, name, needs=asks)
        assert len(result.attempts) == len(shipped.models[name].endpoints)
        assert all(attempt.ignored == () for attempt in result.attempts)


def test_servers_of_open_models_get_system_turns_whatever_the_caller_calls_them(shipped: Catalog) -> None:
    for endpoint in shipped.models["openai/gpt-oss-120b"].endpoints:
        if endpoint.provider.dialect == "openai_chat":
            body = written(endpoint, Generation((said(Role.DEVELOPER, "Be brief."), HELLO)))
            assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_models_that_sample_by_themselves_take_neither_temperature_nor_top_p(shipped: Catalog) -> None:
    for name in ("anthropic/claude-opus-5", "anthropic/claude-sonnet-5", "openai/gpt-5.4", "openai/gpt-5-mini"):
        for field in ("temperature", "top_p"):
            result = planned(shipped, name, needs=chats.read(chats.request(**{field: 0.5})).needs)
            assert not result.attempts
            assert {rejection.paths for rejection in result.rejected} == {(field,)}


# --- how much it thinks ---

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def test_every_model_that_reasons_says_which_efforts_it_takes(shipped: Catalog) -> None:
    for name, row in shipped.models.items():
        for endpoint in row.endpoints:
            reasons = Field.REASONING_EFFORT in endpoint.expressible
            assert reasons is bool(endpoint.efforts) is ("reasoning" in row.categories), name


def test_an_effort_of_the_table_is_sent_and_any_other_keeps_the_endpoint_out(shipped: Catalog) -> None:
    sent = 0
    for name, row in shipped.models.items():
        for effort in EFFORTS:
            needs = Needs({Field.REASONING_EFFORT: "reasoning.effort"}, reasoning_effort=effort)
            result = planned(shipped, name, needs=needs)
            taken = {e.id for e in row.endpoints if effort in e.efforts}
            assert reached(result) == taken
            for attempt in result.attempts:
                asked = Generation((HELLO,), reasoning_effort=effort, max_output_tokens=8000)
                unasked = Generation((HELLO,), max_output_tokens=8000)
                assert written(attempt.endpoint, asked) != written(attempt.endpoint, unasked)
                sent += 1
            assert all(rejection.paths == ("reasoning.effort",) for rejection in result.rejected)
    assert sent > 80


@pytest.mark.parametrize(
    ("name", "provider", "effort", "told"),
    [
        ("openai/gpt-5.4", "openai", "xhigh", {"reasoning_effort": "xhigh"}),
        ("openai/gpt-5-mini", "microsoft-foundry", "minimal", {"reasoning_effort": "minimal"}),
        ("openai/gpt-oss-120b", "scaleway", "low", {"reasoning_effort": "low"}),
        (
            "openai/gpt-oss-120b",
            "aws-bedrock",
            "high",
            {"additionalModelRequestFields": {"reasoning_effort": "high"}},
        ),
        ("mistralai/mistral-medium-3.5", "mistral", "none", {"reasoning_effort": "none"}),
        ("anthropic/claude-opus-4-6", "anthropic", "max", {"output_config": {"effort": "max"}}),
        ("anthropic/claude-opus-4-6", "aws-bedrock", "max", {"outputConfig": {"effort": "max"}}),
        ("anthropic/claude-sonnet-5", "anthropic", "xhigh", {"output_config": {"effort": "xhigh"}}),
        (
            "anthropic/claude-haiku-4-5",
            "anthropic",
            "low",
            {"thinking": {"type": "enabled", "budget_tokens": 1600}},
        ),
        (
            "amazon/nova-2-lite",
            "aws-bedrock",
            "none",
            {"additionalModelRequestFields": {"reasoningConfig": {"type": "disabled"}}},
        ),
    ],
)
def test_an_effort_is_said_in_the_models_own_words(
    shipped: Catalog, name: str, provider: str, effort: str, told: dict[str, Any]
) -> None:
    endpoints = [e for e in shipped.models[name].endpoints if e.provider.slug == provider]
    assert endpoints
    for endpoint in endpoints:
        body = written(endpoint, Generation((HELLO,), reasoning_effort=effort, max_output_tokens=8000))
        assert {key: body[key] for key in told} == told


def test_hints_alone_rule_no_shipped_endpoint_out(shipped: Catalog) -> None:
    hints = Needs({field: field.value for field in HINTS})
    for name, row in shipped.models.items():
        assert len(planned(shipped, name, needs=hints).attempts) == len(row.endpoints)
