"""What a client knows of its topics: asked for without making any, with the ids by which one made anew shows.

aiokafka asks in a way that lets brokers make the topics that it asks for, and in versions of the protocol that
know no ids: a topic that was deleted and made anew is read on from where the old one was left.
"""
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.errors import KafkaError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v4
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

from service.domain.consuming import Place

_LOOK_SECONDS: Final = 1.0
_SECONDS_BETWEEN: Final = 0.1
"""Where a partition has no leader, aiokafka asks again as soon as it has an answer."""
_KNOWS_IDS: Final = 12
_NOT_THERE: Final = 3
_TROUBLES: Final = {_NOT_THERE: "is not there", 29: "may not be described by us"}

TopicId = tuple[int, int]


class _Answer(Response):  # type: ignore[misc] # aiokafka is Any to mypy
    API_KEY = 3
    API_VERSION = _KNOWS_IDS
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("id_high", Int64),
                ("id_low", Int64),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _Question(RequestStruct):  # type: ignore[misc] # see above
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = _KNOWS_IDS
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("id_high", Int64), ("id_low", Int64), ("name", CompactString("utf-8")), ("tags", TaggedFields)
            ),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicsRequest(Request[MetadataRequest_v4 | _Question]):  # type: ignore[misc] # see above
    """Asks for topics and makes none; for their ids too, where the broker knows them."""

    API_KEY = 3

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: Any) -> Any:
        if request_struct_class is _Question:
            return _Question([(0, 0, topic, {}) for topic in self._topics], False, False, {})
        return request_struct_class(list(self._topics), False)


@dataclass(frozen=True, slots=True)
class _AsAiokafkaReads:
    """An answer in the shape that aiokafka makes something of."""

    brokers: list[Any]
    controller_id: int
    topics: list[Any]
    API_VERSION: int = 5


class TopicsWatch:
    """Keeps a client of aiokafka's informed of topics.

    `on_void` is told of each topic that went or was made anew: whether it is there again is the second argument.
    """

    def __init__(self, client: Any, on_void: Callable[[str, bool], None]) -> None:
        self._client = client
        self._on_void = on_void
        self._ids: dict[str, TopicId] = {}
        self._troubled: dict[str, int] = {}
        self._asked = 0.0
        self._log = logging.getLogger(__name__)
        # It would say the same with each answer.
        logging.getLogger("aiokafka.cluster").setLevel(logging.CRITICAL)
        client._metadata_update = self.update

    async def update(self, cluster: Any, topics: Collection[str]) -> bool:
        """Asks one broker after the other; whether one answered. Stands in for a method of the client's."""
        await asyncio.sleep(max(0.0, self._asked + _SECONDS_BETWEEN - time.monotonic()))
        self._asked = time.monotonic()
        nodes: list[Any] = [broker.nodeId for broker in cluster.brokers()]
        random.shuffle(nodes)
        for node in nodes:
            connection = await self._client._get_conn(node)
            if connection is None:
                continue
            try:
                answer = await connection.send(TopicsRequest(topics))
            except (KafkaError, TimeoutError):
                continue
            if not answer.brokers:
                return False
            cluster.update_metadata(_readable(answer))
            self._compare(answer)
            return True
        cluster.failed_update(None)
        return False

    def _compare(self, answer: Any) -> None:
        troubled: dict[str, int] = {}
        for code, topic, *rest in answer.topics:
            if code in _TROUBLES:
                troubled[topic] = code
                if self._troubled.get(topic) != code:
                    self._log.warning("Kafka: the topic %s %s", topic, _TROUBLES[code])
                    if code == _NOT_THERE:
                        self._on_void(topic, False)
            elif code == 0 and answer.API_VERSION == _KNOWS_IDS:
                new: TopicId = (rest[0], rest[1])
                known = self._ids.setdefault(topic, new)
                if known != new:
                    self._ids[topic] = new
                    self._on_void(topic, True)
        self._troubled = troubled


def _readable(answer: Any) -> Any:
    if answer.API_VERSION != _KNOWS_IDS:
        return answer
    topics = [
        (code, topic, internal, [(*partition[:3], *partition[4:]) for partition in partitions])
        for code, topic, _, _, internal, partitions, *_ in answer.topics
    ]
    return _AsAiokafkaReads([broker[:4] for broker in answer.brokers], answer.controller_id, topics)


async def look_ahead(consumer: Any) -> None:
    """Learns where the partitions end, which one that is paused does not by reading; soon, or not at all."""
    subscription = consumer._subscription.subscription
    assignment = subscription and subscription.assignment
    if not assignment or not assignment.tps:
        return
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            ends = await consumer.end_offsets(assignment.tps)
    except (TimeoutError, KafkaError, OSError):
        return
    for partition, end in ends.items():
        state = assignment.state_value(partition)
        if state is not None:
            state.highwater = end


def positions_behind(consumer: Any) -> dict[Place, int]:
    """How many records there are after the position, of each partition for which that is known."""
    subscription = consumer._subscription.subscription
    assignment = subscription and subscription.assignment
    if not assignment:
        return {}
    states = {(one.topic, one.partition): assignment.state_value(one) for one in assignment.tps}
    return {
        place: max(0, state.highwater - state.position)
        for place, state in states.items()
        if state.highwater is not None and state.has_valid_position
    }
