"""What people ask about jobs as a whole: lists, counts, statistics, and the cancel of many. No single job's moves.

Shapes and the part of the store's port that answers; the database is an adapter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Protocol

from service.domain.jobs import JobState

if TYPE_CHECKING:
    from service.domain.job_store import Priority


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs. None: of every owner, of any group or none. Empty `states`: in any."""

    owner: str | None = None
    group: str | None = None
    states: frozenset[JobState] = frozenset()


@dataclass(frozen=True, slots=True)
class JobPlace:
    """Where a page ended: a job that may be gone by now. `created_at` as in ListedJob."""

    owner: str
    created_at: float
    id: str


@dataclass(frozen=True, slots=True)
class ListedJob:
    """A job without what it was asked and answered.

    Times are Unix seconds on the store's clock: accepted, not to be started before, failed when not started by
    (None: any time). `epoch`, `losses` and `failed_attempts` as in Job; `events` is how many its log has.
    """

    id: str
    owner: str
    api: str
    state: JobState
    priority: Priority
    group: str
    created_at: float
    not_before: float
    start_before: float | None
    epoch: int
    losses: int
    failed_attempts: int
    events: int

    @property
    def place(self) -> JobPlace:
        """Where a page that ends with it ended."""
        return JobPlace(self.owner, self.created_at, self.id)


@dataclass(frozen=True, slots=True)
class PriorityStats:
    """Jobs of one priority that are not over.

    `runnable` may be claimed now, to be run or to be ended as too late; `oldest_runnable` are the seconds for
    which the oldest of them may have been claimed, None when there is none. `waiting` may not be claimed yet,
    `in_progress` are claimed, those of lost workers included.
    """

    runnable: int = 0
    oldest_runnable: float | None = None
    waiting: int = 0
    in_progress: int = 0


class JobQueries(Protocol):
    """Jobs as a whole. Every method reads or changes one moment's rows and may raise StoreError.

    Jobs whose retention is over are neither listed nor cancelled; counts and statistics have them until they are
    swept.
    """

    async def list_jobs(self, which: JobFilter, limit: int, after: JobPlace | None) -> Sequence[ListedJob]:
        """Up to `limit` jobs, owners by name and an owner's jobs newest first, from the place `after` on.

        Owner by owner, so that one order serves one owner and all. None is left out or repeated over the pages,
        but for those whose state moves into or out of the filter meanwhile.
        """
        ...

    async def count_jobs(self, which: JobFilter) -> Mapping[JobState, int]:
        """How many there are in each state of the filter; it costs an index entry for each."""
        ...

    async def now(self) -> float:
        """Unix seconds on the store's clock, the one that jobs are accepted by."""
        ...

    async def cancel_where(self, which: JobFilter, limit: int, accepted_by: float = inf) -> Sequence[str]:
        """Cancels up to `limit` jobs that were accepted up to that time on the store's clock; their ids.

        Empty: there is none left; fewer than `limit` says nothing. One transaction, in which claims find nothing
        to wait for. The last event of each is written without a body: whoever reads it puts the object there.
        """
        ...

    async def queue_stats(self, owner: str | None) -> Mapping[Priority, PriorityStats]:
        """Every priority's statistics, of one owner or (None) of all."""
        ...

    async def runnable(self, most: int) -> int:
        """How many jobs of all owners may be claimed now, `most` if there are more: what it costs is bounded."""
        ...
