"""The outbox on PostgreSQL, for those who publish it. Time is the database's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from adapters.database.outbox_mode import KEPT_SECONDS, RENEWED_SECONDS, OutboxMode
from adapters.database.outbox_rows import of_results, row_of, still_held, values_of
from adapters.database.outbox_telling_postgres import shard_sql
from adapters.database.postgres import PostgresDatabase
from service.domain.outbox import MOST_COUNTED, OutboxRecord, OutboxRow, OutboxStats, ShardLease, share_out

if TYPE_CHECKING:
    from adapters.database.postgres import Connection

_ADD: Final = """
INSERT INTO outbox (shard, kind, topic, job_id, version, created_at, key, headers, value, destination)
SELECT shard, kind, topic, job_id, version, now(), key, headers, value, destination
FROM unnest($1::smallint[], $2::text[], $3::text[], $4::text[], $5::int[], $6::bytea[], $7::text[], $8::bytea[],
    $9::text[])
  WITH ORDINALITY AS a (shard, kind, topic, job_id, version, key, headers, value, destination, place)
ORDER BY place
"""

_COUNT_ME: Final = """
INSERT INTO outbox_relays (relay, lease_until) VALUES ($1, now() + make_interval(secs => $2))
ON CONFLICT (relay) DO UPDATE SET lease_until = excluded.lease_until
"""

_FORGET: Final = "DELETE FROM outbox_relays WHERE lease_until <= now()"
_RELAYS: Final = "SELECT count(*) FROM outbox_relays"

_SHARDS: Final = """
SELECT shard, owner, epoch, coalesce(lease_until > now(), false) FROM outbox_shards ORDER BY shard FOR UPDATE
"""

_HOLD: Final = """
UPDATE outbox_shards SET owner = $1, lease_until = now() + make_interval(secs => $2),
  epoch = epoch + (shard = ANY($4))::int
WHERE shard = ANY($3) OR shard = ANY($4)
RETURNING shard, epoch
"""

_LEAVE: Final = "UPDATE outbox_shards SET owner = NULL, lease_until = NULL WHERE shard = ANY($1)"
_LEAVE_ALL: Final = "UPDATE outbox_shards SET owner = NULL, lease_until = NULL WHERE owner = $1"
_COUNT_ME_NOT: Final = "DELETE FROM outbox_relays WHERE relay = $1"

# A line is what waits in a shard for one destination; lines are found by leaps through their index, and what waits
# in one that rests is not looked at. Sizes are known without reading what they are of: only what is returned is
# read. A result whose response is gone or expired comes without its job.
PENDING: Final = """
WITH RECURSIVE line (shard, destination) AS (
  SELECT mine.shard, (
    SELECT destination FROM outbox WHERE outbox.shard = mine.shard ORDER BY destination LIMIT 1
  )
  FROM unnest($1::smallint[], $2::int[]) AS g (shard, epoch) CROSS JOIN LATERAL (
    SELECT shard FROM outbox_shards AS s WHERE s.shard = g.shard AND s.epoch = g.epoch LIMIT 1
  ) AS mine
  UNION ALL
  SELECT shard, (
    SELECT o.destination FROM outbox AS o WHERE o.shard = line.shard AND o.destination > line.destination
    ORDER BY o.destination LIMIT 1
  ) FROM line WHERE destination IS NOT NULL
), first AS MATERIALIZED (
  SELECT o.id FROM line CROSS JOIN LATERAL (
    SELECT id FROM outbox
    WHERE outbox.shard = line.shard AND outbox.destination = line.destination
      AND id NOT IN (SELECT unnest($6::bigint[]))
    ORDER BY id LIMIT $3
  ) AS o
  WHERE line.destination <> ALL ($7::text[]) ORDER BY o.id LIMIT $3
), sized AS MATERIALIZED (
  SELECT o.* FROM first CROSS JOIN LATERAL (
    SELECT *, coalesce(octet_length(value), 0) + coalesce((
      SELECT octet_length(response) FROM responses AS r WHERE outbox.kind = 'result' AND r.id = outbox.job_id
    ), 0) AS size FROM outbox WHERE outbox.id = first.id LIMIT 1
  ) AS o
)
SELECT o.id, o.shard, o.kind, o.topic, o.job_id, o.version, extract(epoch FROM now() - o.created_at)::float8,
  o.key, o.headers, o.value, j.owner, j.api, j.status, j.epoch, j.attempt, j.response, j.origin
