"""The topics of a run, read whole in the end, from where they were when it began; as records of its history."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from aiokafka import ConsumerRecord, TopicPartition
from eurouter.v1 import chat_pb2, response_object_pb2
from google.protobuf.message import DecodeError

from service.edge.kafka import names
from service.wire import render_bytes
from tests.chaos.history import History
from tests.chaos.kafka_history import Headers, Json, Letter, Place, Published, Sent
from tests.chaos.record_requests import (
    BOUND,
    BOUND_RESULTS,
    DEAD_LETTERS,
    EXPECTED,
    INTAKE_TOPICS,
    JOB,
    NAME,
    REPLIES,
    RESULT_TOPICS,
    RESULTS,
    id_of_key,
    key_without,
)
from tests.support.kafka_clients import Kafka

Raw: TypeAlias = ConsumerRecord[bytes | None, bytes | None]
Offsets: TypeAlias = Mapping[tuple[str, int], int]
T = TypeVar("T")

TOPICS: Final = (*INTAKE_TOPICS, *RESULT_TOPICS, DEAD_LETTERS)

_MESSAGES: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "application/protobuf; proto=eurouter.v1.Response": response_object_pb2.Response.FromString,
    "application/protobuf; proto=eurouter.v1.ChatCompletion": chat_pb2.ChatCompletion.FromString,
}


async def ends(kafka: Kafka) -> Offsets:
    """Where each partition of each topic ends now."""
    consumer = kafka.consumer()
    await consumer.start()
    try:
        async with kafka.admin() as admin:
            described = await admin.describe_topics(list(TOPICS))
        partitions = [TopicPartition(one["topic"], p["partition"]) for one in described for p in one["partitions"]]
        found = await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()
    return {(partition.topic, partition.partition): offset for partition, offset in found.items()}


async def read_topics(kafka: Kafka, since: Offsets, history: History) -> None:
    """Fills the history with all that the topics hold now."""
    assert history.kafka is not None
    records = [
        one for one in await kafka.records(*TOPICS) if one.offset >= since.get((one.topic, one.partition), 0)
    ]
    history.kafka.sent = _of(records, INTAKE_TOPICS, sent_of)
    history.kafka.published = _of(records, RESULT_TOPICS, published_of)
    history.kafka.letters = _of(records, (DEAD_LETTERS,), letter_of)
    by_name = {submission.name: submission for submission in history.submissions}
    for sent in history.kafka.sent:
        if sent.expected == JOB and sent.name in by_name:
            submission = by_name[sent.name]
            submission.ids = [*dict.fromkeys([*submission.ids, sent.job])]


def sent_of(record: Raw) -> Sent:
    """A record of an intake topic."""
    headers = _headers(record)
    text = dict(headers)
    place = _place(record)
    key = text.get(names.IDEMPOTENCY_KEY) or key_without(*place, record.timestamp, record.value)
    results = text.get(names.REPLY_TOPIC) or (BOUND_RESULTS if record.topic == BOUND else RESULTS)
    return Sent(
        place=place,
        timestamp=record.timestamp,
        name=text.get(NAME, "?"),
        job=text.get(names.RESPONSE_ID) or id_of_key(key),
        expected=text.get(EXPECTED, "?"),
        results=results if results in (BOUND_RESULTS, RESULTS, REPLIES) else RESULTS,
        correlation=text.get(names.CORRELATION_ID) or f"correlation-of-{text.get(NAME)}",
        protobuf=text.get(names.CONTENT_TYPE, "").startswith("application/protobuf"),
        chat=text.get(names.API) == "chat" or b'"/v1/chat/completions"' in (record.value or b""),
        key=_text(record.key),
        value=_digest(record.value),
        headers=headers,
    )


def published_of(record: Raw) -> Published:
    """A record of a results topic."""
    headers = _headers(record)
    value = None if record.value is None else _value(record.value, dict(headers).get(names.CONTENT_TYPE, ""))
    return Published(_place(record), _text(record.key) or "?", value, headers)


def letter_of(record: Raw) -> Letter:
    """A record of the dead letters' topic. One without coordinates has those of nothing."""
    headers = _headers(record)
    text = dict(headers)
    try:
        original = (text[names.DLQ_TOPIC], int(text[names.DLQ_PARTITION]), int(text[names.DLQ_OFFSET]))
    except (KeyError, ValueError):
        original = ("?", -1, -1)
    reason = text.get(names.DLQ_REASON, "?")
    return Letter(_place(record), original, reason, _text(record.key), _digest(record.value), headers)


def _of(records: Sequence[Raw], topics: Sequence[str], make: Callable[[Raw], T]) -> list[T]:
    return [make(record) for record in records if record.topic in topics]


def _value(value: bytes, content_type: str) -> Json:
    try:
        made: Json = json.loads(
            render_bytes(_MESSAGES[content_type](value)) if content_type in _MESSAGES else value
        )
    except (ValueError, DecodeError) as error:
        return {"unreadable": f"{content_type}: {error}"}
    return made


def _place(record: Raw) -> Place:
    return (record.topic, record.partition, record.offset)


def _headers(record: Raw) -> Headers:
    return [(name, (value or b"").decode("latin-1")) for name, value in record.headers]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _digest(value: bytes | None) -> str | None:
    return None if value is None else hashlib.sha256(value).hexdigest()
