"""The broker that the tests start, and what the service relies on: seen through aiokafka, on the real one."""

from __future__ import annotations

import asyncio
import signal
import ssl
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaConnectionError, TopicAlreadyExistsError

from tests.support.kafka import KafkaCluster
from tests.support.kafka_clients import COMPACTED_SOON, Kafka, Topics
from tests.support.kafka_security import PASSWORD

MARKER = b"the-word-that-must-go"
QUICK_HEARTBEATS = {"heartbeat_interval_ms": 200}


@asynccontextmanager
async def running(client: Any) -> AsyncIterator[Any]:
    """A producer or consumer while the context lasts."""
    await client.start()
    try:
        yield client
    finally:
        async with asyncio.timeout(20):
            await client.stop()


async def take(consumer: AIOKafkaConsumer, count: int, seconds: float = 30) -> list[Any]:
    """So many records, or more if they came together."""
    taken: list[Any] = []
    async with asyncio.timeout(seconds):
        while len(taken) < count:
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                taken += batch
    return taken


async def send(producer: AIOKafkaProducer, topic: str, values: Iterable[bytes]) -> None:
    """Sends them with themselves as keys and waits for all."""
    sent = [await producer.send(topic, value, key=value) for value in values]
    await asyncio.gather(*sent)


def numbers(first: int, end: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, end)]


async def test_keys_headers_and_tombstones_come_back_as_they_were_sent(kafka: Kafka, topics: Topics) -> None:
    topic = await topics.create("round-trip")
    # Not long ago: the retention goes by the time that a record claims.
    moment = int(time.time() * 1000) - 60_000
    headers = [("correlation-id", b"\x00\xff"), ("empty", b""), ("twice", b"1"), ("twice", b"2")]
    async with running(kafka.producer()) as producer:
        sent = await producer.send_and_wait(topic, b"value", key=b"key", headers=headers, timestamp_ms=moment)
        await producer.send_and_wait(topic, None, key=b"key")
    first, second = await kafka.records(topic)
    assert (first.offset, first.key, first.value) == (sent.offset, b"key", b"value") == (0, b"key", b"value")
    assert (list(first.headers), first.timestamp) == (headers, moment)
    assert (second.key, second.value) == (b"key", None)


async def test_a_group_goes_on_after_what_it_committed(kafka: Kafka, topics: Topics) -> None:
    topic, group = await topics.create("committed"), topics.name("group")
    async with running(kafka.producer()) as producer:
        await send(producer, topic, numbers(0, 10))
    async with running(kafka.consumer(topic, group=group)) as consumer:
        assert len(await take(consumer, 10)) == 10
        await consumer.commit({TopicPartition(topic, 0): 4})
    async with running(kafka.consumer(topic, group=group)) as consumer:
        assert [record.value for record in await take(consumer, 6)] == numbers(4, 10)


