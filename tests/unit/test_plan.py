"""The plan: filters, order, reasons, and the three kinds of no endpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import pytest

from service.domain.catalog import Endpoint, Facts, ProviderStatus
from service.domain.errors import Reason
from service.domain.fields import Field
from service.domain.plan import no_endpoint_error, plan
from service.domain.preferences import Floor, Policy, Preferences
from service.domain.regions import EEA, EU, inside, residency_problem
from service.domain.routing import Filter, HealthView, Needs, Plan, Rejection, WantedModel
from tests.support.catalogs import AMERICAN, EVERY_FIELD, endpoint, facts, model, provider
from tests.support.upstreams import FixedHealth

NOW = 1000.0
SORTS: tuple[Literal["price", "latency", "throughput"], ...] = ("price", "latency", "throughput")


def planned(
    *endpoints: Endpoint,
    needs: Needs | None = None,
    preferences: Preferences | None = None,
    floor: Floor | None = None,
    health: HealthView | None = None,
    variant: str = "",
    wanted: tuple[WantedModel, ...] | None = None,
    max_attempts: int = 9,
    owner: str = "local",
) -> Plan:
    policy = Policy(preferences or Preferences(), floor or Floor())
    models = wanted if wanted is not None else (WantedModel(model("vendor/model", *endpoints), variant),)
    return plan(
        needs or Needs(),
        policy,
        models,
        health or FixedHealth(),
        NOW,
        max_attempts=max_attempts,
        owner=owner,
    )


def slugs(result: Plan) -> list[str]:
    return [attempt.endpoint.provider.slug for attempt in result.attempts]


def only_rejection(result: Plan) -> Rejection:
    assert len(result.rejected) == 1
    return result.rejected[0]


def asks(**fields: str) -> Needs:
    by_value = {field.value: field for field in Field}
    return Needs(fields=MappingProxyType({by_value[name]: path for name, path in fields.items()}))


# --- order ---


def test_cheaper_comes_first_by_the_square_of_the_price() -> None:
    dear, cheap = endpoint("dear", price="3"), endpoint("cheap", price="1")
    # 0.2 / 1² = 0.2 still beats 1 / 3² = 0.11; 0.1 does not.
    assert slugs(planned(dear, cheap, health=FixedHealth(scores={cheap.id: 0.2}))) == ["cheap", "dear"]
    assert slugs(planned(dear, cheap, health=FixedHealth(scores={cheap.id: 0.1}))) == ["dear", "cheap"]


def test_the_price_weighs_what_is_read_three_times() -> None:
    reads_cheap = endpoint("a", price="1", completion="5")
    writes_cheap = endpoint("b", price="3", completion="1")
    assert slugs(planned(writes_cheap, reads_cheap)) == ["a", "b"]
    assert planned(reads_cheap).attempts[0].price * 1_000_000 == 2


def test_free_endpoints_come_first_however_ill_the_healthier_before() -> None:
    rows = [endpoint("paid", price="0.001"), endpoint("ill", price="0"), endpoint("well", price="0")]
    health = FixedHealth(scores={"ill/vendor/model": 0.1})
    assert slugs(planned(*rows, health=health)) == ["well", "ill", "paid"]


def test_ties_go_by_slug() -> None:
    assert slugs(planned(endpoint("b"), endpoint("c"), endpoint("a"))) == ["a", "b", "c"]


def test_listed_providers_come_first_in_their_order_and_the_others_follow() -> None:
    rows = [endpoint("a", price="1"), endpoint("b", price="2"), endpoint("c", price="3"), endpoint("d", price="4")]
    result = planned(*rows, preferences=Preferences(order=("d", "c", "d")))
    assert slugs(result) == ["d", "c", "a", "b"]
    assert result.strategy == "order"


def test_sorts_put_the_unknown_last() -> None:
    rows = [endpoint("a", price="3"), endpoint("b", price="1"), endpoint("c", price="2")]
    health = FixedHealth(
        latencies={"a/vendor/model": 0.2, "c/vendor/model": 0.1},
        throughputs={"a/vendor/model": 90.0, "c/vendor/model": 40.0},
    )
    by = {sort: planned(*rows, health=health, preferences=Preferences(sort=sort)) for sort in SORTS}
    assert slugs(by["price"]) == ["b", "c", "a"]
    assert slugs(by["latency"]) == ["c", "a", "b"]
    assert slugs(by["throughput"]) == ["a", "c", "b"]
    assert [by[sort].strategy for sort in SORTS] == list(SORTS)


def test_a_variant_sorts_its_model_whatever_the_preferences_say() -> None:
    rows = [endpoint("a", price="2"), endpoint("b", price="1")]
    health = FixedHealth(latencies={"a/vendor/model": 0.1}, throughputs={"a/vendor/model": 9.0})
    latency = Preferences(sort="latency")
    assert slugs(planned(*rows, health=health, preferences=latency, variant="floor")) == ["b", "a"]
    assert slugs(planned(*rows, health=health, variant="nitro")) == ["a", "b"]
    assert planned(*rows, variant="floor").strategy == "price"
    assert planned(*rows, variant="nitro").strategy == "throughput"
    assert planned(*rows).strategy == "default"


def test_all_endpoints_of_a_model_come_before_the_next_model() -> None:
    first = model("v/one", endpoint("a", model="v/one", price="9"), endpoint("b", model="v/one", price="9"))
    second = model("v/two", endpoint("a", model="v/two", price="0"))
    result = planned(wanted=(WantedModel(first), WantedModel(second)))
    assert [a.endpoint.id for a in result.attempts] == ["a/v/one", "b/v/one", "a/v/two"]
    assert [a.model_position for a in result.attempts] == [0, 0, 1]


def test_a_model_wanted_again_without_free_adds_what_costs() -> None:
    row = model("v/m", endpoint("paid", model="v/m"), endpoint("gift", model="v/m", price="0"))
    result = planned(wanted=(WantedModel(row, "free"), WantedModel(row)))
    assert [(a.endpoint.provider.slug, a.variant) for a in result.attempts] == [("gift", "free"), ("paid", "")]
    assert result.rejected == ()


# --- limits ---


def test_attempts_beyond_the_cap_are_rejected_by_name() -> None:
    result = planned(endpoint("a"), endpoint("b"), endpoint("c"), max_attempts=2)
    assert slugs(result) == ["a", "b"]
    assert only_rejection(result).filter is Filter.ATTEMPT_CAP
    assert "2 attempts" in only_rejection(result).message


def test_without_fallbacks_one_attempt_stays_over_all_models() -> None:
    first, second = model("v/one", endpoint("a", model="v/one")), model("v/two", endpoint("b", model="v/two"))
    wanted = (WantedModel(first), WantedModel(second))
    result = planned(wanted=wanted, preferences=Preferences(allow_fallbacks=False))
    assert slugs(result) == ["a"]
    assert only_rejection(result).filter is Filter.ALLOW_FALLBACKS


# --- policy ---


@pytest.mark.parametrize(
    ("preferences", "row", "name", "sentence"),
    [
        (Preferences(only=("b",)), endpoint("a"), Filter.ONLY, "is not among `only`"),
        (Preferences(ignore=("a",)), endpoint("a"), Filter.IGNORE, "is among `ignore`"),
        (
            Preferences(quantizations=("fp8", "bf16")),
            endpoint("a", quantization="int4"),
            Filter.QUANTIZATIONS,
            "serves int4; fp8, bf16 asked",
        ),
        (
            Preferences(quantizations=("fp8",)),
            endpoint("a"),
            Filter.QUANTIZATIONS,
            "does not state its quantization; fp8 asked",
        ),
        (
            Preferences(data_collection="deny"),
            endpoint(provider(facts=AMERICAN)),
            Filter.DATA_COLLECTION,
            "may train on data; data_collection deny asked",
        ),
        (
            Preferences(data_residency="eu"),
            endpoint(provider(facts=AMERICAN)),
            Filter.DATA_RESIDENCY,
            "processes in us; eu asked",
        ),
        (
            Preferences(max_retention_days=0),
            endpoint(provider(facts=AMERICAN)),
            Filter.MAX_RETENTION_DAYS,
            "keeps data for 30 days; at most 0 asked",
        ),
        (
            Preferences(eu_owned=True),
            endpoint(provider(facts=AMERICAN)),
            Filter.EU_OWNED,
            "has its ultimate parent in us; eu_owned asked",
        ),
    ],
)
def test_each_filter_rejects_with_the_fact_and_what_was_asked(
    preferences: Preferences, row: Endpoint, name: Filter, sentence: str
) -> None:
    result = planned(row, preferences=preferences)
    assert result.attempts == ()
    assert (only_rejection(result).filter, only_rejection(result).message) == (name, sentence)


@pytest.mark.parametrize(
    ("preferences", "sentence"),
    [
        (
            Preferences(data_collection="deny"),
            "does not state whether it trains on data; data_collection deny asked",
        ),
        (Preferences(data_residency="eu"), "does not state where it processes; eu asked"),
        (Preferences(max_retention_days=400), "does not state its retention; at most 400 days asked"),
        (Preferences(eu_owned=True), "does not state its ultimate parent's country; eu_owned asked"),
    ],
)
def test_a_fact_that_is_not_stated_fails_the_filter_that_asks(preferences: Preferences, sentence: str) -> None:
    silent = endpoint(provider(facts=Facts()))
    assert only_rejection(planned(silent, preferences=preferences)).message == sentence
    assert slugs(planned(silent)) == ["alpha"]


def test_filters_that_ask_for_nothing_let_everything_pass() -> None:
    lax = Preferences(data_collection="allow", eu_owned=False, require_parameters=False, allow_fallbacks=True)
    assert slugs(planned(endpoint(provider(facts=AMERICAN)), preferences=lax)) == ["alpha"]


def test_the_floor_holds_without_any_preference_and_says_whose_it_is() -> None:
    american = endpoint(provider(facts=AMERICAN))
    floor = Floor(data_residency=("eea",))
    assert only_rejection(planned(american, floor=floor)).message == (
        "processes in us; eea required by the operator's policy"
    )


def test_a_preference_never_widens_the_floor() -> None:
    french = endpoint("a")
    german = endpoint(provider("b", facts=facts(regions=("de",), retention_days=20, trains=False, parent="de")))
    floor = Floor(data_residency=("eu",), max_retention_days=10, data_collection_deny=True, eu_owned=True)
    wide = Preferences(data_residency="de", max_retention_days=99, data_collection="allow", eu_owned=False)
    result = planned(french, german, floor=floor, preferences=wide)
    assert result.attempts == ()
    assert {r.endpoint.provider.slug: r.filter for r in result.rejected} == {
        "a": Filter.DATA_RESIDENCY,
        "b": Filter.MAX_RETENTION_DAYS,
    }


def test_several_residencies_of_the_floor_must_all_hold() -> None:
    somewhere = endpoint(provider("a", facts=facts(regions=("eu",))))
    french = endpoint("b")
    assert slugs(planned(somewhere, french, floor=Floor(data_residency=("eu", "fr")))) == ["b"]


@pytest.mark.parametrize(
    ("regions", "asked", "holds"),
    [
        (("fr",), "eu", True),
        (("fr", "DE"), "eu", True),
        (("eu",), "eu", True),
        (("eu",), "eea", True),
        (("no",), "eea", True),
        (("no",), "eu", False),
        (("eea",), "eu", False),
        (("eu",), "fr", False),  # a zone of several countries is none of them
        (("fr",), "fr", True),
        (("fr", "de"), "fr", False),
        (("fr", "us"), "eu", False),
        (("global",), "eu", False),
        (("global",), "global", False),
        (("ch",), "eea", False),
        (("gb",), "gb", True),
        ((), "eu", False),
    ],
)
def test_residency_holds_when_every_region_lies_inside(regions: tuple[str, ...], asked: str, holds: bool) -> None:
    assert inside(regions, asked) is holds


def test_there_are_27_members_and_three_more_in_the_economic_area() -> None:
    assert len(EU) == 27
    assert set(EEA - EU) == {"is", "li", "no"}


@pytest.mark.parametrize("code", ["europe", "", "EU-west", "d", "d3", "uk", "global"])
def test_a_wrong_residency_code_is_told(code: str) -> None:
    assert residency_problem(code) is not None


@pytest.mark.parametrize("code", ["eu", "EEA", "de", "FR", "us"])
def test_regions_and_countries_are_residency_codes(code: str) -> None:
    assert residency_problem(code) is None


# --- state ---


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (ProviderStatus.NOT_CONFIGURED, Filter.NOT_CONFIGURED),
        (ProviderStatus.DIALECT_MISSING, Filter.DIALECT_MISSING),
        (ProviderStatus.DISABLED, Filter.DISABLED),
    ],
)
def test_a_provider_that_is_not_active_is_never_chosen(status: ProviderStatus, name: Filter) -> None:
    row = endpoint(provider(status=status, status_message="MISTRAL_API_KEY is not set"))
    result = planned(row)
    assert result.attempts == ()
    assert only_rejection(result).filter is name
    assert "MISTRAL_API_KEY is not set" in only_rejection(result).message


def test_an_account_of_one_owner_serves_no_other() -> None:
    row = endpoint(provider(owner="alice"))
    assert slugs(planned(row, owner="alice")) == ["alpha"]
    rejection = only_rejection(planned(row, owner="bob"))
    assert rejection.filter is Filter.OWNER
    assert "alice" not in rejection.message


def test_a_cooling_endpoint_is_rejected_until_its_time() -> None:
    health = FixedHealth(cooling={"alpha/vendor/model": NOW + 12.5})
    rejection = only_rejection(planned(endpoint(), health=health))
    assert (rejection.filter, rejection.until) == (Filter.COOLING_DOWN, NOW + 12.5)
    assert "12.5 s" in rejection.message


# --- expression ---


def without(*fields: Field) -> frozenset[Field]:
    return EVERY_FIELD - set(fields)


def test_a_binding_field_that_can_not_be_said_rejects_with_its_path() -> None:
    row = endpoint(expressible=without(Field.SEED, Field.IMAGE_INPUT))
    needs = asks(seed="seed", image_url="messages[0].content[1].image_url", temperature="temperature")
    rejection = only_rejection(planned(row, needs=needs))
    assert rejection.filter is Filter.FIELD
    assert set(rejection.paths) == {"seed", "messages[0].content[1].image_url"}


def test_hints_that_can_not_be_said_are_named_and_cost_nothing() -> None:
    row = endpoint(expressible=without(Field.USER, Field.METADATA, Field.AUTHOR_NAME))
    needs = Needs(
        fields={Field.USER: "user", Field.METADATA: "metadata", Field.AUTHOR_NAME: "messages[3].name"},
        extra=frozenset({"trace"}),
        extra_hints=frozenset({"trace"}),
    )
    attempt = planned(row, needs=needs).attempts[0]
    assert attempt.ignored == ("messages.name", "metadata", "trace", "user")


def test_require_parameters_makes_hints_bind() -> None:
    row = endpoint(expressible=without(Field.METADATA))
    strict = Preferences(require_parameters=True)
    rejection = only_rejection(planned(row, needs=asks(metadata="metadata"), preferences=strict))
    assert (rejection.filter, rejection.paths) == (Filter.REQUIRE_PARAMETERS, ("metadata",))
    assert slugs(planned(row, needs=asks(seed="seed"), preferences=strict)) == ["alpha"]


def test_an_extra_field_needs_a_provider_that_takes_it() -> None:
    takes = endpoint(provider("a", passthrough=["top_k"]))
    knows_not = endpoint("b")
    result = planned(takes, knows_not, needs=Needs(extra=frozenset({"top_k"})))
    assert slugs(result) == ["a"]
    assert result.attempts[0].ignored == ()
    assert (only_rejection(result).filter, only_rejection(result).paths) == (Filter.EXTRA, ("top_k",))


def test_parts_of_a_dialect_go_only_where_it_is_spoken() -> None:
    claude = endpoint(provider("a", dialect="anthropic"))
    other = endpoint("b")
    result = planned(claude, other, needs=Needs(dialects={"anthropic": "messages[0].content[0]"}))
    assert slugs(result) == ["a"]
    assert only_rejection(result).filter is Filter.DIALECT
    assert only_rejection(result).paths == ("messages[0].content[0]",)


def test_an_endpoint_whose_longest_answer_is_shorter_than_asked_for_is_left_to_others() -> None:
    rows = [
        dataclasses.replace(endpoint("short", price="1"), max_output_tokens=256),
        dataclasses.replace(endpoint("long", price="2"), max_output_tokens=4096),
        endpoint("silent", price="3"),
    ]
    needs = Needs(fields={Field.MAX_OUTPUT_TOKENS: "max_tokens"}, max_output_tokens=257)
    result = planned(*rows, needs=needs)
    assert slugs(result) == ["long", "silent"]
    rejection = only_rejection(result)
    assert (rejection.filter, rejection.paths) == (Filter.FIELD, ("max_tokens",))
    assert rejection.message == "writes at most 256 tokens; max_tokens asks for 257"
    fits = dataclasses.replace(needs, max_output_tokens=256)
    assert slugs(planned(*rows, needs=fits)) == ["short", "long", "silent"]


# --- tools that an endpoint can't run ---

CUSTOM = Needs(fields={Field.TOOLS: "tools", Field.CUSTOM_TOOLS: "tools[1]", Field.LOCAL_TOOLS: "tools[2]"})
SERVER = Needs(server_tools={"tools[1]": "openai_responses", "input[3]": "openai_responses"})
NATIVE = provider("native", dialect="openai_responses")


def test_a_tool_that_becomes_a_function_neither_rejects_nor_is_ignored() -> None:
    attempt = planned(endpoint(expressible=without(Field.CUSTOM_TOOLS, Field.LOCAL_TOOLS)), needs=CUSTOM).attempts[
        0
    ]
    assert attempt.ignored == ()


def test_without_functions_there_is_no_bridge() -> None:
    row = endpoint(expressible=without(Field.CUSTOM_TOOLS, Field.TOOLS))
    rejection = only_rejection(planned(row, needs=CUSTOM))
    assert (rejection.filter, rejection.paths) == (Filter.FIELD, ("tools", "tools[1]"))


def test_require_parameters_makes_bridged_tools_bind() -> None:
    row = endpoint(expressible=without(Field.CUSTOM_TOOLS))
    rejection = only_rejection(planned(row, needs=CUSTOM, preferences=Preferences(require_parameters=True)))
    assert (rejection.filter, rejection.paths) == (Filter.REQUIRE_PARAMETERS, ("tools[1]",))
    assert slugs(planned(endpoint(), needs=CUSTOM, preferences=Preferences(require_parameters=True))) == ["alpha"]


def test_a_grammar_is_ignored_where_its_tool_becomes_a_function() -> None:
    needs = Needs(
        fields={**CUSTOM.fields, Field.CUSTOM_GRAMMAR: "tools[1].custom.format.grammar"},
    )
    for lost in (Field.CUSTOM_TOOLS, Field.CUSTOM_GRAMMAR):
        attempt = planned(endpoint(expressible=without(lost)), needs=needs).attempts[0]
        assert attempt.ignored == ("tools.custom.format.grammar",)
    assert planned(endpoint(), needs=needs).attempts[0].ignored == ()


def test_tools_that_a_provider_runs_are_left_out_elsewhere_and_named_with_their_place() -> None:
    result = planned(endpoint("a", price="0"), endpoint(NATIVE, price="9"), needs=SERVER)
    assert [(a.endpoint.provider.slug, a.ignored) for a in result.attempts] == [
        ("native", ()),
        ("a", ("input[3]", "tools[1]")),
    ]


def test_a_row_that_refuses_them_has_no_tools_of_its_own() -> None:
    row = endpoint(NATIVE, expressible=without(Field.OPAQUE_TOOLS))
    assert planned(row, needs=SERVER).attempts[0].ignored == ("input[3]", "tools[1]")


def test_require_parameters_makes_tools_that_a_provider_runs_bind() -> None:
    result = planned(
        endpoint("a"), endpoint(NATIVE), needs=SERVER, preferences=Preferences(require_parameters=True)
    )
    assert slugs(result) == ["native"]
    rejection = only_rejection(result)
    assert (rejection.filter, rejection.paths) == (Filter.REQUIRE_PARAMETERS, ("input[3]", "tools[1]"))


def test_whoever_leaves_out_fewer_tools_comes_first_within_a_model_and_after_the_callers_own_order() -> None:
    chat = endpoint("a", price="1")
    native = endpoint(NATIVE, price="9")
    part = endpoint(provider("part", dialect="openai_chat"), price="5")
    needs = Needs(server_tools={"tools[0]": "openai_responses", "tools[1]": "openai_chat"})
    other = endpoint(provider("other", dialect="anthropic"), price="0")
    rows = (other, chat, part, native)
    assert slugs(planned(*rows, needs=needs)) == ["a", "part", "native", "other"]
    assert slugs(planned(*rows, needs=needs, preferences=Preferences(sort="price"))) == [
        "other",
        "a",
        "part",
        "native",
    ]
    assert slugs(planned(*rows, needs=needs, preferences=Preferences(order=("other", "native")))) == [
        "other",
        "native",
        "a",
        "part",
    ]
    speeds = FixedHealth(latencies={other.id: 0.1})
    fast = planned(*rows, needs=needs, health=speeds, preferences=Preferences(sort="latency"))
    assert slugs(fast) == ["other", "a", "part", "native"]


def test_tools_that_would_be_left_out_never_bring_a_later_model_forward() -> None:
    first = model("v/one", endpoint("a", model="v/one"))
    second = model("v/two", endpoint(NATIVE, model="v/two"))
    result = planned(wanted=(WantedModel(first), WantedModel(second)), needs=SERVER)
    assert [a.model for a in result.attempts] == ["v/one", "v/two"]


def test_attempts_beyond_the_cap_are_kept_in_order_unless_fallbacks_are_forbidden() -> None:
    rows = (endpoint("a"), endpoint("b"), endpoint("c"))
    assert [a.endpoint.provider.slug for a in planned(*rows, max_attempts=1).beyond_cap] == ["b", "c"]
    assert planned(*rows, max_attempts=3).beyond_cap == ()
    assert planned(*rows, preferences=Preferences(allow_fallbacks=False)).beyond_cap == ()


# --- the three kinds of no endpoint ---


def error_of(result: Plan, needs: Needs | None = None) -> tuple[Reason, dict[str, str], Mapping[str, str]]:
    assert result.attempts == ()
    error = no_endpoint_error(result, needs or Needs(), NOW)
    assert len(error.endpoints) == len(result.rejected)
    return error.reason, {v.path: v.message for v in error.violations}, dict(error.endpoints)


def test_only_a_field_in_the_way_is_the_callers_to_mend() -> None:
    needs = asks(seed="seed")
    reason, violations, endpoints = error_of(
        planned(endpoint(expressible=without(Field.SEED)), needs=needs), needs
    )
    assert reason is Reason.UNSUPPORTED_FIELD
    assert list(violations) == ["seed"]
    assert "leave it out" in violations["seed"]
    assert endpoints == {"alpha/vendor/model": "can't express seed"}


def test_an_answer_longer_than_anybody_writes_is_the_callers_to_mend_and_the_most_is_named() -> None:
    rows = [dataclasses.replace(endpoint(slug), max_output_tokens=most) for slug, most in (("a", 256), ("b", 512))]
    needs = Needs(fields={Field.MAX_OUTPUT_TOKENS: "max_completion_tokens"}, max_output_tokens=1000)
    reason, violations, _ = error_of(planned(*rows, needs=needs), needs)
    assert reason is Reason.UNSUPPORTED_FIELD
    assert "at most 512" in violations["max_completion_tokens"]


def test_an_extra_that_nobody_takes_is_an_unknown_field() -> None:
    needs = Needs(extra=frozenset({"temprature"}))
    reason, violations, _ = error_of(planned(endpoint("a"), endpoint("b"), needs=needs), needs)
    assert reason is Reason.UNKNOWN_FIELD
    assert list(violations) == ["temprature"]


def test_an_extra_that_an_allowed_provider_takes_is_only_unsupported() -> None:
    needs = Needs(fields={Field.SEED: "seed"}, extra=frozenset({"top_k"}))
    takes = endpoint(provider("a", passthrough=["top_k"]), expressible=without(Field.SEED))
    reason, violations, _ = error_of(planned(takes, endpoint("b"), needs=needs), needs)
    assert reason is Reason.UNSUPPORTED_FIELD
    assert set(violations) == {"seed", "top_k"}


def test_a_field_wins_over_policy_when_leaving_it_out_would_mend_the_call() -> None:
    needs = asks(seed="seed")
    american = endpoint(provider("b", facts=AMERICAN))
    result = planned(
        endpoint("a", expressible=without(Field.SEED)),
        american,
        needs=needs,
        preferences=Preferences(data_residency="eu"),
    )
    reason, violations, endpoints = error_of(result, needs)
    assert reason is Reason.UNSUPPORTED_FIELD
    assert "a/vendor/model" in violations["seed"]
    assert endpoints["b/vendor/model"] == "processes in us; eu asked"


def test_policy_it_is_when_the_endpoint_without_the_field_is_not_allowed_either() -> None:
    needs = asks(seed="seed")
    row = endpoint(provider(facts=AMERICAN), expressible=without(Field.SEED))
    reason, violations, _ = error_of(
        planned(row, needs=needs, preferences=Preferences(data_residency="eu")), needs
    )
    assert reason is Reason.NO_ENDPOINT_ALLOWED
    assert violations == {}


def test_an_endpoint_that_only_cools_wins_over_everything_and_says_when() -> None:
    needs = asks(seed="seed")
    rows = [endpoint("a"), endpoint("b"), endpoint("c", expressible=without(Field.SEED))]
    health = FixedHealth(cooling={"a/vendor/model": NOW + 20, "b/vendor/model": NOW + 5})
    result = planned(*rows, needs=needs, health=health)
    error = no_endpoint_error(result, needs, NOW)
    assert error.reason is Reason.NO_ENDPOINT_AVAILABLE
    assert error.retry_after == 5
    assert error.may_retry


def test_no_provider_configured_is_not_the_callers_fault_and_not_worth_a_retry() -> None:
    result = planned(endpoint(provider(status=ProviderStatus.NOT_CONFIGURED)))
    error = no_endpoint_error(result, Needs(), NOW)
    assert error.reason is Reason.NO_ENDPOINT_ALLOWED
    assert not error.may_retry
    assert "is not configured here" in error.message


def test_free_only_without_a_free_endpoint_is_policy() -> None:
    assert error_of(planned(endpoint(), variant="free"))[0] is Reason.NO_ENDPOINT_ALLOWED
