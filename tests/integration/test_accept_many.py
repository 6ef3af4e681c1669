"""Jobs accepted many at once: each as if it were alone, on SQLite and on PostgreSQL, with and without outbox."""

import asyncio
from collections.abc import AsyncIterator
from secrets import token_hex

import pytest

from adapters.database.open import DatabaseOptions, open_database
from service.domain.idempotency import Conflict, Idempotency, Repeated, Reserved
from service.domain.job_store import Accepted, JobOrigin, NewJob, Priority, Unstorable
from service.domain.jobs import JobState
from service.domain.outbox import OutboxKind
from tests.support.job_worlds import CAP, LONG, World, world
from tests.support.outbox_worlds import OutboxWorld, outbox_world


@pytest.fixture(name="w", params=["plain", "outbox"])
async def a_world(database_url: str, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with world(database_url) if request.param == "plain" else outbox_world(database_url) as made:
        yield made


def keyed(w: World, number: int, key: str, digest: bytes = b"d", owner: str = "a") -> NewJob:
    return w.new(number, owner=owner, idempotency=Idempotency(key, digest))


async def test_each_is_stored_as_if_it_were_alone(w: World) -> None:
    one = w.new(1, trace={"traceparent": "t"}, log_deltas=True, group="g", priority=Priority.HIGH)
    two = w.new(2, owner="b", events=[], restart_on_loss=False, start_within=50.0)
    later = w.new(3, delay=100.0, events=[b"1", b"2", b"3"])
    assert await w.store.accept_many([one, two, later]) == [Accepted()] * 3
    had = {job.id: job for job in (await w.store.claim("w", 5, LONG, CAP)).run}
    assert set(had) == {"resp_1", "resp_2"}
    assert (had["resp_1"].trace, had["resp_1"].log_deltas, had["resp_1"].sequence) == (
        {"traceparent": "t"},
        True,
        2,
    )
    assert (had["resp_2"].owner, had["resp_2"].restart_on_loss, had["resp_2"].sequence) == ("b", False, 0)
    assert had["resp_2"].expires_in == pytest.approx(50.0, abs=5.0)
    assert (had["resp_2"].request, had["resp_2"].response, had["resp_2"].input) == (
        b"request",
        b"queued",
        b"input",
    )
    assert had["resp_2"].previous_id == "resp_before"
    assert await w.bodies("resp_1") == [b"created", b"queued"]
    assert await w.bodies("resp_3") == [b"1", b"2", b"3"]
    assert await w.store.job("a", "resp_3") == (JobState.QUEUED, 0, 3)
    await w.wait(101.0)
    assert await w.claim() == ["resp_3"]


async def test_none_are_nothing(w: World) -> None:
    assert list(await w.store.accept_many([])) == []


async def test_repeats_and_conflicts_stop_nobody_else(w: World) -> None:
    await w.store.accept(keyed(w, 1, "k1"))
    outcomes = await w.store.accept_many(
        [
            keyed(w, 1, "k1"),
            keyed(w, 2, "k1"),
            keyed(w, 3, "k1", b"other"),
            keyed(w, 4, "k1", owner="b"),
            keyed(w, 5, "k5"),
        ]
    )
    assert outcomes == [Accepted(), Repeated("resp_1"), Conflict("resp_1"), Accepted(), Accepted()]
    assert await w.count("jobs") == 3
    assert await w.count("idempotency") == 3


async def test_repeats_within_one_call_are_told_as_if_they_came_one_after_the_other(w: World) -> None:
    outcomes = await w.store.accept_many(
        [
            keyed(w, 1, "k"),
            keyed(w, 1, "k"),
            keyed(w, 2, "k"),
            keyed(w, 3, "k", b"other"),
            keyed(w, 1, "another key"),
            w.new(4),
            w.new(4),
            w.new(4, owner="b"),
        ]
    )
    assert outcomes == [
        *(Accepted(), Accepted(), Repeated("resp_1"), Conflict("resp_1"), Conflict("resp_1")),
        *(Accepted(), Accepted(), Conflict("resp_4")),
    ]
    assert await w.count("jobs") == 2
    assert await w.count("response_events") == 4
    assert await w.count("idempotency") == 1


async def test_an_id_under_another_identity_is_a_conflict_and_never_written_over(w: World) -> None:
    await w.store.accept(w.new(1))
    await w.store.accept(keyed(w, 2, "k2"))
    await w.database.responses.insert(w.new(3).response)
    outcomes = await w.store.accept_many(
        [
            w.new(1),
            w.new(1, owner="b"),
            keyed(w, 1, "k1"),
            keyed(w, 2, "other"),
            keyed(w, 2, "k2", owner="b"),
            w.new(3),
            keyed(w, 3, "k3"),
            keyed(w, 9, "k9"),
        ]
    )
    assert outcomes == [
        *(Accepted(), Conflict("resp_1"), Conflict("resp_1"), Conflict("resp_2"), Conflict("resp_2")),
        *(Conflict("resp_3"), Conflict("resp_3"), Accepted()),
    ]
    assert (await w.count("jobs"), await w.count("responses")) == (3, 4)
    # Nobody's key was taken by a job that was not stored.
    assert await w.count("idempotency") == 2
    assert await w.store.job("b", "resp_1") is None


async def test_a_key_whose_time_is_over_is_taken_anew_and_one_that_runs_is_a_repeat(w: World) -> None:
    await w.database.keys.reserve("a", Idempotency("running", b"d"), "resp_8", 60.0)
    await w.store.accept_many([w.new(1, retention=10.0, idempotency=Idempotency("k", b"d"))])
    await w.wait(LONG)
    assert await w.store.accept_many([keyed(w, 2, "k", b"new")]) == [Accepted()]
    assert await w.database.keys.reserve("a", Idempotency("r", b"d"), "resp_7", 60.0) == Reserved()
    assert await w.store.accept_many([keyed(w, 5, "r")]) == [Repeated("resp_7")]


async def test_a_value_that_no_database_holds_spoils_nothing_for_its_neighbours(w: World) -> None:
    jobs = [w.new(10), w.new(1, group="\ud800"), w.new(11), keyed(w, 12, "k")]
    outcomes = await w.store.accept_many(jobs)
    assert outcomes == [Accepted(), Unstorable(), Accepted(), Accepted()]
    assert await w.count("jobs") == 3
    assert await w.count("responses") == 3
    assert await w.count("response_events") == 6


async def test_what_only_one_database_refuses_is_refused_there_alone(postgres_url: str) -> None:
    async with outbox_world(postgres_url) as w:
        bad = [w.new(1, group="a\x00b"), w.new(2, delay=float("nan")), w.new(3, owner="\ud800")]
        jobs = [w.new(10), *bad, *(w.new(number) for number in range(20, 40))]
        outcomes = await w.store.accept_many(jobs)
        assert outcomes == [Accepted(), Unstorable(), Unstorable(), Unstorable(), *[Accepted()] * 20]
        assert await w.count("jobs") == 21


async def test_a_constraint_that_one_breaks_spoils_nothing_for_its_neighbours(w: World) -> None:
    """What is left of another job under an id is in the way of that id alone, and a database that answers."""
    blob = "x'00'" if w.url.startswith("sqlite") else "'\\x00'"
    await w.execute(
        f"INSERT INTO job_requests (id, trace, request) VALUES ('resp_5', '{{}}', {blob}) RETURNING id"
    )
    jobs = [w.new(4), keyed(w, 5, "k5"), *(w.new(number) for number in range(6, 20))]
    for _ in range(2):
        assert await w.store.accept_many(jobs) == [Accepted(), Conflict("resp_5"), *[Accepted()] * 14]
    assert await w.store.accept_many(jobs[1:2]) == [Conflict("resp_5")]
    assert (await w.count("jobs"), await w.count("idempotency")) == (15, 0)


async def test_a_value_too_large_for_an_index_is_of_its_job_alone(postgres_url: str) -> None:
    async with outbox_world(postgres_url) as w:
        jobs = [
            w.new(1),
            w.new(2, group=token_hex(20_000)),
            w.new(3, idempotency=Idempotency(token_hex(20_000), b"d")),
        ]
        assert await w.store.accept_many([*jobs, w.new(4)]) == [Accepted(), Unstorable(), Unstorable(), Accepted()]


async def test_no_number_where_one_is_needed_is_of_its_job_alone(sqlite_url: str) -> None:
    async with outbox_world(sqlite_url) as w:
        jobs = [w.new(1), w.new(2, delay=float("nan")), w.new(3)]
        assert await w.store.accept_many(jobs) == [Accepted(), Unstorable(), Accepted()]


async def test_batches_with_the_same_records_at_the_same_time_store_each_once(w: World) -> None:
    others = [
        open_database(w.url, DatabaseOptions(outbox=isinstance(w, OutboxWorld)), clock=lambda: w.clock[0])
        for _ in range(3)
    ]
    jobs = [keyed(w, number, f"k{number}") for number in range(60)]
    batches = [jobs, jobs[::-1], jobs[30:] + jobs[:30], jobs[::2] + jobs[1::2]]
    stores = [w.store, *(other.jobs for other in others)]
    for outcomes in await asyncio.gather(
        *(store.accept_many(batch) for store, batch in zip(stores, batches, strict=True))
    ):
        assert outcomes == [Accepted()] * 60
    assert (await w.count("jobs"), await w.count("responses"), await w.count("idempotency")) == (60, 60, 60)
    assert await w.count("response_events") == 120
    for other in others:
        await other.aclose()


async def test_ids_that_two_identities_want_at_the_same_time_are_one_of_theirs(w: World) -> None:
    other = open_database(w.url, DatabaseOptions(outbox=isinstance(w, OutboxWorld)), clock=lambda: w.clock[0])
    await other.prepare()
    mine = [keyed(w, number, f"k{number}") for number in range(100)]
    theirs = [keyed(w, number, f"k{number}", owner="b") for number in range(100)]
    first, second = await asyncio.gather(w.store.accept_many(mine), other.jobs.accept_many(theirs))
    for number, pair in enumerate(zip(first, second, strict=True)):
        assert sorted(pair, key=repr) == [Accepted(), Conflict(f"resp_{number}")]
    assert await w.count("jobs") == 100
    assert await w.count("idempotency") == 100
    await other.aclose()


async def test_with_the_outbox_every_job_that_was_stored_is_told_of(database_url: str) -> None:
    async with outbox_world(database_url) as w:
        origin = JobOrigin("team", b"o")
        jobs = [w.new(1, origin=origin), w.new(1), w.new(2, delay=9.0, origin=JobOrigin(None)), w.new(3)]
        await w.store.accept_many(jobs)
        assert await w.told() == [("wake", "resp_1", 0), ("wake", "resp_3", 0)]
        assert await w.count("job_origins") == 2
        await w.finish_one()
        result = next(row for row in await w.all() if row.record.kind is OutboxKind.RESULT)
        assert result.record.topic == "team"
        assert result.finished is not None
        assert result.finished.origin == b"o"
