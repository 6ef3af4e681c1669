"""What the keywords of JSON Schema mean: whether a JSON value matches a schema, and where it does not.

Numbers are compared exactly; `format` and what else describes is a note, not a rule. Each keyword that looks at
more than its value pays for it in steps (`schema_check`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Context, Decimal
from types import MappingProxyType
from typing import Any, Final

from service.domain.json_schema import REFERENCE, Dialect, Node, Path, Schema, is_integer, is_number
from service.domain.schema_check import HERE, Checking, Judge, UncheckedValueError

_MAX_DIGITS: Final = 2000


def complaint(schema: Schema, value: Any) -> Path | None:
    """Where in the schema `value` fails first; None when it matches.

    Raises:
        UncheckedValueError: that takes too many steps.
        RecursionError: it is nested too deeply.
    """
    return Checking(schema, _JUDGES[schema.dialect]).failing(value, schema.root)


def _when(fails: bool) -> Path | None:
    return HERE if fails else None


_IS: Final[Mapping[str, Callable[[Any], bool]]] = MappingProxyType(
    {
        "array": lambda value: isinstance(value, list),
        "boolean": lambda value: isinstance(value, bool),
        "integer": is_integer,
        "null": lambda value: value is None,
        "number": is_number,
        "object": lambda value: isinstance(value, dict),
        "string": lambda value: isinstance(value, str),
    }
)


def _reference(checking: Checking, value: Any, told: str, _: object) -> Path | None:
    return checking.led(value, told)


def _type(_: Checking, value: Any, told: str | list[str], __: object) -> Path | None:
    return _when(not any(_IS[name](value) for name in ([told] if isinstance(told, str) else told)))


def _const(checking: Checking, value: Any, told: Any, _: object) -> Path | None:
    return _when(checking.key(value) != checking.key(told))


def _enum(checking: Checking, value: Any, told: list[Any], _: object) -> Path | None:
    return _when(checking.key(value) not in checking.keys(told))


def _multiple_of(checking: Checking, value: Any, told: Any, _: object) -> Path | None:
    """As JSON means numbers: 19.99 is a multiple of 0.01."""
    if not is_number(value):
        return None
    one, other = Decimal(value), Decimal(told)
    digits = one.adjusted() - other.adjusted() + len(other.as_tuple().digits) + len(one.as_tuple().digits)
    if digits > _MAX_DIGITS:
        raise UncheckedValueError
    checking.spend(max(digits, 0) // 10)
    return _when(bool(Context(prec=max(28, digits)).remainder(one, other)))


def _bound(of: type[list[Any] | dict[str, Any] | str] | None, fails: Callable[[Any, Any], bool]) -> Judge:
    """The judgement of numbers, or of the lengths of what is `of` a type."""

    def judge(_: Checking, value: Any, told: Any, __: object) -> Path | None:
        if of is None:
            return _when(is_number(value) and fails(value, told))
        return _when(isinstance(value, of) and fails(len(value), told))

    return judge


def _unique(checking: Checking, value: Any, told: bool, _: object) -> Path | None:
    return _when(told and isinstance(value, list) and len(set(map(checking.key, value))) < len(value))


def _required(checking: Checking, value: Any, told: list[str], _: object) -> Path | None:
    checking.spend(len(told))
    return _when(isinstance(value, dict) and not all(name in value for name in told))


def _needed(checking: Checking, value: Any, told: dict[str, list[str]], _: object) -> Path | None:
    checking.spend(len(told))
    if not isinstance(value, dict):
        return None
    present = (name for name in told if name in value)
    return next((HERE for name in present if _required(checking, value, told[name], None) is not None), None)


def _properties(checking: Checking, value: Any, told: dict[str, Node], _: object) -> Path | None:
    checking.spend(len(told))
    if not isinstance(value, dict):
        return None
    return checking.each((name, value[name], node) for name, node in told.items() if name in value)


def _other_properties(checking: Checking, value: Any, told: Node, beside: dict[str, Any]) -> Path | None:
    if not isinstance(value, dict):
        return None
    checking.spend(len(value))
    named = beside.get("properties", {})
    others = (checking.failing(each, told) for name, each in value.items() if name not in named)
    return next((failed for failed in others if failed is not None), None)


def _names(checking: Checking, value: Any, told: Node, _: object) -> Path | None:
    names = value if isinstance(value, dict) else ()
    return next((failed for name in names if (failed := checking.failing(name, told)) is not None), None)


def _dependent(checking: Checking, value: Any, told: dict[str, Node], _: object) -> Path | None:
    checking.spend(len(told))
    if not isinstance(value, dict):
        return None
    return checking.each((name, value, node) for name, node in told.items() if name in value)


def _first_items(checking: Checking, value: Any, told: list[Node], _: object) -> Path | None:
    if not isinstance(value, list):
        return None
    pairs = enumerate(zip(value, told, strict=False))
    return checking.each((str(index), each, node) for index, (each, node) in pairs)


def _items(checking: Checking, value: Any, told: Any, beside: dict[str, Any]) -> Path | None:
    return _rest(checking, value, told, len(beside.get("prefixItems", ())))


def _items_once(checking: Checking, value: Any, told: Any, beside: dict[str, Any]) -> Path | None:
    """What `prefixItems` and `items` are since 2020-12 was one keyword."""
    listed = isinstance(told, list)
    return _first_items(checking, value, told, beside) if listed else _rest(checking, value, told, 0)


def _more_items(checking: Checking, value: Any, told: Node, beside: dict[str, Any]) -> Path | None:
    first = beside.get("items")
    return _rest(checking, value, told, len(first)) if isinstance(first, list) else None


def _rest(checking: Checking, value: Any, node: Node, first: int) -> Path | None:
    rest = (value[index] for index in range(first, len(value))) if isinstance(value, list) else ()
    return next((failed for each in rest if (failed := checking.failing(each, node)) is not None), None)


def _contains(checking: Checking, value: Any, told: Node, _: object) -> Path | None:
    return _when(isinstance(value, list) and not any(checking.failing(each, told) is None for each in value))


def _contains_some(checking: Checking, value: Any, told: Node, beside: dict[str, Any]) -> Path | None:
    if not isinstance(value, list):
        return None
    found = sum(checking.failing(each, told) is None for each in value)
    return _when(not beside.get("minContains", 1) <= found <= beside.get("maxContains", found))


def _all_of(checking: Checking, value: Any, told: list[Node], _: object) -> Path | None:
    return checking.each((str(index), value, node) for index, node in enumerate(told))


def _any_of(checking: Checking, value: Any, told: list[Node], _: object) -> Path | None:
    return _when(all(checking.failing(value, node) is not None for node in told))


def _one_of(checking: Checking, value: Any, told: list[Node], _: object) -> Path | None:
    return _when(sum(checking.failing(value, node) is None for node in told) != 1)


def _not(checking: Checking, value: Any, told: Node, _: object) -> Path | None:
    return _when(checking.failing(value, told) is None)


def _if(checking: Checking, value: Any, told: Node, beside: dict[str, Any]) -> Path | None:
    then = "else" if checking.failing(value, told) is not None else "then"
    failed = checking.failing(value, beside.get(then, True))
    return None if failed is None else (then, *failed)


_ALWAYS: Final[Mapping[str, Judge]] = MappingProxyType(
    {
        "additionalProperties": _other_properties,
        "allOf": _all_of,
        "anyOf": _any_of,
        "const": _const,
        "enum": _enum,
        "exclusiveMaximum": _bound(None, lambda value, told: value >= told),
        "exclusiveMinimum": _bound(None, lambda value, told: value <= told),
        "if": _if,
        "maxItems": _bound(list, lambda length, told: length > told),
        "maxLength": _bound(str, lambda length, told: length > told),
        "maxProperties": _bound(dict, lambda length, told: length > told),
        "maximum": _bound(None, lambda value, told: value > told),
        "minItems": _bound(list, lambda length, told: length < told),
        "minLength": _bound(str, lambda length, told: length < told),
        "minProperties": _bound(dict, lambda length, told: length < told),
        "minimum": _bound(None, lambda value, told: value < told),
        "multipleOf": _multiple_of,
        "not": _not,
        "oneOf": _one_of,
        "properties": _properties,
        "propertyNames": _names,
        "required": _required,
        "type": _type,
        "uniqueItems": _unique,
    }
)
_ONCE: Final[Mapping[str, Judge]] = MappingProxyType(
    {**_ALWAYS, "additionalItems": _more_items, "items": _items_once}
)
_SINCE_2019: Final[Mapping[str, Judge]] = MappingProxyType(
    {
        REFERENCE: _reference,
        "contains": _contains_some,
        "dependentRequired": _needed,
        "dependentSchemas": _dependent,
    }
)
_JUDGES: Final[Mapping[Dialect, Mapping[str, Judge]]] = MappingProxyType(
    {
        Dialect.DRAFT_07: {**_ONCE, "contains": _contains},
        Dialect.DRAFT_2019_09: {**_ONCE, **_SINCE_2019},
        Dialect.DRAFT_2020_12: {**_ALWAYS, **_SINCE_2019, "items": _items, "prefixItems": _first_items},
    }
)
