"""What the store does with jobs: the moves of service/domain/jobs.py as statements. The database is an adapter.

A job belongs to a stored response of the same id. Bodies are bytes that a store never looks into. Times are the
store's own; callers speak in seconds from now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal, Protocol

from service.domain.idempotency import Conflict, Idempotency, Repeated
from service.domain.job_queries import JobQueries
from service.domain.jobs import Ending, Failed, JobState
from service.domain.stored import NewResponse

AGEING_SECONDS: Final = 60.0
"""A waiting job rises by one priority each time it has waited so long, so that none waits for ever."""


class Priority(IntEnum):
    """The smaller, the sooner."""

    HIGH = 0
    NORMAL = 1
    BULK = 2


@dataclass(frozen=True, slots=True)
class JobOrigin:
    """Where a job came from, for its result; kept as long as its response.

    `topic` is where its result goes, None: the usual one. `body` is bytes that a store never looks into; a job
    that no record asked for has none.
    """

    topic: str | None
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to accept, with its response (status queued) and the events that are its beginning.

    `api` says which API's request `request` is. `delay` and `start_within` are seconds from now: not before,
    and failed when not started by then (None: any time). `group` is the owner's label, "" for none.
    `log_deltas`: every event is kept for followers, not only items and states. `trace` are W3C headers.
    `origin` needs a store that writes to the outbox: that of a process that publishes, at least.
    """

    response: NewResponse
    api: Literal["responses", "chat"]
    request: bytes
    events: Sequence[bytes]
    priority: Priority = Priority.NORMAL
    delay: float = 0.0
    start_within: float | None = None
    group: str = ""
    log_deltas: bool = False
    restart_on_loss: bool = True
    trace: Mapping[str, str] | None = None
    idempotency: Idempotency | None = None
    origin: JobOrigin | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The job is stored, and will reach an end."""


@dataclass(frozen=True, slots=True)
class Unstorable:
    """A value of the job is none that the database can hold: nothing was stored, and never will be."""


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job that the caller may run until its lease ends, and what it needs for that.

    `sequence` is the next event's number. `restarted`: output of an earlier run was kept; append the marker
    first. `response` is the body as stored; `failed_attempts` and `restart_on_loss` as in Job. `expires_in` are
    the seconds from the claim until its latest start, for runs that would wait (None: any time).
    """

    id: str
    owner: str
    api: str
    epoch: int
    sequence: int
    restarted: bool
    failed_attempts: int
    restart_on_loss: bool
    expires_in: float | None
    log_deltas: bool
    request: bytes
    response: bytes
    input: bytes
    previous_id: str | None
    trace: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DoomedJob:
    """A job that the claim found to be beyond help: it is the caller's to end, by `finish`, as failed.

    It is claimed like any other (epoch, lease), so that its last event and its object are written by one.
    """

    job: ClaimedJob
    why: Failed


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim brought."""

    run: Sequence[ClaimedJob]
    end: Sequence[DoomedJob]


@dataclass(frozen=True, slots=True)
class Append:
    """Events of one job, numbered from `sequence` on; `output`: some of them show output."""

    id: str
    epoch: int
    sequence: int
    events: Sequence[bytes]
    output: bool = False


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One event of a response. An empty body is the cancel of a job among many: the object is in its response."""

    sequence: int
    body: bytes


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events after a number, in order without gaps, and the state of the job when they were read.

    `state` None: there is no such job (any more). When `state` is terminal and the page is not full, it is the
    end.
    """

    events: Sequence[LoggedEvent]
    state: JobState | None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a job used, for its owner's account."""

    model: str
    input_tokens: int
    output_tokens: int


class JobStore(JobQueries, Protocol):
    """Jobs one by one, and as a whole.

    Every method is one transaction and may raise StoreError; after one a method may be repeated. Whatever
    takes an epoch does nothing when the job has another or is not in progress, and says so.
    """

    async def accept(self, new: NewJob) -> Accepted | Repeated | Conflict:
        """Stores a job, its response and its first events; it survives this process when this returns."""
        ...

    async def accept_many(self, new: Sequence[NewJob]) -> Sequence[Accepted | Repeated | Conflict | Unstorable]:
        """Stores jobs at once; what became of each, in their order. One that can't be stored is no other's matter.

        As `accept`, but a job that the database refuses for what is in it is Unstorable, alone and for good: a
        StoreError is about the database. And an id that another job or response has is a Conflict: the same is
        only what has the same owner and key, or the same owner where there is no key. A key counts as long as it
        is kept, which is longer than its response may be there: a record that is read once more must not make
        again what was deleted.
        """
        ...

    async def claim(self, worker: str, limit: int, lease: float, owner_cap: int) -> Claim:
        """Up to `limit` jobs to run, in policy order: lost ones first, then by priority with ageing, then by age.

        Up to as many to end come with them. No owner has more than `owner_cap` jobs in progress, those to end
        apart. Concurrent claims never wait for each other.
        """
        ...

    async def renew(self, held: Sequence[tuple[str, int]], lease: float) -> frozenset[tuple[str, int]]:
        """Renews leases (id, epoch) in one statement; those that are still held. A lease that ran out is lost."""
        ...

    async def held(self, held: Sequence[tuple[str, int]]) -> frozenset[tuple[str, int]]:
        """Those (id, epoch) that are in progress with that epoch: a read, to learn of cancels soon."""
        ...

    async def append(self, appends: Sequence[Append]) -> frozenset[tuple[str, int]]:
        """Appends events of many jobs in one statement; those (id, epoch) that were fenced and wrote nothing."""
        ...

    async def finish(
        self, last: Append, state: Ending, response: bytes, usage: Usage | None, why: Failed | None = None
    ) -> bool:
        """Ends a job: state, object, last events and usage at once. False: fenced, nothing was written."""
        ...

    async def hand_back(self, held: Sequence[tuple[str, int]]) -> None:
        """Leaves jobs to other workers, nothing counted. Jobs that may not begin again become lost at once."""
        ...

    async def put_off(self, job_id: str, epoch: int, delay: float, *, failed: bool) -> bool:
        """Lets a job wait for `delay` seconds; `failed` counts an attempt. False: fenced.

        Whether it may wait (service/domain/jobs.py: put_off, attempt_failed) is the caller's to judge first.
        """
        ...

    async def cancel(self, owner: str, job_id: str, epoch: int, response: bytes, event: bytes) -> bool:
        """Cancels a job that has this epoch and is not over: state, object and last event at once.

        False: it moved meanwhile; read it again.
        """
        ...

    async def job(self, owner: str, job_id: str) -> tuple[JobState, int, int] | None:
        """State, epoch and next sequence number; None when there is none."""
        ...

    async def events(self, owner: str, job_id: str, after: int, limit: int) -> EventPage:
        """Events with a number above `after` (-1: all)."""
        ...
