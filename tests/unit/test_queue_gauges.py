"""The gauges of jobs that wait and run follow the database, and claim nothing while it can't be asked."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import isnan
from pathlib import Path

from prometheus_client import CollectorRegistry

from adapters.queue_gauges import QueueGauges
from service.domain.job_store import NewJob, Priority
from service.domain.stored import NewResponse
from tests.support.fake_jobs import FakeJobs
from tests.support.parts import ROOT


def job(number: int, priority: Priority, delay: float = 0.0) -> NewJob:
    response = NewResponse(f"resp_{number}", "a", None, "queued", b"", b"", 60.0)
    return NewJob(response, "responses", b"", [b"created"], priority=priority, delay=delay)


@asynccontextmanager
async def watched(store: FakeJobs) -> AsyncIterator[Callable[[str, str], float]]:
    """The gauges' values by name and priority, looked for every few milliseconds."""
    registry = CollectorRegistry()
    task = asyncio.create_task(QueueGauges(registry, store, period=0.005).run())

    def value(name: str, priority: str) -> float:
        found = registry.get_sample_value(f"eurouter_jobs_{name}", {"priority": priority})
        assert found is not None
        return found

    try:
        await asyncio.sleep(0.03)
        yield value
    finally:
        task.cancel()


async def test_gauges_show_what_waits_and_runs_by_priority() -> None:
    clock = [100.0]
    store = FakeJobs(lambda: clock[0])
    await store.accept(job(1, Priority.HIGH))
    await store.claim("w", 1, 30.0, 10)
    await store.accept(job(2, Priority.BULK))
    await store.accept(job(3, Priority.BULK, delay=60.0))
    clock[0] += 7.0
    async with watched(store) as value:
        assert value("in_progress", "high") == 1
        assert (value("runnable", "bulk"), value("waiting", "bulk"), value("oldest_runnable_seconds", "bulk")) == (
            1,
            1,
            7,
        )
        assert [value(name, "normal") for name in ("runnable", "waiting", "in_progress")] == [0, 0, 0]
        assert value("oldest_runnable_seconds", "normal") == 0


async def test_gauges_say_nothing_while_the_database_is_away_and_come_back() -> None:
    store = FakeJobs()
    await store.accept(job(1, Priority.HIGH))
    async with watched(store) as value:
        assert value("runnable", "high") == 1
        store.down = True
        await asyncio.sleep(0.03)
        for name in ("runnable", "waiting", "in_progress", "oldest_runnable_seconds"):
            assert isnan(value(name, "high")), name
        store.down = False
        await asyncio.sleep(0.03)
        assert value("runnable", "high") == 1


SHOW = """
import asyncio, sys
from adapters.queue_gauges import QueueGauges
from adapters.telemetry import render_all
from service.domain.job_queries import PriorityStats
from service.domain.job_store import Priority

class Store:
    async def queue_stats(self, owner):
        return {priority: PriorityStats(runnable=int(sys.argv[1])) for priority in Priority}

async def main():
    task = asyncio.create_task(QueueGauges(None, Store()).run())
    await asyncio.sleep(0.05)
    task.cancel()

asyncio.run(main())
print(render_all(sys.argv[2]).decode())
"""


def test_of_several_processes_the_one_that_looked_last_is_shown(tmp_path: Path) -> None:
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    shown = ""
    for count in ("5", "3"):
        command = [sys.executable, "-c", SHOW, count, str(tmp_path)]
        shown = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    assert 'eurouter_jobs_runnable{priority="normal"} 3.0' in shown
