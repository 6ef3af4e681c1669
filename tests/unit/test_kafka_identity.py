"""In whose name a record is taken in: a bound topic, a signature, a header that was switched on; else nobody's."""

from __future__ import annotations

import pytest

from service.domain.calls import Principal
from service.domain.preferences import Floor
from service.edge.kafka.identity import Binding, Identities, Signer
from service.edge.kafka.records import read_record
from service.edge.kafka.rejections import RejectedRecordError, Rejection
from service.edge.kafka.signatures import without_signature
from tests.support.kafka_records import KEY, LATER, NOW, SHARED, TOPIC, read, record, refused, rules, signed

TRUSTED = "x-owner"
PUBLIC = KEY.public_key().public_bytes_raw()


def test_a_bound_topic_wins_over_everything_else() -> None:
    headers = {TRUSTED: "team-z", "eurouter-signature": "forged", "eurouter-key-id": "b1"}
    taken = read(record(topic=TOPIC, headers=headers), trusted_owner_header=TRUSTED)
    assert taken.principal == Principal("team-a", floor=Floor(eu_owned=True))


def test_a_signature_speaks_for_the_keys_owner_with_its_limits() -> None:
    assert read(signed()).principal == Principal("team-b", "b1", floor=Floor(max_retention_days=3))


def test_a_signature_wins_over_the_trusted_header() -> None:
    taken = read(signed(headers={TRUSTED: "team-z"}), trusted_owner_header=TRUSTED)
    assert taken.principal.owner == "team-b"


def test_a_wrong_signature_is_not_mended_by_the_trusted_header() -> None:
    headers = {TRUSTED: "team-z", "eurouter-signature": "x", "eurouter-key-id": "b1", "eurouter-expires-at": LATER}
    error = refused(record(topic=SHARED, headers=headers), trusted_owner_header=TRUSTED)
    assert error.reason is Rejection.BAD_SIGNATURE


def test_the_trusted_header_counts_where_it_is_switched_on_whatever_the_case_of_its_name() -> None:
    given = record(topic=SHARED, headers={"X-Owner": "team-b"})
    taken = read(given, trusted_owner_header="X-OWNER")
    assert taken.principal == Principal("team-b", floor=Floor(max_retention_days=3))
    assert (
        read(record(topic=SHARED, headers={TRUSTED: "new"}), trusted_owner_header=TRUSTED).principal.owner == "new"
    )


def test_the_trusted_header_counts_for_nothing_where_it_is_not() -> None:
    error = refused(record(topic=SHARED, headers={TRUSTED: "team-b"}))
    assert error.reason is Rejection.UNAUTHENTICATED
    assert error.message == (
        "nothing says whose record it is: sign it (eurouter-signature, eurouter-key-id), "
        "or write to a topic that is bound to its owner"
    )
    assert error.owner == ""


@pytest.mark.parametrize("name", ["", "a\n", "x" * 256, "\x00"])
def test_a_name_that_is_none_is_nobody(name: str) -> None:
    error = refused(record(topic=SHARED, headers={TRUSTED: name}), trusted_owner_header=TRUSTED)
    assert error.reason is Rejection.UNAUTHENTICATED
    assert error.message == "x-owner must be the owner's name: 1 to 255 printable characters"


def test_two_names_in_the_trusted_header_are_refused() -> None:
    given = record(topic=SHARED, headers={TRUSTED: "team-b", "X-Owner": "team-c"})
    assert refused(given, trusted_owner_header=TRUSTED).reason is Rejection.INVALID


def test_a_record_of_nobody_is_told_all_ways() -> None:
    error = refused(record(topic=SHARED), trusted_owner_header=TRUSTED)
    assert "name its owner in x-owner" in error.message


def test_what_is_refused_says_whose_it_was_as_soon_as_that_is_known() -> None:
    assert refused(record(b"{", topic=TOPIC)).owner == "team-a"
    assert refused(signed(b"{")).owner == "team-b"
    assert refused(record(b"{", topic=SHARED)).owner == ""


def test_settings_that_contradict_themselves_are_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="the topic a is bound twice"):
        Identities([Binding("a", "x"), Binding("a", "y")])
    with pytest.raises(ValueError, match="two public keys have the id k"):
        Identities(signers=[Signer("k", "x", PUBLIC), Signer("k", "y", PUBLIC)])
    with pytest.raises(ValueError, match="the public key k is no Ed25519 key: it has 32 bytes"):
        Identities(signers=[Signer("k", "x", PUBLIC[:31])])


def test_a_record_that_an_operator_vouches_for_is_the_same_job_without_its_signature() -> None:
    original = signed()
    kept = [(name, value or b"") for name, value in without_signature(original.headers)]
    again = read_record(record(original.value, topic=SHARED, headers=kept), rules(), NOW, vouched_owner="team-b")
    first = read(original)
    assert again.submission.idempotency_key == first.submission.idempotency_key
    assert again.response_id == first.response_id
    assert again.principal.owner == "team-b"
    assert again.principal.floor == Floor(max_retention_days=3)
    assert refused(record(original.value, topic=SHARED, headers=kept)).reason is Rejection.UNAUTHENTICATED


def test_vouching_keeps_the_binding_of_the_owners_own_topic() -> None:
    again = read_record(record(), rules(), NOW, vouched_owner="team-a")
    assert again.results_topic == "team-a.results"
    assert again.response_id == read(record()).response_id
    other = read_record(record(), rules(), NOW, vouched_owner="team-b")
    assert (other.principal.owner, other.results_topic) == ("team-b", None)


def test_vouching_makes_no_wrong_record_right() -> None:
    with pytest.raises(RejectedRecordError) as caught:
        read_record(record(b"{", topic=SHARED), rules(), NOW, vouched_owner="team-b")
    assert (caught.value.reason, caught.value.owner) == (Rejection.UNDECODABLE, "team-b")
