"""Reading a caller's JSON Schema: what of it is judged, where references lead, in time that its length bounds."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.asked_schema import AskedSchema
from service.domain.json_schema import MAX_SCHEMA, MalformedSchemaError, SchemaError, UncheckedSchemaError, read

DRAFT_07 = "http://json-schema.org/draft-07/schema#"
DRAFT_2019_09 = "https://json-schema.org/draft/2019-09/schema"
DRAFT_2020_12 = "https://json-schema.org/draft/2020-12/schema"
FOREIGN: dict[str, Any] = {"$schema": DRAFT_07, "pattern": "^(a+)+$"}


def malformed(schema: object) -> str:
    with pytest.raises(MalformedSchemaError) as caught:
        read(json.dumps(schema))
    return "/".join(caught.value.path)


def unchecked(schema: object) -> str:
    with pytest.raises(UncheckedSchemaError) as caught:
        read(schema if isinstance(schema, str) else json.dumps(schema))
    return caught.value.why


@pytest.mark.parametrize(
    ("reference", "beside"),
    [
        ("#/default", {"default": FOREIGN}),
        ("#/const", {"const": FOREIGN}),
        ("#/enum/0", {"enum": [FOREIGN]}),
        ("#/examples/0", {"examples": [FOREIGN]}),
        ("#/x-own", {"x-own": FOREIGN}),
        ("#/required", {"required": ["a"]}),
        ("#/required/0", {"required": ["a"]}),
        ("#/required/x", {"required": ["a"]}),
        ("#/description", {"description": "x"}),
        ("#/properties", {}),
        ("#/$defs", {"$defs": {"b": {}}}),
        ("#/allOf/1", {"allOf": [{}]}),
        ("#/allOf/00", {"allOf": [{}]}),
        ("#/nowhere", {}),
        ("#not", {"not": {}}),
        ("#a", {"$defs": {"a": {"$anchor": "a"}}}),
    ],
)
def test_a_reference_leads_to_a_schema_or_is_refused_by_its_place(reference: str, beside: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": reference}}, **beside}
    assert malformed(schema) == "properties/a/$ref"


@pytest.mark.parametrize(
    "reference",
    [
        "#",
        "#/$defs/a~1b",
        "#/$defs/a%7E1b",
        "#/%24defs/a~1b",
        "#/$defs/c/items",
        "#/anyOf/1",
        "#/properties/a/not",
    ],
)
def test_a_reference_may_lead_to_any_part_that_is_a_schema(reference: str) -> None:
    schema = {
        "properties": {"a": {"not": False}},
        "anyOf": [{"$ref": reference}, True],
        "$defs": {"a/b": {}, "c": {"items": {}}},
    }
    assert reference in read(json.dumps(schema)).targets


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"type": "nope"}, "type"),
        ({"type": []}, "type"),
        ({"type": ["null", "null"]}, "type"),
        ({"required": "a"}, "required"),
        ({"required": ["a", "a"]}, "required"),
        ({"properties": []}, "properties"),
        ({"properties": {"a": {"items": 3}}}, "properties/a/items"),
        ({"items": [{}]}, "items"),
        ({"allOf": []}, "allOf"),
        ({"enum": 1}, "enum"),
        ({"multipleOf": 0}, "multipleOf"),
        ({"minLength": -1}, "minLength"),
        ({"minLength": 1.5}, "minLength"),
        ({"maximum": True}, "maximum"),
        ({"exclusiveMinimum": True}, "exclusiveMinimum"),
        ({"uniqueItems": 1}, "uniqueItems"),
        ({"dependentRequired": {"a": "b"}}, "dependentRequired"),
        ({"$ref": 1}, "$ref"),
    ],
)
def test_what_is_no_schema_is_told_by_its_place(schema: object, place: str) -> None:
    assert malformed(schema) == place


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"default": FOREIGN, "properties": {"a": FOREIGN}}, "regular expressions (pattern)|several dialects"),
        ({"items": {"$schema": DRAFT_2020_12}}, "several dialects"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "not known here"),
        ({"$schema": "https://example.com/own"}, "not known here"),
        ({"$schema": {}}, "not known here"),
        ({"unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"dependencies": {"a": ["b"]}}, "dependencies"),
        ('{"maximum":' + "1" * 5000 + "}", "not read here"),
        ('{"maximum":1.' + "1" * 5000 + "}", "not read here"),
        ('{"maximum":1e99999999999999999999}', "not read here"),
        ('{"not":' * 2000 + "{}" + "}" * 2000, "deeper than"),
        ('{"not":' * 70 + "{}" + "}" * 70, "deeper than"),
    ],
)
def test_what_nobody_here_judges_is_told_so(schema: object, why: str) -> None:
    told = unchecked(schema)
    assert any(each in told for each in why.split("|"))
    assert AskedSchema(schema if isinstance(schema, str) else json.dumps(schema)).obstacle == told


def test_keywords_of_another_dialect_are_notes() -> None:
    old = {"$schema": DRAFT_07, "minContains": "x", "dependentRequired": 1, "prefixItems": 1, "items": [{}]}
    assert read(json.dumps(old)).targets == {}
    assert read(json.dumps({"additionalItems": 1})).targets == {}
    assert malformed({"$schema": DRAFT_2019_09, "additionalItems": 1}) == "additionalItems"


@pytest.mark.parametrize(
    "schema",
    [
        {"$schema": DRAFT_07, "properties": {"a": {"enum": [{"a": number} for number in range(5500)]}}},
        {"required": [{"a": number} for number in range(5500)]},
        {"required": [f"{number}" for number in range(7000)]},
        {"allOf": [{}] * 20_000},
        {"$defs": {f"{number}": {"$ref": f"#/$defs/{number}"} for number in range(1800)}},
    ],
)
def test_reading_takes_time_that_grows_with_the_length_alone(schema: object) -> None:
    text = json.dumps(schema, separators=(",", ":"))
    assert MAX_SCHEMA * 0.7 < len(text) <= MAX_SCHEMA
    begun = time.process_time()
    AskedSchema(text).obstacle  # noqa: B018 - it is the work
    assert time.process_time() - begun < 1


_WORDS = st.sampled_from(
    ["$ref", "$schema", "type", "enum", "items", "properties", "required", "allOf", "not", "const", "default", "#"]
)
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | _WORDS | st.sampled_from(["#/items", "#/const", "object"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=20,
)


@given(_ANYTHING)
def test_any_json_is_a_schema_or_a_refusal(value: object) -> None:
    try:
        schema = read(json.dumps(value))
    except SchemaError:
        return
    assert isinstance(schema.root, dict | bool)
    assert all(isinstance(target, dict | bool) for target in schema.targets.values())
