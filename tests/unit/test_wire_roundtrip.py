"""Properties: what is rendered reads back as the same message, and no JSON breaks the reader."""

from decimal import Decimal
from typing import Any, cast

import orjson
import pytest
from eurouter.v1 import (
    catalog_pb2,
    chat_pb2,
    content_pb2,
    jobs_pb2,
    preferences_pb2,
    response_events_pb2,
    response_items_pb2,
    response_object_pb2,
    responses_pb2,
    routing_pb2,
    tools_pb2,
)
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.money import decimal_text
from service.wire import WireError, parse, parse_bytes, render_bytes, rules, times

FILES = (
    catalog_pb2,
    chat_pb2,
    content_pb2,
    jobs_pb2,
    preferences_pb2,
    response_events_pb2,
    response_items_pb2,
    response_object_pb2,
    responses_pb2,
    routing_pb2,
    tools_pb2,
)
# What these print when they are unset reads as set.
ALWAYS_SAID = rules.OBJECT_WHEN_UNSET | rules.ZERO_WHEN_UNSET | (rules.LIST_WHEN_EMPTY & set(rules.JSON_TEXT))
REQUESTS: tuple[type[Message], ...] = (
    chat_pb2.CreateChatCompletionRequest,
    responses_pb2.CreateResponseRequest,
)
MESSAGES: dict[str, type[Message]] = {
    descriptor.full_name: GetMessageClass(descriptor)
    for file in FILES
    for descriptor in file.DESCRIPTOR.message_types_by_name.values()
}
# These two are read by the union around them.
READABLE = sorted(set(MESSAGES) - {rules.OPAQUE, rules.EMPTY})

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
objects = st.dictionaries(texts, values, max_size=3)
DIGITS, PLACES = st.integers(0, 10**15), st.integers(0, 15)


def compact(value: object) -> str:
    return orjson.dumps(value).decode()


