"""A store of jobs in memory, which moves them by service/domain/jobs.py, and what workers tell as lists."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from eurouter.v1 import response_events_pb2 as events_pb
from eurouter.v1 import response_object_pb2 as object_pb
from eurouter.v1 import responses_pb2 as pb

from service.domain import jobs
from service.domain.idempotency import Conflict, Idempotency, Repeated
from service.domain.job_queries import JobFilter, JobPlace, ListedJob, PriorityStats
from service.domain.job_store import (
    Accepted,
    Append,
    Claim,
    ClaimedJob,
    DoomedJob,
    EventPage,
    LoggedEvent,
    NewJob,
    Priority,
    Unstorable,
    Usage,
)
from service.domain.jobs import Claimed, Ended, Ending, Failed, Fenced, Job, JobState
from service.domain.stored import Chain, ChainEnd, NewResponse, StoredResponse, StoreError
from workers.ports import Outcome, StoreFault


@dataclass
class Row:
    """A job with its response and events."""

    new: NewJob
    job: Job
    response: bytes
    events: list[bytes] = field(default_factory=list)
    usage: Usage | None = None
    created_at: float = 0.0


class FakeJobs:
    """JobStore, and as much of a ResponseStore as a run reads.

    While `down` everything fails; `lose_answers` is how many of the next writes are done and fail all the same.
    `appends` are the batches, `asked` what was called, in order.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.rows: dict[str, Row] = {}
        self.down = False
        self.lose_answers = 0
        self.appends: list[Sequence[Append]] = []
        self.asked: list[str] = []

    def row(self, job_id: str = "") -> Row:
        """A job's, or the only one's."""
        return self.rows[job_id] if job_id else next(iter(self.rows.values()))

    def read(self, job_id: str = "") -> list[events_pb.ResponseStreamEvent]:
        """Its events."""
        return [events_pb.ResponseStreamEvent.FromString(body) for body in self.row(job_id).events]

    def object(self, job_id: str = "") -> object_pb.Response:
        """Its response."""
        return pb.StoredResponseBody.FromString(self.row(job_id).response).response

    async def accept(self, new: NewJob) -> Accepted | Repeated | Conflict:
        self._ask("accept")
        now = self.clock()
        expires = None if new.start_within is None else now + new.start_within
        job = Job(
            new.response.id,
            not_before=now + new.delay,
            expires_at=expires,
            restart_on_loss=new.restart_on_loss,
        )
        self.rows[job.id] = Row(new, job, new.response.response, list(new.events), created_at=now)
        return Accepted()

    async def accept_many(self, new: Sequence[NewJob]) -> Sequence[Accepted | Repeated | Conflict | Unstorable]:
        return [await self.accept(one) for one in new]

    async def claim(self, worker: str, limit: int, lease: float, owner_cap: int) -> Claim:
        self._ask("claim")
        run: list[ClaimedJob] = []
        end: list[DoomedJob] = []
        for row in self.rows.values():
            if len(run) + len(end) < limit:
                self._claim(row, lease, run, end)
        return Claim(run, end)

    def _claim(self, row: Row, lease: float, run: list[ClaimedJob], end: list[DoomedJob]) -> None:
        now, before = self.clock(), row.job
        match jobs.claim(before, now, lease):
            case Claimed(job=job, restarted=restarted):
                row.job = job
                run.append(_claimed(row, now, restarted=restarted))
            case Ended(job=ended):
                # In progress until it is finished with its events and object, as the port says.
                epoch = before.epoch + 1
                row.job = replace(
                    before, state=JobState.IN_PROGRESS, epoch=epoch, losses=ended.losses, lease_until=now + lease
                )
                assert ended.failure is not None
                end.append(DoomedJob(_claimed(row, now, restarted=before.logged), ended.failure))
            case None:
                pass

    async def renew(self, held: Sequence[tuple[str, int]], lease: float) -> frozenset[tuple[str, int]]:
        self._ask("renew")
        still = []
        for job_id, epoch in held:
            row = self.rows[job_id]
            moved = jobs.renew(row.job, epoch, self.clock(), lease)
            if isinstance(moved, Job):
                row.job = moved
                still.append((job_id, epoch))
        return frozenset(still)

    async def held(self, held: Sequence[tuple[str, int]]) -> frozenset[tuple[str, int]]:
        self._ask("held")
        return frozenset(each for each in held if self._holds(*each))

    async def append(self, appends: Sequence[Append]) -> frozenset[tuple[str, int]]:
        self._ask("append")
        self.appends.append(appends)
        fenced = {(a.id, a.epoch) for a in appends if not self._append(a)}
        self._answer()
        return frozenset(fenced)

    def _append(self, append: Append) -> bool:
        if not self._holds(append.id, append.epoch):
            return False
        row = self.rows[append.id]
        assert append.sequence <= len(row.events), "a gap"
        known = row.events[append.sequence :]
        assert list(append.events[: len(known)]) == known, "two events of one number"
        row.events += append.events[len(known) :]
        if append.output:
            row.job = replace(row.job, logged=True)
        return True

    async def finish(
        self, last: Append, state: Ending, response: bytes, usage: Usage | None, why: Failed | None = None
    ) -> bool:
        self._ask("finish")
        if not self._append(last):
            return False
        row = self.rows[last.id]
        moved = jobs.finish(row.job, last.epoch, state)
        assert isinstance(moved, Job)
        row.job, row.response, row.usage = replace(moved, failure=why), response, usage
        self._answer()
        return True

    async def hand_back(self, held: Sequence[tuple[str, int]]) -> None:
        self._ask("hand_back")
        for job_id, epoch in held:
            row = self.rows[job_id]
            moved = jobs.hand_back(row.job, epoch)
            if isinstance(moved, Job):
                # One that may not begin again is ended by whoever claims it next.
                row.job = replace(row.job, lease_until=self.clock()) if moved.over else moved

    async def put_off(self, job_id: str, epoch: int, delay: float, *, failed: bool) -> bool:
        self._ask("put_off")
        row = self.rows[job_id]
        moved = jobs.put_off(row.job, epoch, self.clock() + delay)
        if isinstance(moved, Fenced):
            return False
        assert not moved.over, "the worker judged wrong"
        row.job = replace(moved, failed_attempts=moved.failed_attempts + failed)
        self._answer()
        return True

    async def cancel(self, owner: str, job_id: str, epoch: int, response: bytes, event: bytes) -> bool:
        self._ask("cancel")
        row = self.rows[job_id]
        if row.job.over or row.job.epoch != epoch:
            return False
        row.job = jobs.cancel(row.job)
        row.response = response
        row.events.append(event)
        return True

    async def job(self, owner: str, job_id: str) -> tuple[JobState, int, int] | None:
        row = self.rows.get(job_id)
        return None if row is None else (row.job.state, row.job.epoch, len(row.events))

    async def events(self, owner: str, job_id: str, after: int, limit: int) -> EventPage:
        row = self.rows[job_id]
        found = [LoggedEvent(n, body) for n, body in enumerate(row.events) if n > after]
        return EventPage(found[:limit], row.job.state)

    async def list_jobs(self, which: JobFilter, limit: int, after: JobPlace | None) -> Sequence[ListedJob]:
        self._ask("list_jobs")
        found = sorted(map(_listed, self._which(which)), key=lambda job: (job.created_at, job.id), reverse=True)
        found.sort(key=lambda job: job.owner)
        if after is not None:
            found = [job for job in found if _follows(job.place, after)]
        return found[:limit]

    async def count_jobs(self, which: JobFilter) -> Mapping[JobState, int]:
        self._ask("count_jobs")
        return dict.fromkeys(which.states or JobState, 0) | Counter(row.job.state for row in self._which(which))

    async def now(self) -> float:
        self._ask("now")
        return self.clock()

    async def cancel_where(self, which: JobFilter, limit: int, accepted_by: float = inf) -> Sequence[str]:
        self._ask("cancel_where")
        rows = [row for row in self._which(which) if not row.job.over and row.created_at <= accepted_by]
        for row in rows[:limit]:
            row.job = jobs.cancel(row.job)
            row.events.append(b"")
        self._answer()
        return [row.job.id for row in rows[:limit]]

    async def queue_stats(self, owner: str | None) -> Mapping[Priority, PriorityStats]:
        self._ask("queue_stats")
        return {priority: self._stats(JobFilter(owner=owner), priority) for priority in Priority}

    async def runnable(self, most: int) -> int:
        self._ask("runnable")
        stats = [self._stats(JobFilter(), priority) for priority in Priority]
        return min(most, sum(one.runnable for one in stats))

    def _stats(self, which: JobFilter, priority: Priority) -> PriorityStats:
        now = self.clock()
        found = [row.job for row in self._which(which) if row.new.priority is priority]
        waits = [now - job.not_before for job in found if job.state is JobState.QUEUED]
        ready = [seconds for seconds in waits if seconds >= 0]
        running = sum(job.state is JobState.IN_PROGRESS for job in found)
        return PriorityStats(len(ready), max(ready, default=None), len(waits) - len(ready), running)

    def _which(self, which: JobFilter) -> list[Row]:
        return [
            row
            for row in self.rows.values()
            if which.owner in (None, row.new.response.owner)
            and which.group in (None, row.new.group)
            and (not which.states or row.job.state in which.states)
        ]

    async def insert(self, new: NewResponse, idempotency: Idempotency | None = None) -> None:
        raise NotImplementedError

    async def get(self, owner: str, response_id: str) -> StoredResponse | None:
        self._ask("get")
        row = self.rows.get(response_id)
        return None if row is None else _stored(row)

    async def chain(self, owner: str, response_id: str, *, max_depth: int, max_bytes: int) -> Chain:
        self._ask("chain")
        row = self.rows.get(response_id)
        return Chain((), ChainEnd.GONE) if row is None else Chain((_stored(row),), ChainEnd.COMPLETE)

    async def delete(self, owner: str, response_id: str) -> bool:
        return self.rows.pop(response_id, None) is not None

    async def sweep(self, limit: int) -> int:
        return 0

    def _holds(self, job_id: str, epoch: int) -> bool:
        row = self.rows.get(job_id)
        return row is not None and row.job.state is JobState.IN_PROGRESS and row.job.epoch == epoch

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.down:
            raise StoreError("the database is away")

    def _answer(self) -> None:
        if self.lose_answers:
            self.lose_answers -= 1
            raise StoreError("the answer was lost")


