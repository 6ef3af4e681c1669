"""Idempotency keys on SQLite. Times are Unix seconds by the database's clock."""

from __future__ import annotations

import sqlite3
from typing import Final

from adapters.database.idempotency_rows import outcome_of_reserve
from adapters.database.job_rows import key_seconds
from adapters.database.sqlite import SqliteDatabase
from service.domain.idempotency import Conflict, Idempotency, KeyLostError, Repeated, Reserved, Running
from service.domain.stored import NewResponse

_FOUND: Final = """
SELECT digest, response_id, :now - reserved_at, expires_at - :now FROM idempotency
WHERE owner = :owner AND key = :key AND expires_at > :now
"""

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
            row = connection.execute(_FOUND, {"owner": owner, "key": key, "now": now}).fetchone()
            if row is not None:
                return outcome_of_reserve(idempotency, response_id, *row)
            connection.execute(_PUT, (owner, key, digest, response_id, now + seconds, now))
            return Reserved()

        return await self._database.write(work, durable=False)

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
