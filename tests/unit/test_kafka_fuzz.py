"""Whatever the bytes of a record are: it is a job, or it is refused with a reason. Nothing else is raised.

And whatever becomes of it, it is stored as one of the two, and its neighbours are what they are without it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from eurouter.v1 import responses_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.responses.ids import is_response_id
from service.domain.consuming import Record
from service.domain.intake import BatchOutcome, TryLaterError
from service.edge.kafka import names
from service.edge.kafka.dead_letters import MOST_BYTES, read_dead_letter
from service.edge.kafka.records import Intake, read_record
from service.edge.kafka.rejections import RejectedRecordError
from service.edge.submission import submission_of
from tests.support.any_message import messages
from tests.support.kafka_acceptance import Intakes, database_away, no_such_model
from tests.support.kafka_records import NOW, SHARED, TOPIC, record, rules

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


FAILURES: dict[str, list[BaseException]] = {
    "away": [database_away()],
    "gone": [no_such_model()],
    "fault": [RuntimeError("a fault of ours")],
    "once": [RuntimeError("a fault of the moment"), no_such_model()],
}
asking = st.builds(
    lambda model, offset: record({"model": model, "input": "x"}, offset=offset),
    st.sampled_from(["small", *FAILURES]),
    st.integers(100, 110),
)
FIRST, LAST = record(offset=1), record(offset=2)
GOOD = {read_record(one, RULES, NOW).response_id for one in (FIRST, LAST)}


async def taken(intakes: Intakes, batch: Sequence[Record]) -> BatchOutcome | None:
    try:
        return await intakes.acceptance.accept(batch)
    except TryLaterError:
        return None


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(records, asking), max_size=6), st.integers(0, 2), st.integers(0, 2))
def test_every_record_is_stored_as_a_job_or_a_dead_letter_and_harms_no_other(
    given_: list[Record], away: int, crashes: int
) -> None:
    intakes = Intakes(trusted_owner_header=TRUSTED)
    failures = {model: list(errors) for model, errors in FAILURES.items()}
    intakes.responses.failures = intakes.chat.failures = failures
    intakes.store.down["accept_many"] = away
    for one in given_[:crashes]:
        found = read(one)
        if isinstance(found, Intake):
            intakes.store.crash.add(found.response_id)
    batch = [FIRST, *given_, LAST]

    async def until_stored() -> BatchOutcome:
        for _ in range(away):
            assert await taken(intakes, batch) is None
        outcome = await taken(intakes, batch)
        if outcome is None:
            # Letters are for whole batches: none twice.
            assert intakes.store.letters == []
            failures["away"].clear()
            outcome = await taken(intakes, batch)
        assert outcome is not None
        return outcome

    outcome = asyncio.run(until_stored())
    assert outcome.accepted + outcome.repeated + outcome.rejected == len(batch)
    assert outcome.rejected == len(intakes.store.letters) == len(intakes.counted)
    assert set(intakes.store.jobs) >= GOOD - intakes.store.crash
    # Each that was not refused is there, under its identity.
    dead = [(letter.key, letter.value) for letter in intakes.store.letters]
    for one in given_:
        found = read(one)
        if isinstance(found, RejectedRecordError):
            assert (one.key, one.value) in dead
        elif (one.key, one.value) not in dead:
            assert (found.principal.owner, found.submission.idempotency_key) in intakes.store.keys
    for letter in intakes.store.letters:
        size = sum(len(name) + len(value) for name, value in letter.headers)
        assert size + len(letter.key or b"") + len(letter.value or b"") <= MOST_BYTES
        assert read_dead_letter(Record("dlq", 0, 0, 0, letter.key, letter.value, list(letter.headers)))


@settings(max_examples=100, deadline=None)
@given(records)
def test_any_record_that_an_operator_submits_again_is_a_job_or_told_why_not(given_: Record) -> None:
    intakes = Intakes(trusted_owner_header=TRUSTED)
    found = read(given_, vouched_owner="team-b")
    told = asyncio.run(intakes.acceptance.redrive(given_, "team-b"))
    if isinstance(found, RejectedRecordError):
        assert (told.reason, told.response_id) == (found.reason.value, "")
        assert told.message
    else:
        assert list(intakes.store.jobs) == [told.response_id] == [found.response_id]
