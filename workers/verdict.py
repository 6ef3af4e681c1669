"""What becomes of a job whose run failed. Pure: the moves are service/domain/jobs.py's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from service.api.responses.stream import code_of
from service.domain.errors import Reason, ServiceError
from service.domain.job_store import ClaimedJob
from service.domain.jobs import Failed, Fenced, Job, JobState, attempt_failed, delay_after, put_off

_SHORTEST: Final = 0.25
"""Seconds. A provider that says "at once" has said before that it is too busy."""


@dataclass(frozen=True, slots=True)
class Later:
    """The job waits for `delay` seconds; `failed`: its run counts as a failed attempt."""

    delay: float
    failed: bool


@dataclass(frozen=True, slots=True)
class Never:
    """The job has failed: OpenAI's or our own code, a sentence, and the reason where it is no run's error."""

    code: str
    message: str
    why: Failed | None = None


DOOMS: Final = {
    Failed.WORKER_LOST: "the response's worker was lost or had to stop, and it may not begin anew: too often, or "
    "its owner wants no other run once output was seen",
    Failed.EXPIRED: "the response was not begun, or not begun again, before its latest start",
}


def doom(why: Failed) -> Never:
    """The end of a job for which no run may begin."""
    return Never(why.value, DOOMS[why], why)


def verdict(job: ClaimedJob, failure: ServiceError, *, logged: bool, elapsed: float) -> Later | Never:
    """What follows a failed run. `logged`: output of it may have been seen; `elapsed` seconds since the claim.

    A provider that asks for time puts the job off, which is no failed attempt. Other failures that may pass
    are, up to the fifth. Everything else is the end.
    """
    own = Never(code_of(failure), failure.message)
    if not failure.spec.retryable:
        return own
    running = Job(
        job.id,
        JobState.IN_PROGRESS,
        epoch=job.epoch,
        failed_attempts=job.failed_attempts,
        expires_at=job.expires_in,
        logged=logged or job.restarted,
        restart_on_loss=job.restart_on_loss,
    )
    asked = failure.retry_after
    busy = failure.reason is Reason.PROVIDER_RATE_LIMITED
    busy = busy or (failure.reason is Reason.NO_ENDPOINT_AVAILABLE and asked is not None)
    if busy:
        delay = max(_SHORTEST, delay_after(job.failed_attempts + 1) if asked is None else asked)
        moved = put_off(running, job.epoch, elapsed + delay)
    else:
        moved = attempt_failed(running, job.epoch, elapsed)
        if isinstance(moved, Job) and not moved.over and asked is not None and elapsed + asked > moved.not_before:
            moved = put_off(running, job.epoch, elapsed + asked)
    if isinstance(moved, Fenced):
        raise TypeError("a job in progress holds its own epoch")
    if not moved.over:
        return Later(moved.not_before - elapsed, failed=not busy)
    if moved.failure is Failed.EXPIRED:
        message = f"{DOOMS[Failed.EXPIRED]}; the last attempt failed: {failure.message}"
        return Never(Failed.EXPIRED.value, message, Failed.EXPIRED)
    return own
