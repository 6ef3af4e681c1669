"""The life of a job: who may move it where. Pure; a database does the same in its statements.

A job is a stored response that a worker makes. A claim raises its epoch and takes a lease; whoever holds the
epoch may write, and nobody else. Times are seconds on the store's clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Literal, TypeAlias

MAX_LOSSES: Final = 3
"""A job that loses its worker so often fails: the job may be what kills them."""

MAX_FAILED_ATTEMPTS: Final = 5
"""Runs of a job's whole plan that may fail for a reason that may pass."""

FIRST_DELAY: Final = 2.0
LONGEST_DELAY: Final = 300.0


class JobState(StrEnum):
    """How far a job is, by the API's words."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL: Final = frozenset({JobState.COMPLETED, JobState.INCOMPLETE, JobState.FAILED, JobState.CANCELLED})

Ending: TypeAlias = Literal[JobState.COMPLETED, JobState.INCOMPLETE, JobState.FAILED]
"""What a worker may make of a job; only its owner may cancel it."""


class Failed(StrEnum):
    """Why a job failed though no run of it did: the `error.code` of its response."""

    WORKER_LOST = "worker_lost"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Job:
    """One job.

    `epoch` counts claims and cancels; `losses` counts workers lost with it, `failed_attempts` runs that failed
    for a reason that may pass. `not_before` is the earliest claim, `expires_at` the latest start (None: any
    time). `lease_until` is set while a worker has it. `logged` says whether output of any run can have been
    seen, and `restart_on_loss` whether another run may begin then. `failure` is set where a failed job
    has no run's own error to show.
    """

    id: str
    state: JobState = JobState.QUEUED
    epoch: int = 0
    losses: int = 0
    failed_attempts: int = 0
    not_before: float = 0.0
    expires_at: float | None = None
    lease_until: float | None = None
    logged: bool = False
    restart_on_loss: bool = True
    failure: Failed | None = None

    @property
    def over(self) -> bool:
        """Whether nothing moves it any more."""
        return self.state in TERMINAL


@dataclass(frozen=True, slots=True)
class Claimed:
    """A worker may run the job. `restarted`: readers saw output of a run before, and must be told to forget it."""

    job: Job
    restarted: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The claim ended the job instead: it was too late for it, or its workers die."""

    job: Job


@dataclass(frozen=True, slots=True)
class Fenced:
    """Whoever asked has the job no more: it was claimed anew, cancelled or is over. Nothing changed."""


def claim(job: Job, now: float, lease: float) -> Claimed | Ended | None:
    """What a claim at `now` does; None when the job is not to be had.

    A job whose lease ran out is had like one that waits: that its worker is gone shows by nothing else.
    """
    if job.state is JobState.QUEUED:
        if job.expires_at is not None and now >= job.expires_at:
            return Ended(_failed(job, Failed.EXPIRED))
        return _take(job, now, lease) if now >= job.not_before else None
    if job.state is JobState.IN_PROGRESS and job.lease_until is not None and now >= job.lease_until:
        lost = replace(job, losses=job.losses + 1)
        if lost.losses >= MAX_LOSSES or _is_bound(job):
            return Ended(_failed(lost, Failed.WORKER_LOST))
        return _take(lost, now, lease)
    return None


def renew(job: Job, epoch: int, now: float, lease: float) -> Job | Fenced:
    """The job with a longer lease. One that ran out is not renewed: another worker may be about to claim it."""
    if not _holds(job, epoch) or job.lease_until is None or now >= job.lease_until:
        return Fenced()
    return replace(job, lease_until=now + lease)


def log_output(job: Job, epoch: int) -> Job | Fenced:
    """The job once output of its run may have been seen."""
    if not _holds(job, epoch):
        return Fenced()
    return job if job.logged else replace(job, logged=True)


def finish(job: Job, epoch: int, state: Ending) -> Job | Fenced:
    """The job at its end. A lease that ran out does not matter as long as nobody has claimed the job since."""
    if not _holds(job, epoch):
        return Fenced()
    return replace(job, state=state, lease_until=None)


def hand_back(job: Job, epoch: int) -> Job | Fenced:
    """The job as its worker leaves it when the worker stops: it waits again, and nothing is counted."""
    if not _holds(job, epoch):
        return Fenced()
    if _is_bound(job):
        return _failed(job, Failed.WORKER_LOST)
    return replace(job, state=JobState.QUEUED, lease_until=None)


def put_off(job: Job, epoch: int, until: float) -> Job | Fenced:
    """The job after its providers asked for time: it waits until then, and nothing is counted.

    One that may not begin again fails with its run's own error, and one that would wait beyond its latest start
    as expired: waiting for that would only hide it.
    """
    if not _holds(job, epoch):
        return Fenced()
    if _is_bound(job):
        return _failed(job, None)
    if job.expires_at is not None and until >= job.expires_at:
        return _failed(job, Failed.EXPIRED)
    return replace(job, state=JobState.QUEUED, lease_until=None, not_before=until)


def attempt_failed(job: Job, epoch: int, now: float) -> Job | Fenced:
    """The job after a run whose whole plan failed for a reason that may pass: again later, or never more."""
    if not _holds(job, epoch):
        return Fenced()
    counted = replace(job, failed_attempts=job.failed_attempts + 1)
    if counted.failed_attempts >= MAX_FAILED_ATTEMPTS:
        return _failed(counted, None)
    return put_off(counted, epoch, now + delay_after(counted.failed_attempts))


def cancel(job: Job) -> Job:
    """The job once it is cancelled, or as it is when it is over. The epoch rises: its worker is fenced."""
    if job.over:
        return job
    return replace(job, state=JobState.CANCELLED, epoch=job.epoch + 1, lease_until=None)


def delay_after(failed_attempts: int) -> float:
    """Seconds until the run after so many failed ones; doubled each time."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (failed_attempts - 1))


def _holds(job: Job, epoch: int) -> bool:
    return job.state is JobState.IN_PROGRESS and job.epoch == epoch


def _is_bound(job: Job) -> bool:
    """Whether a run's output was seen, and its caller wants no other run after that."""
    return job.logged and not job.restart_on_loss


def _take(job: Job, now: float, lease: float) -> Claimed:
    taken = replace(job, state=JobState.IN_PROGRESS, epoch=job.epoch + 1, lease_until=now + lease)
    # `logged` stays: this worker, too, may be lost before it has told readers to start over.
    return Claimed(taken, restarted=job.logged)


def _failed(job: Job, why: Failed | None) -> Job:
    return replace(job, state=JobState.FAILED, failure=why, lease_until=None)
