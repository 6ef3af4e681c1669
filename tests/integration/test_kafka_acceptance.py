"""Records become jobs and dead letters by the real APIs on real databases, and jobs results again."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from eurouter.v1 import chat_pb2, response_object_pb2, responses_pb2

from service.domain.consuming import Record
from service.domain.errors import Reason, ServiceError
from service.domain.intake import BatchOutcome, TryLaterError
from service.domain.job_store import Priority
from service.domain.outbox import OutboxKind
from service.edge.kafka import names
from service.wire import parse
from tests.support.intake_worlds import MODEL, TOPICS, IntakeWorld, intake_world
from tests.support.kafka_records import EARLIER, LATER, SHARED, TOPIC, read, record, signed

ASKED = {"model": MODEL, "input": "Name three rivers."}
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Name three rivers."}]}
AS_CHAT = {"eurouter-api": "chat"}


@pytest.fixture(name="w")
async def a_world(database_url: str) -> AsyncIterator[IntakeWorld]:
    async with intake_world(database_url) as made:
        yield made


def protobuf(text: str = "Name three rivers.") -> bytes:
    return parse(responses_pb2.CreateResponseRequest, {**ASKED, "input": text}).SerializeToString()


def each_form() -> list[Record]:
    line = {"custom_id": "r-1", "method": "POST", "url": "/v1/chat/completions", "body": CHAT}
    forms = [
        (orjson.dumps(ASKED), {}),
        (orjson.dumps(CHAT), AS_CHAT),
        (orjson.dumps(line), {}),
        (protobuf(), {"content-type": "application/protobuf"}),
        (b"\x00\x00\x00\x00\x07\x00" + protobuf(), {}),
        (b"\x00\x00\x00\x00\x07" + orjson.dumps({**ASKED, "stream": True}), {"eurouter-priority": "high"}),
        (orjson.dumps(orjson.dumps(ASKED).decode()), {"content-type": "application/json"}),
    ]
    return [record(value, headers=headers, offset=n) for n, (value, headers) in enumerate(forms)]


async def test_every_form_of_a_request_becomes_a_job_that_its_owner_can_read(w: IntakeWorld) -> None:
    batch = each_form()
    assert await w.acceptance.accept(batch) == BatchOutcome(accepted=len(batch))
    for one in batch:
        asked = responses_pb2.GetResponseRequest(response_id=read(one).response_id)
        response = await w.stored.get(asked, w.context("team-a"))
        assert response.status == response_object_pb2.RESPONSE_STATUS_QUEUED
        assert (response.background, response.model) == (True, MODEL)
        with pytest.raises(ServiceError) as caught:
            await w.stored.get(asked, w.context("team-b"))
        assert caught.value.reason is Reason.RESPONSE_NOT_FOUND
    claim = await w.database.store.claim("w", 100, 30.0, 1000)
    assert sorted(job.api for job in claim.run) == ["chat"] * 2 + ["responses"] * 5
    assert [job.log_deltas for job in claim.run if job.id == read(batch[5]).response_id] == [True]
    assert claim.run[0].id == read(batch[5]).response_id, "the only urgent one"
    chat = next(job for job in claim.run if job.api == "chat")
    asked_chat = chat_pb2.CreateChatCompletionRequest.FromString(chat.request)
    assert asked_chat.messages[0].content[0].text == "Name three rivers."
    assert len(await w.rows(OutboxKind.WAKE)) == len(batch)
    assert await w.letters() == []


async def test_bad_records_are_dead_letters_with_their_reasons_and_neighbours_are_jobs(w: IntakeWorld) -> None:
    w.rules = type(w.rules)(w.rules.identities, max_value_bytes=10_000)
    bad = [
        ("undecodable", record(b'{"model": "x"', offset=1)),
        ("undecodable", record(protobuf()[:-3], headers={"content-type": "application/protobuf"}, offset=2)),
        ("unknown_content_type", record(ASKED, headers={"content-type": "text/csv"}, offset=3)),
        ("unknown_api", record(ASKED, headers={"eurouter-api": "images"}, offset=4)),
        ("too_large", record({**ASKED, "input": "x" * 20_000}, offset=5)),
        ("unauthenticated", record(ASKED, topic=SHARED, offset=6)),
        ("bad_signature", tampered(offset=7)),
        ("expired", record(ASKED, headers={"eurouter-expires-at": EARLIER}, offset=8)),
        ("foreign_reply_topic", record(ASKED, headers={"reply-topic": "team-b.results"}, offset=9)),
        ("invalid", record(ASKED, headers={"eurouter-priority": "soon"}, offset=10)),
        ("invalid", record({**ASKED, "temperature": 9}, offset=11)),
        ("invalid", record({**CHAT, "n": 2}, headers=AS_CHAT, offset=12)),
        ("invalid", record({**ASKED, "previous_response_id": "resp_" + "0" * 36}, offset=13)),
        ("unknown_model", record({**ASKED, "model": "vendor/none"}, offset=14)),
        ("not_allowed", record({**ASKED, "provider": {"data_residency": "jp"}}, offset=15)),
        ("identity_conflict", record({**ASKED, "input": "b"}, headers={"idempotency-key": "k"}, offset=17)),
    ]
    good = [
        record(ASKED, offset=100),
        record(ASKED, headers={"idempotency-key": "k"}, offset=101),
        record(ASKED, offset=102),
    ]
    batch = [*good[:2], *(one for _, one in bad), good[2]]
    assert await w.acceptance.accept(batch) == BatchOutcome(accepted=3, rejected=len(bad))
    letters = await w.letters()
    assert [letter.reason for letter in letters] == [reason for reason, _ in bad]
    for letter, (_, one) in zip(letters, bad, strict=True):
        kept = [(name, value) for name, value in one.headers if name != "eurouter-signature"]
        assert letter.original == Record(**{**_fields(one), "headers": kept})
        assert letter.message
    assert letters[10].message.startswith("temperature: must be ")
    assert {letter.owner for letter in letters if letter.original.topic == TOPIC} == {"team-a"}
    assert len((await w.database.store.claim("w", 100, 30.0, 1000)).run) == 3


def tampered(offset: int) -> Record:
    given = signed(ASKED, offset=offset)
    return Record(**{**_fields(given), "value": orjson.dumps({**ASKED, "input": "other"})})


def _fields(given: Record) -> dict[str, Any]:
    return {name: getattr(given, name) for name in Record.__slots__}


async def test_a_batch_that_is_read_again_makes_no_other_job(w: IntakeWorld) -> None:
    batch = [*each_form(), record(b"{", offset=50), signed(ASKED, offset=51)]
    await w.acceptance.accept(batch)
    jobs = await w.database.count("jobs")
    await w.acceptance.accept(batch)
    assert await w.database.count("jobs") == jobs == 8
    # Those of dead letters alone come again, and say so by their original coordinates.
    assert [letter.original.offset for letter in await w.letters()] == [50, 50]


async def test_a_record_that_expired_since_it_became_a_job_is_that_job(w: IntakeWorld) -> None:
    given = record(ASKED, headers={"eurouter-expires-at": LATER})
    assert await w.acceptance.accept([given]) == BatchOutcome(accepted=1)
    w.now += 2 * 3600
    assert await w.acceptance.accept([given]) == BatchOutcome(repeated=1)
    assert await w.letters() == []
    told = await w.acceptance.redrive(given, "team-a")
    assert (told.response_id, told.repeated) == (read(given).response_id, True)


async def test_what_was_deleted_is_not_made_again_by_its_record(w: IntakeWorld) -> None:
    given = record(ASKED)
    await w.acceptance.accept([given])
    asked = responses_pb2.DeleteResponseRequest(response_id=read(given).response_id)
    await w.stored.delete(asked, w.context("team-a"))
    await w.acceptance.accept([given])
    assert await w.database.count("jobs") == 0
    (tombstone,) = await w.rows(OutboxKind.TOMBSTONE)
    assert w.message(tombstone).topic == "team-a.results"
    assert (await w.acceptance.redrive(given, "team-a")).repeated
    assert await w.database.count("jobs") == 0


async def test_what_was_deleted_and_expired_since_is_no_dead_letter_when_it_is_read_again(w: IntakeWorld) -> None:
    given = record(ASKED, headers={"eurouter-expires-at": LATER})
    await w.acceptance.accept([given])
    asked = responses_pb2.DeleteResponseRequest(response_id=read(given).response_id)
    await w.stored.delete(asked, w.context("team-a"))
    w.now += 2 * 3600
    assert await w.acceptance.accept([given]) == BatchOutcome(repeated=1)
    assert await w.letters() == []
    assert await w.database.count("jobs") == 0


async def test_a_dead_letter_that_is_submitted_again_becomes_a_job_once(w: IntakeWorld) -> None:
    await w.acceptance.accept([record(ASKED, topic=SHARED)])
    (letter,) = await w.letters()
    assert letter.reason == "unauthenticated"
    made = await w.acceptance.redrive(letter.original, "team-b")
    assert (made.reason, made.repeated) == ("", False)
    again = await w.acceptance.redrive(letter.original, "team-b")
    assert (again.response_id, again.repeated) == (made.response_id, True)
    assert await w.database.count("jobs") == 1
    assert len(await w.letters()) == 1


async def test_a_result_names_its_submission_and_goes_where_that_said(w: IntakeWorld) -> None:
    headers = {"correlation-id": b"\xff1", "reply-topic": "team-a.urgent", "traceparent": TRACE}
    given = record(protobuf(), headers={**headers, "content-type": "application/protobuf"})
    await w.acceptance.accept([given])
    response_id = read(given).response_id
    body = responses_pb2.StoredResponseBody()
    body.response.CopyFrom(
        await w.stored.get(responses_pb2.GetResponseRequest(response_id=response_id), w.context("team-a"))
    )
    body.response.status = response_object_pb2.RESPONSE_STATUS_COMPLETED
    assert await w.database.finish_one(body.SerializeToString()) == response_id
    (row,) = await w.rows(OutboxKind.RESULT)
    message = w.message(row)
    assert (message.topic, message.key) == ("team-a.urgent", response_id.encode())
    told = dict(message.headers)
    trace = told.pop("traceparent").decode()
    assert trace.startswith(TRACE[:36])
    assert told == {
        "content-type": b"application/protobuf; proto=eurouter.v1.Response",
        "eurouter-status": b"completed",
        "eurouter-attempt": b"1",
        "eurouter-version": b"1",
        "eurouter-inline": b"true",
        "correlation-id": b"\xff1",
        "eurouter-source-key": b"order-17",
        "eurouter-source-topic": TOPIC.encode(),
        "eurouter-source-partition": b"3",
        "eurouter-source-offset": b"41",
    }
    shown = response_object_pb2.Response.FromString(message.value or b"")
    assert (shown.id, shown.status) == (response_id, response_object_pb2.RESPONSE_STATUS_COMPLETED)


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_a_job_for_later_and_its_priority_are_as_the_record_says(w: IntakeWorld) -> None:
    headers = {"eurouter-run-at": LATER, "eurouter-priority": "bulk"}
    await w.acceptance.accept([record(ASKED, headers=headers)])
    assert (await w.database.store.claim("w", 10, 30.0, 1000)).run == []
    stats = await w.database.store.queue_stats("team-a")
    assert stats[Priority.BULK].waiting == 1
    assert await w.rows(OutboxKind.WAKE) == []


async def test_random_bytes_are_stored_as_dead_letters_whatever_they_are(w: IntakeWorld) -> None:
    rng = random.Random(17)
    batch = []
    for offset in range(300):
        value = rng.randbytes(rng.randrange(80)) if rng.random() < 0.5 else _cut(rng, orjson.dumps(ASKED))
        known = rng.choice([*sorted(names.READ), "x\x00y", "naïve", "\udcff"])
        headers = [(known, rng.choice([None, b"", b"\x00", rng.randbytes(9), b"chat", b"high"]))]
        key = rng.choice([None, b"", b"\x00\xff", b"k"])
        batch.append(Record(rng.choice([TOPIC, SHARED, "t\x00"]), 0, offset, offset, key, value, headers))
    outcome = await w.acceptance.accept(batch)
    letters = await w.letters()
    assert outcome.accepted + outcome.repeated + outcome.rejected == len(batch)
    assert outcome.rejected == len(letters)
    assert outcome.rejected > 200
    by_offset = {letter.original.offset: letter.original for letter in letters}
    for offset, original in by_offset.items():
        assert (original.value or b"") == batch[offset].value
        assert original.key == batch[offset].key
    assert {row.record.kind for row in await w.database.all()} <= {OutboxKind.WAKE, OutboxKind.DEAD_LETTER}
    assert TOPICS.dlq == w.message((await w.rows(OutboxKind.DEAD_LETTER))[0]).topic


def _cut(rng: random.Random, whole: bytes) -> bytes:
    return whole[: rng.randrange(len(whole) + 1)]


async def test_while_the_database_is_away_nothing_becomes_a_dead_letter(w: IntakeWorld) -> None:
    await w.database.execute("ALTER TABLE jobs RENAME TO jobs_away")
    batch = [record(ASKED), record(b"{", offset=42)]
    with pytest.raises(TryLaterError):
        await w.acceptance.accept(batch)
    assert await w.database.count("outbox") == 0
    await w.database.execute("ALTER TABLE jobs_away RENAME TO jobs")
    assert await w.acceptance.accept(batch) == BatchOutcome(accepted=1, rejected=1)
