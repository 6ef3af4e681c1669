"""The consumer when topics come, go and come anew, when brokers stop or stand still, and how it ends then."""

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from adapters.kafka.consumer import KafkaConsumer
from service.domain.consuming import ConsumerError, Place, Record
from tests.support.kafka import KafkaCluster
from tests.support.kafka_clients import Kafka, Topics

pytestmark = pytest.mark.slow


async def started(kafka: Kafka, group: str, *topics: str, **others: Any) -> KafkaConsumer:
    consumer = KafkaConsumer(
        kafka.client(), group, topics, **{"metadata_seconds": 0.5, "sure_seconds": 0.5, **others}
    )
    await consumer.start()
    return consumer


async def produce(kafka: Kafka, topic: str, values: Sequence[bytes]) -> None:
    producer = kafka.producer()
    await producer.start()
    for value in values:
        await producer.send(topic, value, partition=0)
    await producer.stop()


async def read(consumer: KafkaConsumer, count: int, seconds: float = 30.0) -> list[Record]:
    records: list[Record] = []
    async with asyncio.timeout(seconds):
        while len(records) < count:
            records += await consumer.poll(50, 0.3)
    return records


async def nothing(consumer: KafkaConsumer, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert not await consumer.poll(50, 0.1)


def values(records: Sequence[Record]) -> list[bytes | None]:
    return [record.value for record in records]


def following(records: Sequence[Record]) -> Mapping[Place, int]:
    return {record.place: record.offset + 1 for record in records}


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


async def committed(kafka: Kafka, group: str, topic: str) -> int | None:
    consumer = kafka.consumer(group=group)
    await consumer.start()
    try:
        offset: int | None = await consumer.committed(TopicPartition(topic, 0))
        return offset
    finally:
        await consumer.stop()


async def test_a_topic_that_is_not_there_yet_keeps_no_other_from_being_read_and_is_read_once_it_is(
    kafka: Kafka, topics: Topics
) -> None:
    there = await topics.create("there")
    await produce(kafka, there, numbers(3))
    consumer = await started(kafka, topics.name("g"), there, topics.name("later"))
    assert values(await read(consumer, 3)) == numbers(3)
    later = await topics.create("later", 2)
    await produce(kafka, later, numbers(4))
    assert values([record for record in await read(consumer, 4) if record.topic == later]) == numbers(4)
    await consumer.aclose()


@pytest.mark.parametrize("paused", [False, True])
async def test_a_topic_that_is_made_anew_is_read_from_its_beginning_though_it_is_longer_now(
    kafka: Kafka, topics: Topics, paused: bool
) -> None:
    topic, group = await topics.create("t"), topics.name("g")
    await produce(kafka, topic, numbers(10))
    # Paused it does not fetch, and asks too seldom to see that the topic goes.
    consumer = await started(kafka, group, topic, metadata_seconds=3.0 if paused else 0.5)
    old = following(await read(consumer, 10))
    consumer.pause(paused)
    await kafka.delete(topic)
    await topics.create("t")
    new = [b"new %d" % number for number in range(30)]
    await produce(kafka, topic, new)
    if paused:
        await nothing(consumer, 3.5)
        await consumer.commit(old)
        consumer.rewind(old)
        assert await committed(kafka, group, topic) is None
        consumer.pause(False)
    records = await read(consumer, 30)
    assert values(records) == new
    await consumer.commit(following(records))
    assert await committed(kafka, group, topic) == 30
    await consumer.aclose()


async def test_offsets_that_are_no_longer_there_go_on_with_the_first_that_is_and_a_warning(
    kafka: Kafka, topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    topic, group = await topics.create("t"), topics.name("g")
    await produce(kafka, topic, numbers(10))
    consumer = await started(kafka, group, topic)
    await consumer.commit(following((await read(consumer, 10))[:3]))
    await consumer.aclose()
    async with kafka.admin() as admin:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=7)})
    consumer = await started(kafka, group, topic)
    caplog.clear()
    assert values(await read(consumer, 3)) == numbers(10)[7:]
    said = f"Kafka: partition {topic}:0 has nothing at offset 3: it is read on from the first record that is there"
    assert [one.getMessage() for one in caplog.records if one.name.startswith("adapters.")] == [said]
    await consumer.aclose()


async def test_a_broker_that_restarts_while_it_is_polled_is_read_on_from_without_a_new_consumer(
    own_kafka: KafkaCluster,
) -> None:
    await own_kafka.create("t")
    await produce(own_kafka, "t", numbers(10))
    consumer = await started(own_kafka, "g", "t")
    await consumer.commit(following(await read(consumer, 10)))
    stopping = asyncio.create_task(asyncio.to_thread(own_kafka.stop, 1, signal.SIGKILL))
    while not stopping.done():
        await nothing(consumer, 0.1)
    await asyncio.to_thread(own_kafka.start, 1)
    await produce(own_kafka, "t", [b"after"])
    records = [record for record in await read(consumer, 1) if record.offset >= 10]
    assert values(records) == [b"after"]
    await consumer.commit(following(records))
    await consumer.aclose()
    assert await committed(own_kafka, "g", "t") == 11


