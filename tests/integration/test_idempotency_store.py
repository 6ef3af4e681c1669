"""What a store of idempotency keys promises: one list, run on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from adapters.database.open import open_database
from adapters.database.url import SqliteTarget, parse_url
from service.domain.idempotency import (
    Conflict,
    Idempotency,
    IdempotencyKeys,
    KeyLostError,
    Repeated,
    Reserved,
    Running,
)
from service.domain.job_store import Accepted
from service.domain.stored import NewResponse
from tests.support.job_worlds import LONG, World, world

DAY = 86400.0
KEY = Idempotency("k", b"digest")
OTHER = Idempotency("k", b"another")


@pytest.fixture(name="w")
async def a_world(database_url: str) -> AsyncIterator[World]:
    async with world(database_url) as made:
        yield made


def keys(w: World) -> IdempotencyKeys:
    return w.database.keys


def response(number: int, *, owner: str = "a", retention: float = LONG) -> NewResponse:
    return NewResponse(f"resp_{number}", owner, None, "completed", b"response", b"input", retention)


async def reserve(
    w: World, number: int, key: Idempotency = KEY, seconds: float = 60.0, owner: str = "a"
) -> object:
    return await keys(w).reserve(owner, key, f"resp_{number}", seconds)


async def stored(w: World) -> list[str]:
    """Ids of the responses that are there."""
    return sorted(row[0] for row in await w.execute("SELECT id FROM responses"))


async def test_a_key_is_reserved_once_and_then_names_its_response(w: World) -> None:
    assert await reserve(w, 1) == Reserved()
    assert isinstance(await reserve(w, 2), Running)
    assert await reserve(w, 3, OTHER) == Conflict("resp_1")
    await w.database.responses.insert(response(1), KEY)
    assert await reserve(w, 2) == Repeated("resp_1")
    assert await reserve(w, 3, OTHER) == Conflict("resp_1")


async def test_keys_are_an_owners_own(w: World) -> None:
    assert await reserve(w, 1) == Reserved()
    assert await reserve(w, 2, owner="b") == Reserved()
    assert await reserve(w, 3, Idempotency("l", b"digest")) == Reserved()


async def test_a_reservation_that_is_repeated_is_the_same_one(w: World) -> None:
    assert [await reserve(w, 1), await reserve(w, 1)] == [Reserved(), Reserved()]


async def test_of_twenty_that_reserve_at_once_one_succeeds(w: World) -> None:
    other = open_database(w.url, clock=lambda: w.clock[0])
    for turn in range(5):
        key = Idempotency(f"k{turn}", b"digest")
        stores = (keys(w), other.keys)
        asked = [stores[n % 2].reserve("a", key, f"resp_{turn}{n:02}", 60.0) for n in range(20)]
        outcomes = await asyncio.gather(*asked)
        assert sum(isinstance(outcome, Reserved) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, Running) for outcome in outcomes) == 19
    await other.aclose()


async def test_of_twenty_that_take_over_a_lapsed_key_at_once_one_succeeds(w: World) -> None:
    await reserve(w, 99, seconds=1.0)
    await w.wait(2)
    outcomes = await asyncio.gather(*(reserve(w, n) for n in range(20)))
    assert sum(outcome == Reserved() for outcome in outcomes) == 1


async def test_a_key_that_is_released_is_anybodys_again_and_one_that_has_its_response_is_not(w: World) -> None:
    await reserve(w, 1)
    await keys(w).release("a", "k", "resp_2")
    assert isinstance(await reserve(w, 2), Running)
    await keys(w).release("b", "k", "resp_1")
    assert isinstance(await reserve(w, 2), Running)
    await keys(w).release("a", "k", "resp_1")
    assert await reserve(w, 2, OTHER) == Reserved()
    await w.database.responses.insert(response(2), OTHER)
    await keys(w).release("a", "k", "resp_2")
    assert await reserve(w, 3, OTHER) == Repeated("resp_2")


async def test_a_reservation_whose_time_is_over_is_taken_over_and_the_late_insert_stores_nothing(w: World) -> None:
    await reserve(w, 1, seconds=10.0)
    await w.wait(9)
    assert isinstance(await reserve(w, 2), Running)
    await w.wait(2)
    assert await reserve(w, 2) == Reserved()
    with pytest.raises(KeyLostError):
        await w.database.responses.insert(response(1), KEY)
    await keys(w).release("a", "k", "resp_1")
    assert isinstance(await reserve(w, 3), Running)
    await w.database.responses.insert(response(2), KEY)
    with pytest.raises(KeyLostError):
        await w.database.responses.insert(response(1), KEY)
    assert await reserve(w, 3) == Repeated("resp_2")
    assert await stored(w) == ["resp_2"]


async def test_a_late_insert_keeps_the_key_as_long_as_nobody_else_has_it(w: World) -> None:
    await reserve(w, 1, seconds=10.0)
    await w.wait(11)
    await w.database.responses.sweep(10)
    assert await w.count("idempotency") == 0
    await w.database.responses.insert(response(1), KEY)
    assert await reserve(w, 2) == Repeated("resp_1")


async def test_of_many_inserts_for_one_key_at_once_one_is_stored(w: World) -> None:
    outcomes = await asyncio.gather(
        *(w.database.responses.insert(response(number), KEY) for number in range(12)), return_exceptions=True
    )
    assert sum(outcome is None for outcome in outcomes) == 1
    assert sum(isinstance(outcome, KeyLostError) for outcome in outcomes) == 11
    assert await reserve(w, 99) == Repeated((await stored(w))[0])
    assert await w.count("responses") == 1


async def test_an_insert_whose_id_is_taken_leaves_the_key_reserved(w: World) -> None:
    await w.database.responses.insert(response(1, owner="b"))
    await reserve(w, 1)
    with pytest.raises(ValueError, match="resp_1"):
        await w.database.responses.insert(response(1), KEY)
    assert isinstance(await reserve(w, 2), Running)


@pytest.mark.parametrize("retention", [60.0, 3 * DAY])
@pytest.mark.parametrize("swept", [True, False])
async def test_a_key_is_kept_as_long_as_its_response(w: World, retention: float, swept: bool) -> None:
    await reserve(w, 1, seconds=5.0)
    await w.database.responses.insert(response(1, retention=retention), KEY)
    await w.wait(retention - 10)
    assert await reserve(w, 2) == await keys(w).find("a", KEY) == Repeated("resp_1")
    await w.wait(20)
    if swept:
        await w.database.responses.sweep(10)
    assert await keys(w).find("a", OTHER) is None
    assert await reserve(w, 2, OTHER) == Reserved()
    assert isinstance(await reserve(w, 3, OTHER), Running)


async def test_of_twenty_that_take_over_the_key_of_a_response_that_is_gone_one_succeeds(w: World) -> None:
    await w.database.responses.insert(response(99, retention=1.0), KEY)
    await w.wait(2)
    outcomes = await asyncio.gather(*(reserve(w, n) for n in range(20)))
    assert sum(outcome == Reserved() for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Running) for outcome in outcomes) == 19


async def test_what_came_under_a_key_is_found_and_stays_as_it_is(w: World) -> None:
    assert await keys(w).find("a", KEY) is None
    await reserve(w, 1)
    for _ in range(2):
        assert isinstance(await keys(w).find("a", KEY), Running)
        assert await keys(w).find("a", OTHER) == Conflict("resp_1")
        assert await keys(w).find("b", KEY) is None
    await w.database.responses.insert(response(1), KEY)
    assert await keys(w).find("a", KEY) == Repeated("resp_1")
    assert await keys(w).find("a", OTHER) == Conflict("resp_1")
    await w.database.responses.delete("a", "resp_1")
    assert await keys(w).find("a", KEY) is None
    await reserve(w, 2, seconds=1.0)
    await w.wait(2)
    assert await keys(w).find("a", KEY) is None


async def test_only_the_key_of_a_response_that_is_gone_is_freed(w: World) -> None:
    await reserve(w, 1)
    await keys(w).free("a", "k", "resp_1")
    assert isinstance(await reserve(w, 2), Running)
    await w.database.responses.insert(response(1, retention=60.0), KEY)
    await keys(w).free("a", "k", "resp_1")
    assert await reserve(w, 2) == Repeated("resp_1")
    await w.wait(61)
    for owner, response_id in (("b", "resp_1"), ("a", "resp_2")):
        await keys(w).free(owner, "k", response_id)
        assert await w.count("idempotency") == 1
    await keys(w).free("a", "k", "resp_1")
    assert await w.count("idempotency") == 0


async def test_a_deleted_response_gives_its_key_free_at_once(w: World) -> None:
    for number, key in ((1, KEY), (2, Idempotency("l", b"digest"))):
        await reserve(w, number, key)
        await w.database.responses.insert(response(number), key)
    assert not await w.database.responses.delete("b", "resp_1")
    assert await reserve(w, 3) == Repeated("resp_1")
    assert await w.database.responses.delete("a", "resp_1")
    assert await reserve(w, 3, OTHER) == Reserved()
    assert await reserve(w, 4, Idempotency("l", b"digest")) == Repeated("resp_2")


async def test_a_deleted_job_gives_its_key_free_at_once(w: World) -> None:
    await w.accept(1, idempotency=KEY)
    assert await w.database.responses.delete("a", "resp_1")
    assert await w.store.accept(w.new(2, idempotency=OTHER)) == Accepted()


async def test_background_and_foreground_share_their_keys(w: World) -> None:
    await reserve(w, 1, seconds=10.0)
    assert await w.store.accept(w.new(2, idempotency=OTHER)) == Conflict("resp_1")
    await w.database.responses.insert(response(1), KEY)
    assert await w.store.accept(w.new(2, idempotency=OTHER)) == Conflict("resp_1")
    assert await w.store.accept(w.new(3, idempotency=Idempotency("j", b"job"))) == Accepted()
    assert await reserve(w, 4, Idempotency("j", b"digest")) == Conflict("resp_3")


async def test_a_job_takes_over_a_lapsed_key_and_keeps_it(w: World) -> None:
    await reserve(w, 1, seconds=10.0)
    await w.wait(11)
    assert await w.store.accept(w.new(2, idempotency=OTHER)) == Accepted()
    await keys(w).release("a", "k", "resp_2")
    with pytest.raises(KeyLostError):
        await w.database.responses.insert(response(1), KEY)
    assert await w.store.accept(w.new(3, idempotency=OTHER)) == Repeated("resp_2")
    assert await w.status("resp_2") == "queued"


async def test_who_waits_is_told_to_look_again_later_and_later_but_not_after_the_end(w: World) -> None:
    await reserve(w, 1, seconds=100.0)
    told = []
    for seconds in (0.0, 5.0, 35.0, 55.0):
        await w.wait(seconds)
        outcome = await reserve(w, 2)
        assert isinstance(outcome, Running)
        told.append(round(outcome.retry_after))
    assert told == [1, 5, 30, 5]


async def test_the_key_of_a_response_is_found_by_an_index(w: World) -> None:
    statement = "DELETE FROM idempotency WHERE response_id = 'resp_1'"
    if isinstance(parse_url(w.url), SqliteTarget):
        plan = [row[3] for row in await w.execute(f"EXPLAIN QUERY PLAN {statement}")]
    else:
        connection = await asyncpg.connect(w.url, server_settings={"enable_seqscan": "off"})
        plan = [row[0] for row in await connection.fetch(f"EXPLAIN {statement}")]
        await connection.close()
    assert "idempotency_response_id" in " ".join(plan)
