"""Headers and reasons of the Kafka contract, described for who reads the published document. No logic.

The names are those of `names`; a test sees to it that none is missing and none is in two places.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from service.edge.calls import REQUEST_ID
from service.edge.kafka import names
from service.edge.kafka.ids import DERIVED
from service.edge.kafka.records import MAX_CORRELATION_BYTES
from service.edge.kafka.rejections import Rejection

Schema: TypeAlias = Mapping[str, Any]

RESPONSE_ID_PATTERN: Final = "^resp_[0-9a-f]{36}$"


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


_TRACEPARENT: Final = "W3C Trace Context"

SUBMITTED: Final[dict[str, Schema]] = {
    names.CONTENT_TYPE: _text(
        "How the value is written. May be left out for a JSON object and for values in a schema registry's frame.",
        examples=["application/json", "application/protobuf"],
    ),
    names.API: _text(
        "Which API's request the value is. A Batch line says it by its url.",
        enum=["responses", "chat"],
        default="responses",
    ),
    names.IDEMPOTENCY_KEY: _text(
        "With the owner it is the job's identity: a second record with the same is the same job, with another "
        "request a dead letter. Without it every record is a job of its own.",
        pattern="^[!-~]{1,255}$",
        examples=["order-17"],
    ),
    names.CORRELATION_ID: _text(
        f"Returned with the result as it came; any bytes, {MAX_CORRELATION_BYTES} at most. Without it a Batch "
        "line's custom_id is returned.",
    ),
    names.RESPONSE_ID: _text(
        f"The id that the response shall have. Without it the id is resp_{DERIVED} and the first 32 hexadecimal "
        "digits of the SHA-256 of owner, line feed and idempotency key; one that is chosen may not begin so.",
        pattern=f"^resp_(?!{DERIVED})[0-9a-f]{{36}}$",
    ),
    names.PRIORITY: _text(
        "How soon the job is due. Without it: what the topic's binding says, else what service_tier suggests "
        "(priority: high, flex: bulk), else normal.",
        enum=["high", "normal", "bulk"],
    ),
    names.RUN_AT: _text("Not to be started before.", format="date-time", examples=["2026-11-22T08:00:00Z"]),
    names.EXPIRES_AT: _text(
        "Failed with the code expired when not started by then; a record that comes later is a dead letter. "
        "A signed record must have it.",
        format="date-time",
    ),
    names.GROUP: _text(
        "A label to list, count and cancel jobs by.", pattern="^[A-Za-z0-9._:/@-]{1,128}$", examples=["nightly"]
    ),
    names.REPLY_TOPIC: _text(
        "The topic for this job's result, one of those that the owner's settings list in reply_topics."
    ),
    names.TRACEPARENT: _text(f"{_TRACEPARENT}: the trace that the job belongs to; its result carries it, too."),
    names.TRACESTATE: _text(f"{_TRACEPARENT}: the vendors' part of it."),
    REQUEST_ID: _text("Names the submission in logs. Without it one is made."),
    names.SIGNATURE: _text(
        "Ed25519 (RFC 8032) in base64 over topic, key, SHA-256 of the value, owner and the headers that say what "
        "becomes of the record. Needed on topics that no owner is bound to.",
        contentEncoding="base64",
    ),
    names.KEY_ID: _text("The id under which the owner's settings list the public key."),
}
"""On records that are submitted."""

PUBLISHED: Final[dict[str, Schema]] = {
    names.CONTENT_TYPE: _text(
        "How the value is written: as the submission was.",
        examples=["application/json", "application/protobuf; proto=eurouter.v1.Response"],
    ),
    names.STATUS: _text(
        "How the job ended; the response's status.", enum=["completed", "incomplete", "failed", "cancelled"]
    ),
    names.ATTEMPT: _text(
        "How many runs failed or were lost, and the one that ended it, in decimal.", pattern="^[0-9]+$"
    ),
    names.VERSION: _text(
        "Rises with every state of a response, in decimal. Together with the key it tells repeats: what has the "
        "same or a lower version than what was seen under its key is none that is new.",
        pattern="^[0-9]+$",
    ),
    names.INLINE: _text(
        "false: the value is a reference, without output; fetch the response by its id.", enum=["true", "false"]
    ),
    names.CORRELATION_ID: _text("As it was submitted; absent when nothing was."),
    names.SOURCE_KEY: _text("The key of the submitted record; absent when it had none."),
    names.SOURCE_TOPIC: _text("The topic of the submitted record. Jobs of other doors have none of these four."),
    names.SOURCE_PARTITION: _text("Its partition, in decimal.", pattern="^[0-9]+$"),
    names.SOURCE_OFFSET: _text("Its offset, in decimal.", pattern="^[0-9]+$"),
    names.TRACEPARENT: _text(f"{_TRACEPARENT}, with the trace that was submitted, or a new one."),
}
"""On results."""

TOMBSTONE: Final[dict[str, Schema]] = {names.VERSION: PUBLISHED[names.VERSION]}
"""On what says that a response is gone."""

DEAD_LETTER: Final[dict[str, Schema]] = {
    names.DLQ_REASON: _text("Why the record is no job.", enum=[reason.value for reason in Rejection]),
    names.DLQ_MESSAGE: _text("The same for people: what is wrong, fields by their paths, and what to do."),
    names.DLQ_TOPIC: _text("The topic that the record was submitted to."),
    names.DLQ_PARTITION: _text("Its partition there, in decimal.", pattern="^[0-9]+$"),
    names.DLQ_OFFSET: _text("Its offset there, in decimal.", pattern="^[0-9]+$"),
    names.DLQ_TIMESTAMP: _text("Its own time, in milliseconds since 1970, in decimal.", pattern="^-?[0-9]+$"),
    names.DLQ_GROUP: _text("The consumer group that read it."),
    names.DLQ_OWNER: _text("Whose it is; absent when nobody knows."),
    names.DLQ_VALUE_BYTES: _text(
        "The size of a value that is too large to be kept, in decimal; the letter has none then.",
        pattern="^[0-9]+$",
    ),
    names.DLQ_KEY_BYTES: _text("The same of a key that is too large to be kept.", pattern="^[0-9]+$"),
    names.DLQ_HEADERS_LEFT_OUT: _text(
        "How many of the record's headers are too large to be kept, in decimal.", pattern="^[0-9]+$"
    ),
    names.DLQ_NULL_HEADERS: _text(
        "Which of the record's headers were null and are empty here: their places, from 0, with commas between."
    ),
    names.DLQ_UNREADABLE: _text(
        "Why the record itself was damaged or could not be read as a whole; absent when it was well."
    ),
}
"""On dead letters, beside the record's own without its signature."""

