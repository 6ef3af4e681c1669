"""Records as teams submitted them, and a topic of dead letters to put them on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import orjson

from adapters.kafka.dead_letters import KafkaDeadLetters
from service.domain.consuming import Record
from service.edge.kafka.dead_letters import bare, dead_letter
from service.edge.kafka.rejections import RejectedRecordError, Rejection
from tests.support.kafka_clients import Kafka

SUBMIT: Final = "shared.requests"
GROUP: Final = "intake"


def submitted(offset: int, value: object = None, **changes: Any) -> Record:
    """A record as some team submitted it."""
    body = {"model": "sim/alpha", "input": f"question {offset}"} if value is None else value
    fields: dict[str, Any] = {
        "topic": SUBMIT,
        "partition": 2,
        "offset": offset,
        "timestamp_ms": 1_790_000_000_000 + offset,
        "key": b"order-%d" % offset,
        "value": body if isinstance(body, bytes) else orjson.dumps(body),
        "headers": [("correlation-id", b"\x00\xff"), ("eurouter-signature", b"secret"), ("empty", None)],
    }
    return Record(**{**fields, **changes})


class Pile:
    """A topic of dead letters, and a way to put some on it."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        self.kafka = kafka
        self.topic = topic
        # Their own times are not long ago: the retention goes by them.
        self.began = int(time.time() * 1000) - 600_000
        self._count = 0

    @property
    def reader(self) -> KafkaDeadLetters:
        """What is tested."""
        return KafkaDeadLetters(self.kafka.client, self.topic)

    async def put(
        self,
        records: Sequence[Record],
        reason: Rejection = Rejection.UNKNOWN_MODEL,
        owner: str = "team-a",
        *,
        partition: int = 0,
        whole: bool = True,
        message: str = "model: no model has this name",
    ) -> list[str]:
        """Letters of these records, a second after one another; their ids."""
        producer = self.kafka.producer(max_request_size=4_000_000)
        await producer.start()
        try:
            ids = []
            for record in records:
                letter = dead_letter(record, RejectedRecordError(reason, message, owner=owner), GROUP)
                if not whole:
                    letter = bare(letter)
                self._count += 1
                sent = await producer.send_and_wait(
                    self.topic,
                    letter.value,
                    letter.key,
                    partition=partition,
                    timestamp_ms=self.began + self._count * 1000,
                    headers=list(letter.headers),
                )
                ids.append(f"{sent.partition}:{sent.offset}")
        finally:
            await producer.stop()
        return ids

    async def raw(self, *values: bytes, partition: int = 0, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        """Records that are no letters of ours."""
        producer = self.kafka.producer(max_request_size=4_000_000)
        await producer.start()
        try:
            for value in values:
                self._count += 1
                await producer.send_and_wait(
                    self.topic,
                    value,
                    partition=partition,
                    timestamp_ms=self.began + self._count * 1000,
                    headers=list(headers),
                )
        finally:
            await producer.stop()
