"""Idempotency keys on PostgreSQL. Time is the database's."""

from __future__ import annotations

from typing import Final

import asyncpg

from adapters.database.idempotency_rows import outcome_of_find, outcome_of_reserve
from adapters.database.job_rows import key_seconds
from adapters.database.postgres import PostgresDatabase
from service.domain.idempotency import Conflict, Idempotency, KeyLostError, Repeated, Reserved, Running
from service.domain.stored import NewResponse, StoreError

# A key whose time is over is taken like one that never was.
_RESERVE: Final = """
INSERT INTO idempotency (owner, key, digest, response_id, expires_at, reserved_at)
VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5), now())
ON CONFLICT (owner, key) DO UPDATE
  SET digest = excluded.digest, response_id = excluded.response_id, expires_at = excluded.expires_at,
    reserved_at = excluded.reserved_at
  WHERE idempotency.expires_at <= now()
"""

_GONE: Final = """
reserved_at IS NULL
  AND NOT EXISTS (SELECT FROM responses AS r WHERE r.id = idempotency.response_id AND r.expires_at > now())
"""

_FOUND: Final = """
SELECT {gone}, response_id, digest, response_id, extract(epoch FROM now() - reserved_at)::float8,
  extract(epoch FROM expires_at - now())::float8
FROM idempotency WHERE owner = $1 AND key = $2 AND expires_at > now()
""".replace("{gone}", _GONE)

_FREE: Final = """
DELETE FROM idempotency WHERE owner = $1 AND key = $2 AND response_id = $3 AND {gone}
""".replace("{gone}", _GONE)

_RELEASE: Final = """
DELETE FROM idempotency WHERE owner = $1 AND key = $2 AND response_id = $3 AND reserved_at IS NOT NULL
"""

_STORE: Final = """
WITH kept AS (
  INSERT INTO idempotency (owner, key, digest, response_id, expires_at)
  VALUES ($2, $8, $9, $1, now() + make_interval(secs => $10))
  ON CONFLICT (owner, key) DO UPDATE
    SET digest = excluded.digest, response_id = excluded.response_id, expires_at = excluded.expires_at,
      reserved_at = NULL
    WHERE idempotency.response_id = excluded.response_id OR idempotency.expires_at <= now()
  RETURNING key
)
INSERT INTO responses (id, owner, previous_id, status, created_at, expires_at, response, input)
SELECT $1::text, $2::text, $3::text, $4::text, now(), now() + make_interval(secs => $5), $6::bytea, $7::bytea
FROM kept
"""

_TRIES: Final = 3


class PostgresIdempotency:
    """IdempotencyKeys on PostgreSQL."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def reserve(
        self, owner: str, idempotency: Idempotency, response_id: str, seconds: float
    ) -> Reserved | Repeated | Conflict | Running:
        """One statement, a second one for a key that is there, and another two when its response is gone."""
        key = idempotency.key
        for _ in range(_TRIES):
            if await self._database.execute(_RESERVE, owner, key, idempotency.digest, response_id, seconds):
                return Reserved()
            rows = await self._database.fetch(_FOUND, owner, key)
            if rows:
                gone, had_by, *known = rows[0]
                if not gone:
                    return outcome_of_reserve(idempotency, response_id, *known)
                await self._database.execute(_FREE, owner, key, had_by)
            # It was given back just then, or its time was over: it may be taken now.
        raise StoreError(f"{self._database.name}: the idempotency key changes all the time; try again")

    async def find(
        self, owner: str, idempotency: Idempotency, *, gone: bool = False
    ) -> Repeated | Conflict | Running | None:
        """One statement."""
        rows = await self._database.fetch(_FOUND, owner, idempotency.key)
        if not rows or (rows[0][0] and not gone):
            return None
        return outcome_of_find(idempotency, *rows[0][2:])

    async def free(self, owner: str, key: str, response_id: str) -> None:
        """One statement."""
        await self._database.execute(_FREE, owner, key, response_id)

    async def release(self, owner: str, key: str, response_id: str) -> None:
        """One statement."""
        await self._database.execute(_RELEASE, owner, key, response_id)


async def store_with_key(database: PostgresDatabase, new: NewResponse, idempotency: Idempotency) -> None:
    """Stores a response and gives it its key, by one statement.

    Raises:
        ValueError: the id is taken.
        KeyLostError: another response has the key; nothing was stored.
        StoreError: the database can't be used.
    """
    values = (new.id, new.owner, new.previous_id, new.status, new.retention, new.response, new.input)
    kept = (idempotency.key, idempotency.digest, key_seconds(new))
    async with database.connection() as connection:
        try:
            tag = await connection.execute(_STORE, *values, *kept)
        except asyncpg.UniqueViolationError:
            raise ValueError(f"there is a response {new.id} already") from None
    if tag.endswith(" 0"):
        raise KeyLostError(new.id)
