"""Where the consumer begins: at what its group committed, also when the coordinator's first answer is none."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.commit import OffsetFetchRequest, OffsetFetchResponse_v3

from adapters.kafka.consumer import KafkaConsumer
from service.domain.consuming import ConsumerError, Place, Record
from tests.support.kafka import KafkaCluster
from tests.support.kafka_clients import Kafka, Topics

pytestmark = pytest.mark.slow

Answer = Callable[[Any], Any]
Starter = Callable[..., Coroutine[Any, Any, KafkaConsumer]]


class Coordinator:
    """What answers instead of the real coordinator, as often as there are answers; a broker's number asks that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: list[Answer | int] = []
        self.asked: list[float] = []
        """When."""
        send = AIOKafkaClient.send

        async def answered(client: Any, node: int, request: Any, **others: Any) -> Any:
            if not isinstance(request, OffsetFetchRequest):
                return await send(client, node, request, **others)
            self.asked.append(time.monotonic())
            instead = self.answers.pop(0) if self.answers else node
            real = await send(client, instead if isinstance(instead, int) else node, request, **others)
            return real if isinstance(instead, int) else instead(real)

        monkeypatch.setattr(AIOKafkaClient, "send", answered)


@pytest.fixture
def coordinator(monkeypatch: pytest.MonkeyPatch) -> Coordinator:
    return Coordinator(monkeypatch)


@pytest.fixture
async def started() -> AsyncIterator[Starter]:
    """Starts consumers and closes them in the end."""
    made: list[KafkaConsumer] = []

    async def start(kafka: Kafka, group: str, topic: str, **others: Any) -> KafkaConsumer:
        made.append(KafkaConsumer(kafka.client(), group, [topic], **others))
        await made[-1].start()
        return made[-1]

    yield start
    await asyncio.gather(*(consumer.aclose() for consumer in made))


def refused(code: int) -> Answer:
    """An error for the request, as of a broker that no longer coordinates the group: of partitions nothing."""
    return lambda _: OffsetFetchResponse_v3(0, [], code)


def of_each(code: int, partitions: Iterable[int] = range(9)) -> Answer:
    """An error of these partitions, or with 0 that nothing of them is committed."""

    def answer(real: Any) -> Any:
        topics = [
            (topic, [(one[0], -1, "", code) if one[0] in partitions else one for one in numbers])
            for topic, numbers in real.topics
        ]
        return OffsetFetchResponse_v3(0, topics, 0)

    return answer


async def produce(kafka: Kafka, topic: str, count: int, partitions: int = 1) -> None:
    """So many to each partition: their numbers."""
    producer = kafka.producer()
    await producer.start()
    for number in range(count):
        for partition in range(partitions):
            await producer.send(topic, b"%d" % number, partition=partition)
    await producer.stop()


async def read(consumer: KafkaConsumer, count: int, seconds: float = 20.0) -> list[Record]:
    records: list[Record] = []
    async with asyncio.timeout(seconds):
        while len(records) < count:
            records += await consumer.poll(50, 0.2)
    return records


async def commit(kafka: Kafka, group: str, following: dict[Place, int]) -> None:
    """As a member of the group would."""
    member = kafka.consumer(group=group)
    await member.start()
    partitions = {TopicPartition(*place): offset for place, offset in following.items()}
    member.assign(list(partitions))
    await member.commit(partitions)
    await member.stop()


def offsets(records: Sequence[Record]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for record in records:
        found.setdefault(record.partition, []).append(record.offset)
    return found


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name.startswith("adapters.")]


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([of_each(0)], id="nothing is committed"),
        pytest.param([of_each(0), of_each(0, [1])], id="nothing is committed, of one partition twice"),
        pytest.param([refused(16)], id="it is not the coordinator"),
        pytest.param([refused(14), refused(15)], id="it is loading, then not available"),
        pytest.param([of_each(3)], id="no such partitions"),
        pytest.param([of_each(0), refused(16), of_each(3)], id="all of these"),
    ],
)
async def test_what_is_committed_is_found_though_at_first_it_is_said_not_to_be_there(
    kafka: Kafka,
    topics: Topics,
    started: Starter,
    coordinator: Coordinator,
    caplog: pytest.LogCaptureFixture,
    answers: list[Answer | int],
) -> None:
    topic, group = await topics.create("t", 2), topics.name("g")
    await produce(kafka, topic, 10, 2)
    await commit(kafka, group, {(topic, 0): 7, (topic, 1): 8})
    caplog.clear()
    coordinator.answers = answers
    coordinator.asked.clear()
    consumer = await started(kafka, group, topic)
    records = await read(consumer, 5)
    assert offsets([*records, *await consumer.poll(50, 1.0)]) == {0: [7, 8, 9], 1: [8, 9]}
    assert not answers
    assert not warnings(caplog)