class Assigned(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka names no types
    """What a member was given, the newest last."""

    def __init__(self) -> None:
        self.sets: list[set[TopicPartition]] = []

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None: ...

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.sets.append(set(assigned))

    @property
    def newest(self) -> set[TopicPartition]:
        return self.sets[-1] if self.sets else set()


async def poll_until(condition: Any, *consumers: AIOKafkaConsumer) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.gather(*(consumer.getmany(timeout_ms=50) for consumer in consumers))


async def test_two_members_share_the_partitions_and_a_pause_is_forgotten_when_they_do(
    kafka: Kafka, topics: Topics
) -> None:
    topic, group = await topics.create("shared", partitions=4), topics.name("group")
    everything = {TopicPartition(topic, number) for number in range(4)}
    of_one, of_two = Assigned(), Assigned()
    one, two = kafka.consumer(group=group, **QUICK_HEARTBEATS), kafka.consumer(group=group, **QUICK_HEARTBEATS)
    one.subscribe([topic], listener=of_one)
    two.subscribe([topic], listener=of_two)
    async with running(one):
        await poll_until(lambda: of_one.newest == everything, one)
        one.pause(*everything)
        async with running(two):
            await poll_until(lambda: len(of_one.newest) == len(of_two.newest) == 2, one, two)
            assert of_one.newest | of_two.newest == everything
            assert one.paused() == set()
        await poll_until(lambda: of_one.newest == everything, one)


async def test_a_topic_made_anew_counts_from_zero_and_has_none_of_the_old_records(
    kafka: Kafka, topics: Topics
) -> None:
    topic = await topics.create("anew")
    async with running(kafka.producer()) as producer:
        await send(producer, topic, numbers(0, 3))
    await kafka.delete(topic)
    assert await topics.create("anew") == topic
    assert await kafka.records(topic) == []
    async with running(kafka.producer()) as producer:
        assert (await producer.send_and_wait(topic, b"new")).offset == 0


async def test_a_topic_that_is_there_is_not_made_twice(topics: Topics) -> None:
    await topics.create("once")
    with pytest.raises(TopicAlreadyExistsError):
        await topics.create("once")


async def test_a_broker_that_was_killed_has_everything_it_acknowledged(own_kafka: KafkaCluster) -> None:
    await own_kafka.create("kept", partitions=2)
    async with running(own_kafka.producer()) as producer:
        await send(producer, "kept", numbers(0, 100))
        await asyncio.to_thread(own_kafka.stop, 1, signal.SIGKILL)
        # What is sent while it is away waits in the producer.
        waiting = asyncio.create_task(send(producer, "kept", numbers(100, 200)))
        await asyncio.to_thread(own_kafka.start, 1)
        await waiting
    assert sorted(record.value for record in await own_kafka.records("kept")) == sorted(numbers(0, 200))


async def test_a_send_that_timed_out_may_have_worked(own_kafka: KafkaCluster) -> None:
    await own_kafka.create("unknown")
    async with running(own_kafka.producer()) as producer:
        await send(producer, "unknown", [b"before"])
        own_kafka.signal(1, signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await producer.send_and_wait("unknown", b"during")
        own_kafka.signal(1, signal.SIGCONT)
    assert [record.value for record in await own_kafka.records("unknown")] == [b"before", b"during"]


@pytest.mark.slow
async def test_a_cluster_that_loses_a_leader_amid_sends_keeps_each_record_once(
    three_kafkas: KafkaCluster,
) -> None:
    await three_kafkas.create("sends", partitions=3)
    leader = await three_kafkas.leader("sends", 0)
    sent = 0

    async def send_all(producer: AIOKafkaProducer) -> None:
        nonlocal sent
        for first in range(0, 3000, 100):
            await send(producer, "sends", numbers(first, first + 100))
            sent = first + 100

    async with running(three_kafkas.producer()) as producer, asyncio.timeout(60):
        sending = asyncio.create_task(send_all(producer))
        while sent < 500:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(three_kafkas.stop, leader, signal.SIGKILL)
        assert sent < 3000
        await sending
    assert await three_kafkas.leader("sends", 0) != leader
    assert sorted(record.value for record in await three_kafkas.records("sends")) == sorted(numbers(0, 3000))
    # The lost one comes back and takes its place again.
    await asyncio.to_thread(three_kafkas.start, leader)
    assert len(await three_kafkas.records("sends")) == 3000


async def test_a_password_goes_by_scram_over_tls(secure_kafka: KafkaCluster) -> None:
    await secure_kafka.create("secured")
    async with running(secure_kafka.producer()) as producer:
        await send(producer, "secured", [b"sealed"])
    async with running(secure_kafka.consumer("secured", group="secured")) as consumer:
        assert [record.value for record in await take(consumer, 1)] == [b"sealed"]
        await consumer.commit()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sasl_plain_password": PASSWORD + "x"}, "invalid credentials"),
        ({"sasl_plain_username": "nobody"}, "invalid credentials"),
        ({"ssl_context": ssl.create_default_context()}, "CERTIFICATE_VERIFY_FAILED"),
        ({"security_protocol": "PLAINTEXT"}, "Connection at 127.0.0.1"),
    ],
    ids=["password", "user", "authority", "no tls"],
)
async def test_who_does_not_prove_who_he_is_gets_no_connection(
    secure_kafka: KafkaCluster, wrong: dict[str, Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    producer = secure_kafka.producer(**wrong)
    with pytest.raises(KafkaConnectionError):
        await producer.start()
    await producer.stop()
    # The exception names the addresses only; why is in the log.
    assert said in caplog.text
    assert PASSWORD not in caplog.text


@pytest.mark.slow
async def test_compaction_takes_an_erased_value_and_its_tombstone_off_the_disk(own_kafka: KafkaCluster) -> None:
    await own_kafka.create("results", partitions=2, config=COMPACTED_SOON)
    async with running(own_kafka.producer()) as producer:
        await producer.send_and_wait("results", b"kept", key=b"living")
        await producer.send_and_wait("results", b"first " + MARKER, key=b"erased")
        await producer.send_and_wait("results", b"second " + MARKER, key=b"erased")
        assert own_kafka.files_with(MARKER)
        await producer.send_and_wait("results", None, key=b"erased")

    async def gone() -> bool:
        return not own_kafka.files_with(MARKER, "results") and not own_kafka.files_with(b"erased", "results")

    await own_kafka.compact("results", 30, gone)
    assert own_kafka.files_with(MARKER) == []
    left = [record for record in await own_kafka.records("results") if record.key != b"filler"]
    assert [(record.key, record.value) for record in left] == [(b"living", b"kept")]


async def test_settings_of_a_topic_replace_those_it_had(kafka: Kafka, topics: Topics) -> None:
    topic = await topics.create("changed", config={"retention.ms": "86400000"})
    await kafka.configure(topic, {"max.message.bytes": "2000000"})
    assert await kafka.settings(topic) == {"max.message.bytes": "2000000"}
    async with running(kafka.producer(max_request_size=2_000_000)) as producer:
        await producer.send_and_wait(topic, bytes(1_500_000))
    (record,) = await kafka.records(topic)
    assert len(record.value) == 1_500_000
