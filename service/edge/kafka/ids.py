"""Which job a record is: its idempotency key and its response's id, where the record names none.

Clients compute the same to know their response before anybody has read the record: what stands here never changes.
"""

from __future__ import annotations

import hashlib
from typing import Final

from service.api.responses.ids import is_response_id, new_response_id
from service.domain.consuming import Record

DERIVED: Final = "4b41"
"""The first digits of ids that are made here. Nobody may choose such an id: whoever can guess another owner's key
could take the id of its record."""

_DIGITS: Final = 32


def key_of(record: Record, signed: bytes | None) -> str:
    """The idempotency key of a record without one, which is the record's alone.

    It is `record-` and the SHA-256, in hexadecimal, of topic, partition, offset and timestamp (decimal,
    milliseconds), a line feed after each, and the value. Of a signed record, wherever it stands, it is `signed-`
    and the SHA-256 of what the signature covers: a copy of it is the same job.
    """
    if signed is not None:
        return "signed-" + hashlib.sha256(signed).hexdigest()
    # Coordinates alone come again when a topic is made anew.
    place = f"{record.topic}\n{record.partition}\n{record.offset}\n{record.timestamp_ms}\n"
    digest = hashlib.sha256(place.encode())
    digest.update(record.value or b"")
    return "record-" + digest.hexdigest()


def response_id_of(owner: str, key: str) -> str:
    """The id of the response that an owner's record with this idempotency key makes.

    `resp_4b41` and the first 32 hexadecimal digits of the SHA-256 of owner, line feed and key, in UTF-8. Keys hold
    no line feed, so no two pairs are the same text.
    """
    return new_response_id(DERIVED + hashlib.sha256(f"{owner}\n{key}".encode()).hexdigest()[:_DIGITS])


def may_be_chosen(response_id: str) -> bool:
    """Whether a client may name this id for its response."""
    return is_response_id(response_id) and not response_id.startswith(new_response_id(DERIVED))
