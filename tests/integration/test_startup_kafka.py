"""How a pod begins beside Kafka: brokers and topics are told of, and keep nobody from being ready."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiokafka.admin import NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from adapters.kafka.topics import RESULTS
from tests.support.kafka_clients import Kafka, Topics
from tests.support.kafka_world import kafka_section
from tests.support.starting import free_port, rows, starting


@pytest.mark.slow
async def test_a_topic_that_differs_is_told_keeps_no_pod_from_being_ready_and_is_told_when_it_is_mended(
    kafka: Kafka, topics: Topics, sqlite_url: str, tmp_path: Path
) -> None:
    name = await topics.create("results", 2, {"retention.ms": "1000", "cleanup.policy": "compact"})
    settings = rows(admin=free_port(), url=sqlite_url, database={"auto_migrate": True}, jobs={"here": True})
    settings["kafka"] = kafka_section(kafka, topics.prefix, topics="create", partitions=3)
    said = f"degraded: topics: the topic '{name}' has another "
    async with starting(tmp_path / "settings.yaml", settings) as child:
        async with asyncio.timeout(40):
            while said not in (await child.get())[1]:
                await asyncio.sleep(0.1)
        status, text = await child.get()
        assert status == 200
        assert f"{said}partitions than it should have: found 2, wanted 3\n" in text
        assert f"{said}cleanup.policy than it should have: found compact, wanted compact,delete\n" in text
        assert await child.gauge("topics") == 0.0
        await asyncio.sleep(11)
        assert len([1 for event, part, _ in child.conditions() if part == "topics"]) == 1, "not with every look"
        async with kafka.admin() as admin:
            await admin.create_partitions({name: NewPartitions(3)})
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, dict(RESULTS))])
        async with asyncio.timeout(40):
            while await child.gauge("topics") != 1.0:
                await asyncio.sleep(0.2)
        await child.until(200, "ready\n")
        assert [event for event, part, _ in child.conditions() if part == "topics"][-1] == "condition_ended"


@pytest.mark.slow
async def test_brokers_that_are_away_at_the_start_keep_no_pod_from_being_ready(
    sqlite_url: str, tmp_path: Path
) -> None:
    settings = rows(admin=free_port(), url=sqlite_url, database={"auto_migrate": True}, jobs={"here": True})
    settings["kafka"] = {"bootstrap_servers": f"127.0.0.1:{free_port()}"}
    async with starting(tmp_path / "settings.yaml", settings) as child:
        async with asyncio.timeout(60):
            while (await child.get())[1].count("degraded") < 3:
                await asyncio.sleep(0.1)
        status, text = await child.get()
        assert status == 200
        advice = "; it is tried again, see kafka.bootstrap_servers and kafka.security"
        away = f"the broker was not reached yet, or is away{advice}"
        assert f"degraded: intake: {away}\n" in text
        assert f"degraded: wake_ups: {away}\n" in text
        assert "degraded: topics: Kafka: the topics could not be looked at" in text
        assert [await child.gauge(part) for part in ("intake", "wake_ups", "topics")] == [0.0, 0.0, 0.0]
        assert await child.gauge("database") == 1.0
