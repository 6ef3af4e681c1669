"""The store of responses on PostgreSQL. Time is the database's."""

from __future__ import annotations

from typing import Final

from adapters.database.chain import chain_of, may_exist
from adapters.database.postgres import PostgresDatabase
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

_DELETE: Final = "DELETE FROM responses WHERE id = $1 AND owner = $2 AND expires_at > now()"

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

# Rows that another replica deletes at this moment are left to it. MATERIALIZED: the rows are chosen once.
SWEEP: Final = """
WITH dead AS MATERIALIZED (
  SELECT id FROM responses WHERE expires_at <= now() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
DELETE FROM responses USING dead WHERE responses.id = dead.id
"""


class PostgresResponses:
    """A ResponseStore on PostgreSQL."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def insert(self, new: NewResponse) -> None:
        """One statement, which is its own transaction."""
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
        """One row."""
        if not may_exist(response_id):
            return False
        return await self._database.execute(_DELETE, response_id, owner) == 1

    async def sweep(self, limit: int) -> int:
        """The oldest ones by the index."""
        return await self._database.execute(SWEEP, limit)
