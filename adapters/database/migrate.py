"""Brings a database's schema up to date with Alembic, or says where it is.

`migrate` and `status` block; `migrate_async` is for whoever has an event loop.

SQLAlchemy and Alembic are imported when something is to be done: a start on an up-to-date database needs neither.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from adapters.database.postgres_errors import POSTGRES_ERRORS, describe_postgres
from adapters.database.revisions import (
    COMPATIBLE_TABLE,
    HEAD,
    READ_COMPATIBLE,
    VERSION_TABLE,
    SchemaState,
    must_migrate,
    state_of,
)
from adapters.database.sqlite_files import connect, create, describe_sqlite, is_there
from adapters.database.url import PostgresTarget, SqliteTarget, Target
from service.domain.stored import StoreError

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

_FOLDER: Final = Path(__file__).with_name("migrations")
_LOCK_KEY: Final = 0x6575_726F_7574_6572
"""Of the advisory lock: everybody who migrates takes the same one."""

LOCK_SECONDS: Final = 60.0
"""How long one waits while another process migrates, and tries again where callers hold a table."""

TABLE_LOCK_SECONDS: Final = 3.0
"""How long a migration waits for a table: all who come later wait behind it, so it rather leaves and returns."""

_LOOK_SECONDS: Final = 0.2

_ALEMBIC: Final = threading.Lock()
"""Alembic keeps what it migrates in its modules: of two threads, one would work on the file of the other."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Status:
    """A database as `eurouter db status` tells it. `overdue`: expired responses that no sweep deleted yet.

    `compatible_from` as in `state_of`.
    """

    revision: str | None
    overdue: int = 0
    compatible_from: str | None = None

    @property
    def state(self) -> SchemaState:
        """What the revision means to this code."""
        return state_of(self.revision, self.compatible_from)


def migrate(target: Target, *, connect_seconds: float = 5.0) -> str | None:
    """`migrate_async`, for whoever has no event loop.

    Raises:
        StoreError: as `migrate_async`.
        TooNewError: as `migrate_async`.
    """
    if isinstance(target, SqliteTarget):
        return _on_sqlite(target, _upgrading(target), write=True)
    return _on_postgres(target, _upgrading(target), connect_seconds, write=True)


async def migrate_async(target: Target, *, connect_seconds: float = 5.0) -> str | None:
    """Brings the schema to HEAD; the revision before. Several processes may do so at once: one does the work.

    On PostgreSQL each migration is a transaction of its own: one that fails leaves those before it done. Cancelled
    there, it ends what it waits for and what the server does for it; on SQLite it ends its wait for the lock, and
    a thread that has the lock works on to its end. A schema that a newer version made, and with which this one can
    work, stays as it is.

    Raises:
        StoreError: the database can't be reached or refused, or others held it for too long.
        TooNewError: a newer version migrated it, and this one can't work with it.
    """
    if isinstance(target, SqliteTarget):
        given_up = threading.Event()
        try:
            return await asyncio.to_thread(_on_sqlite, target, _upgrading(target), write=True, given_up=given_up)
        except asyncio.CancelledError:
            given_up.set()
            raise
    # A second of work for whoever does it first: others of this loop go on meanwhile.
    await asyncio.to_thread(_load)
    return await _postgres(target, _upgrading(target), connect_seconds, write=True)


def status(target: Target, *, connect_seconds: float = 5.0) -> Status:
    """Where the schema is; makes no file and changes nothing.

    Raises:
        StoreError: the database can't be reached or refused.
    """
    if isinstance(target, SqliteTarget):
        return _on_sqlite(target, _status, write=False) if is_there(target) else Status(None)
    return _on_postgres(target, _status, connect_seconds, write=False)


def _upgrading(target: Target) -> Callable[[Connection], str | None]:
    return lambda connection: _upgrade(connection, target.name)


def _load() -> None:
    """Loads the libraries."""
    import alembic.command  # noqa: F401
    import sqlalchemy.ext.asyncio  # noqa: F401


def _on_sqlite(
    target: SqliteTarget,
    act: Callable[[Connection], _T],
    *,
    write: bool,
    given_up: threading.Event | None = None,
) -> _T:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    if write:
        create(target)
    try:
        # SQLAlchemy would open a transaction only before the first change: the lock must come before the look.
        with closing(connect(target.path, busy_seconds=LOCK_SECONDS)) as raw:
            engine = create_engine("sqlite://", creator=lambda: raw, poolclass=NullPool)
            with engine.connect() as connection:
                if write:
                    _lock(raw, given_up or threading.Event())
                else:
                    raw.execute("BEGIN")
                # What SQLAlchemy doesn't know of it takes for no transaction, and ends before the first migration.
                connection.begin()
                with _ALEMBIC:
                    result = act(connection)
                connection.commit()
                return result
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise describe_sqlite(error.orig, target) from None
        raise
    except sqlite3.Error as error:
        raise describe_sqlite(error, target) from None


