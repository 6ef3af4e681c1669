"""The life of one serving process: listeners, side tasks, and the drain in stages.

Knows no concrete adapter and no settings: bootstrap hands everything in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from service.edge import log_events
from service.edge.admission import Admission
from service.edge.grpc_server import GrpcServer
from service.edge.http_server import HttpServer
from service.side_tasks import SideTasks, Tasks, close_all

HAND_BACK_SECONDS: Final = 5.0
"""In which a worker whose time to finish is over may hand its jobs back."""

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

    `tasks` run from start to end; one that fails stops the process. `leave` is begun first at a stop and has as
    long as calls have; `closers` run last, in order.
    """

    grpc: GrpcServer
    http: HttpServer
    admin: HttpServer | None
    admission: Admission
    tasks: Tasks
    closers: Sequence[Callable[[], Awaitable[None]]]
    drain: Callable[[], DrainTimes]
    leave: Callable[[], Awaitable[None]] | None = None


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
        self._tasks = SideTasks()
        self._log = structlog.get_logger().bind()
        self.ready = False

    @property
    def failed(self) -> bool:
        """Whether a side task failed."""
        return self._tasks.failed

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
        self._tasks.start(parts.tasks)
        self.ready = True
        self._log.info(log_events.SERVER_STARTED, grpc_port=parts.grpc.port, http_port=parts.http.port)

    @property
    def ports(self) -> Ports:
        """Where it listens, once started."""
        admin = self._parts.admin
        return Ports(self._parts.grpc.port, self._parts.http.port, admin.port if admin else 0)

    async def wait(self) -> None:
        """Returns when a side task failed."""
        await self._tasks.wait()

    async def stop(self) -> None:
        """Drains: says NOT_SERVING and pauses, refuses new calls, gives the running ones time, closes."""
        parts = self._parts
        times = parts.drain()
        self.ready = False
        self._tasks.stopping()
        leaving = asyncio.ensure_future(parts.leave()) if parts.leave is not None else None
        self._log.info(log_events.DRAIN_STARTED, in_flight=parts.admission.in_flight, pause=times.pause)
        await parts.grpc.stop_serving()
        await asyncio.sleep(times.pause)
        finished = asyncio.get_running_loop().time() + times.finish
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
        if leaving is not None:
            left = max(0.0, finished - asyncio.get_running_loop().time())
            await asyncio.wait((leaving,), timeout=left + HAND_BACK_SECONDS)
            leaving.cancel()
        await self._close()
        self._log.info(log_events.SERVER_STOPPED)

    async def _close(self) -> None:
        await self._tasks.cancel()
        await self._parts.grpc.stop(0)
        await self._parts.http.stop()
        if self._parts.admin is not None:
            await self._parts.admin.stop()
        await close_all(self._parts.closers)
