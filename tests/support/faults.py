"""Workers that die, or stand still, at a chosen call of their store.

A death is SIGKILL's: from that moment on nothing of the worker reaches the store, its tasks go and no clean-up
writes. Time is moved, not waited for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Final, Literal, cast
from uuid import uuid4

from service.domain.catalog import Endpoint
from service.domain.events import Event
from service.domain.job_store import JobStore
from service.domain.jobs import TERMINAL, JobState
from service.domain.stored import ResponseStore
from service.router import Router, RouterSettings
from tests.support.job_logs import OWNER
from tests.support.upstreams import FakeUpstream, Pause, RecordingTelemetry, Script, Step
from tests.support.working import ALPHA, CalmHealth, MovableClock, World
from workers.flush import FlushLimits
from workers.leases import LeaseTimes
from workers.worker import Worker, WorkerSettings

LEASE: Final = 30.0
PERIODIC: Final = {"claim": 2, "renew": 2, "held": 2}
"""Calls that a worker repeats for as long as it lives: how many of each `Lab.looked_after` waits for."""

_SETTINGS: Final = WorkerSettings(concurrency=8, owner_cap=8, poll=0.005, gather=0.001, refill=0.005, drain=0.0)
_TIMES: Final = LeaseTimes(length=LEASE, margin=3.0, compare=0.01)
_LIMITS: Final = FlushLimits(every=0.001)
_PATIENCE: Final = 20.0


@dataclass(frozen=True, slots=True)
class FaultPoint:
    """Before or after the commit of a worker's so-manieth call (from 1) of a method."""

    method: str
    nth: int
    when: Literal["before", "after"]

    def __str__(self) -> str:
        return f"{self.when}-{self.method}-{self.nth}"


