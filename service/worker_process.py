"""The life of one worker process: a worker, its probes and metrics, and the drain in stages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from service.edge import log_events
from service.edge.http_server import HttpServer
from service.process import HAND_BACK_SECONDS
from service.side_tasks import SideTasks, Tasks, close_all
from workers.worker import Worker


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker process runs. `finish` gives the seconds for which its jobs may run on at a stop.

    `leave` ends the worker and what is beside it; `tasks` run all of that.
    """

    worker: Worker
    leave: Callable[[], Awaitable[None]]
    admin: HttpServer
    tasks: Tasks
    closers: Sequence[Callable[[], Awaitable[None]]]
    finish: Callable[[], float]


class WorkerProcess:
    """Runs `parts`: `start`, then `wait`, then `stop`."""

    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts
        self._tasks = SideTasks()
        self._log = structlog.get_logger().bind()

    @property
    def failed(self) -> bool:
        """Whether a side task failed, the worker's own among them."""
        return self._tasks.failed

    @property
    def admin_port(self) -> int:
        """Where probes and metrics are, once started."""
        return self._parts.admin.port

    async def start(self) -> None:
        """Starts to work.

        Raises:
            OSError: the admin port is taken.
        """
        await self._parts.admin.start()
        self._tasks.start(self._parts.tasks)
        self._log.info(log_events.WORKER_STARTED, admin_port=self.admin_port)

    async def wait(self) -> None:
        """Returns when a side task failed."""
        await self._tasks.wait()

    async def stop(self) -> None:
        """Claims nothing more, lets the jobs under way end or hands them back, closes."""
        parts = self._parts
        self._tasks.stopping()
        self._log.info(log_events.DRAIN_STARTED, jobs=parts.worker.jobs)
        try:
            async with asyncio.timeout(parts.finish() + HAND_BACK_SECONDS):
                await parts.leave()
        except TimeoutError:
            self._log.warning(log_events.DRAIN_TIMED_OUT, jobs=parts.worker.jobs)
        await self._tasks.cancel()
        await parts.admin.stop()
        await close_all(parts.closers)
        self._log.info(log_events.WORKER_STOPPED)
