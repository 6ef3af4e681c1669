"""Stores that tell those who wait what was written. They add hints and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf
from typing import Final

from adapters.database.outbox_mode import OutboxMode
from service.domain.idempotency import Conflict, Repeated
from service.domain.job_queries import JobFilter
from service.domain.job_store import Accepted, Append, JobStore, NewJob, Unstorable, Usage
from service.domain.jobs import Ending, Failed
from service.domain.signals import Signals
from service.domain.stored import ResponseStore

SOON_SECONDS: Final = 5.0
"""A job that may begin within this is told of when its time comes; later ones are found by those who look."""


class SignallingJobs:
    """A JobStore that passes everything on. A hint follows its commit, never before.

    `outbox`: whether the store writes what is to be published.
    """

    def __init__(self, jobs: JobStore, signals: Signals, outbox: OutboxMode | None = None) -> None:
        self._jobs = jobs
        self._signals = signals
        self._outbox = outbox or OutboxMode()
        # Nobody waits for what these do.
        self.claim = jobs.claim
        self.renew = jobs.renew
        self.held = jobs.held
        self.job = jobs.job
        self.events = jobs.events
        self.list_jobs = jobs.list_jobs
        self.count_jobs = jobs.count_jobs
        self.queue_stats = jobs.queue_stats
        self.runnable = jobs.runnable
        self.now = jobs.now

    async def accept(self, new: NewJob) -> Accepted | Repeated | Conflict:
        """Work, once the job may begin."""
        outcome = await self._jobs.accept(new)
        if isinstance(outcome, Accepted):
            self._work_in(new.delay)
            self._to_publish()
        return outcome

    async def accept_many(self, new: Sequence[NewJob]) -> Sequence[Accepted | Repeated | Conflict | Unstorable]:
        """Work, once the first of them may begin."""
        outcomes = await self._jobs.accept_many(new)
        delays = [one.delay for one, outcome in zip(new, outcomes, strict=True) if isinstance(outcome, Accepted)]
        if delays:
            self._work_in(min(delays))
            self._to_publish()
        return outcomes

    async def append(self, appends: Sequence[Append]) -> frozenset[tuple[str, int]]:
        """News of every job that got events."""
        fenced = await self._jobs.append(appends)
        self._signals.news([one.id for one in appends if one.events and (one.id, one.epoch) not in fenced])
        return fenced

    async def finish(
        self, last: Append, state: Ending, response: bytes, usage: Usage | None, why: Failed | None = None
    ) -> bool:
        """News."""
        finished = await self._jobs.finish(last, state, response, usage, why)
        if finished:
            self._signals.news((last.id,))
            self._to_publish()
        return finished

    async def hand_back(self, held: Sequence[tuple[str, int]]) -> None:
        """Work."""
        await self._jobs.hand_back(held)
        if held:
            self._signals.work()

    async def put_off(self, job_id: str, epoch: int, delay: float, *, failed: bool) -> bool:
        """Work, once the job may begin again."""
        waits = await self._jobs.put_off(job_id, epoch, delay, failed=failed)
        if waits:
            self._work_in(delay)
        return waits

    async def cancel(self, owner: str, job_id: str, epoch: int, response: bytes, event: bytes) -> bool:
        """News."""
        cancelled = await self._jobs.cancel(owner, job_id, epoch, response, event)
        if cancelled:
            self._signals.news((job_id,))
            self._to_publish()
        return cancelled

    async def cancel_where(self, which: JobFilter, limit: int, accepted_by: float = inf) -> Sequence[str]:
        """News of every one."""
        cancelled = await self._jobs.cancel_where(which, limit, accepted_by)
        self._signals.news(cancelled)
        if cancelled:
            self._to_publish()
        return cancelled

    def _to_publish(self) -> None:
        if self._outbox.on:
            self._signals.outbox()

    def _work_in(self, seconds: float) -> None:
        if seconds <= 0:
            self._signals.work()
        elif seconds <= SOON_SECONDS:
            asyncio.get_running_loop().call_later(seconds, self._signals.work)


class SignallingResponses:
    """A ResponseStore that passes everything on; `outbox` as for jobs."""

    def __init__(self, responses: ResponseStore, signals: Signals, outbox: OutboxMode | None = None) -> None:
        self._responses = responses
        self._signals = signals
        self._outbox = outbox or OutboxMode()
        # A foreground response is followed by nobody, and what expires has no hurry.
        self.insert = responses.insert
        self.get = responses.get
        self.chain = responses.chain
        self.sweep = responses.sweep

    async def delete(self, owner: str, response_id: str) -> bool:
        """News: who follows it is told that it is gone."""
        deleted = await self._responses.delete(owner, response_id)
        if deleted:
            self._signals.news((response_id,))
            if self._outbox.on:
                self._signals.outbox()
        return deleted
