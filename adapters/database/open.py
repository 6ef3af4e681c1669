"""The database that a URL names, with its stores. The one place that knows both kinds."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from adapters.database.outbox_mode import OutboxMode
from adapters.database.signalling import SignallingJobs, SignallingResponses
from adapters.database.url import PostgresTarget, SqliteTarget, parse_url
from service.domain.idempotency import IdempotencyKeys
from service.domain.job_store import JobStore
from service.domain.outbox import Outbox
from service.domain.signals import Signals
from service.domain.stored import ResponseStore


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """`pool_size`: connections of this process (SQLite: readers, four at most); hints take one more.

    `connect_seconds` bounds a new connection, `seconds` everything else that one waits for. `outbox`: this process
    publishes what becomes of jobs, so it is written with them. Others on the same database write it, too, from
    when they learn of this one until a week after they heard of nobody: see `Database.look`.
    """

    auto_migrate: bool = True
    pool_size: int = 10
    connect_seconds: float = 2.0
    seconds: float = 10.0
    outbox: bool = False


@dataclass(frozen=True, slots=True)
class Database:
    """A database, not connected yet: the first use does that, or `prepare`.

    `name` is for people, without user and password. `prepare` also migrates (`auto_migrate`) and raises
    StoreError; after a failure it may be tried again, and every use tries again by itself. What the stores write
    is told by `signals`; its `run` is for whoever runs the process, and ends before `aclose`. `look` keeps
    `outbox_mode` true, or learns what is true; it raises StoreError, and whoever runs the process calls it every
    minute or so, between the mode's pauses. `aclose` finishes what was asked for.
    """

    name: str
    responses: ResponseStore
    jobs: JobStore
    keys: IdempotencyKeys
    outbox: Outbox
    outbox_mode: OutboxMode
    signals: Signals
    prepare: Callable[[], Awaitable[None]]
    look: Callable[[], Awaitable[None]]
    aclose: Callable[[], Awaitable[None]]


def open_database(
    url: str, options: DatabaseOptions = DatabaseOptions(), *, clock: Callable[[], float] = time.time
) -> Database:
    """Reads the URL; connects to nothing. `clock` gives Unix seconds and is SQLite's time only.

    Raises:
        DatabaseUrlError: the URL can't be used.
    """
    target = parse_url(url)
    if isinstance(target, SqliteTarget):
        return _sqlite(target, options, clock)
    return _postgres(target, options)


# Each driver is imported only by those who use it.


def _sqlite(target: SqliteTarget, options: DatabaseOptions, clock: Callable[[], float]) -> Database:
    from adapters.database.idempotency_sqlite import SqliteIdempotency
    from adapters.database.jobs_sqlite import SqliteJobs
    from adapters.database.outbox_sqlite import SqliteOutbox, settle
    from adapters.database.responses_sqlite import SqliteResponses
    from adapters.database.signals import LocalSignals
    from adapters.database.sqlite import SqliteDatabase

    mode = OutboxMode(always=options.outbox)

    def work(connection: sqlite3.Connection) -> None:
        settle(connection, clock(), mode)

    file = SqliteDatabase(
        target,
        auto_migrate=options.auto_migrate,
        readers=options.pool_size,
        seconds=options.seconds,
        clock=clock,
        prepared=work,
    )

    async def look() -> None:
        await (file.write(work, durable=False) if mode.always else file.read(work))

    signals = LocalSignals()
    signals.listen(on_outbox=mode.doubt)
    return Database(
        file.name,
        SignallingResponses(SqliteResponses(file, mode), signals, mode),
        SignallingJobs(SqliteJobs(file, mode), signals, mode),
        SqliteIdempotency(file),
        SqliteOutbox(file),
        mode,
        signals,
        file.prepare,
        look,
        file.aclose,
    )


def _postgres(target: PostgresTarget, options: DatabaseOptions) -> Database:
    from adapters.database.idempotency_postgres import PostgresIdempotency
    from adapters.database.jobs_postgres import PostgresJobs
    from adapters.database.outbox_postgres import PostgresOutbox, settle
    from adapters.database.postgres import PostgresDatabase
    from adapters.database.responses_postgres import PostgresResponses
    from adapters.database.signals_postgres import PostgresSignals

    mode = OutboxMode(always=options.outbox)
    server = PostgresDatabase(
        target,
        auto_migrate=options.auto_migrate,
        pool_size=options.pool_size,
        connect_seconds=options.connect_seconds,
        seconds=options.seconds,
        prepared=lambda connection: settle(connection, mode),
    )

    async def look() -> None:
        async with server.connection() as connection:
            await settle(connection, mode)

    signals = PostgresSignals(target, connect_seconds=options.connect_seconds)
    signals.listen(on_outbox=mode.doubt)
    return Database(
        server.name,
        SignallingResponses(PostgresResponses(server, mode), signals, mode),
        SignallingJobs(PostgresJobs(server, mode), signals, mode),
        PostgresIdempotency(server),
        PostgresOutbox(server),
        mode,
        signals,
        server.prepare,
        look,
        server.aclose,
    )
