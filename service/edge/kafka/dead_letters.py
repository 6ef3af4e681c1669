"""Dead letters: a record that is no job, as it came, with what tells why in headers beside its own; and back.

Three things are not as they came. The signature is gone, and so are headers that hold credentials elsewhere, which
a proxy may have copied, and those of an earlier dead letter, of which the record may be a copy. A header without a
value, which Kafka knows and the outbox doesn't, has an empty one, and `eurouter-dlq-null-headers` says which do:
their places among the record's own headers, from 0. What is too large for a message is left out, and a header says
what and how much: first the value, then a very long key and headers that mean nothing here. Such a letter can be
looked at; it is not whole, and can't be submitted again. A record that was damaged when it was read stays so, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from service.domain.consuming import RawHeaders, Record
from service.domain.dead_letters import DeadLetter
from service.domain.outbox import Headers, OutboxKind, OutboxRecord
from service.edge.kafka import names
from service.edge.kafka.rejections import RejectedRecordError
from service.edge.kafka.signatures import without_signature

MOST_BYTES: Final = 900_000
"""Of key, value and headers together; brokers and producers take a message of 1 MiB."""

MAX_MESSAGE: Final = 2000
"""Characters of the sentence that says what is wrong."""

CREDENTIALS: Final = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
"""Headers that nobody should send here, and that are not kept."""

_PREFIX: Final = "eurouter-dlq-"
_MOST_KEY: Final = 64 * 1024
_MOST_HEADERS: Final = 128 * 1024
_PER_HEADER: Final = 12
_MOST_PARTITIONS: Final = 2**31
_MOST: Final = 2**63
_LEFT_OUT: Final = (names.DLQ_VALUE_BYTES, names.DLQ_KEY_BYTES, names.DLQ_HEADERS_LEFT_OUT)

_Raw: TypeAlias = Sequence[tuple[str, bytes | None]]


def dead_letter(
    record: Record, rejected: RejectedRecordError, group: str, most_bytes: int = MOST_BYTES
) -> OutboxRecord:
    """The letter of a record that `group` read; small enough for a message of `most_bytes`."""
    about = _about(record, rejected, group)
    own = _own(record.headers)
    kept = _fitting(own)
    if len(kept) < len(own):
        about.append((names.DLQ_HEADERS_LEFT_OUT, b"%d" % (len(own) - len(kept))))
    nulls = [b"%d" % place for place, (_, value) in enumerate(kept) if value is None]
    if nulls:
        about.append((names.DLQ_NULL_HEADERS, b",".join(nulls)))
    key = record.key
    if key is not None and len(key) > _MOST_KEY:
        about.append((names.DLQ_KEY_BYTES, b"%d" % len(key)))
        key = None
    headers = [*((_writable(name), value or b"") for name, value in kept), *about]
    letter = OutboxRecord(OutboxKind.DEAD_LETTER, key, headers, record.value)
    return letter if _size(headers) + len(key or b"") + len(record.value or b"") <= most_bytes else bare(letter)


def bare(letter: OutboxRecord) -> OutboxRecord:
    """The letter without its value, and with a header that says how large that is."""
    if letter.value is None:
        return letter
    headers = [*letter.headers, (names.DLQ_VALUE_BYTES, b"%d" % len(letter.value))]
    return OutboxRecord(letter.kind, letter.key, headers, None, letter.topic, letter.version)


def read_dead_letter(record: Record) -> DeadLetter | None:
    """The letter that a record of the dead letters' topic is; None when it is none of ours.

    A value that was null is an empty one here where there was no key either: brokers' clients want one of the two.
    """
    about, own = _apart(record.headers)
    try:
        partition = _whole_number(about[names.DLQ_PARTITION], _MOST_PARTITIONS)
        offset = _whole_number(about[names.DLQ_OFFSET])
        timestamp_ms = _whole_number(about[names.DLQ_TIMESTAMP])
        nulls = {int(place) for place in about.get(names.DLQ_NULL_HEADERS, "").split(",") if place}
        value_bytes = _whole_number(about.get(names.DLQ_VALUE_BYTES, str(len(record.value or b""))))
        topic, reason = about[names.DLQ_TOPIC], about[names.DLQ_REASON]
    except (KeyError, ValueError):
        return None
    return DeadLetter(
        place=(record.partition, record.offset),
        created_ms=record.timestamp_ms,
        reason=reason,
        message=about.get(names.DLQ_MESSAGE, ""),
        owner=about.get(names.DLQ_OWNER, ""),
        group=about.get(names.DLQ_GROUP, ""),
        original=Record(
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp_ms=timestamp_ms,
            key=record.key,
            value=record.value,
            headers=[(name, None if place in nulls else value) for place, (name, value) in enumerate(own)],
            unreadable=about.get(names.DLQ_UNREADABLE, ""),
        ),
        value_bytes=value_bytes,
        whole=not any(name in about for name in _LEFT_OUT),
    )


def _whole_number(text: str, most: int = _MOST) -> int:
    """As Kafka has it in so many values.

    Raises:
        ValueError: it is none.
    """
    number = int(text)
    if not -most <= number < most:
        raise ValueError
    return number


def _about(record: Record, rejected: RejectedRecordError, group: str) -> list[tuple[str, bytes]]:
    message = rejected.message
    if len(message) > MAX_MESSAGE:
        message = message[: MAX_MESSAGE - 1] + "…"
    about = [
        (names.DLQ_TOPIC, record.topic),
        (names.DLQ_PARTITION, str(record.partition)),
        (names.DLQ_OFFSET, str(record.offset)),
        (names.DLQ_TIMESTAMP, str(record.timestamp_ms)),
        (names.DLQ_REASON, rejected.reason.value),
        (names.DLQ_MESSAGE, message),
        (names.DLQ_GROUP, group),
    ]
    if record.unreadable:
        about.append((names.DLQ_UNREADABLE, record.unreadable))
    if rejected.owner:
        about.append((names.DLQ_OWNER, rejected.owner))
    return [(name, text.encode(errors="backslashreplace")) for name, text in about]


def _own(headers: RawHeaders) -> _Raw:
    return [
        (name, value)
        for name, value in without_signature(headers)
        if not _is_about(name) and name.lower() not in CREDENTIALS
    ]


def _is_about(name: str) -> bool:
    return name.lower().startswith(_PREFIX)


def _fitting(own: _Raw) -> _Raw:
    """The headers, or those that mean something here, or none: whatever is small enough."""
    if _size(own) <= _MOST_HEADERS:
        return own
    known = [(name, value) for name, value in own if name.lower() in names.READ]
    return known if _size(known) <= _MOST_HEADERS else []


def _size(headers: RawHeaders | Headers) -> int:
    return sum(_PER_HEADER + len(_writable(name).encode()) + len(value or b"") for name, value in headers)


def _writable(name: str) -> str:
    """A name as UTF-8 has it: one that came in other bytes holds what stands for them."""
    return name.encode(errors="backslashreplace").decode()


def _apart(headers: RawHeaders) -> tuple[Mapping[str, str], _Raw]:
    """What tells why a record is a dead letter, and its own headers."""
    about = {name.lower(): (value or b"").decode(errors="replace") for name, value in headers if _is_about(name)}
    return about, [(name, value) for name, value in headers if not _is_about(name)]
