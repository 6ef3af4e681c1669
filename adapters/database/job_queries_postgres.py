"""Lists, counts and cancels of many jobs on PostgreSQL.

Everything goes owner by owner through two indexes, one for all of an owner's jobs and one for those with a label.
The names of all owners are found by leaps through the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from math import inf
from typing import Final

from adapters.database.job_rows import listed_of, stats_of
from adapters.database.postgres import PostgresDatabase
from service.domain.job_queries import JobFilter, JobPlace, ListedJob, PriorityStats
from service.domain.job_store import Priority
from service.domain.jobs import TERMINAL, JobState

_STATES: Final = frozenset(JobState)
_LIVE: Final = _STATES - TERMINAL

_ONE_OWNER: Final = "SELECT $1::text"

# From the one named on; "" is before all.
_ALL_OWNERS: Final = """
  (SELECT owner FROM jobs WHERE owner >= $1::text ORDER BY owner LIMIT 1)
  UNION ALL
  SELECT (SELECT jobs.owner FROM jobs WHERE jobs.owner > owners.owner ORDER BY jobs.owner LIMIT 1)
  FROM owners WHERE owners.owner IS NOT NULL
"""

# The second condition is what the index of labelled jobs asks for.
_IN_GROUP: Final = "AND group_label = $2 AND group_label <> ''"
_IN_ANY: Final = "AND $2::text IS NULL"

# One look for each row: EXISTS might become a join that reads all responses.
_KEPT: Final = "AND (SELECT r.expires_at > now() FROM responses AS r WHERE r.id = jobs.id)"

# Each state is read as far as the page goes and merged. The outermost limit takes owners in the order in which the
# recursion finds them: a lateral join has no other.
_LIST: Final = """
WITH RECURSIVE owners (owner) AS ({owners})
SELECT page.* FROM owners CROSS JOIN LATERAL (
  SELECT part.* FROM unnest($3::text[]) AS s (status) CROSS JOIN LATERAL (
    SELECT id, owner, api, status, priority, group_label, extract(epoch FROM created_at)::float8 AS created,
      extract(epoch FROM not_before)::float8, extract(epoch FROM start_before)::float8, epoch, losses,
      failed_attempts, sequence
    FROM jobs
    WHERE jobs.owner = owners.owner AND jobs.status = s.status {group}
      AND (created_at, id) < (coalesce(CASE WHEN owners.owner = $1 THEN $5::timestamptz END, 'infinity'), $6::text)
      {kept}
    ORDER BY created_at DESC, id DESC LIMIT $4
  ) AS part ORDER BY part.created DESC, part.id DESC LIMIT $4
) AS page LIMIT $4
"""

# A look for each owner and state: a join might read all of an owner's.
_COUNT: Final = """
WITH RECURSIVE owners (owner) AS ({owners})
SELECT s.status, sum((
  SELECT count(*) FROM jobs WHERE jobs.owner = owners.owner AND jobs.status = s.status {group}
))::bigint
FROM owners CROSS JOIN unnest($3::text[]) AS s (status) GROUP BY s.status
"""

# `first` is read without locks; `held` locks in the order of ids, as all do who move many. The arrays keep what
# follows on the primary keys, however many the planner expects.
_CANCEL: Final = """
WITH RECURSIVE owners (owner) AS ({owners}), first AS MATERIALIZED (
  SELECT part.id FROM owners CROSS JOIN unnest($3::text[]) AS s (status) CROSS JOIN LATERAL (
    SELECT id FROM jobs
    WHERE jobs.owner = owners.owner AND jobs.status = s.status {group}
      AND created_at <= to_timestamp($5) {kept}
    ORDER BY created_at, id LIMIT $4
  ) AS part LIMIT $4
), held AS MATERIALIZED (
  SELECT job.id, job.sequence FROM (SELECT id FROM first ORDER BY id) AS f CROSS JOIN LATERAL (
    SELECT id, sequence FROM jobs WHERE jobs.id = f.id AND jobs.status = ANY($3) FOR NO KEY UPDATE {lock}
  ) AS job
), job AS (
  UPDATE jobs SET status = 'cancelled', epoch = epoch + 1, failure = NULL, lease_until = NULL, worker = NULL,
    sequence = sequence + 1
  WHERE id = ANY(ARRAY(SELECT id FROM held))
), object AS (
  UPDATE responses SET status = 'cancelled' WHERE id = ANY(ARRAY(SELECT id FROM held))
), request AS (
  DELETE FROM job_requests WHERE id = ANY(ARRAY(SELECT id FROM held))
), event AS (
  INSERT INTO response_events (response_id, sequence, body) SELECT id, sequence, '' FROM held
)
SELECT id FROM held
"""

_STATS: Final = """
SELECT p.priority,
  (SELECT count(*) FROM jobs WHERE status = 'queued' {of} AND priority = p.priority AND not_before <= now()),
  (SELECT extract(epoch FROM now() - not_before)::float8 FROM jobs
   WHERE status = 'queued' {of} AND priority = p.priority AND not_before <= now() ORDER BY not_before LIMIT 1),
  (SELECT count(*) FROM jobs WHERE status = 'queued' {of} AND priority = p.priority AND not_before > now()),
  (SELECT count(*) FROM jobs WHERE status = 'in_progress' {of} AND priority = p.priority)
