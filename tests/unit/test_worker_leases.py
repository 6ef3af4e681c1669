"""Leases and the fence: a worker that may have lost a job neither writes nor asks for it."""

from __future__ import annotations

import pytest

from service.domain.events import Event, Finish, FinishReason, TextDelta
from service.domain.failure import FailureKind
from service.domain.jobs import MAX_LOSSES, JobState
from service.domain.stored import RefusedValueError, StoreError
from tests.support.upstreams import Hang, Pause, Script, fails, says
from tests.support.working import ALPHA, World, until
from workers.leases import Leases, LeaseTimes

HANGS = Script(([TextDelta("first words")], Hang()))
ENDS: list[Event] = [TextDelta("!"), Finish(FinishReason.STOP, "stop")]


def said(world: World, job: str = "") -> str:
    return "".join(event.output_text_delta.delta for event in world.fake.read(job))


async def test_a_clock_that_jumps_past_the_lease_fences_before_anything_is_written() -> None:
    steps = ([TextDelta("a")], Pause(0.2), ENDS)
    world = World(Script(steps), times=LeaseTimes(compare=5.0))
    await world.accept(log_deltas=True)
    async with world.working():
        await until(lambda: said(world) == "a")
        written = len(world.fake.appends)
        world.boot.forward(27.5)
        await until(lambda: bool(world.telemetry.outcomes))
    assert world.telemetry.outcomes == ["fenced"]
    assert len(world.fake.appends) == written
    assert "finish" not in world.fake.asked
    assert world.fake.row().job.state is JobState.IN_PROGRESS, "it waits for the lease to end"
    assert said(world) == "a"


def slow_claims(world: World, *seconds: float) -> None:
    """The next claims are answered so late."""
    claim, left = world.fake.claim, list(seconds)

    async def slow_claim(*args: object) -> object:
        claimed = await claim(*args)  # type: ignore[arg-type]
        world.boot.forward(left.pop(0) if left else 0.0)
        return claimed

    world.fake.claim = slow_claim  # type: ignore[assignment]


@pytest.mark.parametrize("seconds", [17.5, 28.0])
async def test_jobs_whose_claim_comes_too_late_to_begin_them_are_handed_back_as_often_as_it_takes(
    seconds: float,
) -> None:
    world = World()
    jobs = [await world.accept() for _ in range(2)]
    slow_claims(world, *[seconds] * (MAX_LOSSES + 1))
    await world.drained(2 * (MAX_LOSSES + 2))
    assert world.telemetry.outcomes == ["handed_back"] * 2 * (MAX_LOSSES + 1) + ["completed"] * 2
    assert [world.fake.row(job).job.losses for job in jobs] == [0, 0]
    assert len(world.upstream.asked()) == 2


async def test_a_job_whose_claim_leaves_time_to_renew_its_lease_is_run() -> None:
    world = World()
    await world.accept()
    slow_claims(world, 16.5)
    await world.drained(1)
    assert world.telemetry.outcomes == ["completed"]


async def test_jobs_that_can_not_be_handed_back_either_are_not_begun() -> None:
    world = World()
    await world.accept()
    slow_claims(world, 28.0)

    async def refuses(_held: object) -> None:
        raise StoreError("the database is away")

    world.fake.hand_back = refuses  # type: ignore[assignment]
    async with world.working():
        await until(lambda: "hand_back" in world.telemetry.failures)
    assert (world.telemetry.outcomes, world.upstream.asked()) == ([], [])
    assert world.fake.row().job.state is JobState.IN_PROGRESS, "it waits for the lease to end"


async def test_a_lease_that_began_before_the_last_renewal_is_renewed_at_the_next_turn() -> None:
    world = World()
    leases = Leases(world.store, world.telemetry, LeaseTimes(), clock=world.boot)
    job = await world.accept()
    sent = world.boot()
    claimed = (await world.fake.claim("w", 1, 30.0, 10)).run[0]
    world.boot.forward(16)
    # Nothing is held yet: this notes that all is renewed.
    await leases.look_after()
    lease = leases.hold(job, claimed.epoch, sent)
    await leases.look_after()
    assert world.fake.asked[-1] == "renew"
    assert lease.until == pytest.approx(sent + 16 + 27, abs=0.5)


