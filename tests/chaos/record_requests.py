"""Requests that come as records: what each is, how it is written down, and what must become of it. Pure.

All that is expected of a record stands in it, in two headers that the service leaves alone: whoever reads the
topic later needs nothing else to judge it.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eurouter.v1 import chat_pb2, responses_pb2

from service.edge.kafka import names
from service.edge.kafka.signatures import sign
from service.wire import parse

if TYPE_CHECKING:
    from tests.chaos.schedule import Request

Api: TypeAlias = Literal["responses", "chat"]
Headers: TypeAlias = list[tuple[str, bytes]]

OWNER: Final = "local"
BOUND: Final = "chaos.requests"
"""The topic that is bound to the owner; its results go to BOUND_RESULTS."""
BOUND_RESULTS: Final = "chaos.results"
SHARED: Final = "eurouter.submit.v1"
"""Records there are signed; their results go to RESULTS, as those of all doors do."""
RESULTS: Final = "eurouter.results.v1"
REPLIES: Final = "chaos.replies"
"""Where results go of which a record says so."""
DEAD_LETTERS: Final = "eurouter.dlq.v1"
INTAKE_TOPICS: Final = (BOUND, SHARED)
RESULT_TOPICS: Final = (RESULTS, BOUND_RESULTS, REPLIES)

MAX_RECORD_BYTES: Final = 65_536
KEY_ID: Final = "chaos"
NAME: Final = "chaos-name"
EXPECTED: Final = "chaos-expected"
"""The header that says what a record must become: JOB, or the reason in its dead letter."""
JOB: Final = "job"
CONFLICT: Final = "identity_conflict"

_KEY: Final = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"chaos").digest())
_FOREIGN_KEY: Final = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"nobody").digest())
PUBLIC_KEY: Final = b64encode(_KEY.public_key().public_bytes_raw()).decode()

_HOUR: Final = 3600.0
_FRAME: Final = b"\x00\x00\x00\x00\x07\x00"
_PROTOBUF: Final = b"application/protobuf"
_MESSAGES: Final[Mapping[Api, type[Any]]] = {
    "responses": responses_pb2.CreateResponseRequest,
    "chat": chat_pb2.CreateChatCompletionRequest,
}


class Form(StrEnum):
    """How a request is written down."""

    JSON = "json"
    BARE = "bare"
    """JSON without a content type."""
    LINE = "line"
    """A line of the Batch format."""
    PROTOBUF = "protobuf"
    FRAMED = "framed"
    """Protobuf in a schema registry's frame."""


class Flaw(StrEnum):
    """What is wrong with a record."""

    CUT = "cut"
    EMPTY = "empty"
    CONTENT_TYPE = "content-type"
    FIELD = "field"
    MODEL = "model"
    API = "api"
    PRIORITY = "priority"
    EXPIRED = "expired"
    REPLY = "reply"
    LARGE = "large"
    UNSIGNED = "unsigned"
    FORGED = "forged"


REASONS: Final = {
    Flaw.CUT: "undecodable",
    Flaw.EMPTY: "undecodable",
    Flaw.CONTENT_TYPE: "unknown_content_type",
    Flaw.FIELD: "invalid",
    Flaw.MODEL: "unknown_model",
    Flaw.API: "unknown_api",
    Flaw.PRIORITY: "invalid",
    Flaw.EXPIRED: "expired",
    Flaw.REPLY: "foreign_reply_topic",
    Flaw.LARGE: "too_large",
    Flaw.UNSIGNED: "unauthenticated",
    Flaw.FORGED: "bad_signature",
}
"""The reason in a record's dead letter."""


@dataclass(frozen=True, slots=True)
class RecordRequest:
    """A request that comes as a record; `request` says all that it would say at another door.

    Repeats of one with a key are records of their own; one without has none. `chosen`: it names its response's
    id. `signed`: it comes by the shared topic. `reply`: it names where its result is to go. `delete`: seconds
    after which its response is deleted, counted from when it is there, or over (`when_over`).
    """

    request: Request
    api: Api = "responses"
    form: Form = Form.JSON
    chosen: bool = False
    signed: bool = False
    reply: bool = False
    flaw: Flaw | None = None
    delete: float | None = None
    when_over: bool = False

    @property
    def correlation_id(self) -> str:
        """What its result names it by."""
        return f"correlation-of-{self.request.name}"

    @property
    def job(self) -> str | None:
        """The response's id, where it is known before the record stands in its topic."""
        if self.chosen:
            return "resp_" + hashlib.sha256(f"chosen {self.request.name}".encode()).hexdigest()[:36]
        return None if self.request.key is None else id_of_key(self.request.key)


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record as its producer has it."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


