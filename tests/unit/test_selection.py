"""From names and preferences to wanted models and one policy."""

from __future__ import annotations

from typing import Any

import pytest

from service.domain.catalog import Alias, Catalog, Rule
from service.domain.errors import Reason, ServiceError
from service.domain.preferences import Floor, Policy, Preferences
from service.domain.selection import Selection, select
from tests.support.catalogs import catalog, endpoint, model

RULE_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
OFF_ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"

RULES = (
    Rule(RULE_ID, "european", models=("mistral/small", "meta/llama3:8b"), preferences=Preferences(sort="latency")),
    Rule("1b4e28ba-2fa1-11d2-883f-0016d3cca427", "one model", model="mistral/small", models=("meta/llama3:8b",)),
    Rule("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "only wishes", preferences=Preferences(eu_owned=True)),
    Rule(OFF_ID, "off", enabled=False, model="mistral/small"),
)
ALIASES = (
    Alias("fast", ("mistral/small:nitro", "openai/gpt"), Preferences(data_residency="EU", sort="price")),
    Alias("frugal", ("meta/llama3:8b",), Preferences(sort="price")),
    Alias("french", ("mistral/small",), Preferences(data_residency="fr")),
)


def rows() -> Catalog:
    names = ("mistral/small", "openai/gpt", "meta/llama3:8b", "azure/gpt", "mistral/Large")
    return catalog(
        *(model(name, endpoint("alpha", model=name), endpoint("beta", model=name)) for name in names),
        rules=RULES,
        aliases=ALIASES,
    )


def chosen(**changed: Any) -> Selection:
    routing: dict[str, Any] = {
        "model": None,
        "models": (),
        "rule_id": None,
        "rule_name": None,
        "preferences": Preferences(),
        "floor": Floor(),
    }
    return select(rows(), **(routing | changed))


def wanted(**changed: Any) -> list[tuple[str, str]]:
    return [(item.model.id, item.variant) for item in chosen(**changed).wanted]


def refused(**changed: Any) -> tuple[Reason, dict[str, str]]:
    with pytest.raises(ServiceError) as caught:
        chosen(**changed)
    return caught.value.reason, {v.path: v.message for v in caught.value.violations}


@pytest.mark.parametrize("name", ["mistral/small", "small", "MISTRAL/Small", "SMALL"])
def test_a_model_resolves_by_id_and_bare_name_in_any_case(name: str) -> None:
    assert wanted(model=name) == [("mistral/small", "")]


@pytest.mark.parametrize("variant", ["floor", "nitro", "free"])
def test_a_suffix_asks_for_a_variant(variant: str) -> None:
    assert wanted(model=f"small:{variant}") == [("mistral/small", variant)]
    assert wanted(model=f"mistral/Large:{variant.upper()}") == [("mistral/Large", variant)]


def test_a_colon_in_a_models_own_id_is_no_variant() -> None:
    assert wanted(model="meta/llama3:8b") == [("meta/llama3:8b", "")]
    assert wanted(model="llama3:8b:floor") == [("meta/llama3:8b", "floor")]


def test_model_comes_before_models_and_repetitions_are_dropped() -> None:
    names = ("openai/gpt", "small", "mistral/small:floor", "openai/gpt")
    assert wanted(model="mistral/small", models=names) == [("mistral/small", ""), ("openai/gpt", "")]


def test_after_free_only_the_plain_name_still_adds_something() -> None:
    assert wanted(models=("small:free", "small", "small:floor")) == [
        ("mistral/small", "free"),
        ("mistral/small", ""),
    ]
    assert wanted(models=("small:free", "small:free")) == [("mistral/small", "free")]


def test_an_unknown_model_is_named_with_close_ones() -> None:
    reason, violations = refused(model="small", models=("openai/gpt", "mistral/smal"))
    assert reason is Reason.MODEL_NOT_FOUND
    assert list(violations) == ["models[1]"]
    assert "did you mean mistral/small" in violations["models[1]"]


def test_an_unknown_variant_is_told_as_such() -> None:
    reason, violations = refused(model="mistral/small:turbo")
    assert reason is Reason.MODEL_NOT_FOUND
    assert ":floor, :free, :nitro" in violations["model"]


def test_an_ambiguous_bare_name_lists_the_ids() -> None:
    reason, violations = refused(model="gpt")
    assert reason is Reason.MODEL_NOT_FOUND
    assert "azure/gpt, openai/gpt" in violations["model"]


def test_a_huge_name_is_refused_without_being_repeated() -> None:
    _, violations = refused(model="x" * 1_000_000)
    assert len(violations["model"]) < 300


def test_a_request_without_any_model_is_told_how_to_name_one() -> None:
    for changed in ({}, {"rule_name": "only wishes"}):
        reason, violations = refused(**changed)
        assert reason is Reason.INVALID_REQUEST
        assert "name a model" in violations["model"]


def test_a_rule_brings_models_and_preferences() -> None:
    selection = chosen(rule_id=RULE_ID.upper())
    assert [item.model.id for item in selection.wanted] == ["mistral/small", "meta/llama3:8b"]
    assert selection.policy.preferences == Preferences(sort="latency")
    assert selection.rule is not None
    assert selection.rule.name == "european"


def test_rule_id_wins_over_rule_name() -> None:
    assert wanted(rule_id=RULE_ID, rule_name="no such rule") == [("mistral/small", ""), ("meta/llama3:8b", "")]


def test_a_requests_models_win_over_the_rules_field_by_field() -> None:
    assert wanted(rule_name="one model") == [("mistral/small", ""), ("meta/llama3:8b", "")]
    assert wanted(rule_name="one model", model="openai/gpt") == [("openai/gpt", ""), ("meta/llama3:8b", "")]
    assert wanted(rule_name="one model", models=("openai/gpt",)) == [("openai/gpt", "")]


def test_an_unknown_or_disabled_rule_is_not_found() -> None:
    assert refused(rule_id=OFF_ID)[0] is Reason.RULE_NOT_FOUND
    assert list(refused(rule_id=OFF_ID)[1]) == ["rule_id"]
    reason, violations = refused(rule_name="europaen")
    assert reason is Reason.RULE_NOT_FOUND
    assert "did you mean european" in violations["rule_name"]
    assert refused(rule_name="off")[0] is Reason.RULE_NOT_FOUND


def test_preferences_merge_request_over_rule_over_alias() -> None:
    selection = chosen(
        rule_name="only wishes", model="FAST", preferences=Preferences(sort="throughput", max_retention_days=0)
    )
    assert selection.policy.preferences == Preferences(
        sort="throughput", max_retention_days=0, eu_owned=True, data_residency="eu"
    )


def test_an_alias_stands_for_its_models_in_order() -> None:
    assert wanted(model="fast") == [("mistral/small", "nitro"), ("openai/gpt", "")]
    assert wanted(model="fast:floor") == [("mistral/small", "floor"), ("openai/gpt", "floor")]


def test_aliases_that_want_different_things_are_refused_unless_the_request_decides() -> None:
    reason, violations = refused(models=("fast", "french"))
    assert reason is Reason.INVALID_REQUEST
    assert "data_residency" in violations["models[1]"]
    policy = chosen(models=("fast", "french"), preferences=Preferences(data_residency="eu")).policy
    assert policy.preferences.data_residency == "eu"
    assert chosen(models=("fast", "frugal")).policy.preferences.sort == "price"


def test_the_floor_is_passed_on_untouched() -> None:
    floor = Floor(data_residency=("eu",))
    assert chosen(model="small", floor=floor).policy == Policy(Preferences(), floor)


@pytest.mark.parametrize(
    ("preferences", "path", "words"),
    [
        (Preferences(ignore=("alhpa",)), "provider.ignore[0]", "did you mean alpha"),
        (Preferences(only=("alpha", "nobody")), "provider.only[1]", 'no provider "nobody"'),
        (Preferences(order=("béta",)), "provider.order[0]", "no provider"),
        (Preferences(quantizations=("fp8", "q4_k_m")), "provider.quantizations[1]", "int4, int8"),
        (Preferences(data_residency="europe"), "provider.data_residency", '"eu", "eea" or a country'),
        (Preferences(data_residency=""), "provider.data_residency", "is not a region"),
        (Preferences(data_residency="UK"), "provider.data_residency", 'use "gb"'),
        (Preferences(max_retention_days=-1), "provider.max_retention_days", "must be 0"),
        (Preferences(sort="cheapest"), "provider.sort", "price, latency, throughput"),  # type: ignore[arg-type]
        (Preferences(data_collection="no"), "provider.data_collection", "allow, deny"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_preference_is_told_with_its_path_and_what_would_be_right(
    preferences: Preferences, path: str, words: str
) -> None:
    reason, violations = refused(model="small", preferences=preferences)
    assert reason is Reason.INVALID_REQUEST
    assert list(violations) == [path]
    assert words in violations[path]


def test_all_wrong_preferences_are_told_at_once() -> None:
    _, violations = refused(
        model="small", preferences=Preferences(ignore=("x1", "alpha", "x2"), data_residency="?")
    )
    assert list(violations) == ["provider.ignore[0]", "provider.ignore[2]", "provider.data_residency"]


def test_slugs_and_codes_are_taken_in_any_case_and_empty_lists_ask_for_nothing() -> None:
    loose = Preferences(
        only=("Alpha",), ignore=("BETA",), order=(), quantizations=("FP8",), data_residency="EU", sort="price"
    )
    assert chosen(model="small", preferences=loose).policy.preferences == Preferences(
        only=("alpha",), ignore=("beta",), quantizations=("fp8",), data_residency="eu", sort="price"
    )


def test_an_empty_list_does_not_undo_the_rules_filter() -> None:
    rows_with_filter = catalog(
        model("v/m"), rules=[Rule(RULE_ID, "strict", model="v/m", preferences=Preferences(only=("alpha",)))]
    )
    selection = select(
        rows_with_filter,
        model=None,
        models=(),
        rule_id=None,
        rule_name="strict",
        preferences=Preferences(only=()),
        floor=Floor(),
    )
    assert selection.policy.preferences.only == ("alpha",)


def test_a_rule_that_can_not_be_used_is_told_at_the_rule() -> None:
    broken = catalog(
        model("v/m"), rules=[Rule(RULE_ID, "old", model="v/m", preferences=Preferences(ignore=("gone",)))]
    )
    with pytest.raises(ServiceError) as caught:
        select(
            broken,
            model=None,
            models=(),
            rule_id=RULE_ID,
            rule_name=None,
            preferences=Preferences(),
            floor=Floor(),
        )
    assert caught.value.violations[0].path == "rule_id"
    assert 'no provider "gone"' in caught.value.message
