"""A store of jobs on either database, whose time a test can move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from itertools import count
from sqlite3 import connect
from typing import Any

import asyncpg

from adapters.database.open import Database, open_database
from adapters.database.url import SqliteTarget, parse_url
from service.domain.job_store import Append, ClaimedJob, JobStore, NewJob
from service.domain.stored import NewResponse

LONG = 7 * 86400.0
LEASE = 30.0
CAP = 1000

# What moves back when time passes: the same as a clock that moves on.
_TIMES = {
    "jobs": ("created_at", "not_before", "start_before", "lease_until"),
    "responses": ("created_at", "expires_at"),
    "idempotency": ("expires_at", "reserved_at"),
}


@dataclass
class World:
    """A database and its time."""

    url: str
    database: Database
    clock: list[float]
    numbers: Any = field(default_factory=count)
    raw: asyncpg.Connection[asyncpg.Record] | None = None

    @property
    def store(self) -> JobStore:
        return self.database.jobs

    async def wait(self, seconds: float) -> None:
        """So much time passes for everything that is stored."""
        if isinstance(parse_url(self.url), SqliteTarget):
            self.clock[0] += seconds
        else:
            for table, columns in _TIMES.items():
                moves = ", ".join(f"{column} = {column} - make_interval(secs => {seconds})" for column in columns)
                await self.execute(f"UPDATE {table} SET {moves}")

    async def execute(self, statement: str) -> list[Any]:
        """One statement past our code; its rows."""
        target = parse_url(self.url)
        if isinstance(target, SqliteTarget):
            with closing(connect(target.path)) as raw, raw:
                return raw.execute(statement).fetchall()
        self.raw = self.raw or await asyncpg.connect(self.url)
        return [tuple(row) for row in await self.raw.fetch(statement)]

    async def count(self, table: str) -> int:
        """The rows of a table."""
        return int((await self.execute(f"SELECT count(*) FROM {table}"))[0][0])

    def new(
        self, number: int | None = None, *, owner: str = "a", retention: float = LONG, **fields: Any
    ) -> NewJob:
        """A job with two events, as the service accepts it."""
        number = next(self.numbers) if number is None else number
        response = NewResponse(f"resp_{number}", owner, "resp_before", "queued", b"queued", b"input", retention)
        fields = {"events": [b"created", b"queued"], **fields}
        return NewJob(response, "responses", b"request", **fields)

    async def accept(self, number: int | None = None, **fields: Any) -> str:
        new = self.new(number, **fields)
        await self.store.accept(new)
        return new.response.id

    async def accept_all(self, numbers: Sequence[int], **fields: Any) -> None:
        """In this order of age."""
        for number in numbers:
            await self.accept(number, **fields)
            await self.wait(0.01)

    async def claim(
        self, limit: int = 10, *, worker: str = "w", lease: float = LEASE, cap: int = CAP
    ) -> list[str]:
        """Ids of jobs to run."""
        return [job.id for job in (await self.store.claim(worker, limit, lease, cap)).run]

    async def claim_one(self, lease: float = LEASE) -> ClaimedJob:
        had = await self.store.claim("w", 1, lease, CAP)
        assert len(had.run) == 1
        return had.run[0]

    async def bodies(self, job_id: str, owner: str = "a") -> list[bytes]:
        """Every event; their numbers must be without gaps."""
        page = await self.store.events(owner, job_id, -1, 100_000)
        assert [event.sequence for event in page.events] == list(range(len(page.events)))
        return [event.body for event in page.events]

    async def status(self, job_id: str, owner: str = "a") -> str | None:
        """As the response has it; a job says the same."""
        stored = await self.database.responses.get(owner, job_id)
        job = await self.store.job(owner, job_id)
        assert (stored.status if stored else None) == (job[0].value if job else None)
        return stored.status if stored else None


def write(job: ClaimedJob, *bodies: bytes, output: bool = False) -> Append:
    """Events of a job that was just claimed."""
    return Append(job.id, job.epoch, job.sequence, bodies, output)


@asynccontextmanager
async def world(url: str) -> AsyncIterator[World]:
    """A world on an empty database."""
    clock = [1_000_000.0]
    database = open_database(url, clock=lambda: clock[0])
    await database.prepare()
    made = World(url, database, clock)
    try:
        yield made
    finally:
        if made.raw is not None:
            await made.raw.close()
        await asyncio.wait_for(database.aclose(), 30)
