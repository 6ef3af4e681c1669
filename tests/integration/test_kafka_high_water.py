"""Above the mark of runnable jobs intake leaves records where they are, on a real Kafka; below it, it goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from adapters.providers.simulator import Script
from tests.support.kafka_clients import Kafka, Topics
from tests.support.kafka_world import KafkaWorld, asked, kafka_world
from tests.support.running import until
from tests.support.worker_child import worker_child

pytestmark = pytest.mark.slow

MARK: Final = 5
AT_ONCE: Final = 2
SETTINGS: Final = {
    "jobs": {"concurrency": AT_ONCE, "admin_port": 0, "lease_seconds": 3},
    "kafka": {"high_water": MARK},
    "upstream": {"first_byte_seconds": 60},
}


async def accepted(world: KafkaWorld) -> int:
    counts = (await world.door.call("GET", "/v1/jobs?counts=true&page_size=1")).json["counts"]
    return sum(int(one["count"]) for one in counts)


async def until_paused(world: KafkaWorld) -> None:
    async def paused() -> bool:
        async with world.door.session.get(f"{world.door.up.admin}/metrics") as answer:
            return "eurouter_intake_paused 1.0" in await answer.text()

    await world.until(paused, "intake pauses")


async def filled(world: KafkaWorld) -> int:
    """Jobs above the mark, as many as run among them; how many there are. What they ask of is not answered."""
    world.door.up.alpha.script(Script(text="late", first_byte_delay=60))
    for number in range(MARK + AT_ONCE + 3):
        await world.submit(asked(text=f"first {number}"))
    await until(lambda: len(world.door.up.alpha.calls) == AT_ONCE, "as many run as may")
    await until_paused(world)
    return len(world.sent)


async def test_intake_pauses_above_the_mark_and_goes_on_below_it(
    kafka: Kafka, topics: Topics, tmp_path: Path
) -> None:
    async with kafka_world(tmp_path, kafka, topics.prefix, SETTINGS) as world:
        first = await filled(world)
        for number in range(20):
            await world.submit(asked(text=f"second {number}"))
        await asyncio.sleep(1.5)
        assert await accepted(world) == first
        # They stay in Kafka, for whoever reads them later.
        assert await world.lag() == 20
        await go_on(world)
        await world.settled()
        assert await accepted(world) == first + 20


async def test_a_pause_outlives_a_rebalance(kafka: Kafka, topics: Topics, tmp_path: Path) -> None:
    async with kafka_world(tmp_path, kafka, topics.prefix, SETTINGS) as world:
        first = await filled(world)
        # Its two places are taken by the first two that wait, and above the mark there are still enough.
        async with worker_child(world.settings_file) as worker:
            await until(lambda: len(world.door.up.alpha.calls) == 2 * AT_ONCE, "the other worker works")
            for number in range(20):
                await world.submit(asked(text=f"second {number}"))

            async def shared() -> bool:
                return await world.members() == 2

            await world.until(shared, "the other worker takes part in intake")
            await asyncio.sleep(1.5)
            assert await accepted(world) == first
            assert await world.lag() == 20
            await go_on(world)
            await world.settled()
    assert worker.process.returncode == 0


async def go_on(world: KafkaWorld) -> None:
    """The provider answers again; what waits for it to do so is cancelled."""
    world.door.up.alpha.script(Script(echo=True))
    answer = await world.door.call("POST", "/v1/jobs/cancel", json={"states": ["in_progress"]})
    assert answer.json["cancelled_count"] >= AT_ONCE
