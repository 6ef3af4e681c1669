"""What transactions on SQLite tell the outbox. They call this before they delete what it reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

from service.domain.job_store import JobOrigin
from service.domain.outbox import shard_of

_WAKE: Final = """
INSERT INTO outbox (shard, kind, destination, job_id, version, created_at) VALUES (?, 'wake', 'wake:', ?, 0, ?)
"""

# Whatever was left behind of another job with the id is nothing to keep.
_ORIGIN: Final = "INSERT OR REPLACE INTO job_origins (id, topic, body) VALUES (?, ?, ?)"

# Where a job's result goes, its tombstone goes, too: service/domain/outbox.py, destination_of. `rise` is how much
# higher the state that is told stands than the one that is read.
_STATE: Final = """
INSERT INTO outbox (shard, kind, topic, destination, job_id, version, created_at, headers)
SELECT :shard, :kind, o.topic, 'result:' || coalesce(o.topic, ''), j.id, j.epoch + :rise, :now,
  CASE WHEN :kind = 'result' THEN (SELECT trace FROM job_requests WHERE id = :id) END
FROM jobs AS j LEFT JOIN job_origins AS o ON o.id = j.id WHERE j.id = :id
"""

_DROP: Final = "DELETE FROM outbox WHERE job_id = ?"


def tell_of_new(
    connection: sqlite3.Connection, job_id: str, delay: float, origin: JobOrigin | None, now: float
) -> None:
    """A job was accepted. Whoever looks finds those that may not begin yet."""
    if delay <= 0:
        connection.execute(_WAKE, (shard_of(job_id.encode()), job_id, now))
    if origin is not None:
        connection.execute(_ORIGIN, (job_id, origin.topic, origin.body))


def tell_of_ends(connection: sqlite3.Connection, job_ids: Iterable[str], now: float) -> None:
    """Jobs are over, in `jobs` too; their requests are still there."""
    connection.executemany(_STATE, [_values(job_id, "result", 0, now) for job_id in job_ids])


def tell_of_gone(connection: sqlite3.Connection, response_ids: Iterable[str], now: float) -> None:
    """Responses are about to be deleted. Those that are no jobs' were never published."""
    for response_id in response_ids:
        connection.execute(_DROP, (response_id,))
        connection.execute(_STATE, _values(response_id, "tombstone", 1, now))


def _values(job_id: str, kind: str, rise: int, now: float) -> dict[str, object]:
    return {"id": job_id, "shard": shard_of(job_id.encode()), "kind": kind, "rise": rise, "now": now}
