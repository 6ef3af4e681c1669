"""A claim on a PostgreSQL whose later statements take long: what the first one gave reaches its worker in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import asyncpg
import pytest

from adapters.database import job_statements_postgres as sql
from adapters.database.jobs_postgres import PostgresJobs
from adapters.database.postgres import PostgresDatabase
from adapters.database.url import PostgresTarget, parse_url
from service.domain.job_store import Accepted, NewJob
from service.domain.stored import NewResponse

FULL = 300


class Slow(PostgresDatabase):
    """One whose server takes eight seconds before it runs the statement `slow`."""

    slow = ""

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        if statement == self.slow:
            await super().fetch("SELECT pg_sleep(8)")
        return await super().fetch(statement, *arguments)


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Slow]:
    target = parse_url(postgres_url)
    assert isinstance(target, PostgresTarget)
    opened = Slow(target, pool_size=1, connect_seconds=2.0, seconds=20.0)
    await opened.prepare()
    yield opened
    await opened.aclose()


async def queue(jobs: PostgresJobs) -> None:
    """A long queue of one owner, and a job of another behind it."""
    numbers = count()
    owners = ["full"] * FULL + ["small"]
    new = [
        NewJob(
            NewResponse(f"resp_{number}", owner, None, "queued", b"r", b"i", 3600.0),
            "responses",
            b"q",
            [b"created"],
        )
        for number, owner in zip(numbers, owners, strict=False)
    ]
    assert await jobs.accept_many(new) == [Accepted()] * len(new)


@pytest.mark.parametrize("slow", ["IS_LONG", "CLAIM_OF_EACH_OWNER"])
async def test_jobs_that_were_claimed_do_not_wait_for_slow_statements_while_their_lease_runs(
    database: Slow, slow: str
) -> None:
    jobs = PostgresJobs(database)
    await queue(jobs)
    database.slow = getattr(sql, slow)
    async with asyncio.timeout(6):
        had = await jobs.claim("w", 10, 0.9, 2)
    assert [job.owner for job in had.run] == ["full", "full"]
    # The only connection is free again.
    database.slow = ""
    async with asyncio.timeout(6):
        assert [job.owner for job in (await jobs.claim("w", 10, 30.0, 2)).run] == ["small"]
