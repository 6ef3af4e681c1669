"""Dead letters on a real broker: read from the end, listed and submitted again, over the doors and by commands."""

from __future__ import annotations

import asyncio
import base64
import signal
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from aiokafka import TopicPartition
from aiokafka.admin.records_to_delete import RecordsToDelete
from eurouter.v1 import jobs_pb2 as pb
from grpc import aio

from adapters.kafka.client import KafkaClientError
from adapters.kafka.dead_letters import KafkaDeadLetters
from adapters.keys import hash_secret, make_key, public_id
from service.domain.consuming import ConsumerError, Record
from service.edge.kafka.rejections import Rejection
from tests.support.dead_letters import SUBMIT, Pile, submitted
from tests.support.http_door import Answer
from tests.support.kafka import KafkaCluster, cluster
from tests.support.kafka_batches import batch, send_batch
from tests.support.kafka_clients import Kafka, Topics
from tests.support.responses_door import ResponsesDoor, responses_door

PEPPER: Final = "a pepper for tests only, long enough"
TEAM_A, ADMIN = make_key(), make_key()


def row(key: str, owner: str, **fields: object) -> dict[str, object]:
    return {"id": public_id(key), "hash": hash_secret(key, PEPPER.encode()), "owner": owner, **fields}


@pytest.fixture
async def pile(kafka: Kafka, topics: Topics) -> Pile:
    return Pile(kafka, await topics.create("dlq", partitions=3))


async def pages(reader: KafkaDeadLetters, most: int) -> list[list[Record]]:
    """Every page from the end to the beginning."""
    found, before = [], None
    while before is None or before:
        page = await reader.newest(before, most)
        assert len(page.records) <= most
        found.append(list(page.records))
        before = dict(page.before)
    return found


def values(records: Sequence[Record | None]) -> list[bytes | None]:
    return [None if record is None else record.value for record in records]


def numbered(*numbers: int) -> list[bytes]:
    return [b"%d" % number for number in numbers]


