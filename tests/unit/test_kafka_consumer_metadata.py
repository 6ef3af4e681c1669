"""What the consumer makes of a cluster's answers about its topics."""

import time
from io import BytesIO
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.structs import BrokerMetadata

from adapters.kafka.consumer_metadata import TopicsRequest, TopicsWatch

NEW, OLD = {3: (0, 13)}, {3: (0, 5)}


class Broker:
    """A broker and the client's connection to it. `topics` has an id for each topic that is there."""

    def __init__(self, versions: dict[int, tuple[int, int]]) -> None:
        self.versions = versions
        self.topics: dict[str, int] = {}
        self.makes_topics: list[Any] = []
        self.cluster = ClusterMetadata()
        self.client = SimpleNamespace(_get_conn=self._connection)
        self.cluster._brokers = {1: BrokerMetadata(1, "host", 9092, None)}

    async def _connection(self, _: int) -> "Broker":
        return self

    async def send(self, request: TopicsRequest) -> Any:
        asked = request.prepare(self.versions)
        self.makes_topics.append(asked.get_item("allow_auto_topic_creation"))
        names = [one if isinstance(one, str) else one[2] for one in asked.get_item("topics")]
        answer = asked.RESPONSE_TYPE
        if asked.API_VERSION == 4:
            partitions: list[Any] = [(0, 0, 1, [1], [1])]
            topics = [self._code(name, partitions) for name in names]
            return answer(0, [(1, "host", 9092, None)], "cluster", 1, topics)
        known: list[Any] = [(0, 0, 1, 7, [1], [1], [], {})]
        flexible = [
            (*self._code(name, [])[:2], 5, self.topics.get(name, 0), False, known * (name in self.topics), 0, {})
            for name in names
        ]
        made = answer(0, [(1, "host", 9092, None, {})], "cluster", 1, flexible, {})
        return answer.decode(BytesIO(made.encode()))

    def _code(self, name: str, partitions: list[Any]) -> tuple[Any, ...]:
        return (0, name, False, partitions) if name in self.topics else (3, name, False, [])


async def told(broker: Broker, *steps: dict[str, int]) -> list[list[tuple[str, bool]]]:
    """What the watch tells after each step of what is there."""
    found: list[tuple[str, bool]] = []
    watch = TopicsWatch(broker.client, lambda topic, there: found.append((topic, there)))
    each = []
    for step in steps:
        broker.topics = step
        assert await watch.update(broker.cluster, ["a", "b"])
        each.append(list(found))
        found.clear()
    return each


async def test_a_topic_with_another_id_was_made_anew_and_one_that_went_is_told_once() -> None:
    broker = Broker(NEW)
    steps = [{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"b": 3}, {"b": 3}, {"a": 4, "b": 3}, {"a": 4, "b": 3}]
    each = await told(broker, *steps)
    assert each == [[], [("b", True)], [("a", False)], [], [("a", True)], []]
    assert broker.cluster.partitions_for_topic("a") == {0}
    assert broker.cluster.leader_for_partition(TopicPartition("a", 0)) == 1
    assert broker.makes_topics == [False] * 6


async def test_a_broker_that_knows_no_ids_is_asked_in_its_own_way_and_makes_no_topics_either() -> None:
    broker = Broker(OLD)
    each = await told(broker, {"a": 1}, {"a": 2}, {})
    assert each == [[("b", False)], [], [("a", False)]]
    assert broker.makes_topics == [False] * 3


async def test_answers_are_asked_for_with_a_pause_in_between() -> None:
    began = time.monotonic()
    await told(Broker(NEW), {}, {}, {})
    assert time.monotonic() - began >= 0.2