REASONS: Final[Mapping[Rejection, str]] = {
    Rejection.UNDECODABLE: "the value is no JSON object and no message of ours, or it is cut",
    Rejection.UNKNOWN_CONTENT_TYPE: "content-type names something other than JSON and protobuf",
    Rejection.UNKNOWN_API: "eurouter-api, or a Batch line's url, names no API that takes jobs",
    Rejection.TOO_LARGE: "the value or the key has too many bytes",
    Rejection.UNAUTHENTICATED: "nothing says whose record it is, or it is signed and has no eurouter-expires-at",
    Rejection.BAD_SIGNATURE: "the signature is wrong, or its key is not registered",
    Rejection.EXPIRED: "eurouter-expires-at had passed when the record was read",
    Rejection.FOREIGN_REPLY_TOPIC: "reply-topic names a topic that the owner's settings don't list",
    Rejection.INVALID: "a field or header has a value that can't be; the message names it",
    Rejection.UNKNOWN_MODEL: "the catalogue has no such model",
    Rejection.NOT_ALLOWED: "a filter of the request, its owner or the operator leaves no endpoint for it",
    Rejection.IDENTITY_CONFLICT: "another request was accepted under the same identity",
    Rejection.INTERNAL: "a fault of the service that this record alone meets: tell its operator",
}
"""What each reason means; the message in the letter says it of that record."""
