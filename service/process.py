"""The life of one serving process: listeners, named side tasks, and the drain in stages.

Knows no concrete adapter and no settings: bootstrap hands everything in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from service.edge import crash, log_events
from service.edge.admission import Admission
from service.edge.grpc_server import GrpcServer
from service.edge.http_server import HttpServer

_LAST_WORDS: Final = 0.5
"""Seconds in which a call that was ended may tell its client so, and its last bytes may leave."""


@dataclass(frozen=True, slots=True)
class DrainTimes:
    """Seconds: `pause` between saying NOT_SERVING and refusing calls, `finish` for the calls under way."""

    pause: float = 3.0
    finish: float = 30.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process runs. `admin` is None in a child of several: the parent has the port then.

    `tasks` run from start to end; one that fails stops the process. `leave` is told first of a stop, `closers`
    run last, in order.
    """

    grpc: GrpcServer
    http: HttpServer
    admin: HttpServer | None
    admission: Admission
    tasks: Mapping[str, Callable[[], Awaitable[None]]]
    closers: Sequence[Callable[[], Awaitable[None]]]
    drain: Callable[[], DrainTimes]
    leave: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that are listened on; `admin` is 0 where there is none."""

    grpc: int
    http: int
    admin: int


class Process:
    """Runs `parts`: `start`, then `wait`, then `stop`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._log = structlog.get_logger().bind()
        self.ready = False
        self.failed = False

    async def start(self) -> None:
        """Starts the listeners and the side tasks.

        Raises:
            OSError: a port is taken or an address can't be bound; what had started is stopped.
        """
        parts = self._parts
        try:
            await parts.grpc.start()
            await parts.http.start()
            if parts.admin is not None:
                await parts.admin.start()
        except OSError:
            await self._close()
            raise
        for name, run in parts.tasks.items():
            task = asyncio.ensure_future(run())
            task.set_name(name)
            task.add_done_callback(self._task_ended)
            self._tasks.append(task)
        self.ready = True
        self._log.info(log_events.SERVER_STARTED, grpc_port=parts.grpc.port, http_port=parts.http.port)

    @property
    def ports(self) -> Ports:
        """Where it listens, once started."""
        admin = self._parts.admin
        return Ports(self._parts.grpc.port, self._parts.http.port, admin.port if admin else 0)

    async def wait(self) -> None:
        """Returns when a side task failed."""
        await self._stopping.wait()

    async def stop(self) -> None:
        """Drains: says NOT_SERVING and pauses, refuses new calls, gives the running ones time, closes."""
        parts = self._parts
        times = parts.drain()
        self.ready = False
        # From here on a side task may end: it was told to.
        self._stopping.set()
        parts.leave()
        self._log.info(log_events.DRAIN_STARTED, in_flight=parts.admission.in_flight, pause=times.pause)
        await parts.grpc.stop_serving()
        await asyncio.sleep(times.pause)
        parts.admission.close()
        await parts.http.stop_listening()
        grpc_stop = asyncio.ensure_future(parts.grpc.stop(times.finish + _LAST_WORDS))
        if not await parts.admission.drained(times.finish):
            self._log.warning(log_events.DRAIN_TIMED_OUT, in_flight=parts.admission.in_flight)
            parts.admission.end_rest()
            await parts.admission.drained(_LAST_WORDS)
        # What holds gRPC open now are clients that watch health: they never end by themselves.
        await parts.grpc.stop(_LAST_WORDS)
        await grpc_stop
        await self._close()
        self._log.info(log_events.SERVER_STOPPED)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self._stopping.is_set():
            return
        error = task.exception()
        self.failed = True
        described = crash.describe(error) if error else {}
        self._log.error(log_events.SIDE_TASK_ENDED, task=task.get_name(), **described)
        self._stopping.set()

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._parts.grpc.stop(0)
        await self._parts.http.stop()
        if self._parts.admin is not None:
            await self._parts.admin.stop()
        for close in self._parts.closers:
            await close()


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


async def every(seconds: float, act: Callable[[], object]) -> None:
    """Runs `act` every so many seconds until cancelled; its own failures stop the process."""
    while True:
        await asyncio.sleep(seconds)
        act()
