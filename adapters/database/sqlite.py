"""A SQLite file shared by the processes of one machine: one writer and several readers in each.

Any store on it asks `write` and `read` to run a function; the tables are theirs.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Final, TypeVar

from adapters.database.migrate import migrate
from adapters.database.readiness import Readiness
from adapters.database.revisions import must_migrate
from adapters.database.sqlite_files import connect, create, describe_sqlite, revisions_of, use_wal
from adapters.database.sqlite_writer import SqliteWriter, Work
from adapters.database.url import SqliteTarget
from service.domain.stored import StoreError

_MOST_READERS: Final = 4

_T = TypeVar("_T")


class SqliteDatabase:
    """The file, opened when it is first needed. Use it in one event loop.

    `clock` gives Unix seconds: the time that rows are written and compared with. `readers`: threads that read.
    `seconds`: how long a function may take, waiting for its turn included. `prepared` is called once, in a thread,
    before anything else is done with a file that has our schema.
    """

    def __init__(
        self,
        target: SqliteTarget,
        *,
        auto_migrate: bool = True,
        readers: int = _MOST_READERS,
        seconds: float = 10.0,
        clock: Callable[[], float] = time.time,
        prepared: Work[None] | None = None,
    ) -> None:
        self.name = target.name
        self.clock = clock
        self._target = target
        self._auto_migrate = auto_migrate
        self._seconds = seconds
        self._prepared = prepared
        # Less than the limit of a call: the error is then SQLite's own.
        self._busy_seconds = seconds / 2
        self._readiness = Readiness(self.name, lambda: asyncio.to_thread(self._prepare))
        self._writer = SqliteWriter(target, busy_seconds=self._busy_seconds)
        self._readers = ThreadPoolExecutor(min(readers, _MOST_READERS), thread_name_prefix="sqlite-reader")
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    async def prepare(self) -> None:
        """Makes and migrates the file where that is needed; waits for others that do.

        Raises:
            StoreError: it can't be used.
        """
        await self._readiness.ensure(None)

    async def write(self, work: Work[_T], *, durable: bool = True) -> _T:
        """`SqliteWriter.run`, in time.

        Raises:
            StoreError: it can't be used, refused, or took too long (it may then still be written).
        """
        await self.ready()
        try:
            async with asyncio.timeout(self._seconds):
                return await self._writer.run(work, durable=durable)
        except TimeoutError:
            raise self._too_long() from None

    async def read(self, work: Work[_T]) -> _T:
        """What `work` returns, run in a thread of its own on a connection that can't write.

        Raises:
            StoreError: it can't be used, refused, or took too long.
        """
        await self.ready()
        reading = asyncio.get_running_loop().run_in_executor(self._readers, partial(self._read, work))
        try:
            async with asyncio.timeout(self._seconds):
                return await reading
        except TimeoutError:
            raise self._too_long() from None

    async def aclose(self) -> None:
        """Finishes what was asked for and closes the file."""
        self._closed = True
        await self._readiness.aclose()
        await self._writer.aclose()
        await asyncio.to_thread(self._readers.shutdown)
        while self._idle:
            self._idle.pop().close()

    async def ready(self) -> None:
        """Returns when it is prepared; whoever acts on what `prepared` found calls this before.

        Raises:
            StoreError: it can't be used, or not in time.
        """
        if self._closed:
            raise StoreError(f"{self.name}: it is closed")
        if not self._readiness.done:
            await self._readiness.ensure(self._seconds)

    def _prepare(self) -> None:
        create(self._target)
        use_wal(self._target, busy_seconds=self._busy_seconds)
        revision, compatible_from = revisions_of(self._target, busy_seconds=self._busy_seconds)
        if must_migrate(self.name, revision, auto_migrate=self._auto_migrate, compatible_from=compatible_from):
            migrate(self._target)
        if self._prepared is not None:
            self._once(self._prepared)

    def _once(self, work: Work[None]) -> None:
        try:
            with closing(connect(self._target.path, busy_seconds=self._busy_seconds)) as connection:
                work(connection)
        except sqlite3.Error as error:
            raise describe_sqlite(error, self._target) from None

    def _read(self, work: Work[_T]) -> _T:
        try:
            connection = self._reader()
            try:
                result = work(connection)
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            raise describe_sqlite(error, self._target) from None
        self._idle.append(connection)
        return result

    def _reader(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return connect(self._target.path, busy_seconds=self._busy_seconds, read_only=True)

    def _too_long(self) -> StoreError:
        return StoreError(f"{self.name}: no answer within {self._seconds:g} s")
