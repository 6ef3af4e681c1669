"""The store of responses on PostgreSQL. Time is the database's."""

from __future__ import annotations

from typing import Final

from adapters.database.chain import chain_of, may_exist
from adapters.database.idempotency_postgres import store_with_key
from adapters.database.job_rows import SWEPT_EVENTS
from adapters.database.outbox_mode import OutboxMode
from adapters.database.postgres import PostgresDatabase
from service.domain.idempotency import Idempotency
from service.domain.stored import Chain, ChainEnd, NewResponse, StoredResponse

_INSERT: Final = """
INSERT INTO responses (id, owner, previous_id, status, created_at, expires_at, response, input)
VALUES ($1, $2, $3, $4, now(), now() + make_interval(secs => $5), $6, $7)
ON CONFLICT (id) DO NOTHING
"""

_GET: Final = """
SELECT id, previous_id, status, response, input FROM responses
WHERE id = $1 AND owner = $2 AND expires_at > now()
"""

# Whoever holds the job's row may be writing events: those are seen only by a statement that begins after it.
_LOCK: Final = """
SELECT FROM jobs WHERE id = $1 AND (owner = $2) IS TRUE
  AND EXISTS (SELECT FROM responses AS r WHERE r.id = jobs.id AND r.expires_at > now())
FOR UPDATE
"""

# The key of a record that came in stays until its time is over: the record may be read once more, and must not
# make again what was deleted. A job of another door has an origin without a body, if it has one.
DELETE: Final = """
WITH dead AS (
  DELETE FROM responses WHERE id = $1 AND owner = $2 AND expires_at > now() RETURNING id
), job AS (
  DELETE FROM jobs USING dead WHERE jobs.id = dead.id
), request AS (
  DELETE FROM job_requests USING dead WHERE job_requests.id = dead.id
), events AS (
  DELETE FROM response_events USING dead WHERE response_id = dead.id
), key AS (
  DELETE FROM idempotency USING dead WHERE response_id = dead.id
    AND (SELECT o.id FROM job_origins AS o WHERE o.id = dead.id AND length(o.body) > 0) IS NULL
), origin AS (
  DELETE FROM job_origins WHERE id = ANY(ARRAY(SELECT id FROM dead))
)
SELECT FROM dead
"""

# The recursion carries ids and sizes, never bodies: PostgreSQL knows a body's size without reading it. One link
# beyond a limit is found, so that the caller learns of it; its bodies are not read.
CHAIN: Final = """
WITH RECURSIVE link (depth, bytes, id, previous_id) AS (
  SELECT 1, octet_length(response)::bigint + octet_length(input), id, previous_id
  FROM responses WHERE id = $1 AND owner = $2 AND expires_at > now()
  UNION ALL
  SELECT link.depth + 1, link.bytes + octet_length(r.response) + octet_length(r.input), r.id, r.previous_id
  FROM link JOIN responses AS r ON r.id = link.previous_id
  WHERE r.owner = $2 AND r.expires_at > now() AND link.depth <= $3 AND link.bytes <= $4
)
SELECT link.depth, link.bytes, r.id, r.previous_id, r.status,
  CASE WHEN link.depth <= $3 AND link.bytes <= $4 THEN r.response END,
  CASE WHEN link.depth <= $3 AND link.bytes <= $4 THEN r.input END
FROM link JOIN responses AS r ON r.id = link.id ORDER BY link.depth
"""

# Rows that others write or delete at this moment are left to them. A job's next sequence number is the count of
# its events, which go in a statement of their own, as in `delete`. MATERIALIZED: the rows are chosen once.
SWEEP: Final = """
WITH dead AS MATERIALIZED (
  SELECT id, (SELECT true FROM jobs WHERE jobs.id = responses.id) AS has_job FROM responses
  WHERE expires_at <= now() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
), held AS MATERIALIZED (
  SELECT job.id, job.sequence FROM dead CROSS JOIN LATERAL (
    SELECT id, sequence FROM jobs WHERE jobs.id = dead.id FOR UPDATE SKIP LOCKED
  ) AS job
), few AS MATERIALIZED (
  SELECT id FROM (SELECT id, sum(sequence) OVER (ORDER BY id) - sequence AS before FROM held) AS h
  WHERE before < $2
), job AS (
  DELETE FROM jobs USING few WHERE jobs.id = few.id
), request AS (
  DELETE FROM job_requests USING few WHERE job_requests.id = few.id
), origin AS (
  DELETE FROM job_origins WHERE id = ANY(ARRAY(SELECT id FROM few))
)
DELETE FROM responses USING dead WHERE responses.id = dead.id
  AND (dead.has_job IS NULL OR dead.id IN (SELECT id FROM few))
RETURNING responses.id
"""

_SWEEP_EVENTS: Final = "DELETE FROM response_events WHERE response_id = ANY($1)"

SWEEP_KEYS: Final = """
WITH dead AS MATERIALIZED (
  SELECT owner, key FROM idempotency WHERE expires_at <= now() ORDER BY expires_at LIMIT $1
  FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency USING dead WHERE idempotency.owner = dead.owner AND idempotency.key = dead.key
"""


class PostgresResponses:
    """A ResponseStore on PostgreSQL. `outbox`: whether that a job's response is gone is published."""

    def __init__(self, database: PostgresDatabase, outbox: OutboxMode | None = None) -> None:
        from adapters.database import outbox_telling_postgres as telling

        self._database = database
        self._outbox = outbox or OutboxMode()
        self._telling = telling

    async def insert(self, new: NewResponse, idempotency: Idempotency | None = None) -> None:
        """One statement, which is its own transaction."""
        if idempotency is not None:
            await store_with_key(self._database, new, idempotency)
            return
        inserted = await self._database.execute(
            _INSERT, new.id, new.owner, new.previous_id, new.status, new.retention, new.response, new.input
        )
        if not inserted:
            raise ValueError(f"there is a response {new.id} already")

    async def get(self, owner: str, response_id: str) -> StoredResponse | None:
        """One response by its primary key."""
        if not may_exist(response_id):
            return None
        rows = await self._database.fetch(_GET, response_id, owner)
        return StoredResponse(*rows[0]) if rows else None

    async def chain(self, owner: str, response_id: str, *, max_depth: int, max_bytes: int) -> Chain:
        """One recursive statement."""
        if not may_exist(response_id):
            return Chain((), ChainEnd.GONE)
        rows = await self._database.fetch(CHAIN, response_id, owner, max_depth, max_bytes)
        return chain_of(rows, max_depth=max_depth, max_bytes=max_bytes)

    async def delete(self, owner: str, response_id: str) -> bool:
        """The response and all that belongs to it. Whoever runs its job is fenced."""
        if not may_exist(response_id):
            return False
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(_LOCK, response_id, owner)
            sql = self._telling.DELETE if self._outbox.on else DELETE
            return bool(await connection.fetch(sql, response_id, owner))

    async def sweep(self, limit: int) -> int:
        """The oldest ones by the index."""
        async with self._database.connection() as connection:
            telling = self._telling if self._outbox.on else None
            sql = SWEEP if telling is None else telling.SWEEP
            async with connection.transaction():
                ids = [row[0] for row in await connection.fetch(sql, limit, SWEPT_EVENTS)]
                if ids:
                    await connection.execute(_SWEEP_EVENTS, ids)
                    if telling is not None:
                        await connection.execute(telling.SWEEP_OUTBOX, ids)
            await connection.execute(SWEEP_KEYS, 10 * limit)
        return len(ids)
