"""The store of responses on SQLite. Times are Unix seconds by the database's clock."""

from __future__ import annotations

import sqlite3
from typing import Final

from adapters.database import outbox_telling_sqlite as telling
from adapters.database.chain import chain_of, may_exist
from adapters.database.idempotency_sqlite import confirm
from adapters.database.job_rows import SWEPT_EVENTS
from adapters.database.outbox_mode import OutboxMode
from adapters.database.sqlite import SqliteDatabase
from adapters.database.sqlite_writer import Insert
from service.domain.idempotency import Idempotency
from service.domain.stored import Chain, ChainEnd, NewResponse, StoredResponse

_INTO: Final = "responses (id, owner, previous_id, status, created_at, expires_at, response, input)"

_GET: Final = """
SELECT id, previous_id, status, response, input FROM responses WHERE id = ? AND owner = ? AND expires_at > ?
"""

_EXISTS: Final = "SELECT 1 FROM responses WHERE id = ? AND owner = ? AND expires_at > ?"

# The recursion carries row ids and sizes, never bodies: SQLite knows a body's size without reading it. One link
# beyond a limit is found, so that the caller learns of it; its bodies are not read.
CHAIN: Final = """
WITH RECURSIVE link (depth, bytes, row, previous_id) AS (
  SELECT 1, length(response) + length(input), rowid, previous_id
  FROM responses WHERE id = :id AND owner = :owner AND expires_at > :now
  UNION ALL
  SELECT depth + 1, bytes + length(r.response) + length(r.input), r.rowid, r.previous_id
  FROM link CROSS JOIN responses AS r ON r.id = link.previous_id
  WHERE r.owner = :owner AND r.expires_at > :now AND depth <= :max_depth AND bytes <= :max_bytes
)
SELECT depth, bytes, r.id, r.previous_id, r.status,
  CASE WHEN depth <= :max_depth AND bytes <= :max_bytes THEN r.response END,
  CASE WHEN depth <= :max_depth AND bytes <= :max_bytes THEN r.input END
FROM link CROSS JOIN responses AS r ON r.rowid = link.row ORDER BY depth
"""

# A job's next sequence number is the count of its events.
EXPIRED: Final = """
SELECT r.id, coalesce(j.sequence, 0) FROM responses AS r LEFT JOIN jobs AS j ON j.id = r.id
WHERE r.expires_at <= ? ORDER BY r.expires_at LIMIT ?
"""

_DELETE_ALL_OF: Final = (
    "DELETE FROM jobs WHERE id = ?",
    "DELETE FROM job_requests WHERE id = ?",
    "DELETE FROM response_events WHERE response_id = ?",
    "DELETE FROM job_origins WHERE id = ?",
    "DELETE FROM responses WHERE id = ?",
)

# The key of a record that came in stays until its time is over: the record may be read once more, and must not
# make again what was deleted. A job of another door has an origin without a body, if it has one.
DELETE_KEY: Final = """
DELETE FROM idempotency WHERE response_id = ?1
  AND NOT EXISTS (SELECT 1 FROM job_origins WHERE id = ?1 AND length(body) > 0)
"""

SWEEP_KEYS: Final = """
DELETE FROM idempotency WHERE (owner, key) IN
  (SELECT owner, key FROM idempotency WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)
"""


class SqliteResponses:
    """A ResponseStore on a SQLite file. `outbox`: whether that a job's response is gone is published."""

    def __init__(self, database: SqliteDatabase, outbox: OutboxMode | None = None) -> None:
        self._database = database
        self._outbox = outbox or OutboxMode()

    async def insert(self, new: NewResponse, idempotency: Idempotency | None = None) -> None:
        """One row, and the key's, durable when this returns."""
        clock = self._database.clock

        def row() -> tuple[object, ...]:
            now = clock()
            head = (new.id, new.owner, new.previous_id, new.status)
            return (*head, now, now + new.retention, new.response, new.input)

        insert = Insert(_INTO, row, f"there is a response {new.id} already")
        if idempotency is None:
            await self._database.write(insert)
            return

        def work(connection: sqlite3.Connection) -> None:
            confirm(connection, new, idempotency, clock())
            insert(connection)

        await self._database.write(work)

    async def get(self, owner: str, response_id: str) -> StoredResponse | None:
        """One response by its primary key."""
        if not may_exist(response_id):
            return None
        values = (response_id, owner, self._database.clock())
        row = await self._database.read(lambda connection: connection.execute(_GET, values).fetchone())
        return StoredResponse(*row) if row else None

    async def chain(self, owner: str, response_id: str, *, max_depth: int, max_bytes: int) -> Chain:
        """One recursive statement."""
        if not may_exist(response_id):
            return Chain((), ChainEnd.GONE)
        values = {
            "id": response_id,
            "owner": owner,
            "now": self._database.clock(),
            "max_depth": max_depth,
            "max_bytes": max_bytes,
        }
        rows = await self._database.read(lambda connection: connection.execute(CHAIN, values).fetchall())
        return chain_of(rows, max_depth=max_depth, max_bytes=max_bytes)

    async def delete(self, owner: str, response_id: str) -> bool:
        """The response and all that belongs to it, durably. Whoever runs its job is fenced."""
        if not may_exist(response_id):
            return False
        values = (response_id, owner, self._database.clock())

        def work(connection: sqlite3.Connection) -> bool:
            if connection.execute(_EXISTS, values).fetchone() is None:
                return False
            connection.execute(DELETE_KEY, (response_id,))
            self._delete(connection, [response_id], values[2])
            return True

        return await self._database.write(work)

    async def sweep(self, limit: int) -> int:
        """The oldest ones by the index; what a power failure brings back is swept again."""
        now = self._database.clock()

        def work(connection: sqlite3.Connection) -> int:
            ids: list[str] = []
            events = 0
            for response_id, count in connection.execute(EXPIRED, (now, limit)):
                if events >= SWEPT_EVENTS:
                    break
                ids.append(response_id)
                events += count
            self._delete(connection, ids, now)
            connection.execute(SWEEP_KEYS, (now, 10 * limit))
            return len(ids)

        return await self._database.write(work, durable=False)

    def _delete(self, connection: sqlite3.Connection, ids: list[str], now: float) -> None:
        if self._outbox.on:
            telling.tell_of_gone(connection, ids, now)
        for statement in _DELETE_ALL_OF:
            connection.executemany(statement, [(response_id,) for response_id in ids])
