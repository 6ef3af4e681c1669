"""A PostgreSQL database behind a pool that connects when it is needed, fails fast while it can't, and recovers.

Any store on it sends its own SQL text; nothing is retried here. Connections keep no session state.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg

from adapters.database.migrate import migrate_async
from adapters.database.postgres_errors import POSTGRES_ERRORS, describe_postgres
from adapters.database.readiness import Readiness, Recently
from adapters.database.revisions import READ_COMPATIBLE, READ_REVISION, SchemaState, must_migrate, state_of
from adapters.database.url import PostgresTarget
from service.domain.stored import StoreError

_CLOSE_SECONDS: Final = 10.0

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = PoolConnectionProxy[asyncpg.Record]
    _Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    _Connection = asyncpg.Connection


class _Stateless(_Connection):
    """What asyncpg would reset after every use we never set: one round trip less."""

    def get_reset_query(self) -> str:
        return ""


class PostgresDatabase:
    """The pool. Use it in one event loop.

    `connect_seconds` bounds a new connection, `seconds` a statement and the wait for a free connection. `prepared`
    is called once, before anything else is done with a database that has our schema.
    """

    def __init__(
        self,
        target: PostgresTarget,
        *,
        auto_migrate: bool = True,
        pool_size: int = 10,
        connect_seconds: float = 2.0,
        seconds: float = 10.0,
        prepared: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        self.name = target.name
        self._target = target
        self._auto_migrate = auto_migrate
        self._pool_size = pool_size
        self._connect_seconds = connect_seconds
        self._seconds = seconds
        self._prepared = prepared
        self._readiness = Readiness(self.name, self._prepare)
        self._recently = Recently()
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._closed = False
        self._users = 0
        self._unused = asyncio.Event()

    async def prepare(self) -> None:
        """Connects, and migrates where that is needed; waits for others that do.

        Raises:
            StoreError: it can't be used.
        """
        await self._readiness.ensure(None)

    async def ready(self) -> None:
        """Returns when it is prepared; whoever acts on what `prepared` found calls this before.

        Raises:
            StoreError: it can't be used, or not in time.
        """
        if not self._readiness.done:
            if self._closed:
                raise StoreError(f"{self.name}: it is closed")
            await self._readiness.ensure(self._seconds)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection to a database with our schema; its errors, in the block too, become StoreErrors.

        Raises:
            StoreError: none can be had in time, or the database refused.
        """
        if self._closed:
            raise StoreError(f"{self.name}: it is closed")
        self._users += 1
        try:
            await self.ready()
            async with self._connection() as connection:
                yield connection
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def fetch(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """The rows of one statement.

        Raises:
            StoreError: as `connection`.
        """
        async with self.connection() as connection:
            return await connection.fetch(sql, *arguments)

    async def execute(self, sql: str, *arguments: Any) -> int:
        """Runs one statement that changes rows; how many.

        Raises:
            StoreError: as `connection`.
        """
        async with self.connection() as connection:
            tag = await connection.execute(sql, *arguments)
        return int(tag.rpartition(" ")[2])

    async def aclose(self) -> None:
        """Waits for what is under way, a while, and disconnects."""
        self._closed = True
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                while self._users:
                    self._unused.clear()
                    await self._unused.wait()
                await self._readiness.aclose()
                if self._pool is not None:
                    await self._pool.close()
        except POSTGRES_ERRORS:
            if self._pool is not None:
                self._pool.terminate()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        pool = self._pool or await self._make_pool()
        try:
            connection = await self._acquire(pool)
            try:
                yield connection
            except asyncio.CancelledError:
                # A server that hangs fails the release: that must not come in the cancellation's place.
                with suppress(*POSTGRES_ERRORS):
                    await pool.release(connection, timeout=self._connect_seconds)
                raise
            except BaseException:
                await pool.release(connection, timeout=self._connect_seconds)
                raise
            else:
                await pool.release(connection, timeout=self._connect_seconds)
        except asyncpg.ReadOnlySQLTransactionError as error:
            # What was the primary is one no more: new connections may find the new one.
            await pool.expire_connections()
            raise describe_postgres(error, self._target) from None
        except POSTGRES_ERRORS as error:
            raise describe_postgres(error, self._target) from None

    async def _acquire(self, pool: asyncpg.Pool[asyncpg.Record]) -> Connection:
        try:
            async with asyncio.timeout(self._seconds):
                return await pool.acquire()
        except TimeoutError:
            busy = f"all {self._pool_size} connections are in use for {self._seconds:g} s: see database.pool_size"
            raise StoreError(f"{self.name}: {busy}") from None

    async def _make_pool(self) -> asyncpg.Pool[asyncpg.Record]:
        pool = asyncpg.create_pool(
            self._target.dsn,
            min_size=0,
            max_size=self._pool_size,
            connect=self._connect,
            connection_class=_Stateless,
            timeout=self._connect_seconds,
            # The server's own limit ends what nobody waits for any more.
            command_timeout=self._seconds + 1.0,
            server_settings={
                "application_name": "eurouter",
                "statement_timeout": f"{self._seconds * 1000:.0f}",
                "jit": "off",
                # Hot statements find a few rows by index, however many there are. A plan that was made while a
                # table was small, or for any limit, would read them all.
                "enable_seqscan": "off",
                "enable_bitmapscan": "off",
            },
        )
        # Without connections to make at the start this waits for nothing.
        await pool
        self._pool = self._pool or pool
        return self._pool

    async def _connect(self, *arguments: Any, **options: Any) -> _Connection:
        """A new connection for the pool; those who queue for one learn of a failure without a try of their own."""
        self._recently.check()
        try:
            return await asyncpg.connect(*arguments, **options)
        except POSTGRES_ERRORS as error:
            raise self._recently.failed(describe_postgres(error, self._target)) from None

    async def _prepare(self) -> None:
        async with self._connection() as connection:
            revision = await _only(connection, READ_REVISION)
            newer = state_of(revision) is SchemaState.NEWER
            compatible_from = await _only(connection, READ_COMPATIBLE) if newer else None
        if must_migrate(self.name, revision, auto_migrate=self._auto_migrate, compatible_from=compatible_from):
            await migrate_async(self._target, connect_seconds=self._connect_seconds)
        if self._prepared is not None:
            async with self._connection() as connection:
                await self._prepared(connection)


async def _only(connection: Connection, read: str) -> str | None:
    """What `read` finds in a table that may not be there."""
    try:
        found: str | None = await connection.fetchval(read)
    except asyncpg.UndefinedTableError:
        return None
    return found
