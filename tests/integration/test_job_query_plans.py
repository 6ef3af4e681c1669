"""Lists, counts and cancels read what they need by an index, whatever the tables hold."""

import re
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from adapters.database import job_queries_sqlite
from adapters.database.job_queries_postgres import (
    RUNNABLE,
    STATS,
    STATS_OF_OWNER,
    cancel_sql,
    count_sql,
    list_sql,
)
from adapters.database.postgres import PostgresDatabase
from adapters.database.sqlite import SqliteDatabase
from adapters.database.url import PostgresTarget, SqliteTarget, parse_url
from service.domain.job_queries import JobFilter
from service.domain.jobs import JobState
from tests.integration.test_job_store_plans import fill
from tests.support.job_worlds import World, world

OF_ALL, OF_GROUP = {"jobs_listed"}, {"jobs_listed_of_group"}


@pytest.fixture(name="w")
async def a_world(database_url: str) -> AsyncIterator[World]:
    async with world(database_url) as made:
        yield made


def statements() -> dict[str, tuple[str, str, set[str]]]:
    """By name: the statement, arguments, and the indexes of jobs that it uses."""
    found = {
        "STATS": (STATS, "'{0,1,2}'", {"jobs_waiting", "jobs_leased"}),
        "STATS_OF_OWNER": (STATS_OF_OWNER, "'{0,1,2}', 'o1'", {"jobs_waiting_of_owner", "jobs_leased"}),
        "RUNNABLE": (RUNNABLE, "'{0,1,2}', 1000", {"jobs_waiting"}),
    }
    for everybody in (False, True):
        for grouped in (False, True):
            shape = {"everybody": everybody, "grouped": grouped}
            of = f"{'everybody' if everybody else 'owner'}_{'group' if grouped else 'any'}"
            group = "'g'" if grouped else "NULL"
            which = f"'o1', {group}, '{{queued,in_progress}}'"
            # The names of all owners are found in the one that holds every job.
            by = (OF_GROUP if grouped else OF_ALL) | (OF_ALL if everybody else set())
            found[f"LIST_{of}"] = (list_sql(**shape), f"{which}, 50, '2026-01-01', 'x'", by)
            found[f"COUNT_{of}"] = (count_sql(**shape), which, by)
            for patient in (False, True):
                sql = cancel_sql(**shape, patient=patient)
                found[f"CANCEL_{of}_{patient}"] = (sql, f"{which}, 1000, 0", by | {"jobs_pkey"})
    return found


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("analyzed", [False, True])
async def test_postgresql_reads_many_jobs_by_the_index_that_is_made_for_it(
    postgres_url: str, analyzed: bool, mode: str
) -> None:
    async with world(postgres_url) as w:
        if analyzed:
            await fill(w, waiting=20_000, over=20_000)
            await w.execute("UPDATE jobs SET group_label = 'g' WHERE id LIKE '%7'")
            await w.execute("ANALYZE")
        target = parse_url(postgres_url)
        assert isinstance(target, PostgresTarget)
        database = PostgresDatabase(target)
        try:
            async with database.connection() as connection:
                await connection.execute(f"SET plan_cache_mode = {mode}")
                for name, (sql, arguments, indexes) in statements().items():
                    await connection.execute(f"PREPARE {name} AS {sql}")
                    rows = await connection.fetch(f"EXPLAIN EXECUTE {name} ({arguments})")
                    plan = "\n".join(row[0] for row in rows)
                    # A join of sets would read one of them whole.
                    for bad in (
                        "Seq Scan",
                        "Bitmap",
                        "Hash Join",
                        "Hash Semi Join",
                        "Merge",
                        "responses_expires_at",
                    ):
                        assert bad not in plan, (name, plan)
                    # What waits is little as long as nobody has counted it.
                    if analyzed or not name.startswith(("STATS", "RUNNABLE")):
                        used = set(re.findall(r"using (jobs_\w+) on", plan))
                        if name == "STATS_OF_OWNER":
                            # Few are in progress: all of them and the owner's cost the same to read, and what
                            # ANALYZE has sampled decides.
                            used = {"jobs_leased" if index == "jobs_listed" else index for index in used}
                        assert used == indexes, (name, plan)
        finally:
            await database.aclose()


