"""Named tasks that run beside a process's main work; one that ends before it was told to stops the process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import structlog

from service.edge import crash, log_events

Tasks: TypeAlias = Mapping[str, Callable[[], Awaitable[None]]]
"""By name, what runs from start to end."""


class SideTasks:
    """`start` them, then `wait`; `stopping` before the stop, `cancel` at its end."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._log = structlog.get_logger().bind()
        self.failed = False

    def start(self, tasks: Tasks) -> None:
        """Starts them all."""
        for name, run in tasks.items():
            task = asyncio.ensure_future(run())
            task.set_name(name)
            task.add_done_callback(self._ended)
            self._tasks.append(task)

    async def wait(self) -> None:
        """Returns when one failed, or after `stopping`."""
        await self._stopping.wait()

    def stopping(self) -> None:
        """From here on they may end: they were told to."""
        self._stopping.set()

    async def cancel(self) -> None:
        """Ends those that run."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is None and (task.cancelled() or self._stopping.is_set()):
            return
        self.failed = True
        described = crash.describe(error) if error else {}
        self._log.error(log_events.SIDE_TASK_ENDED, task=task.get_name(), **described)
        self._stopping.set()


async def every(seconds: float, act: Callable[[], object]) -> None:
    """Runs `act` every so many seconds until cancelled; its own failures stop the process."""
    while True:
        await asyncio.sleep(seconds)
        act()


async def measure_load(observe: Callable[[float, float], None], interval: float = 0.02) -> None:
    """Tells `observe` again and again how late the event loop wakes a timer, in seconds, and the share of a
    core that the process used since. Runs until cancelled.

    By a clock of its own: uvloop's has milliseconds, which is about the lag that matters.
    """
    began, used = time.perf_counter(), time.process_time()
    while True:
        await asyncio.sleep(interval)
        now, cpu = time.perf_counter(), time.process_time()
        passed = now - began
        observe(max(0.0, passed - interval), (cpu - used) / passed)
        began, used = now, cpu