async def test_a_broker_that_does_not_coordinate_the_group_is_asked_and_not_believed(
    three_kafkas: KafkaCluster, started: Starter, coordinator: Coordinator
) -> None:
    await three_kafkas.create("t", 2)
    await produce(three_kafkas, "t", 10, 2)
    await commit(three_kafkas, "g", {("t", 0): 7, ("t", 1): 8})
    # One of them is not the one.
    coordinator.answers = [1, 2]
    consumer = await started(three_kafkas, "g", "t")
    records = await read(consumer, 5)
    assert offsets([*records, *await consumer.poll(50, 1.0)]) == {0: [7, 8, 9], 1: [8, 9]}


async def test_a_partition_without_a_place_is_asked_for_again_while_others_are_read_and_begun_with_a_warning(
    kafka: Kafka, topics: Topics, started: Starter, coordinator: Coordinator, caplog: pytest.LogCaptureFixture
) -> None:
    topic, group = await topics.create("t", 3), topics.name("g")
    await produce(kafka, topic, 10, 2)
    await commit(kafka, group, {(topic, 1): 4})
    caplog.clear()
    coordinator.asked.clear()
    consumer = await started(kafka, group, topic)
    assert offsets(await read(consumer, 6, seconds=2.0)) == {1: list(range(4, 10))}
    assert not await consumer.poll(50, 0.5)
    assert consumer.lag() == {(topic, 0): 10, (topic, 1): 0, (topic, 2): 0}
    assert not warnings(caplog)
    assert offsets(await read(consumer, 10)) == {0: list(range(10))}
    assert len(coordinator.asked) >= 3
    assert time.monotonic() - coordinator.asked[0] >= 3.0
    said = f"Kafka: partition {topic}:0 has no committed offset: it is read from its beginning"
    assert warnings(caplog) == [said]


async def test_a_new_group_at_an_empty_topic_begins_soon_and_says_nothing(
    kafka: Kafka, topics: Topics, started: Starter, coordinator: Coordinator, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await topics.create("t", 2)
    consumer = await started(kafka, topics.name("g"), topic)
    async with asyncio.timeout(2.0):
        while not consumer.lag():
            assert not await consumer.poll(50, 0.1)
    await produce(kafka, topic, 3, 2)
    assert offsets(await read(consumer, 6, seconds=2.0)) == {0: [0, 1, 2], 1: [0, 1, 2]}
    assert len(coordinator.asked) == 2
    assert not warnings(caplog)


async def test_what_comes_while_it_is_not_certain_that_a_group_is_new_is_not_passed_over_by_from_latest(
    kafka: Kafka, topics: Topics, started: Starter, coordinator: Coordinator
) -> None:
    topic = await topics.create("t")
    await produce(kafka, topic, 5)
    consumer = await started(kafka, topics.name("g"), topic, from_latest=True)
    while len(coordinator.asked) < 2:
        assert not await consumer.poll(50, 0.1)
    await produce(kafka, topic, 2)
    assert offsets(await read(consumer, 2)) == {0: [5, 6]}


async def test_a_group_that_may_not_be_asked_about_ends_the_consumer_with_a_clear_error(
    kafka: Kafka, topics: Topics, started: Starter, coordinator: Coordinator
) -> None:
    topic = await topics.create("t")
    coordinator.answers = [refused(30)]
    consumer = await started(kafka, topics.name("g"), topic)
    with pytest.raises(ConsumerError, match="Kafka: GroupAuthorizationFailedError"):
        await read(consumer, 1)


async def test_that_nothing_is_said_of_the_places_for_long_is_told_once(
    kafka: Kafka,
    topics: Topics,
    started: Starter,
    coordinator: Coordinator,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("adapters.kafka.consumer_places._SILENT_SECONDS", 0.7)
    topic = await topics.create("t", 2)
    coordinator.answers = [refused(14)] * 5
    consumer = await started(kafka, topics.name("g"), topic)
    async with asyncio.timeout(10.0):
        while not consumer.lag():
            assert not await consumer.poll(50, 0.1)
    assert warnings(caplog) == ["Kafka: where to read 2 partitions is not said; still asking"]
