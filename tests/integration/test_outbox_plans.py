"""What publishes, and what tells of it, reads by indexes, whatever the tables hold."""

import re
import sqlite3
import time
from typing import Any

import pytest

from adapters.database import accept_many_postgres as many
from adapters.database import (
    outbox_postgres,
    outbox_sqlite,
    outbox_telling_postgres,
    outbox_telling_sqlite,
    responses_postgres,
    responses_sqlite,
)
from adapters.database.postgres import PostgresDatabase
from adapters.database.sqlite import SqliteDatabase
from adapters.database.url import PostgresTarget, SqliteTarget, parse_url
from tests.integration.test_job_store_plans import fill
from tests.support.outbox_worlds import RELAY_LEASE, OutboxWorld, outbox_world

ASKED = (
    "'{a}', '{o}', '{NULL}', '{queued}', '{9}', '{r}', '{i}', '{responses}', '{1}', '{g}', '{0}', '{NULL}', '{t}',"
    " '{f}', '{t}', '{r}', '{1}', '{k}', '{d}', '{9}', '{a}', '{0}', '{e}'"
)
STATEMENTS = {
    "accept": (
        outbox_telling_postgres.ACCEPT,
        "'a', 'o', NULL, 'q', 9, 'r', 'i', '', 1, 'g', 0, NULL, true, false, 't', 'r', '{e}', 'k', 'd', 9, '', ''",
    ),
    "accept_many": (outbox_telling_postgres.ACCEPT_MANY, f"{ASKED}, '{{a}}', '{{topic}}', '{{origin}}'"),
    "plain_accept_many": (many.ACCEPT_MANY, ASKED),
    "keyed": (many._KEYED, "'{o}', '{k}'"),
    "taken": (many._TAKEN, "'{a}'"),
    "drop_key": (many._DROP_KEY, "'o', 'k'"),
    "finish": (outbox_telling_postgres.FINISH, "'a', 1, 2, '{x}', 'completed', 'r', NULL, false, 'm', 1, 1"),
    "cancel": (outbox_telling_postgres.CANCEL, "'a', 'o', 1, 'r', 'e'"),
    "cancel_many": (
        outbox_telling_postgres.telling_cancel_sql(everybody=False, grouped=False),
        "'o', NULL, '{queued}', 10, 0",
    ),
    "gone": (outbox_telling_postgres.DELETE, "'a', 'o'"),
    "plain_gone": (responses_postgres.DELETE, "'a', 'o'"),
    "plain_sweep": (responses_postgres.SWEEP, "200, 10000"),
    "sweep": (outbox_telling_postgres.SWEEP, "200, 10000"),
    "sweep_outbox": (outbox_telling_postgres.SWEEP_OUTBOX, "'{a}'"),
    "pending": (outbox_postgres.PENDING, "'{1,2}', '{0,0}', 500, 1000000, 1000000, '{1}', '{wake:}'"),
    "sent": (outbox_postgres._DELETE, "'{1}'"),
    "again": (outbox_postgres._AGAIN, "'{a}', '{t}', '{1}'"),
}
SMALL = {"outbox_shards", "outbox_relays"}
LARGE = "outbox|job_origins|jobs|responses"
IN_ORDER = re.compile("responses_expires_at|jobs_listed")


