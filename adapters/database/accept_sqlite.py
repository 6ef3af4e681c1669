"""Jobs accepted on SQLite, inside the writer's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, TypeAlias

from adapters.database import job_statements_sqlite as sql
from adapters.database.job_rows import key_seconds, outcome_of_repeat, trace_text
from adapters.database.outbox_telling_sqlite import tell_of_new
from service.domain.idempotency import Conflict, Repeated
from service.domain.job_store import Accepted, NewJob, Unstorable

Outcome: TypeAlias = Accepted | Repeated | Conflict | Unstorable

_OF_VALUES: Final = (UnicodeError, OverflowError, sqlite3.DataError, sqlite3.IntegrityError)
_TAKEN: Final = frozenset({sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE})


class SpoiltError(Exception):
    """SQLite refuses a job for what is in it: no fault of the file, and none of other jobs."""


def accept(
    connection: sqlite3.Connection, new: NewJob, now: float, *, outbox: bool
) -> Accepted | Repeated | Conflict:
    """Stores one job, or says what is there already.

    Raises:
        ValueError: its id is another owner's.
    """
    outcome = _by_key(connection, new, now)
    if outcome is not None:
        return outcome
    response = new.response
    taken = connection.execute(sql.OWNER_OF, (response.id,)).fetchone()
    if taken is not None and taken[0] != response.owner:
        raise ValueError(f"there is a response {response.id} already")
    if taken is None:
        _store(connection, new, now, outbox=outbox)
    return Accepted()


def accept_all(
    connection: sqlite3.Connection, new: Sequence[NewJob], now: float, *, outbox: bool, apart: bool
) -> list[Outcome]:
    """Stores many. `apart`: each with a savepoint, which is slow, so that one spoils nothing for others.

    Raises:
        SpoiltError: one of them can't be stored, and they are not `apart`.
    """
    if apart:
        return [_accept_apart(connection, job, now, outbox=outbox) for job in new]
    try:
        return [_accept_strictly(connection, job, now, outbox=outbox) for job in new]
    except _OF_VALUES as error:
        raise SpoiltError from error


def add_events(connection: sqlite3.Connection, job_id: str, sequence: int, events: Sequence[bytes]) -> None:
    """Events of a job, the first with this number."""
    connection.executemany(sql.ADD_EVENT, [(job_id, number, body) for number, body in enumerate(events, sequence)])


def _accept_apart(connection: sqlite3.Connection, new: NewJob, now: float, *, outbox: bool) -> Outcome:
    connection.execute("SAVEPOINT accept")
    try:
        return _accept_strictly(connection, new, now, outbox=outbox)
    except _OF_VALUES as error:
        connection.execute("ROLLBACK TO accept")
        taken = getattr(error, "sqlite_errorcode", None) in _TAKEN
        return Conflict(new.response.id) if taken else Unstorable()
    finally:
        connection.execute("RELEASE accept")


def _accept_strictly(connection: sqlite3.Connection, new: NewJob, now: float, *, outbox: bool) -> Outcome:
    """As `accept`, but whoever has a key is known by it, and by nothing else."""
    outcome = _by_key(connection, new, now)
    if outcome is not None:
        return outcome
    response = new.response
    taken = connection.execute(sql.OWNER_OF, (response.id,)).fetchone()
    if taken is not None and (new.idempotency is not None or taken[0] != response.owner):
        return Conflict(response.id)
    if taken is None:
        _store(connection, new, now, outbox=outbox)
    return Accepted()


def _by_key(connection: sqlite3.Connection, new: NewJob, now: float) -> Accepted | Repeated | Conflict | None:
    """What its key says that is there already; None for a new key, or without one."""
    key = new.idempotency
    if key is None:
        return None
    row = connection.execute(sql.KEYED, (new.response.owner, key.key, now)).fetchone()
    return None if row is None else outcome_of_repeat(new, key, *row)


def _store(connection: sqlite3.Connection, new: NewJob, now: float, *, outbox: bool) -> None:
    response, key = new.response, new.idempotency
    if key is not None:
        keep = now + key_seconds(response)
        connection.execute(sql.ADD_KEY, (response.owner, key.key, key.digest, response.id, keep))
    body = (now, now + response.retention, response.response, response.input)
    connection.execute(
        sql.ADD_RESPONSE, (response.id, response.owner, response.previous_id, response.status, *body)
    )
    start_before = None if new.start_within is None else now + new.start_within
    times = (now, now + new.delay, start_before)
    flags = (len(new.events), new.restart_on_loss, new.log_deltas)
    connection.execute(
        sql.ADD_JOB, (response.id, response.owner, new.api, int(new.priority), new.group, *times, *flags)
    )
    connection.execute(sql.ADD_REQUEST, (response.id, trace_text(new.trace), new.request))
    add_events(connection, response.id, 0, new.events)
    if outbox:
        tell_of_new(connection, response.id, new.delay, new.origin, now)
