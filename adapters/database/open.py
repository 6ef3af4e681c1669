"""The database that a URL names, with its stores. The one place that knows both kinds."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

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

    `connect_seconds` bounds a new connection, `seconds` everything else that one waits for. `outbox`: what is to
    be published of jobs is written with them; for all processes on a database, or for none.
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
    is told by `signals`; its `run` is for whoever runs the process, and ends before `aclose`. `aclose` finishes
    what was asked for.
    """

    name: str
    responses: ResponseStore
    jobs: JobStore
    keys: IdempotencyKeys
    outbox: Outbox
    signals: Signals
    prepare: Callable[[], Awaitable[None]]
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
    from adapters.database.outbox_sqlite import SqliteOutbox
    from adapters.database.responses_sqlite import SqliteResponses
    from adapters.database.signals import LocalSignals
    from adapters.database.sqlite import SqliteDatabase

    file = SqliteDatabase(
        target,
        auto_migrate=options.auto_migrate,
        readers=options.pool_size,
        seconds=options.seconds,
        clock=clock,
    )
    signals = LocalSignals()
    return Database(
        file.name,
        SignallingResponses(SqliteResponses(file, outbox=options.outbox), signals, outbox=options.outbox),
        SignallingJobs(SqliteJobs(file, outbox=options.outbox), signals, outbox=options.outbox),
        SqliteIdempotency(file),
        SqliteOutbox(file),
        signals,
        file.prepare,
        file.aclose,
    )


def _postgres(target: PostgresTarget, options: DatabaseOptions) -> Database:
    from adapters.database.idempotency_postgres import PostgresIdempotency
    from adapters.database.jobs_postgres import PostgresJobs
    from adapters.database.outbox_postgres import PostgresOutbox
    from adapters.database.postgres import PostgresDatabase
    from adapters.database.responses_postgres import PostgresResponses
    from adapters.database.signals_postgres import PostgresSignals

    server = PostgresDatabase(
        target,
        auto_migrate=options.auto_migrate,
        pool_size=options.pool_size,
        connect_seconds=options.connect_seconds,
        seconds=options.seconds,
    )
    signals = PostgresSignals(target, connect_seconds=options.connect_seconds)
    return Database(
        server.name,
        SignallingResponses(PostgresResponses(server, outbox=options.outbox), signals, outbox=options.outbox),
        SignallingJobs(PostgresJobs(server, outbox=options.outbox), signals, outbox=options.outbox),
        PostgresIdempotency(server),
        PostgresOutbox(server),
        signals,
        server.prepare,
        server.aclose,
    )
