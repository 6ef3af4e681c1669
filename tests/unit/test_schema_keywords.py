"""What keywords mean, against an implementation of JSON Schema by others, and that every judgement ends soon."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft201909Validator, Draft202012Validator

from service.domain.json_schema import SchemaError, exact, read
from service.domain.schema_check import UncheckedValueError
from service.domain.schema_keywords import complaint
from tests.unit.test_json_schema import DRAFT_07, DRAFT_2019_09, DRAFT_2020_12

OTHERS: dict[str, Any] = {
    DRAFT_07: Draft7Validator,
    DRAFT_2019_09: Draft201909Validator,
    DRAFT_2020_12: Draft202012Validator,
}


def where(schema: object, value: object) -> str | None:
    text = value if isinstance(value, str) else json.dumps(value)
    failed = complaint(read(json.dumps(schema)), json.loads(text, parse_float=exact))
    return None if failed is None else "/".join(failed)


@pytest.mark.parametrize(
    ("schema", "good", "bad", "place"),
    [
        ({"enum": [{"a": 1.0, "b": [True]}]}, '{"b":[true],"a":1}', '{"b":[1],"a":1}', "enum"),
        ({"const": 10}, "1e1", "true", "const"),
        ({"const": 0}, "-0.0", "false", "const"),
        ({"enum": ["1", 1, None]}, "1.00", '"null"', "enum"),
        ({"uniqueItems": True}, '[1, true, "1", [1], {"a":1}]', '[{"a":1,"b":2},{"b":2.0,"a":1}]', "uniqueItems"),
        ({"minimum": 0.3}, "0.3", "0.2999999999999999999", "minimum"),
        ({"exclusiveMaximum": 1}, "0.99999999999999999999", "1.0", "exclusiveMaximum"),
        ({"maxLength": 1}, '"\\ud83d\\ude00"', '"ab"', "maxLength"),
        ({"prefixItems": [True, {"type": "null"}], "items": False}, "[1,null]", "[1,1]", "prefixItems/1/type"),
        ({"contains": {"const": 1}, "maxContains": 1}, "[1,2]", "[1,1]", "contains"),
        ({"dependentRequired": {"a": ["b"]}}, '{"b":1}', '{"a":1}', "dependentRequired"),
        ({"if": {"const": 1}, "then": False, "else": {"type": "string"}}, '"x"', "1", "if/then"),
        ({"oneOf": [{"minimum": 1}, {"maximum": 1}]}, "2", "1", "oneOf"),
        ({"propertyNames": {"maxLength": 1}}, '{"a":1}', '{"ab":1}', "propertyNames/maxLength"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}}, "null", "1", "$ref/type"),
    ],
)
def test_a_keyword_means_what_the_specification_says(schema: object, good: str, bad: str, place: str) -> None:
    assert where(schema, good) is None
    assert where(schema, bad) == place


# --- against another implementation ---

_NAMES = st.sampled_from(["a", "b", "c"])
_NUMBERS = st.integers(-3, 3) | st.sampled_from([Decimal("0.5"), Decimal("1.0"), Decimal("-2.50")])
_VALUES = st.recursive(
    st.none() | st.booleans() | _NUMBERS | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)
_COUNTS = st.integers(0, 3)
_TYPES = st.sampled_from(["null", "boolean", "object", "array", "number", "string", "integer"])
_REFERENCES = st.sampled_from(["#/$defs/a", "#/$defs/b"])


def _keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    named = st.dictionaries(_NAMES, inner, max_size=3)
    known: dict[str, st.SearchStrategy[Any]] = {
        "type": _TYPES | st.lists(_TYPES, min_size=1, max_size=3, unique=True),
        "enum": st.lists(_VALUES, min_size=1, max_size=3),
        "const": _VALUES,
        "required": st.lists(_NAMES, max_size=2, unique=True),
        "dependentRequired": st.dictionaries(_NAMES, st.lists(_NAMES, max_size=2, unique=True), max_size=2),
        "multipleOf": st.sampled_from([1, 2, Decimal("0.5")]),
        "uniqueItems": st.booleans(),
        "items": inner | several,
        "$ref": _REFERENCES,
        "additionalItems": inner,
        "additionalProperties": inner,
        "contains": inner,
        "propertyNames": inner,
        "not": inner,
        "if": inner,
        "then": inner,
        "else": inner,
        "prefixItems": several,
        "allOf": several,
        "anyOf": several,
        "oneOf": several,
        "properties": named,
        "dependentSchemas": named,
    }
    counts = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
    known |= dict.fromkeys((*counts, "minContains", "maxContains"), _COUNTS)
    known |= dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _NUMBERS)

    def of(keys: list[str]) -> st.SearchStrategy[dict[str, Any]]:
        return st.fixed_dictionaries({key: known[key] for key in keys})

    return st.lists(st.sampled_from(sorted(known)), max_size=4, unique=True).flatmap(of)


_SCHEMAS = st.recursive(st.booleans() | _keywords(st.booleans()), _keywords, max_leaves=5)
_SIMPLE = st.booleans() | st.fixed_dictionaries({"type": _TYPES})


@settings(max_examples=600, deadline=None)
@given(_SCHEMAS, _SIMPLE, _SIMPLE, _VALUES, st.sampled_from(sorted(OTHERS)))
def test_others_come_to_the_same_judgement(top: object, a: object, b: object, value: object, dialect: str) -> None:
    assume(isinstance(top, dict))
    schema = {**top, "$schema": dialect, "$defs": {"a": a, "b": b}}  # type: ignore[dict-item]
    text = json.dumps(schema, default=float)
    try:
        ours = read(text)
    except SchemaError:
        assume(False)
    stated = json.loads(json.dumps(value, default=float), parse_float=exact)
    theirs = OTHERS[dialect](json.loads(text, parse_float=exact)).is_valid(_whole(stated))
    assert (complaint(ours, stated) is None) == theirs


def _whole(value: object) -> object:
    """Whole decimals as integers: the other implementation takes none for one."""
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    return int(value) if isinstance(value, Decimal) and value == value.to_integral_value() else value


# --- every judgement ends ---


def doubling(last: object, levels: int = 40) -> dict[str, Any]:
    """A schema that asks 2 ** levels times whether a value matches `last`."""
    definitions: dict[str, Any] = {"a0": last}
    for level in range(1, levels):
        definitions[f"a{level}"] = {"allOf": [{"$ref": f"#/$defs/a{level - 1}"}] * 2}
    return {"$ref": f"#/$defs/a{levels - 1}", "$defs": definitions}


NUMBERS = list(range(9000))
NAMES = [str(number) for number in NUMBERS[:5000]]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (doubling({"type": "integer"}), "1"),
        (doubling({"const": [NUMBERS]}), json.dumps([NUMBERS])),
        (doubling({"enum": [NUMBERS]}), json.dumps(NUMBERS)),
        (doubling({"required": NAMES}), json.dumps(dict.fromkeys(NAMES, 0))),
        (doubling({"uniqueItems": True}), json.dumps([[number] for number in range(5000)])),
        (doubling({"items": True}), json.dumps([0] * 100_000)),
        (doubling({"anyOf": [{"items": {"type": "null"}}, True]}), json.dumps([0] * 1_000_000)),
        (doubling({"multipleOf": 1e-300}), "1" * 999),
        (doubling({"not": {"additionalProperties": {"type": "null"}}}), json.dumps(dict.fromkeys("ab", 1))),
        (doubling({f"x{number}": 0 for number in range(5000)}), "1"),
        ({"uniqueItems": True}, json.dumps([[*([0] * 100), number] for number in range(5000)])),
    ],
)
def test_a_judgement_ends_however_much_work_is_asked_for(schema: object, value: str) -> None:
    ours, stated = read(json.dumps(schema)), json.loads(value, parse_float=exact)
    begun = time.process_time()
    with pytest.raises(UncheckedValueError):
        complaint(ours, stated)
    assert time.process_time() - begun < 5


def test_numbers_that_hash_alike_in_python_are_told_apart_as_soon_as_others() -> None:
    colliding = json.dumps([number * (2**61 - 1) for number in range(1, 20_000)])
    begun = time.process_time()
    assert where({"uniqueItems": True}, colliding) is None
    assert time.process_time() - begun < 2


def test_a_reference_to_itself_that_goes_nowhere_ends() -> None:
    with pytest.raises(RecursionError):
        where({"$ref": "#"}, "1")
