"""A job's life: each move by itself, and any number of workers, cancels and clocks at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.jobs import (
    FIRST_DELAY,
    LONGEST_DELAY,
    MAX_FAILED_ATTEMPTS,
    MAX_LOSSES,
    TERMINAL,
    Claimed,
    Ended,
    Failed,
    Fenced,
    Job,
    JobState,
    attempt_failed,
    cancel,
    claim,
    delay_after,
    finish,
    hand_back,
    log_output,
    put_off,
    renew,
)

NOW, LEASE = 1000.0, 30.0
WAITING = Job("resp_1")


def claimed(job: Job = WAITING, now: float = NOW) -> Job:
    had = claim(job, now, LEASE)
    assert isinstance(had, Claimed)
    return had.job


def kept(moved: Job | Fenced) -> Job:
    assert isinstance(moved, Job)
    return moved


def test_a_claim_raises_the_epoch_and_takes_a_lease() -> None:
    job = claimed()
    assert (job.state, job.epoch, job.lease_until) == (JobState.IN_PROGRESS, 1, NOW + LEASE)


def test_a_job_is_had_by_one_worker_at_a_time() -> None:
    assert claim(claimed(), NOW + LEASE - 0.001, LEASE) is None


def test_a_job_is_not_had_before_its_time_and_fails_after_it() -> None:
    early = replace(WAITING, not_before=NOW + 1)
    assert claim(early, NOW, LEASE) is None
    assert isinstance(claim(early, NOW + 1, LEASE), Claimed)
    late = claim(replace(WAITING, expires_at=NOW), NOW, LEASE)
    assert isinstance(late, Ended)
    assert (late.job.state, late.job.failure) == (JobState.FAILED, Failed.EXPIRED)


def test_a_lost_worker_is_followed_by_another_and_the_third_loss_is_the_end() -> None:
    job, now = claimed(), NOW
    for loss in range(1, MAX_LOSSES):
        now += LEASE
        job = claimed(job, now)
        assert (job.losses, job.epoch) == (loss, loss + 1)
    ended = claim(job, now + LEASE, LEASE)
    assert isinstance(ended, Ended)
    assert (ended.job.state, ended.job.failure, ended.job.losses) == (JobState.FAILED, Failed.WORKER_LOST, 3)


@pytest.mark.parametrize("again", ["lost", "handed back"])
def test_a_run_after_one_whose_output_was_seen_tells_readers_to_start_over(again: str) -> None:
    seen = kept(log_output(claimed(), 1))
    waits = seen if again == "lost" else kept(hand_back(seen, 1))
    had = claim(waits, NOW + LEASE, LEASE)
    assert isinstance(had, Claimed)
    assert had.restarted
    assert had.job.logged, "this worker may be lost, too, before readers were told"
    unseen = claim(claimed(), NOW + LEASE, LEASE)
    assert isinstance(unseen, Claimed)
    assert not unseen.restarted


def test_an_owner_may_want_no_second_run_once_output_was_seen() -> None:
    seen = kept(log_output(claimed(replace(WAITING, restart_on_loss=False)), 1))
    lost = claim(seen, NOW + LEASE, LEASE)
    assert isinstance(lost, Ended)
    assert lost.job.failure is Failed.WORKER_LOST
    assert kept(hand_back(seen, 1)).failure is Failed.WORKER_LOST
    own_error = kept(attempt_failed(seen, 1, NOW))
    assert (own_error.state, own_error.failure) == (JobState.FAILED, None)


def test_a_lease_that_ran_out_is_not_renewed_but_its_worker_may_still_finish() -> None:
    job = claimed()
    assert isinstance(renew(job, 1, NOW + LEASE, LEASE), Fenced)
    assert kept(renew(job, 1, NOW + 10, LEASE)).lease_until == NOW + 10 + LEASE
    assert kept(finish(job, 1, JobState.COMPLETED)).state is JobState.COMPLETED


def test_a_worker_of_an_older_epoch_changes_nothing() -> None:
    job = claimed(claimed(), NOW + LEASE)
    moves = (
        renew(job, 1, NOW + LEASE, LEASE),
        log_output(job, 1),
        finish(job, 1, JobState.COMPLETED),
        hand_back(job, 1),
        put_off(job, 1, NOW),
        attempt_failed(job, 1, NOW),
    )
    assert all(isinstance(move, Fenced) for move in moves)


def test_a_cancel_fences_the_worker_and_is_final() -> None:
    job = cancel(claimed())
    assert (job.state, job.epoch) == (JobState.CANCELLED, 2)
    assert cancel(job) == job
    assert isinstance(finish(job, 1, JobState.COMPLETED), Fenced)
    assert claim(job, NOW + 1e9, LEASE) is None


def test_a_cancel_of_what_is_over_is_a_clean_nothing() -> None:
    done = kept(finish(claimed(), 1, JobState.INCOMPLETE))
    assert cancel(done) == done


def test_failed_attempts_wait_longer_each_time_and_the_fifth_is_the_end() -> None:
    job, now, waits = WAITING, NOW, []
    for _ in range(MAX_FAILED_ATTEMPTS - 1):
        job = claimed(job, now)
        job = kept(attempt_failed(job, job.epoch, now))
        waits.append(job.not_before - now)
        now = job.not_before
    assert waits == [FIRST_DELAY, FIRST_DELAY * 2, FIRST_DELAY * 4, FIRST_DELAY * 8]
    job = claimed(job, now)
    assert kept(attempt_failed(job, job.epoch, now)).state is JobState.FAILED
    assert delay_after(50) == LONGEST_DELAY


def test_a_job_that_is_put_off_counts_nothing_and_fails_when_that_is_too_late() -> None:
    job = claimed(replace(WAITING, expires_at=NOW + 60))
    waits = kept(put_off(job, 1, NOW + 59))
    assert (waits.state, waits.failed_attempts, waits.not_before) == (JobState.QUEUED, 0, NOW + 59)
    assert kept(put_off(job, 1, NOW + 60)).failure is Failed.EXPIRED


# What several workers with clocks of their own, an owner and time may do, in any order.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "claim",
                "renew",
                "log",
                "complete",
                "fail",
                "hand back",
                "put off",
                "attempt failed",
                "cancel",
                "wait",
            ]
        ),
        st.integers(0, 2),
        st.floats(0, 45, allow_nan=False),
    ),
    max_size=60,
)


@settings(max_examples=400)
@given(STEPS, st.booleans(), st.one_of(st.none(), st.floats(NOW, NOW + 200)))
def test_whatever_happens_one_worker_writes_and_one_end_is_reached(
    steps: list[tuple[str, int, float]], restart: bool, expires_at: float | None
) -> None:
    job, now = replace(WAITING, restart_on_loss=restart, expires_at=expires_at), NOW
    epochs: dict[int, int] = {}
    for step, worker, amount in steps:
        before, epoch = job, epochs.get(worker, -1)
        match step:
            case "wait":
                now += amount
            case "cancel":
                job = cancel(job)
            case "claim":
                had = claim(job, now, LEASE)
                if had is not None:
                    job = had.job
                if isinstance(had, Claimed):
                    assert before.lease_until is None or now >= before.lease_until, "two leases at once"
                    assert job.epoch not in epochs.values()
                    assert had.restarted == before.logged
                    epochs[worker] = job.epoch
            case _:
                moved = _moved(step, job, epoch, now, amount)
                if isinstance(moved, Fenced):
                    assert before.state is not JobState.IN_PROGRESS or before.epoch != epoch or step == "renew"
                else:
                    assert (before.state, before.epoch) == (JobState.IN_PROGRESS, epoch), "a fenced worker wrote"
                    job = moved
        _holds_always(before, job)


def _moved(step: str, job: Job, epoch: int, now: float, amount: float) -> Job | Fenced:
    moves: dict[str, Any] = {
        "renew": lambda: renew(job, epoch, now, LEASE),
        "log": lambda: log_output(job, epoch),
        "complete": lambda: finish(job, epoch, JobState.COMPLETED),
        "fail": lambda: finish(job, epoch, JobState.FAILED),
        "hand back": lambda: hand_back(job, epoch),
        "put off": lambda: put_off(job, epoch, now + amount),
        "attempt failed": lambda: attempt_failed(job, epoch, now),
    }
    moved: Job | Fenced = moves[step]()
    return moved


def _holds_always(before: Job, job: Job) -> None:
    assert job.epoch >= before.epoch
    assert before.state not in TERMINAL or job == before, "an end is final"
    assert (job.lease_until is not None) == (job.state is JobState.IN_PROGRESS)
    assert job.losses <= MAX_LOSSES
    assert job.failed_attempts <= MAX_FAILED_ATTEMPTS
    assert job.losses < MAX_LOSSES or job.state is JobState.FAILED
    assert job.failure is None or job.state is JobState.FAILED