FROM (SELECT *, sum(size) OVER (ORDER BY id) - size AS before FROM sized) AS o LEFT JOIN LATERAL (
  SELECT jobs.owner, jobs.api, jobs.status, jobs.epoch, jobs.failed_attempts + jobs.losses + 1 AS attempt,
    CASE WHEN octet_length(r.response) <= $5 THEN r.response END AS response,
    (SELECT body FROM job_origins WHERE job_origins.id = jobs.id) AS origin
  FROM jobs JOIN responses AS r ON r.id = jobs.id
  WHERE o.kind = 'result' AND jobs.id = o.job_id AND r.expires_at > now()
    AND jobs.status IN ('completed', 'incomplete', 'failed', 'cancelled')
  LIMIT 1
) AS j ON true
WHERE o.before < $4
ORDER BY o.id
"""

_OWNED: Final = """
SELECT s.shard FROM unnest($1::smallint[], $2::int[]) AS g (shard, epoch)
JOIN outbox_shards AS s ON s.shard = g.shard AND s.epoch = g.epoch FOR SHARE OF s
"""

_DELETE: Final = "DELETE FROM outbox WHERE id = ANY($1)"

# A job that is there and not over has nothing to be sent.
_AGAIN: Final = """
INSERT INTO outbox (shard, kind, topic, destination, job_id, version, created_at)
SELECT {shard}, CASE WHEN j.id IS NULL THEN 'tombstone' ELSE 'result' END, a.topic,
  'result:' || coalesce(a.topic, ''), a.id,
  CASE WHEN j.id IS NULL THEN a.version ELSE j.epoch END, now()
FROM unnest($1::text[], $2::text[], $3::int[]) AS a (id, topic, version)
LEFT JOIN LATERAL (SELECT id, status, epoch FROM jobs WHERE jobs.id = a.id LIMIT 1) AS j ON true
WHERE j.id IS NULL OR j.status IN ('completed', 'incomplete', 'failed', 'cancelled')
""".replace("{shard}", shard_sql("a.id"))

_STATS: Final = """
SELECT (SELECT count(*) FROM (SELECT FROM outbox LIMIT $1) AS o),
  (SELECT extract(epoch FROM now() - created_at)::float8 FROM outbox ORDER BY id LIMIT 1)
"""

_KEEP_TELLING: Final = """
UPDATE outbox_state SET until = now() + make_interval(secs => $1)
WHERE coalesce(until, '-infinity') < now() + make_interval(secs => $1::float8 - $2)
"""
_TELLING: Final = "SELECT until > now() FROM outbox_state"


async def settle(connection: Connection, mode: OutboxMode) -> None:
    """Has everybody know that this process publishes; or learns whether somebody does."""
    if mode.always:
        await connection.execute(_KEEP_TELLING, KEPT_SECONDS, RENEWED_SECONDS)
    else:
        mode.on = bool(await connection.fetchval(_TELLING))


class PostgresOutbox:
    """An Outbox on PostgreSQL."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def add(self, records: Sequence[OutboxRecord]) -> None:
        """One statement."""
        if records:
            await self._database.execute(_ADD, *map(list, zip(*map(values_of, records), strict=True)))

    async def hold(self, relay: str, lease: float) -> Mapping[int, int]:
        """A few short statements; relays take turns."""
        async with self._database.connection() as connection, connection.transaction():
            rows = await connection.fetch(_SHARDS)
            await connection.execute(_FORGET)
            await connection.execute(_COUNT_ME, relay, lease)
            relays = await connection.fetchval(_RELAYS)
            shares = share_out([ShardLease(*row) for row in rows], relay, relays)
            if shares.leave:
                await connection.execute(_LEAVE, shares.leave)
            held = await connection.fetch(_HOLD, relay, lease, shares.keep, shares.take)
        return {row[0]: row[1] for row in held}

    async def leave(self, relay: str) -> None:
        """Two statements."""
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(_LEAVE_ALL, relay)
            await connection.execute(_COUNT_ME_NOT, relay)

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
        """One statement."""
        if not held:
            return ()
        shards = (list(held), list(held.values()))
        left_out = (list(without), list(resting))
        rows = await self._database.fetch(PENDING, *shards, limit, max(1, most_bytes), most_body, *left_out)
        return [row_of(row) for row in rows]

    async def sent(self, rows: Sequence[OutboxRow], held: Mapping[int, int]) -> frozenset[int]:
        """Two statements, so that a shard is not taken between them."""
        if not rows:
            return frozenset()
        shards = frozenset(row.shard for row in rows)
        mine = [shard for shard in sorted(shards) if shard in held]
        async with self._database.connection() as connection, connection.transaction():
            found = await connection.fetch(_OWNED, mine, [held[shard] for shard in mine])
            owned = frozenset(row[0] for row in found)
            if ids := still_held(rows, held, owned):
                await connection.execute(_DELETE, ids)
        return shards - owned

    async def again(self, rows: Sequence[OutboxRow]) -> None:
        """One statement."""
        if jobs := of_results(rows):
            await self._database.execute(_AGAIN, *map(list, zip(*jobs, strict=True)))

    async def stats(self) -> OutboxStats:
        """One statement over the indexes."""
        depth, oldest = (await self._database.fetch(_STATS, MOST_COUNTED))[0]
        return OutboxStats(depth, None if oldest is None else max(0.0, oldest))
