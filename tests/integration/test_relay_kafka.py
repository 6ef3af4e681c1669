"""Relays between a real database and a real Kafka: in the end the topic says what the database says."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from adapters.database.open import DatabaseOptions, open_database
from adapters.kafka.publisher import KafkaPublisher
from service.domain.job_store import Append
from service.domain.jobs import JobState
from service.domain.outbox import OutboxKind, OutboxRow
from service.domain.publishing import Message
from tests.support.fake_outbox import RecordingRelayTelemetry
from tests.support.job_worlds import CAP
from tests.support.kafka import KafkaCluster
from tests.support.kafka_clients import Kafka, Topics
from tests.support.outbox_worlds import OutboxWorld, outbox_world
from workers.relay import Relay
from workers.relay_settings import RelaySettings

pytestmark = pytest.mark.slow

SETTINGS = RelaySettings(lease=6.0, renew=0.5, start=3.0, send=2.0, close=1.0, rest=0.5, rows=100)


def rendering(wakes: str, results: str) -> Callable[..., Message]:
    def render(row: OutboxRow, *, small: bool) -> Message:
        record = row.record
        topic = wakes if record.kind is OutboxKind.WAKE else results
        value = row.finished.response if row.finished is not None else None
        return Message(topic, record.key, value, [("eurouter-version", b"%d" % record.version)])

    return render


@asynccontextmanager
async def relays(
    url: str, kafka: Kafka, wakes: str, results: str, many: int = 2, lost: int = 0
) -> AsyncIterator[list[Relay]]:
    """Relays with connections of their own, as in processes of their own; so many reach no broker."""
    made = []
    clients = [Kafka("127.0.0.1:9").client()] * lost + [kafka.client()] * (many - lost)
    databases = [open_database(url, DatabaseOptions(outbox=True), clock=lambda: 1_000_000.0) for _ in range(many)]
    for number, database in enumerate(databases):
        relay = Relay(
            f"relay-{number}",
            database.outbox,
            partial(KafkaPublisher, clients[number], start_seconds=2.5, send_seconds=1.5, close_seconds=0.8),
            rendering(wakes, results),
            RecordingRelayTelemetry(),
            settings=lambda: SETTINGS,
        )
        made.append(relay)
    tasks = [asyncio.create_task(relay.run()) for relay in made]
    try:
        yield made
    finally:
        for relay in made:
            await relay.leave()
        await asyncio.gather(*tasks)
        for database in databases:
            await database.aclose()


async def work(w: OutboxWorld, jobs: int, every: float) -> dict[bytes, bytes | None]:
    """Jobs that end one after the other, and of which some are deleted, soon or a little later."""
    await w.store.accept_many([w.new(number) for number in range(jobs)])
    newest: dict[bytes, bytes | None] = {}
    doomed: list[str] = []
    for number in range(jobs):
        (job,) = (await w.store.claim("w", 1, 1000.0, CAP)).run
        body = f"{job.id} is over".encode()
        assert await w.store.finish(
            Append(job.id, job.epoch, job.sequence, [b"end"]), JobState.COMPLETED, body, None
        )
        newest[job.id.encode()] = body
        if number % 4 == 0:
            doomed.append(job.id)
        if number % 3 == 0 and doomed:
            gone = doomed.pop(0)
            assert await w.database.responses.delete("a", gone)
            newest[gone.encode()] = None
        await asyncio.sleep(every)
    return newest


async def emptied(w: OutboxWorld, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while (await w.outbox.stats()).depth:
            await asyncio.sleep(0.05)


async def check(kafka: Kafka, results: str, newest: dict[bytes, bytes | None]) -> int:
    """The newest value of every key is the database's, and nothing follows a tombstone; how many there are."""
    records = await kafka.records(results)
    found = {record.key: record.value for record in records}
    assert found == newest
    gone = set()
    for record in records:
        assert record.value is None or record.key not in gone
        if record.value is None:
            gone.add(record.key)
    return len(records)


async def test_what_jobs_came_to_is_in_the_topic_once_and_in_order(
    database_url: str, kafka: Kafka, topics: Topics
) -> None:
    wakes, results = await topics.create("wakes", 3), await topics.create("results", 3)
    async with outbox_world(database_url) as w, relays(w.url, kafka, wakes, results):
        newest = await work(w, 80, 0.002)
        await emptied(w, 20.0)
        sent = await check(kafka, results, newest)
        assert sent <= 80 + list(newest.values()).count(None)
        assert {record.key for record in await kafka.records(wakes)} <= set(newest)


async def test_one_that_reaches_no_broker_keeps_nothing_from_one_that_does(
    database_url: str, kafka: Kafka, topics: Topics
) -> None:
    wakes, results = await topics.create("wakes"), await topics.create("results", 3)
    async with outbox_world(database_url) as w, relays(w.url, kafka, wakes, results, lost=1):
        newest = await work(w, 40, 0.002)
        await emptied(w, 5.0)
        await check(kafka, results, newest)


async def test_whatever_happens_to_the_broker_the_topic_ends_as_the_database(
    postgres_url: str, own_kafka: KafkaCluster
) -> None:
    await own_kafka.create("wakes", 2)
    await own_kafka.create("results", 2)

    async def trouble() -> None:
        await asyncio.sleep(0.5)
        own_kafka.signal(1, signal.SIGSTOP)
        await asyncio.sleep(3.0)
        own_kafka.signal(1, signal.SIGCONT)
        await asyncio.sleep(1.0)
        await asyncio.to_thread(own_kafka.stop, 1, signal.SIGKILL)
        await asyncio.to_thread(own_kafka.start, 1)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(own_kafka.stop, 1)
        await asyncio.to_thread(own_kafka.start, 1)

    async with outbox_world(postgres_url) as w, relays(w.url, own_kafka, "wakes", "results"):
        newest, _ = await asyncio.gather(work(w, 300, 0.02), trouble())
        await emptied(w, 40.0)
        await check(own_kafka, "results", newest)


async def test_a_topic_that_is_made_anew_gets_what_comes_later(
    postgres_url: str, kafka: Kafka, topics: Topics
) -> None:
    wakes, results = await topics.create("wakes"), await topics.create("results")

    async with outbox_world(postgres_url) as w, relays(w.url, kafka, wakes, results, 1):
        await work(w, 10, 0.0)
        await emptied(w, 10.0)
        await kafka.delete(results)
        later = {}
        for number in range(100, 110):
            await w.accept(number)
            await w.finish_one(b"later %d" % number)
            later[b"resp_%d" % number] = b"later %d" % number
        await asyncio.sleep(1.0)
        await kafka.create(results)
        await emptied(w, 20.0)
        found = {record.key: record.value for record in await kafka.records(results)}
        assert found == later
