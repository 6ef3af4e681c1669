"""Worker processes that share intake on a real Kafka: they join, drain, die; every record has one result."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from adapters.providers.simulator import Script
from tests.support.kafka_clients import Kafka, Topics
from tests.support.kafka_world import KafkaWorld, asked, kafka_world
from tests.support.worker_child import WorkerChild, worker_child

pytestmark = pytest.mark.slow

EXPECTED_END: Final = 20.0


def settings(url: str, **more: Any) -> dict[str, Any]:
    """The service accepts and reads; workers do all else."""
    jobs = {"here": False, "admin_port": 0, "lease_seconds": 3, **more.pop("jobs", {})}
    return {"database": {"url": url}, "jobs": jobs, "drain": {"finish_seconds": 5}, **more}


@asynccontextmanager
async def records_flow(world: KafkaWorld, every: float = 0.04) -> AsyncIterator[None]:
    """Records keep coming as long as the context lasts; in the end each has come to one thing."""
    stopped = asyncio.Event()

    async def flow() -> None:
        while not stopped.is_set():
            await world.submit(asked(text=f"number {len(world.sent)}"), key=b"%d" % len(world.sent))
            await asyncio.sleep(every)

    flowing = asyncio.create_task(flow())
    try:
        yield
    finally:
        stopped.set()
        await flowing
    await world.settled(45)
    assert world.reader.of(world.name("dlq")) == []


async def taken_in(worker: WorkerChild) -> int:
    """Records that this worker has read."""
    _, metrics = await worker.get("/metrics")
    found = re.search(r"^eurouter_intake_records_total (\S+)$", metrics, re.MULTILINE)
    return int(float(found[1])) if found else 0


async def until_taking_in(world: KafkaWorld, *workers: WorkerChild) -> None:
    """Returns when each of them has read ten more records."""
    before = {worker.log: await taken_in(worker) for worker in workers}

    async def more() -> bool:
        return all([await taken_in(worker) >= before[worker.log] + 10 for worker in workers])

    await world.until(more, "every worker takes records", 30)


async def test_a_worker_joins_and_one_drains_while_records_flow(
    kafka: Kafka, topics: Topics, postgres_url: str, tmp_path: Path
) -> None:
    async with kafka_world(tmp_path, kafka, topics.prefix, settings(postgres_url)) as world:
        file = world.settings_file
        async with worker_child(file, "first") as first, worker_child(file, "second") as second:
            async with records_flow(world):
                await until_taking_in(world, first, second)
                first.process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(first.process.wait(), EXPECTED_END) == 0
                async with worker_child(file, "third") as third:
                    await until_taking_in(world, second, third)
            assert third.process.returncode == 0
        assert second.process.returncode == 0


async def test_of_three_workers_one_is_killed_and_the_others_end_what_it_had(
    kafka: Kafka, topics: Topics, postgres_url: str, tmp_path: Path
) -> None:
    async with kafka_world(tmp_path, kafka, topics.prefix, settings(postgres_url)) as world:
        file = world.settings_file
        world.door.up.alpha.script(Script(echo=True, first_byte_delay=0.1))
        async with (
            worker_child(file, "first") as first,
            worker_child(file, "second") as second,
            worker_child(file, "third") as third,
        ):
            async with records_flow(world):
                await until_taking_in(world, first, second, third)
                first.process.kill()
                await first.process.wait()
                await until_taking_in(world, second, third)

            async def committed() -> bool:
                return await world.lag() == 0

            await world.until(committed, "all is committed")


async def test_a_worker_that_drains_amid_intake_loses_no_record_and_takes_none_twice(
    kafka: Kafka, topics: Topics, database_url: str, tmp_path: Path
) -> None:
    count = 1000
    # Nothing of it runs: intake alone is looked at.
    later = {"eurouter-run-at": datetime.fromtimestamp(time.time() + 3600, UTC).isoformat()}
    async with kafka_world(tmp_path, kafka, topics.prefix, settings(database_url)) as world:
        await asyncio.gather(*(world.submit(asked(text=f"number {n}"), later) for n in range(count)))

        async def accepted() -> int:
            counts = (await world.door.call("GET", "/v1/jobs?counts=true&page_size=1")).json["counts"]
            return sum(int(one["count"]) for one in counts)

        async def some() -> bool:
            return await accepted() > 0

        async def all_of_them() -> bool:
            return await accepted() >= count

        async with worker_child(world.settings_file, "first") as first:
            await world.until(some, "intake begins")
            first.process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(first.process.wait(), EXPECTED_END) == 0
        before = await accepted()
        # What it stored it had committed before it left.
        assert await world.lag() == count - before
        async with worker_child(world.settings_file, "second"):
            await world.until(all_of_them, "all records are jobs", 40)

            async def committed() -> bool:
                return await world.lag() == 0

            await world.until(committed, "all is committed")
        assert await accepted() == count
        assert world.reader.of(world.name("dlq")) == []
