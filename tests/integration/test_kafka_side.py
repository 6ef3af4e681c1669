"""Kafka's side of a running service: its topics, the room its messages have, and what it shows of itself."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from adapters.kafka.topics import settle_topics
from service import kafka_side
from tests.support.background import ended
from tests.support.kafka_clients import Kafka, Topics
from tests.support.kafka_world import KafkaWorld, asked, kafka_section, kafka_world
from tests.support.responses_door import responses_door

LEAST: Final = 1000


@pytest.fixture(autouse=True)
def looks_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every half second, not every five or ten."""
    monkeypatch.setattr(kafka_side, "_LOOK_AGAIN", 0.5)
    monkeypatch.setattr(kafka_side, "_SHOW", 0.5)


async def reload(world: KafkaWorld, **sections: Any) -> None:
    world.door.up.upstreams.write_settings({**world.sections, **sections})
    watcher = world.door.up.service.watcher
    # A file that has just been written is read at the second look.
    assert not watcher.poll()
    assert watcher.poll()


async def metric(world: KafkaWorld, name: str) -> float:
    async with world.door.session.get(f"{world.door.up.admin}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    (found,) = [line for line in lines if line.startswith(f"{name} ")]
    return float(found.split()[1])


async def test_a_small_limit_of_results_harms_no_dead_letter(kafka: Kafka, topics: Topics, tmp_path: Path) -> None:
    settings = {"kafka": {"max_result_bytes": LEAST}}
    async with kafka_world(tmp_path, kafka, topics.prefix, settings) as world:
        value = b"{" + b"x" * 890_000
        letter = await world.letter(await world.submit(value, {"traceparent": "t" * 1000}))
        assert letter.value == value
        result = await world.result(await world.submit(asked(text="y" * LEAST)))
        assert result.headers["eurouter-inline"] == b"false"
        await world.settled()


async def test_results_topics_that_new_settings_bring_are_made_and_no_fault_of_that_stops_the_service(
    kafka: Kafka, topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [ZeroDivisionError("content")]

    async def failing(*args: Any) -> list[str]:
        if faults:
            raise faults.pop()
        return await settle_topics(*args)

    monkeypatch.setattr(kafka_side, "settle_topics", failing)
    mine, reply = topics.name("mine"), topics.name("reply")
    async with kafka_world(tmp_path, kafka, topics.prefix, {"kafka": {"topics": "create"}}) as world:
        await world.result(await world.submit(asked()))
        assert not faults
        await reload(world, owners=[{"name": "local", "results_topic": mine, "reply_topics": [reply]}])

        async def made() -> bool:
            async with kafka.admin() as admin:
                return {mine, reply} <= set(await admin.list_topics())

        await world.until(made, "the topics are made")
        sent = await world.submit(asked(text="to mine"))

        async def told() -> bool:
            return len(await kafka.records(mine)) == 1

        await world.until(told, "the result is there")
        world.sent.remove(sent)
        await kafka.delete(mine, reply)


async def test_what_a_topic_lacks_is_told_once_and_only_those_that_differ_are_looked_at_again(
    kafka: Kafka, topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[list[str]] = []

    async def noting(client: Any, wanted: Any, *others: Any) -> list[str]:
        asked_for.append([topic.name for topic in wanted])
        return await settle_topics(client, wanted, *others)

    monkeypatch.setattr(kafka_side, "settle_topics", noting)
    section = {"kafka": {"topics": "check"}}
    with capture_logs() as logs:
        async with kafka_world(tmp_path, kafka, topics.prefix, section) as world:
            await _looked_at(world, topics, asked_for)
    told = [line["why"] for line in logs if line["event"] == "condition_failed" and line["part"] == "topics"]
    assert len(told) == len(set(told)), told
    assert sum("there is no topic" in problem for problem in told) == 1


async def _looked_at(world: KafkaWorld, topics: Topics, asked_for: list[list[str]]) -> None:
    async def looked(times: int) -> bool:
        return len(asked_for) >= times

    await world.until(partial(looked, 1), "all are looked for")
    await reload(world, owners=[{"name": "local", "results_topic": topics.name("missing")}])
    before = len(asked_for)
    await world.until(partial(looked, before + 3), "they are looked for again")
    assert len(asked_for[0]) == 5
    # The world's topics have the broker's settings, not the contract's; what is submitted lives as long in both.
    differ = {topics.name(name) for name in ("jobs", "results", "missing", "dlq")}
    assert set(asked_for[-1]) == differ


async def are_read(world: KafkaWorld) -> set[float]:
    return {await metric(world, f"eurouter_{of}_working") for of in ("intake", "wakeup")}


async def test_that_records_are_read_is_shown(kafka: Kafka, topics: Topics, tmp_path: Path) -> None:
    async with kafka_world(tmp_path, kafka, topics.prefix) as world:

        async def shown() -> bool:
            return await are_read(world) == {1.0}

        await world.until(shown, "records are read")


async def test_that_no_records_are_read_is_shown_and_no_reason_not_to_be_ready(
    kafka: Kafka, topics: Topics, tmp_path: Path
) -> None:
    lost = {"kafka": {"bootstrap_servers": "127.0.0.1:9"}}
    async with kafka_world(tmp_path, kafka, topics.prefix, lost) as world:
        await asyncio.sleep(1.0)
        assert await are_read(world) == {0.0}
        assert await metric(world, "eurouter_outbox_shards") == 0
        async with world.door.session.get(f"{world.door.up.admin}/readyz") as answer:
            assert answer.status == 200


async def test_brokers_that_a_reload_brings_harm_no_request_until_the_next_start(
    kafka: Kafka, topics: Topics, tmp_path: Path
) -> None:
    async with responses_door(tmp_path, {}) as door:
        owners = [{"name": "local", "results_topic": topics.name("mine")}]
        sections = {"kafka": kafka_section(kafka, topics.prefix), "owners": owners}
        door.up.upstreams.write_settings(sections)
        watcher = door.up.service.watcher
        assert not watcher.poll()
        assert watcher.poll()
        made = (await door.create(asked(background=True))).json
        assert (await ended(door, made["id"], 10))["status"] == "completed"