async def test_with_a_broker_that_stands_still_everything_returns_in_time_and_goes_on_with_it(
    own_kafka: KafkaCluster,
) -> None:
    await own_kafka.create("t")
    await produce(own_kafka, "t", numbers(10))
    consumer = await started(own_kafka, "g", "t", commit_seconds=1.0, close_seconds=1.0)
    records = await read(consumer, 10)
    own_kafka.signal(1, signal.SIGSTOP)
    began = time.monotonic()
    await nothing(consumer, 1.0)
    assert time.monotonic() - began < 3.0
    with pytest.raises(ConsumerError, match=r"Kafka: no commit within 1 s"):
        await consumer.commit(following(records))
    began = time.monotonic()
    await consumer.aclose()
    assert time.monotonic() - began < 4.0
    fresh = KafkaConsumer(own_kafka.client(), "g", ["t"], start_seconds=1.0)
    with pytest.raises(ConsumerError):
        await fresh.start()
    await fresh.aclose()
    own_kafka.signal(1, signal.SIGCONT)
    # The old member left without a word: the group waits for it as long as its session lasts.
    fresh = await started(own_kafka, "g2", "t", start_seconds=20.0)
    assert values(await read(fresh, 10)) == numbers(10)
    await fresh.aclose()


async def test_a_member_that_died_is_waited_for_no_longer_than_its_session(kafka: Kafka, topics: Topics) -> None:
    topic, group = await topics.create("t"), topics.name("g")
    await produce(kafka, topic, numbers(10))
    dead = await started(kafka, group, topic, session_seconds=6.0, close_seconds=0.0)
    await read(dead, 10)
    await dead.aclose()
    began = time.monotonic()
    fresh = await started(kafka, group, topic, session_seconds=6.0, start_seconds=2.0)
    assert values(await read(fresh, 10)) == numbers(10)
    assert time.monotonic() - began < 12.0
    await fresh.aclose()


async def test_a_broker_that_is_gone_is_left_in_time_with_nothing_behind(own_kafka: KafkaCluster) -> None:
    await own_kafka.create("t")
    before = asyncio.all_tasks()
    idle = await started(own_kafka, "g", "t", close_seconds=1.0)
    polling = await started(own_kafka, "h", "t", close_seconds=1.0)
    poll = asyncio.create_task(polling.poll(10, 30.0))
    await asyncio.to_thread(own_kafka.stop, 1, signal.SIGKILL)
    await asyncio.sleep(0.5)
    began = time.monotonic()
    await asyncio.gather(idle.aclose(), polling.aclose(), idle.aclose())
    assert time.monotonic() - began < 4.0
    with pytest.raises(ConsumerError):
        await poll
    with pytest.raises(ConsumerError):
        await polling.poll(10, 0.1)
    await asyncio.sleep(0.1)
    assert asyncio.all_tasks() <= before


async def test_a_close_that_is_cancelled_leaves_no_task_behind(kafka: Kafka, topics: Topics) -> None:
    topic = await topics.create("t")
    before = asyncio.all_tasks()
    for pause in (0.0, 0.001, 0.01):
        consumer = await started(kafka, topics.name(f"g{pause}"), topic)
        closing = asyncio.create_task(consumer.aclose())
        await asyncio.sleep(pause)
        closing.cancel()
        await asyncio.wait({closing})
        await asyncio.sleep(0.2)
        assert asyncio.all_tasks() <= before


async def test_with_nobody_there_a_start_fails_in_time_and_names_no_secret() -> None:
    client = {"bootstrap_servers": "127.0.0.1:9,127.0.0.1:10", "sasl_plain_password": "secret"}
    consumer = KafkaConsumer(client, "g", ["t"], start_seconds=2.0)
    began = time.monotonic()
    with pytest.raises(ConsumerError) as raised:
        await consumer.start()
    assert time.monotonic() - began < 3.0
    assert "secret" not in str(raised.value)
    await consumer.aclose()
    with pytest.raises(ConsumerError):
        await consumer.poll(1, 0.1)


async def test_one_of_three_brokers_that_dies_is_done_without(three_kafkas: KafkaCluster) -> None:
    await three_kafkas.create("t", 3)
    await produce(three_kafkas, "t", numbers(10))
    consumer = await started(three_kafkas, "g", "t")
    await consumer.commit(following(await read(consumer, 10)))
    leader = await three_kafkas.leader("t", 0)
    await asyncio.to_thread(three_kafkas.stop, leader, signal.SIGKILL)
    await produce(three_kafkas, "t", [b"after"])
    # One that had the group with it may ask for the last records once more.
    records = await read(consumer, 1)
    while b"after" not in values(records):
        records += await read(consumer, 1)
    await consumer.commit(following(records))
    await consumer.aclose()