FROM unnest($1::smallint[]) AS p (priority)
"""

STATS: Final = _STATS.replace("{of}", "")
STATS_OF_OWNER: Final = _STATS.replace("{of}", "AND owner = $2")

RUNNABLE: Final = """
SELECT count(*) FROM unnest($1::smallint[]) AS p (priority) CROSS JOIN LATERAL (
  SELECT 1 FROM jobs WHERE status = 'queued' AND priority = p.priority AND not_before <= now() LIMIT $2
) AS j
"""


@cache
def list_sql(*, everybody: bool, grouped: bool) -> str:
    """Arguments: owner (the first one), group, states, limit, and the time and id before which to begin."""
    return _filtered(_LIST, everybody=everybody, grouped=grouped)


@cache
def count_sql(*, everybody: bool, grouped: bool) -> str:
    """Arguments: owner (the first one), group, states."""
    return _filtered(_COUNT, everybody=everybody, grouped=grouped)


@cache
def cancel_sql(*, everybody: bool, grouped: bool, patient: bool = False) -> str:
    """Arguments: owner (the first one), group, states, limit, last time. `patient` waits for what others hold."""
    sql = _filtered(_CANCEL, everybody=everybody, grouped=grouped)
    return sql.replace("{lock}", "" if patient else "SKIP LOCKED")


def _filtered(sql: str, *, everybody: bool, grouped: bool) -> str:
    return (
        sql.replace("{owners}", _ALL_OWNERS if everybody else _ONE_OWNER)
        .replace("{group}", _IN_GROUP if grouped else _IN_ANY)
        .replace("{kept}", _KEPT)
    )


class PostgresJobQueries:
    """JobQueries on PostgreSQL."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def list_jobs(self, which: JobFilter, limit: int, after: JobPlace | None) -> Sequence[ListedJob]:
        """One statement."""
        first = which.owner or (after.owner if after else "")
        begin = (datetime.fromtimestamp(after.created_at, UTC), after.id) if after else (None, "")
        sql = list_sql(everybody=which.owner is None, grouped=which.group is not None)
        states = sorted(which.states or _STATES)
        rows = await self._database.fetch(sql, first, which.group, states, limit, *begin)
        return [listed_of(row) for row in rows]

    async def count_jobs(self, which: JobFilter) -> Mapping[JobState, int]:
        """One statement; index entries only, where the rows' pages were vacuumed."""
        states = sorted(which.states or _STATES)
        sql = count_sql(everybody=which.owner is None, grouped=which.group is not None)
        rows = await self._database.fetch(sql, which.owner or "", which.group, states)
        return dict.fromkeys(map(JobState, states), 0) | {JobState(row[0]): row[1] for row in rows}

    async def now(self) -> float:
        """One statement."""
        rows = await self._database.fetch("SELECT extract(epoch FROM now())::float8")
        return float(rows[0][0])

    async def cancel_where(self, which: JobFilter, limit: int, accepted_by: float = inf) -> Sequence[str]:
        """One statement; another one, which waits, when others hold all that is left."""
        states = sorted((which.states or _LIVE) & _LIVE)
        shape = {"everybody": which.owner is None, "grouped": which.group is not None}
        values = (which.owner or "", which.group, states)
        rows = await self._database.fetch(await self._cancel_sql(**shape), *values, limit, accepted_by)
        if not rows:
            sql = await self._cancel_sql(**shape, patient=True)
            rows = await self._database.fetch(sql, *values, limit, accepted_by)
        return [row[0] for row in rows]

    async def queue_stats(self, owner: str | None) -> Mapping[Priority, PriorityStats]:
        """One statement over the indexes of those that wait and run."""
        priorities = list(map(int, Priority))
        if owner is None:
            return stats_of(await self._database.fetch(STATS, priorities))
        return stats_of(await self._database.fetch(STATS_OF_OWNER, priorities, owner))

    async def runnable(self, most: int) -> int:
        """One statement over the index of those that wait."""
        rows = await self._database.fetch(RUNNABLE, list(map(int, Priority)), most)
        return min(most, int(rows[0][0]))

    async def _cancel_sql(self, *, everybody: bool, grouped: bool, patient: bool = False) -> str:
        return cancel_sql(everybody=everybody, grouped=grouped, patient=patient)
