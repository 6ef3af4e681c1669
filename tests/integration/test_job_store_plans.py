"""The hot statements about jobs read what they need by an index, whatever the tables hold."""

import re
import sqlite3
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.database import job_statements_postgres, job_statements_sqlite
from adapters.database.postgres import PostgresDatabase
from adapters.database.responses_postgres import SWEEP, SWEEP_KEYS
from adapters.database.sqlite import SqliteDatabase
from adapters.database.url import PostgresTarget, SqliteTarget, parse_url
from service.domain.job_store import Claim
from tests.support.job_worlds import CAP, LEASE, World, world

# n jobs: some wait, 200 run, the rest is over. Values that both databases understand.
COLUMNS = (
    "id, owner, api, status, priority, group_label, created_at, not_before, lease_until, epoch, losses,"
    " failed_attempts, sequence, logged, restart_on_loss, log_deltas"
)
ARGUMENTS = {
    "CLAIM": "'w', 10, 30, 100, 64, '{0,1,2}', 60, 3",
    "CLAIM_OF_EACH_OWNER": "'w', 10, 30, 100, 64, '{0,1,2}', 60, 3",
    "IS_LONG": "'{0,1,2}', 64",
    "RENEW": "'{a}', '{1}', 30",
    "HELD": "'{a}', '{1}'",
    "APPEND": "'{a}', '{1}', '{2}', '{1}', '{f}', '{1}', '{2}', '{x}'",
    "FINISH": "'a', 1, 2, '{x}', 'completed', 'r', NULL, false, 'm', 1, 1",
    "HAND_BACK": "'{a}', '{1}'",
    "PUT_OFF": "'a', 1, 5, 1",
    "CANCEL": "'a', 'o', 1, 'r', 'e'",
    "JOB": "'a', 'o'",
    "EVENTS": "'a', 'o', 1, 10",
    "SWEEP": "200, 10000",
    "SWEEP_KEYS": "2000",
}
BY_ID = ["RENEW", "HELD", "APPEND", "FINISH", "HAND_BACK", "PUT_OFF", "CANCEL", "JOB", "EVENTS"]


@pytest.fixture(name="w")
async def a_world(database_url: str) -> AsyncIterator[World]:
    async with world(database_url) as made:
        yield made


async def fill(w: World, *, waiting: int, over: int, owners: int = 50) -> None:
    """Jobs past our code; `w.clock` is the time on SQLite."""
    sqlite = isinstance(parse_url(w.url), SqliteTarget)
    time_of = "{}" if sqlite else "now() + make_interval(secs => {})"
    zero = w.clock[0] if sqlite else 0
    numbers = (
        f"WITH RECURSIVE g (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < {waiting + 200 + over})"
        if sqlite
        else f"WITH g (n) AS (SELECT generate_series(1, {waiting + 200 + over}))"
    )
    state = (
        f"CASE WHEN n <= {waiting} THEN 'queued' WHEN n <= {waiting + 200} THEN 'in_progress' ELSE 'completed' END"
    )
    soon, then = time_of.format(f"{zero} + n * 0.001 - 3000"), time_of.format(f"{zero} + 900000")
    bodies = "CAST('r' AS BLOB), CAST('i' AS BLOB)" if sqlite else "'r', 'i'"
    columns = "id, owner, status, created_at, expires_at, response, input"
    await w.execute(
        f"INSERT INTO responses ({columns}) {numbers}"
        f" SELECT 'resp_' || n, 'o' || n % {owners}, {state}, {soon}, {then}, {bodies} FROM g"
    )
    lease = f"CASE WHEN n > {waiting} AND n <= {waiting + 200} THEN {then} END"
    false, true = ("0", "1") if sqlite else ("false", "true")
    await w.execute(
        f"INSERT INTO jobs ({COLUMNS}) {numbers}"
        f" SELECT 'resp_' || n, 'o' || n % {owners}, 'responses', {state}, n % 3, '', {soon}, {soon}, {lease},"
        f" 0, 0, 0, 2, {false}, {true}, {false} FROM g"
    )
    request = "CAST('q' AS BLOB)" if sqlite else "'q'"
    await w.execute(
        f"INSERT INTO job_requests (id, trace, request) SELECT id, '{{}}', {request} FROM jobs"
        " WHERE status = 'queued'"
    )


