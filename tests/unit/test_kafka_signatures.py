"""Signatures of records: what they cover, to the byte, and that nothing of it can be changed."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from service.domain.consuming import Record
from service.edge.kafka import names
from service.edge.kafka.records import read_record
from service.edge.kafka.rejections import RejectedRecordError, Rejection
from service.edge.kafka.signatures import is_signed, sign, signed_bytes, without_signature
from tests.support.kafka_records import EARLIER, KEY, LATER, NOW, OTHER_KEY, SHARED, read, refused, rules, signed

ALL = {
    "content-type": "application/json",
    "eurouter-api": "responses",
    "idempotency-key": "order-17",
    "correlation-id": "c",
    "eurouter-response-id": "resp_" + "0a" * 18,
    "eurouter-priority": "bulk",
    "eurouter-run-at": "2026-09-21T14:43:20Z",
    "eurouter-group": "nightly",
}


def part(value: bytes | None) -> bytes:
    return b"\xff\xff\xff\xff" if value is None else len(value).to_bytes(4, "big") + value


def test_a_signature_covers_these_bytes_and_no_others() -> None:
    value = b'{"model":"small"}'
    headers = {"eurouter-expires-at": LATER.encode(), "idempotency-key": b"order-17", "traceparent": b"x"}
    covered = signed_bytes("team-b", "t", None, value, headers)
    assert covered == (
        b"eurouter-record-v1"
        + part(b"t")
        + part(None)
        + part(hashlib.sha256(value).digest())
        + part(b"team-b")
        + part(LATER.encode())
        + part(None) * 2
        + part(b"order-17")
        + part(None) * 6
    )
    assert names.SIGNED == (
        "eurouter-expires-at",
        "content-type",
        "eurouter-api",
        "idempotency-key",
        "correlation-id",
        "eurouter-response-id",
        "eurouter-priority",
        "eurouter-run-at",
        "eurouter-group",
        "reply-topic",
    )


def test_the_signature_of_a_fixed_record_never_changes() -> None:
    # Clients in other languages make the same one.
    headers: list[tuple[str, bytes | None]] = [("eurouter-expires-at", b"2026-11-22T08:00:00Z"), ("other", b"x")]
    made = sign(KEY, "team-b", SHARED, b"order-17", b'{"model":"small"}', headers)
    assert made == b"qT/1IEZ9atAxSY8zuvijZmmZXv3Wa/Zw70yCSbYsGGroN5Pw8L2wyh8K4H1ND70/pdI18kC/evfKFXsC2vJAAw=="
    public = KEY.public_key().public_bytes_raw().hex()
    assert public == "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"


def test_all_that_is_acted_on_is_signed() -> None:
    assert names.READ - names.PASSED_ON - {names.SIGNATURE, names.KEY_ID} == set(names.SIGNED)


def test_no_two_headers_of_the_contract_have_one_name() -> None:
    texts = [text for constant in names.__all__ if isinstance(text := getattr(names, constant), str)]
    assert len(texts) == len(set(texts)) == len(names.__all__) - 3
    assert all(text == text.lower() for text in texts)


def test_a_signed_record_is_taken_in_with_all_that_it_says() -> None:
    taken = read(signed(headers=ALL))
    assert taken.submission.idempotency_key == "order-17"
    assert taken.response_id == ALL["eurouter-response-id"]
    assert taken.correlation_id == b"c"


def changed(given: Record, name: str, value: bytes | None) -> Record:
    """The record with one header more, another one in its place, or without it."""
    headers = [(other, old) for other, old in given.headers if other != name]
    if value is not None:
        headers.append((name, value))
    return with_(given, headers=headers)


def with_(given: Record, **changes: Any) -> Record:
    fields = ("topic", "partition", "offset", "timestamp_ms", "key", "value", "headers")
    return Record(**{**{name: getattr(given, name) for name in fields}, **changes})


def taken_or_reason(given: Record) -> Rejection | None:
    try:
        read_record(given, rules(), NOW)
    except RejectedRecordError as error:
        return error.reason
    return None


@given(st.sampled_from(names.SIGNED), st.one_of(st.none(), st.binary(max_size=40)), st.booleans())
def test_no_signed_header_can_be_changed(name: str, value: bytes | None, full: bool) -> None:
    original = signed(headers=ALL if full else {})
    before = dict(original.headers).get(name)
    reason = taken_or_reason(changed(original, name, value))
    if before == value:
        assert reason is None
    else:
        # A header that is no text, and a missing expiry, are refused before the signature is looked at.
        assert reason in (Rejection.BAD_SIGNATURE, Rejection.INVALID, Rejection.UNAUTHENTICATED)
        assert reason is not Rejection.UNAUTHENTICATED or (name == "eurouter-expires-at" and value is None)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "topic": st.text(min_size=1, max_size=8).filter(lambda name: name != "team-a.requests"),
            "key": st.one_of(st.none(), st.binary(max_size=8)),
            "value": st.binary(max_size=60),
        },
    )
)
def test_neither_topic_nor_key_nor_value_can_be_changed(changes: dict[str, Any]) -> None:
    original = signed()
    reason = taken_or_reason(with_(original, **changes))
    same = all(getattr(original, name) == value for name, value in changes.items())
    assert reason is (None if same else Rejection.BAD_SIGNATURE)


@given(st.integers(0, 63), st.integers(0, 7))
def test_no_bit_of_a_signature_can_be_changed(place: int, bit: int) -> None:
    original = signed()
    raw = bytearray(b64decode(dict(original.headers)[names.SIGNATURE] or b""))
    raw[place] ^= 1 << bit
    assert taken_or_reason(changed(original, names.SIGNATURE, b64encode(raw))) is Rejection.BAD_SIGNATURE


@given(
    st.lists(st.one_of(st.none(), st.binary(max_size=6)), min_size=4, max_size=4),
    st.lists(st.one_of(st.none(), st.binary(max_size=6)), min_size=4, max_size=4),
)
def test_no_two_records_are_signed_alike(one: list[bytes | None], other: list[bytes | None]) -> None:
    def covered(parts: list[bytes | None]) -> bytes:
        key, expiry, group, correlation = parts
        headers = {"eurouter-expires-at": expiry, "eurouter-group": group, "correlation-id": correlation}
        return signed_bytes(
            "o", "t", key, b"", {name: value for name, value in headers.items() if value is not None}
        )

    assert (covered(one) == covered(other)) is (one == other)


def test_an_owner_cannot_sign_for_another() -> None:
    # team-c's own key over team-b's name, and team-b's key id beside team-c's signature.
    assert refused(signed(by=OTHER_KEY)).reason is Rejection.BAD_SIGNATURE
    assert refused(changed(signed(), names.KEY_ID, b"c1")).reason is Rejection.BAD_SIGNATURE


def test_an_unknown_key_is_named_as_the_problem() -> None:
    error = refused(changed(signed(), names.KEY_ID, b"b9"))
    assert error.reason is Rejection.BAD_SIGNATURE
    assert error.message == (
        "eurouter-key-id names no public key that is registered here: ask the operator to add it"
    )


@pytest.mark.parametrize(
    "signature", [b"", b"x", b"AAAA", b"\n", b64encode(bytes(63)), b64encode(bytes(65)), b64encode(bytes(64))]
)
def test_what_is_no_signature_is_a_bad_one(signature: bytes) -> None:
    error = refused(changed(signed(), names.SIGNATURE, signature))
    assert error.reason is Rejection.BAD_SIGNATURE
    assert error.message == (
        "eurouter-signature is not that key's over this topic, key, value, owner and these headers, in base64: "
        "sign the record as it is sent"
    )


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("eurouter-signature", "a signed record has eurouter-signature and eurouter-key-id"),
        ("eurouter-key-id", "a signed record has eurouter-signature and eurouter-key-id"),
        ("eurouter-expires-at", "a signed record says until when it counts"),
    ],
)
def test_half_a_signature_is_none(name: str, told: str) -> None:
    error = refused(changed(signed(), name, None))
    assert error.reason is Rejection.UNAUTHENTICATED
    assert error.message == f"{name} is missing: {told}"


def test_a_signature_counts_until_its_expiry() -> None:
    given_ = signed(headers={"eurouter-expires-at": EARLIER})
    error = refused(given_)
    assert (error.reason, error.owner) == (Rejection.EXPIRED, "team-b")
    assert read_record(given_, rules(), NOW - 7200.0).submission.start_within == 3600.0


def test_an_expired_record_with_a_wrong_signature_is_forged_first() -> None:
    given_ = changed(signed(headers={"eurouter-expires-at": EARLIER}), names.SIGNATURE, b64encode(bytes(64)))
    error = refused(given_)
    assert (error.reason, error.owner) == (Rejection.BAD_SIGNATURE, "")


def test_a_copy_of_a_signed_record_is_the_same_job_wherever_it_stands() -> None:
    first, copy = read(signed()), read(signed(partition=9, offset=1, timestamp_ms=5))
    assert copy.submission.idempotency_key == first.submission.idempotency_key
    assert copy.response_id == first.response_id
    assert first.submission.idempotency_key is not None
    assert first.submission.idempotency_key.startswith("signed-")


@pytest.mark.parametrize("changes", [{"key": b"other"}, {"headers": {"correlation-id": "2"}}])
def test_another_signed_record_is_another_job(changes: dict[str, Any]) -> None:
    assert read(signed()).response_id != read(signed(**changes)).response_id


def test_trace_headers_may_change_on_the_way() -> None:
    agent = f"00-{'1' * 32}-00f067aa0ba902b7-01".encode()
    assert read(changed(signed(), "traceparent", agent)).traceparent.startswith(f"00-{'1' * 32}")


def test_a_signature_is_not_kept() -> None:
    given_: list[tuple[str, bytes | None]] = [
        ("a", None),
        ("Eurouter-Signature", b"x"),
        ("eurouter-key-id", b"b1"),
    ]
    assert without_signature(given_) == [("a", None), ("eurouter-key-id", b"b1")]


def test_a_signature_is_checked_as_the_standard_says() -> None:
    # RFC 8032, section 7.1, test 2.
    public = Ed25519PublicKey.from_public_bytes(
        bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    )
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert is_signed(public, b64encode(signature).decode(), b"\x72")
    assert not is_signed(public, b64encode(signature).decode(), b"\x73")
