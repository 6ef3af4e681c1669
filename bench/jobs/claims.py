"""The store by itself: what a claim costs among few and among many waiting jobs, and what SQLite takes to accept.

Of a claim the database's time counts: what is measured is how long the caller waits, and what both of them use.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from adapters.database.open import Database, DatabaseOptions, open_database
from bench import measure
from bench.fleet import StartError
from bench.jobs import fill, postgres
from bench.jobs.sizes import BEHIND, IN_FLIGHT, QUEUES, Sizes
from service.domain.job_store import Accepted, Claim, JobStore, NewJob, Priority
from service.domain.stored import NewResponse

LIMIT: Final = 16
"""Jobs per claim."""

_CAP: Final = 64
_LEASE: Final = 3600.0
_WARM: Final = 10
_EVENT: Final = b"e" * 60
_FIRST: Final = 100
"""Jobs that are accepted before that is measured."""


Claims: TypeAlias = dict[str, dict[str, list[list[float]]]]
"""Seconds of each claim: by queue (`sizes.QUEUES`), by how many jobs wait, by round."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Of each claim, `wall`: how long its caller waited; `cpu`: what database and caller used."""

    wall: Claims
    cpu: Claims


def on_postgres(url: str, server: int, sizes: Sizes, found: Measured) -> None:
    """One more round; `server` is the id of the database's process. None waits before or after, no worker runs."""
    try:
        added = 0
        for waiting in (sizes.few, sizes.many):
            fill.waiting(url, added + 1, waiting)
            added = waiting
            postgres.wait_for(_claims(url, server, sizes, waiting, found))
    finally:
        fill.forget_waiting(url)


def on_sqlite(folder: Path, sizes: Sizes) -> dict[str, Any]:
    """`accept`: seconds of each accept, `IN_FLIGHT` at a time; `accept_cpu`: µs of CPU of each; `claims` and
    `claims_cpu`.
    """
    return postgres.wait_for(_on_sqlite(f"sqlite:///{folder.resolve()}/claims.db", sizes))


async def _on_sqlite(url: str, sizes: Sizes) -> dict[str, Any]:
    found = Measured({}, {})
    waits: list[float] = []
    async with _opened(url) as database:
        jobs = database.jobs
        await _accept(jobs, range(1, _FIRST), [])
        used = time.process_time()
        await _accept(jobs, range(_FIRST, sizes.few + 1), waits)
        used = time.process_time() - used
        await _both(jobs, (), sizes, sizes.few, found)
        await _accept(jobs, range(sizes.few + 1, sizes.many + 1), [], in_flight=256)
        await _both(jobs, (), sizes, sizes.many, found)
    told = {"claims": found.wall, "claims_cpu": found.cpu}
    return {"accept": waits, "accept_cpu": used / len(waits) * 1e6, **told}


async def _claims(url: str, server: int, sizes: Sizes, waiting: int, found: Measured) -> None:
    async with _opened(url) as database:
        await _claim(database.jobs, (), 1)  # connects
        await _both(database.jobs, measure.family(server), sizes, waiting, found)


async def _both(jobs: JobStore, servers: tuple[int, ...], sizes: Sizes, waiting: int, found: Measured) -> None:
    """Claims with and without a full owner in front."""
    for which in QUEUES:
        held = await jobs.claim("bench", _CAP, _LEASE, _CAP) if which == BEHIND else Claim((), ())
        if len({job.owner for job in held.run}) > 1:
            raise StartError("the oldest jobs should be one owner's")
        wall, cpu = await _claim(jobs, servers, sizes.claims)
        for kept, values in ((found.wall, wall), (found.cpu, cpu)):
            kept.setdefault(which, {}).setdefault(str(waiting), []).append(values)
        await jobs.hand_back([(job.id, job.epoch) for job in held.run])


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Database]:
    database = open_database(url, DatabaseOptions(pool_size=1))
    try:
        await database.prepare()
        yield database
    finally:
        await database.aclose()


async def _claim(jobs: JobStore, servers: tuple[int, ...], count: int) -> tuple[list[float], list[float]]:
    """Claims and hands back, again and again: every claim finds the same jobs before it."""
    processes = (os.getpid(), *servers)
    wall, cpu = [], []
    for _ in range(_WARM + count):
        used, begun = sum(measure.family_cpu(processes).values()), time.perf_counter()
        claim = await jobs.claim("bench", LIMIT, _LEASE, _CAP)
        wall.append(time.perf_counter() - begun)
        cpu.append(sum(measure.family_cpu(processes).values()) - used)
        if len(claim.run) != LIMIT or claim.end:
            raise StartError(f"a claim of {LIMIT} brought {len(claim.run)} to run and {len(claim.end)} to end")
        await jobs.hand_back([(job.id, job.epoch) for job in claim.run])
    return wall[_WARM:], cpu[_WARM:]


async def _accept(jobs: JobStore, numbers: range, waits: list[float], in_flight: int = IN_FLIGHT) -> None:
    left = iter(numbers)

    async def caller() -> None:
        for number in left:
            begun = time.perf_counter()
            if await jobs.accept(_job(number)) != Accepted():
                raise StartError(f"job {number} was not accepted")
            waits.append(time.perf_counter() - begun)

    await asyncio.gather(*(caller() for _ in range(in_flight)))


def _job(number: int) -> NewJob:
    owner = f"owner{0 if number <= fill.FRONT else number % fill.OWNERS}"
    response = NewResponse(
        id=f"resp_{number:036x}",
        owner=owner,
        previous_id=None,
        status="queued",
        response=b"r" * 200,
        input=b"i" * 100,
        retention=30 * 86400.0,
    )
    return NewJob(response, "responses", b"q" * 200, [_EVENT, _EVENT], Priority(number // 7 % fill.PRIORITIES))
