"""Reads a caller's JSON Schema: its parts, where its references lead, and why it can't be held to an answer.

One walk over the text's structure, in time that grows with its length alone. How a value is judged stands in
`schema_check`. Sources: json-schema.org/draft/2020-12, /draft/2019-09 and /draft-07, "core" and "validation".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

Node: TypeAlias = dict[str, Any] | bool
"""A schema, or a part of one that is a schema, too."""

Path: TypeAlias = tuple[str, ...]
"""Keys and indexes from the top."""

MAX_SCHEMA: Final = 64 * 1024
"""Characters of a schema that is checked on our own machine."""

MAX_DEPTH: Final = 64
"""Levels of objects and lists in such a schema."""

MAX_DIGITS: Final = 1000
"""Characters of a number with a fraction or an exponent, in a schema and in an answer."""

TYPES: Final = frozenset({"null", "boolean", "object", "array", "number", "string", "integer"})
REFERENCE: Final = "$ref"


class Dialect(IntEnum):
    """Those that are judged here, in the order of their age."""

    DRAFT_07 = 7
    DRAFT_2019_09 = 2019
    DRAFT_2020_12 = 2020


_DIALECTS: Final[Mapping[object, Dialect]] = MappingProxyType(
    {
        "http://json-schema.org/draft-07/schema": Dialect.DRAFT_07,
        "https://json-schema.org/draft/2019-09/schema": Dialect.DRAFT_2019_09,
        "https://json-schema.org/draft/2020-12/schema": Dialect.DRAFT_2020_12,
    }
)
_PATTERNS: Final = "regular expressions ({}) are not checked here"
_NAMES: Final = "{} is not resolved here"
_COSTLY: Final = "{} is not checked here"
# Python's regular expressions can neither be bounded nor interrupted, and these are the caller's. Under a name, or
# where a reference is dynamic, it need not mean what it says. The rest asks what other keywords have looked at.
_UNCHECKED: Final[Mapping[str, str]] = MappingProxyType(
    dict.fromkeys(("pattern", "patternProperties"), _PATTERNS)
    | dict.fromkeys(("$id", "id", "$dynamicRef", "$recursiveRef"), _NAMES)
    | dict.fromkeys(("unevaluatedItems", "unevaluatedProperties", "dependencies"), _COSTLY)
)
_ONE: Final = frozenset(
    {"additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"}
)
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf"})
_MAPS: Final = frozenset({"$defs", "definitions", "properties"})


class SchemaError(Exception):
    """Why no answer is held to a schema; `why` is half a sentence."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class UncheckedSchemaError(SchemaError):
    """It may well be a schema, but not one that is judged here."""


