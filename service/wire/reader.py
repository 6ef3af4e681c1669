"""JSON -> protobuf. A reader is compiled once per message type from its descriptor and `rules`.

The walk goes as deep as the schema, not as deep as the document: no message contains itself, and what is
kept as JSON text is left to orjson. Types and unknown fields are judged here, meaning is not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import orjson
from google.protobuf.message import Message

from service.domain.errors import Reason
from service.wire import rules, times, values
from service.wire.errors import MAX_VIOLATIONS, InvalidValueError, Problem, WireError, expected
from service.wire.unions import flat_union_reader, union_reader
from service.wire.walk import Read, Walk

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor

M = TypeVar("M", bound=Message)
AddText = Callable[[Any, str], None]

_by_class: Final[dict[type, Read]] = {}
_by_name: Final[dict[str, Read]] = {**times.READERS}
_compiling: Final[set[str]] = set()
_lock: Final = RLock()


def parse(
    message_type: type[M],
    value: object,
    *,
    hint_paths: frozenset[str] = frozenset(),
    ignored: list[str] | None = None,
) -> M:
    """The message that `value` (as orjson.loads gives it) stands for; null is unset, everywhere.

    A top-level field that nobody named goes to `extra`, a nested one is a violation unless `hint_paths`
    names it, indexes left out (messages.content.cache_control): then it is left out and its hint path
    appended to `ignored`, once. Raises WireError.
    """
    try:
        read = _by_class[message_type]
    except KeyError:
        read = _by_class[message_type] = _reader(cast("Descriptor", message_type.DESCRIPTOR))
    walk = Walk(hint_paths)
    message = message_type()
    try:
        read(message, value, walk)
    except InvalidValueError as error:
        raise WireError((("", str(error)),)) from None
    if walk.problems:
        _judge(walk.problems, hint_paths, ignored)
    return message


def parse_bytes(
    message_type: type[M],
    body: bytes,
    *,
    hint_paths: frozenset[str] = frozenset(),
    ignored: list[str] | None = None,
) -> M:
    """`parse` of a body in UTF-8. Integers beyond 64 bits become floats, as in any JavaScript client."""
    if not body or body.isspace():
        raise _malformed("the body is empty; send a JSON object")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # The parser's sentence names a place and never quotes the body.
        raise _malformed(f"the body is not valid JSON: {error}") from None
    if type(value) is not dict:
        raise _malformed(str(expected("a JSON object as the body", value)))
    return parse(message_type, value, hint_paths=hint_paths, ignored=ignored)


def _malformed(text: str) -> WireError:
    return WireError((("", text),), Reason.MALFORMED_BODY)


def _judge(problems: list[Problem], hint_paths: frozenset[str], ignored: list[str] | None) -> None:
    real = []
    for problem in problems:
        if problem.unknown and (path := problem.hint_path()) in hint_paths:
            if ignored is not None and path not in ignored:
                ignored.append(path)
        else:
            real.append(problem)
    if real:
        shown = real[:MAX_VIOLATIONS]
        reason = Reason.UNKNOWN_FIELD if all(one.unknown for one in shown) else Reason.INVALID_REQUEST
        raise WireError(tuple((one.json_path(), one.text) for one in shown), reason)


def _reader(descriptor: Descriptor) -> Read:
    name = descriptor.full_name
    with _lock:
        if name in _by_name:
            return _by_name[name]
        if name in _compiling:
            raise TypeError(f"{name} contains itself: its reader needs a bound on depth")
        _compiling.add(name)
        try:
            union = rules.union_of(descriptor)
            if union is None:
                read = _plain(descriptor, _fields(descriptor))
            elif name in rules.FLAT:
                read = flat_union_reader(descriptor, union, _fields)
            else:
                read = union_reader(descriptor, union, _fields(descriptor))
        finally:
            _compiling.discard(name)
        _by_name[name] = read
        return read


def _fields(descriptor: Descriptor, but: OneofDescriptor | None = None) -> dict[str, Read]:
    """The readers of a message's fields by name, without those of the oneof `but`."""
    extra = rules.extra_of(descriptor)
    left_out = {extra, *(but.fields if but is not None else ())}
    return {field.name: _field(field) for field in descriptor.fields if field not in left_out}


