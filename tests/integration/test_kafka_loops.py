"""The loops with the real consumer on a real Kafka: members and the broker come and go, nothing is skipped."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from aiokafka import TopicPartition

from adapters.kafka.consumer import KafkaConsumer
from service.domain.consuming import Record
from service.domain.intake import BatchOutcome, TryLaterError
from tests.support.fake_consumer import RecordingConsumingTelemetry
from tests.support.kafka import KafkaCluster
from tests.support.kafka_clients import Kafka, Topics
from workers.intake import IntakeLoop
from workers.intake_settings import IntakeSettings
from workers.wakeups import WakeUpLoop

pytestmark = pytest.mark.slow

PARTITIONS = 3


@dataclass
class Database:
    """Acceptance. What it was given is kept; `away` makes it ask for patience."""

    values: set[bytes] = field(default_factory=set)
    away: bool = False
    jobs: int = 0

    async def accept(self, records: Sequence[Record]) -> BatchOutcome:
        await asyncio.sleep(0.002)
        if self.away:
            raise TryLaterError
        before = len(self.values)
        self.values.update(record.value or b"" for record in records)
        new = len(self.values) - before
        return BatchOutcome(accepted=new, repeated=len(records) - new)

    async def runnable(self) -> int:
        return self.jobs


class Intake:
    """A member with its loop."""

    def __init__(self, kafka: Kafka, group: str, topic: str, database: Database) -> None:
        self.telemetry = RecordingConsumingTelemetry()
        self.loop = IntakeLoop(
            lambda: KafkaConsumer(kafka.client(), group, [topic], session_seconds=6),
            database,
            database.runnable,
            self.telemetry,
            settings=lambda: IntakeSettings(batch=50, check=0.1),
        )
        self.running = asyncio.create_task(self.loop.run())

    async def leave(self) -> None:
        await self.loop.leave()
        await self.running


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def produce(kafka: Kafka, topic: str, numbers: range) -> set[bytes]:
    values = [b"%d" % number for number in numbers]
    async with kafka.producer() as producer:
        for number, value in enumerate(values):
            await producer.send(topic, value, partition=number % PARTITIONS)
    return set(values)


async def committed(kafka: Kafka, group: str, topic: str) -> int:
    async with kafka.consumer(group=group) as consumer:
        places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        return sum([await consumer.committed(place) or 0 for place in places])


async def test_members_that_come_and_go_skip_nothing_while_the_database_comes_and_goes(
    kafka: Kafka, topics: Topics
) -> None:
    topic, group = await topics.create("submit", PARTITIONS), topics.name("g")
    database = Database()
    first = Intake(kafka, group, topic, database)
    sent = await produce(kafka, topic, range(1000))
    await until(lambda: len(database.values) >= 200)
    database.away = True
    second = Intake(kafka, group, topic, database)
    sent |= await produce(kafka, topic, range(1000, 1500))
    await until(lambda: second.loop.problem() is None or bool(second.telemetry.of("store_failed")))
    await asyncio.sleep(1.0)
    database.away = False
    await until(lambda: bool(second.telemetry.of("stored")) and first.loop.problem() is None)
    await first.leave()
    sent |= await produce(kafka, topic, range(1500, 2000))
    await until(lambda: database.values == sent)
    await second.leave()
    assert await committed(kafka, group, topic) == 2000


async def test_a_paused_member_reads_nothing_and_stays_and_reads_on(kafka: Kafka, topics: Topics) -> None:
    topic, group = await topics.create("submit", PARTITIONS), topics.name("g")
    database = Database(jobs=1_000_000)
    member = Intake(kafka, group, topic, database)
    await until(lambda: member.telemetry.of("paused") == [(True,)])
    sent = await produce(kafka, topic, range(300))
    # Longer than its session.
    await asyncio.sleep(8.0)
    assert not database.values
    database.jobs = 0
    await until(lambda: database.values == sent)
    await member.leave()
    assert not member.telemetry.of("gave_up")
    assert await committed(kafka, group, topic) == 300


async def test_a_broker_that_restarts_or_stands_still_costs_no_record(own_kafka: KafkaCluster) -> None:
    kafka, topic, group = Kafka(own_kafka.bootstrap), "submit", "g"
    await kafka.create(topic, PARTITIONS)
    database = Database()
    member = Intake(kafka, group, topic, database)
    sent = await produce(kafka, topic, range(300))
    await until(lambda: database.values == sent)
    await asyncio.to_thread(own_kafka.stop)
    await asyncio.sleep(3.0)
    await asyncio.to_thread(own_kafka.start)
    sent |= await produce(kafka, topic, range(300, 600))
    await until(lambda: database.values == sent)
    own_kafka.signal(1, signal.SIGSTOP)
    await asyncio.sleep(10.0)
    own_kafka.signal(1, signal.SIGCONT)
    sent |= await produce(kafka, topic, range(600, 900))
    await until(lambda: database.values == sent)
    await member.leave()
    assert await committed(kafka, group, topic) == 900


async def test_a_hint_wakes_at_once_and_those_from_before_the_group_wake_nobody(
    kafka: Kafka, topics: Topics
) -> None:
    topic, group = await topics.create("jobs", PARTITIONS), topics.name("g")
    await produce(kafka, topic, range(30))
    woken: list[float] = []
    now = asyncio.get_running_loop().time
    loop = WakeUpLoop(
        lambda: KafkaConsumer(kafka.client(), group, [topic], from_latest=True),
        lambda: woken.append(now()),
        RecordingConsumingTelemetry(),
    )
    running = asyncio.create_task(loop.run())
    await until(lambda: loop.problem() is None)
    await asyncio.sleep(1.0)
    assert not woken
    late = []
    async with kafka.producer() as producer:
        for number in range(20):
            sent = now()
            await producer.send_and_wait(topic, b"resp_%d" % number, partition=number % PARTITIONS)
            while len(woken) <= number:
                await asyncio.sleep(0.001)
            late.append(woken[-1] - sent)
            await asyncio.sleep(0.1)
    await loop.leave()
    await running
    assert sorted(late)[len(late) // 2] < 0.5
