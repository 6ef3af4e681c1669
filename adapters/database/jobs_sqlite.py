"""The store of jobs on SQLite. Times are Unix seconds by the database's clock."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from adapters.database import job_statements_sqlite as sql
from adapters.database.chain import may_exist
from adapters.database.claim_sqlite import choose
from adapters.database.job_queries_sqlite import SqliteJobQueries
from adapters.database.job_rows import (
    check_each_once,
    claim_of,
    key_seconds,
    outcome_of_repeat,
    page_of,
    trace_text,
)
from service.domain.idempotency import Conflict, Repeated
from service.domain.job_store import (
    Accepted,
    Append,
    Claim,
    EventPage,
    NewJob,
    Usage,
)
from service.domain.jobs import MAX_LOSSES, Ending, Failed, JobState


class SqliteJobs(SqliteJobQueries):
    """A JobStore on a SQLite file.

    What somebody was told is durable: accepted jobs, events, ends. A claim or a lease that a power failure takes
    back has lost its worker, too.
    """

    async def accept(self, new: NewJob) -> Accepted | Repeated | Conflict:
        """Durable when this returns."""
        clock = self._database.clock
        return await self._database.write(lambda connection: _accept(connection, new, clock()))

    async def claim(self, worker: str, limit: int, lease: float, owner_cap: int) -> Claim:
        """Reads as many waiting jobs as it takes, a window of full owners' ones, and then each owner's first."""
        if limit <= 0:
            return Claim((), ())
        clock = self._database.clock

        def work(connection: sqlite3.Connection) -> Claim:
            now = clock()
            choice = choose(connection, now=now, limit=limit, owner_cap=owner_cap)
            values = {"worker": worker, "now": now, "lease": lease, "max_losses": MAX_LOSSES}
            ids = (*choice.lost, *choice.late, *choice.waiting)
            connection.executemany(sql.TAKE, [{**values, "id": job_id} for job_id in ids])
            for job_id in ids[len(choice.lost) :]:
                _set_status(connection, job_id, JobState.IN_PROGRESS)
            return claim_of([connection.execute(sql.TAKEN, (now, job_id)).fetchone() for job_id in ids])

        return await self._database.write(work, durable=False)

    async def renew(self, held: Sequence[tuple[str, int]], lease: float) -> frozenset[tuple[str, int]]:
        """One transaction."""
        if not held:
            return frozenset()
        clock = self._database.clock

        def work(connection: sqlite3.Connection) -> frozenset[tuple[str, int]]:
            values = {"now": clock(), "lease": lease}
            return frozenset(
                (job_id, epoch)
                for job_id, epoch in held
                if connection.execute(sql.RENEW, {**values, "id": job_id, "epoch": epoch}).rowcount
            )

        return await self._database.write(work, durable=False)

    async def held(self, held: Sequence[tuple[str, int]]) -> frozenset[tuple[str, int]]:
        """One read."""
        if not held:
            return frozenset()

        def work(connection: sqlite3.Connection) -> frozenset[tuple[str, int]]:
            return frozenset(one for one in held if connection.execute(sql.HELD, one).fetchone())

        return await self._database.read(work)

    async def append(self, appends: Sequence[Append]) -> frozenset[tuple[str, int]]:
        """Durable: followers may have seen them. Raises ValueError for a job that is there twice."""
        if not appends:
            return frozenset()
        check_each_once(appends)

        def work(connection: sqlite3.Connection) -> frozenset[tuple[str, int]]:
            return frozenset(
                (append.id, append.epoch) for append in appends if _append(connection, append) is None
            )

        return await self._database.write(work)

    async def finish(
        self, last: Append, state: Ending, response: bytes, usage: Usage | None, why: Failed | None = None
    ) -> bool:
        """Durable."""
        clock = self._database.clock

        def work(connection: sqlite3.Connection) -> bool:
            owner = _append(connection, last, to_end=True)
            if owner is None:
                return connection.execute(sql.ENDED, (last.id, last.epoch, state)).fetchone() is not None
            _end(connection, last.id, state, response, why=why)
            if usage is not None:
                row = (last.id, owner, usage.model, usage.input_tokens, usage.output_tokens, clock())
                connection.execute(sql.ADD_USAGE, row)
            return True

        return await self._database.write(work)

    async def hand_back(self, held: Sequence[tuple[str, int]]) -> None:
        """One transaction."""
        if not held:
            return
        clock = self._database.clock

        def work(connection: sqlite3.Connection) -> None:
            now = clock()
            for job_id, epoch in held:
                values = {"now": now, "id": job_id, "epoch": epoch}
                if connection.execute(sql.END_LATER, values).rowcount:
                    continue
                if connection.execute(sql.LEAVE, values).rowcount:
                    _set_status(connection, job_id, JobState.QUEUED)

        await self._database.write(work, durable=False)

    async def put_off(self, job_id: str, epoch: int, delay: float, *, failed: bool) -> bool:
        """One transaction."""
        clock = self._database.clock

        def work(connection: sqlite3.Connection) -> bool:
            if not connection.execute(sql.PUT_OFF, (clock() + delay, int(failed), job_id, epoch)).rowcount:
                return False
            _set_status(connection, job_id, JobState.QUEUED)
            return True

        return await self._database.write(work, durable=False)

    async def cancel(self, owner: str, job_id: str, epoch: int, response: bytes, event: bytes) -> bool:
        """Durable."""
        if not may_exist(job_id):
            return False
        clock = self._database.clock

        def work(connection: sqlite3.Connection) -> bool:
            row = connection.execute(sql.TO_CANCEL, (job_id, owner, epoch, clock())).fetchone()
            if row is None:
                return False
            connection.execute(sql.ADD_EVENT, (job_id, row[0], event))
            connection.execute(sql.MOVE, (row[0] + 1, 0, job_id))
            _end(connection, job_id, JobState.CANCELLED, response, fence=1)
            return True

        return await self._database.write(work)

    async def job(self, owner: str, job_id: str) -> tuple[JobState, int, int] | None:
        """One row by its primary key."""
        if not may_exist(job_id):
            return None
        values = (job_id, owner, self._database.clock())
        row = await self._database.read(lambda connection: connection.execute(sql.JOB, values).fetchone())
        return (JobState(row[0]), row[1], row[2]) if row else None

    async def events(self, owner: str, job_id: str, after: int, limit: int) -> EventPage:
        """One statement: events and state are of one moment."""
        if not may_exist(job_id):
            return EventPage((), None)
        values = {"id": job_id, "owner": owner, "after": after, "limit": limit, "now": self._database.clock()}
        return page_of(
            await self._database.read(lambda connection: connection.execute(sql.EVENTS, values).fetchall())
        )


def _accept(connection: sqlite3.Connection, new: NewJob, now: float) -> Accepted | Repeated | Conflict:
    response, key = new.response, new.idempotency
    if key is not None:
        row = connection.execute(sql.KEYED, (response.owner, key.key, now)).fetchone()
        if row is not None:
            return outcome_of_repeat(new, key, *row)
    taken = connection.execute(sql.OWNER_OF, (response.id,)).fetchone()
    if taken is not None:
        if taken[0] != response.owner:
            raise ValueError(f"there is a response {response.id} already")
        return Accepted()
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
    _add_events(connection, response.id, 0, new.events)
    return Accepted()


def _append(connection: sqlite3.Connection, append: Append, *, to_end: bool = False) -> str | None:
    """The job's owner; None when it is fenced.

    Events that were written before, by a call whose answer got lost, are not written again, but an end must be
    new. A number that the log has not reached would leave a gap: it is fenced.
    """
    row = connection.execute(sql.HELD, (append.id, append.epoch)).fetchone()
    if row is None or row[0] < append.sequence:
        return None
    following = append.sequence + len(append.events)
    if to_end and append.events and row[0] >= following:
        return None
    written = row[0] - append.sequence
    _add_events(connection, append.id, row[0], append.events[written:])
    connection.execute(sql.MOVE, (following, append.output, append.id))
    return str(row[1])


def _add_events(connection: sqlite3.Connection, job_id: str, sequence: int, events: Sequence[bytes]) -> None:
    connection.executemany(sql.ADD_EVENT, [(job_id, number, body) for number, body in enumerate(events, sequence)])


def _end(
    connection: sqlite3.Connection,
    job_id: str,
    state: JobState,
    response: bytes,
    *,
    why: Failed | None = None,
    fence: int = 0,
) -> None:
    connection.execute(sql.END, (state, why, fence, job_id))
    connection.execute(sql.SET_OBJECT, (state, response, job_id))
    connection.execute(sql.DROP_REQUEST, (job_id,))


def _set_status(connection: sqlite3.Connection, job_id: str, state: JobState) -> None:
    connection.execute(sql.SET_STATUS, (state, job_id, state))
