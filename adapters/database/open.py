"""The database that a URL names, with its stores. The one place that knows both kinds."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from adapters.database.url import SqliteTarget, parse_url
from service.domain.job_store import JobStore
from service.domain.stored import ResponseStore


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """`pool_size`: connections of this process (SQLite: readers, four at most).

    `connect_seconds` bounds a new connection, `seconds` everything else that one waits for.
    """

    auto_migrate: bool = True
    pool_size: int = 10
    connect_seconds: float = 2.0
    seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Database:
    """A database, not connected yet: the first use does that, or `prepare`.

    `name` is for people, without user and password. `prepare` also migrates (`auto_migrate`) and raises
    StoreError; after a failure it may be tried again, and every use tries again by itself. `aclose` finishes
    what was asked for.
    """

    name: str
    responses: ResponseStore
    jobs: JobStore
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
    # Each driver is imported only by those who use it.
    if isinstance(target, SqliteTarget):
        from adapters.database.jobs_sqlite import SqliteJobs
        from adapters.database.responses_sqlite import SqliteResponses
        from adapters.database.sqlite import SqliteDatabase

        file = SqliteDatabase(
            target,
            auto_migrate=options.auto_migrate,
            readers=options.pool_size,
            seconds=options.seconds,
            clock=clock,
        )
        return Database(file.name, SqliteResponses(file), SqliteJobs(file), file.prepare, file.aclose)
    from adapters.database.jobs_postgres import PostgresJobs
    from adapters.database.postgres import PostgresDatabase
    from adapters.database.responses_postgres import PostgresResponses

    server = PostgresDatabase(
        target,
        auto_migrate=options.auto_migrate,
        pool_size=options.pool_size,
        connect_seconds=options.connect_seconds,
        seconds=options.seconds,
    )
    return Database(server.name, PostgresResponses(server), PostgresJobs(server), server.prepare, server.aclose)