async def test_sqlite_reads_many_jobs_by_the_index_that_is_made_for_it(sqlite_url: str) -> None:
    target = parse_url(sqlite_url)
    assert isinstance(target, SqliteTarget)
    database = SqliteDatabase(target)
    named: dict[str, str] = {name: sql for name, sql in vars(job_queries_sqlite).items() if name.isupper()}
    cancel: Any = named.pop("CANCEL")
    named |= {f"CANCEL_{place}": sql for place, sql in enumerate(cancel)}

    def plans(connection: sqlite3.Connection) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, sql in named.items():
            if not name.startswith("_") and name != "TERMINAL":
                names = set(re.findall(r":(\w+)", sql))
                values: Any = dict.fromkeys(names, 0) if names else ["[]"] * sql.count("?")
                found[name] = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
        return found

    found = await database.write(plans)
    await database.aclose()
    assert len(found) == 15
    for name, plan in found.items():
        assert not [
            step
            for step in plan
            if re.match(r"SCAN (?!e VIRTUAL|json_each|CONSTANT|\(subquery|jobs USING INDEX jobs_leased)", step)
        ], (
            name,
            plan,
        )
        # Jobs of one moment are sorted by their ids, and no more than them.
        assert not [step for step in plan if re.search("TEMP B-TREE FOR (?!LAST TERM|RIGHT PART)", step)], (
            name,
            plan,
        )
    for name in ("LIST", "TO_CANCEL"):
        shown = [step for step in found[name] if "jobs_listed " in step]
        assert re.search(r"owner=\? AND status=\? AND (created_at<\?|\(created_at)", shown[0]), (name, shown)
        labelled = [step for step in found[f"{name}_OF_GROUP"] if "jobs_listed_of_group " in step]
        assert re.search(r"group_label=\? AND status=\? AND (created_at<\?|\(created_at)", labelled[0])


async def test_a_page_among_very_many_costs_about_what_one_among_few_does(w: World) -> None:
    """Wherever it stands, and whatever states are asked for."""
    owner = JobFilter("0" if w.url.startswith("sqlite") else "o1")

    async def first() -> None:
        await w.store.list_jobs(owner, 50, None)

    async def rare() -> None:
        await w.store.list_jobs(JobFilter(owner.owner, None, frozenset({JobState.FAILED})), 50, None)

    async def deep() -> None:
        assert len(await w.store.list_jobs(owner, 50, place)) == 50

    await fill_and_analyze(w, waiting=1000, over=9000)
    place = (await w.store.list_jobs(owner, 60, None))[-1].place
    few = [await best(step) for step in (first, rare, deep)]
    for table in ("jobs", "responses", "job_requests"):
        await w.execute(f"DELETE FROM {table}")
    await fill_and_analyze(w, waiting=20_000, over=80_000)
    place = (await w.store.list_jobs(owner, 1000, None))[-1].place
    many = [await best(step) for step in (first, rare, deep)]
    # By the tenfold if it read them all.
    for before, after in zip(few, many, strict=True):
        assert after < 3 * before + 0.004, (few, many)


async def fill_and_analyze(w: World, *, waiting: int, over: int) -> None:
    """As a database does by itself, a little later."""
    await fill(w, waiting=waiting, over=over)
    await w.execute("ANALYZE")


async def best(step: Callable[[], Awaitable[None]]) -> float:
    """Seconds of the fastest of some."""
    taken = []
    for _ in range(10):
        begin = time.perf_counter()
        await step()
        taken.append(time.perf_counter() - begin)
    return min(taken)