async def test_pages_go_back_by_time_through_all_partitions_and_miss_and_repeat_none(pile: Pile) -> None:
    for number in range(60):
        # One partition has most, one has none.
        await pile.raw(b"%d" % number, partition=0 if number % 5 else 2)
    for most in (1, 7, 25, 100):
        found = await pages(pile.reader, most)
        assert values([record for page in found for record in page]) == numbered(*range(59, -1, -1)), most
        # Guessing how far to go back in each partition costs few pages more than there have to be.
        assert len(found) <= 2 * -(-60 // most) + 1


async def test_what_comes_while_one_reads_is_on_no_later_page(pile: Pile) -> None:
    await pile.raw(*numbered(0, 1, 2, 3))
    reader = pile.reader
    first = await reader.newest(None, 2)
    await pile.raw(b"late", partition=0)
    await pile.raw(b"late", partition=1)
    rest = await reader.newest(first.before, 10)
    assert values([*first.records, *rest.records]) == numbered(3, 2, 1, 0)
    assert rest.before == {}


async def test_places_are_found_and_those_that_are_not_there_are_none(pile: Pile) -> None:
    await pile.raw(*numbered(*range(200)))
    await pile.raw(b"other", partition=1)
    wanted = [(0, 199), (0, 0), (7, 0), (1, 0), (0, 200), (2, 0), (0, 100), (2**31 - 1, 2**63 - 1)]
    assert values(await pile.reader.at(wanted)) == [b"199", b"0", None, b"other", None, None, b"100", None]
    assert await pile.reader.at([]) == []


async def test_a_page_of_large_records_is_short_and_nothing_of_it_is_lost(pile: Pile) -> None:
    large = [b"%d" % number + bytes(300_000) for number in range(12)]
    await pile.raw(*large, partition=1)
    reader = KafkaDeadLetters(pile.kafka.client, pile.topic, most_bytes=1_000_000)
    found = await pages(reader, 10)
    assert [record.value for page in found for record in page] == large[::-1]
    assert max(len(page) for page in found) == 3


async def test_holes_in_a_topic_are_passed() -> None:
    alone = {"transaction.state.log.replication.factor": "1", "transaction.state.log.min.isr": "1"}
    with cluster(others=alone) as kafka:
        await kafka.create("dlq")
        producer = kafka.producer(transactional_id="x")
        await producer.start()
        for number in range(5):
            # Each transaction ends with a mark, which has an offset and is no record.
            await producer.begin_transaction()
            await producer.send_and_wait("dlq", b"%d" % number)
            await producer.commit_transaction()
        await producer.stop()
        reader = KafkaDeadLetters(kafka.client, "dlq")
        found = [record for page in await pages(reader, 1) for record in page]
        assert values(found) == numbered(4, 3, 2, 1, 0)
        assert [record.offset for record in found] == [8, 6, 4, 2, 0]
        assert values(await reader.at([(0, 2), (0, 3)])) == [b"1", None]


async def test_a_record_that_a_client_can_not_read_hides_no_other(pile: Pile) -> None:
    await pile.raw(b"before")
    await send_batch(pile.kafka, pile.topic, batch([(b"key", b"bad", [(b"\xff", b"")]), (b"key", b"good", [])]))
    await pile.raw(b"after")
    page = await pile.reader.newest(None, 10)
    assert {record.value for record in page.records} == {b"before", b"bad", b"good", b"after"}


async def test_records_that_retention_took_are_gone_and_the_rest_is_read(pile: Pile) -> None:
    await pile.raw(*numbered(*range(10)))
    async with pile.kafka.admin() as admin:
        await admin.delete_records({TopicPartition(pile.topic, 0): RecordsToDelete(6)})
    page = await pile.reader.newest({0: 8}, 10)
    assert (values(page.records), page.before) == (numbered(7, 6), {})
    assert values(await pile.reader.at([(0, 5), (0, 6)])) == [None, b"6"]
    assert (await pile.reader.newest({0: 4, 9: 7}, 10)).records == []


async def test_a_topic_that_is_not_there_is_named_and_not_made(kafka: Kafka, topics: Topics) -> None:
    missing = topics.name("nothing")
    with pytest.raises(ConsumerError, match=missing):
        await KafkaDeadLetters(kafka.client, missing).newest(None, 1)
    async with kafka.admin() as admin:
        assert missing not in await admin.list_topics()


async def test_brokers_that_are_away_or_silent_are_an_error_in_a_bounded_time(own_kafka: KafkaCluster) -> None:
    await own_kafka.create("dlq")
    reader = KafkaDeadLetters(own_kafka.client, "dlq", seconds=2, close_seconds=1)
    assert (await reader.newest(None, 1)).records == []
    own_kafka.signal(1, signal.SIGSTOP)
    begin = time.monotonic()
    with pytest.raises(ConsumerError, match="no answer within 2 s"):
        await reader.newest(None, 1)
    assert time.monotonic() - begin < 5
    own_kafka.signal(1, signal.SIGCONT)
    await asyncio.to_thread(own_kafka.stop)
    with pytest.raises(ConsumerError, match="Kafka"):
        await reader.at([(0, 0)])


async def test_what_is_wrong_with_the_connections_settings_is_told(kafka: Kafka) -> None:
    def client() -> dict[str, Any]:
        raise KafkaClientError("ca.pem: no certificates can be read from it")

    with pytest.raises(ConsumerError, match=r"ca\.pem"):
        await KafkaDeadLetters(client, "dlq").newest(None, 1)


def settings_for(pile: Pile, **more: Any) -> dict[str, Any]:
    return {
        "kafka": {"bootstrap_servers": pile.kafka.bootstrap, "topics": "off", "names": {"dlq": pile.topic}},
        "jobs": {"here": False},
        **more,
    }


@pytest.fixture
async def door(pile: Pile, tmp_path: Path) -> AsyncIterator[ResponsesDoor]:
    """A service with an admin's key and a team's that works on no jobs."""
    keys = {"key_pepper": "env:KEY_PEPPER", "keys": [row(TEAM_A, "team-a"), row(ADMIN, "ops", admin=True)]}
    async with responses_door(tmp_path, settings_for(pile, **keys), env={"KEY_PEPPER": PEPPER}) as opened:
        yield opened


async def listed(door: ResponsesDoor, query: str = "", key: str = ADMIN) -> Answer:
    return await door.call("GET", f"/v1/dead-letters{query}", headers={"x-api-key": key})


async def redriven(door: ResponsesDoor, key: str = ADMIN, **body: Any) -> Answer:
    return await door.call("POST", "/v1/dead-letters/redrive", json=body, headers={"x-api-key": key})


def ids(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.raw
    return [letter["id"] for letter in answer.json["dead_letters"]]


async def test_letters_are_listed_with_what_they_were_and_content_only_when_asked_for(
    door: ResponsesDoor, pile: Pile
) -> None:
    (letter_id,) = await pile.put([submitted(41)])
    (bare_id,) = await pile.put([submitted(42)], Rejection.UNAUTHENTICATED, "", whole=False, partition=1)
    await pile.raw(b"somebody else's", headers=[("eurouter-dlq-original-topic", b"x")])
    newest, other = (await listed(door)).json["dead_letters"]
    assert newest == {
        "id": bare_id,
        "reason": "unauthenticated",
        "message": "model: no model has this name",
        "owner": "",
        "original_topic": SUBMIT,
        "original_partition": 2,
        "original_offset": 42,
        "original_time": "2026-09-21T14:13:20.042Z",
        "create_time": newest["create_time"],
        "value_bytes": len(submitted(42).value or b""),
    }
    assert (other["id"], other["reason"], other["owner"]) == (letter_id, "unknown_model", "team-a")
    newest, other = (await listed(door, "?content=true")).json["dead_letters"]
    assert "value" not in newest
    assert base64.b64decode(other["value"]) == submitted(41).value
    assert base64.b64decode(other["key"]) == b"order-41"
    assert other["headers"] == [
        {"name": "correlation-id", "value": base64.b64encode(b"\x00\xff").decode()},
        {"name": "empty", "value": ""},
    ]


async def test_over_grpc_a_letter_is_the_same(door: ResponsesDoor, pile: Pile) -> None:
    (letter_id,) = await pile.put([submitted(41)])
    request = pb.ListDeadLettersRequest(with_content=True)
    answer = await door.up.jobs.ListDeadLetters(request, metadata=(("x-api-key", ADMIN),))
    (letter,) = answer.dead_letters
    assert (letter.id, letter.key, letter.value) == (letter_id, b"order-41", submitted(41).value)
    assert [(one.name, one.value) for one in letter.headers] == [("correlation-id", b"\x00\xff"), ("empty", b"")]
    assert letter.original_time.ToMilliseconds() == 1_790_000_000_041


async def test_only_an_admin_key_sees_and_submits_letters(door: ResponsesDoor, pile: Pile) -> None:
    await pile.put([submitted(1)])
    for answer in (await listed(door, key=TEAM_A), await redriven(door, TEAM_A, owner="team-a")):
        assert (answer.status, answer.error["reason"]) == (403, "PERMISSION_DENIED")
        assert "eurouter dlq" in answer.error["message"]
    assert (await door.call("GET", "/v1/dead-letters")).status == 401
    with pytest.raises(aio.AioRpcError) as caught:
        await door.up.jobs.RedriveDeadLetters(
            pb.RedriveDeadLettersRequest(owner="team-a"), metadata=(("x-api-key", TEAM_A),)
        )
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_filters_and_pages_hold_each_letter_once(door: ResponsesDoor, pile: Pile) -> None:
    a = await pile.put([submitted(n) for n in range(5)])
    b = await pile.put([submitted(n) for n in range(5, 8)], Rejection.EXPIRED, "team-b", partition=1)
    c = await pile.put([submitted(n, topic="other") for n in range(8, 10)], Rejection.INVALID, partition=2)
    everything = [*a, *b, *c][::-1]
    assert ids(await listed(door)) == everything
    assert ids(await listed(door, "?owner=team-b")) == b[::-1]
    assert ids(await listed(door, "?reason=expired,invalid")) == [*b, *c][::-1]
    assert ids(await listed(door, "?reason=expired&owner=team-a")) == []
    assert ids(await listed(door, "?topic=other")) == c[::-1]
    for query in ("page_size=3", "page_size=1&reason=unknown_model", "page_size=2&owner=team-a"):
        found, token = [], ""
        while True:
            page = await listed(door, f"?{query}&page_token={token}")
            found += ids(page)
            if not (token := page.json["next_page_token"]):
                break
        assert found == ids(await listed(door, f"?{query.partition('&')[2]}")), query


async def test_a_page_of_large_letters_ends_before_a_client_refuses_it(door: ResponsesDoor, pile: Pile) -> None:
    made = await pile.put([submitted(n, bytes(700_000)) for n in range(6)])
    found, token, sizes = [], "", []
    while True:
        request = pb.ListDeadLettersRequest(with_content=True, page_token=token)
        page = await door.up.jobs.ListDeadLetters(request, metadata=(("x-api-key", ADMIN),))
        found += [letter.id for letter in page.dead_letters]
        sizes.append(page.ByteSize())
        if not (token := page.next_page_token):
            break
    assert found == made[::-1]
    assert max(sizes) < 4 * 1024 * 1024
    assert len(sizes) == 2


async def test_a_wrong_question_is_refused_by_the_name_of_its_field(door: ResponsesDoor, pile: Pile) -> None:
    made = await pile.put([submitted(1), submitted(2)])
    token = (await listed(door, "?page_size=1")).json["next_page_token"]
    forged = base64.urlsafe_b64encode(b'["0000000000000000",[[0,-1]]]').decode()
    for query, param in (
        ("?reason=nonsense", "reason"),
        ("?reason=expired,nonsense&reason=other", "reason"),
        ("?owner=", "owner"),
        ("?topic=a%00b", "topic"),
        ("?page_size=1001", "page_size"),
        ("?page_size=x", "page_size"),
        ("?page_token=nonsense", "page_token"),
        (f"?page_token={forged}", "page_token"),
        (f"?owner=x&page_token={token}", "page_token"),
        ("?content=perhaps", "content"),
        ("?reasons=expired", "reasons"),
    ):
        refused = await listed(door, query)
        assert (refused.status, refused.error["param"]) == (400, param), (query, refused.raw)
        assert refused.error["message"].startswith(f"{param}: "), (query, refused.raw)
    bodies: list[tuple[dict[str, Any], str]] = [
        ({}, "ids"),
        ({"vouched_owner": "team-a"}, "ids"),
        ({"ids": [made[0], "0-1"]}, "ids[1]"),
        ({"ids": ["00:1"]}, "ids[0]"),
        ({"ids": ["-1:1"]}, "ids[0]"),
        ({"ids": ["0:9223372036854775808"]}, "ids[0]"),
        ({"ids": ["²:1"]}, "ids[0]"),
        ({"ids": [made[0], made[0]]}, "ids[1]"),
        ({"ids": [f"0:{n}" for n in range(1001)]}, "ids"),
        ({"ids": made, "owner": "team-a"}, "ids"),
        ({"ids": made, "limit": 5}, "limit"),
        ({"owner": "team-a", "limit": 10_001}, "limit"),
        ({"owner": "team-a", "vouched_owner": "team-b"}, "vouched_owner"),
        ({"reasons": ["nonsense"]}, "reasons[0]"),
        ({"id": made}, "id"),
    ]
    for body, param in bodies:
        refused = await redriven(door, **body)
        assert (refused.status, refused.error["param"]) == (400, param), (body, refused.raw)
    assert (await door.call("GET", "/v1/jobs", headers={"x-api-key": ADMIN})).json["jobs"] == []


async def test_a_letter_that_is_submitted_again_is_a_job_of_its_owner_once(
    door: ResponsesDoor, pile: Pile
) -> None:
    first, second = await pile.put([submitted(1), submitted(2)])
    answer = (await redriven(door, ids=[second, first])).json
    assert (answer["accepted_count"], answer["rejected_count"], answer["more"]) == (2, 0, False)
    assert [letter["id"] for letter in answer["letters"]] == [second, first]
    made = [letter["response_id"] for letter in answer["letters"]]
    assert not any(letter["repeated"] or letter["reason"] for letter in answer["letters"])
    again = (await redriven(door, reasons=["unknown_model"])).json
    assert {letter["response_id"] for letter in again["letters"]} == set(made)
    assert all(letter["repeated"] for letter in again["letters"])
    assert again["accepted_count"] == 2
    jobs = (await door.call("GET", "/v1/jobs", headers={"x-api-key": TEAM_A})).json["jobs"]
    assert {job["id"] for job in jobs} == set(made)
    # What was submitted stays where it was.
    assert ids(await listed(door)) == [second, first]


async def test_each_letter_that_can_not_be_submitted_says_why_and_the_others_are_jobs(
    door: ResponsesDoor, pile: Pile
) -> None:
    (good,) = await pile.put([submitted(1)])
    (nobodys,) = await pile.put([submitted(2)], Rejection.UNAUTHENTICATED, "")
    (large,) = await pile.put([submitted(3)], Rejection.TOO_LARGE, whole=False)
    (bad,) = await pile.put([submitted(4, {"model": "gone", "input": "x"})])
    expired = submitted(5, headers=[("eurouter-expires-at", b"2020-01-01T00:00:00Z")])
    (late,) = await pile.put([expired], Rejection.EXPIRED)
    asked = [good, nobodys, large, bad, late, "0:77", "9:9"]
    answer = (await redriven(door, ids=asked)).json
    assert [letter["id"] for letter in answer["letters"]] == asked
    assert [letter["reason"] for letter in answer["letters"]] == [
        "", "unauthenticated", "too_large", "unknown_model", "expired", "not_found", "not_found",
    ]  # fmt: skip
    assert (answer["accepted_count"], answer["rejected_count"]) == (1, 6)
    assert f"{SUBMIT}, partition 2, offset 3" in answer["letters"][2]["message"]
    vouched = (await redriven(door, ids=[nobodys, bad], vouched_owner="team-b")).json["letters"]
    assert vouched[0]["response_id"].startswith("resp_")
    assert vouched[1]["reason"] == "not_allowed"
    (job,) = (await door.call("GET", "/v1/jobs?owner=team-b", headers={"x-api-key": ADMIN})).json["jobs"]
    assert job["id"] == vouched[0]["response_id"]


async def test_a_dry_run_tells_and_submits_nothing(door: ResponsesDoor, pile: Pile) -> None:
    (good,) = await pile.put([submitted(1)])
    (nobodys,) = await pile.put([submitted(2)], owner="")
    answer = (await redriven(door, reasons=["unknown_model"], dry_run=True)).json
    assert [(letter["id"], letter["response_id"], letter["reason"]) for letter in answer["letters"]] == [
        (nobodys, "", "unauthenticated"),
        (good, "", ""),
    ]
    assert (answer["accepted_count"], answer["rejected_count"]) == (0, 1)
    assert (await door.call("GET", "/v1/jobs", headers={"x-api-key": ADMIN})).json["jobs"] == []


async def test_a_limit_takes_the_newest_and_says_that_there_are_more(door: ResponsesDoor, pile: Pile) -> None:
    made = await pile.put([submitted(n) for n in range(45)])
    answer = (await redriven(door, owner="team-a", limit=41)).json
    assert [letter["id"] for letter in answer["letters"]] == made[:-42:-1]
    assert (answer["accepted_count"], answer["more"]) == (41, True)
    rest = (await redriven(door, owner="team-a", limit=45)).json
    assert (rest["accepted_count"], rest["more"]) == (45, False)
    assert sum(letter["repeated"] for letter in rest["letters"]) == 41


async def test_a_topic_that_is_not_there_is_an_error_that_may_pass(pile: Pile, tmp_path: Path) -> None:
    away = settings_for(pile)
    away["kafka"]["names"]["dlq"] = f"{pile.topic}.missing"
    keys = {"key_pepper": "env:KEY_PEPPER", "keys": [row(ADMIN, "ops", admin=True)]}
    async with responses_door(tmp_path, {**away, **keys}, env={"KEY_PEPPER": PEPPER}) as door:
        for answer in (await listed(door), await redriven(door, owner="x")):
            assert (answer.status, answer.error["reason"]) == (503, "STORE_UNAVAILABLE")
            assert "Kafka" in answer.error["message"]
            assert answer.headers["retry-after"]


async def test_without_kafka_there_are_no_dead_letters(tmp_path: Path) -> None:
    keys = {"key_pepper": "env:KEY_PEPPER", "keys": [row(ADMIN, "ops", admin=True)]}
    async with responses_door(tmp_path, keys, env={"KEY_PEPPER": PEPPER}) as door:
        for answer in (await listed(door), await redriven(door, owner="x")):
            assert (answer.status, answer.error["reason"]) == (404, "API_NOT_OFFERED")
            assert "kafka.bootstrap_servers" in answer.error["message"]
