"""The worker: claims jobs, runs them beside one another, and leaves in good order.

What a run does is the runner's; whether it may, the leases'. Wake-ups only shorten waits: the claim alone decides
what there is to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from service.domain.job_store import ClaimedJob, JobStore
from service.domain.stored import StoreError
from workers.flush import Flusher
from workers.leases import Lease, Leases
from workers.ports import Outcome, WorkerTelemetry
from workers.runner import JobRunner

_HAND_BACK_TRIES: Final = 5
_HAND_BACK_WAIT: Final = 0.2


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """`concurrency`: jobs at a time here; `owner_cap`: of one owner, everywhere.

    In seconds: `poll`, how often an idle worker looks for jobs that nobody told it of; `gather`, how long it waits
    at least from one claim to the next; `refill`, after which it looks whether the end of a job made room for
    another of its owner; `drain`, for which a leaving one lets its jobs run.
    """

    concurrency: int = 64
    owner_cap: int = 64
    poll: float = 1.0
    gather: float = 0.01
    refill: float = 0.1
    drain: float = 30.0


class Worker:
    """One worker. `run` it once; `stop` lets it leave.

    `name` tells it from others in the store. `leases` and `flusher` are the runner's, too. `clock` is monotonic.
    """

    def __init__(
        self,
        name: str,
        store: JobStore,
        runner: JobRunner,
        leases: Leases,
        flusher: Flusher,
        telemetry: WorkerTelemetry,
        *,
        clock: Callable[[], float],
        settings: Callable[[], WorkerSettings] = WorkerSettings,
    ) -> None:
        self._name = name
        self._store = store
        self._runner = runner
        self._leases = leases
        self._flusher = flusher
        self._telemetry = telemetry
        self._clock = clock
        self._settings = settings
        self._running: dict[asyncio.Task[Outcome], tuple[Lease, float]] = {}
        self._wake = asyncio.Event()
        self._claimed = clock()
        self._refill: asyncio.TimerHandle | None = None
        self._left = asyncio.Event()
        self._reached = False
        self._more = False
        self.stopping = False

    @property
    def silent_for(self) -> float:
        """Seconds since the event loop last served this worker: much more than half a second is not alive."""
        return self._leases.clock() - self._leases.last_turn

    @property
    def reached(self) -> bool:
        """Whether the database answered when it was last asked: at the last claim, and about the leases held."""
        return self._reached and (not self._running or self._leases.reached)

    def wake(self) -> None:
        """There may be something to claim. From the event loop's own thread."""
        self._wake.set()

    def stop(self) -> None:
        """Claims nothing more; `run` returns when its jobs are done or handed back. Idempotent."""
        self.stopping = True
        self._wake.set()

    async def leave(self) -> None:
        """`stop`, and returns when `run` does."""
        self.stop()
        await self._left.wait()

    @property
    def jobs(self) -> int:
        """Jobs that run here now."""
        return len(self._running)

    async def run(self) -> None:
        """Works until stopped, and then until its jobs have ended or `drain` is over; the rest is handed back.

        Cancelled, it hands back at once, which a second cancel does not cut. Raises what a part of it failed by.
        """
        keepers = (asyncio.create_task(self._leases.run()), asyncio.create_task(self._flusher.run()))
        work = asyncio.create_task(self._work())
        try:
            done, _ = await asyncio.wait((work, *keepers), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            work.cancel()
            leaving = asyncio.create_task(self._leave(work, keepers))
            await asyncio.shield(leaving)

    async def _work(self) -> None:
        while not self.stopping:
            settings = self._settings()
            free = settings.concurrency - len(self._running)
            self._wake.clear()
            if free > 0:
                await self._claim(free, settings)
            if not self.stopping:
                await self._pause(settings)
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=self._settings().drain)

    async def _claim(self, free: int, settings: WorkerSettings) -> None:
        sent = self._leases.clock()
        began = self._claimed = self._clock()
        try:
            claim = await self._store.claim(self._name, free, self._leases.times.length, settings.owner_cap)
        except StoreError as error:
            self._reached = False
            self._telemetry.store_failed("claim", error)
            return
        self._reached = True
        # As many as were asked for: there are probably more, and the next end makes room for one.
        self._more = len(claim.run) >= free
        self._telemetry.claimed(len(claim.run) + len(claim.end), self._clock() - began)
        if not self._leases.lasts(sent):
            self._more = False
            await self._give_up([*claim.run, *(doomed.job for doomed in claim.end)])
            return
        for job in claim.run:
            self._start(job, sent, partial(self._runner.run, job))
        for doomed in claim.end:
            self._start(doomed.job, sent, partial(self._runner.end, doomed))

    async def _give_up(self, jobs: Sequence[ClaimedJob]) -> None:
        """Jobs whose claim was answered too late to begin them: to keep them would count as a loss of each."""
        if await self._try_to_hand_back([(job.id, job.epoch) for job in jobs]):
            for _ in jobs:
                self._telemetry.ended("handed_back", 0.0)

    async def _pause(self, settings: WorkerSettings) -> None:
        """Until there may be something to claim, and room for it."""
        try:
            async with asyncio.timeout(settings.poll):
                await self._wake.wait()
        except TimeoutError:
            return
        wait = self._claimed + settings.gather - self._clock()
        if wait > 0 and not self.stopping:
            await asyncio.sleep(wait)

    def _start(self, job: ClaimedJob, sent: float, run: Callable[[Lease], Coroutine[Any, Any, Outcome]]) -> None:
        lease = self._leases.hold(job.id, job.epoch, sent)
        task = asyncio.create_task(run(lease))
        lease.on_lost = partial(_end, task)
        self._running[task] = (lease, self._clock())
        task.add_done_callback(self._ended)
        self._telemetry.running(len(self._running))

    def _ended(self, task: asyncio.Task[Outcome]) -> None:
        full = len(self._running) >= self._settings().concurrency
        lease, begun = self._running.pop(task)
        self._leases.release(lease)
        self._telemetry.running(len(self._running))
        outcome: Outcome
        if task.cancelled():
            outcome = "fenced" if lease.lost else "handed_back"
        elif (error := task.exception()) is not None:
            self._telemetry.crashed(lease.id, error)
            outcome = "crashed"
        else:
            outcome = task.result()
        self._telemetry.ended(outcome, self._clock() - begun)
        if full or self._more:
            self._wake.set()
        elif self._refill is None and not self.stopping:
            self._refill = asyncio.get_running_loop().call_later(self._settings().refill, self._look_again)

    def _look_again(self) -> None:
        self._refill = None
        self._wake.set()

    async def _leave(self, work: asyncio.Task[None], keepers: Sequence[asyncio.Task[None]]) -> None:
        await asyncio.wait((work,))
        await self._hand_back()
        for keeper in keepers:
            keeper.cancel()
        await asyncio.wait(keepers)
        self._left.set()

    async def _hand_back(self) -> None:
        """Ends the runs that are left, and lets other workers have their jobs."""
        if self._refill is not None:
            self._refill.cancel()
        left = dict(self._running)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(tuple(left))
        leases = [lease for task, (lease, _) in left.items() if task.cancelled()]
        held = [(lease.id, lease.epoch) for lease in leases if lease.holds()]
        for _ in range(_HAND_BACK_TRIES if held else 0):
            if await self._try_to_hand_back(held):
                return
            await asyncio.sleep(_HAND_BACK_WAIT)

    async def _try_to_hand_back(self, held: Sequence[tuple[str, int]]) -> bool:
        try:
            await self._store.hand_back(held)
        except StoreError as error:
            self._telemetry.store_failed("hand_back", error)
            return False
        return True


def _end(task: asyncio.Task[Outcome]) -> None:
    """Ends a run, its upstream call included. One that finds out by itself needs no telling."""
    if task is not asyncio.current_task():
        task.cancel()
