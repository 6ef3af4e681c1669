"""Who migrates while another has the database's lock: told to stop it ends at once, and claims nothing."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path

import alembic.command
import asyncpg
import pytest
from alembic.config import Config

from adapters.database import migrate as migrations
from adapters.database.migrate import _LOCK_KEY, migrate, migrate_async, status
from adapters.database.revisions import HEAD
from adapters.database.url import PostgresTarget, SqliteTarget, parse_url
from service.domain.stored import StoreError
from tests.support.starting import free_port, rows, starting

ENDED_BY_SIGTERM = 143


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[None]:
    """Another process migrates it, as far as one can see."""
    target = parse_url(url)
    if isinstance(target, PostgresTarget):
        other = await asyncpg.connect(target.dsn)
        try:
            await other.execute(f"SELECT pg_advisory_lock({_LOCK_KEY})")
            yield
        finally:
            await other.close()
        return
    target.path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(target.path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def loads_the_libraries(pid: int) -> bool:
    """Whether a process came as far as what it needs for a migration."""
    return "sqlalchemy" in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--wait",)], ids=["at once", "waiting"])
async def test_a_migration_that_waits_for_anothers_ends_at_once_when_it_is_told_to_and_claims_nothing(
    database_url: str, more: tuple[str, ...], tmp_path: Path
) -> None:
    settings = rows(admin=free_port(), url=database_url)
    command = ("db", "migrate", *more)
    async with locked(database_url), starting(tmp_path / "settings.yaml", settings, command=command) as child:
        async with asyncio.timeout(30):
            while not loads_the_libraries(child.process.pid):
                await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        child.process.send_signal(signal.SIGTERM)
        assert await child.ended(5) == ENDED_BY_SIGTERM
        assert child.lines() == []
    assert (await asyncio.to_thread(status, parse_url(database_url))).revision is None


async def test_a_migration_of_a_file_that_is_cancelled_while_it_waits_for_the_lock_leaves_no_thread_that_waits(
    sqlite_url: str,
) -> None:
    target = parse_url(sqlite_url)
    loop = asyncio.get_running_loop()
    async with locked(sqlite_url):
        migrating = asyncio.ensure_future(migrate_async(target))
        await asyncio.sleep(0.5)
        assert not migrating.done()
        migrating.cancel()
        await asyncio.wait((migrating,), timeout=1)
        assert migrating.cancelled()
        async with asyncio.timeout(5):
            await loop.shutdown_default_executor()


async def test_a_migration_of_a_file_waits_for_the_lock_and_gives_up_after_its_time(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = parse_url(sqlite_url)
    assert isinstance(target, SqliteTarget)
    async with locked(sqlite_url):
        migrating = asyncio.ensure_future(asyncio.to_thread(migrate, target))
        await asyncio.sleep(0.5)
        assert not migrating.done()
    assert await migrating is None
    assert (await asyncio.to_thread(status, target)).revision == HEAD
    monkeypatch.setattr(migrations, "LOCK_SECONDS", 0.1)
    async with locked(sqlite_url):
        with pytest.raises(StoreError, match="another process held its lock for too long"):
            await asyncio.to_thread(migrate, target)


def test_nobody_else_writes_to_a_file_from_the_look_at_its_schema_to_the_last_migration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = SqliteTarget(tmp_path / "one.db")
    whole = alembic.command.upgrade

    def refused() -> bool:
        with closing(sqlite3.connect(target.path, timeout=0)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
        return False

    seen: list[bool] = []

    def upgrade(config: Config, revision: str) -> None:
        seen.append(refused())
        whole(config, revision)
        seen.append(refused())

    monkeypatch.setattr(alembic.command, "upgrade", upgrade)
    assert migrate(target) is None
    assert seen == [True, True]
    assert not refused()


def test_threads_that_migrate_a_file_each_do_not_work_on_anothers(tmp_path: Path) -> None:
    targets = [SqliteTarget(tmp_path / f"{number}.db") for number in range(6)]
    with ThreadPoolExecutor(len(targets)) as threads:
        assert list(threads.map(migrate, targets)) == [None] * len(targets)
    assert {status(target).revision for target in targets} == {HEAD}