class FaultyJobs:
    """A JobStore for one process, which stops at `point` (None: never): dead, unless it is let `go_on`.

    `done` counts the calls of each method whose answer came, `stopped` is set while it stands still. Methods that
    the port gets later are covered, too.
    """

    def __init__(self, store: JobStore, point: FaultPoint | None = None) -> None:
        self.point = point
        self.begun: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.stopped = asyncio.Event()
        self.sent: set[asyncio.Task[Any]] = set()
        self._going = asyncio.Event()
        self._inside = 0
        self._store = store

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if not iscoroutinefunction(method):
            return method

        @wraps(method)
        async def call(*arguments: Any, **options: Any) -> Any:
            await self._pass("", 0, "")
            self.begun[name] += 1
            number = self.begun[name]
            await self._pass(name, number, "before")
            self._inside += 1
            try:
                # What reached the database is done there, whatever becomes of the process that sent it.
                answer = await asyncio.shield(self._send(method(*arguments, **options)))
            finally:
                self._inside -= 1
            await self._pass(name, number, "after")
            self.done[name] += 1
            return answer

        return call

    @property
    def jobs(self) -> JobStore:
        """Itself, by the port's name."""
        return cast("JobStore", self)

    def points(self, *, looked_after: bool) -> list[FaultPoint]:
        """Where a worker that makes these calls can die.

        `looked_after`: the run passed that gate, so that every run comes to its periodic calls, too.
        """
        limits = PERIODIC if looked_after else {**dict.fromkeys(PERIODIC, 0), "claim": 1}
        return [
            FaultPoint(method, nth, when)
            for method, count in sorted(self.done.items())
            for nth in range(1, min(count, limits.get(method, count)) + 1)
            for when in ("before", "after")
        ]

    async def stands_still(self) -> None:
        """Returns once it is stopped, and what was already on its way to the store is done."""
        await self.stopped.wait()
        await _until(lambda: not self._inside)

    def go_on(self) -> None:
        """It was only stopped: everything goes on where it was."""
        self.stopped.clear()
        self._going.set()

    def _send(self, call: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(call)
        self.sent.add(task)
        task.add_done_callback(self._sent)
        return task

    def _sent(self, task: asyncio.Task[Any]) -> None:
        self.sent.discard(task)
        if not task.cancelled():
            # Nobody may be left who would ask.
            task.exception()

    async def _pass(self, name: str, number: int, when: str) -> None:
        point = self.point
        if point is not None and (point.method, point.nth, point.when) == (name, number, when):
            self.stopped.set()
        if self.stopped.is_set():
            await self._going.wait()


@dataclass(frozen=True)
class Gate(Pause):
    """A step of a script that passes when this returns, and shows nothing."""

    opens: Callable[[], Awaitable[object]] = field(default=asyncio.Event().wait)


class _GatedUpstream(FakeUpstream):
    async def play(self, step: Step, endpoint: Endpoint) -> Sequence[Event]:
        if isinstance(step, Gate):
            await step.opens()
            return ()
        return await super().play(step, endpoint)


class Lab(World):
    """Workers on a store of any kind, one after the other, each a process of its own.

    `elapse` lets time pass for the store. Scripts may hold `Gate`s, by which a run makes the same calls of the
    store each time: `landed` and `looked_after`.
    """

    def __init__(
        self,
        store: JobStore | None = None,
        responses: ResponseStore | None = None,
        elapse: Callable[[float], Awaitable[object]] | None = None,
    ) -> None:
        super().__init__(
            Script(), store=store, responses=responses, settings=_SETTINGS, times=_TIMES, limits=_LIMITS
        )
        self.plain = self.store
        self.elapse = elapse or self._elapse
        self.workers: list[Worker] = []
        self.processes: list[FaultyJobs] = []
        self.play(Script())

    def play(self, *scripts: Script) -> None:
        """What the calls from now on get; the last again and again."""
        self.upstream = _GatedUpstream(MovableClock(), {ALPHA: scripts})
        settings = RouterSettings(max_retry_wait=0.0)
        self._router = Router(self.upstream, CalmHealth(), RecordingTelemetry(), settings=lambda: settings)

    def worker(self) -> Worker:
        """One more worker, remembered."""
        self.workers.append(super().worker())
        return self.workers[-1]

    async def landed(self) -> None:
        """Everything that the run has told so far is stored."""
        flusher, store = self.workers[-1]._flusher, self.processes[-1]
        await _until(lambda: not flusher._waiting and store.begun["append"] == store.done["append"])

    async def looked_after(self) -> None:
        """The lease was renewed and compared often enough to die at each."""
        done, boot = self.processes[-1].done, self.boot
        await _until(lambda: done["claim"] >= PERIODIC["claim"])
        for _ in range(2):
            boot.forward(LEASE / 3)
            await _more(done, "renew")
            await _more(done, "held")

    async def stop(self) -> None:
        """The worker is asked to leave."""
        self.workers[-1].stop()

    async def state(self, job_id: str) -> JobState:
        """As it is stored."""
        found = await self.plain.job(OWNER, job_id)
        assert found is not None
        return found[0]

    async def over(self, job_id: str) -> bool:
        """Whether it is."""
        return await self.state(job_id) in TERMINAL

    async def runs(self, job_id: str, point: FaultPoint | None = None) -> FaultyJobs:
        """One worker's whole life: until the job is over, the worker leaves, or it dies at the point."""
        async with self.life(point) as (store, task):
            await self.watch(job_id, store, task)
            if point is not None and not task.done():
                # What comes after the job's end may be where it dies.
                await asyncio.wait_for(store.stopped.wait(), _PATIENCE)
        if store.stopped.is_set():
            await self.elapse(LEASE + 1)
        return store

    async def watch(self, job_id: str, store: FaultyJobs, task: asyncio.Task[None]) -> None:
        """Returns when the worker stands still or left, or its job is over; one that is put off need not wait."""
        put_off = 0
        async with asyncio.timeout(_PATIENCE):
            while not (store.stopped.is_set() or task.done() or await self.over(job_id)):
                if store.done["put_off"] > put_off:
                    put_off += 1
                    await self.elapse(LEASE)
                await asyncio.sleep(0.002)

    @asynccontextmanager
    async def life(self, point: FaultPoint | None = None) -> AsyncIterator[tuple[FaultyJobs, asyncio.Task[None]]]:
        """A worker at work; it leaves at the end, or is gone without a trace when it died."""
        store = FaultyJobs(self.plain, point)
        self.processes.append(store)
        self.store = store.jobs
        before = asyncio.all_tasks()
        worker = self.worker()
        task = asyncio.create_task(worker.run())
        try:
            yield store, task
        finally:
            if not store.stopped.is_set():
                worker.stop()
                left = asyncio.ensure_future(store.stopped.wait())
                await asyncio.wait((task, left), timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
                left.cancel()
            if not task.done():
                await _gone(before, store.sent)
            elif not task.cancelled():
                task.result()
            self.store = self.plain

    async def _elapse(self, seconds: float) -> None:
        self.clock.forward(seconds)

    def _new_id(self) -> str:
        return f"{uuid4().hex}{uuid4().hex[:4]}"


async def _gone(before: set[asyncio.Task[Any]], sent: set[asyncio.Task[Any]]) -> None:
    """Ends every task that began since, and again those that their ends begin, but what was sent to the store."""
    async with asyncio.timeout(_PATIENCE):
        while since := {task for task in asyncio.all_tasks() - before - sent if not _is_to_stay(task)}:
            for task in since:
                task.cancel()
            await asyncio.wait(since, timeout=0.05)
        # What the dead one had sent may still be done, but not after time has passed.
        while asyncio.all_tasks() - before - {asyncio.current_task()}:
            await asyncio.sleep(0.001)


def _is_to_stay(task: asyncio.Task[Any]) -> bool:
    """Whether it is this one, or one by which the database's driver keeps a connection usable."""
    if task is asyncio.current_task():
        return True
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and "asyncpg" in code.co_filename


async def _more(done: Counter[str], method: str) -> None:
    """Returns after one more of these calls."""
    before = done[method]
    await _until(lambda: done[method] > before)


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE):
        while not true():
            await asyncio.sleep(0.001)
