"""What workers are scaled on in Kubernetes: the manifests' query, run as KEDA runs it, beside our own count."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import yaml

from service.domain.job_store import Priority
from service.domain.jobs import JobState
from tests.support.job_worlds import LEASE, World, world, write
from tests.support.parts import ROOT

OBJECT: Final = ROOT / "deploy/kubernetes/components/keda/scaled-object.yaml"
PAGE: Final = ROOT / "docs/kubernetes/README.md"


@pytest.fixture(name="w")
async def a_world(postgres_url: str) -> AsyncIterator[World]:
    async with world(postgres_url) as made:
        yield made


def the_query() -> str:
    (trigger, _) = yaml.safe_load(OBJECT.read_text(encoding="utf-8"))["spec"]["triggers"]
    assert trigger["type"] == "postgresql"
    query: str = trigger["metadata"]["query"]
    return query


async def said_by_queue_stats(w: World) -> int:
    stats = await w.store.queue_stats(None)
    return sum(of.runnable + of.in_progress for of in stats.values())


async def in_every_state(w: World) -> None:
    """Ten jobs: four that may run, two that do, and one each that waits, was put off, ended and was cancelled."""
    await w.accept_all([1, 2, 3, 4])
    claimed = await w.store.claim("w", 4, LEASE, 1000)
    ended, put_off, *_running = claimed.run
    assert await w.store.finish(write(ended, b"end"), JobState.COMPLETED, b"done", None)
    assert await w.store.put_off(put_off.id, put_off.epoch, 600.0, failed=True)
    await w.accept(5, priority=Priority.HIGH)
    await w.accept(6, priority=Priority.BULK, owner="b")
    await w.accept(7, delay=600.0)
    await w.accept(8, start_within=0.5)
    await w.accept(9)
    await w.accept(10, group="gone")
    await w.execute("UPDATE jobs SET status = 'cancelled', epoch = epoch + 1 WHERE id = 'resp_10'")


async def test_it_counts_what_may_run_and_what_does(w: World) -> None:
    await in_every_state(w)
    # Those whose latest start passed may be claimed, to be ended; those of lost workers are claimed again.
    await w.wait(LEASE + 1)
    ((counted,),) = await w.execute(the_query())
    assert counted == await said_by_queue_stats(w) == 6


async def test_without_jobs_it_is_nothing_and_never_null(w: World) -> None:
    assert await w.execute(the_query()) == [(0,)]


async def test_it_reads_indexes_of_what_is_not_over(w: World) -> None:
    """However many jobs there were once."""
    await in_every_state(w)
    await w.execute("ANALYZE jobs")
    await w.execute("SET enable_seqscan = off")
    plan = "\n".join(row[0] for row in await w.execute(f"EXPLAIN {the_query()}"))
    assert "jobs_waiting" in plan
    assert "jobs_leased" in plan


async def test_a_database_user_that_may_read_one_table_is_enough(w: World, postgres_url: str) -> None:
    """As docs/kubernetes/README.md makes it."""
    page = PAGE.read_text(encoding="utf-8")
    statements = page.partition("```sql\n")[2].partition("```")[0].replace("CHOOSE-ONE", "a-password-of-the-test")
    assert "GRANT SELECT ON jobs TO eurouter_keda" in statements
    await in_every_state(w)
    await w.execute("DROP ROLE IF EXISTS eurouter_keda")
    for statement in filter(str.strip, statements.split(";")):
        await w.execute(statement)
    try:
        parts = urlsplit(postgres_url)
        login = f"eurouter_keda:a-password-of-the-test@{parts.hostname}:{parts.port}"
        reader = await asyncpg.connect(urlunsplit(parts._replace(netloc=login)))
        try:
            assert await reader.fetchval(the_query()) == await said_by_queue_stats(w)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await reader.fetch("SELECT response FROM responses")
        finally:
            await reader.close()
    finally:
        await w.execute("DROP OWNED BY eurouter_keda")
        await w.execute("DROP ROLE eurouter_keda")
