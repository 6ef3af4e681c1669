"""Events of all running jobs on their way to the store: one statement for all of them, many times a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.job_store import Append, JobStore, Usage
from service.domain.jobs import Ending, Failed
from service.domain.stored import StoreError
from workers.leases import Lease, LeaseLost
from workers.ports import StoreFault, WorkerTelemetry

_FIRST_WAIT: Final = 0.05
_LONGEST_WAIT: Final = 1.0


@dataclass(frozen=True, slots=True)
class FlushLimits:
    """`every`: seconds for which events gather. `events`, `size`: how much of one job may wait, in events and
    bytes, before its upstream has to.
    """

    every: float = 0.02
    events: int = 512
    size: int = 512 * 1024


class JobLog:
    """One job's events, in order. `logged`: output of it may have been seen. Not safe for concurrent use."""

    __slots__ = ("_flusher", "_output", "_pending", "_sequence", "_size", "flight", "lease", "logged", "room")

    def __init__(self, flusher: Flusher, lease: Lease, sequence: int) -> None:
        self.lease = lease
        self.logged = False
        self.flight: asyncio.Future[None] | None = None
        self.room: asyncio.Future[None] | None = None
        self._flusher = flusher
        self._sequence = sequence
        self._pending: list[bytes] = []
        self._size = 0
        self._output = False

    async def put(self, events: Sequence[bytes], *, output: bool) -> None:
        """More events; `output`: they show some. Waits while too many wait.

        Raises:
            LeaseLost: the job is another's.
        """
        self.lease.check()
        self._pending += events
        self._size += sum(map(len, events))
        self._output = self._output or output
        self._flusher.wake(self)
        limits = self._flusher.limits
        if len(self._pending) >= limits.events or self._size >= limits.size:
            self.room = asyncio.get_running_loop().create_future()
            await self.room

    async def finish(
        self, events: Sequence[bytes], state: Ending, response: bytes, usage: Usage | None, why: Failed | None
    ) -> None:
        """What waits, these last events and the job's end, at once; returns when it is stored.

        Raises:
            LeaseLost: the job is another's, and nothing was written.
        """
        await self._land()
        self._pending += events
        last = self.take()
        flusher = self._flusher
        await flusher.leave(self.lease, lambda: flusher.store.finish(last, state, response, usage, why), "finish")

    async def put_off(self, delay: float, *, failed: bool) -> None:
        """Lets the job wait; what was not yet stored of its run is forgotten.

        Raises:
            LeaseLost: the job is another's.
        """
        await self._land()
        self.take()
        lease, flusher = self.lease, self._flusher
        await flusher.leave(
            lease, lambda: flusher.store.put_off(lease.id, lease.epoch, delay, failed=failed), "put_off"
        )

    def take(self) -> Append:
        """All that waits, as it is appended."""
        lease = self.lease
        append = Append(lease.id, lease.epoch, self._sequence, self._pending, self._output)
        self.logged = self.logged or self._output
        self._sequence += len(self._pending)
        self._pending, self._size, self._output = [], 0, False
        if self.room is not None:
            if not self.room.done():
                self.room.set_result(None)
            self.room = None
        return append

    def close(self) -> None:
        """Nothing more comes; what waits is forgotten. Idempotent."""
        self._flusher.forget(self)

    async def _land(self) -> None:
        """Waits for the append that is under way: what follows it must not overtake it."""
        self._flusher.forget(self)
        if self.flight is not None:
            await asyncio.wait((self.flight,))


class Flusher:
    """Appends what the logs hold. `run` does it; one append at a time."""

    def __init__(
        self,
        store: JobStore,
        telemetry: WorkerTelemetry,
        limits: FlushLimits,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.store = store
        self.limits = limits
        self._telemetry = telemetry
        self._sleep = sleep
        self._waiting: dict[JobLog, None] = {}
        self._wake = asyncio.Event()

    def open(self, lease: Lease, sequence: int) -> JobLog:
        """The log of a job whose next event has the number `sequence`."""
        return JobLog(self, lease, sequence)

    def wake(self, log: JobLog) -> None:
        """A log has events."""
        self._waiting[log] = None
        self._wake.set()

    def forget(self, log: JobLog) -> None:
        """A log's events are not the flusher's to append."""
        self._waiting.pop(log, None)

    def failed(self, what: str, error: StoreFault) -> None:
        """The database failed at `what`."""
        self._telemetry.store_failed(what, error)

    async def leave(self, lease: Lease, write: Callable[[], Awaitable[bool]], what: str) -> None:
        """Does the write that ends this worker's hold on a job, however often the database fails meanwhile.

        Raises:
            LeaseLost: the job was another's already, or the lease ended.
        """
        lease.leaving = True
        if not await lease.insist(write, lambda error: self.failed(what, error)):
            self._telemetry.fenced(1)
            raise LeaseLost(lease.id)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            await self._sleep(self.limits.every)
            self._wake.clear()
            await self.flush()

    async def flush(self) -> None:
        """Appends all that waits, in one statement; again while the database fails, and in the same pieces."""
        logs = [log for log in self._waiting if log.lease.holds()]
        self._waiting.clear()
        flight: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        batch: dict[JobLog, Append] = {}
        for log in logs:
            batch[log] = log.take()
            log.flight = flight
        try:
            await self._append(batch)
        finally:
            flight.set_result(None)
            for log in logs:
                log.flight = None

    async def _append(self, batch: dict[JobLog, Append]) -> None:
        wait = _FIRST_WAIT
        while batch := {log: append for log, append in batch.items() if log.lease.holds()}:
            try:
                fenced = await self.store.append(list(batch.values()))
            except StoreError as error:
                self.failed("append", error)
                await self._sleep(wait)
                wait = min(_LONGEST_WAIT, wait * 2)
                continue
            self._telemetry.flushed(len(batch), sum(len(append.events) for append in batch.values()))
            if fenced:
                self._telemetry.fenced(len(fenced))
                for log, append in batch.items():
                    if (append.id, append.epoch) in fenced:
                        log.lease.lose()
            return