def _claimed(row: Row, now: float, *, restarted: bool) -> ClaimedJob:
    job, new = row.job, row.new
    return ClaimedJob(
        id=job.id,
        owner=new.response.owner,
        api=new.api,
        epoch=job.epoch,
        sequence=len(row.events),
        restarted=restarted,
        failed_attempts=job.failed_attempts,
        restart_on_loss=job.restart_on_loss,
        expires_in=None if job.expires_at is None else job.expires_at - now,
        log_deltas=new.log_deltas,
        request=new.request,
        response=row.response,
        input=new.response.input,
        previous_id=new.response.previous_id,
        trace=new.trace or {},
    )


def _listed(row: Row) -> ListedJob:
    job, new = row.job, row.new
    times = (row.created_at, job.not_before, job.expires_at)
    counts = (job.epoch, job.losses, job.failed_attempts, len(row.events))
    whose = (job.id, new.response.owner, new.api, job.state, new.priority, new.group)
    return ListedJob(*whose, *times, *counts)


def _follows(place: JobPlace, after: JobPlace) -> bool:
    if place.owner != after.owner:
        return place.owner > after.owner
    return (place.created_at, place.id) < (after.created_at, after.id)


def _stored(row: Row) -> StoredResponse:
    new = row.new.response
    return StoredResponse(new.id, new.previous_id, row.job.state.value, row.response, new.input)


class RecordingWorkerTelemetry:
    """WorkerTelemetry as lists."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.failures: list[str] = []
        self.crashes: list[BaseException] = []
        self.flushes: list[tuple[int, int]] = []
        self.refused = 0
        self.most = 0

    def claimed(self, jobs: int, seconds: float) -> None:
        """Not kept."""

    def running(self, jobs: int) -> None:
        self.most = max(self.most, jobs)

    def ended(self, outcome: Outcome, seconds: float) -> None:
        self.outcomes.append(outcome)

    def renewed(self, lag: float) -> None:
        assert lag >= 0

    def fenced(self, jobs: int) -> None:
        self.refused += jobs

    def flushed(self, jobs: int, events: int) -> None:
        self.flushes.append((jobs, events))

    def store_failed(self, what: str, error: StoreFault) -> None:
        assert str(error), "whoever reads the log wants to know why"
        self.failures.append(what)

    def crashed(self, job_id: str, error: BaseException) -> None:
        self.crashes.append(error)
