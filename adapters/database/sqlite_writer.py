"""The one thread that writes to a SQLite file: functions run in its transaction, one commit for all that wait.

What is written, and when it is asked for, is not for this module to know.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Final, TypeAlias, TypeVar

from adapters.database.sqlite_files import connect, describe_sqlite
from adapters.database.url import SqliteTarget
from service.domain.stored import StoreError

_MOST_AT_ONCE: Final = 256
_BUSY_SECONDS: Final = 0.015
_GATHER_SECONDS: Final = 0.003
_GATHER_LONGER_SECONDS: Final = 0.012
_FINISH_SECONDS: Final = 30.0

_T = TypeVar("_T")
Work: TypeAlias = Callable[[sqlite3.Connection], _T]
"""Runs in the writer's thread inside a transaction, once; when it raises, what it changed is undone."""


@dataclass(frozen=True, slots=True)
class Insert:
    """Work that adds one row; those that wait together become one statement.

    `into` names a table and its columns, as between INSERT INTO and VALUES. `row` gives the values when it is
    the row's turn. A row whose primary key is taken raises ValueError(`taken`).
    """

    into: str
    row: Callable[[], tuple[Any, ...]]
    taken: str

    def __call__(self, connection: sqlite3.Connection) -> None:
        """Adds the row by itself."""
        values = self.row()
        try:
            connection.execute(_insertion(self.into, 1, len(values)), values)
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
                raise
            raise ValueError(self.taken) from None


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work[Any]
    durable: bool
    future: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Outcome:
    value: Any = None
    error: BaseException | None = None


class SqliteWriter:
    """Runs functions one after the other, in transactions that hold whatever waited when they began."""

    def __init__(self, target: SqliteTarget, *, busy_seconds: float) -> None:
        self._target = target
        self._busy_seconds = busy_seconds
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._connection: sqlite3.Connection | None = None
        self._synchronous = ""

    async def run(self, work: Work[_T], *, durable: bool = True) -> _T:
        """What `work` returns, once it is committed. Call it in one event loop only.

        `work` may run a second time, when another of its transaction failed: it changes nothing but the database.

        `durable`: it outlives a power failure. Otherwise a crash of the machine may lose the last commits,
        never one of this process.

        Raises:
            StoreError: SQLite refused, here or in `work`. Whatever else `work` raises passes through.
        """
        if self._closed:
            raise StoreError(f"{self._target.name}: it is closed")
        loop = self._loop or self._start()
        future: asyncio.Future[_T] = loop.create_future()
        self._queue.put(_Job(work, durable, future))
        return await future

    async def aclose(self) -> None:
        """Finishes what waits and closes the file."""
        self._closed = True
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join, _FINISH_SECONDS)

    def _start(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.get_running_loop()
        # A daemon: a process that ends without closing must not wait for it for ever.
        self._thread = threading.Thread(target=self._serve, args=(self._loop,), name="sqlite-writer", daemon=True)
        self._thread.start()
        return self._loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        going = True
        crowded = False
        committed = 0.0
        while going:
            jobs: list[_Job] = []
            job = self._queue.get()
            if job is not None and time.monotonic() - committed < _BUSY_SECONDS:
                # A commit costs several times what one more row in it does: under load, a few wait for each other.
                time.sleep(_GATHER_LONGER_SECONDS if crowded else _GATHER_SECONDS)
            while job is not None:
                # Whoever left before its turn wants nothing written.
                if not job.future.cancelled():
                    jobs.append(job)
                if len(jobs) == _MOST_AT_ONCE:
                    break
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    break
            going = job is not None
            if jobs:
                _tell(loop, jobs, self._commit(jobs))
                committed = time.monotonic()
                crowded = len(jobs) > 1
        self._drop()

    def _commit(self, jobs: list[_Job]) -> list[_Outcome]:
        try:
            connection = self._open(durable=any(job.durable for job in jobs))
            if _insert_together(connection, jobs):
                return [_Outcome()] * len(jobs)
            connection.execute("BEGIN IMMEDIATE")
            outcomes = _run_together(connection, jobs)
            if len(jobs) > 1 and any(outcome.error is not None for outcome in outcomes):
                # Rare: all of them anew, each so that its failure undoes nothing but its own.
                connection.rollback()
                connection.execute("BEGIN IMMEDIATE")
                outcomes = [_run_apart(connection, job.work) for job in jobs]
            if len(jobs) == 1 and outcomes[0].error is not None:
                connection.rollback()
            else:
                connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - the thread goes on for the next ones
            self._drop()
            outcomes = [_Outcome(error=error)] * len(jobs)
        return [self._described(outcome) for outcome in outcomes]

    def _open(self, *, durable: bool) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self._target.path, busy_seconds=self._busy_seconds)
            self._synchronous = ""
        wanted = "FULL" if durable else "NORMAL"
        if wanted != self._synchronous:
            self._connection.execute(f"PRAGMA synchronous={wanted}")
            self._synchronous = wanted
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def _described(self, outcome: _Outcome) -> _Outcome:
        if isinstance(outcome.error, sqlite3.Error):
            # One for each: an exception that several tasks raise gathers all their tracebacks.
            return _Outcome(error=describe_sqlite(outcome.error, self._target))
        return outcome


