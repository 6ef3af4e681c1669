"""A service whose Kafka or database goes away, loses a broker, or has topics that come late or are made anew."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka.errors import KafkaError

from adapters.kafka.consumer import KafkaConsumer
from service import kafka_side
from tests.support.background import ended
from tests.support.kafka import KafkaCluster
from tests.support.kafka_clients import Kafka, Topics
from tests.support.kafka_world import KafkaWorld, Sent, asked, kafka_world
from tests.support.postgres import Postgres
from tests.support.running import ask_response

AWAY: Final = float(os.environ.get("EUROUTER_TEST_AWAY", "20"))
"""Seconds without Kafka; 120 say no more and take as long."""


@asynccontextmanager
async def records_flow(world: KafkaWorld, every: float = 0.03) -> AsyncIterator[None]:
    """Records keep coming as long as the context lasts; the producer waits for brokers that are away."""
    stopped = asyncio.Event()
    tasks: list[asyncio.Task[Sent]] = []

    async def flow() -> None:
        while not stopped.is_set():
            tasks.append(asyncio.create_task(world.submit(asked(text=f"number {len(tasks)}"))))
            await asyncio.sleep(every)

    flowing = asyncio.create_task(flow())
    try:
        yield
    finally:
        stopped.set()
        await flowing
        async with asyncio.timeout(30):
            await asyncio.gather(*tasks)


async def more_results(world: KafkaWorld, count: int, seconds: float = 30.0) -> None:
    """Returns when so many more came out."""
    before = len(world.reader.records)
    await world.reader.until(lambda: len(world.reader.records) >= before + count, f"{count} more", seconds)


def no_letters(world: KafkaWorld) -> None:
    assert world.reader.of(world.name("dlq")) == []


@pytest.mark.slow
async def test_a_broker_that_is_killed_and_one_that_restarts_cost_no_record(
    own_kafka: KafkaCluster, tmp_path: Path
) -> None:
    async with kafka_world(tmp_path, own_kafka, "restarts") as world:
        async with records_flow(world):
            await more_results(world, 20)
            await asyncio.to_thread(own_kafka.stop, 1, signal.SIGKILL)
            await asyncio.sleep(1.0)
            await asyncio.to_thread(own_kafka.start, 1)
            await more_results(world, 20)
            await asyncio.to_thread(own_kafka.stop, 1)
            await asyncio.to_thread(own_kafka.start, 1)
            await more_results(world, 20)
        await world.settled(40)
        no_letters(world)


@pytest.mark.slow
async def test_a_cluster_of_three_loses_the_leader_of_a_topic_and_no_record(
    three_kafkas: KafkaCluster, tmp_path: Path
) -> None:
    settings = {"kafka": {"topics": "check"}}
    async with kafka_world(tmp_path, three_kafkas, "three", settings) as world:
        leader = await three_kafkas.leader(world.name("requests"), 0)
        async with records_flow(world):
            await more_results(world, 20)
            await asyncio.to_thread(three_kafkas.stop, leader, signal.SIGKILL)

            async def led_by_another() -> bool:
                try:
                    return await three_kafkas.leader(world.name("requests"), 0) not in (leader, -1)
                except KafkaError:
                    # It asked the one that is gone.
                    return False

            await world.until(led_by_another, "another broker leads")
            await more_results(world, 30)
        await world.settled(40)
        no_letters(world)
        await asyncio.to_thread(three_kafkas.start, leader)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_while_kafka_is_away_jobs_are_accepted_and_run_and_then_every_result_is_told(
    own_kafka: KafkaCluster, tmp_path: Path
) -> None:
    async with kafka_world(tmp_path, own_kafka, "away") as world:
        await world.result(await world.submit(asked()))
        await asyncio.to_thread(own_kafka.stop, 1)
        began, slowest = time.monotonic(), 0.0
        made: list[str] = []
        while time.monotonic() - began < AWAY:
            asking = time.monotonic()
            made.append((await world.door.up.responses.CreateResponse(ask_response(background=True))).id)
            slowest = max(slowest, time.monotonic() - asking)
            assert (await ended(world.door, made[-1], 10))["status"] == "completed"
            await asyncio.sleep(2.0)
        assert slowest < 2.0
        async with world.door.session.get(f"{world.door.up.admin}/readyz") as answer:
            assert answer.status == 200
        await asyncio.to_thread(own_kafka.start, 1)
        back = time.monotonic()
        for response_id in made:
            assert (await world.result(response_id, 40)).headers["eurouter-status"] == b"completed"
        # Waits between tries have an end.
        assert time.monotonic() - back < 40
        await world.result(await world.submit(asked()), 40)
        await world.settled()


@pytest.fixture
def soon_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Topics are looked at every second, not every half minute."""
    monkeypatch.setattr(kafka_side, "KafkaConsumer", partial(KafkaConsumer, metadata_seconds=1.0))


@pytest.mark.slow
@pytest.mark.usefixtures("soon_noticed")
async def test_a_topic_made_anew_and_one_that_comes_late_are_read_from_their_first_records(
    kafka: Kafka, topics: Topics, tmp_path: Path
) -> None:
    late = topics.name("late")
    bindings = [{"topic": topics.name(name), "owner": "local"} for name in ("requests", "late")]
    settings = {"kafka": {"intake": bindings}}
    async with kafka_world(tmp_path, kafka, topics.prefix, settings) as world:
        # Some of these have the coordinates of what comes later.
        for number in range(9):
            await world.submit(asked(text=f"old {number}"), partition=number % 3)
        await world.settled()
        old = {told.id for told in world.reader.of(world.name("results"))}
        world.sent.clear()
        await kafka.delete(world.name("requests"))
        await world.result((await world.door.create(asked(background=True))).json["id"])
        await kafka.create(world.name("requests"), 3)
        await kafka.create(late, 3)
        for number in range(9):
            await _submitted_anew(world, "requests", number)
            await _submitted_anew(world, "late", number)
        wanted = {f"{name} {number}" for name in ("requests", "late") for number in range(9)}

        def found() -> set[str]:
            new = [told for told in world.reader.of(world.name("results")) if told.id not in old]
            return {told.json["output"][0]["content"][0]["text"] for told in new} & wanted

        await world.reader.until(lambda: found() == wanted, "all that is new has a result", 40)
        no_letters(world)


async def _submitted_anew(world: KafkaWorld, topic: str, number: int) -> None:
    """By a producer that knows nothing of what was there before."""
    producer = world.kafka.producer()
    await producer.start()
    value = f'{{"model": "sim/alpha", "input": "{topic} {number}"}}'.encode()
    await producer.send_and_wait(world.name(topic), value, partition=number % 3)
    await producer.stop()


@pytest.mark.slow
async def test_a_database_that_is_away_makes_no_dead_letter_and_everything_is_accepted_afterwards(
    kafka: Kafka, topics: Topics, own_postgres: Postgres, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"database": {"url": own_postgres.database()}}
    async with kafka_world(tmp_path, kafka, topics.prefix, settings) as world:
        await world.result(await world.submit(asked()))
        await asyncio.to_thread(own_postgres.stop)
        during = [await world.submit(asked(text=f"number {number}")) for number in range(50)]
        bad = await world.submit(b"{", partition=0)
        await asyncio.sleep(3.0)
        no_letters(world)
        assert [world.results(one) for one in during] == [[]] * len(during)
        await asyncio.to_thread(own_postgres.start)
        await world.settled(40)
        assert [told.original for told in world.reader.of(world.name("dlq"))] == [bad]
