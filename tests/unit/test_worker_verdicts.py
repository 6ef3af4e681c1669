"""What follows a failed run, for every reason that there is."""

from __future__ import annotations

from typing import Any

import pytest

from service.domain.errors import ERRORS, Reason, ServiceError
from service.domain.job_store import ClaimedJob
from service.domain.jobs import MAX_FAILED_ATTEMPTS, Failed
from workers.verdict import Later, Never, verdict

BUSY = {Reason.PROVIDER_RATE_LIMITED}


def job(**fields: Any) -> ClaimedJob:
    defaults: dict[str, Any] = {
        "id": "resp_1",
        "owner": "local",
        "api": "responses",
        "epoch": 3,
        "sequence": 2,
        "restarted": False,
        "failed_attempts": 0,
        "restart_on_loss": True,
        "expires_in": None,
        "log_deltas": False,
        "request": b"",
        "response": b"",
        "input": b"",
        "previous_id": None,
        "trace": {},
    }
    return ClaimedJob(**{**defaults, **fields})


def judged(
    reason: Reason, *, retry_after: float | None = None, logged: bool = False, **fields: Any
) -> Later | Never:
    failure = ServiceError(reason, "it broke", retry_after=retry_after)
    return verdict(job(**fields), failure, logged=logged, elapsed=1.0)


@pytest.mark.parametrize("reason", [reason for reason in Reason if ERRORS[reason].retryable])
def test_what_may_pass_is_tried_again_later(reason: Reason) -> None:
    assert judged(reason) == Later(2.0, failed=reason not in BUSY)


@pytest.mark.parametrize("reason", [reason for reason in Reason if not ERRORS[reason].retryable])
def test_what_does_not_pass_is_the_end(reason: Reason) -> None:
    end = judged(reason, retry_after=5.0)
    assert isinstance(end, Never)
    assert (end.message, end.why) == ("it broke", None)


@pytest.mark.parametrize("reason", [Reason.PROVIDER_RATE_LIMITED, Reason.NO_ENDPOINT_AVAILABLE])
def test_a_provider_that_says_when_is_waited_for_however_often(reason: Reason) -> None:
    again = judged(reason, retry_after=33.0, failed_attempts=MAX_FAILED_ATTEMPTS - 1)
    assert again == Later(33.0, failed=False)


def test_a_retry_after_of_nothing_is_not_taken_at_its_word() -> None:
    again = judged(Reason.PROVIDER_RATE_LIMITED, retry_after=0.0)
    assert isinstance(again, Later)
    assert again.delay > 0


def test_a_failed_attempt_waits_as_long_as_its_provider_asks() -> None:
    assert judged(Reason.PROVIDER_UNAVAILABLE, retry_after=50.0) == Later(50.0, failed=True)
    assert judged(Reason.PROVIDER_UNAVAILABLE, retry_after=0.5) == Later(2.0, failed=True)
    late = judged(Reason.PROVIDER_UNAVAILABLE, retry_after=50.0, expires_in=40.0)
    assert isinstance(late, Never)
    assert late.why is Failed.EXPIRED


def test_the_time_of_the_run_counts_against_the_latest_start() -> None:
    assert isinstance(judged(Reason.PROVIDER_RATE_LIMITED, retry_after=8.9, expires_in=10.0), Later)
    assert isinstance(judged(Reason.PROVIDER_RATE_LIMITED, retry_after=9.1, expires_in=10.0), Never)


def test_a_job_that_may_run_once_ends_with_its_own_error_when_output_was_seen() -> None:
    end = judged(Reason.PROVIDER_RATE_LIMITED, retry_after=5.0, restart_on_loss=False, logged=True)
    assert end == Never("rate_limit_exceeded", "it broke")
    assert isinstance(judged(Reason.PROVIDER_RATE_LIMITED, retry_after=5.0, restart_on_loss=False), Later)