def field_values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Values of one item of the field, as the reader could have made them."""
    if field.full_name in rules.JSON_TEXT:
        shape = rules.JSON_TEXT[field.full_name]
        some = values.filter(lambda value: value is not None)
        kinds = {rules.JsonShape.ARRAY: st.lists(values, max_size=3), rules.JsonShape.ANY: some}
        return kinds.get(shape, objects).map(compact)
    if field.full_name in rules.NUMBER_TEXT:
        # As many digits as a float of JSON's readers keeps.
        return st.builds(lambda digits, places: decimal_text(Decimal(digits).scaleb(-places)), DIGITS, PLACES)
    if field.full_name in rules.STRING_OR_ID:
        return texts | st.builds(lambda id_: compact({"id": id_}), texts)
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values if value.number])
    if field.message_type is not None:
        if field.message_type.full_name in times.READERS:
            return moments(field.message_type)
        return messages(field.message_type)
    return {
        FieldDescriptor.TYPE_STRING: texts,
        FieldDescriptor.TYPE_BYTES: st.binary(max_size=9),
        FieldDescriptor.TYPE_BOOL: st.booleans(),
        FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False, allow_infinity=False),
        FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
        FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    }[field.type]


def moments(descriptor: Descriptor) -> st.SearchStrategy[Any]:
    """Times and durations, to the nanosecond."""
    kind: Any = GetMessageClass(descriptor)
    return st.builds(kind, seconds=st.integers(0, 253402300799), nanos=st.integers(0, 999_999_999))


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor) -> Message:
    """Any message of the type that JSON can express."""
    message = GetMessageClass(descriptor)()
    union = rules.union_of(descriptor)
    arms = [] if union is None else list(union.fields)
    extra = rules.extra_of(descriptor)
    for field in descriptor.fields:
        if field not in arms and (draw(st.booleans()) or field.full_name in ALWAYS_SAID):
            fill(draw, message, field, extra)
    if arms and not (descriptor.full_name in rules.ARM_OPTIONAL and draw(st.booleans())):
        fill_arm(draw, message, descriptor, draw(st.sampled_from(arms)))
    return message


def fill(draw: st.DrawFn, message: Any, field: FieldDescriptor, extra: FieldDescriptor | None) -> None:
    if field is extra:
        keys = texts.filter(lambda key: key == "extra" or key not in message.DESCRIPTOR.fields_by_name)
        found = draw(st.dictionaries(keys, values.filter(lambda value: value is not None), max_size=2))
        message.extra.update({key: compact(value) for key, value in found.items()})
    elif (item := rules.map_value(field)) is not None:
        getattr(message, field.name).update(draw(st.dictionaries(texts, field_values(item), max_size=2)))
    elif field.is_repeated:
        getattr(message, field.name).extend(draw(st.lists(field_values(field), max_size=2)))
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(draw(field_values(field)))
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, draw(field_values(field)))


def fill_arm(draw: st.DrawFn, message: Any, descriptor: Descriptor, arm: FieldDescriptor) -> None:
    if arm.message_type is not None and arm.message_type.full_name == rules.OPAQUE:
        for field, _ in message.ListFields():
            message.ClearField(field.name)  # an opaque object holds them itself
        kind = draw(texts.filter(lambda name: name not in descriptor.fields_by_name))
        message.opaque.type = kind
        beside = objects.map(lambda found: {k: v for k, v in found.items() if k not in descriptor.fields_by_name})
        message.opaque.json = compact({**draw(beside), "type": kind})
    elif descriptor.full_name in rules.STRING_MODES and arm.name == rules.MODE:
        enum = arm.enum_type
        assert enum is not None
        words = rules.STRING_MODES[descriptor.full_name]
        names = {name: number for number, name in rules.enum_names(enum).items()}
        message.mode = names[draw(st.sampled_from(words))]
    else:
        fill(draw, message, arm, None)


def descriptor_of(kind: type[Message]) -> Descriptor:
    return cast("Descriptor", kind.DESCRIPTOR)


@pytest.mark.parametrize("name", READABLE)
def test_every_message_reads_back_as_it_was_rendered(name: str) -> None:
    kind = MESSAGES[name]

    @settings(max_examples=25, deadline=None)
    @given(messages(descriptor_of(kind)))
    def holds(message: Message) -> None:
        assert parse(kind, orjson.loads(render_bytes(message))) == message

    holds()


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_that_was_read_renders_and_reads_the_same(kind: type[Message]) -> None:
    @settings(max_examples=60, deadline=None)
    @given(messages(descriptor_of(kind)))
    def holds(message: Message) -> None:
        body = render_bytes(message)
        again = parse_bytes(kind, body)
        assert again == message
        # Maps have no order.
        assert orjson.loads(render_bytes(again)) == orjson.loads(body)

    holds()


# Names that lead the fuzzer deep into the schema.
words = st.sampled_from(
    sorted({field.name for kind in MESSAGES.values() for field in kind.DESCRIPTOR.fields} | {"type"})
)
kinds = sorted(
    {
        kind
        for name in rules.FLAT
        if (union := rules.union_of(descriptor_of(MESSAGES[name]))) is not None
        for kind in rules.arm_types(union).values()
    }
)
known_values = st.sampled_from(
    ["text", "function", "image_url", "json_schema", "auto", "user", "content", "custom"]
) | st.sampled_from(kinds)
near = st.recursive(
    scalars | known_values,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(words | texts, inner, max_size=5),
        st.builds(
            lambda kind, rest: {**rest, "type": kind},
            st.sampled_from(kinds),
            st.dictionaries(words, inner, max_size=5),
        ),
    ),
    max_leaves=30,
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(READABLE), near)
def test_no_json_raises_anything_but_a_wire_error(name: str, value: object) -> None:
    kind = MESSAGES[name]
    try:
        message = parse(kind, value)
    except WireError as error:
        assert error.violations
        orjson.dumps(error.violations)
        return
    # Not the messages: an answer's delta is printed even when it was not there.
    rendered = orjson.loads(render_bytes(message))
    assert orjson.loads(render_bytes(parse(kind, rendered))) == rendered


@st.composite
def damaged_requests(draw: st.DrawFn, kind: type[Message]) -> object:
    """A valid request with one value somewhere replaced."""
    message = draw(messages(descriptor_of(kind)))
    root = orjson.loads(render_bytes(message))
    at, here = None, root
    while isinstance(here, (dict, list)) and here and (at is None or draw(st.booleans())):
        at = here
        key = draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
        here = here[key]
    if at is not None:
        at[key] = draw(near)
    return root


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_damaged_request_is_refused_or_read_but_never_breaks(kind: type[Message]) -> None:
    @settings(max_examples=150, deadline=None)
    @given(damaged_requests(kind))
    def holds(value: object) -> None:
        try:
            message = parse(kind, value)
        except WireError as error:
            assert all(path for path, _ in error.violations)
            return
        rendered = orjson.loads(render_bytes(message))
        assert orjson.loads(render_bytes(parse(kind, rendered))) == rendered

    holds()


@pytest.mark.parametrize("kind", REQUESTS)
def test_no_bytes_raise_anything_but_a_wire_error(kind: type[Message]) -> None:
    @settings(max_examples=150, deadline=None)
    @given(st.binary(max_size=40) | near.map(lambda value: orjson.dumps(value)[:-1]))
    def holds(body: bytes) -> None:
        try:
            parse_bytes(kind, body)
        except WireError as error:
            assert str(error)

    holds()


def test_every_rule_names_something_that_exists() -> None:
    fields = {field.full_name for kind in MESSAGES.values() for field in kind.DESCRIPTOR.fields}
    by_field = (
        set(rules.JSON_TEXT)
        | set(rules.TEXT_OR_PARTS)
        | rules.PARTS_ALWAYS
        | rules.TEXT_OR_ITEMS
        | rules.ONE_OR_MANY
        | rules.STRING_OR_ID
        | rules.NUMBER_TEXT
        | rules.NULL_WHEN_UNSET
        | rules.LIST_WHEN_EMPTY
        | rules.OBJECT_WHEN_UNSET
        | rules.ZERO_WHEN_UNSET
    )
    assert by_field <= fields
    by_message = (
        {rules.EMPTY, rules.OPAQUE}
        | set(rules.TYPE_LITERALS)
        | set(rules.STRING_MODES)
        | set(rules.TYPE_WITH)
        | set(rules.DEFAULT_TYPES)
        | rules.FLAT
        | rules.UNTYPED
        | rules.TYPE_OPTIONAL
        | rules.ARM_OPTIONAL
    )
    assert by_message <= set(MESSAGES)
