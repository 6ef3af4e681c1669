"""Many jobs accepted by one statement on PostgreSQL: what one costs is mostly the way there and back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from adapters.database.job_rows import key_seconds, outcome_of_repeat, trace_text
from service.domain.idempotency import Conflict, Repeated
from service.domain.job_store import Accepted, NewJob, Unstorable

if TYPE_CHECKING:
    from adapters.database.postgres import Connection

Outcome: TypeAlias = Accepted | Repeated | Conflict | Unstorable

# A look for each row: a join might read all responses. Ids, and owners with their keys, come once each. An id that
# is taken takes no key. Everybody takes keys in the same order: batches with the same records wait for each other,
# and never in a circle.
ACCEPT_MANY: Final = """
WITH asked AS MATERIALIZED (
  SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::float8[], $6::bytea[], $7::bytea[],
    $8::text[], $9::smallint[], $10::text[], $11::float8[], $12::float8[], $13::bool[], $14::bool[], $15::text[],
    $16::bytea[], $17::int[], $18::text[], $19::bytea[], $20::float8[])
  AS a (id, owner, previous_id, status, retention, response, input, api, priority, group_label, delay,
    start_within, restart_on_loss, log_deltas, trace, request, events, key, digest, key_seconds)
), free AS MATERIALIZED (
  SELECT id, owner, key, digest, key_seconds FROM asked
  WHERE (SELECT r.id FROM responses AS r WHERE r.id = asked.id) IS NULL
), keyed AS (
  INSERT INTO idempotency (owner, key, digest, response_id, expires_at)
  SELECT owner, key, digest, id, now() + make_interval(secs => key_seconds) FROM free WHERE key IS NOT NULL
  ORDER BY owner, key
  ON CONFLICT (owner, key) DO UPDATE
    SET digest = excluded.digest, response_id = excluded.response_id, expires_at = excluded.expires_at,
      reserved_at = NULL
    WHERE idempotency.expires_at <= now()
  RETURNING response_id
), new AS (
  INSERT INTO responses (id, owner, previous_id, status, created_at, expires_at, response, input)
  SELECT id, owner, previous_id, status, now(), now() + make_interval(secs => retention), response, input
  FROM asked WHERE id IN (SELECT response_id FROM keyed UNION ALL SELECT id FROM free WHERE key IS NULL)
  ON CONFLICT (id) DO NOTHING
  RETURNING id
), made AS MATERIALIZED (
  SELECT id, delay FROM new JOIN asked USING (id)
), job AS (
  INSERT INTO jobs (id, owner, api, status, priority, group_label, created_at, not_before, start_before, epoch,
    losses, failed_attempts, sequence, logged, restart_on_loss, log_deltas)
  SELECT id, owner, api, 'queued', priority, group_label, now(), now() + make_interval(secs => delay),
    now() + make_interval(secs => start_within), 0, 0, 0, events, false, restart_on_loss, log_deltas
  FROM new JOIN asked USING (id)
), request AS (
  INSERT INTO job_requests (id, trace, request) SELECT id, trace, request FROM new JOIN asked USING (id)
), events AS (
  INSERT INTO response_events (response_id, sequence, body)
  SELECT new.id, e.number, e.body FROM unnest($21::text[], $22::bigint[], $23::bytea[]) AS e (id, number, body)
  JOIN new ON new.id = e.id
)
SELECT asked.id, new.id IS NOT NULL, EXISTS (SELECT FROM keyed WHERE keyed.response_id = asked.id)
FROM asked LEFT JOIN new ON new.id = asked.id
"""

_DROP_KEY: Final = "DELETE FROM idempotency WHERE owner = $1 AND key = $2"

_KEYED: Final = """
SELECT i.* FROM unnest($1::text[], $2::text[]) AS a (owner, key) CROSS JOIN LATERAL (
  SELECT owner, key, digest, response_id FROM idempotency
  WHERE idempotency.owner = a.owner AND idempotency.key = a.key AND expires_at > now() LIMIT 1
) AS i
"""

# What it may be that has an id: a job's owner, or the owner of a response that is no job's.
_TAKEN: Final = """
SELECT r.id, (SELECT owner FROM jobs WHERE jobs.id = r.id)
FROM unnest($1::text[]) AS a (id) CROSS JOIN LATERAL (SELECT id FROM responses WHERE id = a.id LIMIT 1) AS r
"""


async def accept_all(
    connection: Connection, new: Sequence[NewJob], *, sql: str = ACCEPT_MANY, origins: bool = False
) -> list[Outcome | None]:
    """What became of each, in the transaction that is open. None: its key was given up just then; ask again.

    `sql` is ACCEPT_MANY or what is made of it, which is told the jobs' `origins`.
    """
    asked = _each_once(new)
    values = _values(asked)
    if origins:
        values += _origins(asked)
    rows = {row[0]: (row[1], row[2]) for row in await connection.fetch(sql, *values)}
    late = [job for job in asked if not rows[job.response.id][0] and rows[job.response.id][1]]
    if late:
        # The id was taken by another at this very moment: the key is not for it.
        keys = [(job.response.owner, job.idempotency.key) for job in late if job.idempotency is not None]
        await connection.executemany(_DROP_KEY, keys)
    stored = {id(job) for job in asked if rows[job.response.id][0]}
    rest = [job for job in new if id(job) not in stored]
    told = await _told(connection, rest) if rest else {}
    return [Accepted() if id(job) in stored else told[id(job)] for job in new]


async def _told(connection: Connection, rest: Sequence[NewJob]) -> dict[int, Outcome | None]:
    """Those that were not stored now, by their `id()`."""
    keys = [(job.response.owner, job.idempotency.key) for job in rest if job.idempotency is not None]
    keyed: dict[tuple[str, str], tuple[bytes, str]] = {}
    if keys:
        rows = await connection.fetch(_KEYED, *map(list, zip(*keys, strict=True)))
        keyed = {(row[0], row[1]): (row[2], row[3]) for row in rows}
    rows = await connection.fetch(_TAKEN, [job.response.id for job in rest])
    taken = {row[0]: row[1] for row in rows}
    return {id(job): _outcome(job, keyed, taken) for job in rest}


def _outcome(
    job: NewJob, keyed: dict[tuple[str, str], tuple[bytes, str]], taken: dict[str, str | None]
) -> Outcome | None:
    response, key = job.response, job.idempotency
    if key is not None and (found := keyed.get((response.owner, key.key))) is not None:
        return outcome_of_repeat(job, key, *found)
    if response.id not in taken:
        return None
    if key is None and taken[response.id] == response.owner:
        return Accepted()
    return Conflict(response.id)


def _each_once(new: Sequence[NewJob]) -> list[NewJob]:
    """Without those whose id, or owner and key, another one before them has: they learn what became of it."""
    ids: set[str] = set()
    keys: set[tuple[str, str]] = set()
    asked = []
    for job in new:
        key = None if job.idempotency is None else (job.response.owner, job.idempotency.key)
        if job.response.id in ids or key in keys:
            continue
        ids.add(job.response.id)
        if key is not None:
            keys.add(key)
        asked.append(job)
    return asked


def _values(new: Sequence[NewJob]) -> tuple[Any, ...]:
    rows = []
    for job in new:
        response, key = job.response, job.idempotency
        rows.append(
            (
                *(response.id, response.owner, response.previous_id, response.status, response.retention),
                *(response.response, response.input, job.api, int(job.priority), job.group, job.delay),
                *(job.start_within, job.restart_on_loss, job.log_deltas, trace_text(job.trace), job.request),
                *(len(job.events), key and key.key, key and key.digest, key_seconds(response)),
            )
        )
    columns = tuple(map(list, zip(*rows, strict=True)))
    ids = list(chain.from_iterable([job.response.id] * len(job.events) for job in new))
    numbers = list(chain.from_iterable(range(len(job.events)) for job in new))
    return (*columns, ids, numbers, list(chain.from_iterable(job.events for job in new)))


def _origins(new: Sequence[NewJob]) -> tuple[Any, ...]:
    found = [(job.response.id, job.origin) for job in new if job.origin is not None]
    return (
        [job_id for job_id, _ in found],
        [origin.topic for _, origin in found],
        [origin.body for _, origin in found],
    )
