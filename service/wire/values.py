"""Single JSON values -> what a protobuf field takes; a value of another type raises `InvalidValueError`."""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import orjson
from google.protobuf.descriptor import FieldDescriptor

from service.wire import rules
from service.wire.errors import InvalidValueError, expected

if TYPE_CHECKING:
    from google.protobuf.descriptor import EnumDescriptor

Coerce = Callable[[object], Any]


def coercer(field: FieldDescriptor) -> Coerce:
    """For a scalar field, by its type and rule; raises TypeError for a type that our protos don't use."""
    if field.full_name in rules.JSON_TEXT:
        return _json_text(rules.JSON_TEXT[field.full_name])
    if field.full_name in rules.STRING_OR_ID:
        return _string_or_id
    if field.full_name in rules.NUMBER_TEXT:
        return _number_text
    if field.enum_type is not None:
        return enum(field.enum_type)
    try:
        return _BY_TYPE[field.type]
    except KeyError:
        raise TypeError(f"{field.full_name}: no JSON form for this type of field") from None


def text(value: object) -> str:
    """InvalidValueError Unicode shows only when protobuf encodes it: the walk turns that into a violation."""
    if type(value) is str:
        return value
    raise expected("a string", value)


def compact(value: object) -> str:
    """The value as JSON text: no spaces, key order kept, 1 and 1.0 told apart."""
    try:
        return orjson.dumps(value).decode()
    except TypeError as error:
        # orjson prints 254 levels though it reads 1024.
        if "ecursion" in str(error):
            raise InvalidValueError("nested too deeply; at most 254 levels") from None
        raise InvalidValueError("is no valid JSON value") from None


def enum(descriptor: EnumDescriptor) -> Coerce:
    """By lower-case name without prefix."""
    return choice({name: number for number, name in rules.enum_names(descriptor).items()})


def choice(numbers: dict[str, int]) -> Coerce:
    """One of the names."""
    allowed = ", ".join(numbers)

    def coerce(value: object) -> int:
        if type(value) is not str:
            raise expected(f"one of {allowed}", value)
        try:
            return numbers[value]
        except KeyError:
            raise InvalidValueError(f"unknown value; expected one of {allowed}") from None

    return coerce


def _boolean(value: object) -> bool:
    if type(value) is bool:
        return value
    raise expected("a boolean", value)


def _number(value: object) -> float:
    if type(value) is float:
        if math.isfinite(value):
            return value
        raise InvalidValueError("expected a finite number")
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise InvalidValueError("the number is too large") from None
    raise expected("a number", value)


def _number_text(value: object) -> str:
    """The shortest digits that mean this number, without an exponent."""
    if type(value) is int:
        return str(value)
    return format(Decimal(repr(_number(value))), "f")


def _integer(bits: int) -> Coerce:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def coerce(value: object) -> int:
        if type(value) is float:
            if not value.is_integer():
                raise InvalidValueError("expected an integer, got a number with a fraction")
            value = int(value)
        if type(value) is not int:
            raise expected("an integer", value)
        if not low <= value <= high:
            raise InvalidValueError(f"out of range; expected an integer from {low} to {high}")
        return value

    return coerce


def _json_text(shape: rules.JsonShape) -> Coerce:
    if shape is rules.JsonShape.ANY:
        return compact
    types = {
        rules.JsonShape.OBJECT: (dict,),
        rules.JsonShape.ARRAY: (list,),
        rules.JsonShape.OBJECT_OR_ARRAY: (dict, list),
    }[shape]

    def coerce(value: object) -> str:
        if type(value) not in types:
            raise expected(shape.value, value)
        return compact(value)

    return coerce


def _bytes(value: object) -> bytes:
    given = text(value)
    try:
        return b64decode(given, validate=True)
    except ValueError:
        raise InvalidValueError("expected bytes in base64, with its padding") from None


def _string_or_id(value: object) -> str:
    if type(value) is str:
        return value
    if type(value) is not dict:
        raise expected('a string or an object {"id": "..."}', value)
    if list(value) != ["id"] or type(value["id"]) is not str:
        raise InvalidValueError('expected a string or an object with the string field "id" alone')
    return compact(value)


_BY_TYPE: Final[dict[int, Coerce]] = {
    FieldDescriptor.TYPE_STRING: text,
    FieldDescriptor.TYPE_BYTES: _bytes,
    FieldDescriptor.TYPE_BOOL: _boolean,
    FieldDescriptor.TYPE_DOUBLE: _number,
    FieldDescriptor.TYPE_INT32: _integer(32),
    FieldDescriptor.TYPE_INT64: _integer(64),
}
