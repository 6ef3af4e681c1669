"""What the outbox of a store promises: one list, run on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator
from types import ModuleType

import pytest

from adapters.database import outbox_postgres, outbox_sqlite
from adapters.database.open import open_database
from service.domain.idempotency import Idempotency, Repeated
from service.domain.job_queries import JobFilter
from service.domain.job_store import Accepted, Append, JobOrigin
from service.domain.jobs import JobState
from service.domain.outbox import SHARDS, FinishedJob, OutboxKind, OutboxRecord, OutboxStats, shard_of
from tests.support.job_worlds import LONG, world
from tests.support.outbox_worlds import MIB, RELAY_LEASE, OutboxWorld, outbox_world

ORIGIN = JobOrigin("team.results", b"\x00correlation")


@pytest.fixture(name="w")
async def a_world(database_url: str) -> AsyncIterator[OutboxWorld]:
    async with outbox_world(database_url) as made:
        yield made


def letter(key: bytes | None, value: bytes = b"v", number: int = 0, topic: str | None = None) -> OutboxRecord:
    return OutboxRecord(OutboxKind.DEAD_LETTER, key, [("n", b"%d" % number)], value, topic)


async def test_a_store_that_publishes_nothing_writes_no_row_and_refuses_an_origin(database_url: str) -> None:
    async with world(database_url) as plain:
        await plain.accept(1)
        job = await plain.claim_one()
        assert await plain.store.finish(
            Append(job.id, job.epoch, job.sequence, [b"end"]), JobState.COMPLETED, b"done", None
        )
        await plain.accept(2)
        assert await plain.store.cancel("a", "resp_2", 0, b"cancelled", b"event")
        await plain.accept(3)
        assert await plain.store.cancel_where(JobFilter(owner="a"), 10) == ["resp_3"]
        assert await plain.database.responses.delete("a", "resp_1")
        assert await plain.count("outbox") == 0
        for accept in (
            plain.store.accept(plain.new(9, origin=ORIGIN)),
            plain.store.accept_many([plain.new(8, origin=ORIGIN)]),
        ):
            with pytest.raises(ValueError, match="outbox"):
                await accept
        assert await plain.count("jobs") == 2


async def test_a_job_that_may_begin_wakes_workers_and_one_for_later_does_not(w: OutboxWorld) -> None:
    await w.accept(1)
    await w.accept(2, delay=60.0)
    (row,) = await w.all()
    assert row.record == OutboxRecord(OutboxKind.WAKE, b"resp_1")
    assert row.shard == shard_of(b"resp_1")
    assert row.finished is None


async def test_a_repeated_accept_wakes_nobody_again(w: OutboxWorld) -> None:
    key = Idempotency("k", b"d")
    await w.accept(1, idempotency=key)
    await w.accept(1, idempotency=key)
    await w.accept(2, idempotency=key)
    assert await w.told() == [("wake", "resp_1", 0)]


async def test_a_finished_job_leaves_its_result_with_trace_and_origin(w: OutboxWorld) -> None:
    await w.accept(1, trace={"traceparent": "00-aa-bb-01"}, origin=ORIGIN)
    await w.finish_one(b"the answer")
    wake, result = await w.all()
    assert wake.record.kind is OutboxKind.WAKE
    assert result.record == OutboxRecord(
        OutboxKind.RESULT, b"resp_1", (("traceparent", b"00-aa-bb-01"),), None, "team.results", 1
    )
    assert result.finished == FinishedJob(
        "resp_1", "a", "responses", JobState.COMPLETED, 1, 1, b"the answer", b"\x00correlation"
    )
    assert 0 <= result.age < 30


async def test_a_result_counts_the_runs_that_failed_or_were_lost(w: OutboxWorld) -> None:
    await w.accept(1)
    job = await w.claim_one()
    assert await w.store.put_off(job.id, job.epoch, 0.0, failed=True)
    await w.claim_one(lease=10.0)
    await w.wait(11.0)
    await w.finish_one()
    result = (await w.all())[-1]
    assert result.finished is not None
    assert (result.finished.attempt, result.finished.epoch, result.record.version) == (3, 3, 3)


async def test_an_end_that_is_refused_or_written_before_tells_nothing_more(w: OutboxWorld) -> None:
    await w.accept(1)
    job = await w.claim_one()
    last = Append(job.id, job.epoch, job.sequence, [b"end"])
    stale = Append(job.id, job.epoch + 1, job.sequence, [b"end"])
    assert not await w.store.finish(stale, JobState.COMPLETED, b"done", None)
    assert await w.store.finish(last, JobState.COMPLETED, b"done", None)
    assert await w.store.finish(last, JobState.COMPLETED, b"done", None)
    assert await w.told() == [("wake", "resp_1", 0), ("result", "resp_1", 1)]


async def test_cancelled_jobs_leave_results_one_by_one_and_many_at_once(w: OutboxWorld) -> None:
    await w.accept(1, origin=ORIGIN, trace={"traceparent": "t"})
    assert await w.store.cancel("a", "resp_1", 0, b"cancelled", b"event")
    assert not await w.store.cancel("a", "resp_1", 0, b"cancelled", b"event")
    await w.accept_all([2, 3], origin=ORIGIN, trace={"traceparent": "t"})
    await w.claim(1)
    assert sorted(await w.store.cancel_where(JobFilter(owner="a"), 10)) == ["resp_2", "resp_3"]
    results = {r.record.key: r for r in await w.all() if r.record.kind is OutboxKind.RESULT}
    assert [results[b"resp_%d" % n].record.version for n in (1, 2, 3)] == [1, 2, 1]
    for row in results.values():
        assert (row.record.topic, row.record.headers) == ("team.results", (("traceparent", b"t"),))
        assert row.finished is not None
        assert (row.finished.state, row.finished.origin) == (JobState.CANCELLED, b"\x00correlation")


async def test_a_delete_removes_the_keys_older_rows_and_leaves_a_tombstone(w: OutboxWorld) -> None:
    await w.accept(1, origin=ORIGIN)
    await w.accept(2)
    await w.outbox.add([letter(b"resp_1")])
    await w.finish_one()
    assert await w.database.responses.delete("a", "resp_1")
    assert await w.told() == [("wake", "resp_2", 0), ("dead_letter", "resp_1", 0), ("tombstone", "resp_1", 2)]
    tombstone = (await w.all())[-1]
    assert tombstone.record.topic == "team.results"
    assert tombstone.finished is None
    assert await w.count("job_origins") == 0


async def test_a_job_that_never_ran_leaves_a_tombstone_and_a_response_without_a_job_none(w: OutboxWorld) -> None:
    await w.accept(1)
    await w.database.responses.insert(w.new(2).response)
    assert await w.database.responses.delete("a", "resp_1")
    assert not await w.database.responses.delete("a", "resp_1")
    assert await w.database.responses.delete("a", "resp_2")
    assert await w.told() == [("tombstone", "resp_1", 1)]


async def test_expired_jobs_are_swept_with_their_rows_and_leave_tombstones(w: OutboxWorld) -> None:
    await w.accept(1, retention=100.0, origin=ORIGIN)
    await w.accept(2, retention=100.0)
    await w.database.responses.insert(w.new(3, retention=100.0).response)
    await w.accept(4)
    await w.finish_one(b"secret")
    await w.wait(200.0)
    # Nothing of what has expired is published any more.
    result = next(r for r in await w.all() if r.record.kind is OutboxKind.RESULT)
    assert result.finished is None
    assert await w.database.responses.sweep(10) == 3
    assert sorted(await w.told()) == [
        ("tombstone", "resp_1", 2),
        ("tombstone", "resp_2", 1),
        ("wake", "resp_4", 0),
    ]
    assert [r.record.topic for r in await w.all() if r.record.key == b"resp_1"] == ["team.results"]
    assert await w.count("job_origins") == 0


async def test_a_record_that_comes_again_after_its_response_was_deleted_makes_no_new_job(w: OutboxWorld) -> None:
    key = Idempotency("record-1", b"digest")
    assert await w.store.accept_many([w.new(1, idempotency=key, origin=ORIGIN)]) == [Accepted()]
    assert await w.database.responses.delete("a", "resp_1")
    assert await w.store.accept_many([w.new(1, idempotency=key, origin=ORIGIN)]) == [Accepted()]
    assert await w.store.accept_many([w.new(2, idempotency=key, origin=ORIGIN)]) == [Repeated("resp_1")]
    assert await w.count("jobs") == 0
    # A key that came by another door is free again, whichever topic its result went to.
    for number, origin in ((3, None), (5, JobOrigin("team.results"))):
        await w.accept(number, idempotency=Idempotency("k", b"d"), origin=origin)
        assert await w.database.responses.delete("a", f"resp_{number}")
        assert await w.count("idempotency") == 1
    assert await w.store.accept(w.new(6, idempotency=Idempotency("k", b"other"))) == Accepted()


async def test_records_come_back_as_they_were_added_and_in_order(w: OutboxWorld) -> None:
    headers = [("a", b"\x00\xff"), ("a", "ü".encode()), ("", b"")]
    records = [
        OutboxRecord(OutboxKind.DEAD_LETTER, b"\x00k\xff", headers, b"\x00\x01", "a.topic"),
        OutboxRecord(OutboxKind.DEAD_LETTER, None, (), None),
        OutboxRecord(OutboxKind.TOMBSTONE, b"resp_9", (), None, None, 7),
        OutboxRecord(OutboxKind.DEAD_LETTER, b"", (), b""),
    ]
    await w.outbox.add(records)
    await w.outbox.add([])
    rows = await w.all()
    assert [(r.record, tuple(r.record.headers)) for r in rows] == [
        (r, tuple(r.headers)) for r in map(_plain, records)
    ]
    assert [row.id for row in rows] == sorted(row.id for row in rows)


def _plain(record: OutboxRecord) -> OutboxRecord:
    return OutboxRecord(record.kind, record.key, tuple(record.headers), record.value, record.topic, record.version)


async def test_records_without_a_key_are_spread_over_shards(w: OutboxWorld) -> None:
    await w.outbox.add([letter(None, number=n) for n in range(200)])
    assert len({row.shard for row in await w.all()}) == SHARDS


async def test_pending_keeps_to_its_limits_and_brings_one_at_least(w: OutboxWorld) -> None:
    await w.outbox.add([letter(b"%d" % n, b"x" * 1000, n) for n in range(10)])
    held = await w.outbox.hold("r", RELAY_LEASE)
    everything = await w.pending(held)
    assert [row.id for row in await w.pending(held, 3)] == [row.id for row in everything[:3]]
    assert len(await w.pending(held, most_bytes=2500)) == 3
    assert len(await w.pending(held, most_bytes=1)) == 1
    assert not await w.pending({})


async def test_bytes_of_results_count_and_large_ones_are_left_out(w: OutboxWorld) -> None:
    for number in range(3):
        await w.accept(number, delay=0.0)
        await w.finish_one(b"x" * MIB)
    held = await w.outbox.hold("all", RELAY_LEASE)
    await w.outbox.sent([row for row in await w.all() if row.record.kind is OutboxKind.WAKE], held)
    rows = await w.pending(held, most_bytes=MIB + 1)
    assert [len(row.finished.response or b"") for row in rows if row.finished] == [MIB, MIB]
    rows = await w.pending(held, most_body=MIB - 1)
    assert [row.finished.response for row in rows if row.finished] == [None, None, None]


async def test_rows_and_destinations_that_rest_are_passed_over(w: OutboxWorld) -> None:
    await w.accept(1, origin=ORIGIN)
    await w.finish_one()
    await w.outbox.add(
        [letter(b"k"), letter(b"k", topic="other"), OutboxRecord(OutboxKind.TOMBSTONE, b"x", topic="team.results")]
    )
    wake, result, dead, other, tombstone = await w.all()
    assert result.destination == tombstone.destination
    left = await w.all(without={wake.id, dead.id}, resting={result.destination})
    assert [row.id for row in left] == [other.id]


async def test_what_was_sent_is_gone_and_nothing_else(w: OutboxWorld) -> None:
    await w.outbox.add([letter(b"%d" % n) for n in range(20)])
    held = await w.outbox.hold("all", RELAY_LEASE)
    rows = await w.pending(held)
    assert await w.outbox.sent(rows[:15], held) == frozenset()
    assert await w.outbox.sent(rows[:15], held) == frozenset()
    assert await w.outbox.sent([], held) == frozenset()
    assert [row.id for row in await w.pending(held)] == [row.id for row in rows[15:]]


async def test_an_id_never_comes_again(w: OutboxWorld) -> None:
    held = await w.outbox.hold("all", RELAY_LEASE)
    await w.outbox.add([letter(b"k")])
    (before,) = await w.pending(held)
    await w.outbox.sent([before], held)
    await w.outbox.add([letter(b"k")])
    (after,) = await w.pending(held)
    assert after.id > before.id


async def test_shards_are_one_relays_at_a_time_and_come_to_equal_shares(w: OutboxWorld) -> None:
    other = open_database(w.url, clock=lambda: w.clock[0])
    first = await w.outbox.hold("r1", RELAY_LEASE)
    assert len(first) == SHARDS
    # There is nothing free yet; the first leaves what is too much at its next turn.
    assert await other.outbox.hold("r2", RELAY_LEASE) == {}
    first = await w.outbox.hold("r1", RELAY_LEASE)
    second = await other.outbox.hold("r2", RELAY_LEASE)
    assert (len(first), len(second), set(first) & set(second)) == (8, 8, set())
    assert await w.outbox.hold("r1", RELAY_LEASE) == first
    # One is gone without a word: its shards are free when its lease is over, with another epoch.
    await w.wait(RELAY_LEASE - 1)
    assert await w.outbox.hold("r1", RELAY_LEASE) == first
    await w.wait(2.0)
    alone = await w.outbox.hold("r1", RELAY_LEASE)
    assert len(alone) == SHARDS
    assert all(alone[shard] == second[shard] + 1 for shard in second)
    assert all(alone[shard] == first[shard] for shard in first)
    await other.aclose()


async def test_a_relay_whose_own_lease_ran_out_comes_back_with_another_epoch(w: OutboxWorld) -> None:
    before = await w.outbox.hold("r", RELAY_LEASE)
    await w.wait(RELAY_LEASE + 1)
    after = await w.outbox.hold("r", RELAY_LEASE)
    assert after == {shard: epoch + 1 for shard, epoch in before.items()}


async def test_one_that_leaves_makes_room_at_once(w: OutboxWorld) -> None:
    await w.outbox.hold("r1", RELAY_LEASE)
    await w.outbox.leave("r1")
    assert len(await w.outbox.hold("r2", RELAY_LEASE)) == SHARDS


async def test_a_shard_that_another_has_taken_is_neither_read_nor_deleted_from(w: OutboxWorld) -> None:
    await w.outbox.add([letter(b"%d" % n) for n in range(50)])
    held = await w.outbox.hold("r1", RELAY_LEASE)
    rows = await w.pending(held)
    await w.wait(RELAY_LEASE + 1)
    await w.outbox.hold("r2", RELAY_LEASE)
    lost = await w.outbox.sent(rows, held)
    assert lost == {row.shard for row in rows}
    assert await w.pending(held) == []
    assert await w.count("outbox") == 50
    # Some are held, some not: only those of the first go.
    mine = await w.outbox.hold("r2", RELAY_LEASE)
    some = dict(list(mine.items())[:8])
    assert await w.outbox.sent(rows, some) == {row.shard for row in rows} - set(some)
    assert await w.count("outbox") == sum(row.shard not in some for row in rows)


async def test_the_newest_state_is_sent_again_of_jobs_that_are_over_or_gone(w: OutboxWorld) -> None:
    await w.accept(1, origin=ORIGIN)
    await w.finish_one()
    await w.accept(2)
    await w.finish_one()
    held = await w.outbox.hold("all", RELAY_LEASE)
    rows = await w.pending(held)
    assert await w.database.responses.delete("a", "resp_1")
    await w.outbox.sent(await w.pending(held), held)
    await w.outbox.again(rows)
    assert sorted(await w.told()) == [("result", "resp_2", 1), ("tombstone", "resp_1", 2)]
    assert {r.record.topic for r in await w.all() if r.record.key == b"resp_1"} == {"team.results"}
    tombstones = [r for r in await w.all() if r.record.kind is OutboxKind.TOMBSTONE]
    await w.outbox.again([*tombstones, *rows[:1]])
    assert sorted(await w.told())[1:] == [("tombstone", "resp_1", 2), ("tombstone", "resp_1", 2)]


async def test_depth_and_age_are_told(w: OutboxWorld) -> None:
    assert await w.outbox.stats() == OutboxStats(0, None)
    await w.accept(1)
    await w.wait(50.0)
    await w.accept(2, retention=LONG)
    stats = await w.outbox.stats()
    assert stats.depth == 2
    assert stats.oldest == pytest.approx(50.0, abs=5.0)


@pytest.mark.parametrize("module", [outbox_postgres, outbox_sqlite])
async def test_depth_is_counted_as_far_as_is_worth_it(
    w: OutboxWorld, monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    if (module is outbox_sqlite) is not w.url.startswith("sqlite"):
        return
    await w.outbox.add([letter(b"%d" % n) for n in range(5)])
    assert (await w.outbox.stats()).depth == 5
    monkeypatch.setattr(module, "MOST_COUNTED", 3)
    assert (await w.outbox.stats()).depth == 3


async def test_every_row_says_where_it_goes(w: OutboxWorld) -> None:
    await w.accept(1, origin=ORIGIN)
    await w.accept(2)
    await w.finish_one()
    await w.finish_one()
    await w.store.accept_many([w.new(number, origin=ORIGIN) for number in (3, 4, 5)])
    assert await w.store.cancel("a", "resp_3", 0, b"cancelled", b"event")
    assert await w.store.cancel_where(JobFilter(owner="a"), 1) == ["resp_4"]
    assert await w.database.responses.delete("a", "resp_5")
    await w.accept(6, retention=1.0, origin=JobOrigin("other"))
    await w.wait(5.0)
    assert await w.database.responses.sweep(10) == 1
    held = await w.outbox.hold("all", RELAY_LEASE)
    await w.outbox.again([row for row in await w.pending(held) if row.record.kind is not OutboxKind.WAKE])
    await w.outbox.add(
        [letter(b"k"), letter(None, topic="t"), OutboxRecord(OutboxKind.TOMBSTONE, b"x", topic="team.results")]
    )
    rows = await w.all()
    assert {row.record.kind for row in rows} == set(OutboxKind) - {OutboxKind.UNKNOWN}
    stored = dict(await w.execute("SELECT id, destination FROM outbox"))
    assert stored == {row.id: row.destination for row in rows}


async def test_rows_that_rest_are_passed_over_however_many(w: OutboxWorld) -> None:
    """A batch is full of what does not rest, and the oldest of it, whatever stands before."""
    await w.outbox.add([letter(b"%d" % n, topic="gone") for n in range(300)])
    await w.outbox.add([letter(b"%d" % n, topic=f"t{n % 7}") for n in range(300)])
    rows = await w.all()
    held = await w.outbox.hold("all", RELAY_LEASE)
    aside = [row.id for row in rows[300:450]]
    found = await w.pending(held, 50, without=aside, resting={"dead_letter:gone", "dead_letter:nothing"})
    assert [row.id for row in found] == [row.id for row in rows[450:500]]
