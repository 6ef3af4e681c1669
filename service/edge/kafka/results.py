"""What the relay publishes: wake-ups, results, tombstones and dead letters as messages, by the contract.

Pure: a row and what the settings say, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, assert_never

import orjson
from eurouter.v1 import chat_pb2, jobs_pb2, response_object_pb2, responses_pb2

from service import wire
from service.api.responses.history import status_name, status_of
from service.api.responses.writer import shown
from service.domain.outbox import FinishedJob, Headers, OutboxKind, OutboxRow
from service.domain.publishing import Message
from service.edge.kafka import names
from service.edge.kafka.dead_letters import bare
from service.edge.kafka.framing import Form
from service.edge.kafka.origins import read_origin

Content: TypeAlias = Literal["full", "reference"]
Shown: TypeAlias = response_object_pb2.Response | chat_pb2.ChatCompletion

_JSON: Final = Form.JSON.value.encode()
_OBJECT: Final = "response"


@dataclass(frozen=True, slots=True)
class OutTopics:
    """Where messages go that name no topic of their own."""

    jobs: str
    results: str
    dlq: str


class Results:
    """Makes the messages of the outbox's rows: a relay's Render.

    `content`, read for every result: with `reference` no result holds what was answered.
    """

    def __init__(self, topics: OutTopics, content: Callable[[], Content] = lambda: "full") -> None:
        self._topics = topics
        self._content = content

    def render(self, row: OutboxRow, *, small: bool) -> Message | None:
        """The message of a row; None for a result whose response is gone. `small`: without content.

        Raises:
            ValueError: what the row says is not known here.
        """
        record = row.record
        match record.kind:
            case OutboxKind.WAKE:
                return Message(self._topics.jobs, record.key, record.key)
            case OutboxKind.RESULT:
                return self._result(row, small=small)
            case OutboxKind.TOMBSTONE:
                return Message(record.topic or self._topics.results, record.key, None, _version(row))
            case OutboxKind.DEAD_LETTER:
                letter = bare(record) if small else record
                return Message(letter.topic or self._topics.dlq, letter.key, letter.value, letter.headers)
            case OutboxKind.UNKNOWN:
                raise ValueError("a row of a newer version")
            case _:
                assert_never(record.kind)

    def _result(self, row: OutboxRow, *, small: bool) -> Message | None:
        finished, record = row.finished, row.record
        if finished is None:
            return None
        origin = read_origin(finished.origin)
        inline = not small and finished.response is not None and self._content() == "full"
        kind, value = _whole(finished, origin) if inline else _reference(finished, origin)
        headers = [
            (names.CONTENT_TYPE, kind),
            (names.STATUS, finished.state.value.encode()),
            (names.ATTEMPT, b"%d" % finished.attempt),
            *_version(row),
            (names.INLINE, b"true" if inline else b"false"),
            *_source(origin),
            *_trace(record.headers),
        ]
        return Message(record.topic or self._topics.results, record.key, value, headers)


def _whole(finished: FinishedJob, origin: jobs_pb2.StoredJobOrigin) -> tuple[bytes, bytes]:
    """Content type and value: the response as its owner would read it, or the completion of a chat request."""
    body = responses_pb2.StoredResponseBody.FromString(finished.response or b"")
    told: Shown = body.chat_completion if body.HasField("chat_completion") else _as_it_is(finished, body)
    return (_type(told), told.SerializeToString()) if origin.protobuf else (_JSON, wire.render_bytes(told))


def _reference(finished: FinishedJob, origin: jobs_pb2.StoredJobOrigin) -> tuple[bytes, bytes]:
    """Content type and value: which response it is and what became of it, without anything that was answered."""
    told = response_object_pb2.Response(id=finished.id, object=_OBJECT, status=status_of(finished.state.value))
    known = ["id", "object", "status"]
    if finished.response is not None:
        full = _as_it_is(finished, responses_pb2.StoredResponseBody.FromString(finished.response))
        told.created_at, told.model = full.created_at, full.model
        if full.HasField("error"):
            told.error.CopyFrom(full.error)
        known += ["created_at", "model", "error"]
    if origin.protobuf:
        return _type(told), told.SerializeToString()
    written = wire.render(told)
    # What nobody has read is left out: as null or 0 it would be wrong.
    return _JSON, orjson.dumps({name: written[name] for name in known})


def _as_it_is(finished: FinishedJob, body: responses_pb2.StoredResponseBody) -> response_object_pb2.Response:
    """As GetResponse shows it; its state is the job's, which may have been cancelled among many."""
    if status_name(body.response.status) != finished.state.value:
        body.response.status = status_of(finished.state.value)
    return shown(body.response, body.include)


def _type(message: Shown) -> bytes:
    return f"{Form.PROTOBUF}; proto={message.DESCRIPTOR.full_name}".encode()


def _version(row: OutboxRow) -> Headers:
    return [(names.VERSION, b"%d" % row.record.version)]


def _source(origin: jobs_pb2.StoredJobOrigin) -> Headers:
    """What the submitter is to know its result by; nothing for jobs of other doors."""
    found = []
    if origin.HasField("correlation_id"):
        found.append((names.CORRELATION_ID, origin.correlation_id))
    if origin.topic:
        if origin.HasField("key"):
            found.append((names.SOURCE_KEY, origin.key))
        found += [
            (names.SOURCE_TOPIC, origin.topic.encode()),
            (names.SOURCE_PARTITION, b"%d" % origin.partition),
            (names.SOURCE_OFFSET, b"%d" % origin.offset),
        ]
    return found


def _trace(headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name == names.TRACEPARENT and value]
