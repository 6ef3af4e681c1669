"""What publishes, and what tells of it, reads by indexes, whatever the tables hold."""

import re
import sqlite3
from typing import Any

import pytest

from adapters.database import accept_many_postgres as many
from adapters.database import outbox_postgres, outbox_sqlite, outbox_telling_postgres, outbox_telling_sqlite
from adapters.database.postgres import PostgresDatabase
from adapters.database.sqlite import SqliteDatabase
from adapters.database.url import PostgresTarget, SqliteTarget, parse_url
from tests.integration.test_job_store_plans import fill
from tests.support.outbox_worlds import outbox_world

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
                        "INSERT INTO outbox (shard, kind, job_id, version, created_at)"
                        " SELECT n % 16, 'result', 'resp_' || n, 0, now() FROM generate_series(1, 20000) AS n"
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
        for module in (outbox_sqlite, outbox_telling_sqlite)
        for name, sql in vars(module).items()
        if isinstance(sql, str) and re.match(r"\s*(SELECT|UPDATE|DELETE|INSERT)", sql)
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
    assert "SEARCH outbox USING INDEX outbox_shard (shard=?)" in found["OLDEST"]
    for name, plan in found.items():
        small = r"SCAN (outbox_shards|outbox_relays|json_each|CONSTANT)"
        whole = [step for step in plan if step.startswith("SCAN") and not re.match(small, step)]
        assert not whole or name == "_STATS", (name, plan)
        assert not [step for step in plan if "ORDER BY" in step], (name, plan)