def _insert_together(connection: sqlite3.Connection, jobs: list[_Job]) -> bool:
    """Whether all jobs were rows of one table, and are written and committed now by one statement.

    SQLite's module lets go of the interpreter's lock in every statement, and the thread of a busy event loop gives
    it back late and at the price of two switches.
    """
    first = jobs[0].work
    inserts = [job.work for job in jobs if isinstance(job.work, Insert)]
    if not isinstance(first, Insert) or len(inserts) < len(jobs) or any(i.into != first.into for i in inserts):
        return False
    rows = [insert.row() for insert in inserts]
    try:
        connection.execute(_insertion(first.into, len(rows), len(rows[0])), tuple(chain.from_iterable(rows)))
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            # It was waited for as long as may be.
            raise
        # Undone as a whole: one by one each learns its own.
        return False
    return True


@lru_cache(_MOST_AT_ONCE)
def _insertion(into: str, rows: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"INSERT INTO {into} VALUES {', '.join([row] * rows)}"  # noqa: S608  names of our own only


def _run_together(connection: sqlite3.Connection, jobs: list[_Job]) -> list[_Outcome]:
    """The outcomes up to the first failure. Without savepoints: each statement lets go of the interpreter's lock
    and has to win it back from a busy event loop, which costs more than the statement."""
    outcomes = []
    for job in jobs:
        outcomes.append(_run(connection, job.work))
        if outcomes[-1].error is not None:
            break
    return outcomes


def _run(connection: sqlite3.Connection, work: Work[Any]) -> _Outcome:
    try:
        return _Outcome(work(connection))
    except Exception as error:  # noqa: BLE001 - it belongs to whoever asked for the work
        return _Outcome(error=error)


def _run_apart(connection: sqlite3.Connection, work: Work[Any]) -> _Outcome:
    """The same beside others in one transaction: a failure undoes its own changes only."""
    connection.execute("SAVEPOINT job")
    outcome = _run(connection, work)
    if outcome.error is not None:
        if not connection.in_transaction:
            # A full or failing disk: SQLite has undone everything by itself, for everybody.
            raise outcome.error
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")
    return outcome


def _tell(loop: asyncio.AbstractEventLoop, jobs: list[_Job], outcomes: list[_Outcome]) -> None:
    """Hands the outcomes to the event loop, all in one wake-up."""

    def resolve() -> None:
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.future.done():
                continue
            if outcome.error is not None:
                job.future.set_exception(outcome.error)
            else:
                job.future.set_result(outcome.value)

    try:
        loop.call_soon_threadsafe(resolve)
    except RuntimeError:
        # The loop is closed: nobody waits any more.
        return
