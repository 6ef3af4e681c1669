"""Messages to Kafka by aiokafka's idempotent producer, which every replica in sync has to acknowledge.

The producer tries again by itself, for ever, and has no way to stop that in time: what is not acknowledged soon is
called unknown here, and `aclose` breaks everything off. It reaches into the producer for that: aiokafka's own
`stop` waits until all is delivered.
"""
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.partitioner import DefaultPartitioner

from adapters.kafka.consumer_metadata import TopicsWatch
from service.domain.publishing import Delivery, Message, PublisherError

MAX_REQUEST_BYTES: Final = 1024 * 1024
"""A larger message is refused before it is sent; brokers take as much by default."""

_TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)
_REFUSED: Final = (
    UnknownTopicOrPartitionError,
    TopicAuthorizationFailedError,
    InvalidTopicError,
    PolicyViolationError,
)


class KafkaPublisher:
    """A Publisher on Kafka. Use it in one event loop.

    `client` are the arguments by which every client of aiokafka's connects: bootstrap_servers, those of TLS and of
    SASL. `start_seconds`, `send_seconds` and `close_seconds` bound what their names say.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        *,
        start_seconds: float = 4.0,
        send_seconds: float = 4.0,
        close_seconds: float = 1.0,
        max_request_bytes: int = MAX_REQUEST_BYTES,
    ) -> None:
        # Below this level it logs what it sends.
        logging.getLogger("aiokafka").setLevel(logging.WARNING)
        self._arguments = {
            **client,
            "enable_idempotence": True,
            "acks": "all",
            "request_timeout_ms": int(send_seconds * 1000),
            "max_request_size": max_request_bytes,
        }
        self._start_seconds = start_seconds
        self._send_seconds = send_seconds
        self._close_seconds = close_seconds
        self._partitioner = DefaultPartitioner()
        self._producer: Any = None
        self._requests: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Connects and gets a producer's id.

        Raises:
            PublisherError: no broker answers in time, or it lets nobody in.
        """
        try:
            self._producer = AIOKafkaProducer(**self._arguments)
            # A topic that is not there is for whoever runs the brokers to make, in the shape that it needs.
            TopicsWatch(self._producer.client, lambda _topic, _there: None)
            self._track()
            async with asyncio.timeout(self._start_seconds):
                await self._producer.start()
        except TimeoutError:
            raise PublisherError(f"Kafka: no answer within {self._start_seconds:g} s") from None
        except (KafkaError, OSError) as error:
            raise PublisherError(f"Kafka: {type(error).__name__}") from None

    async def send(self, messages: Sequence[Message]) -> Sequence[Delivery]:
        """Sends partition by partition, so that one without a leader holds up no other."""
        outcomes = [Delivery.UNKNOWN] * len(messages)
        acks: dict[int, asyncio.Future[Any]] = {}
        try:
            async with asyncio.timeout(self._send_seconds):
                lanes = await self._lanes(messages, outcomes)
                await asyncio.gather(*(self._fill(lane, messages, outcomes, acks) for lane in lanes))
                if acks:
                    await asyncio.wait(acks.values())
        except (TimeoutError, KafkaError):
            # What was acknowledged until now counts.
            pass
        finally:
            for place, ack in acks.items():
                outcomes[place] = _delivery(ack)
        return outcomes

    async def aclose(self) -> None:
        """Breaks off everything that is under way."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        producer._closed = True
        tasks = {*self._requests, producer._sender.sender_task} - {None}
        for task in tasks:
            task.cancel()
        for connection in list(producer.client._conns.values()):
            if connection._writer is not None:
                connection._writer.transport.abort()
        try:
            async with asyncio.timeout(self._close_seconds):
                if tasks:
                    await asyncio.wait(tasks)
                await producer.client.close()
        except (TimeoutError, KafkaError, OSError):
            # The connections are gone all the same.
            return

    async def _lanes(self, messages: Sequence[Message], outcomes: list[Delivery]) -> list[list[tuple[int, int]]]:
        """Places of messages with their partitions, by topic and partition; those of topics that are not there
        are told."""
        partitions = await self._partitions({message.topic for message in messages})
        lanes: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for place, message in enumerate(messages):
            known = partitions[message.topic]
            if known is None:
                outcomes[place] = Delivery.REFUSED
                continue
            partition = self._partitioner(message.key, known, known)
            lanes.setdefault((message.topic, partition), []).append((place, partition))
        return list(lanes.values())

    async def _partitions(self, topics: Collection[str]) -> dict[str, list[int] | None]:
        """Partitions of topics; None: the cluster says that there is no such topic, or that it is not for us.

        Raises:
            KafkaError: the cluster says nothing.
        """
        client = self._producer.client
        known = client.cluster.partitions_for_topic
        if missing := [topic for topic in topics if known(topic) is None]:
            await asyncio.gather(*[client.add_topic(topic) for topic in missing])
            # An answer that was under way may be of a question that named none of them.
            if any(known(topic) is None for topic in missing) and not await client.force_metadata_update():
                raise KafkaError
        found = {topic: known(topic) for topic in topics}
        return {topic: sorted(partitions) if partitions else None for topic, partitions in found.items()}

    async def _fill(
        self,
        lane: Sequence[tuple[int, int]],
        messages: Sequence[Message],
        outcomes: list[Delivery],
        acks: dict[int, asyncio.Future[Any]],
    ) -> None:
        """Hands messages of one partition to the producer, in order; those that it can't take stay unknown."""
        for place, partition in lane:
            one = messages[place]
            # The client wants one of the two.
            value = b"" if one.key is None and one.value is None else one.value
            try:
                acks[place] = await self._producer.send(
                    one.topic, value, one.key, partition=partition, headers=list(one.headers)
                )
            except _TOO_LARGE:
                outcomes[place] = Delivery.TOO_LARGE
            except KafkaError:
                return

    def _track(self) -> None:
        """Knows requests that are under way: one that still connects would be sent after everything is closed."""
        sender = self._producer._sender
        send = sender._send_produce_req

        async def tracked(node_id: object, batches: object) -> None:
            task = asyncio.current_task()
            if task is not None:
                self._requests.add(task)
                task.add_done_callback(self._requests.discard)
            await send(node_id, batches)

        sender._send_produce_req = tracked


def _delivery(ack: asyncio.Future[Any]) -> Delivery:
    if not ack.done():
        ack.cancel()
        return Delivery.UNKNOWN
    if ack.cancelled():
        return Delivery.UNKNOWN
    error = ack.exception()
    if error is None:
        return Delivery.SENT
    if isinstance(error, _TOO_LARGE):
        return Delivery.TOO_LARGE
    return Delivery.REFUSED if isinstance(error, _REFUSED) else Delivery.UNKNOWN
