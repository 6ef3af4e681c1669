"""Side tasks: one that ends by itself stops the process, and a fault is told, even of one that was told to end."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from service.side_tasks import SideTasks


async def ends() -> None:
    return


async def breaks() -> None:
    raise RuntimeError("words of a prompt")


async def test_a_task_that_ends_by_itself_stops_the_process() -> None:
    tasks = SideTasks()
    tasks.start({"ends": ends})
    await asyncio.wait_for(tasks.wait(), 2)
    assert tasks.failed


async def test_a_task_that_ends_when_it_was_told_to_is_no_fault() -> None:
    tasks = SideTasks()
    tasks.stopping()
    with capture_logs() as logs:
        tasks.start({"ends": ends})
        await asyncio.sleep(0)
        await tasks.cancel()
    assert not tasks.failed
    assert logs == []


async def test_a_fault_while_the_process_stops_is_told_and_makes_it_fail() -> None:
    tasks = SideTasks()
    tasks.stopping()
    with capture_logs() as logs:
        tasks.start({"breaks": breaks})
        await asyncio.sleep(0)
        await tasks.cancel()
    assert tasks.failed
    (line,) = logs
    assert (line["event"], line["task"], line["error_type"]) == ("side_task_ended", "breaks", "RuntimeError")
    assert "words of a prompt" not in str(line)
