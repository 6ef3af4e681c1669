"""The stores do what service/domain/jobs.py says, whatever happens in whatever order."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain import jobs as model
from service.domain.job_store import Append
from service.domain.jobs import Claimed, Ended, Ending, Failed, Fenced, Job, JobState
from tests.support.job_worlds import CAP, World, world

# Time passes in tens of seconds and everything else takes another number of them: what a test itself takes,
# which PostgreSQL counts as well, never decides.
LEASE = 25.0
KINDS = ["renew", "append", "output", "complete", "fail", "hand back", "put off", "attempt failed", "cancel"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["wait"]), st.integers(1, 3), st.just(0)),
        st.tuples(st.sampled_from(["claim"]), st.just(0), st.just(0)),
        # Which job, and how many epochs ago the worker had it.
        st.tuples(st.sampled_from(KINDS), st.integers(0, 1), st.sampled_from([0, 0, 0, 1])),
    ),
    min_size=3,
    max_size=30,
)
ACCEPTED = st.tuples(st.sampled_from([0.0, 15.0]), st.sampled_from([None, 45.0]), st.booleans())


@pytest.fixture(name="w")
async def a_world(database_url: str) -> AsyncIterator[World]:
    async with world(database_url) as made:
        yield made


@dataclass
class Checked:
    """A job beside its model. `doomed`: it failed, and the next claim brings it to be ended."""

    job: Job
    sequence: int = 2
    doomed: bool = False
    now: list[float] = field(default_factory=lambda: [0.0])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, accepted=st.tuples(ACCEPTED, ACCEPTED))
async def test_any_moves_in_any_order_do_to_rows_what_they_do_to_the_model(
    w: World,
    steps: list[tuple[str, int, int]],
    accepted: tuple[tuple[float, float | None, bool], tuple[float, float | None, bool]],
) -> None:
    for table in ("jobs", "responses", "job_requests", "response_events", "usage_records"):
        await w.execute(f"DELETE FROM {table}")
    now = [0.0]
    checked: list[Checked] = []
    for number, (delay, within, restart) in enumerate(accepted):
        job_id = await w.accept(number, delay=delay, start_within=within, restart_on_loss=restart)
        checked.append(Checked(Job(job_id, not_before=delay, expires_at=within, restart_on_loss=restart), now=now))
    for kind, which, before in steps:
        if kind == "wait":
            now[0] += 10.0 * which
            await w.wait(10.0 * which)
        elif kind == "claim":
            await _claim(w, checked)
        else:
            one = checked[which]
            await _move(w, one, kind, one.job.epoch - before)
        for each in checked:
            await _compare(w, each)
    columns = "losses, failed_attempts, logged, failure, lease_until IS NOT NULL, sequence"
    rows = await w.execute(f"SELECT {columns} FROM jobs ORDER BY id")
    assert [(row[0], row[1], bool(row[2]), row[3], bool(row[4]), row[5]) for row in rows] == [
        (
            *(each.job.losses, each.job.failed_attempts, each.job.logged, each.job.failure),
            *(each.job.lease_until is not None or each.doomed, each.sequence),
        )
        for each in checked
    ]


async def _claim(w: World, checked: list[Checked]) -> None:
    had = await w.store.claim("w", 10, LEASE, CAP)
    run = {job.id: job for job in had.run}
    end = {doomed.job.id: doomed for doomed in had.end}
    for one in checked:
        moved = model.claim(one.job, one.now[0], LEASE)
        if isinstance(moved, Claimed):
            job = run.pop(one.job.id)
            one.job = moved.job
            assert (job.epoch, job.sequence, job.restarted) == (one.job.epoch, one.sequence, moved.restarted)
            assert (job.failed_attempts, job.restart_on_loss) == (one.job.failed_attempts, one.job.restart_on_loss)
        elif isinstance(moved, Ended) or one.doomed:
            doomed = end.pop(one.job.id)
            one.job = moved.job if moved is not None else one.job
            # The model has an end at once; here it is claimed for it first.
            one.job = replace(one.job, epoch=one.job.epoch + 1)
            assert (doomed.why, doomed.job.epoch) == (one.job.failure, one.job.epoch)
            one.doomed = True
            assert await _end(w, one, JobState.FAILED, one.job.epoch, doomed.why)
            one.doomed = False
    assert not run
    assert not end


async def _move(w: World, one: Checked, kind: str, epoch: int) -> None:
    job, now, held = one.job, one.now[0], (one.job.id, epoch)
    # What has failed, and only waits to be ended, has another epoch for whoever had it.
    if one.doomed and kind == "cancel":
        return
    match kind:
        case "renew":
            moved = model.renew(job, epoch, now, LEASE)
            assert (await w.store.renew([held], LEASE) == {held}) == isinstance(moved, Job)
        case "append" | "output":
            output = kind == "output"
            moved = (
                model.log_output(job, epoch) if output else model.renew(replace(job, lease_until=1e9), epoch, 0, 0)
            )
            append = Append(job.id, epoch, one.sequence, [b"x", b"y"], output)
            assert (await w.store.append([append]) == frozenset()) == isinstance(moved, Job)
            one.sequence += 2 * isinstance(moved, Job)
            moved = moved if output else job
        case "complete" | "fail":
            state: Ending = JobState.COMPLETED if kind == "complete" else JobState.FAILED
            moved = model.finish(job, epoch, state)
            assert await _end(w, one, state, epoch, None) == isinstance(moved, Job)
        case "hand back":
            moved = model.hand_back(job, epoch)
            await w.store.hand_back([held])
            if isinstance(moved, Job) and moved.over:
                moved, one.doomed = replace(moved, epoch=epoch + 1), True
        case "put off" | "attempt failed":
            moved = await _let_wait(w, one, epoch, failed=kind == "attempt failed")
        case _:
            moved = model.cancel(job)
            done = await w.store.cancel("a", job.id, job.epoch, b"cancelled", b"cancelled")
            assert done == (moved != job)
            one.sequence += done
    if isinstance(moved, Job):
        one.job = moved


async def _let_wait(w: World, one: Checked, epoch: int, *, failed: bool) -> Job | Fenced:
    """As a worker does it: what may not wait ends by `finish`."""
    job, now = one.job, one.now[0]
    delay = model.delay_after(job.failed_attempts + 1) if failed else 15.0
    moved = model.attempt_failed(job, epoch, now) if failed else model.put_off(job, epoch, now + delay)
    if isinstance(moved, Job) and moved.over:
        assert await _end(w, one, JobState.FAILED, epoch, moved.failure)
        # The last attempt is counted in the object that the worker writes, not in the row.
        return replace(moved, failed_attempts=job.failed_attempts)
    assert await w.store.put_off(job.id, epoch, delay, failed=failed) == isinstance(moved, Job)
    return moved


async def _end(w: World, one: Checked, state: Ending, epoch: int, why: Failed | None) -> bool:
    done = await w.store.finish(Append(one.job.id, epoch, one.sequence, [b"end"]), state, b"done", None, why)
    # The same end again is no news, and no refusal.
    again = one.job.over and not one.doomed and (one.job.state, one.job.epoch) == (state, epoch)
    assert done or not again
    one.sequence += done and not again
    return done and not again


async def _compare(w: World, one: Checked) -> None:
    found = await w.store.job("a", one.job.id)
    state = JobState.IN_PROGRESS if one.doomed else one.job.state
    assert found == (state, one.job.epoch, one.sequence)
    stored = await w.database.responses.get("a", one.job.id)
    assert stored is not None
    assert stored.status == state
    page = await w.store.events("a", one.job.id, -1, 1000)
    assert [event.sequence for event in page.events] == list(range(one.sequence))
