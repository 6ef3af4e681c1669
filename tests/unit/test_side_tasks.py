"""Side tasks: one that ends by itself stops the process, and a fault is told, even of one that was told to end."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from structlog.testing import capture_logs

from service.side_tasks import SideTasks, close_all


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


async def loses() -> None:
    """Loses its first cancellation, as where a library's own time limit ends at that moment."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    await asyncio.sleep(60)


async def test_a_task_that_loses_a_cancellation_is_cancelled_again() -> None:
    tasks = SideTasks()
    tasks.start({"loses": loses})
    await asyncio.sleep(0)
    tasks.stopping()
    with capture_logs() as logs:
        await asyncio.wait_for(tasks.cancel(0.1), 2)
    assert logs == []


async def test_a_task_that_can_not_be_ended_is_told_of_and_holds_nobody_up() -> None:
    free = asyncio.Event()

    async def stays() -> None:
        while not free.is_set():
            with suppress(asyncio.CancelledError):
                await free.wait()

    tasks = SideTasks()
    tasks.start({"stays": stays})
    await asyncio.sleep(0)
    tasks.stopping()
    with capture_logs() as logs:
        await asyncio.wait_for(tasks.cancel(0.02), 2)
    assert [(line["event"], line["task"]) for line in logs] == [("side_task_stays", "stays")]
    free.set()
    await asyncio.sleep(0.01)


async def test_what_does_not_close_in_time_keeps_nothing_else_from_closing() -> None:
    closed = []

    async def hangs() -> None:
        await asyncio.sleep(60)

    async def closes() -> None:
        closed.append(1)

    await asyncio.wait_for(close_all((hangs, closes), 0.02), 2)
    assert closed
