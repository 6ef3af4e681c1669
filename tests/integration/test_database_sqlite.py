"""What only the SQLite side promises: one writer with group commit, and a file that processes share."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from adapters.database.open import DatabaseOptions, open_database
from adapters.database.responses_sqlite import CHAIN, EXPIRED, SWEEP_KEYS, SqliteResponses
from adapters.database.sqlite import SqliteDatabase
from adapters.database.url import SqliteTarget, parse_url
from service.domain.stored import NewResponse, StoreError
from tests.support.parts import ROOT

INSERT_FOR_EVER = """
    import asyncio, sys
    from adapters.database.open import open_database
    from service.domain.stored import NewResponse

    async def main(url, name, count):
        database = open_database(url)
        for number in range(int(count)):
            new = NewResponse(f"{name}-{number}", "a", None, "completed", b"r" * 3000, b"", 3600.0)
            await database.responses.insert(new)
            print(new.id, flush=True)
        await database.aclose()

    asyncio.run(main(*sys.argv[1:]))
"""


def inserting(url: str, name: str, count: int) -> subprocess.Popen[str]:
    """A process that inserts and prints each id once it is stored."""
    command = [sys.executable, "-c", textwrap.dedent(INSERT_FOR_EVER), url, name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def target(url: str) -> SqliteTarget:
    found = parse_url(url)
    assert isinstance(found, SqliteTarget)
    return found


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[SqliteDatabase]:
    opened = SqliteDatabase(target(sqlite_url), seconds=1.0)
    await opened.prepare()
    yield opened
    await opened.aclose()


def response(number: int, size: int = 0) -> NewResponse:
    return NewResponse(f"resp_{number}", "a", f"resp_{number - 1}", "completed", b"r" * size, b"", 3600.0)


async def test_what_was_stored_survives_a_process_that_is_killed(sqlite_url: str) -> None:
    with inserting(sqlite_url, "killed", 100_000) as process:
        assert process.stdout is not None
        stored = [process.stdout.readline().strip() for _ in range(150)]
        process.send_signal(signal.SIGKILL)
        stored += process.stdout.read().split()
    assert process.returncode == -signal.SIGKILL
    database = open_database(sqlite_url)
    found = await asyncio.gather(*(database.responses.get("a", name) for name in stored))
    await database.aclose()
    assert len(stored) >= 150
    assert all(found)
    with closing(sqlite3.connect(target(sqlite_url).path)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_processes_that_start_together_on_no_file_all_write_and_read_it(sqlite_url: str) -> None:
    processes = [inserting(sqlite_url, f"p{number}", 60) for number in range(3)]
    database = open_database(sqlite_url)
    await asyncio.gather(*(database.responses.insert(response(number)) for number in range(60)))
    for process in processes:
        out, err = await asyncio.to_thread(process.communicate, None, 60)
        assert process.returncode == 0, err
        assert len(out.split()) == 60
    names = [f"p{process}-{number}" for process in range(3) for number in range(60)]
    names += [f"resp_{number}" for number in range(60)]
    assert all([await database.responses.get("a", name) for name in names])
    await database.aclose()


async def test_rows_that_wait_together_are_one_statement_and_one_commit(database: SqliteDatabase) -> None:
    statements: list[str] = []
    await database.write(lambda connection: connection.set_trace_callback(statements.append))
    store = SqliteResponses(database)
    await asyncio.gather(*(store.insert(response(number)) for number in range(200)))
    inserts = [statement for statement in statements if "INSERT INTO responses" in statement]
    assert 1 <= len(inserts) <= 10
    assert sum("'resp_7'" in statement for statement in inserts) == 1
    assert all([await store.get("a", f"resp_{number}") for number in range(200)])


async def test_a_taken_id_among_rows_that_wait_together_fails_alone(database: SqliteDatabase) -> None:
    store = SqliteResponses(database)
    await store.insert(response(3))
    rows = (store.insert(response(number)) for number in range(8))
    outcomes = await asyncio.gather(*rows, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [*[type(None)] * 3, ValueError, *[type(None)] * 4]
    assert all([await store.get("a", f"resp_{number}") for number in range(8)])


async def test_rows_beside_other_work_are_written_with_it(database: SqliteDatabase) -> None:
    def other(connection: sqlite3.Connection) -> int:
        return int(connection.execute("SELECT count(*) FROM responses").fetchone()[0])

    store = SqliteResponses(database)
    *_, count = await asyncio.gather(store.insert(response(1)), store.insert(response(2)), database.write(other))
    assert count == 2


async def test_a_chain_of_fifty_links_is_one_statement(sqlite_url: str) -> None:
    database = SqliteDatabase(target(sqlite_url), readers=1)
    store = SqliteResponses(database)
    for number in range(50):
        await store.insert(response(number))
    statements: list[str] = []
    await database.read(lambda connection: connection.set_trace_callback(statements.append))
    chain = await store.chain("a", "resp_49", max_depth=200, max_bytes=2**20)
    assert len(chain.links) == 50
    assert len(statements) == 1
    await database.aclose()


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
async def test_what_must_outlive_a_power_failure_is_synced(
    database: SqliteDatabase, durable: bool, level: int
) -> None:
    for expected in (durable, not durable, durable):
        await database.write(lambda connection: None, durable=expected)
    found = await database.write(
        lambda connection: connection.execute("PRAGMA synchronous").fetchone()[0], durable=durable
    )
    assert found == level


async def test_work_that_fails_is_undone_and_its_neighbours_are_not(database: SqliteDatabase) -> None:
    def add(name: str, *, fail: bool) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO notes VALUES (?)", (name,))
            if fail:
                raise KeyError(name)

        jobs.append(asyncio.ensure_future(database.write(work)))

    await database.write(lambda connection: connection.execute("CREATE TABLE notes (name TEXT)"))
    jobs: list[asyncio.Future[None]] = []
    for number in range(30):
        add(str(number), fail=number % 3 == 0)
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    assert [isinstance(outcome, KeyError) for outcome in outcomes] == [number % 3 == 0 for number in range(30)]
    rows = await database.read(lambda connection: connection.execute("SELECT name FROM notes").fetchall())
    assert {row[0] for row in rows} == {str(number) for number in range(30) if number % 3}


async def test_work_whose_caller_left_before_its_turn_is_not_done(database: SqliteDatabase) -> None:
    await database.write(lambda connection: connection.execute("CREATE TABLE notes (name TEXT)"))
    slow = asyncio.ensure_future(database.write(lambda connection: time.sleep(0.2)))
    await asyncio.sleep(0.05)
    left = asyncio.ensure_future(
        database.write(lambda connection: connection.execute("INSERT INTO notes VALUES ('x')"))
    )
    await asyncio.sleep(0)
    left.cancel()
    await slow
    assert await database.write(lambda connection: connection.execute("SELECT * FROM notes").fetchall()) == []


async def test_a_full_disk_is_told_and_what_came_before_stays(database: SqliteDatabase) -> None:
    store = SqliteResponses(database)
    await store.insert(response(1))
    await database.write(lambda connection: connection.execute("PRAGMA max_page_count = 40").fetchone())
    with pytest.raises(StoreError, match=r"the disk is full \(SQLITE_FULL\)"):
        await store.insert(response(2, size=500_000))
    outcomes = await asyncio.gather(
        *(store.insert(response(number, size=500_000)) for number in range(3, 6)), return_exceptions=True
    )
    assert all(isinstance(outcome, StoreError) and "the disk is full" in str(outcome) for outcome in outcomes)
    assert await store.get("a", "resp_1") is not None
    assert await store.get("a", "resp_2") is None
    await store.insert(response(6))


async def test_a_lock_that_another_process_keeps_is_told_in_time(
    database: SqliteDatabase, sqlite_url: str
) -> None:
    store = SqliteResponses(database)
    with closing(sqlite3.connect(target(sqlite_url).path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        before = time.monotonic()
        with pytest.raises(StoreError, match="another process held its lock"):
            await store.insert(response(1))
        assert time.monotonic() - before < 2
        # Who reads waits for nobody.
        assert await store.get("a", "resp_1") is None
        other.execute("ROLLBACK")
    await store.insert(response(1))


async def test_a_file_that_can_not_be_written_is_told(database: SqliteDatabase) -> None:
    await database.write(lambda connection: connection.execute("PRAGMA query_only = ON"))
    with pytest.raises(StoreError, match="it can't be written"):
        await SqliteResponses(database).insert(response(1))


async def test_a_reader_can_not_write(database: SqliteDatabase) -> None:
    with pytest.raises(StoreError, match="it can't be written"):
        await database.read(lambda connection: connection.execute("DELETE FROM responses"))


async def test_a_folder_that_can_not_be_made_is_told_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    database = open_database(f"sqlite:///{tmp_path}/taken/eurouter.db")
    with pytest.raises(StoreError, match=r"name one in a folder that this user may write, with database\.url"):
        await database.responses.get("a", "resp_1")
    await database.aclose()


async def test_a_file_of_another_kind_is_told_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "letter.db"
    file.write_text("Dear Sir or Madam, " * 500)
    database = open_database(f"sqlite:///{file}")
    with pytest.raises(StoreError, match="the file is no SQLite database"):
        await database.responses.get("a", "resp_1")
    await database.aclose()
    assert file.read_text().startswith("Dear Sir")


async def test_a_folder_that_appears_later_is_used_then(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    database = open_database(f"sqlite:///{tmp_path}/state/eurouter.db")
    with pytest.raises(StoreError):
        await database.responses.insert(response(1))
    (tmp_path / "state").unlink()
    await asyncio.sleep(1.1)
    await database.responses.insert(response(1))
    await database.aclose()


async def test_only_the_user_may_read_the_file(database: SqliteDatabase, sqlite_url: str) -> None:
    path = target(sqlite_url).path
    await SqliteResponses(database).insert(response(1))
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
    assert path.parent.stat().st_mode & 0o077 == 0


async def test_time_is_the_given_clocks(sqlite_url: str) -> None:
    now = [1000.0]
    database = open_database(sqlite_url, DatabaseOptions(), clock=lambda: now[0])
    await database.responses.insert(response(1))
    now[0] += 3599.0
    assert await database.responses.get("a", "resp_1") is not None
    now[0] += 1.0
    assert await database.responses.get("a", "resp_1") is None
    assert await database.responses.sweep(10) == 1
    await database.aclose()


async def test_sweep_and_chain_use_indexes(database: SqliteDatabase) -> None:
    values = {"id": "resp_1", "owner": "a", "now": 0.0, "max_depth": 9, "max_bytes": 999}

    def plan(connection: sqlite3.Connection, sql: str, arguments: object) -> list[str]:
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", arguments)]  # type: ignore[arg-type]

    sweep = await database.read(lambda connection: plan(connection, EXPIRED, (0.0, 100)))
    assert sweep == [
        "SEARCH r USING INDEX responses_expires_at (expires_at<?)",
        "SEARCH j USING INDEX sqlite_autoindex_jobs_1 (id=?) LEFT-JOIN",
    ]
    keys = await database.write(lambda connection: plan(connection, SWEEP_KEYS, (0.0, 100)))
    assert "SEARCH idempotency USING INDEX idempotency_expires_at (expires_at<?)" in keys
    assert not [step for step in keys if step.startswith("SCAN")]
    chain = await database.read(lambda connection: plan(connection, CHAIN, values))
    assert not [step for step in chain if step.startswith("SCAN") and step != "SCAN link"]


async def test_work_in_a_loop_that_ended_does_not_stop_the_writer(sqlite_url: str) -> None:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(ENDS_EARLY), sqlite_url]
    ran = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=30, env={**os.environ}
    )
    assert (ran.returncode, ran.stderr) == (0, "")


ENDS_EARLY = """
    import asyncio, sys, time
    from adapters.database.sqlite import SqliteDatabase
    from adapters.database.url import parse_url

    async def main():
        database = SqliteDatabase(parse_url(sys.argv[1]))
        await database.prepare()
        asyncio.ensure_future(database.write(lambda connection: time.sleep(0.3)))
        await asyncio.sleep(0.1)

    asyncio.run(main())
    time.sleep(0.5)
"""
