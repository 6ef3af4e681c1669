"""Holding answers to a caller's schema: exact numbers, bounded work, nothing fetched."""

from __future__ import annotations

import json
import time
from typing import Any, Never

import pytest

from service import structured
from service.domain.errors import Reason, ServiceError
from service.structured import SchemaCheck


def complaint(schema: object, text: str) -> str | None:
    return SchemaCheck(json.dumps(schema))(text)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "number", "multipleOf": 0.01}, "19.99"),
        ({"type": "number", "multipleOf": 1e-7}, "123456789.1234567"),
        ({"type": "integer", "multipleOf": 7}, "700000000000000000000000000000000000000"),
        ({"type": "integer"}, "1.0"),
        ({"type": "integer"}, "1e400"),
        ({"maximum": 0.3}, "0.3"),
        ({"enum": [1.0, "x"]}, "1"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}}, '{"a":{"a":{}}}'),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "null"}]}, "[null]"),
        ({"type": "array", "uniqueItems": True}, "[1, 2, true]"),
        ({"format": "email"}, '"no address"'),
    ],
)
def test_json_that_matches_is_without_complaint(schema: object, text: str) -> None:
    assert complaint(schema, text) is None


@pytest.mark.parametrize(
    ("schema", "text", "where"),
    [
        ({"type": "number", "multipleOf": 0.01}, "19.991", "multipleOf"),
        ({"type": "integer"}, "1.5", "type"),
        ({"type": "integer"}, "true", "type"),
        ({"const": True}, "1", "const"),
        ({"type": "array", "uniqueItems": True}, "[{}, [], {}]", "uniqueItems"),
        ({"properties": {"a": {"minimum": 3}}}, '{"a":2}', "properties/a/minimum"),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "null"}]}, "[1]", "items/0"),
    ],
)
def test_json_that_does_not_match_is_told_by_its_place_in_the_schema(
    schema: object, text: str, where: str
) -> None:
    assert where in (complaint(schema, text) or "")


@pytest.mark.parametrize("text", ["", "{", "NaN", "[Infinity]", "{'a':1}", "1 2", "1e99999999999999999999"])
def test_what_is_no_json_is_told_so(text: str) -> None:
    assert complaint({}, text) == "is no JSON"


@pytest.mark.parametrize("schema", [{"type": "nope"}, {"properties": {"a": {"type": 3}}}, {"required": "a"}])
def test_what_is_no_schema_is_refused_by_its_path_before_anything_is_sent(schema: object) -> None:
    with pytest.raises(ServiceError) as caught:
        SchemaCheck(json.dumps(schema)).prepare()
    assert caught.value.reason is Reason.INVALID_REQUEST
    assert caught.value.violations[0].path.startswith("response_format.json_schema.schema.")


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"$ref": "http://127.0.0.1:9/a"}, "none is fetched"),
        ({"$ref": "file:///etc/passwd"}, "none is fetched"),
        ({"$ref": "other.json"}, "none is fetched"),
        ({"pattern": "(a+)+$"}, "regular expressions"),
        ({"patternProperties": {"(a+)+$": {}}}, "regular expressions"),
        ({"unevaluatedProperties": False}, "unevaluatedProperties"),
    ],
)
def test_what_nobody_here_judges_is_refused_before_anything_is_sent(schema: object, why: str) -> None:
    with pytest.raises(ServiceError) as caught:
        SchemaCheck(json.dumps(schema)).prepare()
    assert caught.value.reason is Reason.INVALID_REQUEST
    assert why in caught.value.message


def test_a_check_that_breaks_is_an_answer_that_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_schema: object, _value: object) -> Never:
        raise KeyError("secret")

    monkeypatch.setattr(structured, "complaint", breaks)
    assert complaint({}, '"secret"') == "can't be checked against the schema (KeyError)"


def doubling(levels: int) -> dict[str, Any]:
    """A schema whose check takes 2 ** levels steps."""
    definitions: dict[str, Any] = {"a0": {"type": "integer"}}
    for level in range(1, levels):
        definitions[f"a{level}"] = {"allOf": [{"$ref": f"#/$defs/a{level - 1}"}] * 2}
    return {"$ref": f"#/$defs/a{levels - 1}", "$defs": definitions}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (doubling(40), "1"),
        ({"$ref": "#"}, "1"),
        ({"items": {"$ref": "#"}}, "[" * 900 + "]" * 900),
        ({"uniqueItems": True}, json.dumps([[number] for number in range(500_000)])),
        ({"items": {"enum": list(range(5000))}}, json.dumps([-1] * 5000)),
        ({"multipleOf": 3}, "1e9999999"),
    ],
)
def test_a_check_that_would_take_for_ever_is_given_up(schema: dict[str, Any], text: str) -> None:
    begun = time.monotonic()
    assert complaint(schema, text) is not None
    assert time.monotonic() - begun < 20
