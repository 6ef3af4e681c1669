"""Signatures of records on topics that several owners share. Who may sign for whom stands in `identity`.

A signature is Ed25519 (RFC 8032) over these bytes, in this order:

1. the 18 bytes `eurouter-record-v1`;
2. as parts: the topic, the record's key, the SHA-256 of its value (32 bytes), the owner;
3. as parts: the values of the headers in `names.SIGNED`, in the order given there.

A part is its length in bytes as four bytes, big-endian, and then itself; one that is not there (a null key, a
header that was not sent or is null) is the four bytes ff ff ff ff. Text is UTF-8. So no part can be mistaken for
another, and an empty header is not a missing one.

`eurouter-expires-at` has to be there, and a record that comes later is refused: it bounds for how long somebody
who can read the topic could send the same record again. Until then that does nothing either: the identity of the
job is signed too, by the header `idempotency-key` or, without one, as all of the above, so that the copy is taken
for the job that there is, or that there was: identities of deleted responses are kept for as long as their
responses would have been. For the same reason two records that are alike in everything above are one job: give
each an idempotency key to have two.

The signature travels as base64 with padding in `eurouter-signature`, the public key's id in `eurouter-key-id`.
"""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from service.domain.consuming import RawHeaders
from service.edge.kafka.names import SIGNATURE, SIGNED
from service.edge.kafka.record import read_headers

_VERSION: Final = b"eurouter-record-v1"
_MISSING: Final = b"\xff\xff\xff\xff"


def signed_bytes(
    owner: str, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]
) -> bytes:
    """What a signature covers; `headers` by their names in lower case. See the module's description."""
    parts = [topic.encode(), key, hashlib.sha256(value or b"").digest(), owner.encode()]
    return _VERSION + b"".join(map(_part, parts)) + b"".join(_part(headers.get(name)) for name in SIGNED)


def _part(value: bytes | None) -> bytes:
    return _MISSING if value is None else len(value).to_bytes(4, "big") + value


def sign(
    private_key: Ed25519PrivateKey,
    owner: str,
    topic: str,
    key: bytes | None,
    value: bytes,
    headers: RawHeaders,
) -> bytes:
    """The value of `eurouter-signature` for a record with these headers; add it and `eurouter-key-id` to them."""
    covered = signed_bytes(owner, topic, key, value, read_headers(headers).raw)
    return b64encode(private_key.sign(covered))


def is_signed(public_key: Ed25519PublicKey, signature: str, covered: bytes) -> bool:
    """Whether `signature`, in base64, is this key's over `covered`."""
    try:
        public_key.verify(b64decode(signature, validate=True), covered)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def without_signature(headers: RawHeaders) -> list[tuple[str, bytes | None]]:
    """The headers as they may be kept: a signature that nobody has can't be used again."""
    return [(name, value) for name, value in headers if name.lower() != SIGNATURE]
