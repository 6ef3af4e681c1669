"""Dead letters: what is kept of a record that is no job, and that it can be read back as it was submitted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.consuming import Record
from service.domain.outbox import OutboxKind, OutboxRecord
from service.edge.kafka import names
from service.edge.kafka.dead_letters import (
    CREDENTIALS,
    MAX_MESSAGE,
    MOST_BYTES,
    bare,
    dead_letter,
    read_dead_letter,
)
from service.edge.kafka.rejections import RejectedRecordError, Rejection
from tests.support.kafka_records import read, record, refused, signed

GROUP = "eurouter.intake.v1"
WHY = RejectedRecordError(Rejection.INVALID, "input: is missing", owner="team-a")
ABOUT = [
    ("eurouter-dlq-original-topic", b"team-a.requests"),
    ("eurouter-dlq-original-partition", b"3"),
    ("eurouter-dlq-original-offset", b"41"),
    ("eurouter-dlq-original-timestamp", b"1789999999000"),
    ("eurouter-dlq-reason", b"invalid"),
    ("eurouter-dlq-message", b"input: is missing"),
    ("eurouter-dlq-original-consumer-group", b"eurouter.intake.v1"),
    ("eurouter-dlq-owner", b"team-a"),
]


def published(letter: OutboxRecord) -> Record:
    """The letter as it stands in the dead letters' topic."""
    return Record("eurouter.dlq.v1", 2, 7, 1_790_000_000_500, letter.key, letter.value, list(letter.headers))


def size(letter: OutboxRecord) -> int:
    return sum(len(name) + len(value) for name, value in letter.headers) + len(letter.value or b"")


def test_a_letter_is_the_record_as_it_came_with_headers_that_say_why_it_is_there() -> None:
    given_ = record(b"{broken", headers={"correlation-id": "c-1", "Other": b"\xff\x00"})
    letter = dead_letter(given_, WHY, GROUP)
    assert letter == OutboxRecord(
        OutboxKind.DEAD_LETTER,
        b"order-17",
        [("correlation-id", b"c-1"), ("Other", b"\xff\x00"), *ABOUT],
        b"{broken",
    )


def test_a_record_of_nobody_known_has_no_owner() -> None:
    letter = dead_letter(record(), RejectedRecordError(Rejection.UNAUTHENTICATED, "sign it"), GROUP)
    assert names.DLQ_OWNER not in dict(letter.headers)
    found = read_dead_letter(published(letter))
    assert found is not None
    assert found.owner == ""


def test_a_letter_is_read_back_as_it_was_submitted() -> None:
    given_ = record(b"{broken", headers={"correlation-id": "c-1"})
    found = read_dead_letter(published(dead_letter(given_, WHY, GROUP)))
    assert found is not None
    assert found.original == given_
    assert (found.place, found.created_ms) == ((2, 7), 1_790_000_000_500)
    assert (found.reason, found.message) == ("invalid", "input: is missing")
    assert (found.owner, found.group) == ("team-a", GROUP)
    assert (found.value_bytes, found.whole) == (7, True)


def test_a_signature_is_not_kept_and_the_id_of_its_key_is() -> None:
    letter = dead_letter(signed(), WHY, GROUP)
    kept = dict(letter.headers)
    assert "eurouter-signature" not in kept
    assert kept["eurouter-key-id"] == b"b1"


@pytest.mark.parametrize("name", ["authorization", "X-API-Key", "proxy-authorization", "Cookie"])
def test_credentials_that_a_proxy_copied_are_not_kept(name: str) -> None:
    headers: list[tuple[str, bytes | None]] = [(name, b"SECRET"), ("a", None), (name, None), ("b", b"x")]
    given_ = Record("t", 0, 0, 0, None, b"v", headers)
    letter = dead_letter(given_, WHY, GROUP)
    assert "SECRET" not in str(letter)
    found = read_dead_letter(published(letter))
    assert found is not None
    assert found.original.headers == [("a", None), ("b", b"x")]
    assert found.whole


