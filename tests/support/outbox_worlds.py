"""A store of jobs that writes to the outbox, on either database, whose time a test can move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from adapters.database.open import DatabaseOptions, open_database
from adapters.database.url import SqliteTarget, parse_url
from service.domain.job_store import Append
from service.domain.jobs import JobState
from service.domain.outbox import SHARDS, Outbox, OutboxRow
from tests.support.job_worlds import World

RELAY_LEASE = 15.0
MANY = 10_000
MIB = 1024 * 1024

_TIMES = {"outbox": "created_at", "outbox_shards": "lease_until", "outbox_relays": "lease_until"}


@dataclass
class OutboxWorld(World):
    """A database with its outbox, and its time."""

    @property
    def outbox(self) -> Outbox:
        return self.database.outbox

    async def wait(self, seconds: float) -> None:
        await super().wait(seconds)
        if not isinstance(parse_url(self.url), SqliteTarget):
            for table, column in _TIMES.items():
                await self.execute(f"UPDATE {table} SET {column} = {column} - make_interval(secs => {seconds})")

    async def finish_one(self, response: bytes = b"done") -> str:
        """Claims the next job and ends it."""
        job = await self.claim_one()
        last = Append(job.id, job.epoch, job.sequence, [b"end"])
        assert await self.store.finish(last, JobState.COMPLETED, response, None)
        return job.id

    async def all(self, without: Collection[int] = (), resting: Collection[str] = ()) -> Sequence[OutboxRow]:
        """Every row that waits, for a relay that has all shards."""
        held = await self.outbox.hold("all", RELAY_LEASE)
        assert len(held) == SHARDS
        return await self.pending(held, without=without, resting=resting)

    async def pending(
        self,
        held: Mapping[int, int],
        limit: int = MANY,
        *,
        most_bytes: int = 100 * MIB,
        most_body: int = MIB,
        without: Collection[int] = (),
        resting: Collection[str] = (),
    ) -> Sequence[OutboxRow]:
        return await self.outbox.pending(
            held,
            limit,
            most_bytes=most_bytes,
            most_body=most_body,
            without=without,
            resting=resting,
        )

    async def told(self) -> list[tuple[str, str, int]]:
        """Kind, key and version of every row that waits."""
        return [(r.record.kind.value, (r.record.key or b"").decode(), r.record.version) for r in await self.all()]


@asynccontextmanager
async def outbox_world(url: str) -> AsyncIterator[OutboxWorld]:
    """A world on an empty database."""
    clock = [1_000_000.0]
    database = open_database(url, DatabaseOptions(outbox=True), clock=lambda: clock[0])
    await database.prepare()
    made = OutboxWorld(url, database, clock)
    try:
        yield made
    finally:
        if made.raw is not None:
            await made.raw.close()
        await asyncio.wait_for(database.aclose(), 30)
