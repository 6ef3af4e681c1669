"""The consumer on a real Kafka: what it reads and in which order, commits, groups, pauses, what can't be read."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.codec import has_lz4

from adapters.kafka.consumer import KafkaConsumer
from service.domain.consuming import Place, Record
from tests.support.kafka import KafkaCluster, cluster
from tests.support.kafka_batches import GZIP, LZ4, PLAIN, SNAPPY, ZSTD, batch, compressed, send_batch
from tests.support.kafka_clients import Kafka, Topics

pytestmark = pytest.mark.slow

Starter = Callable[..., Coroutine[Any, Any, KafkaConsumer]]


@pytest.fixture
async def start(kafka: Kafka, topics: Topics) -> AsyncIterator[Starter]:
    """Starts consumers of the group `g` and closes them in the end."""
    made: list[KafkaConsumer] = []

    async def starter(*names: str, **others: Any) -> KafkaConsumer:
        consumer = KafkaConsumer(
            kafka.client(), topics.name("g"), names, **{"metadata_seconds": 0.5, "sure_seconds": 0.5, **others}
        )
        made.append(consumer)
        await consumer.start()
        return consumer

    yield starter
    await asyncio.gather(*(consumer.aclose() for consumer in made))


async def produce(kafka: Kafka, topic: str, values: Sequence[bytes], partitions: int = 1, **others: Any) -> None:
    """The values in order, by turns to the partitions."""
    producer = kafka.producer(**others)
    await producer.start()
    for number, value in enumerate(values):
        await producer.send(topic, value, partition=number % partitions)
    await producer.stop()


async def read(consumer: KafkaConsumer, count: int, seconds: float = 20.0) -> list[Record]:
    """Polls until there are so many."""
    records: list[Record] = []
    async with asyncio.timeout(seconds):
        while len(records) < count:
            records += await consumer.poll(50, 0.3)
    assert len(records) == count
    return records


async def nothing(consumer: KafkaConsumer, seconds: float) -> None:
    until = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < until:
        assert not await consumer.poll(50, 0.1)


def following(records: Sequence[Record]) -> dict[Place, int]:
    return {record.place: record.offset + 1 for record in records}


async def committed(kafka: Kafka, topics: Topics, topic: str, partition: int = 0) -> int | None:
    consumer = kafka.consumer(group=topics.name("g"))
    await consumer.start()
    try:
        offset: int | None = await consumer.committed(TopicPartition(topic, partition))
        return offset
    finally:
        await consumer.stop()


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


async def test_records_come_in_order_of_their_partition_as_they_were_sent(
    kafka: Kafka, topics: Topics, start: Starter
) -> None:
    topic = await topics.create("t", 3)
    await produce(kafka, topic, numbers(300), 3)
    records = await read(await start(topic), 300)
    for partition in range(3):
        mine = [record for record in records if record.partition == partition]
        assert [record.value for record in mine] == numbers(300)[partition::3]
        assert [record.offset for record in mine] == list(range(100))


async def test_keys_values_and_headers_may_be_missing_or_come_twice(
    kafka: Kafka, topics: Topics, start: Starter
) -> None:
    topic = await topics.create("t")
    producer = kafka.producer()
    await producer.start()
    now = int(time.time() * 1000)
    headers = [("a", b"1"), ("a", b"\xff"), ("", b""), ("b", None), ("ü", b"2")]
    await producer.send_and_wait(topic, None, b"key", timestamp_ms=now)
    await producer.send_and_wait(topic, b"", None, headers=headers)
    await producer.stop()
    first, second = await read(await start(topic), 2)
    assert first == Record(topic, 0, 0, now, b"key", None, [])
    assert (second.key, second.value, second.headers) == (None, b"", headers)


async def test_a_commit_is_where_the_group_goes_on_after_a_restart(
    kafka: Kafka, topics: Topics, start: Starter
) -> None:
    topic = await topics.create("t", 2)
    await produce(kafka, topic, numbers(40), 2)
    consumer = await start(topic)
    records = await read(consumer, 40)
    await consumer.commit({(topic, 0): 5, (topic, 1): 20})
    await consumer.aclose()
    consumer = await start(topic)
    again = await read(consumer, 15)
    assert [record.value for record in again] == [record.value for record in records if record.partition == 0][5:]
    await nothing(consumer, 0.5)


async def test_from_latest_a_new_group_reads_only_what_comes_from_now_on(
    kafka: Kafka, topics: Topics, start: Starter
) -> None:
    topic = await topics.create("t")
    await produce(kafka, topic, numbers(3))
    consumer = await start(topic, from_latest=True)
    await nothing(consumer, 0.5)
    await produce(kafka, topic, [b"new"])
    assert [record.value for record in await read(consumer, 1)] == [b"new"]


async def test_a_poll_takes_no_more_than_it_is_asked_for_and_a_cancelled_one_takes_nothing(
    kafka: Kafka, topics: Topics, start: Starter
) -> None:
    topic = await topics.create("t", 2)
    await produce(kafka, topic, numbers(100), 2)
    consumer = await start(topic)
    records: list[Record] = []
    while len(records) < 100:
        polling = asyncio.create_task(consumer.poll(90, 1.0))
        await asyncio.sleep(0.01 * (len(records) % 3))
        if polling.cancel():
            with pytest.raises(asyncio.CancelledError):
                await polling
        else:
            records += polling.result()
        taken = await consumer.poll(7, 1.0)
        assert len(taken) <= 7
        records += taken
    assert sorted(int(record.value or b"") for record in records) == list(range(100))


async def test_a_rewind_brings_records_once_more_and_leaves_the_other_partitions_alone(
    kafka: Kafka, topics: Topics, start: Starter
) -> None:
    topic = await topics.create("t", 2)
    await produce(kafka, topic, numbers(20), 2)
    consumer = await start(topic)
    await read(consumer, 20)
    consumer.rewind({(topic, 0): 7, (topic, 1): 99, ("other", 0): 0})
    again = await read(consumer, 3)
    assert [(record.partition, record.offset) for record in again] == [(0, 7), (0, 8), (0, 9)]
    await nothing(consumer, 0.3)


async def test_lag_is_what_comes_after_the_last_that_was_polled(
    kafka: Kafka, topics: Topics, start: Starter
) -> None:
    topic = await topics.create("t", 2)
    await produce(kafka, topic, numbers(20))
    consumer = await start(topic)
    assert len(await consumer.poll(8, 5.0)) == 8
    assert consumer.lag()[topic, 0] == 12
    await read(consumer, 12)
    await nothing(consumer, 0.5)
    assert consumer.lag() == {(topic, 0): 0, (topic, 1): 0}
    await consumer.aclose()
    assert consumer.lag() == {}


async def test_members_come_and_go_and_every_record_is_read(kafka: Kafka, topics: Topics, start: Starter) -> None:
    topic = await topics.create("t", 6)
    seen: dict[Place, list[int]] = {}
    done = asyncio.Event()

    async def work(consumer: KafkaConsumer) -> None:
        while not done.is_set():
            records = await consumer.poll(20, 0.1)
            for record in records:
                seen.setdefault(record.place, []).append(record.offset)
            await asyncio.sleep(0.01)
            await consumer.commit(following(records))

    async def all_read(count: int) -> None:
        async with asyncio.timeout(30):
            while sum(len(set(offsets)) for offsets in seen.values()) < count:
                await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as group:
        first = await start(topic)
        group.create_task(work(first))
        await produce(kafka, topic, numbers(300), 6)
        second, third = await asyncio.gather(start(topic), start(topic))
        tasks = [group.create_task(work(consumer)) for consumer in (second, third)]
        await produce(kafka, topic, numbers(300), 6)
        await all_read(600)
        owned = [set(consumer.lag()) for consumer in (first, second, third)]
        assert [len(places) for places in owned] == [2, 2, 2]
        assert len(set().union(*owned)) == 6
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        await second.aclose()
        await produce(kafka, topic, numbers(300), 6)
        await all_read(900)
        done.set()
    assert {place: max(offsets) for place, offsets in seen.items()} == {(topic, p): 149 for p in range(6)}
    assert sum(len(offsets) for offsets in seen.values()) < 1200


async def test_what_was_polled_before_the_group_dealt_anew_is_not_committed_after_it(
    kafka: Kafka, topics: Topics, start: Starter
) -> None:
    topic = await topics.create("t", 2)
    await produce(kafka, topic, numbers(20), 2)
    first = await start(topic)
    old = following(await read(first, 20))
    first.pause(True)
    second = await start(topic)
    await assigned(first, 1)
    await first.commit(old)
    await second.aclose()
    await assigned(first, 2)
    # Another could have read and committed further since then.
    await first.commit(old)
    first.rewind(old)
    for partition in range(2):
        assert await committed(kafka, topics, topic, partition) is None
    first.pause(False)
    again = await read(first, 20)
    await first.commit(following(again))
    assert await committed(kafka, topics, topic, 0) == 10


async def assigned(consumer: KafkaConsumer, count: int) -> None:
    async with asyncio.timeout(20):
        while len(consumer._consumer.assignment()) != count:
            assert not await consumer.poll(50, 0.1)


async def test_a_pause_outlasts_a_rebalance_and_what_was_fetched_before_is_not_lost(
    kafka: Kafka, topics: Topics, start: Starter
) -> None:
    topic = await topics.create("t", 2)
    await produce(kafka, topic, numbers(200), 2)
    first = await start(topic)
    records = list(await first.poll(30, 5.0))
    await first.commit(following(records))
    first.pause(True)
    await nothing(first, 0.5)
    second = await start(topic)
    second.pause(True)
    await asyncio.gather(nothing(first, 1.5), nothing(second, 1.5))
    await second.aclose()
    await assigned(first, 2)
    await nothing(first, 0.5)
    # Nothing was fetched, and one knows all the same how much there is.
    assert sum(first.lag().values()) == 170
    first.pause(False)
    records += await read(first, 170)
    assert sorted(int(record.value or b"") for record in records) == list(range(200))


@pytest.mark.parametrize("codec", [PLAIN, GZIP])
async def test_a_header_name_that_is_no_utf8_is_told_and_no_neighbour_is_lost(
    kafka: Kafka, topics: Topics, start: Starter, codec: int
) -> None:
    topic = await topics.create("t", 2)
    values = numbers(60)
    spoilt = {0, 17, 18, 59}
    records = [(b"k", value, [(b"\xff" if n in spoilt else b"h", b"x")]) for n, value in enumerate(values)]
    await send_batch(kafka, topic, batch(records, codec), 0)
    await produce(kafka, topic, values, 2)
    consumer = await start(topic)
    read_now = await read(consumer, 120)
    first = [record for record in read_now if record.partition == 0]
    assert [record.value for record in first] == values + values[::2]
    assert {n for n, record in enumerate(first) if record.unreadable} == spoilt
    assert [record.value for record in read_now if record.partition == 1] == values[1::2]
    assert first[17].headers == [("\ufffd", b"x")]
    await consumer.commit(following(read_now))
    assert await committed(kafka, topics, topic, 0) == 90


@pytest.mark.parametrize(("codec", "name"), [(GZIP, "gzip"), (SNAPPY, "snappy"), (LZ4, "lz4"), (ZSTD, "zstd")])
async def test_compressed_records_are_read_or_told_by_their_codec(
    kafka: Kafka, topics: Topics, start: Starter, codec: int, name: str
) -> None:
    topic = await topics.create("t")
    values = [b"value %d" % n + b"x" * 100 for n in range(5)]
    for one in (PLAIN, codec, PLAIN):
        await send_batch(kafka, topic, batch([(b"k", value, []) for value in values], one))
    records = await read(await start(topic), 15)
    assert [record.offset for record in records] == list(range(15))
    assert [record.value for record in (*records[:5], *records[10:])] == values * 2
    if codec == GZIP or has_lz4():
        assert [(record.key, record.value, record.unreadable) for record in records[5:10]] == [
            (b"k", value, "") for value in values
        ]
    else:
        why = f"Its batch is compressed by {name} and can't be decompressed here."
        assert [(record.value, record.unreadable) for record in records[5:10]] == [(None, why)] * 5


async def test_records_of_a_transaction_come_if_it_was_committed_and_never_if_it_was_broken_off() -> None:
    alone = {"transaction.state.log.replication.factor": "1", "transaction.state.log.min.isr": "1"}
    with cluster(others=alone) as kafka:
        await kafka.create("t")
        producer = kafka.producer(transactional_id="x")
        await producer.start()
        for number in range(4):
            await producer.begin_transaction()
            await producer.send_and_wait("t", b"%d" % number)
            await (producer.abort_transaction() if number % 2 else producer.commit_transaction())
        await producer.stop()
        await produce(kafka, "t", [b"last"])
        consumer = KafkaConsumer(kafka.client(), "g", ["t"])
        await consumer.start()
        assert [record.value for record in await read(consumer, 3)] == [b"0", b"2", b"last"]
        await consumer.aclose()


async def test_a_record_larger_than_what_is_fetched_at_once_comes_too(
    kafka: Kafka, topics: Topics, start: Starter
) -> None:
    topic = await topics.create("t")
    await produce(kafka, topic, [b"small", b"x" * 900_000, b"small"])
    records = await read(await start(topic, partition_bytes=1000, fetch_bytes=1000), 3)
    assert [len(record.value or b"") for record in records] == [5, 900_000, 5]


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
async def test_a_batch_that_holds_far_more_than_it_may_is_passed_and_committed(
    kafka: Kafka, topics: Topics, start: Starter, codec: int
) -> None:
    topic = await topics.create("t")
    await send_batch(kafka, topic, compressed([(b"k", bytes(3_000_000), [])] * 3, codec))
    await produce(kafka, topic, [b"after"])
    consumer = await start(topic, batch_bytes=1_000_000)
    records = await read(consumer, 4)
    why = "Its batch is compressed and holds more than 1000000 bytes."
    assert [(record.value, record.unreadable) for record in records] == [(None, why)] * 3 + [(b"after", "")]
    await consumer.commit(following(records))
    assert await committed(kafka, topics, topic) == 4


async def test_a_poll_brings_no_more_bytes_than_are_fetched_at_once_and_one_record(
    kafka: Kafka, topics: Topics, start: Starter
) -> None:
    topic = await topics.create("t")
    values = [b"%d" % n + bytes(100_000) for n in range(40)]
    await send_batch(kafka, topic, compressed([(b"k", value, []) for value in values], ZSTD))
    consumer = await start(topic, fetch_bytes=1_000_000)
    polls: list[Sequence[Record]] = []
    async with asyncio.timeout(20):
        while sum(map(len, polls)) < 40:
            if polled := await consumer.poll(500, 0.3):
                polls.append(polled)
    # Where a batch is decompressed, that counts, too.
    assert [len(polled) for polled in polls] == [1, 10, 10, 10, 9]
    assert [record.value for polled in polls for record in polled] == values


async def test_a_batch_that_is_damaged_on_the_disk_is_told_of_and_passed(own_kafka: KafkaCluster) -> None:
    await own_kafka.create("t")
    for _ in range(3):
        await send_batch(own_kafka, "t", batch([(b"k", b"value %d" % n, []) for n in range(5)]))
    await asyncio.to_thread(own_kafka.stop, 1, signal.SIGTERM)
    log = next((own_kafka.nodes[0].folder / "data").glob("t-0/*.log"))
    await asyncio.to_thread(damage, log)
    await asyncio.to_thread(own_kafka.start, 1)
    consumer = KafkaConsumer(own_kafka.client(), "g", ["t"])
    await consumer.start()
    records = await read(consumer, 15)
    assert [record.offset for record in records] == list(range(15))
    assert [bool(record.unreadable) for record in records] == [False] * 5 + [True] * 5 + [False] * 5
    assert (records[7].key, records[7].value, records[8].value) == (b"k", b"walue 2", b"value 3")
    await consumer.commit(following(records))
    await consumer.aclose()


def damage(log: Path) -> None:
    raw = bytearray(log.read_bytes())
    second = raw.index(b"value 2", raw.index(b"value 2") + 1)
    raw[second] ^= 0x01
    log.write_bytes(raw)


async def test_a_member_by_tls_and_scram_reads_and_commits(secure_kafka: KafkaCluster) -> None:
    await secure_kafka.create("consumed")
    await produce(secure_kafka, "consumed", numbers(5))
    for expected in (5, 0):
        consumer = KafkaConsumer(secure_kafka.client(), "consuming", ["consumed"])
        await consumer.start()
        if expected:
            await consumer.commit(following(await read(consumer, expected)))
        else:
            await nothing(consumer, 0.5)
        await consumer.aclose()


async def test_no_topic_is_made_by_asking_for_it() -> None:
    with cluster(others={"auto.create.topics.enable": "true"}) as kafka:
        consumer = KafkaConsumer(kafka.client(), "g", ["not-there"], metadata_seconds=0.3)
        await consumer.start()
        await nothing(consumer, 1.0)
        async with kafka.admin() as admin:
            assert "not-there" not in await admin.list_topics()
        await consumer.aclose()
