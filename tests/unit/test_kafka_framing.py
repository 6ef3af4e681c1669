"""What wraps a request in a record's value: JSON, protobuf, a schema registry's frame."""

from __future__ import annotations

import pytest
from eurouter.v1 import chat_pb2, responses_pb2
from hypothesis import given
from hypothesis import strategies as st

from service.edge.kafka.framing import Form, Unframed, read_document, read_message, unframe
from service.edge.kafka.rejections import RejectedRecordError, Rejection
from tests.support.kafka_records import ASKED, read, record, refused

PROTOBUF = {"content-type": "application/protobuf"}
SCHEMA = b"\x00\x00\x00\x00\x2a"
CUT_PATH = "the frame's path to its message is cut, or a number in it is too long"
NO_PATH = "the frame's path to its message is none: is this a protobuf serialiser's frame?"


def request() -> responses_pb2.CreateResponseRequest:
    found = read(record()).request
    assert isinstance(found, responses_pb2.CreateResponseRequest)
    return found


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def zigzag(number: int) -> bytes:
    return varint((number << 1) ^ (number >> 63))


def problem(value: bytes, content_type: str | None = None) -> RejectedRecordError:
    headers = {} if content_type is None else {"content-type": content_type}
    return refused(record(value, headers=headers))


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
    ],
)
def test_json_is_told_by_its_content_type(content_type: str) -> None:
    value = b'\n {"model": "small", "input": "Name three rivers."}'
    assert read(record(value, headers={"content-type": content_type})).request == request()


def test_an_object_without_a_content_type_is_json() -> None:
    assert unframe(b'{"a": 1}', None) == Unframed(Form.JSON, b'{"a": 1}')
    assert unframe(b'\r\n\t {"a": 1}', None) == Unframed(Form.JSON, b'\r\n\t {"a": 1}')


@pytest.mark.parametrize("content_type", [None, "application/json"])
def test_a_byte_order_mark_is_named(content_type: str | None) -> None:
    error = problem(b'\xef\xbb\xbf{"model": "small"}', content_type)
    assert error.reason is Rejection.UNDECODABLE
    assert error.message == ("the value begins with a byte order mark (EF BB BF): send JSON in UTF-8 without one")


def test_protobuf_is_the_message_itself() -> None:
    sent = responses_pb2.CreateResponseRequest(model="small", stream=True)
    sent.input.add().message.role = "user"
    taken = read(record(sent.SerializeToString(), headers=PROTOBUF))
    assert taken.stream
    sent.background = True
    assert taken.request == sent


def test_a_chat_request_in_protobuf_comes_with_its_header() -> None:
    sent = chat_pb2.CreateChatCompletionRequest(model="small")
    sent.messages.add().content.add().text = "Name three rivers."
    taken = read(record(sent.SerializeToString(), headers={**PROTOBUF, "eurouter-api": "chat"}))
    assert taken.request == sent


def test_json_text_in_a_protobuf_message_is_kept_to_the_letter() -> None:
    sent = responses_pb2.CreateResponseRequest(model="small")
    sent.tools.add().function.parameters = '{"b": 1.0, "a": 9007199254740993}'
    found = read(record(sent.SerializeToString(), headers=PROTOBUF)).request
    assert isinstance(found, responses_pb2.CreateResponseRequest)
    assert found.tools[0].function.parameters == '{"b": 1.0, "a": 9007199254740993}'


def test_json_nested_in_json_keeps_order_and_numbers() -> None:
    text = (
        b'{"model":"small","input":"a","tools":[{"type":"function","name":"f",'
        b'"parameters":{"b":1.0,"a":9007199254740993}}],"unnamed":{"z":1,"y":[]}}'
    )
    found = read(record(text)).request
    assert isinstance(found, responses_pb2.CreateResponseRequest)
    assert found.tools[0].function.parameters == '{"b":1.0,"a":9007199254740993}'
    assert dict(found.extra) == {"unnamed": '{"z":1,"y":[]}'}


def test_a_document_that_a_serialiser_wrote_as_a_string_is_read() -> None:
    value = b'"{\\"model\\":\\"small\\",\\"input\\":\\"Name three rivers.\\"}"'
    assert read(record(value, headers={"content-type": "application/json"})).request == request()
    twice = b'"\\"{}\\""'
    assert problem(twice, "application/json").message == "the value must be a JSON object, got a string"


@pytest.mark.parametrize(
    "path",
    [b"\x00", b"\x02\x00", b"\x01\x00", b"\x82\x00\x00", b"\x02\x80\x00"],
    ids=["shortcut", "count and index", "without zigzag", "long count", "long index"],
)
def test_every_form_of_a_frames_path_to_the_first_message_is_read(path: bytes) -> None:
    sent = responses_pb2.CreateResponseRequest(model="small")
    value = SCHEMA + path + sent.SerializeToString()
    sent.background = True
    assert read(record(value)).request == sent
    assert read(record(value, headers=PROTOBUF)).request == sent


def test_requests_are_the_first_messages_of_their_files() -> None:
    for module, name in ((responses_pb2, "CreateResponseRequest"), (chat_pb2, "CreateChatCompletionRequest")):
        assert next(iter(module.DESCRIPTOR.message_types_by_name)) == name


@pytest.mark.parametrize(
    ("path", "shown"),
    [(b"\x02\x02", "[1]"), (b"\x04\x00\x06", "[0, 3]"), (b"\x01\x05", "[5]"), (b"\x02\x01", "[-1]")],
)
def test_another_message_of_the_schema_is_refused(path: bytes, shown: str) -> None:
    error = problem(SCHEMA + path + b"\x0a\x01a")
    assert error.reason is Rejection.UNDECODABLE
    assert error.message == (
        f"the frame names message {shown} of its schema; a request is [0], the first one: "
        "send a eurouter.v1.CreateResponseRequest"
    )


