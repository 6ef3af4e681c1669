"""What rows of jobs mean and how a job's parts become values; the same for both databases."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from service.domain.idempotency import Conflict, Idempotency, Repeated
from service.domain.job_queries import ListedJob, PriorityStats
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
)
from service.domain.jobs import Failed, JobState
from service.domain.stored import NewResponse

Row: TypeAlias = Any

LEAST_KEY_SECONDS: Final = 24 * 3600.0
"""An idempotency key is kept as long as its response, and at least so long."""

SWEPT_EVENTS: Final = 10_000
"""About so many events go in one sweep: it is over soon, however long the logs are."""

WINDOW: Final = 64
"""Waiting jobs of each priority that a claim looks at before it looks for each owner's."""


def check_no_origin(new: NewJob) -> None:
    """A store that publishes nothing must not forget where a result has to go.

    Raises:
        ValueError: the job has an origin.
    """
    if new.origin is not None:
        raise ValueError("a job with an origin needs a store that writes to the outbox: DatabaseOptions.outbox")


def key_seconds(new: NewResponse) -> float:
    """How long the idempotency key of a new response is kept."""
    return max(new.retention, LEAST_KEY_SECONDS)


def trace_text(trace: Mapping[str, str] | None) -> str:
    """Headers as they are stored."""
    return json.dumps(dict(trace)) if trace else "{}"


def outcome_of_repeat(
    new: NewJob, key: Idempotency, digest: bytes, response_id: str
) -> Accepted | Repeated | Conflict:
    """What a key that is there already, with this digest and response, means for the new job."""
    if digest != key.digest:
        return Conflict(response_id)
    # The job itself: it was stored by a call whose answer got lost.
    return Accepted() if response_id == new.response.id else Repeated(response_id)


def claim_of(rows: Sequence[Row]) -> Claim:
    """Rows: failure, then the fields of ClaimedJob in their order, the trace as text."""
    run: list[ClaimedJob] = []
    end: list[DoomedJob] = []
    for row in rows:
        failure, job_id, owner, api, epoch, sequence, logged, failed_attempts, restart, expires_in, deltas = row[
            :11
        ]
        job = ClaimedJob(
            *(job_id, owner, api, epoch, sequence, bool(logged), failed_attempts, bool(restart), expires_in),
            *(bool(deltas), *row[11:15], json.loads(row[15])),
        )
        if failure is None:
            run.append(job)
        else:
            end.append(DoomedJob(job, Failed(failure)))
    return Claim(run, end)


def page_of(rows: Sequence[Row]) -> EventPage:
    """Rows: state, sequence, body; one with a state only when there are no events."""
    if not rows:
        return EventPage((), None)
    events = [LoggedEvent(row[1], row[2]) for row in rows if row[1] is not None]
    return EventPage(events, JobState(rows[0][0]))


def check_each_once(appends: Sequence[Append]) -> None:
    """A statement moves a row once.

    Raises:
        ValueError: a job is there twice.
    """
    if len({append.id for append in appends}) != len(appends):
        raise ValueError("appends of one call must be of different jobs")


def listed_of(row: Row) -> ListedJob:
    """Row: the fields of ListedJob in their order."""
    job_id, owner, api, state, priority, *rest = row
    return ListedJob(job_id, owner, api, JobState(state), Priority(priority), *rest)


def stats_of(rows: Sequence[Row]) -> dict[Priority, PriorityStats]:
    """Rows: priority, then the fields of PriorityStats in their order."""
    return {Priority(row[0]): PriorityStats(*row[1:]) for row in rows}
