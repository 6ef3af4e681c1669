"""Leases of the jobs that run here, and the fence: who may have lost a job stops by itself.

A lease is trusted only until the moment when the store could have given the job away: counted from before the
claim or renewal was sent, on a clock that runs while the machine sleeps, less a margin.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from service.domain.errors import Reason, ServiceError
from service.domain.job_store import JobStore
from service.domain.stored import RefusedValueError, StoreError
from workers.ports import StoreFault, WorkerTelemetry

T = TypeVar("T")

_FIRST_WAIT: Final = 0.05
_LONGEST_WAIT: Final = 1.0


def boottime() -> float:
    """Seconds since the machine started, those in which it slept or this process was stopped included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class LeaseLost(Exception):  # noqa: N818  the domain's word for it
    """The job is not this worker's any more: nothing may be written or sent for it."""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds. `length` of a lease; `margin` by which the fence stands before its end; `compare`: how often
    the store is asked which jobs are still held, which is how soon a cancel is noticed.
    """

    length: float = 30.0
    margin: float = 3.0
    compare: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.margin < self.length * 2 / 3 or self.compare <= 0:
            raise ValueError(f"{self}: the margin must be less than two thirds of the lease")


class Lease:
    """One job's. `on_lost` is called once, when the job is found to be lost: it is set by who holds the lease.

    `leaving` is set by who gives the job up by a write that checks the epoch: that it is gone then is no news.
    """

    __slots__ = ("_clock", "epoch", "id", "leaving", "lost", "on_lost", "until")

    def __init__(self, job_id: str, epoch: int, until: float, clock: Callable[[], float]) -> None:
        self.id = job_id
        self.epoch = epoch
        self.until = until
        self.lost = self.leaving = False
        self._clock = clock
        self.on_lost: Callable[[], object] | None = None

    def check(self) -> None:
        """Called inline before every write, upstream call and retry.

        Raises:
            LeaseLost: the job may be another's.
        """
        if not self.holds():
            raise LeaseLost(self.id)

    def holds(self) -> bool:
        """Whether the job is surely ours at this moment; once it is not, it never is again."""
        if not self.lost and self._clock() >= self.until:
            self.lose()
        return not self.lost

    def lose(self) -> None:
        """The job is not ours any more. Idempotent."""
        if not self.lost:
            self.lost = True
            if self.on_lost is not None:
                self.on_lost()

    async def insist(self, what: Callable[[], Awaitable[T]], failed: Callable[[StoreFault], None]) -> T:
        """What `what` gives, asked again while the database fails and the lease lasts; `failed` is told each time.

        Raises:
            LeaseLost: it lasted no longer.
            RefusedValueError: it would fail each time, and the renewed lease would last as long.
        """
        wait = _FIRST_WAIT
        while True:
            self.check()
            try:
                return await what()
            except RefusedValueError:
                raise
            except StoreError as error:
                failed(error)
            except ServiceError as error:
                if error.reason is not Reason.STORE_UNAVAILABLE:
                    raise
                failed(error)
            await asyncio.sleep(wait)
            wait = min(_LONGEST_WAIT, wait * 2)


class Leases:
    """All leases of one worker. `run` keeps them; times are `clock`'s, which must not stop with the machine.

    `last_turn` is when `run` last had its turn, whatever the database does: an event loop that hangs shows there.
    `reached`: the store answered when it was last asked.
    """

    def __init__(
        self,
        store: JobStore,
        telemetry: WorkerTelemetry,
        times: LeaseTimes,
        *,
        clock: Callable[[], float] = boottime,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.times = times
        self.clock = clock
        self._store = store
        self._telemetry = telemetry
        self._sleep = sleep
        self._held: dict[str, Lease] = {}
        self._renewed = self.last_turn = clock()
        self.reached = True

    def hold(self, job_id: str, epoch: int, sent: float) -> Lease:
        """The lease of a job whose claim was sent at `sent`. An older one of the same job is lost."""
        # One whose claim was answered late is over sooner than a renewal that counts from the last one would come.
        self._renewed = min(self._renewed, sent)
        older = self._held.pop(job_id, None)
        if older is not None:
            older.lose()
        until = sent + self.times.length - self.times.margin
        lease = Lease(job_id, epoch, until, self.clock)
        self._held[job_id] = lease
        return lease

    def lasts(self, sent: float) -> bool:
        """Whether a lease whose claim was sent at `sent` is worth a beginning: a third is left, to renew it in."""
        return self.clock() < sent + self.times.length * 2 / 3 - self.times.margin

    def release(self, lease: Lease) -> None:
        """The job needs no lease any more. Idempotent."""
        if self._held.get(lease.id) is lease:
            del self._held[lease.id]

    async def run(self) -> None:
        """Until cancelled: renews, fences, and learns what was lost."""
        asking: asyncio.Task[None] | None = None
        try:
            while True:
                due = self.clock() + self.times.compare
                await self._sleep(self.times.compare)
                self.last_turn = self.clock()
                self._telemetry.renewed(max(0.0, self.last_turn - due))
                self.fence()
                if asking is not None and asking.done():
                    asking.result()
                    asking = None
                # A database that does not answer must not keep the fence from falling.
                if asking is None and self._held:
                    asking = asyncio.create_task(self.look_after())
        finally:
            if asking is not None:
                asking.cancel()

    def fence(self) -> None:
        """Loses what may have been given away by now."""
        now = self.clock()
        self._lose([lease for lease in self._held.values() if now >= lease.until])

    async def look_after(self) -> None:
        """Renews everything when a third of the lease is over, else asks what is still held."""
        sent = self.clock()
        times = self.times
        renewing = sent - self._renewed >= times.length / 3 - times.compare
        asked = {(lease.id, lease.epoch): lease for lease in self._held.values()}
        try:
            if renewing:
                still = await self._store.renew(list(asked), times.length)
            else:
                still = await self._store.held(list(asked))
        except StoreError as error:
            self.reached = False
            self._telemetry.store_failed("renew" if renewing else "compare", error)
            return
        self.reached = True
        if renewing:
            self._renewed = sent
            for key in still & asked.keys():
                asked[key].until = max(asked[key].until, sent + times.length - times.margin)
        self._lose([lease for key, lease in asked.items() if key not in still and not lease.leaving])

    def _lose(self, leases: list[Lease]) -> None:
        for lease in leases:
            # What was released meanwhile ended well, which looks like a loss to the store.
            if self._held.get(lease.id) is lease:
                del self._held[lease.id]
                lease.lose()