def test_a_letter_that_was_copied_has_no_headers_of_the_earlier_one() -> None:
    given_ = record(b"{broken", headers={"correlation-id": "c-1"})
    copied = Record(
        **{
            **{name: getattr(given_, name) for name in ("topic", "partition", "offset", "timestamp_ms", "key")},
            "value": b"{broken",
            "headers": [*dead_letter(given_, WHY, GROUP).headers, ("Eurouter-DLQ-Owner", b"team-b")],
        }
    )
    assert dead_letter(copied, WHY, GROUP) == dead_letter(given_, WHY, GROUP)


def test_headers_without_a_value_are_told_from_empty_ones() -> None:
    headers: list[tuple[str, bytes | None]] = [("a", None), ("b", b""), ("c", b"x"), ("a", None)]
    given_ = record(headers={})
    given_ = Record("t", 0, 0, 0, None, given_.value, headers)
    letter = dead_letter(given_, WHY, GROUP)
    assert list(letter.headers)[:4] == [("a", b""), ("b", b""), ("c", b"x"), ("a", b"")]
    assert dict(letter.headers)["eurouter-dlq-null-headers"] == b"0,3"
    found = read_dead_letter(published(letter))
    assert found is not None
    assert found.original.headers == headers


def test_a_header_whose_name_is_no_utf_8_has_one_that_stands_for_it() -> None:
    given_ = Record("t", 0, 0, 0, None, b"v", [("n\udcff", b"x")])
    assert next(iter(dead_letter(given_, WHY, GROUP).headers)) == ("n\\udcff", b"x")


def test_a_record_that_was_damaged_when_it_was_read_stays_so() -> None:
    damaged = record(unreadable="the checksum of its batch is wrong")
    found = read_dead_letter(published(dead_letter(damaged, refused(damaged), GROUP)))
    assert found is not None
    assert found.original == damaged
    assert refused(found.original).reason is Rejection.UNDECODABLE


def test_a_very_long_message_is_cut() -> None:
    letter = dead_letter(record(), RejectedRecordError(Rejection.INVALID, "é" * 5000), GROUP)
    message = dict(letter.headers)[names.DLQ_MESSAGE].decode()
    assert len(message) == MAX_MESSAGE
    assert message.endswith("é…")


def test_a_value_that_is_too_large_is_left_out_and_its_size_told() -> None:
    letter = dead_letter(record(b"x" * 2_000_000), WHY, GROUP)
    assert letter.value is None
    assert dict(letter.headers)["eurouter-dlq-value-bytes"] == b"2000000"
    found = read_dead_letter(published(letter))
    assert found is not None
    assert (found.original.value, found.value_bytes, found.whole) == (None, 2_000_000, False)


def test_values_fit_up_to_the_last_byte_with_all_that_is_beside_them() -> None:
    rest = MOST_BYTES - size(dead_letter(record(b""), WHY, GROUP))
    kept = [n for n in range(rest - 200, rest) if dead_letter(record(b"x" * n), WHY, GROUP).value is not None]
    assert kept == list(range(rest - 200, rest - 200 + len(kept)))
    assert 0 < len(kept) < 200


def test_foreign_headers_that_are_huge_are_left_out_and_those_of_the_contract_stay() -> None:
    headers = {**{f"x-{n}": b"y" * 1000 for n in range(200)}, "idempotency-key": "order-17", "Reply-Topic": "t"}
    letter = dead_letter(record(b"{", headers=headers), WHY, GROUP)
    assert list(letter.headers)[:2] == [("idempotency-key", b"order-17"), ("Reply-Topic", b"t")]
    assert dict(letter.headers)["eurouter-dlq-headers-left-out"] == b"200"
    assert letter.value == b"{"
    found = read_dead_letter(published(letter))
    assert found is not None
    assert not found.whole