@given(st.lists(st.integers(0, 2**20), min_size=1, max_size=16), st.booleans())
def test_a_path_is_read_as_it_was_written(path: list[int], old: bool) -> None:
    if old:
        path = path[:1]
    write = varint if old else zigzag
    head = SCHEMA + write(len(path)) + b"".join(map(write, path))
    assert unframe(head + b"rest", None) == Unframed(Form.PROTOBUF, b"rest", tuple(path))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"\x00", "the value ends inside its schema registry frame: it is cut"),
        (SCHEMA, "the value ends inside its schema registry frame: it is cut"),
        (SCHEMA + b"\x80", "the frame's path to its message is cut, or a number in it is too long"),
        (SCHEMA + b"\x02", "the frame's path to its message is cut, or a number in it is too long"),
        (SCHEMA + b"\xff" * 1_000_000, "the frame's path to its message is cut, or a number in it is too long"),
        (
            SCHEMA + varint(2**32),
            "the frame's path to its message is none: is this a protobuf serialiser's frame?",
        ),
        (SCHEMA + b"\x03", "the frame's path to its message is none: is this a protobuf serialiser's frame?"),
        (SCHEMA + zigzag(17), "the frame's path to its message is none: is this a protobuf serialiser's frame?"),
    ],
)
def test_a_broken_frame_is_refused(value: bytes, message: str) -> None:
    error = problem(value)
    assert (error.reason, error.message) == (Rejection.UNDECODABLE, message)


def test_a_frame_may_hold_json() -> None:
    value = SCHEMA + b'{"model":"small","input":"Name three rivers."}'
    assert read(record(value)).request == request()
    error = problem(value, "application/protobuf")
    assert error.message == (
        "content-type says application/protobuf, and the frame holds application/json: leave the header out"
    )


@pytest.mark.parametrize(
    ("content_type", "told"),
    [
        ("text/plain", "is not known"),
        ("", "is not known"),
        ("application/json, application/protobuf", "is not known"),
        ("application/json; charset=latin-1", "names another charset than UTF-8"),
    ],
)
def test_an_unknown_content_type_is_refused(content_type: str, told: str) -> None:
    error = problem(b"{}", content_type)
    assert error.reason is Rejection.UNKNOWN_CONTENT_TYPE
    assert error.message == f"content-type {told}: send application/json or application/protobuf"


@pytest.mark.parametrize("value", [b"\x0a\x05small", b" []", b"[]", b"hello"])
def test_what_is_no_object_needs_a_content_type(value: bytes) -> None:
    error = problem(value)
    assert error.reason is Rejection.UNKNOWN_CONTENT_TYPE
    assert error.message.startswith(
        "content-type is missing, and the value is no JSON object: send application/json"
    )


def test_truncated_protobuf_is_refused() -> None:
    whole = request().SerializeToString()
    error = problem(whole[:-1], "application/protobuf")
    assert error.reason is Rejection.UNDECODABLE
    assert error.message == (
        "the value is no eurouter.v1.CreateResponseRequest: it is cut, or made with other protos than ours"
    )


@pytest.mark.parametrize(
    ("value", "start"),
    [
        (b'{"model": "small"', "the value is not valid JSON: unexpected end of data"),
        (b'{"model": "\xff"}', "the value is not valid JSON: str is not valid UTF-8"),
        (b'{"a": NaN}', "the value is not valid JSON: "),
        (b'{"a": "\\ud800"}', "the value is not valid JSON: "),
        (b"[1]", "the value must be a JSON object, got an array"),
        (b"null", "the value must be a JSON object, got null"),
    ],
)
def test_text_that_is_no_json_object_is_refused(value: bytes, start: str) -> None:
    error = problem(value, "application/json")
    assert error.reason is Rejection.UNDECODABLE
    assert error.message.startswith(start)


@pytest.mark.parametrize("nested", [b'{"input":' * 100_000, b'{"extra":' + b"[" * 100_000 + b"]" * 100_000 + b"}"])
def test_deep_nesting_ends_in_a_refusal(nested: bytes) -> None:
    assert problem(nested).reason is Rejection.UNDECODABLE


def test_nesting_that_could_not_be_printed_again_is_refused() -> None:
    depth = 600
    error = problem(b'{"model":"small","unnamed":' + b"[" * depth + b"]" * depth + b"}")
    assert (error.reason, error.message) == (
        Rejection.INVALID,
        "unnamed: nested too deeply; at most 254 levels",
    )


def test_deep_nesting_of_protobuf_groups_ends_in_a_refusal() -> None:
    # Field 200 as a group in a group and so on: unknown to us, and read by recursion.
    assert problem(b"\xc3\x0c" * 500_000, "application/protobuf").reason is Rejection.UNDECODABLE


def test_ten_megabytes_are_read_where_operators_allow_them() -> None:
    text = "a" * 10_000_000
    taken = read(record({**ASKED, "input": text}), max_value_bytes=16_000_000)
    assert isinstance(taken.request, responses_pb2.CreateResponseRequest)
    assert taken.request.input[0].message.content[0].input_text.text == text


def test_fields_that_this_version_does_not_have_stay_for_the_api_to_complain_of() -> None:
    value = b"\x0a\x05small" + b"\xf8\x7f\x01"
    found = read_message(responses_pb2.CreateResponseRequest, Unframed(Form.PROTOBUF, value))
    assert found.SerializeToString() == value


def test_a_document_may_come_as_text() -> None:
    assert read_document('{"a": 1}') == {"a": 1}