def _plain(descriptor: Descriptor, fields: dict[str, Read]) -> Read:
    has_extra = rules.extra_of(descriptor) is not None
    literal = rules.TYPE_LITERALS.get(descriptor.full_name)
    if literal is not None:
        fields["type"] = partial(_read_literal, literal)

    def read(message: Any, value: object, walk: Walk) -> None:
        if type(value) is not dict:
            raise expected("an object", value)
        for key, item in value.items():
            if item is None:
                continue
            read_field = fields.get(key)
            if read_field is not None:
                walk.into(key, read_field, message, item)
            elif has_extra:
                walk.into(key, partial(_read_extra, key), message.extra, item)
            else:
                walk.unknown(key)
        if literal is not None and value.get("type") is None:
            walk.problem("type", f'missing; expected "{literal}"')

    return read


def _read_literal(literal: str, _message: Any, value: object, _walk: Walk) -> None:
    if type(value) is not str:
        raise expected(f'"{literal}"', value)
    if value != literal:
        raise InvalidValueError(f'unknown value; expected "{literal}"')


def _read_extra(key: str, extra: Any, value: object, _walk: Walk) -> None:
    extra[key] = values.compact(value)


def _field(field: FieldDescriptor) -> Read:
    name = field.name
    map_value = rules.map_value(field)
    if map_value is not None:
        return partial(_read_map, name, values.coercer(map_value))
    if field.message_type is not None:
        if field.message_type.full_name in {rules.EMPTY, rules.OPAQUE}:
            return _never  # the union sets these itself
        read = _reader(field.message_type)
        if not field.is_repeated:
            return partial(_read_message, name, read)
        if field.full_name in rules.TEXT_OR_PARTS:
            add_text = _add_text if rules.TEXT_OR_PARTS[field.full_name] == "text" else _add_input_text
            return partial(_read_text_or_list, name, read, add_text, "a string or an array of parts")
        if field.full_name in rules.TEXT_OR_ITEMS:
            return partial(_read_text_or_list, name, read, _add_user_message, "a string or an array of items")
        return partial(_read_list, name, partial(_add_message, read), "an array")
    coerce = values.coercer(field)
    if not field.is_repeated:
        return partial(_read_scalar, name, coerce)
    if field.full_name in rules.ONE_OR_MANY:
        return partial(_read_one_or_many, name, coerce)
    return partial(_read_list, name, partial(_add_scalar, coerce), "an array")


def _never(_message: Any, _value: object, _walk: Walk) -> None:
    raise AssertionError("not read as a field")


def _read_scalar(name: str, coerce: values.Coerce, message: Any, value: object, _walk: Walk) -> None:
    setattr(message, name, coerce(value))


def _read_message(name: str, read: Read, message: Any, value: object, walk: Walk) -> None:
    target = getattr(message, name)
    target.SetInParent()
    read(target, value, walk)


def _read_map(name: str, coerce: values.Coerce, message: Any, value: object, walk: Walk) -> None:
    if type(value) is not dict:
        raise expected("an object", value)
    target = getattr(message, name)
    for key, item in value.items():
        walk.into(key, partial(_put, key, coerce), target, item)


def _put(key: str, coerce: values.Coerce, target: Any, value: object, _walk: Walk) -> None:
    target[key] = coerce(value)


def _read_list(name: str, add: Read, what: str, message: Any, value: object, walk: Walk) -> None:
    if type(value) is not list:
        raise expected(what, value)
    walk.enter(len(value))
    target = getattr(message, name)
    for index, item in enumerate(value):
        walk.into(index, add, target, item)


def _add_message(read: Read, target: Any, value: object, walk: Walk) -> None:
    read(target.add(), value, walk)


def _add_scalar(coerce: values.Coerce, target: Any, value: object, _walk: Walk) -> None:
    target.append(coerce(value))


def _read_text_or_list(
    name: str, read: Read, add_text: AddText, what: str, message: Any, value: object, walk: Walk
) -> None:
    if type(value) is str:
        add_text(getattr(message, name), value)
    else:
        _read_list(name, partial(_add_message, read), what, message, value, walk)


def _add_text(parts: Any, text: str) -> None:
    parts.add().text = text


def _add_input_text(parts: Any, text: str) -> None:
    parts.add().input_text.text = text


def _add_user_message(items: Any, text: str) -> None:
    message = items.add().message
    message.role = "user"
    _add_input_text(message.content, text)


def _read_one_or_many(name: str, coerce: values.Coerce, message: Any, value: object, walk: Walk) -> None:
    if type(value) is str:
        getattr(message, name).append(value)
    else:
        add = partial(_add_scalar, coerce)
        _read_list(name, add, "a string or an array of strings", message, value, walk)
