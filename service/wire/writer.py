"""protobuf -> JSON. A writer is compiled once per message type; a call looks no descriptor up.

`ListFields` gives what is set in one call, and a template holds what is always printed: within a tenth of code
unrolled by hand for a chunk, where most fields are unset. Text in JSON-holding fields goes out as it is:
whoever filled the message answers for its being JSON.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from service.wire import rules, times

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, OneofDescriptor
    from google.protobuf.message import Message


Convert = Callable[[Any], object]
Fresh = Callable[[], object]
Fields = Mapping[FieldDescriptor, tuple[str, Convert | None]]

_by_class: Final[dict[type, Convert]] = {}
_by_name: Final[dict[str, Convert]] = {**times.WRITERS}
_compiling: Final[set[str]] = set()
_lock: Final = RLock()


def render(message: Message) -> dict[str, object]:
    """The message as orjson prints it: JSON-holding text is an `orjson.Fragment`, not a dict.

    For messages that are objects in JSON; a `ToolChoice` on its own may be a string.
    """
    try:
        write = _by_class[type(message)]
    except KeyError:
        write = _by_class[type(message)] = _writer(cast("Descriptor", message.DESCRIPTOR))
    return cast("dict[str, object]", write(message))


def render_bytes(message: Message) -> bytes:
    """The message as compact JSON in UTF-8."""
    return orjson.dumps(render(message))


def _writer(descriptor: Descriptor) -> Convert:
    name = descriptor.full_name
    with _lock:
        if name in _by_name:
            return _by_name[name]
        if name in _compiling:
            # Depth is bounded by the schema as long as no message contains itself.
            raise TypeError(f"{name} contains itself: its writer needs a bound on depth")
        _compiling.add(name)
        try:
            union = rules.union_of(descriptor)
            if union is None:
                write = _plain(descriptor)
            elif name in rules.FLAT:
                write = _flat_union(descriptor, union)
            else:
                write = _union(descriptor, union.name)
        finally:
            _compiling.discard(name)
        _by_name[name] = write
        return write


def _plain(descriptor: Descriptor, before: Mapping[str, object] | None = None) -> Convert:
    """`before` is printed ahead of the message's own fields."""
    template, fresh = _always(descriptor)
    template = {**(before or {}), **template}
    fields: Fields = {field: (field.name, _convert(field)) for field in descriptor.fields}
    extra = rules.extra_of(descriptor)
    named = frozenset(field.name for field in descriptor.fields if field is not extra)

    def write(message: Message) -> object:
        out = template.copy()
        for key, make in fresh:
            out[key] = make()
        for field, value in message.ListFields():
            key, convert = fields[field]
            if convert is None:
                out[key] = value
            elif field is extra:
                _flatten(out, value, named)
            else:
                out[key] = convert(value)
        return out

    return write


def _union(descriptor: Descriptor, oneof: str) -> Convert:
    template, _ = _always(descriptor)
    fields: Fields = {field: (field.name, _convert(field)) for field in descriptor.fields}
    arms = frozenset(descriptor.oneofs_by_name[oneof].fields)
    empty = frozenset(arm for arm in arms if _full_name(arm) == rules.EMPTY)
    # These stand for the whole union in JSON, not for a key of it.
    whole = frozenset(
        arm
        for arm in arms
        if _full_name(arm) == rules.OPAQUE
        or (descriptor.full_name in rules.STRING_MODES and arm.name == rules.MODE)
    )
    typed = descriptor.full_name not in rules.UNTYPED
    type_with = rules.TYPE_WITH.get(descriptor.full_name)

    def write(message: Message) -> object:
        out = template.copy()
        for field, value in message.ListFields():
            key, convert = fields[field]
            written = value if convert is None else convert(value)
            if field in arms:
                if field in whole:
                    return written
                if typed and (type_with is None or message.HasField(type_with)):
                    out["type"] = key
                if field in empty:
                    continue
            out[key] = written
        return out

    return write


def _flat_union(descriptor: Descriptor, oneof: OneofDescriptor) -> Convert:
    name = oneof.name
    types = rules.arm_types(oneof)
    beside = [field for field in descriptor.fields if field not in oneof.fields]
    if any(_may_be_absent(field) for field in beside):
        raise TypeError(f"{descriptor.full_name} has a field beside its arms that may be absent")
    shared = {field.name: field.default_value for field in beside}
    arms: dict[str, Convert] = {}
    whole: dict[str, Convert] = {}
    for arm in oneof.fields:
        if _full_name(arm) == rules.OPAQUE or arm.message_type is None:
            whole[arm.name] = cast("Convert", _convert_one(arm))
        else:
            arms[arm.name] = _plain(arm.message_type, {"type": types[arm.name], **shared})

    def write(message: Any) -> object:
        arm = message.WhichOneof(name)
        write_arm = arms.get(arm)
        if write_arm is None:
            return whole[arm](getattr(message, arm)) if arm is not None else {}
        out: Any = write_arm(getattr(message, arm))
        for key in shared:
            out[key] = getattr(message, key)
        return out

    return write


