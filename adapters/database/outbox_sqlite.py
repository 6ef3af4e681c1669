"""The outbox on SQLite, for those who publish it. Times are Unix seconds by the database's clock."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Final

from adapters.database.outbox_mode import KEPT_SECONDS, RENEWED_SECONDS, OutboxMode
from adapters.database.outbox_rows import of_results, row_of, still_held, values_of
from adapters.database.sqlite import SqliteDatabase
from service.domain.outbox import (
    MOST_COUNTED,
    OutboxKind,
    OutboxRecord,
    OutboxRow,
    OutboxStats,
    ShardLease,
    share_out,
)

_ADD: Final = """
INSERT INTO outbox (shard, kind, topic, job_id, version, key, headers, value, destination, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_COUNT_ME: Final = "INSERT OR REPLACE INTO outbox_relays (relay, lease_until) VALUES (?, ?)"
_FORGET: Final = "DELETE FROM outbox_relays WHERE lease_until <= ?"
_RELAYS: Final = "SELECT count(*) FROM outbox_relays"
_SHARDS: Final = "SELECT shard, owner, epoch, coalesce(lease_until > ?, 0) FROM outbox_shards ORDER BY shard"
_HOLD: Final = "UPDATE outbox_shards SET owner = ?, lease_until = ?, epoch = epoch + ? WHERE shard = ?"
_LEAVE: Final = "UPDATE outbox_shards SET owner = NULL, lease_until = NULL WHERE shard = ?"
_LEAVE_ALL: Final = "UPDATE outbox_shards SET owner = NULL, lease_until = NULL WHERE owner = ?"
_COUNT_ME_NOT: Final = "DELETE FROM outbox_relays WHERE relay = ?"
_EPOCH: Final = "SELECT epoch FROM outbox_shards WHERE shard = ?"

# A line is what waits in a shard for one destination; lines are found by leaps through their index, and what waits
# in one that rests is not looked at. As arrays: SQLite's module asks for the interpreter's lock for every row.
OLDEST: Final = """
WITH RECURSIVE line (shard, destination) AS (
  SELECT s.value, (SELECT min(destination) FROM outbox INDEXED BY outbox_line WHERE shard = s.value)
  FROM json_each(:shards) AS s
  UNION ALL
  SELECT shard, (
    SELECT min(o.destination) FROM outbox AS o INDEXED BY outbox_line
    WHERE o.shard = line.shard AND o.destination > line.destination
  ) FROM line WHERE destination IS NOT NULL
)
SELECT (
  SELECT json_group_array(id) FROM (
    SELECT id FROM outbox INDEXED BY outbox_line
    WHERE shard = line.shard AND destination = line.destination
      AND id NOT IN (SELECT value FROM json_each(:without))
    ORDER BY id LIMIT :limit
  )
) FROM line
WHERE destination IS NOT NULL AND destination NOT IN (SELECT value FROM json_each(:resting))
"""

# The first value is how many bytes there are, known without reading them.
_ROW: Final = """
SELECT coalesce(length(o.value), 0) + coalesce(length(r.response), 0),
  o.id, o.shard, o.kind, o.topic, o.job_id, o.version, :now - o.created_at, o.key, o.headers, o.value,
  j.owner, j.api, j.status, j.epoch, j.failed_attempts + j.losses + 1,
  CASE WHEN length(r.response) <= :most_body THEN r.response END, origin.body
FROM outbox AS o
LEFT JOIN responses AS r ON o.kind = 'result' AND r.id = o.job_id AND r.expires_at > :now
LEFT JOIN jobs AS j ON j.id = r.id AND j.status IN ('completed', 'incomplete', 'failed', 'cancelled')
LEFT JOIN job_origins AS origin ON origin.id = j.id
WHERE o.id = :id
"""

_DELETE: Final = "DELETE FROM outbox WHERE id = ?"

_STATE: Final = """
SELECT status IN ('completed', 'incomplete', 'failed', 'cancelled'), epoch FROM jobs WHERE id = ?
"""

_STATS: Final = """
SELECT (SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT ?)), (SELECT created_at FROM outbox ORDER BY id LIMIT 1)
"""

_KEEP_TELLING: Final = "UPDATE outbox_state SET until = ?1 + ?2 WHERE coalesce(until, 0) < ?1 + ?2 - ?3"
_TELLING: Final = "SELECT until > ? FROM outbox_state"


def settle(connection: sqlite3.Connection, now: float, mode: OutboxMode) -> None:
    """Has everybody know that this process publishes; or learns whether somebody does."""
    if mode.always:
        connection.execute(_KEEP_TELLING, (now, KEPT_SECONDS, RENEWED_SECONDS))
    else:
        mode.on = bool(connection.execute(_TELLING, (now,)).fetchone()[0])


class SqliteOutbox:
    """An Outbox on a SQLite file.

    Records are durable; leases and what was sent may be taken back by a power failure: it is sent again.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def add(self, records: Sequence[OutboxRecord]) -> None:
        """Durable when this returns."""
        clock = self._database.clock
        rows = [values_of(record) for record in records]

        def work(connection: sqlite3.Connection) -> None:
            now = clock()
            connection.executemany(_ADD, [(*row, now) for row in rows])

        if rows:
            await self._database.write(work)

    async def hold(self, relay: str, lease: float) -> Mapping[int, int]:
        """One transaction."""
        clock = self._database.clock

        def work(connection: sqlite3.Connection) -> dict[int, int]:
            now = clock()
            connection.execute(_FORGET, (now,))
            connection.execute(_COUNT_ME, (relay, now + lease))
            relays = connection.execute(_RELAYS).fetchone()[0]
            rows = connection.execute(_SHARDS, (now,)).fetchall()
            shards = [ShardLease(row[0], row[1], row[2], bool(row[3])) for row in rows]
            shares = share_out(shards, relay, relays)
            connection.executemany(_LEAVE, [(shard,) for shard in shares.leave])
            taken = [(relay, now + lease, 1, shard) for shard in shares.take]
            connection.executemany(_HOLD, taken + [(relay, now + lease, 0, shard) for shard in shares.keep])
            mine = {*shares.keep, *shares.take}
            return {row[0]: row[2] + (not row[3]) for row in rows if row[0] in mine}

        return await self._database.write(work, durable=False)

    async def leave(self, relay: str) -> None:
        """One transaction."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_LEAVE_ALL, (relay,))
            connection.execute(_COUNT_ME_NOT, (relay,))

        await self._database.write(work, durable=False)

    async def pending(
        self,
        held: Mapping[int, int],
        limit: int,
        *,
        most_bytes: int,
        most_body: int,
        without: Iterable[int] = (),
        resting: Iterable[str] = (),
    ) -> Sequence[OutboxRow]:
        """One read of one moment."""
        clock = self._database.clock
        left_out = {"without": json.dumps(list(without)), "resting": json.dumps(list(resting)), "limit": limit}

        def work(connection: sqlite3.Connection) -> list[OutboxRow]:
            connection.execute("BEGIN")
            try:
                shards = json.dumps(list(_owned(connection, held)))
                lines = connection.execute(OLDEST, {**left_out, "shards": shards}).fetchall()
                ids = sorted(chain.from_iterable(json.loads(line[0]) for line in lines))[:limit]
                values = {"now": clock(), "most_body": most_body}
                return _read(connection, ids, values, most_bytes)
            finally:
                connection.execute("ROLLBACK")

        return await self._database.read(work)

    async def sent(self, rows: Sequence[OutboxRow], held: Mapping[int, int]) -> frozenset[int]:
        """One transaction."""
        if not rows:
            return frozenset()
        shards = frozenset(row.shard for row in rows)

        def work(connection: sqlite3.Connection) -> frozenset[int]:
            owned = _owned(connection, {shard: held[shard] for shard in shards if shard in held})
            connection.executemany(_DELETE, [(each,) for each in still_held(rows, held, owned)])
            return shards - owned

        return await self._database.write(work, durable=False)

    async def again(self, rows: Sequence[OutboxRow]) -> None:
        """One transaction."""
        clock = self._database.clock
        jobs = of_results(rows)

        def work(connection: sqlite3.Connection) -> None:
            now = clock()
            for job_id, topic, version in jobs:
                job = connection.execute(_STATE, (job_id,)).fetchone()
                if job is not None and not job[0]:
                    continue
                kind, number = ("tombstone", version) if job is None else ("result", job[1])
                record = OutboxRecord(OutboxKind(kind), job_id.encode(), topic=topic, version=number)
                connection.execute(_ADD, (*values_of(record), now))

        if jobs:
            await self._database.write(work)

    async def stats(self) -> OutboxStats:
        """One read."""
        depth, oldest = await self._database.read(
            lambda connection: connection.execute(_STATS, (MOST_COUNTED,)).fetchone()
        )
        return OutboxStats(depth, None if oldest is None else max(0.0, self._database.clock() - oldest))


def _owned(connection: sqlite3.Connection, held: Mapping[int, int]) -> frozenset[int]:
    """Those of the shards that no other relay has taken since."""
    return frozenset(
        shard for shard, epoch in held.items() if connection.execute(_EPOCH, (shard,)).fetchone() == (epoch,)
    )


def _read(
    connection: sqlite3.Connection, ids: Sequence[int], values: Mapping[str, object], most_bytes: int
) -> list[OutboxRow]:
    """The first rows, until they are so many bytes."""
    rows: list[OutboxRow] = []
    size = 0
    for each in ids:
        if rows and size >= most_bytes:
            break
        more, *row = connection.execute(_ROW, {**values, "id": each}).fetchone()
        rows.append(row_of(row))
        size += more
    return rows
