"""What comes by Kafka: the same for the same seed, of every kind, and read by the service as it is meant."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.consuming import Record
from service.edge.kafka.identity import Binding, Identities, OwnerTerms, Signer
from service.edge.kafka.records import IntakeRules, read_record
from service.edge.kafka.rejections import RejectedRecordError
from tests.chaos.kafka_schedule import plan_with_kafka, warm_up_records
from tests.chaos.record_requests import (
    _KEY,
    BOUND,
    BOUND_RESULTS,
    KEY_ID,
    MAX_RECORD_BYTES,
    OWNER,
    REASONS,
    REPLIES,
    Flaw,
    Form,
    NewRecord,
    RecordRequest,
    id_of_key,
    key_without,
    record_of,
)
from tests.chaos.schedule import LEASE, What, plan
from workers.relay_settings import RelaySettings

SEEDS = st.integers(0, 10_000)

RULES = IntakeRules(
    Identities(
        [Binding(BOUND, OWNER, results_topic=BOUND_RESULTS)],
        [Signer(KEY_ID, OWNER, _KEY.public_key().public_bytes_raw())],
        [OwnerTerms(OWNER, reply_topics=frozenset({REPLIES}))],
    ),
    max_value_bytes=MAX_RECORD_BYTES,
)


def stored(new: NewRecord) -> Record:
    return Record(new.topic, 2, 7, 1_790_000_000_000, new.key, new.value, new.headers)


def requests(seed: int) -> list[RecordRequest]:
    return [*warm_up_records(seed), *plan_with_kafka(seed, 120).records]


@given(SEEDS)
def test_a_seed_is_a_plan(seed: int) -> None:
    assert plan_with_kafka(seed, 40) == plan_with_kafka(seed, 40)
    assert plan_with_kafka(seed, 40).records != plan_with_kafka(seed + 1, 40).records


@given(SEEDS)
def test_half_of_the_jobs_are_records_and_all_else_is_as_without_kafka(seed: int) -> None:
    made = plan_with_kafka(seed, 101, 3, 30.0)
    assert len([record for record in made.records if record.flaw is None]) == 51
    without = plan(seed, 50, 30.0)
    assert made.requests == without.requests
    befallen = [(fault.at, fault.who) for fault in made.faults if not fault.who.startswith("broker")]
    assert befallen == [(fault.at, fault.who) for fault in without.faults]


@given(SEEDS, st.floats(10.0, 39.0))
def test_the_worker_that_reads_most_records_is_killed(seed: int, seconds: float) -> None:
    faults = plan_with_kafka(seed, 60, 1, seconds).faults
    kills = [fault for fault in faults if fault.what is What.KILL and fault.who.startswith("worker")]
    stops = {fault.who for fault in faults if fault.what is What.STOP and fault.seconds > LEASE and fault.at < 4.0}
    assert kills[0].who not in stops
    assert kills[0].at < 8.0


@given(SEEDS)
def test_every_plan_has_records_of_every_form_and_flaw_and_some_of_every_fate(seed: int) -> None:
    records = plan_with_kafka(seed, 300).records
    good = [record for record in records if record.flaw is None]
    assert {record.flaw for record in records} == {None, *Flaw}
    assert {(record.api, record.form) for record in good} == {
        (api, f) for api in ("chat", "responses") for f in Form
    }
    assert {True, False} == {record.request.keyed for record in good} == {record.chosen for record in good}
    assert any(record.request.repeats for record in good)
    assert any(record.request.other is not None for record in good)
    assert any(record.delete is not None and record.when_over for record in good)
    assert any(record.delete is not None and not record.when_over for record in good)
    assert {True, False} == {record.signed for record in good} == {record.reply for record in good}


@given(SEEDS, st.sampled_from([1, 3]))
def test_nothing_befalls_a_broker_while_one_is_away(seed: int, brokers: int) -> None:
    faults = [fault for fault in plan_with_kafka(seed, 300, brokers).faults if fault.who.startswith("broker")]
    assert {fault.who for fault in faults} <= {f"broker-{number}" for number in range(1, brokers + 1)}
    assert {fault.what for fault in faults} <= {What.KILL, What.RESTART, What.STOP}
    assert len(faults) >= 3
    for before, after in pairwise(faults):
        assert before.at + before.seconds < after.at


@given(SEEDS)
def test_in_a_long_run_one_worker_is_stopped_for_more_than_a_relays_lease(seed: int) -> None:
    faults = plan_with_kafka(seed, 300).faults
    (stop,) = (fault for fault in faults if fault.seconds > RelaySettings().lease)
    assert stop.what is What.STOP
    mine = [fault for fault in faults if fault.who == stop.who]
    for before, after in pairwise(mine):
        assert before.at + before.seconds < after.at


@given(SEEDS)
def test_what_can_not_be_told_from_its_copy_is_sent_once(seed: int) -> None:
    for record in requests(seed):
        if record.flaw is not None:
            assert not record.request.repeats
            assert record.request.other is None
            continue
        assert record.request.keyed or not (record.request.repeats or record.request.other or record.signed)
        assert record.delete is None or not (record.request.followers or record.request.cancel is not None)


@pytest.mark.parametrize("seed", range(5))
def test_the_service_reads_good_records_as_the_run_expects_it(seed: int) -> None:
    for asked in requests(seed):
        if asked.flaw is not None:
            continue
        record = stored(record_of(asked, time.time()))
        read = read_record(record, RULES, time.time())
        place = (record.topic, record.partition, record.offset)
        own = key_without(*place, record.timestamp_ms, record.value)
        assert read.response_id == (asked.job or id_of_key(own))
        assert read.submission.idempotency_key == (asked.request.key or own)
        assert read.correlation_id == asked.correlation_id.encode()
        assert read.results_topic == (REPLIES if asked.reply else None if asked.signed else BOUND_RESULTS)
        assert (read.api, read.stream) == (asked.api, asked.request.streamed)
        assert asked.request.prompt in str(read.request)


@pytest.mark.parametrize("seed", range(5))
def test_the_service_refuses_bad_records_for_the_reason_that_the_run_expects(seed: int) -> None:
    judged_later = {Flaw.MODEL, Flaw.FIELD}
    for asked in requests(seed):
        if asked.flaw is None or asked.flaw in judged_later:
            continue
        with pytest.raises(RejectedRecordError) as refused:
            read_record(stored(record_of(asked, time.time())), RULES, time.time())
        assert refused.value.reason == REASONS[asked.flaw], asked
