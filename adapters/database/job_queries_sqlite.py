"""Lists, counts and cancels of many jobs on SQLite, owner by owner. Times are Unix seconds."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from heapq import merge
from itertools import islice
from math import inf
from typing import Final, TypeVar

from adapters.database.job_rows import Row, listed_of, stats_of
from adapters.database.outbox_mode import OutboxMode
from adapters.database.outbox_telling_sqlite import tell_of_ends
from adapters.database.sqlite import SqliteDatabase
from service.domain.job_queries import JobFilter, JobPlace, ListedJob, PriorityStats
from service.domain.job_store import Priority
from service.domain.jobs import TERMINAL, JobState

_LIVE: Final = frozenset(JobState) - TERMINAL
_T = TypeVar("_T")

_AT_ONCE: Final = 100
_CANCEL_SECONDS: Final = 0.004
"""A transaction takes another so many jobs as long as it has not taken longer: others wait for the writer."""

FIRST_OWNER: Final = "SELECT min(owner) FROM jobs INDEXED BY jobs_listed WHERE owner >= ?"
NEXT_OWNER: Final = "SELECT min(owner) FROM jobs INDEXED BY jobs_listed WHERE owner > ?"

_LIST: Final = """
SELECT id, owner, api, status, priority, group_label, created_at, not_before, start_before, epoch, losses,
  failed_attempts, sequence
FROM jobs {index}
WHERE owner = :owner AND status = :status {group} AND (created_at, id) < (:created_at, :id)
  AND EXISTS (SELECT 1 FROM responses AS r WHERE r.id = jobs.id AND r.expires_at > :now)
ORDER BY created_at DESC, id DESC
"""

_COUNT: Final = "SELECT count(*) FROM jobs {index} WHERE owner = :owner AND status = :status {group}"

_TO_CANCEL: Final = """
SELECT id FROM jobs {index}
WHERE owner = :owner AND status = :status {group} AND created_at <= :accepted
  AND EXISTS (SELECT 1 FROM responses AS r WHERE r.id = jobs.id AND r.expires_at > :now)
ORDER BY created_at, id LIMIT :limit
"""

_ALL: Final = ("INDEXED BY jobs_listed", "")
# The second condition is what the index asks for.
_LABELLED: Final = ("INDEXED BY jobs_listed_of_group", "AND group_label = :group AND group_label <> ''")


def _by_index(sql: str, index: tuple[str, str]) -> str:
    return sql.replace("{index}", index[0]).replace("{group}", index[1])


LIST: Final = _by_index(_LIST, _ALL)
LIST_OF_GROUP: Final = _by_index(_LIST, _LABELLED)
COUNT: Final = _by_index(_COUNT, _ALL)
COUNT_OF_GROUP: Final = _by_index(_COUNT, _LABELLED)
TO_CANCEL: Final = _by_index(_TO_CANCEL, _ALL)
TO_CANCEL_OF_GROUP: Final = _by_index(_TO_CANCEL, _LABELLED)

# In this order: the event takes the number that the job then leaves. CROSS JOIN: ids first.
CANCEL: Final = (
    """
INSERT INTO response_events (response_id, sequence, body)
SELECT j.id, j.sequence, x'' FROM json_each(?) AS e CROSS JOIN jobs AS j ON j.id = e.value
""",
    """
UPDATE jobs SET status = 'cancelled', epoch = epoch + 1, failure = NULL, lease_until = NULL, worker = NULL,
  sequence = sequence + 1
WHERE id IN (SELECT value FROM json_each(?))
""",
    "UPDATE responses SET status = 'cancelled' WHERE id IN (SELECT value FROM json_each(?))",
)
DROP_REQUESTS: Final = "DELETE FROM job_requests WHERE id IN (SELECT value FROM json_each(?))"

_STATS: Final = """
SELECT :priority,
  (SELECT count(*) FROM jobs {waiting}
   WHERE status = 'queued' {of} AND priority = :priority AND not_before <= :now),
  (SELECT :now - min(not_before) FROM jobs {waiting}
   WHERE status = 'queued' {of} AND priority = :priority AND not_before <= :now),
  (SELECT count(*) FROM jobs {waiting}
   WHERE status = 'queued' {of} AND priority = :priority AND not_before > :now),
  (SELECT count(*) FROM jobs {running} WHERE status = 'in_progress' {of} AND priority = :priority)
