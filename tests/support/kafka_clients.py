"""What tests do with a running Kafka: clients with careful settings, topics, all that a topic holds, compaction.

Where the broker comes from: `kafka.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import UnknownTopicOrPartitionError, for_code

COMPACTED_SOON: Final[Mapping[str, str]] = {
    "cleanup.policy": "compact",
    # A segment that is written to is never compacted: the next record after this time begins a new one.
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.001",
    # Tombstones live on for so long after the first compaction that saw them.
    "delete.retention.ms": "100",
    "file.delete.delay.ms": "100",
}
"""Settings of a topic that is compacted within seconds, as long as records keep coming (`Kafka.compact`)."""

_SECONDS: Final = 30
_GIVEN_TO_THE_TOPIC: Final = 1


@dataclass
class Kafka:
    """A broker or several behind `bootstrap`, a comma-separated list of host:port."""

    bootstrap: str
    replication: int = 1

    def client(self) -> dict[str, Any]:
        """The arguments that every client of aiokafka's takes to connect."""
        return {"bootstrap_servers": self.bootstrap}

    def producer(self, **others: Any) -> AIOKafkaProducer:
        """An idempotent producer that waits for every replica in sync; not started."""
        return AIOKafkaProducer(**{**self.client(), "enable_idempotence": True, "acks": "all", **others})

    def consumer(self, *topics: str, group: str | None = None, **others: Any) -> AIOKafkaConsumer:
        """A consumer that begins at the first record and commits when told; not started."""
        settings = {
            "group_id": group,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            # With a second one every member would join twice.
            "partition_assignment_strategy": (RoundRobinPartitionAssignor,),
            "session_timeout_ms": 45_000,
            "heartbeat_interval_ms": 3_000,
            "rebalance_timeout_ms": 60_000,
        }
        return AIOKafkaConsumer(*topics, **{**self.client(), **settings, **others})

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """A client for topics and their settings, started."""
        client = AIOKafkaAdminClient(**self.client())
        try:
            await client.start()
            yield client
        finally:
            await client.close()

    async def create(self, topic: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Makes a topic and waits until every partition has a leader.

        Raises:
            aiokafka.errors.KafkaError: what the broker has against it.
        """
        new = NewTopic(topic, partitions, self.replication, topic_configs=dict(config or {}))
        async with self.admin() as admin:
            answer = await admin.create_topics([new], timeout_ms=_SECONDS * 1000)
            for _, code, message in answer.topic_errors:
                if code:
                    raise for_code(code)(message)
            async with asyncio.timeout(_SECONDS):
                while not _led(await _described(admin, topic), partitions):
                    await asyncio.sleep(0.02)

    async def delete(self, *topics: str) -> None:
        """Deletes topics and waits until they are unknown; those that are not there are none to delete."""
        async with self.admin() as admin:
            answer = await admin.delete_topics(list(topics), timeout_ms=_SECONDS * 1000)
            for topic, code in answer.topic_error_codes:
                if code and for_code(code) is not UnknownTopicOrPartitionError:
                    raise for_code(code)(topic)
            async with asyncio.timeout(_SECONDS):
                for topic in topics:
                    while (await _described(admin, topic))["error_code"] != UnknownTopicOrPartitionError.errno:
                        await asyncio.sleep(0.02)

    async def configure(self, topic: str, config: Mapping[str, str]) -> None:
        """Gives a topic these settings and takes every other that it had been given."""
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, dict(config))
        async with self.admin() as admin:
            for answer in await admin.alter_configs([resource]):
                for code, message, *_ in answer.resources:
                    if code:
                        raise for_code(code)(message)

    async def settings(self, topic: str) -> dict[str, str]:
        """The settings that a topic was given; not those that it has from the broker."""
        async with self.admin() as admin:
            (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        ((code, message, _, _, settings),) = answer.resources
        if code:
            raise for_code(code)(message)
        return {name: value for name, value, _, source, *_ in settings if source == _GIVEN_TO_THE_TOPIC}

    async def leader(self, topic: str, partition: int = 0) -> int:
        """The number of the node that leads a partition."""
        async with self.admin() as admin:
            partitions = (await _described(admin, topic))["partitions"]
        return int(next(one["leader"] for one in partitions if one["partition"] == partition))

    async def records(self, *topics: str) -> list[ConsumerRecord[bytes | None, bytes | None]]:
        """All that the topics hold now, partition by partition in order. Joins no group."""
        found: list[ConsumerRecord[bytes | None, bytes | None]] = []
        consumer = self.consumer()
        await consumer.start()
        try:
            async with self.admin() as admin:
                described = [await _described(admin, topic) for topic in topics]
            partitions = [
                TopicPartition(one["topic"], p["partition"]) for one in described for p in one["partitions"]
            ]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            async with asyncio.timeout(_SECONDS):
                # One that is compacted to nothing has no record that would move the position.
                while [p for p in partitions if await consumer.position(p) < ends[p]]:
                    for batch in (await consumer.getmany(timeout_ms=200)).values():
                        found += batch
        finally:
            await consumer.stop()
        return sorted(found, key=lambda record: (record.topic, record.partition, record.offset))

    async def compact(self, topic: str, seconds: float, done: Callable[[], Awaitable[bool]]) -> float:
        """Keeps the compaction of a topic going until `done()`; returns the seconds that it took.

        Every partition gets a record with the key `filler` now and then: without one no segment ends.

        Raises:
            TimeoutError: it took longer than `seconds`.
        """
        began = time.monotonic()
        producer = self.producer()
        await producer.start()
        try:
            async with asyncio.timeout(seconds):
                while not await done():
                    for partition in await producer.partitions_for(topic):
                        await producer.send_and_wait(topic, b"", b"filler", partition)
                    await asyncio.sleep(0.2)
        finally:
            await producer.stop()
        return time.monotonic() - began


@dataclass
class Topics:
    """The names of one test in a Kafka that many share; `remove` deletes what `create` made."""

    kafka: Kafka
    prefix: str
    _made: list[str] = field(default_factory=list)

    def name(self, name: str) -> str:
        """A name that no other test uses, for a topic or a group."""
        return f"{self.prefix}.{name}"

    async def create(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """Makes the topic with this name and returns its full name."""
        topic = self.name(name)
        await self.kafka.create(topic, partitions, config)
        self._made.append(topic)
        return topic

    async def remove(self) -> None:
        """Deletes the topics, also those of this test's names that the code under test made."""
        async with self.kafka.admin() as admin:
            own = [topic for topic in await admin.list_topics() if topic.startswith(f"{self.prefix}.")]
        if own:
            await self.kafka.delete(*own)


async def connections_ended() -> None:
    """Waits, up to a second, for the end of connections that this loop closed.

    With TLS a client of aiokafka's that is stopped leaves the last bytes to the loop: one that ends at once leaves
    sockets open.
    """
    loop: Any = asyncio.get_running_loop()
    for _ in range(100):
        # One is the loop's own.
        if len(loop._selector.get_map()) <= 1:
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(0)


async def _described(admin: AIOKafkaAdminClient, topic: str) -> dict[str, Any]:
    described: list[dict[str, Any]] = await admin.describe_topics([topic])
    return described[0]


def _led(topic: Mapping[str, Any], partitions: int) -> bool:
    led = [one for one in topic["partitions"] if one["leader"] >= 0]
    return topic["error_code"] == 0 and len(led) == partitions
