"""Named tasks that run beside a process's main work; one that ends before it was told to stops the process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeAlias

import structlog

from service.domain import crash
from service.edge import log_events

READY_SECONDS: Final = 1.0
"""How often a process shows whether it is ready."""

CANCEL_SECONDS: Final = 5.0
"""For how long tasks that were cancelled are waited for."""

_CLOSE_SECONDS: Final = 12.0
"""More than what is closed takes by its own limits."""

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

    async def cancel(self, seconds: float = CANCEL_SECONDS) -> None:
        """Ends those that run; one that does not end in so many seconds is told of and left.

        A cancellation that meets the end of a library's own time limit can get lost in it: so they are repeated.
        """
        until = time.monotonic() + seconds
        left = set(self._tasks)
        while left and time.monotonic() < until:
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=seconds / 10)
        for task in left:
            self._log.error(log_events.SIDE_TASK_STAYS, task=task.get_name())

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is None and (task.cancelled() or self._stopping.is_set()):
            return
        self.failed = True
        described = crash.describe(error) if error else {}
        self._log.error(log_events.SIDE_TASK_ENDED, task=task.get_name(), **described)
        self._stopping.set()


async def close_all(closers: Iterable[Callable[[], Awaitable[None]]], seconds: float = _CLOSE_SECONDS) -> None:
    """Runs them one after the other; one that takes longer than so many seconds holds nobody up."""
    for close in closers:
        closing = asyncio.ensure_future(close())
        done, _ = await asyncio.wait((closing,), timeout=seconds)
        if done:
            closing.result()
        else:
            closing.cancel()


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