def _always(descriptor: Descriptor) -> tuple[dict[str, object], tuple[tuple[str, Fresh], ...]]:
    """What is printed even when unset: shared constants, and makers of values that a caller may change."""
    template: dict[str, object] = {}
    fresh: list[tuple[str, Fresh]] = []
    if descriptor.full_name in rules.TYPE_LITERALS:
        template["type"] = rules.TYPE_LITERALS[descriptor.full_name]
    for field in descriptor.fields:
        if field.full_name in rules.NULL_WHEN_UNSET:
            template[field.name] = None
        elif field.full_name in rules.LIST_WHEN_EMPTY:
            template[field.name] = None
            fresh.append((field.name, list))
        elif field.full_name in rules.OBJECT_WHEN_UNSET:
            template[field.name] = None
            fresh.append((field.name, _empty(field)))
        elif field.full_name in rules.ZERO_WHEN_UNSET:
            template[field.name] = 0
        elif not _may_be_absent(field):
            template[field.name] = "" if field.type == FieldDescriptor.TYPE_BYTES else field.default_value
    return template, tuple(fresh)


def _empty(field: FieldDescriptor) -> Fresh:
    """Makes what an unset object field shows."""
    if rules.map_value(field) is not None:
        return dict
    kind = cast("Descriptor", field.message_type)
    shown = cast("dict[str, object]", _writer(kind)(GetMessageClass(kind)()))
    if any(isinstance(value, list | dict) for value in shown.values()):
        raise TypeError(f"{field.full_name}: an empty one would share what is in it")
    return shown.copy


def _may_be_absent(field: FieldDescriptor) -> bool:
    return (
        field.is_repeated
        or field.has_presence
        or field.enum_type is not None
        or field.full_name in rules.JSON_TEXT
    )


def _convert(field: FieldDescriptor) -> Convert | None:
    """How a set value is printed; None: as it is."""
    if rules.map_value(field) is not None:
        return dict
    one = _convert_one(field)
    if not field.is_repeated:
        return one
    if field.full_name in rules.TEXT_OR_PARTS and field.full_name not in rules.PARTS_ALWAYS:
        return partial(_text_or_parts, cast("Convert", one), rules.TEXT_OR_PARTS[field.full_name])
    return list if one is None else partial(_each, one)


def _convert_one(field: FieldDescriptor) -> Convert | None:
    if field.full_name in rules.JSON_TEXT or field.full_name in rules.NUMBER_TEXT:
        return orjson.Fragment
    if field.full_name in rules.STRING_OR_ID:
        return _string_or_id
    if field.enum_type is not None:
        return rules.enum_names(field.enum_type).get
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _base64
    if field.message_type is None:
        return None
    if field.message_type.full_name == rules.OPAQUE:
        return _opaque
    return _writer(field.message_type)


def _each(write: Convert, values: Any) -> object:
    return [write(value) for value in values]


def _text_or_parts(write: Convert, arm: str, parts: Any) -> object:
    if len(parts) == 1 and parts[0].WhichOneof("part") == arm:
        part = parts[0] if arm == "text" else getattr(parts[0], arm)
        if not part.HasField("prompt_cache_breakpoint"):
            return part.text
    return [write(part) for part in parts]


def _base64(value: bytes) -> object:
    return b64encode(value).decode()


def _opaque(value: Any) -> object:
    return orjson.Fragment(value.json)


def _string_or_id(value: str) -> object:
    """Text that is {"id": "..."} exactly as the reader writes it is the object; any other is a string."""
    if not value.startswith('{"id":"'):
        return value
    try:
        loaded = orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
    only_id = type(loaded) is dict and list(loaded) == ["id"] and type(loaded["id"]) is str
    return orjson.Fragment(value) if only_id and orjson.dumps(loaded).decode() == value else value


def _flatten(out: dict[str, object], extra: Mapping[str, str], named: frozenset[str]) -> None:
    for key, text in extra.items():
        if key not in named:
            out[key] = orjson.Fragment(text)


def _full_name(field: FieldDescriptor) -> str | None:
    return None if field.message_type is None else field.message_type.full_name