def id_of_key(key: str) -> str:
    """The id of a response, by the rule that clients are told."""
    return "resp_4b41" + hashlib.sha256(f"{OWNER}\n{key}".encode()).hexdigest()[:32]


def key_without(topic: str, partition: int, offset: int, timestamp: int, value: bytes | None) -> str:
    """The idempotency key of a record that has none, by the rule that clients are told."""
    place = f"{topic}\n{partition}\n{offset}\n{timestamp}\n".encode()
    return "record-" + hashlib.sha256(place + (value or b"")).hexdigest()


def record_of(asked: RecordRequest, now: float, *, other: bool = False) -> NewRecord:
    """The record, sent at `now` (Unix seconds). `other`: another request under the same key."""
    body = _body(asked, other=other)
    headers, written = _written(asked, body)
    if asked.form is not Form.LINE:
        headers.append((names.CORRELATION_ID, asked.correlation_id.encode()))
    if asked.request.key is not None:
        headers.append((names.IDEMPOTENCY_KEY, asked.request.key.encode()))
    if asked.chosen and asked.job is not None:
        headers.append((names.RESPONSE_ID, asked.job.encode()))
    if asked.reply:
        headers.append((names.REPLY_TOPIC, REPLIES.encode()))
    expected = CONFLICT if other else JOB if asked.flaw is None else REASONS[asked.flaw]
    headers += [(NAME, asked.request.name.encode()), (EXPECTED, expected.encode())]
    value = _spoilt(asked.flaw, headers, written)
    # Records with the same key are read in their order: whoever comes first gets the identity.
    key = asked.request.name.encode() if asked.request.keyed or value is None else None
    topic = SHARED if asked.signed else BOUND
    if asked.signed and asked.flaw is not Flaw.UNSIGNED:
        headers.append((names.EXPIRES_AT, _time(now + _HOUR)))
        private = _FOREIGN_KEY if asked.flaw is Flaw.FORGED else _KEY
        signature = sign(private, OWNER, topic, key, value or b"", headers)
        headers += [(names.KEY_ID, KEY_ID.encode()), (names.SIGNATURE, signature)]
    return NewRecord(topic, key, value, headers)


def _body(asked: RecordRequest, *, other: bool) -> dict[str, Any]:
    prompt = f"not {asked.request.prompt}" if other else asked.request.prompt
    body: dict[str, Any] = {"model": f"chaos/{asked.request.model}"}
    if asked.flaw is Flaw.MODEL:
        body["model"] = "chaos/nobody-knows"
    if asked.api == "chat":
        body["messages"] = [{"role": "user", "content": prompt}]
    else:
        body["input"] = prompt
    return body | ({"stream": True} if asked.request.streamed else {})


def _written(asked: RecordRequest, body: dict[str, Any]) -> tuple[Headers, bytes]:
    headers: Headers = []
    if asked.api == "chat" and asked.form is not Form.LINE:
        headers.append((names.API, b"chat"))
    if asked.form in (Form.PROTOBUF, Form.FRAMED):
        message: bytes = parse(_MESSAGES[asked.api], body).SerializeToString()
        headers.append((names.CONTENT_TYPE, _PROTOBUF))
        return headers, message if asked.form is Form.PROTOBUF else _FRAME + message
    if asked.flaw is Flaw.FIELD:
        body["no_such_field"] = 1
    if asked.form is Form.LINE:
        url = "/v1/chat/completions" if asked.api == "chat" else "/v1/responses"
        body = {"custom_id": asked.correlation_id, "method": "POST", "url": url, "body": body}
    if asked.form is not Form.BARE:
        headers.append((names.CONTENT_TYPE, b"application/json"))
    return headers, json.dumps(body).encode()


def _spoilt(flaw: Flaw | None, headers: Headers, value: bytes) -> bytes | None:
    match flaw:
        case Flaw.CUT:
            return value[:-1]
        case Flaw.EMPTY:
            return None
        case Flaw.LARGE:
            return value + b" " * MAX_RECORD_BYTES
        case Flaw.CONTENT_TYPE:
            headers[:] = [header for header in headers if header[0] != names.CONTENT_TYPE]
            headers.append((names.CONTENT_TYPE, b"image/png"))
        case Flaw.API:
            headers[:] = [header for header in headers if header[0] != names.API]
            headers.append((names.API, b"images"))
        case Flaw.PRIORITY:
            headers.append((names.PRIORITY, b"urgent"))
        case Flaw.EXPIRED:
            headers.append((names.EXPIRES_AT, _time(_HOUR)))
        case Flaw.REPLY:
            headers[:] = [header for header in headers if header[0] != names.REPLY_TOPIC]
            headers.append((names.REPLY_TOPIC, b"somebody.elses"))
        case _:
            pass
    return value


def _time(seconds: float) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").encode()
