"""The producer of the runs on a real broker that is stopped and killed meanwhile: the topic holds what it sent."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.chaos.brokers import Brokers, running_brokers
from tests.chaos.history import History, Submission
from tests.chaos.kafka_door import KafkaDoor, Stored
from tests.chaos.kafka_history import KafkaHistory
from tests.chaos.kafka_readers import TOPICS, ends, read_topics
from tests.chaos.kafka_schedule import plan_with_kafka
from tests.chaos.record_requests import JOB, record_of
from tests.chaos.schedule import Fault, What
from tests.kafka import prepare
from tests.support import parts

pytestmark = pytest.mark.slow


@asynccontextmanager
async def brokers_with_topics() -> AsyncIterator[Brokers]:
    """One broker and the topics of a run."""
    parts.require("a private Kafka", prepare.named() is None and prepare.can_start(), prepare.how())
    async with running_brokers(1) as brokers:
        for topic in TOPICS:
            await brokers.kafka.create(topic, 2)
        await brokers.until_there()
        yield brokers


async def test_whatever_befalls_the_broker_all_that_was_given_stands_in_the_topics_once() -> None:
    async with brokers_with_topics() as brokers:
        await brokers.begin()
        door = KafkaDoor(brokers.kafka)
        records = plan_with_kafka(1, 100).records
        history = History(kafka=KafkaHistory())
        history.submissions = [Submission(one.request.name, one.request.prompt) for one in records if not one.flaw]
        sends: list[asyncio.Task[Stored | None]] = []
        for fault in (What.STOP, What.KILL, What.RESTART):
            befalling = asyncio.create_task(brokers.befall(Fault(0.0, "broker-1", fault, 1.0)))
            for asked in records[len(sends) : len(sends) + len(records) // 3 + 1]:
                sends.append(asyncio.create_task(door.send(record_of(asked, time.time()))))
                await asyncio.sleep(0.02)
            await befalling
        stored = await asyncio.gather(*sends)
        await door.aclose()
        await read_topics(brokers.kafka, brokers.since, history)
        assert history.kafka is not None
        found = Counter(sent.name for sent in history.kafka.sent)
        assert found == Counter(one.request.name for one in records)
        assert None not in stored
        assert door.unknown == 0
        told = {(one.topic, one.partition, one.offset, one.timestamp) for one in stored if one is not None}
        assert told == {(*sent.place, sent.timestamp) for sent in history.kafka.sent}
        ids = {job for submission in history.submissions for job in submission.ids}
        assert ids == {sent.job for sent in history.kafka.sent if sent.expected == JOB}
        assert (brokers.stops, brokers.restarts) == (1, 2)


async def test_who_waits_no_longer_does_not_know_and_the_record_is_stored_all_the_same() -> None:
    async with brokers_with_topics() as brokers:
        door = KafkaDoor(brokers.kafka)
        first, second = (record_of(one, time.time()) for one in plan_with_kafka(2, 60).records[:2])
        assert await door.send(first) is not None
        brokers.since = await ends(brokers.kafka)
        brokers.kafka.signal(1, signal.SIGSTOP)
        assert await door.send(second, patience=0.2) is None
        brokers.kafka.signal(1, signal.SIGCONT)
        await door.aclose()
        history = History(kafka=KafkaHistory())
        await read_topics(brokers.kafka, brokers.since, history)
        assert history.kafka is not None
        assert [sent.headers for sent in history.kafka.sent] == [
            [(name, value.decode("latin-1")) for name, value in second.headers]
        ]
        assert door.unknown == 1
