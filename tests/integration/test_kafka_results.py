"""Results of jobs of every door on a real Kafka, the tombstones that end them, and the topics that they go to."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Final

import asyncpg
import pytest
import pytest_asyncio
from eurouter.v1 import responses_pb2 as pb

from adapters.database.url import SqliteTarget, parse_url
from adapters.providers.simulator import Script
from tests.support.background import ended
from tests.support.kafka_clients import Kafka
from tests.support.kafka_world import KafkaWorld, Told, asked, kafka_world
from tests.support.postgres import Postgres
from tests.support.running import ask_response, until

PREFIX: Final = f"test-{os.getpid()}-results"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('results')}/responses.db"
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    made = server.database()
    yield made
    server.drop(made)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(kafka: Kafka, url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KafkaWorld]:
    settings = {
        "database": {"url": url},
        "responses": {"sweep_seconds": 0.3},
        "owners": [{"name": "local", "results_topic": f"{PREFIX}.local"}],
        "kafka": {
            "intake": [{"topic": f"{PREFIX}.requests", "owner": "local", "results_topic": f"{PREFIX}.bound"}]
        },
    }
    folder = tmp_path_factory.mktemp("results")
    also = ("local", "bound")
    async with kafka_world(folder, kafka, PREFIX, settings, also=also) as opened:
        yield opened
        await opened.settled()


async def test_a_job_of_grpc_or_http_has_its_result_in_its_owners_topic(world: KafkaWorld) -> None:
    by_grpc = (await world.door.up.responses.CreateResponse(ask_response(background=True))).id
    by_http = (await world.door.create(asked(background=True))).json["id"]
    for response_id in (by_grpc, by_http):
        told = await world.result(response_id)
        assert told.topic == world.name("local")
        assert told.json == (await world.door.call("GET", f"/{response_id}")).json
        assert told.json["status"] == "completed"
        assert set(told.headers) == {
            "content-type",
            "eurouter-status",
            "eurouter-attempt",
            "eurouter-version",
            "eurouter-inline",
            "traceparent",
        }


async def test_the_topic_of_a_binding_comes_before_its_owners(world: KafkaWorld) -> None:
    assert (await world.result(await world.submit(asked()))).topic == world.name("bound")


async def test_a_foreground_response_is_told_to_nobody(world: KafkaWorld) -> None:
    made = (await world.door.create(asked(store=True))).json["id"]
    later = (await world.door.create(asked(background=True))).json["id"]
    await world.result(later)
    assert (await world.door.call("DELETE", f"/{made}")).status == 200
    assert (await world.door.call("DELETE", f"/{later}")).status == 200
    await world.reader.until(lambda: len(world.results(later)) == 2, "the tombstone of the job")
    assert world.results(made) == []


async def test_a_tombstone_follows_the_result_of_what_is_deleted_and_nothing_follows_it(
    world: KafkaWorld,
) -> None:
    sent = await world.submit(asked(), {"correlation-id": "doomed"})
    told = await world.result(sent)
    await world.door.up.responses.DeleteResponse(pb.DeleteResponseRequest(response_id=told.id))
    last = await _last(world, told.id)
    assert [one.value is None for one in world.results(told.id)] == [False, True]
    assert (last.topic, last.partition) == (told.topic, told.partition)
    assert last.offset > told.offset
    assert dict(last.headers) == {"eurouter-version": b"%d" % (told.version + 1)}
    # What comes later comes after it: nothing of it is still on its way.
    await world.result(await world.submit(asked()))
    assert [one.value for one in world.results(told.id)][1:] == [None]


async def test_a_job_that_is_deleted_while_it_runs_leaves_a_tombstone_alone(world: KafkaWorld) -> None:
    world.door.up.alpha.enqueue(Script(tokens=1000, pace=0.05))
    calls = len(world.door.up.alpha.calls)
    made = (await world.door.create(asked(background=True))).json["id"]
    await until(lambda: len(world.door.up.alpha.calls) > calls, "it runs")
    assert (await world.door.call("DELETE", f"/{made}")).status == 200
    await _last(world, made)
    # Of the cancel that comes with it there may be a result, before the tombstone; what was answered never is.
    *before, tombstone = world.results(made)
    assert tombstone.value is None
    assert all(one.headers["eurouter-status"] == b"cancelled" for one in before)
    await world.door.up.alpha.wait_for(lambda calls: calls[-1].cancelled, 2.0)


async def test_a_cancelled_job_has_a_result_that_says_so(world: KafkaWorld) -> None:
    world.door.up.alpha.enqueue(Script(tokens=1000, pace=0.05))
    calls = len(world.door.up.alpha.calls)
    sent = await world.submit(asked(), {"idempotency-key": "to-be-cancelled"})
    await until(lambda: len(world.door.up.alpha.calls) > calls, "it runs")
    (job,) = (await world.door.call("GET", "/v1/jobs?state=in_progress")).json["jobs"]
    cancelled = (await world.door.call("POST", f"/{job['id']}/cancel")).json
    told = await world.result(sent)
    assert (told.id, told.headers["eurouter-status"]) == (job["id"], b"cancelled")
    assert told.json == cancelled


async def test_what_expires_leaves_a_tombstone(world: KafkaWorld, url: str) -> None:
    told = await world.result(await world.submit(asked()))
    await _age(url, told.id)
    await _last(world, told.id)
    assert [one.value is None for one in world.results(told.id)] == [False, True]
    assert (await world.door.call("GET", f"/{told.id}")).status == 404


async def test_a_key_of_grpc_or_http_is_free_again_when_its_response_is_deleted(world: KafkaWorld) -> None:
    key = {"idempotency-key": "order-20"}
    first = (await world.door.create(asked(background=True), headers=key)).json["id"]
    await ended(world.door, first)
    assert (await world.door.call("DELETE", f"/{first}")).status == 200
    again = await world.door.create(asked(background=True), headers=key)
    assert again.status == 200, again.raw
    assert again.json["id"] != first
    await world.result(again.json["id"])


async def test_a_record_that_is_read_once_more_makes_nothing_that_was_deleted_again(world: KafkaWorld) -> None:
    headers = {"idempotency-key": "order-21"}
    told = await world.result(await world.submit(asked(), headers))
    assert (await world.door.call("DELETE", f"/{told.id}")).status == 200
    await _last(world, told.id)
    again = await world.submit(asked(), headers)
    await world.result(await world.submit(asked()))
    assert (world.results(again), world.letters(again)) == ([], [])
    assert (await world.door.call("GET", f"/{told.id}")).status == 404
    world.sent.remove(again)


async def _last(world: KafkaWorld, response_id: str) -> Told:
    """The tombstone of a response, once it is there."""

    def tombstones() -> list[Told]:
        return [told for told in world.results(response_id) if told.value is None]

    await world.reader.until(lambda: bool(tombstones()), f"the tombstone of {response_id}")
    (found,) = tombstones()
    return found


async def _age(url: str, response_id: str) -> None:
    """Its retention is over."""
    target = parse_url(url)
    if isinstance(target, SqliteTarget):
        with closing(sqlite3.connect(target.path, timeout=10)) as raw, raw:
            raw.execute("UPDATE responses SET expires_at = 1 WHERE id = ?", (response_id,))
        return
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE responses SET expires_at = 'epoch' WHERE id = $1", response_id)
    await connection.close()
