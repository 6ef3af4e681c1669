"""The store of jobs on SQLite. Times are Unix seconds by the database's clock."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from adapters.database import job_statements_sqlite as sql
from adapters.database.accept_sqlite import Outcome, SpoiltError, accept, accept_all, add_events
from adapters.database.chain import may_exist
from adapters.database.claim_sqlite import choose
from adapters.database.job_queries_sqlite import SqliteJobQueries
from adapters.database.job_rows import (
    check_each_once,
    check_no_origin,
    claim_of,
    page_of,
)
from adapters.database.outbox_telling_sqlite import tell_of_ends
from adapters.database.sqlite_writer import Work
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
        outbox = await self._takes(new)
        return await self._database.write(lambda connection: accept(connection, new, clock(), outbox=outbox))

    async def accept_many(self, new: Sequence[NewJob]) -> Sequence[Outcome]:
        """One transaction, durable when this returns."""
        clock = self._database.clock
        outbox = await self._takes(*new)

        def work(*, apart: bool) -> Work[list[Outcome]]:
            return lambda connection: accept_all(connection, new, clock(), outbox=outbox, apart=apart)

        try:
            return await self._database.write(work(apart=False))
        except SpoiltError:
            # Rare: one of them spoils it for all.
            return await self._database.write(work(apart=True))

    async def _takes(self, *new: NewJob) -> bool:
        """Whether these are told the outbox; a file that was never used is asked first."""
        await self._database.ready()
        outbox = self._outbox.on
        if not outbox:
            for one in new:
                check_no_origin(one)
        return outbox

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
            _end(connection, last.id, state, response, why=why, told_at=self._told_at())
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
            _end(connection, job_id, JobState.CANCELLED, response, fence=1, told_at=self._told_at())
            return True

        return await self._database.write(work)

    def _told_at(self) -> float | None:
        return self._database.clock() if self._outbox.on else None

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
    add_events(connection, append.id, row[0], append.events[written:])
    connection.execute(sql.MOVE, (following, append.output, append.id))
    return str(row[1])


def _end(
    connection: sqlite3.Connection,
    job_id: str,
    state: JobState,
    response: bytes,
    *,
    why: Failed | None = None,
    fence: int = 0,
    told_at: float | None,
) -> None:
    connection.execute(sql.END, (state, why, fence, job_id))
    connection.execute(sql.SET_OBJECT, (state, response, job_id))
    if told_at is not None:
        tell_of_ends(connection, [job_id], told_at)
    connection.execute(sql.DROP_REQUEST, (job_id,))


def _set_status(connection: sqlite3.Connection, job_id: str, state: JobState) -> None:
    connection.execute(sql.SET_STATUS, (state, job_id, state))