def test_however_large_a_record_is_its_letter_fits() -> None:
    headers = {"idempotency-key": b"k" * 1_000_000, "x": b"y" * 1_000_000}
    given_ = record(b"v" * 1_000_000, key=b"k" * 100_000, headers=headers)
    letter = dead_letter(given_, WHY, GROUP)
    assert size(letter) + len(letter.key or b"") < 20_000
    about = dict(letter.headers)
    assert about["eurouter-dlq-headers-left-out"] == b"2"
    assert about["eurouter-dlq-key-bytes"] == b"100000"
    assert about["eurouter-dlq-value-bytes"] == b"1000000"


def test_a_letter_without_its_value_says_so_once() -> None:
    letter = dead_letter(record(b"{broken"), WHY, GROUP)
    small = bare(letter)
    assert small.value is None
    assert list(small.headers) == [*letter.headers, ("eurouter-dlq-value-bytes", b"7")]
    assert bare(small) == small


@pytest.mark.parametrize("missing", [name for name, _ in ABOUT[:5]])
def test_a_record_without_what_every_letter_has_is_none_of_ours(missing: str) -> None:
    letter = dead_letter(record(), WHY, GROUP)
    headers = [(name, value) for name, value in letter.headers if name != missing]
    assert read_dead_letter(published(OutboxRecord(letter.kind, letter.key, headers, letter.value))) is None


@pytest.mark.parametrize("name", ["original-offset", "original-partition", "original-timestamp", "value-bytes"])
@pytest.mark.parametrize("value", [b"x", b"", b"\xff", b"9" * 19, b"1" * 5000])
def test_a_record_whose_numbers_are_none_is_none_of_ours(name: str, value: bytes) -> None:
    letter = dead_letter(record(), WHY, GROUP)
    headers = [*letter.headers, (f"eurouter-dlq-{name}", value)]
    assert read_dead_letter(published(OutboxRecord(letter.kind, letter.key, headers, letter.value))) is None


def test_a_letter_that_is_submitted_again_is_the_same_job() -> None:
    given_ = record(headers={"eurouter-api": "other"})
    why = refused(given_)
    found = read_dead_letter(published(dead_letter(given_, why, GROUP)))
    assert found is not None
    assert found.original == given_
    mended = Record(**{**{n: getattr(given_, n) for n in Record.__slots__}, "headers": []})
    original = Record(**{**{n: getattr(found.original, n) for n in Record.__slots__}, "headers": []})
    assert read(mended).response_id == read(original).response_id


names_of_headers = st.one_of(
    st.text(max_size=10),
    st.sampled_from(
        ["idempotency-key", "Eurouter-Signature", "Cookie", "eurouter-dlq-owner", "eurouter-dlq-null-headers"]
    ),
)


@given(
    st.builds(
        Record,
        topic=st.text(min_size=1, max_size=10),
        partition=st.integers(0, 2**31 - 1),
        offset=st.integers(0, 2**63 - 1),
        timestamp_ms=st.integers(-(2**63), 2**63 - 1),
        key=st.one_of(st.none(), st.binary(max_size=20)),
        value=st.one_of(st.none(), st.binary(max_size=50)),
        unreadable=st.sampled_from(["", "its batch is damaged"]),
        headers=st.lists(st.tuples(names_of_headers, st.one_of(st.none(), st.binary(max_size=10)))),
    )
)
def test_every_letter_is_read_back_without_signature_and_earlier_reasons(given_: Record) -> None:
    found = read_dead_letter(published(dead_letter(given_, WHY, GROUP)))
    assert found is not None
    assert found.whole
    kept = [
        (name, value)
        for name, value in given_.headers
        if name.lower() not in ("eurouter-signature", *CREDENTIALS)
        and not name.lower().startswith("eurouter-dlq-")
    ]
    fields = {name: getattr(given_, name) for name in Record.__slots__}
    assert found.original == Record(**{**fields, "headers": kept})
