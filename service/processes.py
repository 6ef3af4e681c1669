"""Several serving processes on one port: the parent starts, watches and restarts them, and stops them in order.

The kernel spreads connections over the processes, not calls. Children are spawned, never forked: gRPC's
threads do not survive a fork.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Final

import structlog

from service.edge import log_events
from service.edge.admin import Health

READY: Final = "ready"
HEALTH_SECONDS: Final = 0.25
"""How often a child looks whether its health is another one, which it then sends."""
_RESTART_DELAYS: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
_STEADY: Final = 60.0
"""Seconds after which a child counts as healthy: its next end is a first one."""


@dataclass(slots=True)
class _Child:
    index: int
    process: SpawnProcess
    pipe: Connection
    started: float = field(default_factory=time.monotonic)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    health: Health = Health(("it has not told how it is yet",), (), begun=False)


class Children:
    """`count` children that run `target(pipe, index, *arguments())`; `on_end` gets the pid of each that ended.

    `arguments` is asked for each child, when it is started. A child sends READY over its pipe once it serves, and
    its Health before that and whenever that changes. It must end when the pipe closes: that is how it learns that
    its parent died.
    """

    def __init__(
        self,
        count: int,
        target: Callable[..., None],
        arguments: Callable[[], tuple[Any, ...]],
        *,
        on_end: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._count = count
        self._target = target
        self._arguments = arguments
        self._on_end = on_end
        self._children: dict[int, _Child] = {}
        self._stopping = False
        self._was_ready = False
        self._log = structlog.get_logger().bind()

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the children that run now."""
        return tuple(c.process.pid for c in self._children.values() if c.process.pid and not c.ended.is_set())

    def health(self) -> Health:
        """What all say together."""
        if self._stopping:
            return Health(("draining",), (), begun=self._was_ready)
        serving = [c.health for c in self._children.values() if c.ready.is_set() and not c.ended.is_set()]
        found = together(serving, self._count, was_ready=self._was_ready)
        self._was_ready = self._was_ready or not found.not_ready
        return found

    async def start(self, seconds: float = 60.0) -> None:
        """Starts all children and waits until each serves.

        Raises:
            RuntimeError: one ended or did not become ready; its own output says why. All are stopped then.
        """
        for index in range(self._count):
            self._spawn(index)
        for child in list(self._children.values()):
            first = [asyncio.ensure_future(child.ready.wait()), asyncio.ensure_future(child.ended.wait())]
            await asyncio.wait(first, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for waiter in first:
                waiter.cancel()
            if not child.ready.is_set():
                await self.stop(1.0)
                raise RuntimeError(f"process {child.index} did not start: see its output above")

    async def watch(self) -> None:
        """Restarts children that end, with growing delays. Runs until cancelled."""
        failures = dict.fromkeys(range(self._count), 0)
        while True:
            waits = [asyncio.ensure_future(c.ended.wait()) for c in self._children.values()]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for waiter in waits:
                    waiter.cancel()
            for child in [c for c in self._children.values() if c.ended.is_set()]:
                if time.monotonic() - child.started > _STEADY:
                    failures[child.index] = 0
                delay = _RESTART_DELAYS[min(failures[child.index], len(_RESTART_DELAYS) - 1)]
                failures[child.index] += 1
                self._log.error(
                    log_events.PROCESS_ENDED, index=child.index, exit_code=child.process.exitcode, restart_in=delay
                )
                await asyncio.sleep(delay)
                self._spawn(child.index)

    async def stop(self, seconds: float) -> None:
        """Sends SIGTERM to all and waits until they end, then kills what is left after `seconds`."""
        self._stopping = True
        for child in self._children.values():
            if not child.ended.is_set():
                child.process.terminate()
        waits = [asyncio.ensure_future(c.ended.wait()) for c in self._children.values()]
        if waits:
            _, late = await asyncio.wait(waits, timeout=seconds)
            for waiter in late:
                waiter.cancel()
        for child in self._children.values():
            if not child.ended.is_set():
                child.process.kill()
                await child.ended.wait()

    def _spawn(self, index: int) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=self._target, args=(theirs, index, *self._arguments()), name=f"eurouter-{index}"
        )
        process.start()
        theirs.close()
        child = _Child(index, process, ours)
        self._children[index] = child
        loop = asyncio.get_running_loop()
        loop.add_reader(ours.fileno(), self._heard, child)
        loop.add_reader(process.sentinel, self._ended, child)

    def _heard(self, child: _Child) -> None:
        try:
            heard = child.pipe.recv()
            if isinstance(heard, Health):
                child.health = heard
            elif heard == READY:
                child.ready.set()
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(child.pipe.fileno())

    def _ended(self, child: _Child) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(child.process.sentinel)
        loop.remove_reader(child.pipe.fileno())
        child.process.join()
        child.pipe.close()
        if child.process.pid is not None:
            self._on_end(child.process.pid)
        child.ended.set()


def together(serving: Sequence[Health], count: int, *, was_ready: bool) -> Health:
    """What processes say that are to be `count`.

    `was_ready`: all were at once before. What keeps a later one from being ready is no reason for all then.
    """
    first = _once(line for health in serving for line in health.not_ready)
    degraded = _once(line for health in serving for line in health.degraded)
    if len(serving) < count:
        return Health((f"{len(serving)} of {count} processes serve", *first), degraded, begun=was_ready)
    if was_ready:
        return Health((), _once((*first, *degraded)), begun=True)
    return Health(first, degraded, begun=all(health.begun for health in serving))


async def tell_health(pipe: Connection, health: Callable[[], Health]) -> None:
    """In a child: sends its health when it changed, until cancelled or the parent is gone."""
    told: Health | None = None
    while True:
        now = health()
        if now != told:
            told = now
            try:
                pipe.send(now)
            except OSError:
                return
        await asyncio.sleep(HEALTH_SECONDS)


def _once(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(lines))
