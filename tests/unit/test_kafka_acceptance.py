"""Every record becomes a job or a dead letter, once, whatever neighbours, the database and our own faults do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from service.domain.consuming import Record
from service.domain.dead_letters import Redriven
from service.domain.errors import Reason, ServiceError
from service.domain.idempotency import Idempotency
from service.domain.intake import BatchOutcome, TryLaterError
from service.domain.preferences import Floor
from service.domain.stored import StoreError
from service.edge.kafka.dead_letters import read_dead_letter
from service.edge.kafka.identity import Binding, Identities, OwnerTerms
from service.edge.kafka.origins import read_origin
from service.edge.kafka.records import IntakeRules
from tests.support.kafka_acceptance import Intakes, database_away, no_such_model, wrong_field
from tests.support.kafka_records import ASKED, EARLIER, LATER, NOW, SHARED, TOPIC, read, record, rules, signed

HOUR = 3600.0
CHAT = {"model": "small", "messages": [{"role": "user", "content": "Name three rivers."}]}
BAD = b"{broken"


def asking(model: str, offset: int = 41, **changes: Any) -> Record:
    return record({**ASKED, "model": model}, offset=offset, **changes)


async def test_a_record_becomes_the_job_that_its_identity_says() -> None:
    intakes = Intakes()
    given = record(headers={"correlation-id": "c-1", "reply-topic": "team-a.urgent"})
    assert await intakes.acceptance.accept([given]) == BatchOutcome(accepted=1)
    (job,) = intakes.store.jobs.values()
    taken = read(given)
    assert job.response.id == taken.response_id
    assert job.response.owner == "team-a"
    assert job.idempotency is not None
    assert job.idempotency.key == taken.submission.idempotency_key
    assert job.origin is not None
    assert job.origin.topic == "team-a.urgent"
    found = read_origin(job.origin.body)
    assert (found.topic, found.offset, found.correlation_id) == (TOPIC, 41, b"c-1")
    assert intakes.store.letters == []
    assert intakes.counted == []


async def test_the_api_judges_with_the_owners_limits_until_the_deadline() -> None:
    intakes = Intakes()
    await intakes.acceptance.accept([record({**ASKED, "stream": True}, headers={"eurouter-run-at": LATER})])
    ((request, submission, context, streaming),) = intakes.responses.calls
    assert request.model == "small"
    assert submission.delay == HOUR
    assert context.principal.floor == Floor(eu_owned=True)
    assert (context.deadline, context.door) == (107.0, "kafka")
    assert streaming


async def test_chat_requests_are_the_chat_apis() -> None:
    intakes = Intakes()
    await intakes.acceptance.accept([record(CHAT, headers={"eurouter-api": "chat"}), record()])
    assert [job.api for job in intakes.store.jobs.values()] == ["chat", "responses"]
    assert len(intakes.chat.calls) == 1


async def test_nothing_comes_of_no_records() -> None:
    intakes = Intakes()
    assert await intakes.acceptance.accept([]) == BatchOutcome()
    assert intakes.store.asked == []


async def test_one_write_takes_a_batch_and_one_its_letters() -> None:
    intakes = Intakes()
    batch = [record(offset=n) if n % 2 else record(BAD, offset=n) for n in range(40)]
    assert await intakes.acceptance.accept(batch) == BatchOutcome(accepted=20, rejected=20)
    # Each that is refused might be a job already.
    assert intakes.store.asked == ["accept_many", *["find"] * 20, "add"]
    assert intakes.store.offsets() == list(range(0, 40, 2))
    assert intakes.counted == ["undecodable"] * 20


async def test_a_record_that_can_not_be_read_at_all_is_a_dead_letter() -> None:
    intakes = Intakes()
    broken = Record(TOPIC, 3, 41, 0, None, None, (), unreadable="the record's batch is corrupt: send it again")
    assert await intakes.acceptance.accept([broken]) == BatchOutcome(rejected=1)
    letter = read_dead_letter(stored(intakes))
    assert letter is not None
    assert (letter.reason, letter.owner) == ("undecodable", "team-a")
    assert letter.message == "the record's batch is corrupt: send it again"


def stored(intakes: Intakes) -> Record:
    """The only letter, as it would be published."""
    (letter,) = intakes.store.letters
    return Record("dlq", 0, 0, 0, letter.key, letter.value, list(letter.headers))


@pytest.mark.parametrize(
    ("error", "reason"), [(no_such_model(), "unknown_model"), (wrong_field(), "invalid")], ids=["model", "field"]
)
async def test_what_an_api_refuses_is_a_dead_letter_with_its_words(error: ServiceError, reason: str) -> None:
    intakes = Intakes()
    intakes.responses.failures["odd"] = [error]
    outcome = await intakes.acceptance.accept([asking("odd"), record(offset=42)])
    assert outcome == BatchOutcome(accepted=1, rejected=1)
    letter = read_dead_letter(stored(intakes))
    assert letter is not None
    assert (letter.reason, letter.message, letter.owner) == (reason, error.message, "team-a")
    assert (letter.group, letter.original.offset) == ("eurouter.intake.v1", 41)


async def test_fields_of_a_batch_line_are_named_as_they_stand_in_it() -> None:
    intakes = Intakes()
    intakes.responses.failures["odd"] = [wrong_field()]
    line = {"custom_id": "r-1", "method": "POST", "url": "/v1/responses", "body": {**ASKED, "model": "odd"}}
    await intakes.acceptance.accept([record(line)])
    letter = read_dead_letter(stored(intakes))
    assert letter is not None
    assert letter.message == "body.temperature: must be 0 to 2; got 9"


async def test_a_rejection_is_logged_by_its_place_and_reason_and_never_by_content() -> None:
    intakes = Intakes()
    with capture_logs() as logs:
        await intakes.acceptance.accept([record(b'{"model": "SECRET"', key=b"SECRET", headers={"x": "SECRET"})])
    assert logs == [
        {
            "event": "record_rejected",
            "log_level": "warning",
            "topic": TOPIC,
            "partition": 3,
            "offset": 41,
            "reason": "undecodable",
            "records": 1,
        }
    ]


async def test_of_many_rejections_a_line_tells_each_reason_and_topic_once_and_how_many() -> None:
    intakes = Intakes()
    late = record(headers={"eurouter-expires-at": EARLIER}, offset=90)
    batch = [
        *(record(BAD, offset=n) for n in range(5, 25)),
        late,
        *(record(topic=SHARED, offset=n) for n in range(3)),
    ]
    with capture_logs() as logs:
        await intakes.acceptance.accept(batch)
    assert [(one["reason"], one["topic"], one["offset"], one["records"]) for one in logs] == [
        ("undecodable", TOPIC, 5, 20),
        ("expired", TOPIC, 90, 1),
        ("unauthenticated", SHARED, 0, 3),
    ]
    assert len(intakes.counted) == 24


# Read again.


async def test_a_record_that_is_read_again_is_the_same_job() -> None:
    intakes = Intakes()
    for _ in range(2):
        await intakes.acceptance.accept([record(), record(headers={"idempotency-key": "k"}, offset=42)])
    assert len(intakes.store.jobs) == 2
    assert intakes.store.letters == []


async def test_another_record_with_the_same_identity_and_request_is_that_job() -> None:
    intakes = Intakes()
    first = record(headers={"idempotency-key": "k"})
    other_id = {"idempotency-key": "k", "eurouter-response-id": "resp_" + "0a" * 18}
    assert await intakes.acceptance.accept([first, record(headers=other_id, offset=42)]) == BatchOutcome(
        accepted=1, repeated=1
    )


@pytest.mark.parametrize("together", [True, False])
async def test_the_same_identity_with_another_request_is_a_dead_letter(together: bool) -> None:
    intakes = Intakes()
    first = record(headers={"idempotency-key": "k"})
    other = record({**ASKED, "input": "other"}, headers={"idempotency-key": "k"}, offset=42)
    for batch in [[first, other]] if together else [[first], [other]]:
        await intakes.acceptance.accept(batch)
    assert len(intakes.store.jobs) == 1
    letter = read_dead_letter(stored(intakes))
    assert letter is not None
    assert (letter.reason, letter.original.offset, letter.owner) == ("identity_conflict", 42, "team-a")
    assert letter.message.startswith("idempotency-key or eurouter-response-id was used for another request")


async def test_a_record_that_expired_or_lost_its_model_since_it_became_a_job_is_that_job() -> None:
    intakes = Intakes()
    batch = [
        record(headers={"eurouter-expires-at": LATER}),
        record(headers={"eurouter-expires-at": LATER, "idempotency-key": "k"}, offset=42),
        asking("gone", 43),
        record({**CHAT, "model": "gone"}, headers={"eurouter-api": "chat"}, offset=44),
        record(headers={"reply-topic": "team-a.urgent"}, offset=45),
    ]
    assert await intakes.acceptance.accept(batch) == BatchOutcome(accepted=5)
    intakes.now += 2 * HOUR
    for api in (intakes.responses, intakes.chat):
        api.failures["gone"] = [no_such_model()]
    identities = Identities([Binding(TOPIC, "team-a")], (), [OwnerTerms("team-a")])
    intakes.rules = IntakeRules(identities)
    assert await intakes.acceptance.accept(batch) == BatchOutcome(repeated=5)
    assert intakes.store.letters == []


async def test_a_record_that_comes_too_late_for_the_first_time_is_a_dead_letter() -> None:
    intakes = Intakes()
    late = record(headers={"eurouter-expires-at": EARLIER})
    assert await intakes.acceptance.accept([late]) == BatchOutcome(rejected=1)
    assert intakes.store.reasons() == ["expired"]


async def test_a_late_record_with_the_key_of_another_request_is_a_dead_letter() -> None:
    intakes = Intakes()
    await intakes.acceptance.accept([record(headers={"idempotency-key": "k"})])
    late = record(
        {**ASKED, "input": "other"}, headers={"idempotency-key": "k", "eurouter-expires-at": EARLIER}, offset=42
    )
    assert await intakes.acceptance.accept([late]) == BatchOutcome(rejected=1)
    assert intakes.store.reasons() == ["expired"]


async def test_a_copy_of_a_signed_record_is_its_job_also_when_it_comes_too_late() -> None:
    intakes = Intakes()
    first = signed()
    copy = Record(SHARED, 9, 77, 5, first.key, first.value, first.headers)
    assert await intakes.acceptance.accept([first]) == BatchOutcome(accepted=1)
    assert await intakes.acceptance.accept([copy]) == BatchOutcome(accepted=1)
    intakes.now += 2 * HOUR
    assert await intakes.acceptance.accept([copy]) == BatchOutcome(repeated=1)
    assert len(intakes.store.jobs) == 1


HINT = {"model": "small", "input": [{"role": "user", "content": "Hello", "cache": 1}]}


def other_digest(_key: str, _request: Any) -> Idempotency:
    """As if requests were compared in another way by now."""
    return Idempotency(_key, b"of another version")


@pytest.mark.parametrize("failing", [None, no_such_model(), RuntimeError("a fault of ours")])
async def test_a_record_without_a_key_is_the_job_that_it_became_however_requests_are_compared_by_now(
    failing: Exception | None,
) -> None:
    intakes = Intakes()
    assert await intakes.acceptance.accept([record(), signed()]) == BatchOutcome(accepted=2)
    intakes.responses.idempotency = other_digest
    if failing is not None:
        intakes.responses.failures["small"] = [failing]
    assert await intakes.acceptance.accept([record(), signed()]) == BatchOutcome(repeated=2)
    assert intakes.store.letters == []
    told = await intakes.acceptance.redrive(record(), "team-a")
    assert told == Redriven(read(record()).response_id, repeated=True)
    with_key = record(headers={"idempotency-key": read(record()).submission.idempotency_key or ""})
    assert await intakes.acceptance.accept([with_key]) == BatchOutcome(rejected=1)


@pytest.mark.parametrize("how", ["smaller", "fewer fields", "unstorable", "no statement"])
async def test_a_record_without_a_key_that_is_refused_since_it_became_a_job_is_that_job(how: str) -> None:
    intakes = Intakes(hint_fields=frozenset({"input.cache"}))
    batch = [record(HINT), signed(HINT)]
    assert await intakes.acceptance.accept(batch) == BatchOutcome(accepted=2)
    ids = set(intakes.store.jobs)
    match how:
        case "smaller":
            intakes.rules = rules(max_value_bytes=10)
        case "fewer fields":
            intakes.rules = rules()
        case "unstorable":
            intakes.store.unstorable = ids
        case _:
            intakes.store.crash = ids
    assert await intakes.acceptance.accept(batch) == BatchOutcome(repeated=2)
    assert intakes.store.letters == []
    assert (await intakes.acceptance.redrive(record(HINT), "team-a")).repeated
    # Another one of that kind is none.
    assert await intakes.acceptance.accept([record(b"{" * 20, offset=42)]) == BatchOutcome(rejected=1)


async def test_a_key_alone_does_not_tell_that_a_record_that_can_not_be_read_is_a_job() -> None:
    intakes = Intakes(hint_fields=frozenset({"input.cache"}))
    given = record(HINT, headers={"idempotency-key": "k"})
    await intakes.acceptance.accept([given])
    intakes.rules = rules()
    assert await intakes.acceptance.accept([given]) == BatchOutcome(rejected=1)


async def test_a_record_that_nobody_is_known_to_own_any_more_is_a_dead_letter() -> None:
    intakes = Intakes(trusted_owner_header="x-owner")
    given = record(topic=SHARED, headers={"x-owner": "team-c"})
    assert await intakes.acceptance.accept([given]) == BatchOutcome(accepted=1)
    intakes.rules = rules()
    assert await intakes.acceptance.accept([given]) == BatchOutcome(rejected=1)
    assert intakes.store.reasons() == ["unauthenticated"]
    # Whoever submits it again by its owner's name finds the job.
    assert (await intakes.acceptance.redrive(given, "team-c")).repeated


# The database.


@pytest.mark.parametrize("what", ["accept_many", "find", "add"])
async def test_a_database_that_is_away_is_no_reason_for_a_dead_letter(what: str) -> None:
    intakes = Intakes()
    intakes.store.down[what] = 2
    intakes.responses.failures["gone"] = [no_such_model()]
    batch = [record(), record(BAD, offset=42), asking("gone", 43)]
    for _ in range(2):
        with pytest.raises(TryLaterError):
            await intakes.acceptance.accept(batch)
        assert intakes.store.letters == []
        assert intakes.counted == []
    assert await intakes.acceptance.accept(batch) == BatchOutcome(accepted=1, rejected=2)
    assert sorted(intakes.store.reasons()) == ["undecodable", "unknown_model"]
    assert len(intakes.store.jobs) == 1


async def test_jobs_that_need_no_answer_are_stored_while_a_neighbour_has_to_wait() -> None:
    intakes = Intakes()
    intakes.responses.failures["continues"] = [database_away()]
    batch = [record(), asking("continues", 42), record(BAD, offset=43), record(offset=44)]
    with pytest.raises(TryLaterError):
        await intakes.acceptance.accept(batch)
    assert len(intakes.store.jobs) == 2
    # Letters come when the batch is whole, so that each comes once.
    assert intakes.store.letters == []
    intakes.responses.failures.clear()
    assert await intakes.acceptance.accept(batch) == BatchOutcome(accepted=3, rejected=1)
    assert len(intakes.store.jobs) == 3


async def test_a_database_that_is_away_is_not_asked_for_every_record() -> None:
    intakes = Intakes()
    intakes.responses.failures["continues"] = [database_away()]
    with pytest.raises(TryLaterError):
        await intakes.acceptance.accept([asking("continues", n) for n in range(100)])
    assert len(intakes.responses.calls) == 3


@pytest.mark.parametrize("error", [StoreError("away"), ServiceError(Reason.IDEMPOTENCY_IN_PROGRESS, "later")])
async def test_what_time_mends_is_tried_later(error: BaseException) -> None:
    intakes = Intakes()
    intakes.responses.failures["small"] = [error]
    with pytest.raises(TryLaterError):
        await intakes.acceptance.accept([record()])
    assert intakes.store.letters == []


# Faults of ours.


async def test_a_fault_of_ours_has_a_second_try() -> None:
    intakes = Intakes()
    intakes.responses.failures["odd"] = [RuntimeError("SECRET"), wrong_field()]
    with capture_logs() as logs:
        assert await intakes.acceptance.accept([asking("odd")]) == BatchOutcome(rejected=1)
    assert intakes.store.reasons() == ["invalid"]
    assert "SECRET" not in str(logs)


async def test_a_record_that_always_meets_a_fault_of_ours_is_a_dead_letter_and_its_neighbours_are_jobs() -> None:
    intakes = Intakes()
    intakes.responses.failures["odd"] = [RuntimeError("SECRET")]
    with capture_logs() as logs:
        outcome = await intakes.acceptance.accept([asking("odd"), record(offset=42)])
    assert outcome == BatchOutcome(accepted=1, rejected=1)
    letter = read_dead_letter(stored(intakes))
    assert letter is not None
    assert (letter.reason, letter.owner) == ("internal", "team-a")
    assert "SECRET" not in letter.message + str(logs)
    crashed = [entry for entry in logs if entry["event"] == "record_crashed"]
    assert [entry["error_type"] for entry in crashed] == ["RuntimeError", "RuntimeError"]
    assert crashed[0]["offset"] == 41


async def test_a_job_that_no_statement_survives_is_a_dead_letter_and_its_neighbours_are_jobs() -> None:
    intakes = Intakes()
    intakes.store.crash = {read(record(offset=43)).response_id}
    outcome = await intakes.acceptance.accept([record(offset=n) for n in range(41, 46)])
    assert outcome == BatchOutcome(accepted=4, rejected=1)
    assert (intakes.store.reasons(), intakes.store.offsets()) == (["internal"], [43])


async def test_a_job_that_can_not_be_stored_is_a_dead_letter() -> None:
    intakes = Intakes()
    intakes.store.unstorable = {read(record(offset=43)).response_id}
    assert await intakes.acceptance.accept([record(), record(offset=43)]) == BatchOutcome(accepted=1, rejected=1)
    letter = read_dead_letter(stored(intakes))
    assert letter is not None
    assert (letter.reason, letter.owner) == ("invalid", "team-a")


async def test_a_cancelled_acceptance_stops() -> None:
    intakes = Intakes()
    intakes.responses.failures["odd"] = [asyncio.CancelledError()]
    with pytest.raises(asyncio.CancelledError):
        await intakes.acceptance.accept([asking("odd")])


async def turns_of_others(batch: Sequence[Record], seconds_each: float) -> int:
    """How often others have their turn while a batch is judged, in which each look at the clock takes so long."""
    intakes = Intakes()
    intakes.clock = count(100.0, seconds_each).__next__
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await intakes.acceptance.accept(batch)
    task.cancel()
    return turns


@pytest.mark.parametrize("value", [None, BAD])
async def test_others_have_their_turn_every_ten_milliseconds_while_a_batch_is_judged(value: bytes | None) -> None:
    batch = [record(value, offset=n) for n in range(200)]
    assert await turns_of_others(batch, 0.0101) >= 100
    assert await turns_of_others(batch, 0.0001) <= 10


async def test_others_have_their_turn_after_every_large_value() -> None:
    batch = [record({**ASKED, "input": "x" * 65_536}, offset=n) for n in range(50)]
    assert await turns_of_others(batch, 0.0) >= 50


# A catalogue that is not whole yet.


async def test_a_model_of_a_server_that_did_not_answer_yet_is_waited_for_and_neighbours_are_jobs() -> None:
    intakes = Intakes()
    intakes.responses.failures["new"] = [no_such_model()]
    intakes.responses.failures["odd"] = [wrong_field()]
    intakes.complete = False
    early = asking("new")
    outcome = await intakes.acceptance.accept([early, record(offset=42), asking("odd", 43)])
    assert outcome == BatchOutcome(accepted=1, rejected=1, later=(early,))
    assert intakes.store.reasons() == ["invalid"]
    intakes.responses.failures.clear()
    assert await intakes.acceptance.accept([early]) == BatchOutcome(accepted=1)


async def test_a_model_that_nobody_has_is_a_dead_letter_once_all_servers_have_answered() -> None:
    intakes = Intakes()
    intakes.responses.failures["new"] = [no_such_model()]
    intakes.complete = False
    await intakes.acceptance.accept([asking("new")])
    intakes.complete = True
    assert await intakes.acceptance.accept([asking("new")]) == BatchOutcome(rejected=1)
    assert intakes.store.reasons() == ["unknown_model"]


async def test_a_server_that_never_answers_is_waited_for_five_minutes_from_the_start() -> None:
    intakes = Intakes()
    intakes.responses.failures["new"] = [no_such_model()]
    intakes.complete = False
    intakes.clock = lambda: 100.0 + 299.0
    assert (await intakes.acceptance.accept([asking("new")])).later == (asking("new"),)
    intakes.clock = lambda: 100.0 + 300.0
    assert await intakes.acceptance.accept([asking("new")]) == BatchOutcome(rejected=1)


async def test_a_record_that_is_a_job_already_waits_for_no_server() -> None:
    intakes = Intakes()
    await intakes.acceptance.accept([asking("new")])
    intakes.responses.failures["new"] = [no_such_model()]
    intakes.complete = False
    assert await intakes.acceptance.accept([asking("new")]) == BatchOutcome(repeated=1)


async def test_who_submits_again_is_told_at_once_that_no_server_has_the_model() -> None:
    intakes = Intakes()
    intakes.responses.failures["new"] = [no_such_model()]
    intakes.complete = False
    assert (await intakes.acceptance.redrive(asking("new"), "team-a")).reason == "unknown_model"


# Submitted again.


async def test_a_record_that_is_mended_here_is_a_job_when_it_is_submitted_again() -> None:
    intakes = Intakes()
    intakes.responses.failures["new"] = [no_such_model()]
    await intakes.acceptance.accept([asking("new")])
    letter = read_dead_letter(stored(intakes))
    assert letter is not None
    still = await intakes.acceptance.redrive(letter.original, letter.owner)
    assert still == Redriven(reason="unknown_model", message=no_such_model().message)
    intakes.responses.failures.clear()
    made = await intakes.acceptance.redrive(letter.original, letter.owner)
    assert made == Redriven(read(asking("new")).response_id)
    assert await intakes.acceptance.redrive(letter.original, letter.owner) == Redriven(
        made.response_id, repeated=True
    )
    assert len(intakes.store.jobs) == 1
    assert len(intakes.store.letters) == 1


async def test_nobody_is_asked_who_submitted_what_an_operator_vouches_for() -> None:
    intakes = Intakes()
    unsigned = record(topic=SHARED)
    assert await intakes.acceptance.accept([unsigned]) == BatchOutcome(rejected=1)
    assert intakes.store.reasons() == ["unauthenticated"]
    made = await intakes.acceptance.redrive(unsigned, "team-b")
    assert intakes.store.jobs[made.response_id].response.owner == "team-b"


async def test_a_signed_record_is_submitted_again_without_its_signature_and_is_the_same_job() -> None:
    intakes = Intakes()
    first = signed()
    bare = Record(SHARED, 0, 3, 5, first.key, first.value, [h for h in first.headers if "signature" not in h[0]])
    made = await intakes.acceptance.redrive(bare, "team-b")
    assert await intakes.acceptance.accept([first]) == BatchOutcome(accepted=1)
    assert list(intakes.store.jobs) == [made.response_id]


async def test_a_record_that_has_expired_stays_so_and_its_sender_is_named_as_who_can_help() -> None:
    intakes = Intakes()
    late = record(headers={"eurouter-expires-at": EARLIER})
    told = await intakes.acceptance.redrive(late, "team-a")
    assert told.reason == "expired"
    assert "whoever sent it has to send it with a later one" in told.message
    assert intakes.store.jobs == {}


async def test_a_record_that_became_a_job_and_expired_since_is_that_job_when_it_is_submitted_again() -> None:
    intakes = Intakes()
    given = record(headers={"eurouter-expires-at": LATER})
    await intakes.acceptance.accept([given])
    intakes.now += 2 * HOUR
    assert await intakes.acceptance.redrive(given, "team-a") == Redriven(read(given).response_id, repeated=True)


async def test_a_job_that_was_deleted_is_not_made_again() -> None:
    intakes = Intakes()
    made = await intakes.acceptance.redrive(record(), "team-a")
    intakes.store.jobs.clear()
    assert await intakes.acceptance.redrive(record(), "team-a") == Redriven(made.response_id, repeated=True)
    assert intakes.store.jobs == {}


async def test_what_is_submitted_again_is_told_and_no_letter_is_written() -> None:
    intakes = Intakes()
    assert (await intakes.acceptance.redrive(record(BAD), "team-a")).reason == "undecodable"
    intakes.responses.failures["odd"] = [RuntimeError("SECRET")]
    internal = await intakes.acceptance.redrive(asking("odd"), "team-a")
    assert internal.reason == "internal"
    assert "SECRET" not in internal.message
    await intakes.acceptance.accept([record(headers={"idempotency-key": "k"})])
    other = record({**ASKED, "input": "other"}, headers={"idempotency-key": "k"})
    assert (await intakes.acceptance.redrive(other, "team-a")).reason == "identity_conflict"
    assert intakes.store.letters == []


@pytest.mark.parametrize("what", ["find", "accept_many", "job"])
async def test_nothing_is_submitted_again_while_the_database_is_away(what: str) -> None:
    intakes = Intakes()
    intakes.store.down[what] = 1
    with pytest.raises(TryLaterError):
        await intakes.acceptance.redrive(record(), "team-a")
    # What was stored before the answer was lost is the same job.
    assert (await intakes.acceptance.redrive(record(), "team-a")).response_id == read(record()).response_id
    assert len(intakes.store.jobs) == 1


def test_what_is_said_above_of_times_is_so() -> None:
    assert orjson.loads(record().value or b"") == ASKED
    assert read(record(headers={"eurouter-expires-at": LATER})).submission.start_within == HOUR
    assert NOW == 1_790_000_000.0
