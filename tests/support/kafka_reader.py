"""What a service on Kafka tells, read as a team reads it: every record of some topics as it comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from service.edge.kafka import names
from tests.support.kafka_clients import Kafka


@dataclass(frozen=True, slots=True)
class Sent:
    """Where a submitted record stands."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Told:
    """A record that came out. `headers` by name: none of ours comes twice."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes]

    @property
    def id(self) -> str:
        """The id of the response, of a result or a tombstone."""
        assert self.key is not None
        return self.key.decode()

    @property
    def json(self) -> Any:
        """The value, which is JSON."""
        assert self.value is not None
        return json.loads(self.value)

    @property
    def version(self) -> int:
        """What tells repeats apart, with the id."""
        return int(self.headers[names.VERSION])

    @property
    def source(self) -> Sent | None:
        """The record that it answers; None of a job of another door."""
        if names.SOURCE_TOPIC not in self.headers:
            return None
        topic, partition, offset = (
            self.headers[name] for name in (names.SOURCE_TOPIC, names.SOURCE_PARTITION, names.SOURCE_OFFSET)
        )
        return Sent(topic.decode(), int(partition), int(offset))

    @property
    def original(self) -> Sent:
        """The record that a dead letter was."""
        topic, partition, offset = (
            self.headers[name] for name in (names.DLQ_TOPIC, names.DLQ_PARTITION, names.DLQ_OFFSET)
        )
        return Sent(topic.decode(), int(partition), int(offset))


@dataclass
class Reader:
    """Reads topics from their first record on, as long as it lives. Joins no group."""

    kafka: Kafka
    records: list[Told] = field(default_factory=list)
    _consumer: AIOKafkaConsumer | None = None
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)
    _task: asyncio.Task[None] | None = None

    async def start(self, topics: Sequence[str], partitions: int) -> None:
        """Begins; the topics are there."""
        self._consumer = consumer = self.kafka.consumer()
        await consumer.start()
        every = [TopicPartition(topic, number) for topic in topics for number in range(partitions)]
        consumer.assign(every)
        await consumer.seek_to_beginning(*every)
        self._task = asyncio.create_task(self._read())

    async def stop(self) -> None:
        """Ends."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        if self._consumer is not None:
            await self._consumer.stop()

    def of(self, *topics: str) -> list[Told]:
        """What these held so far."""
        return [record for record in self.records if record.topic in topics]

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
        """Waits for records that make it true; a failed test that names it when none do."""
        try:
            async with asyncio.timeout(seconds), self._came:
                await self._came.wait_for(condition)
        except TimeoutError:
            raise AssertionError(f"not within {seconds:g} s: {what}") from None

    async def _read(self) -> None:
        assert self._consumer is not None
        while True:
            batches = await self._consumer.getmany(timeout_ms=100)
            if batches:
                self.records += [_told(record) for batch in batches.values() for record in batch]
                async with self._came:
                    self._came.notify_all()


def _told(record: Any) -> Told:
    headers = dict(record.headers)
    return Told(record.topic, record.partition, record.offset, record.key, record.value, headers)
