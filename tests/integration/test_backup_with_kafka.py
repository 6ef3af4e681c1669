"""Going back to a dump while Kafka has gone on: intake is set back, as docs/kubernetes/backup.md says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition

from adapters.providers.simulator import Script
from tests.support import backups
from tests.support.background import ended
from tests.support.kafka_clients import Kafka, Topics
from tests.support.kafka_world import PARTITIONS, KafkaWorld, Sent, asked, kafka_world
from tests.support.postgres import Postgres
from tests.support.responses_door import responses_door
from tests.support.worker_child import worker_child

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


async def set_back(world: KafkaWorld, moment: datetime) -> None:
    """As kafka-consumer-groups.sh does with --to-datetime: the broker for tests comes without that program."""
    partitions = [TopicPartition(world.name("requests"), number) for number in range(PARTITIONS)]
    consumer = world.kafka.consumer(group=world.name("intake"))
    await consumer.start()
    try:
        consumer.assign(partitions)
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, int(moment.timestamp() * 1000)))
        await consumer.commit({one: at.offset for one, at in found.items() if at is not None})
    finally:
        await consumer.stop()


async def submitted(world: KafkaWorld, *texts: str) -> dict[str, Sent]:
    """Records with the text as their idempotency key, and each has its result."""
    sent = {text: await world.submit(asked(text=text), {"idempotency-key": text}) for text in texts}
    for record in sent.values():
        await world.result(record)
    return sent


async def test_after_going_back_to_a_dump_and_setting_intake_back_every_record_is_one_response_under_its_old_id(
    kafka: Kafka, topics: Topics, postgres_server: Postgres, postgres_url: str, tmp_path: Path
) -> None:
    before_all = datetime.now(UTC) - timedelta(minutes=1)
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    settings: dict[str, Any] = {"jobs": {"here": False, "admin_port": 0, "lease_seconds": 3}}
    first = {**settings, "database": {"url": postgres_url}}
    async with kafka_world(folders[0], kafka, topics.prefix, first) as world:
        async with worker_child(world.settings_file):
            sent = await submitted(world, "kept-1", "kept-2")
            await backups.dump(postgres_url, tmp_path / "backup")
            sent |= await submitted(world, "lost-1", "lost-2", "lost-3")
            ids = {text: (await world.result(record)).id for text, record in sent.items()}
        assert await world.lag() == 0
        restored = postgres_server.database()
        await backups.restore(restored, tmp_path / "backup")
        await set_back(world, before_all)
        assert await world.lag() == len(sent)

        second = {**world.sections, "jobs": {"here": True, "lease_seconds": 3}, "database": {"url": restored}}
        async with responses_door(folders[1], second) as door:
            door.up.alpha.script(Script(text="made again"))

            async def all_read() -> bool:
                return await world.lag() == 0

            await world.until(all_read, "intake has read every record again", 60)
            said = {text: await ended(door, response) for text, response in ids.items()}
            asked_again = len(door.up.alpha.calls)
        postgres_server.drop(restored)
    texts = {text: response["output"][0]["content"][0]["text"] for text, response in said.items()}
    assert texts == {text: text if text.startswith("kept") else "made again" for text in sent}
    assert asked_again == 3, "what was there is made no second time"
