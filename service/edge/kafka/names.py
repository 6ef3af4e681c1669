"""The names of all headers of the Kafka contract, in one place. No logic.

What is published of the contract is checked against this module.
"""

from __future__ import annotations

from typing import Final

from service.api.responses.idempotency import FIELD as IDEMPOTENCY_KEY
from service.edge.calls import REQUEST_ID
from service.edge.submission import EXPIRES_AT, GROUP, PRIORITY, RUN_AT

# In: on records that are submitted. Those of a submission are the same at every door.
CONTENT_TYPE: Final = "content-type"
API: Final = "eurouter-api"
CORRELATION_ID: Final = "correlation-id"
RESPONSE_ID: Final = "eurouter-response-id"
REPLY_TOPIC: Final = "reply-topic"
TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
SIGNATURE: Final = "eurouter-signature"
KEY_ID: Final = "eurouter-key-id"

SIGNED: Final = (
    EXPIRES_AT,
    CONTENT_TYPE,
    API,
    IDEMPOTENCY_KEY,
    CORRELATION_ID,
    RESPONSE_ID,
    PRIORITY,
    RUN_AT,
    GROUP,
    REPLY_TOPIC,
)
"""What a signature covers, in its order: every header that says what becomes of a record."""

PASSED_ON: Final = frozenset({TRACEPARENT, TRACESTATE, REQUEST_ID})
"""Headers that agents along the way write anew: not signed, and replaced where they are malformed."""

READ: Final = frozenset({*SIGNED, *PASSED_ON, SIGNATURE, KEY_ID})
"""All that is read of a submitted record; others are left alone."""

# Out: on results, beside content-type, correlation-id and traceparent.
STATUS: Final = "eurouter-status"
ATTEMPT: Final = "eurouter-attempt"
VERSION: Final = "eurouter-version"
INLINE: Final = "eurouter-inline"
SOURCE_KEY: Final = "eurouter-source-key"
SOURCE_TOPIC: Final = "eurouter-source-topic"
SOURCE_PARTITION: Final = "eurouter-source-partition"
SOURCE_OFFSET: Final = "eurouter-source-offset"

# On dead letters, beside the record's own without its signature.
DLQ_TOPIC: Final = "eurouter-dlq-original-topic"
DLQ_PARTITION: Final = "eurouter-dlq-original-partition"
DLQ_OFFSET: Final = "eurouter-dlq-original-offset"
DLQ_TIMESTAMP: Final = "eurouter-dlq-original-timestamp"
DLQ_REASON: Final = "eurouter-dlq-reason"
DLQ_MESSAGE: Final = "eurouter-dlq-message"
DLQ_GROUP: Final = "eurouter-dlq-original-consumer-group"
DLQ_OWNER: Final = "eurouter-dlq-owner"
DLQ_VALUE_BYTES: Final = "eurouter-dlq-value-bytes"
DLQ_KEY_BYTES: Final = "eurouter-dlq-key-bytes"
DLQ_HEADERS_LEFT_OUT: Final = "eurouter-dlq-headers-left-out"
DLQ_NULL_HEADERS: Final = "eurouter-dlq-null-headers"
DLQ_UNREADABLE: Final = "eurouter-dlq-unreadable"

__all__ = [
    "API",
    "ATTEMPT",
    "CONTENT_TYPE",
    "CORRELATION_ID",
    "DLQ_GROUP",
    "DLQ_HEADERS_LEFT_OUT",
    "DLQ_KEY_BYTES",
    "DLQ_MESSAGE",
    "DLQ_NULL_HEADERS",
    "DLQ_OFFSET",
    "DLQ_OWNER",
    "DLQ_PARTITION",
    "DLQ_REASON",
    "DLQ_TIMESTAMP",
    "DLQ_TOPIC",
    "DLQ_UNREADABLE",
    "DLQ_VALUE_BYTES",
    "EXPIRES_AT",
    "GROUP",
    "IDEMPOTENCY_KEY",
    "INLINE",
    "KEY_ID",
    "PASSED_ON",
    "PRIORITY",
    "READ",
    "REPLY_TOPIC",
    "REQUEST_ID",
    "RESPONSE_ID",
    "RUN_AT",
    "SIGNATURE",
    "SIGNED",
    "SOURCE_KEY",
    "SOURCE_OFFSET",
    "SOURCE_PARTITION",
    "SOURCE_TOPIC",
    "STATUS",
    "TRACEPARENT",
    "TRACESTATE",
    "VERSION",
]
