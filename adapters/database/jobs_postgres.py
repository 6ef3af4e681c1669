"""The store of jobs on PostgreSQL. Time is the database's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import asyncpg

from adapters.database import job_statements_postgres as sql
from adapters.database import outbox_telling_postgres as telling
from adapters.database.accept_many_postgres import ACCEPT_MANY, Outcome, accept_all
from adapters.database.chain import may_exist
from adapters.database.job_queries_postgres import PostgresJobQueries, cancel_sql
from adapters.database.job_rows import (
    WINDOW,
    check_each_once,
    check_no_origin,
    claim_of,
    key_seconds,
    outcome_of_repeat,
    page_of,
    trace_text,
)
from adapters.database.outbox_mode import OutboxMode
from adapters.database.postgres import PostgresDatabase
from service.domain.idempotency import Conflict, Repeated
from service.domain.job_store import (
    AGEING_SECONDS,
    Accepted,
    Append,
    Claim,
    EventPage,
    NewJob,
    Priority,
    Unstorable,
    Usage,
)
from service.domain.jobs import MAX_LOSSES, Ending, Failed, JobState
from service.domain.stored import StoreError

_PRIORITIES: Final = [int(priority) for priority in Priority]
_TRIES: Final = 3
# What is too large for an index is beyond a limit of the program's.
_OF_VALUES: Final = (
    *(asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError),
    UnicodeError,
)


class _SpoiltError(Exception):
    """PostgreSQL refuses a job for what is in it. `taken`: something that comes once is there already."""

    def __init__(self, *, taken: bool) -> None:
        super().__init__()
        self.taken = taken


class PostgresJobs(PostgresJobQueries):
    """A JobStore on PostgreSQL. `outbox`: whether that jobs wait, and how they end, is published."""

    def __init__(self, database: PostgresDatabase, outbox: OutboxMode | None = None) -> None:
        super().__init__(database)
        self._outbox = outbox or OutboxMode()

    async def accept(self, new: NewJob) -> Accepted | Repeated | Conflict:
        """One statement, and a second one for a key that is there."""
        values, key = _accepted_values(new), new.idempotency
        if await self._tells():
            statement = telling.ACCEPT
            values += (None, None) if new.origin is None else (new.origin.topic, new.origin.body)
        else:
            statement = sql.ACCEPT
            check_no_origin(new)
        for _ in range(_TRIES):
            async with self._database.connection() as connection:
                try:
                    if await connection.fetch(statement, *values):
                        return Accepted()
                except asyncpg.UniqueViolationError:
                    if await connection.fetch(sql.IS_MINE, new.response.id, new.response.owner):
                        return Accepted()
                    raise ValueError(f"there is a response {new.response.id} already") from None
                if key is None:
                    break
                row = await connection.fetchrow(sql.KEYED, new.response.owner, key.key)
            if row is not None:
                return outcome_of_repeat(new, key, *row)
            # Its time was over just then: it may be taken now.
        raise self._keys_change()

    def _keys_change(self) -> StoreError:
        return StoreError(f"{self._database.name}: the idempotency key changes all the time; try again")

    async def accept_many(self, new: Sequence[NewJob]) -> Sequence[Outcome]:
        """One statement, and two more when some were there already."""
        if not (outbox := await self._tells()):
            for job in new:
                check_no_origin(job)
        try:
            return await self._accept_many(new, outbox=outbox)
        except _SpoiltError as error:
            if len(new) == 1:
                return [Conflict(new[0].response.id) if error.taken else Unstorable()]
        # Rare: one of them spoils it for all, and nobody says which.
        half = len(new) // 2
        return [*await self.accept_many(new[:half]), *await self.accept_many(new[half:])]

    async def _accept_many(self, new: Sequence[NewJob], *, outbox: bool) -> list[Outcome]:
        statement = telling.ACCEPT_MANY if outbox else ACCEPT_MANY
        done: dict[int, Outcome] = {}
        async with self._database.connection() as connection, connection.transaction():
            for _ in range(_TRIES):
                left = [job for job in new if id(job) not in done]
                if not left:
                    return [done[id(job)] for job in new]
                try:
                    told = await accept_all(connection, left, sql=statement, origins=outbox)
                except asyncpg.UniqueViolationError:
                    raise _SpoiltError(taken=True) from None
                except _OF_VALUES:
                    raise _SpoiltError(taken=False) from None
                done |= {id(job): outcome for job, outcome in zip(left, told, strict=True) if outcome is not None}
            if len(done) < len(set(map(id, new))):
                raise self._keys_change()
        return [done[id(job)] for job in new]

    async def claim(self, worker: str, limit: int, lease: float, owner_cap: int) -> Claim:
        """One statement; another two when owners at their cap fill the front of the queue, if there is time.

        An owner's cap may be passed by what arrives for it, with a higher priority, between the snapshots of two
        claims that run at the same time.
        """
        if limit <= 0:
            return Claim((), ())
        # What the first gives waits for the others, and its lease runs: they have what is left of a third of it.
        until = asyncio.get_running_loop().time() + lease / 3
        window = max(WINDOW, 4 * limit)
        fixed = (_PRIORITIES, AGEING_SECONDS, MAX_LOSSES)
        had = claim_of(await self._database.fetch(sql.CLAIM, worker, limit, lease, owner_cap, window, *fixed))
        missing = limit - len(had.run)
        if not missing:
            return had
        try:
            async with asyncio.timeout_at(until):
                if not (await self._database.fetch(sql.IS_LONG, _PRIORITIES, window))[0][0]:
                    return had
                # Of each owner: what this claim may take, and as much that others may be taking just now.
                values = (worker, missing, lease, owner_cap, 2 * missing, *fixed)
                more = claim_of(await self._database.fetch(sql.CLAIM_OF_EACH_OWNER, *values))
        except (StoreError, TimeoutError):
            # What was claimed must reach its worker.
            return had
        return Claim((*had.run, *more.run), (*had.end, *more.end))

    async def renew(self, held: Sequence[tuple[str, int]], lease: float) -> frozenset[tuple[str, int]]:
        """One statement."""
        if not held:
            return frozenset()
        ids, epochs = zip(*held, strict=True)
        rows = await self._database.fetch(sql.RENEW, ids, epochs, lease)
        return frozenset((row[0], row[1]) for row in rows)

    async def held(self, held: Sequence[tuple[str, int]]) -> frozenset[tuple[str, int]]:
        """One statement."""
        if not held:
            return frozenset()
        ids, epochs = zip(*held, strict=True)
        return frozenset((row[0], row[1]) for row in await self._database.fetch(sql.HELD, ids, epochs))

    async def append(self, appends: Sequence[Append]) -> frozenset[tuple[str, int]]:
        """One statement. Raises ValueError for a job that is there twice."""
        if not appends:
            return frozenset()
        check_each_once(appends)
        which: list[int] = []
        numbers: list[int] = []
        bodies: list[bytes] = []
        for place, append in enumerate(appends, 1):
            count = len(append.events)
            which += [place] * count
            numbers += range(append.sequence, append.sequence + count)
            bodies += append.events
        rows = await self._database.fetch(
            sql.APPEND,
            [append.id for append in appends],
            [append.epoch for append in appends],
            [append.sequence for append in appends],
            [len(append.events) for append in appends],
            [append.output for append in appends],
            *(which, numbers, bodies),
        )
        asked = frozenset((append.id, append.epoch) for append in appends)
        return asked.difference((row[0], row[1]) for row in rows)

    async def finish(
        self, last: Append, state: Ending, response: bytes, usage: Usage | None, why: Failed | None = None
    ) -> bool:
        """One statement."""
        used = (None, None, None) if usage is None else (usage.model, usage.input_tokens, usage.output_tokens)
        begin = (last.id, last.epoch, last.sequence, last.events)
        statement = telling.FINISH if await self._tells() else sql.FINISH
        rows = await self._database.fetch(statement, *begin, state, response, why, last.output, *used)
        return bool(rows[0][0])

    async def hand_back(self, held: Sequence[tuple[str, int]]) -> None:
        """One statement."""
        if held:
            ids, epochs = zip(*held, strict=True)
            await self._database.execute(sql.HAND_BACK, ids, epochs)

    async def put_off(self, job_id: str, epoch: int, delay: float, *, failed: bool) -> bool:
        """One statement."""
        return bool(await self._database.fetch(sql.PUT_OFF, job_id, epoch, delay, int(failed)))

    async def cancel(self, owner: str, job_id: str, epoch: int, response: bytes, event: bytes) -> bool:
        """One statement."""
        if not may_exist(job_id):
            return False
        statement = telling.CANCEL if await self._tells() else sql.CANCEL
        return bool(await self._database.fetch(statement, job_id, owner, epoch, response, event))

    async def job(self, owner: str, job_id: str) -> tuple[JobState, int, int] | None:
        """One row by its primary key."""
        if not may_exist(job_id):
            return None
        rows = await self._database.fetch(sql.JOB, job_id, owner)
        return (JobState(rows[0][0]), rows[0][1], rows[0][2]) if rows else None

    async def events(self, owner: str, job_id: str, after: int, limit: int) -> EventPage:
        """One statement: events and state are of one moment."""
        if not may_exist(job_id):
            return EventPage((), None)
        return page_of(await self._database.fetch(sql.EVENTS, job_id, owner, after, limit))

    async def _cancel_sql(self, *, everybody: bool, grouped: bool, patient: bool = False) -> str:
        sql = telling.telling_cancel_sql if await self._tells() else cancel_sql
        return sql(everybody=everybody, grouped=grouped, patient=patient)

    async def _tells(self) -> bool:
        """Whether what is done now is written to the outbox; a database that was never used is asked first."""
        await self._database.ready()
        return self._outbox.on


def _accepted_values(new: NewJob) -> tuple[object, ...]:
    response, key = new.response, new.idempotency
    return (
        *(response.id, response.owner, response.previous_id, response.status, response.retention),
        *(response.response, response.input, new.api, int(new.priority), new.group, new.delay, new.start_within),
        *(new.restart_on_loss, new.log_deltas, trace_text(new.trace), new.request, new.events),
        *((None, None) if key is None else (key.key, key.digest)),
        key_seconds(response),
    )