"""

STATS: Final = (
    _STATS.replace("{waiting}", "INDEXED BY jobs_waiting")
    .replace("{running}", "INDEXED BY jobs_leased")
    .replace("{of}", "")
)
STATS_OF_OWNER: Final = (
    _STATS.replace("{waiting}", "INDEXED BY jobs_waiting_of_owner")
    .replace("{running}", "INDEXED BY jobs_listed")
    .replace("{of}", "AND owner = :owner")
)

RUNNABLE: Final = """
SELECT count(*) FROM (
  SELECT 1 FROM jobs INDEXED BY jobs_waiting
  WHERE status = 'queued' AND priority = :priority AND not_before <= :now LIMIT :most
)
"""


class SqliteJobQueries:
    """JobQueries on a SQLite file. `outbox`: whether that jobs were cancelled is published."""

    def __init__(self, database: SqliteDatabase, outbox: OutboxMode | None = None) -> None:
        self._database = database
        self._outbox = outbox or OutboxMode()

    async def list_jobs(self, which: JobFilter, limit: int, after: JobPlace | None) -> Sequence[ListedJob]:
        """One read of one moment."""
        now = self._database.clock()

        def work(connection: sqlite3.Connection) -> list[ListedJob]:
            rows: list[Row] = []
            for owner in _owners(connection, which, after.owner if after else ""):
                before = after if after and owner == after.owner else None
                rows += _newest(connection, which, owner, before, limit - len(rows), now)
                if len(rows) == limit:
                    break
            return [listed_of(row) for row in rows]

        return await self._database.read(_of_one_moment(work))

    async def count_jobs(self, which: JobFilter) -> Mapping[JobState, int]:
        """One read of one moment; index entries only."""

        def work(connection: sqlite3.Connection) -> dict[JobState, int]:
            counts = dict.fromkeys(which.states or JobState, 0)
            sql = COUNT if which.group is None else COUNT_OF_GROUP
            for owner in _owners(connection, which):
                for state in counts:
                    values = {"owner": owner, "status": state, "group": which.group}
                    counts[state] += connection.execute(sql, values).fetchone()[0]
            return counts

        return await self._database.read(_of_one_moment(work))

    async def now(self) -> float:
        """Asks no file: this process' clock is the one."""
        return self._database.clock()

    async def cancel_where(self, which: JobFilter, limit: int, accepted_by: float = inf) -> Sequence[str]:
        """Durable when this returns. Few at a time, so that others come in between."""
        clock = self._database.clock

        def work(connection: sqlite3.Connection) -> list[str]:
            now, begin = clock(), time.perf_counter()
            ids: list[str] = []
            while len(ids) < limit and time.perf_counter() - begin < _CANCEL_SECONDS:
                some = _to_cancel(connection, which, min(_AT_ONCE, limit - len(ids)), now, accepted_by)
                if some:
                    _cancel(connection, some, now, outbox=self._outbox.on)
                ids += some
                if len(some) < _AT_ONCE:
                    break
            return ids

        return await self._database.write(work)

    async def queue_stats(self, owner: str | None) -> Mapping[Priority, PriorityStats]:
        """One read of one moment."""
        sql = STATS if owner is None else STATS_OF_OWNER
        values = {"now": self._database.clock(), "owner": owner}

        def work(connection: sqlite3.Connection) -> list[Row]:
            return [connection.execute(sql, {**values, "priority": int(each)}).fetchone() for each in Priority]

        return stats_of(await self._database.read(_of_one_moment(work)))

    async def runnable(self, most: int) -> int:
        """One read for each priority."""
        values = {"now": self._database.clock(), "most": most}

        def work(connection: sqlite3.Connection) -> int:
            found = [connection.execute(RUNNABLE, {**values, "priority": int(each)}) for each in Priority]
            return sum(int(cursor.fetchone()[0]) for cursor in found)

        return min(most, await self._database.read(work))


def _cancel(connection: sqlite3.Connection, ids: list[str], now: float, *, outbox: bool) -> None:
    for statement in CANCEL:
        connection.execute(statement, (json.dumps(ids),))
    if outbox:
        tell_of_ends(connection, ids, now)
    connection.execute(DROP_REQUESTS, (json.dumps(ids),))


def _of_one_moment(work: Callable[[sqlite3.Connection], _T]) -> Callable[[sqlite3.Connection], _T]:
    """Lets all reads of `work` see the same."""

    def inside(connection: sqlite3.Connection) -> _T:
        connection.execute("BEGIN")
        try:
            return work(connection)
        finally:
            connection.execute("ROLLBACK")

    return inside


def _owners(connection: sqlite3.Connection, which: JobFilter, first: str = "") -> Iterator[str]:
    """The owner that is asked for, or all from `first` on, by leaps through an index."""
    if which.owner is not None:
        yield which.owner
        return
    owner = connection.execute(FIRST_OWNER, (first,)).fetchone()[0]
    while owner is not None:
        yield owner
        owner = connection.execute(NEXT_OWNER, (owner,)).fetchone()[0]


def _newest(
    connection: sqlite3.Connection, which: JobFilter, owner: str, before: JobPlace | None, limit: int, now: float
) -> list[Row]:
    """An owner's jobs; each state is read as far as they go and merged."""
    sql = LIST if which.group is None else LIST_OF_GROUP
    begin = (inf, "") if before is None else (before.created_at, before.id)
    with ExitStack() as cursors:
        by_state: list[Iterator[Row]] = []
        for state in which.states or JobState:
            values = {"owner": owner, "status": state, "group": which.group, "now": now}
            values |= {"created_at": begin[0], "id": begin[1]}
            by_state.append(cursors.enter_context(closing(connection.execute(sql, values))))
        return list(islice(merge(*by_state, key=lambda row: (row[6], row[0]), reverse=True), limit))


def _to_cancel(
    connection: sqlite3.Connection, which: JobFilter, limit: int, now: float, accepted: float
) -> list[str]:
    sql = TO_CANCEL if which.group is None else TO_CANCEL_OF_GROUP
    ids: list[str] = []
    for owner in _owners(connection, which):
        for state in (which.states or _LIVE) & _LIVE:
            values = {"owner": owner, "status": state, "group": which.group, "now": now, "accepted": accepted}
            rows = connection.execute(sql, {**values, "limit": limit - len(ids)})
            ids += [row[0] for row in rows]
            if len(ids) == limit:
                return ids
    return ids
