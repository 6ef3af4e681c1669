"""Whatever the bytes of a record are: it is a job, or it is refused with a reason. Nothing else is raised."""

from __future__ import annotations

import json
from typing import Any

from eurouter.v1 import responses_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.responses.ids import is_response_id
from service.edge.kafka import names
from service.edge.kafka.record import Record
from service.edge.kafka.records import Intake, read_record
from service.edge.kafka.rejections import RejectedRecordError
from service.edge.submission import submission_of
from tests.support.any_message import messages
from tests.support.kafka_records import NOW, SHARED, TOPIC, rules

TRUSTED = "x-owner"
RULES = rules(trusted_owner_header=TRUSTED)

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(
                st.sampled_from(
                    ["model", "input", "role", "content", "type", "text", "tools", "stream", "store", "custom_id"]
                    + ["url", "body", "method", "messages", "reasoning", "background", "extra", "metadata"]
                ),
                st.text(max_size=6),
            ),
            inner,
            max_size=6,
        ),
    ),
    max_leaves=20,
)
documents = json_values.map(lambda value: json.dumps(value).encode())
header_values = st.one_of(
    st.none(),
    st.binary(max_size=20),
    st.sampled_from(
        [b"chat", b"responses", b"application/json", b"application/protobuf", b"2030-01-01T00:00:00Z", b"high"]
        + [b"team-b", b"b1", b"team-a.urgent", b"resp_" + b"0" * 36, b"A" * 88, b"application/json; charset=x"]
    ),
    st.text(max_size=20).map(str.encode),
)
headers = st.lists(
    st.tuples(st.one_of(st.sampled_from([*sorted(names.READ), TRUSTED]), st.text(max_size=10)), header_values),
    max_size=8,
)
requests = messages(responses_pb2.CreateResponseRequest, st.text(max_size=12)).map(
    lambda message: message.SerializeToString()
)
values = st.one_of(
    st.none(),
    st.binary(max_size=200),
    documents,
    documents.map(lambda text: b"\x00\x00\x00\x00\x01" + text),
    requests,
    requests.map(lambda message: b"\x00\x00\x00\x00\x01\x00" + message),
    st.tuples(requests, st.integers(0, 400)).map(lambda pair: pair[0][: pair[1]]),
)
records = st.builds(
    Record,
    topic=st.one_of(st.sampled_from([TOPIC, SHARED]), st.text(max_size=10)),
    partition=st.integers(-1, 2**31 - 1),
    offset=st.integers(-1, 2**63 - 1),
    timestamp_ms=st.integers(-(2**63), 2**63 - 1),
    key=st.one_of(st.none(), st.binary(max_size=20)),
    value=values,
    headers=headers,
)


def read(given_: Record, **changes: Any) -> Intake | RejectedRecordError:
    try:
        return read_record(given_, RULES, NOW, **changes)
    except RejectedRecordError as error:
        return error


@settings(max_examples=1000, deadline=None)
@given(records)
def test_any_record_is_a_job_or_refused(given_: Record) -> None:
    found = read(given_)
    if isinstance(found, RejectedRecordError):
        assert found.message
        # It becomes a header.
        assert len(found.message.encode()) < 16_000
        return
    assert is_response_id(found.response_id)
    assert found.principal.owner
    assert found.request.IsInitialized()
    # What was made up for it is as good as what a client may send.
    key = found.submission.idempotency_key
    assert key is not None
    assert submission_of({names.IDEMPOTENCY_KEY: key}, lambda: NOW).idempotency_key == key
    assert found.submission.start_within is None or found.submission.start_within > 0


@settings(max_examples=300, deadline=None)
@given(records)
def test_the_same_record_is_the_same_job(given_: Record) -> None:
    one, other = read(given_), read(given_)
    if isinstance(one, RejectedRecordError):
        assert isinstance(other, RejectedRecordError)
        assert (one.reason, one.message, one.owner) == (other.reason, other.message, other.owner)
    else:
        assert isinstance(other, Intake)
        assert (one.response_id, one.submission, one.request) == (
            other.response_id,
            other.submission,
            other.request,
        )


@settings(max_examples=300, deadline=None)
@given(records)
def test_any_record_that_an_operator_vouches_for_is_a_job_or_refused(given_: Record) -> None:
    found = read(given_, vouched_owner="team-b")
    owner = found.owner if isinstance(found, RejectedRecordError) else found.principal.owner
    assert owner == "team-b"