def _lock(raw: sqlite3.Connection, given_up: threading.Event) -> None:
    """Begins the transaction that changes the schema, once nobody else writes or `given_up` is set.

    SQLite would wait within one call, and no signal is handled before that returns: it is asked again and again.

    Raises:
        sqlite3.OperationalError: others write for `LOCK_SECONDS`, or it is given up.
    """
    until = time.monotonic() + LOCK_SECONDS
    raw.execute(f"PRAGMA busy_timeout={_LOOK_SECONDS * 1000:.0f}")
    while True:
        try:
            raw.execute("BEGIN IMMEDIATE")
            break
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or given_up.is_set() or time.monotonic() > until:
                raise
    raw.execute(f"PRAGMA busy_timeout={LOCK_SECONDS * 1000:.0f}")


def _on_postgres(
    target: PostgresTarget, act: Callable[[Connection], _T], connect_seconds: float, *, write: bool
) -> _T:
    return asyncio.run(_postgres(target, act, connect_seconds, write=write))


async def _postgres(
    target: PostgresTarget, act: Callable[[Connection], _T], connect_seconds: float, *, write: bool
) -> _T:
    import asyncpg
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    async def connection() -> asyncpg.Connection[asyncpg.Record]:
        return await asyncpg.connect(target.dsn, timeout=connect_seconds)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connection, poolclass=NullPool)
    try:
        async with engine.connect() as opened:
            if write:
                return await _alone(opened, act, target.name)
            return await opened.run_sync(act)
    except SQLAlchemyError as error:
        cause = _cause(error)
        if cause is None:
            raise StoreError(f"{target.name}: {type(error).__name__}") from None
        if isinstance(cause, asyncio.CancelledError):
            raise cause from None
        raise describe_postgres(cause, target) from None
    except POSTGRES_ERRORS as error:
        raise describe_postgres(error, target) from None
    finally:
        await engine.dispose()


async def _alone(opened: AsyncConnection, act: Callable[[Connection], _T], name: str) -> _T:
    """Runs `act` while nobody else migrates, in no transaction; again where it waited for a table in vain."""
    from asyncpg import LockNotAvailableError
    from sqlalchemy.exc import SQLAlchemyError

    until = time.monotonic() + LOCK_SECONDS
    # Asked again and again: CREATE INDEX CONCURRENTLY would wait for the snapshot of who waits in a statement.
    while not (await opened.exec_driver_sql(f"SELECT pg_try_advisory_lock({_LOCK_KEY})")).scalar_one():
        await opened.commit()
        if time.monotonic() > until:
            raise StoreError(
                f"{name}: another process has been migrating it for {LOCK_SECONDS:.0f} s: try again later"
            )
        await asyncio.sleep(_LOOK_SECONDS)
    while True:
        await opened.exec_driver_sql(f"SET lock_timeout = '{TABLE_LOCK_SECONDS * 1000:.0f}ms'")
        await opened.commit()
        try:
            result = await opened.run_sync(act)
        except SQLAlchemyError as error:
            if not isinstance(_cause(error), LockNotAvailableError) or time.monotonic() > until:
                raise
        else:
            await opened.commit()
            return result
        await opened.rollback()
        await asyncio.sleep(_LOOK_SECONDS)


def _cause(error: BaseException) -> BaseException | None:
    """What PostgreSQL, the way to it, or who cancelled said, of which the libraries' errors came."""
    one: BaseException | None = error
    while one is not None and not isinstance(one, (*POSTGRES_ERRORS, asyncio.CancelledError)):
        # One that is raised while a block is left, such as PendingRollbackError, has what ended it as its context.
        one = one.__cause__ or one.__context__
    return one


def _upgrade(connection: Connection, name: str) -> str | None:
    from alembic import command

    inside = connection.in_transaction()
    before, compatible_from = _revisions(connection)
    if not inside:
        # Otherwise Alembic would take what the look began for a transaction that all migrations are to share.
        connection.commit()
    if must_migrate(name, before, auto_migrate=True, compatible_from=compatible_from):
        command.upgrade(script_config(connection), HEAD)
    return before


def script_config(connection: Connection) -> Config:
    """What Alembic needs to run revisions on a connection. SQLite's is in a transaction, PostgreSQL's in none."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _revisions(connection: Connection) -> tuple[str | None, str | None]:
    """As `state_of` takes them."""
    from alembic.migration import MigrationContext
    from sqlalchemy import inspect

    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    revision = context.get_current_revision()
    if state_of(revision) is not SchemaState.NEWER or not inspect(connection).has_table(COMPATIBLE_TABLE):
        return revision, None
    return revision, connection.exec_driver_sql(READ_COMPATIBLE).scalar_one_or_none()


def _status(connection: Connection) -> Status:
    from sqlalchemy import REAL, func, literal, select

    from adapters.database.schema import RESPONSES

    revision, compatible_from = _revisions(connection)
    found = Status(revision, 0, compatible_from)
    if found.state not in (SchemaState.CURRENT, SchemaState.COMPATIBLE):
        return found
    now = func.now() if connection.dialect.name == "postgresql" else literal(time.time(), REAL())
    overdue = select(func.count()).where(RESPONSES.c.expires_at <= now)
    return Status(revision, connection.execute(overdue).scalar_one(), compatible_from)
