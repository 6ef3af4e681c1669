"""The way in by Kafka: a careful producer, as teams should have it, that goes on through whatever befalls brokers.

Once it has a record it sends it until it is stored: a caller that waits no longer doesn't know; the topic does.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.chaos.record_requests import NewRecord
from tests.support.kafka_clients import Kafka

_PATIENCE: Final = 0.5
_FLUSH_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a record stands, and its time in milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int


class KafkaDoor:
    """Sends records. `unknown` counts those of which nobody learned whether they are stored."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._producer: AIOKafkaProducer | None = None
        self._old: list[AIOKafkaProducer] = []
        self._starting = asyncio.Lock()
        self._sends: set[asyncio.Task[Stored | None]] = set()
        self.unknown = 0

    async def send(self, record: NewRecord, patience: float | None = None) -> Stored | None:
        """Where the record stands; None: that is not known, after `patience` seconds or a failure."""
        task = asyncio.create_task(self._send(record))
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)
        await asyncio.wait({task}, timeout=patience)
        stored = task.result() if task.done() else None
        if stored is None:
            self.unknown += 1
        return stored

    async def aclose(self) -> None:
        """Waits until what it was given is stored, for a minute at most, and disconnects."""
        if self._sends:
            await asyncio.wait(self._sends, timeout=_FLUSH_SECONDS)
        left = list(self._sends)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for producer in [*self._old, self._producer]:
            if producer is not None:
                await _stop(producer)
        self._producer = None

    async def _send(self, record: NewRecord) -> Stored | None:
        producer = await self._started()
        # The producer tells a wrong time of records that it sends together.
        now = int(time.time() * 1000)
        headers = list(record.headers)
        try:
            sent = await producer.send(record.topic, record.value, record.key, headers=headers, timestamp_ms=now)
            told = await sent
        except KafkaError:
            # A producer that fails for good is of no more use; another may find the same record stored.
            if self._producer is producer:
                self._producer = None
                self._old.append(producer)
            return None
        return Stored(told.topic, told.partition, told.offset, now)

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            while self._producer is None:
                producer = self._kafka.producer()
                try:
                    await producer.start()
                except KafkaError:
                    await _stop(producer)
                    await asyncio.sleep(_PATIENCE)
                else:
                    self._producer = producer
            return self._producer


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await producer.stop()
    except (TimeoutError, KafkaError):
        # It is gone all the same when the run's process is.
        return