class MalformedSchemaError(SchemaError):
    """It is none; `path` leads to the place."""

    def __init__(self, path: Path, why: str = "is no JSON Schema") -> None:
        super().__init__(why)
        self.path = path


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema that was read: `targets` maps each of its references to the part that it leads to."""

    root: Node
    dialect: Dialect
    targets: Mapping[str, Node]


def exact(text: str) -> Decimal:
    """A number of a JSON text.

    Raises:
        ValueError: too long.
        ArithmeticError: too large.
    """
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of more than {MAX_DIGITS} characters")
    return Decimal(text)


def read(text: str) -> Schema:
    """The schema that `text` is.

    Raises:
        UncheckedSchemaError: it has keywords, references or an extent that nobody here judges.
        MalformedSchemaError: it is none.
    """
    if len(text) > MAX_SCHEMA:
        raise UncheckedSchemaError(f"the schema is longer than {MAX_SCHEMA} characters")
    try:
        root = json.loads(text, parse_float=exact)
    except RecursionError:
        raise UncheckedSchemaError(f"the schema is nested deeper than {MAX_DEPTH} levels") from None
    except (ValueError, ArithmeticError):
        raise UncheckedSchemaError("the schema holds what is not read here") from None
    _bound(root)
    dialect = dialect_of(root)
    parts = dict(schemas(root, dialect))
    for path, part in parts.items():
        if isinstance(part, dict):
            _judge(path, part, dialect)
    return Schema(root, dialect, _targets(parts))


def dialect_of(root: object) -> Dialect:
    """The dialect that a schema names, the newest one where it names none.

    Raises:
        UncheckedSchemaError: it names one that is not known here.
    """
    name = root.get("$schema") if isinstance(root, dict) else None
    if name is None:
        return Dialect.DRAFT_2020_12
    dialect = _DIALECTS.get(name.removesuffix("#")) if isinstance(name, str) else None
    if dialect is None:
        raise UncheckedSchemaError("its dialect of JSON Schema ($schema) is not known here")
    return dialect


def schemas(root: object, dialect: Dialect) -> Iterator[tuple[Path, Node]]:
    """Each part that is a schema, the whole first, and where it stands.

    Raises:
        MalformedSchemaError: what stands in place of one is none.
    """
    found: list[tuple[Path, object]] = [((), root)]
    while found:
        path, part = found.pop()
        if not isinstance(part, dict | bool):
            raise MalformedSchemaError(path)
        yield path, part
        if isinstance(part, dict):
            for key, value in part.items():
                found += [((*path, key, *inner), each) for inner, each in _inside(path, key, value, dialect)]


def _inside(path: Path, key: str, value: object, dialect: Dialect) -> list[tuple[Path, object]]:
    """The schemas below a keyword."""
    newest, oldest = dialect is Dialect.DRAFT_2020_12, dialect is Dialect.DRAFT_07
    if key == "items" and isinstance(value, list) and not newest:
        return [((str(index),), each) for index, each in enumerate(value)]
    if key in _ONE or (key == "additionalItems" and not newest):
        return [((), value)]
    if key in _LISTS or (key == "prefixItems" and newest):
        if not isinstance(value, list) or not value:
            raise MalformedSchemaError((*path, key))
        return [((str(index),), each) for index, each in enumerate(value)]
    if key in _MAPS or (key == "dependentSchemas" and not oldest):
        if not isinstance(value, dict):
            raise MalformedSchemaError((*path, key))
        return [((name,), each) for name, each in value.items()]
    return []


def _bound(root: object) -> None:
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise UncheckedSchemaError(f"the schema is nested deeper than {MAX_DEPTH} levels")
        inner: list[object] = []
        for each in level:
            inner += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        level = inner


def _judge(path: Path, part: dict[str, Any], dialect: Dialect) -> None:
    for key, value in part.items():
        unchecked = _UNCHECKED.get(key)
        if unchecked is not None:
            raise UncheckedSchemaError(unchecked.format(key))
        if key == "$schema" and path:
            raise UncheckedSchemaError("its parts are of several dialects of JSON Schema")
        form = _FORMS.get(key)
        if form is not None and not form(value) and not (dialect is Dialect.DRAFT_07 and key in _SINCE_2019):
            raise MalformedSchemaError((*path, key))


def _targets(parts: Mapping[Path, Node]) -> dict[str, Node]:
    targets: dict[str, Node] = {}
    for path, part in parts.items():
        if not isinstance(part, dict) or REFERENCE not in part:
            continue
        reference = part[REFERENCE]
        if not reference.startswith("#"):
            raise UncheckedSchemaError("the schema refers to another document, and none is fetched")
        if reference not in targets:
            place = _pointer(reference)
            target = None if place is None else parts.get(place)
            if target is None:
                raise MalformedSchemaError((*path, REFERENCE), "leads to nothing that is a schema")
            targets[reference] = target
    return targets


def _pointer(reference: str) -> Path | None:
    """The place that a reference within the document leads to; None for an anchor's name."""
    start, *steps = unquote(reference[1:]).split("/")
    return None if start else tuple(step.replace("~1", "/").replace("~0", "~") for step in steps)


def is_number(value: object) -> bool:
    """As JSON means it: true and false are none."""
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def is_integer(value: object) -> bool:
    """1.0 is one, as the newer drafts say."""
    if isinstance(value, Decimal):
        return value == value.to_integral_value()
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return is_integer(value) and value >= 0


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value) and len({*value}) == len(value)


def _is_type(value: Any) -> bool:
    if isinstance(value, str):
        return value in TYPES
    return _are_names(value) and bool(value) and TYPES.issuperset(value)


def _are_needs(value: object) -> bool:
    return isinstance(value, dict) and all(map(_are_names, value.values()))


_SINCE_2019: Final = frozenset({"dependentRequired", "maxContains", "minContains"})
_FORMS: Final[Mapping[str, Callable[[Any], bool]]] = MappingProxyType(
    dict.fromkeys(("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum"), is_number)
    | dict.fromkeys(
        ("maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties"), _is_count
    )
    | dict.fromkeys(("maxContains", "minContains"), _is_count)
    | {
        REFERENCE: lambda value: isinstance(value, str),
        "dependentRequired": _are_needs,
        "enum": lambda value: isinstance(value, list),
        "multipleOf": lambda value: is_number(value) and value > 0,
        "required": _are_names,
        "type": _is_type,
        "uniqueItems": lambda value: isinstance(value, bool),
    }
)