async def test_a_write_whose_value_the_database_refuses_is_not_asked_for_again() -> None:
    world = World(fails(FailureKind.RATE_LIMITED, retry_after=60.0))
    await world.accept()
    asked: list[float] = []

    async def refuses(job_id: str, epoch: int, delay: float, *, failed: bool) -> bool:
        asked.append(delay)
        raise RefusedValueError("the statement failed (DatetimeFieldOverflowError 22008)")

    world.fake.put_off = refuses  # type: ignore[method-assign]
    await world.drained(1)
    assert world.telemetry.outcomes == ["crashed"]
    assert len(asked) == 1
    assert world.fake.row().job.state is JobState.IN_PROGRESS, "it waits for the lease to end"


async def test_no_upstream_call_begins_when_the_lease_ended_while_it_was_prepared() -> None:
    world = World(times=LeaseTimes(compare=5.0))
    earlier = await world.accept()
    await world.drained(1)
    later = await world.accept(request={"previous_response_id": earlier})
    chain = world.fake.chain

    async def slow_chain(*args: object, **options: object) -> object:
        world.boot.forward(28)
        return await chain(*args, **options)  # type: ignore[arg-type]

    world.fake.chain = slow_chain  # type: ignore[assignment]
    await world.drained(2)
    assert world.telemetry.outcomes == ["completed", "fenced"]
    assert world.upstream.asked() == [ALPHA]
    assert world.fake.row(later).job.state is JobState.IN_PROGRESS


async def test_a_lease_that_can_not_be_renewed_ends_by_itself() -> None:
    world = World(HANGS, times=LeaseTimes(length=1.0, margin=0.2, compare=0.05))
    await world.accept()
    async with world.working():
        await until(lambda: world.fake.row().job.logged)
        world.fake.down = True
        await until(lambda: world.upstream.open_streams == 0, seconds=1.0)
        assert "renew" in world.telemetry.failures
        world.fake.down = False
    assert world.telemetry.outcomes[0] == "fenced"


async def test_leases_are_renewed_all_at_once_for_as_long_as_jobs_run() -> None:
    times = LeaseTimes(length=0.6, margin=0.2, compare=0.05)
    world = World(Script(([TextDelta("a")], Pause(1.5), ENDS)), times=times)
    for _ in range(5):
        await world.accept()
    await world.drained(5)
    assert world.telemetry.outcomes == ["completed"] * 5
    assert 5 <= world.fake.asked.count("renew") <= 15


async def test_a_renewal_counts_from_before_it_was_sent() -> None:
    world = World(times=LeaseTimes(length=30.0, margin=3.0, compare=0.05))
    leases = Leases(world.store, world.telemetry, LeaseTimes(), clock=world.boot)
    job = await world.accept()
    claimed = (await world.fake.claim("w", 1, 30.0, 10)).run[0]
    lease = leases.hold(job, claimed.epoch, world.boot())
    renew = world.fake.renew

    async def slow_renew(*args: object) -> object:
        still = await renew(*args)  # type: ignore[arg-type]
        world.boot.forward(5)
        return still

    world.fake.renew = slow_renew  # type: ignore[assignment]
    world.boot.forward(20)
    sent = world.boot()
    await leases.look_after()
    assert lease.until == pytest.approx(sent + 27, abs=0.1)
    world.boot.forward(21)
    assert lease.holds()
    world.boot.forward(1.5)
    assert not lease.holds()


def test_a_margin_that_leaves_no_time_to_renew_is_refused() -> None:
    with pytest.raises(ValueError, match="margin"):
        LeaseTimes(length=3.0, margin=2.5)


async def test_a_job_that_comes_back_to_the_worker_that_runs_it_is_run_once() -> None:
    world = World([HANGS, says("anew")])
    job = await world.accept(log_deltas=True)
    async with world.working():
        await until(lambda: said(world) == "first words")
        world.clock.forward(31)
        await until(lambda: len(world.telemetry.outcomes) == 2)
    assert sorted(world.telemetry.outcomes) == ["completed", "fenced"]
    assert said(world, job) == "first words" + "anew"
    assert world.upstream.open_streams == 0