@pytest.mark.parametrize("analyzed", [False, True])
async def test_postgresql_reads_by_indexes(postgres_url: str, analyzed: bool) -> None:
    async with outbox_world(postgres_url) as w:
        target = parse_url(postgres_url)
        assert isinstance(target, PostgresTarget)
        database = PostgresDatabase(target)
        try:
            async with database.connection() as connection:
                if analyzed:
                    await fill(w, waiting=20_000, over=20_000)
                    await connection.execute(
                        "INSERT INTO outbox (shard, kind, destination, job_id, version, created_at)"
                        " SELECT n % 16, 'result', 'result:t' || n % 3, 'resp_' || n, 0, now()"
                        " FROM generate_series(1, 20000) AS n"
                    )
                    await connection.execute("ANALYZE")
                await connection.execute("SET plan_cache_mode = force_generic_plan")
                for name, (sql, arguments) in STATEMENTS.items():
                    await connection.execute(f"PREPARE {name} AS {sql}")
                    rows = await connection.fetch(f"EXPLAIN EXECUTE {name} ({arguments})")
                    plan = "\n".join(row[0] for row in rows)
                    scanned = set(re.findall(r"Seq Scan on (\w+)", plan))
                    assert not scanned - SMALL, (name, plan)
                    assert "Bitmap" not in plan, (name, plan)
                    # An index of a large table is entered by a value, or read in order as far as a limit.
                    for line in re.findall(rf"Scan using [^\n]* on (?:{LARGE})\b[^\n]*\n[^\n]*", plan):
                        assert "Index Cond" in line or IN_ORDER.search(line), (name, line, plan)
        finally:
            await database.aclose()


async def test_sqlite_reads_by_indexes(sqlite_url: str) -> None:
    target = parse_url(sqlite_url)
    assert isinstance(target, SqliteTarget)
    database = SqliteDatabase(target)
    statements = {
        name: sql
        for module in (outbox_sqlite, outbox_telling_sqlite, responses_sqlite)
        for name, sql in vars(module).items()
        if isinstance(sql, str) and re.match(r"\s*(WITH|SELECT|UPDATE|DELETE|INSERT)", sql) and name != "CHAIN"
    }

    def plans(connection: sqlite3.Connection) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, sql in statements.items():
            names = set(re.findall(r":(\w+)", sql))
            numbered = re.findall(r"\?(\d)", sql)
            values: Any = dict.fromkeys(names, "[]") if names else [0] * (len(set(numbered)) or sql.count("?"))
            found[name] = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
        return found

    found = await database.write(plans)
    await database.aclose()
    assert {"OLDEST", "_ROW", "_STATE", "_DROP", "DELETE_KEY"} <= set(found)
    assert "SEARCH outbox USING COVERING INDEX outbox_line (shard=? AND destination=?)" in found["OLDEST"]
    for name, plan in found.items():
        small = r"SCAN (outbox_shards|outbox_relays|outbox_state|json_each|CONSTANT|line|s VIRTUAL|\(subquery)"
        whole = [step for step in plan if step.startswith("SCAN") and not re.match(small, step)]
        assert not whole or name == "_STATS", (name, plan)
        assert not [step for step in plan if "ORDER BY" in step], (name, plan)


async def fill_outbox(w: OutboxWorld, rows: int, topic: str) -> None:
    """Results of jobs that are not there, past our code."""
    numbers = (
        f"WITH RECURSIVE g (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < {rows})"
        if w.url.startswith("sqlite")
        else f"WITH g (n) AS (SELECT generate_series(1, {rows}))"
    )
    now = "1000000.0" if w.url.startswith("sqlite") else "now()"
    await w.execute(
        "INSERT INTO outbox (shard, kind, topic, destination, job_id, version, created_at)"
        f" {numbers} SELECT n % 16, 'result', '{topic}', 'result:{topic}', 'resp_{topic}_' || n, 1, {now} FROM g"
        " RETURNING 0"
    )


async def test_what_rests_costs_nothing_however_much_it_is(database_url: str) -> None:
    async with outbox_world(database_url) as w:
        held = await w.outbox.hold("all", RELAY_LEASE)

        async def best(resting: set[str]) -> float:
            taken = []
            for _ in range(10):
                begin = time.perf_counter()
                rows = await w.pending(held, 500, resting=resting)
                taken.append(time.perf_counter() - begin)
                assert [row.record.topic for row in rows] == ["team"] * 100
            return min(taken)

        await fill_outbox(w, 100, "team")
        before = await best(set())
        await fill_outbox(w, 200_000, "gone")
        # They stand before the others.
        await w.execute("DELETE FROM outbox WHERE topic = 'team' RETURNING 0")
        await fill_outbox(w, 100, "team")
        after = await best({"result:gone"})
        # By the hundredfold if it read them all.
        assert after < 4 * before + 0.01, (before, after)
