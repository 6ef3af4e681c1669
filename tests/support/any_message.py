"""Protobuf messages of any type: every value below one, a change of it, and random ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st


def leaves(message: Message) -> Iterator[tuple[str, Message, FieldDescriptor, int | None]]:
    """Every value that is set below `message`: its field's short name, its holder, field and place in a list."""
    for field, value in message.ListFields():
        name = f"{message.DESCRIPTOR.name}.{field.name}"
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            continue
        if not field.is_repeated:
            yield name, message, field, None
            if inner is not None:
                yield from leaves(value)
            continue
        for place, item in enumerate(value):
            yield name, message, field, place
            if inner is not None:
                yield from leaves(item)


def change(holder: Message, field: FieldDescriptor, place: int | None) -> None:
    """Changes one value: another one of its type, or for a message none."""
    if place is not None and field.message_type is not None:
        del getattr(holder, field.name)[place]
        return
    if field.message_type is not None:
        holder.ClearField(field.name)
        return
    values = getattr(holder, field.name)
    old = values if place is None else values[place]
    new: object = old + "x" if isinstance(old, str) else (not old if isinstance(old, bool) else old + 1)
    if field.enum_type is not None:
        new = 1 if old != 1 else 2
    if place is None:
        setattr(holder, field.name, new)
    else:
        values[place] = new


def names_below(descriptor: Descriptor) -> set[str]:
    """The short names of all fields of a message and of the messages in it."""
    return _below(descriptor, set())


def _below(descriptor: Descriptor, seen: set[str]) -> set[str]:
    names: set[str] = set()
    if descriptor.full_name in seen:
        return names
    seen.add(descriptor.full_name)
    for field in descriptor.fields:
        inner = field.message_type
        if inner is None or not inner.GetOptions().map_entry:
            names.add(f"{descriptor.name}.{field.name}")
        if inner is not None and not inner.GetOptions().map_entry:
            names |= _below(inner, seen)
    return names


def messages(message: type[Message], texts: st.SearchStrategy[str], depth: int = 4) -> st.SearchStrategy[Message]:
    """Any message of a type: any of its fields, with any value that protobuf takes; strings are of `texts`."""

    @st.composite
    def build(draw: st.DrawFn) -> Message:
        built = message()
        _fill(draw, built, texts, depth)
        return built

    return build()


def _fill(draw: st.DrawFn, message: Message, texts: st.SearchStrategy[str], depth: int) -> None:
    known = cast("list[FieldDescriptor]", list(message.DESCRIPTOR.fields))
    if not known:
        return
    chosen = st.lists(st.sampled_from(known), max_size=4, unique_by=lambda field: field.name)
    for field in draw(chosen):
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            value = inner.fields_by_name["value"]
            getattr(message, field.name)[draw(st.text(max_size=3))] = draw(_scalar(value, texts))
        elif inner is not None:
            target = getattr(message, field.name)
            if field.is_repeated:
                target = target.add()
            else:
                target.SetInParent()
            if depth:
                _fill(draw, target, texts, depth - 1)
        elif field.is_repeated:
            getattr(message, field.name).append(draw(_scalar(field, texts)))
        else:
            setattr(message, field.name, draw(_scalar(field, texts)))


def _scalar(field: FieldDescriptor, texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.integers(-1, 9)
    return {
        FieldDescriptor.CPPTYPE_STRING: texts,
        FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
        FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
        FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
        FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    }[field.cpp_type]
