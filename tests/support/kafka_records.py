"""Records as teams submit them, the rules of one intake, and what is said when a record is refused."""

from __future__ import annotations

from base64 import b64decode
from typing import Any, Final

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.domain.consuming import Record
from service.domain.preferences import Floor
from service.edge.kafka import names
from service.edge.kafka.identity import Binding, Identities, OwnerTerms, Signer
from service.edge.kafka.records import Intake, IntakeRules, read_record
from service.edge.kafka.rejections import RejectedRecordError
from service.edge.kafka.signatures import sign

NOW: Final = 1_790_000_000.0
"""2026-09-21T14:13:20Z."""
LATER: Final = "2026-09-21T15:13:20Z"
EARLIER: Final = "2026-09-21T13:13:20Z"

TOPIC: Final = "team-a.requests"
SHARED: Final = "eurouter.submit.v1"

KEY: Final = Ed25519PrivateKey.from_private_bytes(b64decode("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="))
OTHER_KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(32))

ASKED: Final[dict[str, Any]] = {"model": "small", "input": "Name three rivers."}


def rules(**changes: Any) -> IntakeRules:
    """One topic bound to team-a, one shared by team-b and team-c, who sign."""
    identities = Identities(
        [Binding(TOPIC, "team-a", results_topic="team-a.results")],
        [
            Signer("b1", "team-b", KEY.public_key().public_bytes_raw()),
            Signer("c1", "team-c", OTHER_KEY.public_key().public_bytes_raw()),
        ],
        [
            OwnerTerms("team-a", Floor(eu_owned=True), frozenset({"team-a.urgent"})),
            OwnerTerms("team-b", Floor(max_retention_days=3)),
        ],
        trusted_owner_header=changes.pop("trusted_owner_header", None),
    )
    return IntakeRules(**{"identities": identities, **changes})


def record(value: object = None, **changes: Any) -> Record:
    """A record of team-a's topic; a value that is no bytes is written as JSON. `headers` as a mapping of text."""
    if value is None:
        value = ASKED
    given = changes.pop("headers", {})
    headers = [(name, text if isinstance(text, bytes) else text.encode()) for name, text in dict(given).items()]
    fields = {
        "topic": TOPIC,
        "partition": 3,
        "offset": 41,
        "timestamp_ms": 1_789_999_999_000,
        "key": b"order-17",
        "value": value if isinstance(value, bytes) else orjson.dumps(value),
        "headers": headers,
    }
    return Record(**{**fields, **changes})


def signed(value: object = None, by: Ed25519PrivateKey = KEY, **changes: Any) -> Record:
    """A record of the shared topic that team-b signed, with an expiry unless `headers` name another."""
    headers = {names.EXPIRES_AT: LATER, **changes.pop("headers", {})}
    bare = record(value, topic=SHARED, headers=headers, **changes)
    assert bare.value is not None
    signature = sign(by, "team-b", bare.topic, bare.key, bare.value, bare.headers)
    return record(
        bare.value,
        topic=SHARED,
        headers={**headers, names.KEY_ID: "b1", names.SIGNATURE: signature},
        **changes,
    )


def read(given: Record, **changes: Any) -> Intake:
    """The record as it is taken in."""
    return read_record(given, rules(**changes), NOW)


def refused(given: Record, **changes: Any) -> RejectedRecordError:
    """Why the record is not taken in."""
    with pytest.raises(RejectedRecordError) as caught:
        read(given, **changes)
    return caught.value
