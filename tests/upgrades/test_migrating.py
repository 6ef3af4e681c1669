"""A migration of a database in use: nobody waits behind it, and what ends half-way can be gone on from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import asyncpg
import pytest

from adapters.database import migrate as migrations
from adapters.database.open import open_database
from adapters.database.revisions import READ_COMPATIBLE, READ_REVISION
from adapters.database.url import parse_url
from service.domain.stored import StoreError
from tests.upgrades.next_release import OURS, Next, migrate_to, running

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

ROW = (
    "INSERT INTO responses (id, owner, status, created_at, expires_at, response, input)"
    " VALUES ($1, 'a', 'completed', now(), now(), '', '')"
)
INDEX = "SELECT max(indexrelid) FROM pg_index WHERE indexrelid = to_regclass('responses_mood')"
VALID = "SELECT bool_and(indisvalid) FROM pg_index WHERE indexrelid = to_regclass('responses_mood')"
OTHERS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> ALL($1)"
)
END_BUILD = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND query LIKE 'CREATE INDEX%'"
)
TAKE_LOCK = f"SELECT pg_advisory_lock({migrations._LOCK_KEY})"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "TABLE_LOCK_SECONDS", 0.3)


@asynccontextmanager
async def two(url: str, before: bool = False) -> AsyncIterator[tuple[Connection, Connection]]:
    """Who holds something, and who works and looks; on a database of this version, or with `next_column`, too."""
    await migrations.migrate_async(parse_url(url))
    if before:
        await asyncio.to_thread(migrate_to, parse_url(url), "next_column")
    holder, other = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        yield holder, other
    finally:
        await holder.close()
        await other.close()


@asynccontextmanager
async def migrating(url: str, head: Next = "next_expands") -> AsyncIterator[asyncio.Task[str | None]]:
    """The next version, while it migrates."""
    with running(head):
        task = asyncio.create_task(migrations.migrate_async(parse_url(url)))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(look: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(10.0):
        while not await look():
            await asyncio.sleep(0.02)


async def at_once(work: Awaitable[object]) -> None:
    """It waits for nobody."""
    async with asyncio.timeout(2.0):
        await work


async def alone(holder: Connection, other: Connection) -> bool:
    """Whether nobody else is connected."""
    return not await other.fetchval(OTHERS, [holder.get_server_pid(), other.get_server_pid()])


async def test_callers_write_while_an_index_waits_for_a_transaction_and_no_try_is_thrown_away(
    postgres_url: str,
) -> None:
    async with two(postgres_url, before=True) as (holder, other):
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute(ROW, "held")
        async with migrating(postgres_url) as task:
            await until(lambda: other.fetchval(INDEX))
            begun = await other.fetchval(INDEX)
            await asyncio.sleep(3 * migrations.TABLE_LOCK_SECONDS)
            await at_once(other.execute(ROW, "meanwhile"))
            assert not task.done()
            await transaction.commit()
            assert await task == "next_column"
        assert (await other.fetchval(INDEX), await other.fetchval(VALID)) == (begun, True)


@pytest.mark.slow
async def test_what_waits_for_a_table_after_an_index_was_built_lets_others_pass_again(postgres_url: str) -> None:
    async with two(postgres_url, before=True) as (holder, other):
        await holder.execute("BEGIN")
        await holder.execute("LOCK TABLE responses IN ACCESS SHARE MODE")
        async with migrating(postgres_url, "next_contracts") as task:
            await until(lambda: other.fetchval(VALID))
            await asyncio.sleep(0.2)
            await at_once(other.fetch("SELECT id FROM responses"))
            assert not task.done()
            await holder.execute("ROLLBACK")
            await task


@pytest.mark.slow
async def test_three_that_build_an_index_do_not_wait_for_each_other_for_ever(postgres_url: str) -> None:
    async with two(postgres_url) as (_, other):
        with running("next_expands"):
            target = parse_url(postgres_url)
            befores = await asyncio.gather(*(migrations.migrate_async(target) for _ in range(3)))
        assert sorted(map(str, befores)) == [OURS, "next_expands", "next_expands"]
        assert await other.fetchval(VALID) is True


@pytest.mark.slow
async def test_one_that_finds_a_table_held_lets_others_pass_and_comes_back(postgres_url: str) -> None:
    async with two(postgres_url) as (holder, other), migrating_past(holder, postgres_url) as task:
        await asyncio.sleep(0.15)
        await at_once(other.fetch("SELECT id FROM responses"))
        await asyncio.sleep(2 * migrations.TABLE_LOCK_SECONDS)
        assert not task.done()
        await holder.execute("ROLLBACK")
        assert await task == OURS
        assert await other.fetchval("SELECT count(*) FROM pg_attribute WHERE attname = 'mood'") > 0


@asynccontextmanager
async def migrating_past(holder: Connection, url: str) -> AsyncIterator[asyncio.Task[str | None]]:
    """The next version, while it wants a table that the holder has until it rolls back."""
    await holder.execute("BEGIN")
    await holder.execute("LOCK TABLE responses IN ACCESS SHARE MODE")
    async with migrating(url) as task:
        yield task


@pytest.mark.slow
async def test_one_that_finds_a_table_held_for_too_long_gives_up_and_says_why(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_SECONDS", 0.5)
    async with two(postgres_url) as (holder, other), migrating_past(holder, postgres_url) as task:
        with pytest.raises(StoreError, match="canceling statement due to lock timeout"):
            async with asyncio.timeout(5.0):
                await task
        assert await other.fetchval(READ_REVISION) == OURS


@pytest.mark.slow
async def test_one_that_finds_another_at_it_for_too_long_gives_up_and_says_so(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_SECONDS", 0.3)
    async with two(postgres_url) as (holder, _):
        await holder.execute(TAKE_LOCK)
        async with migrating(postgres_url) as task:
            with pytest.raises(StoreError, match="another process has been migrating it"):
                async with asyncio.timeout(5.0):
                    await task


@pytest.mark.slow
async def test_what_an_earlier_try_left_of_an_index_is_replaced(postgres_url: str) -> None:
    async with two(postgres_url, before=True) as (_, other):
        await other.execute("CREATE INDEX responses_mood ON responses (mood)")
        left = await other.fetchval(INDEX)
        await other.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1", left)
        await asyncio.to_thread(migrate_to, parse_url(postgres_url), "next_expands")
        assert await other.fetchval(INDEX) != left
        assert await other.fetchval(VALID) is True


async def test_those_before_a_migration_that_fails_stay_and_the_next_try_goes_on_from_there(
    postgres_url: str,
) -> None:
    async with two(postgres_url) as (_, other):
        await other.execute("DROP INDEX responses_expires_at")
        async with migrating(postgres_url, "next_contracts") as task:
            with pytest.raises(StoreError, match='index "responses_expires_at" does not exist'):
                await task
        assert (await other.fetchval(READ_REVISION), await other.fetchval(READ_COMPATIBLE)) == (
            "next_expands",
            OURS,
        )
        await other.execute("CREATE INDEX responses_expires_at ON responses (expires_at)")
        target = parse_url(postgres_url)
        assert await asyncio.to_thread(migrate_to, target, "next_contracts") == "next_expands"
        assert await other.fetchval(READ_COMPATIBLE) == "next_expands"


async def test_a_connection_lost_while_an_index_is_built_is_told_as_what_it_is(postgres_url: str) -> None:
    async with two(postgres_url, before=True) as (holder, other):
        async with holder.transaction():
            await holder.execute(ROW, "held")
            async with migrating(postgres_url) as task:
                await until(lambda: other.fetchval(INDEX))
                assert await other.fetchval(END_BUILD) is True
                with pytest.raises(StoreError, match=r"the connection was lost|terminating connection"):
                    await task
        assert await asyncio.to_thread(migrate_to, parse_url(postgres_url), "next_expands") == "next_column"


async def test_one_that_is_cancelled_while_it_builds_an_index_leaves_nothing_at_work(postgres_url: str) -> None:
    async with two(postgres_url, before=True) as (holder, other):
        async with holder.transaction():
            await holder.execute(ROW, "held")
            async with migrating(postgres_url) as task:
                await until(lambda: other.fetchval(INDEX))
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await at_once(task)
            await until(lambda: alone(holder, other))
        assert await asyncio.to_thread(migrate_to, parse_url(postgres_url), "next_expands") == "next_column"


@pytest.mark.slow
async def test_a_process_that_is_ended_while_another_migrates_waits_for_it_no_more(postgres_url: str) -> None:
    async with two(postgres_url) as (holder, other):
        await holder.execute(TAKE_LOCK)
        await other.execute("DELETE FROM eurouter_version")
        database = open_database(postgres_url)
        preparing = asyncio.ensure_future(database.prepare())
        await asyncio.sleep(0.5)
        assert not preparing.done()
        await at_once(database.aclose())
        with pytest.raises(StoreError, match="it is closed"):
            await preparing
        await until(lambda: alone(holder, other))
