"""What a store of responses promises: one list, run on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from adapters.database.open import Database, open_database
from adapters.database.sweep import READY, SWEPT, run_sweep
from service.domain.stored import ChainEnd, NewResponse, ResponseStore, StoredResponse, StoreError

LONG = 3600.0


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = open_database(database_url)
    yield opened
    await opened.aclose()


@pytest.fixture
def store(database: Database) -> ResponseStore:
    return database.responses


def response(
    number: int, *, owner: str = "a", previous: int | None = None, retention: float = LONG, size: int = 5
) -> NewResponse:
    """Bodies of `size` bytes in all."""
    before = None if previous is None else f"resp_{previous}"
    return NewResponse(f"resp_{number}", owner, before, "completed", b"r" * (size - 2), b"in", retention)


async def insert_chain(store: ResponseStore, count: int, *, size: int = 5) -> None:
    """resp_1 is the oldest, `resp_{count}` the newest."""
    for number in range(1, count + 1):
        await store.insert(response(number, previous=number - 1 if number > 1 else None, size=size))


async def chain_of(
    store: ResponseStore, number: int, depth: int = 200, size: int = 2**20
) -> tuple[list[int], str]:
    """The numbers that come back, and the end."""
    chain = await store.chain("a", f"resp_{number}", max_depth=depth, max_bytes=size)
    return [int(link.id.removeprefix("resp_")) for link in chain.links], chain.end.value


async def test_what_was_stored_is_read_back_byte_for_byte(store: ResponseStore) -> None:
    body, given = bytes(range(256)) * 400, b"\0\xff"
    await store.insert(NewResponse("resp_1", "a", None, "incomplete", body, given, LONG))
    assert await store.get("a", "resp_1") == StoredResponse("resp_1", None, "incomplete", body, given)
    await store.insert(NewResponse("resp_2", "a", "resp_1", "completed", b"", b"", LONG))
    assert await store.get("a", "resp_2") == StoredResponse("resp_2", "resp_1", "completed", b"", b"")


async def test_another_process_reads_it_as_soon_as_the_insert_returns(
    store: ResponseStore, database_url: str
) -> None:
    other = open_database(database_url)
    await other.prepare()
    for number in range(20):
        await store.insert(response(number))
        assert await other.responses.get("a", f"resp_{number}") is not None
    await other.aclose()


async def test_an_id_is_taken_only_once_and_the_first_stays(store: ResponseStore) -> None:
    await store.insert(response(1))
    with pytest.raises(ValueError, match="resp_1"):
        await store.insert(response(1, owner="b"))
    assert await store.get("a", "resp_1") is not None
    assert await store.get("b", "resp_1") is None


async def test_an_answer_of_ten_megabytes_is_kept_whole(store: ResponseStore) -> None:
    await store.insert(response(1, size=10 * 2**20))
    found = await store.get("a", "resp_1")
    assert found is not None
    assert len(found.response) == 10 * 2**20 - 2


async def test_what_is_another_owners_does_not_exist(store: ResponseStore) -> None:
    await store.insert(response(1))
    assert await store.get("b", "resp_1") is None
    assert (await store.chain("b", "resp_1", max_depth=9, max_bytes=999)).end is ChainEnd.GONE
    assert not await store.delete("b", "resp_1")
    assert await store.get("a", "resp_1") is not None


async def test_what_is_deleted_is_gone_at_once_and_only_once(store: ResponseStore) -> None:
    await store.insert(response(1))
    assert await store.delete("a", "resp_1")
    assert await store.get("a", "resp_1") is None
    assert not await store.delete("a", "resp_1")


async def test_what_is_expired_does_not_exist_before_any_sweep(store: ResponseStore) -> None:
    await store.insert(response(1, retention=0.3))
    assert await store.get("a", "resp_1") is not None
    await asyncio.sleep(0.4)
    assert await store.get("a", "resp_1") is None
    assert await chain_of(store, 1) == ([], "gone")
    assert not await store.delete("a", "resp_1")


async def test_a_sweep_deletes_what_is_expired_and_nothing_else(store: ResponseStore) -> None:
    for number in range(10):
        await store.insert(response(number, retention=-1.0 if number % 2 else LONG))
    assert [await store.sweep(3), await store.sweep(3), await store.sweep(3)] == [3, 2, 0]
    kept = [number for number in range(10) if await store.get("a", f"resp_{number}")]
    assert kept == [0, 2, 4, 6, 8]
    # The rows are gone, not only hidden: their ids are free.
    await store.insert(response(1))


async def test_sweeps_at_the_same_time_delete_every_row_once(store: ResponseStore) -> None:
    for number in range(60):
        await store.insert(response(number, retention=-1.0))
    first = await asyncio.gather(*(store.sweep(20) for _ in range(6)))
    assert sum(first) + await store.sweep(60) == 60


async def test_the_sweeper_empties_a_backlog_in_batches_and_tells_once(database: Database) -> None:
    for number in range(7):
        await database.responses.insert(response(number, retention=-1.0))
    told: list[tuple[str, object]] = []
    sweeping = asyncio.ensure_future(
        run_sweep(database, 0.05, 2, pause=0.0, report=lambda event, values: told.append((event, dict(values))))
    )
    await asyncio.sleep(0.5)
    assert told == [(READY, {"database": database.name}), (SWEPT, {"responses": 7})]
    await database.responses.insert(response(1, retention=-1.0))
    await asyncio.sleep(0.5)
    assert told[2:] == [(SWEPT, {"responses": 1})]
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)


async def test_a_chain_goes_from_the_newest_to_the_first(store: ResponseStore) -> None:
    await insert_chain(store, 4)
    chain = await store.chain("a", "resp_3", max_depth=9, max_bytes=999)
    assert list(chain.links) == [
        StoredResponse("resp_3", "resp_2", "completed", b"rrr", b"in"),
        StoredResponse("resp_2", "resp_1", "completed", b"rrr", b"in"),
        StoredResponse("resp_1", None, "completed", b"rrr", b"in"),
    ]
    assert chain.end is ChainEnd.COMPLETE


async def test_a_chain_of_an_unknown_response_is_gone(store: ResponseStore) -> None:
    assert await chain_of(store, 1) == ([], "gone")


async def test_a_chain_ends_where_a_link_was_deleted(store: ResponseStore) -> None:
    await insert_chain(store, 5)
    await store.delete("a", "resp_2")
    assert await chain_of(store, 5) == ([5, 4, 3], "gone")


async def test_a_chain_ends_where_a_link_is_expired(store: ResponseStore) -> None:
    await store.insert(response(1, retention=-1.0))
    await store.insert(response(2, previous=1))
    assert await chain_of(store, 2) == ([2], "gone")


async def test_a_chain_never_holds_another_owners_link(store: ResponseStore) -> None:
    await store.insert(response(1, owner="a"))
    await store.insert(response(2, owner="b", previous=1))
    await store.insert(response(3, owner="a", previous=2))
    assert await chain_of(store, 3) == ([3], "gone")


@pytest.mark.parametrize(("depth", "end"), [(5, "complete"), (6, "complete"), (4, "too_deep"), (1, "too_deep")])
async def test_a_chain_may_be_as_deep_as_its_limit(store: ResponseStore, depth: int, end: str) -> None:
    await insert_chain(store, 5)
    numbers, found = await chain_of(store, 5, depth=depth)
    assert found == end
    assert numbers == [5, 4, 3, 2, 1][:depth]


@pytest.mark.parametrize(("size", "end"), [(500, "complete"), (499, "too_large"), (99, "too_large")])
async def test_a_chain_may_be_as_large_as_its_limit(store: ResponseStore, size: int, end: str) -> None:
    await insert_chain(store, 5, size=100)
    numbers, found = await chain_of(store, 5, size=size)
    assert found == end
    # A body beyond the limit is never read.
    assert len(numbers) == size // 100


async def test_a_chain_whose_end_is_gone_is_not_too_deep_at_its_limit(store: ResponseStore) -> None:
    await insert_chain(store, 3)
    await store.delete("a", "resp_1")
    assert await chain_of(store, 3, depth=2) == ([3, 2], "gone")


async def test_a_chain_of_responses_that_name_each_other_ends_at_its_depth(store: ResponseStore) -> None:
    await store.insert(response(1, previous=2))
    await store.insert(response(2, previous=1))
    numbers, end = await chain_of(store, 2, depth=10)
    assert (len(numbers), end) == (10, "too_deep")


async def test_a_chain_of_fifty_with_large_bodies_comes_whole(store: ResponseStore) -> None:
    await insert_chain(store, 50, size=20_000)
    assert await chain_of(store, 50, size=50 * 20_000) == (list(range(50, 0, -1)), "complete")


@pytest.mark.parametrize("wrong", ["resp_\0", "resp_\ud800", "", "é" * 5000, "'; DROP TABLE responses; --"])
async def test_ids_that_no_database_can_hold_are_unknown_not_errors(store: ResponseStore, wrong: str) -> None:
    assert await store.get("a", wrong) is None
    assert (await store.chain("a", wrong, max_depth=9, max_bytes=99)).end is ChainEnd.GONE
    assert not await store.delete("a", wrong)


async def test_many_inserts_at_once_all_arrive(store: ResponseStore) -> None:
    await asyncio.gather(*(store.insert(response(number)) for number in range(300)))
    found = await asyncio.gather(*(store.get("a", f"resp_{number}") for number in range(300)))
    assert all(found)


async def test_one_that_fails_among_many_undoes_none_of_the_others(store: ResponseStore) -> None:
    await store.insert(response(7))
    outcomes = await asyncio.gather(
        *(store.insert(response(number)) for number in range(100)), return_exceptions=True
    )
    assert [number for number, outcome in enumerate(outcomes) if outcome is not None] == [7]
    assert isinstance(outcomes[7], ValueError)
    assert all([await store.get("a", f"resp_{number}") for number in range(100)])


async def test_closing_finishes_what_was_asked_for(database_url: str) -> None:
    first = open_database(database_url)
    await first.prepare()
    inserts = [asyncio.ensure_future(first.responses.insert(response(number))) for number in range(50)]
    await asyncio.sleep(0)
    await first.aclose()
    assert await asyncio.gather(*inserts) == [None] * 50
    with pytest.raises(StoreError, match="closed"):
        await first.responses.insert(response(99))
    with pytest.raises(StoreError, match="closed"):
        await first.responses.get("a", "resp_1")
    second = open_database(database_url)
    assert all([await second.responses.get("a", f"resp_{number}") for number in range(50)])
    await second.aclose()


async def test_a_database_that_was_never_used_closes_without_a_wait_and_stays_closed(database_url: str) -> None:
    database = open_database(database_url)
    # Half of the time that is given to what is under way.
    await asyncio.wait_for(database.aclose(), 5)
    with pytest.raises(StoreError, match="closed"):
        await database.responses.get("a", "resp_1")
