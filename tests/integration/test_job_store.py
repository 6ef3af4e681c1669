"""What a store of jobs promises: one list, run on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from adapters.database.open import open_database
from adapters.providers.status import LONGEST_WAIT
from service.domain.idempotency import Conflict, Idempotency, Repeated
from service.domain.job_store import (
    Accepted,
    Append,
    ClaimedJob,
    EventPage,
    LoggedEvent,
    Usage,
)
from service.domain.jobs import Failed, JobState
from service.domain.stored import RefusedValueError
from tests.support.job_worlds import CAP, LEASE, LONG, World, world, write

DAY = 86400.0
USAGE = Usage("eu-model", 11, 22)


@pytest.fixture(name="w")
async def a_world(database_url: str) -> AsyncIterator[World]:
    async with world(database_url) as made:
        yield made


async def finish(
    w: World, job: ClaimedJob, state: JobState = JobState.COMPLETED, *, sequence: int | None = None
) -> bool:
    last = Append(job.id, job.epoch, job.sequence if sequence is None else sequence, [b"end"])
    assert state is JobState.COMPLETED or state is JobState.FAILED
    return await w.store.finish(last, state, b"done", USAGE)


async def test_an_accepted_job_is_a_response_a_job_and_its_first_events(w: World) -> None:
    new = w.new(1, trace={"traceparent": "00-aa-bb-01"}, start_within=90.0, log_deltas=True, restart_on_loss=False)
    assert await w.store.accept(new) == Accepted()
    assert await w.store.job("a", "resp_1") == (JobState.QUEUED, 0, 2)
    assert await w.store.events("a", "resp_1", -1, 10) == EventPage(
        [LoggedEvent(0, b"created"), LoggedEvent(1, b"queued")], JobState.QUEUED
    )
    stored = await w.database.responses.get("a", "resp_1")
    assert stored is not None
    assert (stored.status, stored.response, stored.input) == ("queued", b"queued", b"input")
    had = await w.store.claim("w", 5, LEASE, CAP)
    job = had.run[0]
    assert not had.end
    assert job.expires_in == pytest.approx(90.0, abs=5.0)
    assert (job.id, job.owner, job.api, job.epoch, job.sequence) == ("resp_1", "a", "responses", 1, 2)
    assert (job.restarted, job.restart_on_loss, job.log_deltas, job.failed_attempts) == (False, False, True, 0)
    assert (job.request, job.response, job.input) == (b"request", b"queued", b"input")
    assert (job.previous_id, job.trace) == ("resp_before", {"traceparent": "00-aa-bb-01"})


async def test_another_process_claims_it_as_soon_as_accept_returns(w: World) -> None:
    other = open_database(w.url, clock=lambda: w.clock[0])
    for number in range(10):
        await w.accept(number)
        assert [job.id for job in (await other.jobs.claim("o", 5, LEASE, CAP)).run] == [f"resp_{number}"]
    await other.aclose()


async def test_an_accept_that_is_repeated_is_one_job_and_a_foreign_id_is_refused(w: World) -> None:
    assert await w.store.accept(w.new(1)) == Accepted()
    assert await w.store.accept(w.new(1)) == Accepted()
    with pytest.raises(ValueError, match="resp_1"):
        await w.store.accept(w.new(1, owner="b"))
    assert (await w.count("jobs"), await w.count("response_events")) == (1, 2)


async def test_a_repeat_under_a_key_is_the_same_response_and_another_body_a_conflict(w: World) -> None:
    key = Idempotency("k", b"digest")
    assert await w.store.accept(w.new(1, idempotency=key)) == Accepted()
    assert await w.store.accept(w.new(2, idempotency=key)) == Repeated("resp_1")
    assert await w.store.accept(w.new(3, idempotency=Idempotency("k", b"other"))) == Conflict("resp_1")
    # The call itself, repeated because its answer got lost.
    assert await w.store.accept(w.new(1, idempotency=key)) == Accepted()
    assert await w.store.accept(w.new(4, owner="b", idempotency=key)) == Accepted()
    assert await w.store.accept(w.new(5, idempotency=Idempotency("l", b"digest"))) == Accepted()
    assert await w.count("jobs") == await w.count("responses") == 3


@pytest.mark.parametrize(("retention", "kept"), [(60.0, DAY), (3 * DAY, 3 * DAY)])
async def test_a_key_is_kept_as_long_as_the_response_and_a_day_at_least(
    w: World, retention: float, kept: float
) -> None:
    key = Idempotency("k", b"digest")
    await w.store.accept(w.new(1, retention=retention, idempotency=key))
    await w.wait(kept - 10)
    await w.database.responses.sweep(10)
    assert await w.store.accept(w.new(2, idempotency=key)) == Repeated("resp_1")
    await w.wait(20)
    assert await w.store.accept(w.new(3, idempotency=Idempotency("k", b"new"))) == Accepted()
    assert await w.store.accept(w.new(4, idempotency=Idempotency("k", b"new"))) == Repeated("resp_3")


async def test_of_many_accepts_with_one_key_at_once_one_makes_a_job(w: World) -> None:
    key = Idempotency("k", b"digest")
    outcomes = await asyncio.gather(*(w.store.accept(w.new(n, idempotency=key)) for n in range(12)))
    assert sum(isinstance(outcome, Accepted) for outcome in outcomes) == 1
    assert len({outcome.response_id for outcome in outcomes if isinstance(outcome, Repeated)}) == 1
    assert await w.count("jobs") == await w.count("responses") == 1


async def test_a_job_is_not_had_before_its_time(w: World) -> None:
    await w.accept(1, delay=60.0)
    assert await w.claim() == []
    await w.wait(61)
    assert await w.claim() == ["resp_1"]


async def test_a_job_that_nobody_started_in_time_is_claimed_to_be_ended(w: World) -> None:
    await w.accept(1, start_within=60.0, delay=10.0)
    await w.accept(2, start_within=200.0)
    await w.wait(61)
    had = await w.store.claim("w", 10, LEASE, CAP)
    assert [(doomed.job.id, doomed.why) for doomed in had.end] == [("resp_1", Failed.EXPIRED)]
    assert [job.id for job in had.run] == ["resp_2"]
    # Its claimer may be lost, too: it stays what it is and is never run.
    await w.wait(LEASE + 1)
    again = await w.store.claim("w", 10, LEASE, CAP)
    assert [(doomed.job.id, doomed.why, doomed.job.epoch) for doomed in again.end] == [
        ("resp_1", Failed.EXPIRED, 2)
    ]
    last = write(again.end[0].job, b"failed")
    assert await w.store.finish(last, JobState.FAILED, b"expired", None, Failed.EXPIRED)
    assert await w.status("resp_1") == "failed"


async def test_a_job_that_is_too_late_is_ended_though_its_owner_is_at_the_cap(w: World) -> None:
    await w.accept_all([1, 2], start_within=60.0)
    assert await w.claim(cap=1) == ["resp_1"]
    await w.wait(5)
    await w.store.renew([("resp_1", 1)], 600.0)
    await w.wait(60)
    had = await w.store.claim("w", 5, LEASE, 1)
    assert [doomed.job.id for doomed in had.end] == ["resp_2"]


async def test_jobs_are_had_by_priority_then_age_and_age_outweighs_priority(w: World) -> None:
    await w.accept_all([1], priority=2)
    await w.accept_all([2, 3], priority=1)
    await w.accept_all([4, 5], priority=0)
    assert await w.claim(lease=LONG) == ["resp_4", "resp_5", "resp_2", "resp_3", "resp_1"]
    await w.accept_all([11], priority=2)
    await w.wait(61)
    await w.accept_all([12, 13], priority=1)
    await w.wait(61)
    await w.accept_all([14], priority=0)
    # After two minutes the bulk job is like one of high priority that has come before the others.
    assert await w.claim() == ["resp_11", "resp_12", "resp_13", "resp_14"]


async def test_bulk_never_starves_while_high_ones_keep_coming(w: World) -> None:
    await w.accept(0, priority=2)
    had: list[str] = []
    for number in range(1, 40):
        await w.accept_all([2 * number, 2 * number + 1], priority=0)
        had += await w.claim(1, lease=LONG)
        if "resp_0" in had:
            break
        await w.wait(11)
    # Its turn comes when those of high priority that are next have come two minutes after it.
    assert (had[-1], len(had)) == ("resp_0", 23)


async def test_lost_jobs_are_had_first(w: World) -> None:
    await w.accept(1, priority=2)
    assert await w.claim() == ["resp_1"]
    await w.accept_all([2, 3], priority=0)
    await w.wait(LEASE + 1)
    assert await w.claim(2) == ["resp_1", "resp_2"]


async def test_no_owner_has_more_than_its_cap_and_others_get_the_rest(w: World) -> None:
    await w.accept_all(range(6), owner="a", priority=0)
    await w.accept_all(range(10, 12), owner="b", priority=2)
    assert await w.claim(10, cap=3) == ["resp_0", "resp_1", "resp_2", "resp_10", "resp_11"]
    assert await w.claim(10, cap=3) == []
    assert await w.store.put_off("resp_1", 1, 300.0, failed=False)
    assert await w.claim(10, cap=3) == ["resp_3"]


async def test_a_full_owners_long_queue_hides_nobody(w: World) -> None:
    await w.accept_all(range(300), owner="full")
    for number in range(1000, 1005):
        await w.accept(number, owner=f"small{number}", priority=2)
    assert len(await w.claim(2, cap=2)) == 2
    assert sorted(await w.claim(10, cap=2)) == [f"resp_{number}" for number in range(1000, 1005)]


async def test_one_claim_fills_up_from_behind_a_full_owners_queue(w: World) -> None:
    await w.accept_all(range(300), owner="full")
    await w.accept_all([1000, 1001, 1002], owner="small")
    assert await w.claim(4, cap=2) == ["resp_0", "resp_1", "resp_1000", "resp_1001"]


async def test_claims_at_the_same_time_have_no_job_twice(w: World) -> None:
    other = open_database(w.url, clock=lambda: w.clock[0])
    await asyncio.gather(*(w.accept(number) for number in range(200)))
    stores = [w.store, other.jobs]
    had: list[str] = []
    while True:
        claims = await asyncio.gather(*(stores[n % 2].claim(f"w{n}", 7, LEASE, CAP) for n in range(6)))
        ids = [job.id for claim in claims for job in claim.run]
        had += ids
        if not ids:
            break
    assert len(had) == len(set(had)) == 200
    await other.aclose()


async def test_claims_at_the_same_time_keep_to_the_cap_together(w: World) -> None:
    await asyncio.gather(*(w.accept(number) for number in range(100)))
    claims = await asyncio.gather(*(w.store.claim(f"w{n}", 5, LEASE, 8) for n in range(8)))
    assert sum(len(claim.run) for claim in claims) <= 8
    assert len(await w.claim(50, cap=8)) == 8 - sum(len(claim.run) for claim in claims)


async def test_a_claim_of_nothing_is_nothing(w: World) -> None:
    await w.accept(1)
    assert await w.claim(0) == []
    assert await w.status("resp_1") == "queued"


async def test_a_lease_ends_by_the_stores_own_clock(w: World) -> None:
    await w.accept(1)
    assert await w.claim(lease=0.3) == ["resp_1"]
    assert await w.store.renew([("resp_1", 1)], 0.4) == {("resp_1", 1)}
    assert await w.claim() == []
    w.clock[0] += 0.5
    await asyncio.sleep(0.5)
    assert await w.store.renew([("resp_1", 1)], LEASE) == frozenset()
    assert await w.claim() == ["resp_1"]


async def test_renewing_keeps_what_is_held_and_names_nothing_else(w: World) -> None:
    await w.accept_all([1, 2, 3, 4])
    await w.claim()
    await finish(w, ClaimedJob("resp_2", "a", "", 1, 2, False, 0, True, None, False, b"", b"", b"", None, {}))
    await w.store.cancel("a", "resp_3", 1, b"cancelled", b"cancelled")
    asked = [("resp_1", 1), ("resp_2", 1), ("resp_3", 1), ("resp_4", 2), ("resp_9", 1)]
    await w.wait(LEASE - 5)
    assert await w.store.held(asked) == {("resp_1", 1)}
    assert await w.store.renew(asked, LEASE) == {("resp_1", 1)}
    await w.wait(10)
    assert await w.claim() == ["resp_4"]
    assert await w.store.renew([], LEASE) == await w.store.held([]) == frozenset()


async def test_a_third_lost_worker_is_the_end(w: World) -> None:
    await w.accept(1)
    for epoch in (1, 2, 3):
        job = await w.claim_one()
        assert (job.epoch, job.restarted) == (epoch, False)
        await w.wait(LEASE + 1)
    had = await w.store.claim("w", 5, LEASE, CAP)
    assert not had.run
    assert [(doomed.job.id, doomed.job.epoch, doomed.why) for doomed in had.end] == [
        ("resp_1", 4, Failed.WORKER_LOST)
    ]
    last = write(had.end[0].job, b"failed")
    assert await w.store.finish(last, JobState.FAILED, b"lost", None, Failed.WORKER_LOST)
    assert await w.execute("SELECT status, failure, losses FROM jobs") == [("failed", "worker_lost", 3)]


async def test_readers_are_told_of_every_restart_until_one_is_known_to_be_told(w: World) -> None:
    await w.accept(1)
    job = await w.claim_one()
    await w.store.append([write(job, b"delta", output=True)])
    await w.wait(LEASE + 1)
    assert (await w.claim_one()).restarted
    # Lost before it could append the marker.
    await w.wait(LEASE + 1)
    assert (await w.claim_one()).restarted


async def test_a_job_whose_output_was_seen_may_not_begin_again_where_its_owner_says_so(w: World) -> None:
    await w.accept_all([1, 2, 3], restart_on_loss=False)
    jobs = (await w.store.claim("w", 3, LEASE, CAP)).run
    await w.store.append([write(jobs[0], b"delta", output=True), write(jobs[1], b"in_progress")])
    await w.store.append([write(jobs[2], b"delta", output=True)])
    await w.store.hand_back([("resp_3", 1)])
    assert await w.store.append([Append("resp_3", 1, 3, [b"late"])]) == {("resp_3", 1)}
    assert not await finish(w, jobs[2], sequence=3)
    had = await w.store.claim("w", 5, LEASE, CAP)
    assert [(doomed.job.id, doomed.why) for doomed in had.end] == [("resp_3", Failed.WORKER_LOST)]
    assert await w.execute("SELECT losses FROM jobs WHERE id = 'resp_3'") == [(0,)]
    await w.wait(LEASE + 1)
    had = await w.store.claim("w", 5, LEASE, CAP)
    assert {doomed.job.id for doomed in had.end} == {"resp_1", "resp_3"}
    assert [(job.id, job.restarted) for job in had.run] == [("resp_2", False)]


async def test_jobs_handed_back_wait_again_with_nothing_counted(w: World) -> None:
    await w.accept_all([1, 2])
    await w.claim()
    await w.store.hand_back([("resp_1", 1), ("resp_2", 9), ("resp_9", 1)])
    await w.store.hand_back([])
    assert (await w.status("resp_1"), await w.status("resp_2")) == ("queued", "in_progress")
    job = await w.claim_one()
    assert (job.id, job.epoch, job.failed_attempts) == ("resp_1", 2, 0)
    assert await w.execute("SELECT losses FROM jobs WHERE id = 'resp_1'") == [(0,)]


async def test_a_job_that_is_put_off_waits_and_counts_only_failed_attempts(w: World) -> None:
    await w.accept(1)
    for failed, counted in ((True, 1), (False, 1), (True, 2)):
        job = await w.claim_one()
        assert await w.store.put_off("resp_1", job.epoch, 20.0, failed=failed)
        assert not await w.store.put_off("resp_1", job.epoch, 20.0, failed=failed)
        assert await w.status("resp_1") == "queued"
        assert await w.claim() == []
        await w.wait(21)
        assert await w.execute("SELECT failed_attempts FROM jobs") == [(counted,)]


async def test_a_moment_beyond_what_the_database_can_hold_is_no_fault_that_may_pass(postgres_url: str) -> None:
    async with world(postgres_url) as w:
        await w.accept(1)
        job = await w.claim_one()
        with pytest.raises(RefusedValueError, match="DatetimeFieldOverflowError"):
            await w.store.put_off("resp_1", job.epoch, 1e13, failed=False)
        with pytest.raises(RefusedValueError, match="DataError 22000"):
            await w.store.put_off("resp_1", 2**40, 1.0, failed=False)
        assert await w.status("resp_1") == "in_progress"
        assert await w.store.put_off("resp_1", job.epoch, LONGEST_WAIT, failed=False)


async def test_events_of_many_jobs_are_appended_in_one_call_without_gaps(w: World) -> None:
    await w.accept_all(range(5))
    jobs = (await w.store.claim("w", 5, LEASE, CAP)).run
    for turn in range(4):
        appends = [
            Append(job.id, job.epoch, job.sequence + 2 * turn, [b"%d" % turn, b"\0\xff" * 500]) for job in jobs
        ]
        assert await w.store.append(appends) == frozenset()
    for job in jobs:
        assert (await w.bodies(job.id))[2::2] == [b"0", b"1", b"2", b"3"]
        assert await w.store.job("a", job.id) == (JobState.IN_PROGRESS, 1, 10)
    assert await w.store.append([]) == frozenset()


async def test_a_fenced_append_writes_nothing_and_hinders_no_other(w: World) -> None:
    await w.accept_all([1, 2, 3, 4])
    jobs = {job.id: job for job in (await w.store.claim("w", 4, LEASE, CAP)).run}
    await w.store.cancel("a", "resp_2", 1, b"c", b"cancelled")
    await w.store.hand_back([("resp_3", 1)])
    appends = [write(job, b"x") for job in jobs.values()]
    appends[3] = Append("resp_4", 2, 2, [b"x"])
    appends.append(Append("resp_9", 1, 0, [b"x"]))
    assert await w.store.append(appends) == {("resp_2", 1), ("resp_3", 1), ("resp_4", 2), ("resp_9", 1)}
    assert await w.bodies("resp_1") == [b"created", b"queued", b"x"]
    assert await w.bodies("resp_2") == [b"created", b"queued", b"cancelled"]
    assert await w.bodies("resp_3") == await w.bodies("resp_4") == [b"created", b"queued"]


async def test_an_append_that_is_repeated_is_written_once_and_a_gap_never(w: World) -> None:
    await w.accept(1)
    job = await w.claim_one()
    assert await w.store.append([write(job, b"x", b"y")]) == frozenset()
    assert await w.store.append([write(job, b"x", b"y")]) == frozenset()
    # Repeated with what came in the meantime.
    assert await w.store.append([write(job, b"x", b"y", b"z")]) == frozenset()
    assert await w.store.append([Append(job.id, 1, 6, [b"gap"])]) == {("resp_1", 1)}
    assert await w.bodies("resp_1") == [b"created", b"queued", b"x", b"y", b"z"]
    assert not await finish(w, job, sequence=6)
    assert await finish(w, job, sequence=5)
    with pytest.raises(ValueError, match="different jobs"):
        await w.store.append([write(job, b"x"), write(job, b"y")])


async def test_a_job_ends_with_its_state_object_last_event_and_usage_at_once(w: World) -> None:
    await w.accept(1)
    job = await w.claim_one()
    assert await finish(w, job)
    assert await w.store.job("a", "resp_1") == (JobState.COMPLETED, 1, 3)
    stored = await w.database.responses.get("a", "resp_1")
    assert stored is not None
    assert (stored.status, stored.response, stored.input) == ("completed", b"done", b"input")
    assert await w.bodies("resp_1") == [b"created", b"queued", b"end"]
    columns = "response_id, owner, model, input_tokens, output_tokens"
    assert await w.execute(f"SELECT {columns} FROM usage_records") == [("resp_1", "a", "eu-model", 11, 22)]
    # Nobody needs it any more.
    assert await w.count("job_requests") == 0


async def test_an_end_is_final_and_a_repeat_of_it_is_told_so(w: World) -> None:
    await w.accept(1)
    job = await w.claim_one()
    assert await finish(w, job)
    assert await finish(w, job), "the same end again, because its answer got lost"
    assert not await finish(w, job, JobState.FAILED)
    assert not await w.store.put_off("resp_1", 1, 5.0, failed=True)
    assert not await w.store.cancel("a", "resp_1", 1, b"c", b"c")
    await w.store.hand_back([("resp_1", 1)])
    await w.wait(LEASE + 1)
    assert await w.claim() == []
    assert await w.bodies("resp_1") == [b"created", b"queued", b"end"]
    assert await w.count("usage_records") == 1


async def test_a_worker_may_finish_after_its_lease_until_somebody_claims_the_job(w: World) -> None:
    await w.accept_all([1, 2])
    jobs = (await w.store.claim("w", 2, LEASE, CAP)).run
    await w.wait(LEASE + 1)
    assert await finish(w, jobs[0])
    assert await w.claim() == ["resp_2"]
    assert not await finish(w, jobs[1])
    assert await w.status("resp_2") == "in_progress"
    assert await w.count("usage_records") == 1


@pytest.mark.parametrize("running", [False, True])
async def test_a_cancel_writes_state_object_and_event_and_fences_the_worker(w: World, running: bool) -> None:
    await w.accept(1)
    if running:
        await w.claim()
    epoch = int(running)
    assert not await w.store.cancel("b", "resp_1", epoch, b"c", b"c")
    assert not await w.store.cancel("a", "resp_1", epoch + 1, b"c", b"c")
    assert not await w.store.cancel("a", "resp_9", 0, b"c", b"c")
    assert await w.store.cancel("a", "resp_1", epoch, b"object", b"cancelled")
    assert not await w.store.cancel("a", "resp_1", epoch, b"c", b"c")
    assert not await w.store.cancel("a", "resp_1", epoch + 1, b"c", b"c")
    assert await w.store.job("a", "resp_1") == (JobState.CANCELLED, epoch + 1, 3)
    stored = await w.database.responses.get("a", "resp_1")
    assert stored is not None
    assert (stored.status, stored.response) == ("cancelled", b"object")
    assert await w.bodies("resp_1") == [b"created", b"queued", b"cancelled"]
    for late in (epoch, epoch + 1):
        assert await w.store.append([Append("resp_1", late, 3, [b"x"])]) == {("resp_1", late)}
        assert not await w.store.finish(Append("resp_1", late, 3, [b"x"]), JobState.COMPLETED, b"x", None)
    await w.wait(LEASE + 1)
    assert await w.claim() == []


async def test_of_a_cancel_and_a_finish_at_the_same_time_one_wins_whole(w: World) -> None:
    for number in range(25):
        await w.accept(number)
        job = await w.claim_one()
        cancelled, finished = await asyncio.gather(
            w.store.cancel("a", job.id, 1, b"cancelled", b"cancelled"), finish(w, job)
        )
        assert cancelled != finished
        assert await w.bodies(job.id) == [b"created", b"queued", b"cancelled" if cancelled else b"end"]
        assert await w.status(job.id) == ("cancelled" if cancelled else "completed")


async def test_of_a_cancel_and_a_claim_at_the_same_time_one_comes_first(w: World) -> None:
    for number in range(25):
        await w.accept(number)
        cancelled, claimed = await asyncio.gather(w.store.cancel("a", f"resp_{number}", 0, b"c", b"c"), w.claim())
        assert cancelled == (not claimed)
        assert await w.status(f"resp_{number}") == ("cancelled" if cancelled else "in_progress")


@pytest.mark.parametrize("state", ["queued", "in_progress", "completed", "cancelled"])
async def test_a_delete_in_any_state_leaves_nothing_and_fences_the_worker(w: World, state: str) -> None:
    await w.accept(1)
    if state == "cancelled":
        await w.store.cancel("a", "resp_1", 0, b"c", b"c")
    elif state != "queued":
        job = await w.claim_one()
        if state == "completed":
            await finish(w, job)
    assert await w.status("resp_1") == state
    assert not await w.database.responses.delete("b", "resp_1")
    assert await w.database.responses.delete("a", "resp_1")
    assert not await w.database.responses.delete("a", "resp_1")
    assert await w.store.job("a", "resp_1") is None
    assert await w.store.events("a", "resp_1", -1, 5) == EventPage((), None)
    assert await w.store.append([Append("resp_1", 1, 2, [b"x"])]) == {("resp_1", 1)}
    assert not await w.store.finish(Append("resp_1", 1, 2, [b"x"]), JobState.COMPLETED, b"x", None)
    assert not await w.store.cancel("a", "resp_1", 0, b"c", b"c")
    assert await w.claim() == []
    for table in ("responses", "jobs", "job_requests", "response_events"):
        assert await w.count(table) == 0, table


async def test_a_delete_beside_appends_leaves_no_event_behind(w: World) -> None:
    await w.accept_all(range(20))
    for job in (await w.store.claim("w", 20, LEASE, CAP)).run:
        writes = [w.store.append([Append(job.id, 1, 2 + turn, [b"x"])]) for turn in range(5)]
        await asyncio.gather(*writes, w.database.responses.delete("a", job.id))
    assert await w.count("response_events") == await w.count("jobs") == 0


async def test_what_is_another_owners_or_expired_does_not_exist(w: World) -> None:
    await w.accept(1, retention=100.0)
    await w.accept(2, owner="b")
    assert await w.store.job("b", "resp_1") is None
    assert await w.store.events("b", "resp_1", -1, 5) == EventPage((), None)
    await w.wait(101)
    assert await w.store.job("a", "resp_1") is None
    assert await w.store.events("a", "resp_1", -1, 5) == EventPage((), None)
    assert not await w.store.cancel("a", "resp_1", 0, b"c", b"c")
    assert await w.claim() == ["resp_2"]


@pytest.mark.parametrize("wrong", ["resp_\0", "resp_\ud800", "", "é" * 5000])
async def test_ids_that_no_database_can_hold_are_unknown_not_errors(w: World, wrong: str) -> None:
    assert await w.store.job("a", wrong) is None
    assert await w.store.events("a", wrong, -1, 5) == EventPage((), None)
    assert not await w.store.cancel("a", wrong, 0, b"c", b"c")


async def test_events_come_in_pages_and_the_last_says_that_it_is_the_end(w: World) -> None:
    await w.accept(1)
    job = await w.claim_one()
    await w.store.append([write(job, *(b"%d" % number for number in range(2, 9)))])
    await finish(w, job, sequence=9)
    after, pages = -1, []
    while True:
        page = await w.store.events("a", "resp_1", after, 4)
        assert page.state is JobState.COMPLETED
        pages.append([event.sequence for event in page.events])
        if len(page.events) < 4:
            break
        after = page.events[-1].sequence
    assert pages == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    for beyond in (9, 10**12):
        assert await w.store.events("a", "resp_1", beyond, 4) == EventPage([], JobState.COMPLETED)


async def test_a_reader_never_sees_a_gap_while_workers_write(w: World) -> None:
    await w.accept(1)
    job = await w.claim_one()

    async def work() -> None:
        for number in range(2, 80):
            await w.store.append([Append("resp_1", 1, number, [b"x"])])
        await w.store.finish(Append("resp_1", 1, 80, [b"end"]), JobState.COMPLETED, b"done", None)

    async def read() -> list[int]:
        seen: list[int] = []
        while True:
            page = await w.store.events("a", "resp_1", seen[-1] if seen else -1, 7)
            seen += [event.sequence for event in page.events]
            if page.state is JobState.COMPLETED and len(page.events) < 7:
                return seen

    assert job.sequence == 2
    _, *read_by = await asyncio.gather(work(), read(), read())
    assert read_by == [list(range(81))] * 2


async def test_a_sweep_takes_jobs_events_and_keys_of_expired_responses_and_keeps_usage(w: World) -> None:
    key = Idempotency("k", b"d")
    await w.accept(1, retention=100.0, idempotency=key)
    await w.accept(2, retention=LONG)
    await finish(w, await w.claim_one())
    await w.wait(DAY + 1)
    assert [await w.database.responses.sweep(10), await w.database.responses.sweep(10)] == [1, 0]
    assert await w.status("resp_2") == "queued"
    counts = [await w.count(table) for table in ("responses", "jobs", "job_requests", "response_events")]
    assert counts == [1, 1, 1, 2]
    assert (await w.count("idempotency"), await w.count("usage_records")) == (0, 1)


async def test_a_sweep_is_short_however_long_the_logs_are(w: World) -> None:
    for number in range(4):
        await w.accept(number, retention=10.0, events=[b"x"] * 6000)
    await w.wait(11)
    swept = [await w.database.responses.sweep(100) for _ in range(3)]
    assert swept == [2, 2, 0]
    assert await w.count("response_events") == 0


async def test_every_move_at_once_ends_in_no_deadlock(w: World) -> None:
    await w.accept_all(range(40))
    held = [(job.id, job.epoch) for job in (await w.store.claim("w", 40, LEASE, CAP)).run]
    for turn in range(6):
        appends = [Append(job_id, epoch, 2 + turn, [b"x"]) for job_id, epoch in held]
        fenced, kept, back, *_ = await asyncio.gather(
            w.store.append(appends[::-1]),
            w.store.renew(held, LEASE),
            w.store.renew(held[::-1], LEASE),
            w.claim(),
            w.database.responses.sweep(10),
        )
        assert (len(fenced), len(kept), len(back)) == (0, 40, 40)
    await asyncio.gather(
        w.store.hand_back(held[:20]),
        w.store.append([Append(job_id, epoch, 8, [b"x"]) for job_id, epoch in held[::-1]]),
        *(w.store.cancel("a", job_id, epoch, b"c", b"c") for job_id, epoch in held[10:30]),
        *(w.database.responses.delete("a", job_id) for job_id, _ in held[15:35]),
    )
    assert await w.count("jobs") == 20