@pytest.mark.parametrize("analyzed", [False, True])
async def test_postgresql_reads_jobs_by_the_index_that_is_made_for_it(postgres_url: str, analyzed: bool) -> None:
    async with world(postgres_url) as w:
        target = parse_url(postgres_url)
        assert isinstance(target, PostgresTarget)
        database = PostgresDatabase(target)
        try:
            async with database.connection() as connection:
                if analyzed:
                    await fill(w, waiting=20_000, over=20_000)
                    await connection.execute("ANALYZE")
                await connection.execute("SET plan_cache_mode = force_generic_plan")
                used: dict[str, set[str]] = {}
                for name, arguments in ARGUMENTS.items():
                    sql = {"SWEEP": SWEEP, "SWEEP_KEYS": SWEEP_KEYS}.get(name)
                    await connection.execute(f"PREPARE {name} AS {sql or getattr(job_statements_postgres, name)}")
                    rows = await connection.fetch(f"EXPLAIN EXECUTE {name} ({arguments})")
                    plan = "\n".join(row[0] for row in rows)
                    assert "Seq Scan" not in plan, (name, plan)
                    assert "Bitmap" not in plan, (name, plan)
                    used[name] = set(re.findall(r"using (jobs_\w+) on", plan))
        finally:
            await database.aclose()
    assert used["CLAIM"] == {"jobs_leased", "jobs_to_start", "jobs_waiting", "jobs_running_of_owner", "jobs_pkey"}
    assert used["CLAIM_OF_EACH_OWNER"] == used["CLAIM"] - {"jobs_waiting"} | {"jobs_waiting_of_owner"}
    assert used["IS_LONG"] == {"jobs_waiting"}
    assert {name: used[name] for name in BY_ID} == {name: {"jobs_pkey"} for name in BY_ID}


async def test_sqlite_reads_jobs_by_the_index_that_is_made_for_it(sqlite_url: str) -> None:
    target = parse_url(sqlite_url)
    assert isinstance(target, SqliteTarget)
    database = SqliteDatabase(target)

    def plans(connection: sqlite3.Connection) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, sql in vars(job_statements_sqlite).items():
            if name.isupper() and not name.startswith("ADD"):
                names = set(re.findall(r":(\w+)", sql))
                values: Any = dict.fromkeys(names, 0) if names else [0] * sql.count("?")
                found[name] = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
        return found

    found = await database.write(plans)
    await database.aclose()
    for name, plan in found.items():
        assert not [step for step in plan if re.match(r"SCAN (?!waits|\(subquery|CONSTANT)", step)], (name, plan)
        assert not [step for step in plan if "TEMP B-TREE" in step], (name, plan)
    indexes = {
        "LOST": "jobs_leased",
        "LATE": "jobs_to_start",
        "OLDEST": "jobs_waiting",
        "OLDEST_OF_OWNER": "jobs_waiting_of_owner",
        "WAITING_OWNERS": "jobs_waiting_of_owner",
        "RUNNING": "jobs_running_of_owner",
    }
    for name, index in indexes.items():
        assert any(re.search(rf"INDEX {index}\b", step) for step in found[name]), (name, found[name])


@pytest.mark.parametrize("cap", [CAP, 5])
async def test_a_claim_among_very_many_costs_about_what_one_among_few_does(w: World, cap: int) -> None:
    await fill(w, waiting=600, over=0)
    few = await best_claim(w, cap)
    for table in ("jobs", "responses", "job_requests"):
        await w.execute(f"DELETE FROM {table}")
    await fill(w, waiting=40_000, over=20_000)
    many = await best_claim(w, cap)
    # By the hundredfold if it read them all.
    assert many < 4 * few + 0.01, (few, many)


async def best_claim(w: World, cap: int) -> float:
    """Seconds of the fastest of some claims."""
    taken = []
    for _ in range(12):
        begin = time.perf_counter()
        had: Claim = await w.store.claim("w", 10, LEASE, cap)
        taken.append(time.perf_counter() - begin)
        assert len(had.run) == 10 or cap < CAP
    return min(taken)
