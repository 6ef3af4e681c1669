"""Idempotency keys on SQLite. Times are Unix seconds by the database's clock."""

from __future__ import annotations

import sqlite3
from typing import Final

from adapters.database.idempotency_rows import outcome_of_find, outcome_of_reserve
from adapters.database.job_rows import key_seconds
from adapters.database.sqlite import SqliteDatabase
from service.domain.idempotency import Conflict, Idempotency, KeyLostError, Repeated, Reserved, Running
from service.domain.stored import NewResponse

_FOUND: Final = """
SELECT digest, response_id, :now - reserved_at, expires_at - :now FROM idempotency
WHERE owner = :owner AND key = :key AND expires_at > :now
"""

_GONE: Final = """
reserved_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM responses AS r WHERE r.id = idempotency.response_id AND r.expires_at > :now)
"""

_LIVE: Final = f"{_FOUND} AND NOT ({_GONE})"

_FREE: Final = """
DELETE FROM idempotency WHERE owner = :owner AND key = :key AND response_id = :response_id AND {gone}
""".replace("{gone}", _GONE)

_PUT: Final = """
INSERT OR REPLACE INTO idempotency (owner, key, digest, response_id, expires_at, reserved_at)
VALUES (?, ?, ?, ?, ?, ?)
"""

_RELEASE: Final = """
DELETE FROM idempotency WHERE owner = ? AND key = ? AND response_id = ? AND reserved_at IS NOT NULL
"""


class SqliteIdempotency:
    """IdempotencyKeys on a SQLite file.

    What a power failure takes back of reservations is gone with those who held them.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def reserve(
        self, owner: str, idempotency: Idempotency, response_id: str, seconds: float
    ) -> Reserved | Repeated | Conflict | Running:
        """One transaction."""
        clock = self._database.clock
        key, digest = idempotency.key, idempotency.digest

        def work(connection: sqlite3.Connection) -> Reserved | Repeated | Conflict | Running:
            now = clock()
            row = connection.execute(_LIVE, {"owner": owner, "key": key, "now": now}).fetchone()
            if row is not None:
                return outcome_of_reserve(idempotency, response_id, *row)
            connection.execute(_PUT, (owner, key, digest, response_id, now + seconds, now))
            return Reserved()

        return await self._database.write(work, durable=False)

    async def find(
        self, owner: str, idempotency: Idempotency, *, gone: bool = False
    ) -> Repeated | Conflict | Running | None:
        """One read."""
        sql = _FOUND if gone else _LIVE
        values = {"owner": owner, "key": idempotency.key, "now": self._database.clock()}
        row = await self._database.read(lambda connection: connection.execute(sql, values).fetchone())
        return None if row is None else outcome_of_find(idempotency, *row)

    async def free(self, owner: str, key: str, response_id: str) -> None:
        """One transaction."""
        values = {"owner": owner, "key": key, "response_id": response_id, "now": self._database.clock()}
        await self._database.write(lambda connection: connection.execute(_FREE, values).close(), durable=False)

    async def release(self, owner: str, key: str, response_id: str) -> None:
        """One transaction."""
        values = (owner, key, response_id)
        await self._database.write(lambda connection: connection.execute(_RELEASE, values).close(), durable=False)


def confirm(connection: sqlite3.Connection, new: NewResponse, idempotency: Idempotency, now: float) -> None:
    """Gives a response its key, in the transaction that stores it.

    Raises:
        KeyLostError: another response has the key.
    """
    key, digest = idempotency.key, idempotency.digest
    row = connection.execute(_FOUND, {"owner": new.owner, "key": key, "now": now}).fetchone()
    if row is not None and row[1] != new.id:
        raise KeyLostError(new.id)
    connection.execute(_PUT, (new.owner, key, digest, new.id, now + key_seconds(new), None))
