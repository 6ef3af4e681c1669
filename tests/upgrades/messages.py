"""Which messages stand in which columns of the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from eurouter.v1 import chat_pb2, jobs_pb2, response_events_pb2, responses_pb2
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

Kind = Literal["body", "input", "request", "event", "origin"]

COLUMNS: Final[tuple[tuple[str, str, Kind], ...]] = (
    ("responses", "response", "body"),
    ("responses", "input", "input"),
    ("job_requests", "request", "request"),
    ("response_events", "body", "event"),
    ("job_origins", "body", "origin"),
)

_TYPES: Final[Mapping[Kind, type[Message]]] = {
    "body": responses_pb2.StoredResponseBody,
    "input": responses_pb2.StoredResponseInput,
    "event": response_events_pb2.ResponseStreamEvent,
    "origin": jobs_pb2.StoredJobOrigin,
}
BY_NAME: Final[Mapping[str, type[Message]]] = {
    kind.DESCRIPTOR.full_name: kind  # type: ignore[attr-defined]  # the stubs give it to instances only
    for kind in (
        *_TYPES.values(),
        responses_pb2.CreateResponseRequest,
        chat_pb2.CreateChatCompletionRequest,
    )
}


def message_of(kind: Kind, body: bytes, connection: sqlite3.Connection) -> Message:
    """The message in a column; of requests the row of their job says which API they are for."""
    if kind != "request":
        return _TYPES[kind].FromString(body)
    (api,) = connection.execute(
        "SELECT api FROM jobs JOIN job_requests USING (id) WHERE request = ?", (body,)
    ).fetchone()
    return (
        chat_pb2.CreateChatCompletionRequest if api == "chat" else responses_pb2.CreateResponseRequest
    ).FromString(body)


def unknown_fields(message: Message, path: str = "") -> Iterator[str]:
    """The paths of fields that this code has no name for, in the message and all that it holds."""
    left: Any = UnknownFieldSet(message)
    for field in left:
        yield f"{path}{field.field_number}"
    for descriptor, value in message.ListFields():
        held: Any = value
        if descriptor.message_type is None:
            continue
        if descriptor.message_type.GetOptions().map_entry:
            held = [one for one in value.values() if isinstance(one, Message)]
        elif isinstance(value, Message):
            held = [value]
        for one in held:
            yield from unknown_fields(one, f"{path}{descriptor.name}.")
