"""What wraps a request in a record's value: JSON text, a protobuf message, either in a schema registry's frame.

Which request it is, and what it means, stands elsewhere. Schemas are not looked up: ours are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

import orjson
from google.protobuf.message import DecodeError, Message

from service.edge.kafka.names import CONTENT_TYPE
from service.edge.kafka.rejections import RejectedRecordError, Rejection
from service.wire.errors import type_name

M = TypeVar("M", bound=Message)

FRAME: Final = 0
"""The first byte of a frame; no JSON text and no protobuf message begins with it."""

_HEAD: Final = 5
_MAX_VARINT: Final = 5
_MAX_PATH: Final = 16
_BRACE: Final = ord("{")
_BLANKS: Final = b" \t\r\n"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
# Requests are the first messages of their files.
_REQUEST: Final = (0,)


class Form(StrEnum):
    """How a request is written, by its content type."""

    JSON = "application/json"
    PROTOBUF = "application/protobuf"


@dataclass(frozen=True, slots=True)
class Unframed:
    """A request's own bytes. `path` names its message in the registered schema, None where nothing does."""

    form: Form
    payload: bytes
    path: tuple[int, ...] | None = None


def unframe(value: bytes, content_type: str | None) -> Unframed:
    """The request's bytes and their form: what the content type says, else what its first byte after blanks shows.

    The frame is Confluent's: a byte 0, four bytes of a schema's id, and for protobuf the path of the message in
    its schema. https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html

    Raises:
        RejectedRecordError: UNKNOWN_CONTENT_TYPE or UNDECODABLE.
    """
    declared = _form(content_type) if content_type is not None else None
    if not value:
        raise undecodable("the record has no value: send a request")
    if value[0] != FRAME:
        if value.startswith(_BYTE_ORDER_MARK) and declared is not Form.PROTOBUF:
            raise undecodable("the value begins with a byte order mark (EF BB BF): send JSON in UTF-8 without one")
        form = declared or (Form.JSON if value.lstrip(_BLANKS).startswith(b"{") else None)
        if form is None:
            raise _unknown("is missing, and the value is no JSON object")
        return Unframed(form, value)
    if len(value) <= _HEAD:
        raise undecodable("the value ends inside its schema registry frame: it is cut")
    # The length of a path is never what a brace would say.
    if value[_HEAD] == _BRACE:
        inner = Unframed(Form.JSON, value[_HEAD:])
    else:
        path, end = _message_path(value)
        inner = Unframed(Form.PROTOBUF, value[end:], path)
    if declared not in (None, inner.form):
        raise undecodable(
            f"{CONTENT_TYPE} says {declared}, and the frame holds {inner.form}: leave the header out"
        )
    return inner


def read_document(text: bytes | str, what: str = "the value") -> dict[str, object]:
    """The JSON object that `text` is; `what` names it in errors.

    Serialisers of strings write a document as a JSON string: it is taken for what it holds.

    Raises:
        RejectedRecordError: UNDECODABLE.
    """
    try:
        found = orjson.loads(text)
        if type(found) is str:
            found = orjson.loads(found)
    except orjson.JSONDecodeError as error:
        # The parser's sentence names a place and never quotes the text.
        raise undecodable(f"{what} is not valid JSON: {error}") from None
    if type(found) is not dict:
        raise undecodable(f"{what} must be a JSON object, got {type_name(found)}")
    return found


def read_message(message_type: type[M], unframed: Unframed) -> M:
    """The protobuf message of this type.

    Raises:
        RejectedRecordError: UNDECODABLE.
    """
    name = message_type.DESCRIPTOR.full_name
    if unframed.path not in (None, _REQUEST):
        raise undecodable(
            f"the frame names message {list(unframed.path or ())} of its schema; a request is {list(_REQUEST)}, "
            f"the first one: send a {name}"
        )
    try:
        return message_type.FromString(unframed.payload)
    except DecodeError:
        raise undecodable(f"the value is no {name}: it is cut, or made with other protos than ours") from None


def undecodable(message: str) -> RejectedRecordError:
    """A value that can't be read."""
    return RejectedRecordError(Rejection.UNDECODABLE, message)


def _form(content_type: str) -> Form:
    kind, _, parameters = content_type.lower().partition(";")
    charset = parameters.partition("charset=")[2].strip(' "')
    try:
        form = Form(kind.strip())
    except ValueError:
        raise _unknown("is not known") from None
    if charset not in ("", "utf-8", "utf8"):
        raise _unknown("names another charset than UTF-8")
    return form


def _unknown(problem: str) -> RejectedRecordError:
    message = f"{CONTENT_TYPE} {problem}: send {Form.JSON} or {Form.PROTOBUF}"
    return RejectedRecordError(Rejection.UNKNOWN_CONTENT_TYPE, message)


def _message_path(value: bytes) -> tuple[tuple[int, ...], int]:
    """The path behind a frame's head, and where it ends."""
    count, at = _varint(value, _HEAD)
    if count == 0:
        return (0,), at
    # Older Python clients write the numbers without zigzag. Of theirs only a path of one step can be told apart:
    # its length would be negative; and of one step is the path of every request.
    zigzag = count != 1
    steps = _signed(count) if zigzag else count
    if not 0 < steps <= _MAX_PATH:
        raise undecodable("the frame's path to its message is none: is this a protobuf serialiser's frame?")
    path = []
    for _ in range(steps):
        step, at = _varint(value, at)
        path.append(_signed(step) if zigzag else step)
    return tuple(path), at


def _varint(value: bytes, at: int) -> tuple[int, int]:
    number = 0
    for place, byte in enumerate(value[at : at + _MAX_VARINT]):
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return number, at + place + 1
    raise undecodable("the frame's path to its message is cut, or a number in it is too long")


def _signed(zigzag: int) -> int:
    return (zigzag >> 1) ^ -(zigzag & 1)
