"""The publisher on a real Kafka: what arrives, what is told of what does not, and that it never hangs."""

import asyncio
import signal
import time
from typing import Any

import pytest

from adapters.kafka.publisher import KafkaPublisher
from service.domain.publishing import Delivery, Message, PublisherError
from tests.support.kafka import KafkaCluster, cluster
from tests.support.kafka_clients import Kafka, Topics

pytestmark = pytest.mark.slow


async def started(kafka: Kafka, **others: Any) -> KafkaPublisher:
    publisher = KafkaPublisher(kafka.client(), **others)
    await publisher.start()
    return publisher


async def test_messages_arrive_as_they_are_and_each_key_in_order(kafka: Kafka, topics: Topics) -> None:
    topic = await topics.create("results", 3)
    publisher = await started(kafka)
    messages = [Message(topic, b"k%d" % (n % 7), b"%d" % n, [("h", b"\x00"), ("h", b"")]) for n in range(700)]
    last = [Message(topic, b"k0", None), Message(topic, None, b"no key"), Message(topic, None, None)]
    assert set(await publisher.send([*messages, *last])) == {Delivery.SENT}
    assert await publisher.send([]) == []
    await publisher.aclose()
    await publisher.aclose()
    records = await kafka.records(topic)
    for key in range(7):
        mine = [r for r in records if r.key == b"k%d" % key]
        assert len({r.partition for r in mine}) == 1
        values = [r.value for r in mine]
        assert values == [b"%d" % n for n in range(key, 700, 7)] + [None] * (key == 0)
    assert records[0].headers == (("h", b"\x00"), ("h", b""))
    assert {r.partition for r in records} == {0, 1, 2}
    assert sorted(r.value or b"" for r in records if r.key is None) == [b"", b"no key"]


async def test_a_topic_that_is_not_there_refuses_at_once_and_the_others_go_on(
    kafka: Kafka, topics: Topics
) -> None:
    topic = await topics.create("there")
    publisher = await started(kafka)
    missing, bad = topics.name("missing"), "no such/name"
    began = time.monotonic()
    outcomes = await publisher.send(
        [Message(missing, b"k", b"1"), Message(topic, b"k", b"2"), Message(bad, b"k", b"")]
    )
    assert time.monotonic() - began < 2.0
    assert outcomes == [Delivery.REFUSED, Delivery.SENT, Delivery.REFUSED]
    await topics.create("missing")
    assert await publisher.send([Message(missing, b"k", b"1")]) == [Delivery.SENT]
    await publisher.aclose()


async def test_no_topic_is_made_by_sending_to_it() -> None:
    with cluster(others={"auto.create.topics.enable": "true"}) as kafka:
        await kafka.create("there")
        for _ in range(3):
            publisher = await started(kafka)
            for _ in range(2):
                messages = [Message("not-there", b"k", b"1"), Message("there", b"k", b"2")]
                assert await publisher.send(messages) == [Delivery.REFUSED, Delivery.SENT]
            await publisher.aclose()
        async with kafka.admin() as admin:
            assert "not-there" not in await admin.list_topics()
        assert len(await kafka.records("there")) == 6


@pytest.mark.parametrize(("limit", "size"), [("1048576", 2_000_000), ("1000", 5_000)])
async def test_what_is_too_large_is_told_and_its_neighbours_arrive(
    kafka: Kafka, topics: Topics, limit: str, size: int
) -> None:
    topic = await topics.create("small", 2, {"max.message.bytes": limit})
    other = await topics.create("other", 1)
    publisher = await started(kafka)
    outcomes = await publisher.send([Message(other, b"a", b"1"), Message(topic, b"b", b"x" * size)])
    assert outcomes == [Delivery.SENT, Delivery.TOO_LARGE]
    await publisher.aclose()
    assert [r.value for r in await kafka.records(topic, other)] == [b"1"]


async def test_with_nobody_there_a_start_fails_in_time_and_names_no_secret() -> None:
    client = {"bootstrap_servers": "127.0.0.1:9,127.0.0.1:10", "sasl_plain_password": "secret"}
    publisher = KafkaPublisher(client, start_seconds=2.0)
    began = time.monotonic()
    with pytest.raises(PublisherError) as raised:
        await publisher.start()
    assert time.monotonic() - began < 3.0
    assert "secret" not in str(raised.value)
    await publisher.aclose()


async def test_a_broker_that_stands_still_makes_outcomes_unknown_in_time_and_what_is_sent_next_comes_last(
    own_kafka: KafkaCluster,
) -> None:
    await own_kafka.create("t")
    publisher = await started(own_kafka, send_seconds=1.0)
    assert await publisher.send([Message("t", b"k", b"0")]) == [Delivery.SENT]
    own_kafka.signal(1, signal.SIGSTOP)
    began = time.monotonic()
    assert await publisher.send([Message("t", b"k", b"result")]) == [Delivery.UNKNOWN]
    await publisher.aclose()
    assert time.monotonic() - began < 3.0
    fresh = KafkaPublisher(own_kafka.client(), start_seconds=1.0)
    with pytest.raises(PublisherError):
        await fresh.start()
    await fresh.aclose()
    own_kafka.signal(1, signal.SIGCONT)
    fresh = await started(own_kafka, start_seconds=20.0)
    assert await fresh.send([Message("t", b"k", None)]) == [Delivery.SENT]
    await asyncio.sleep(0.5)
    await fresh.aclose()
    values = [r.value for r in await own_kafka.records("t")]
    assert values in ([b"0", None], [b"0", b"result", None])


async def test_a_broker_that_is_gone_makes_outcomes_unknown_and_a_new_publisher_works_once_it_is_back(
    own_kafka: KafkaCluster,
) -> None:
    await own_kafka.create("t")
    publisher = await started(own_kafka, send_seconds=1.0)
    await publisher.send([Message("t", b"k", b"0")])
    await asyncio.to_thread(own_kafka.stop, 1, signal.SIGKILL)
    began = time.monotonic()
    assert await publisher.send([Message("t", b"k", b"1")]) == [Delivery.UNKNOWN]
    assert await publisher.send([Message("unheard-of", b"k", b"1")]) == [Delivery.UNKNOWN]
    await publisher.aclose()
    assert time.monotonic() - began < 5.0
    await asyncio.to_thread(own_kafka.start, 1)
    fresh = await started(own_kafka)
    assert await fresh.send([Message("t", b"k", b"1")]) == [Delivery.SENT]
    await fresh.aclose()
    assert [r.value for r in await own_kafka.records("t")] == [b"0", b"1"]


async def test_a_send_that_is_cancelled_leaves_nothing_behind(kafka: Kafka, topics: Topics) -> None:
    topic = await topics.create("t")
    publisher = await started(kafka)
    before = asyncio.all_tasks()
    sending = asyncio.create_task(publisher.send([Message(topic, b"k", b"x" * 500_000)] * 20))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await publisher.aclose()
    await asyncio.sleep(0.1)
    assert asyncio.all_tasks() <= before
