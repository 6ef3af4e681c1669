"""What only the PostgreSQL side promises: a server that is down, slow, full or gone for a while."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from adapters.database.open import Database, DatabaseOptions, open_database
from adapters.database.postgres import PostgresDatabase
from adapters.database.responses_postgres import CHAIN, SWEEP, PostgresResponses
from adapters.database.sweep import READY, run_sweep
from adapters.database.url import PostgresTarget, parse_url
from service.domain.stored import NewResponse, StoreError
from tests.support import parts, postgres

Open: TypeAlias = Callable[..., Database]

QUICK = DatabaseOptions(connect_seconds=0.5, seconds=1.0)


def target(url: str) -> PostgresTarget:
    found = parse_url(url)
    assert isinstance(found, PostgresTarget)
    return found


def response(number: int) -> NewResponse:
    return NewResponse(f"resp_{number}", "a", f"resp_{number - 1}", "completed", b"r", b"", 3600.0)


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    opened = PostgresDatabase(target(postgres_url), pool_size=1, connect_seconds=2.0, seconds=1.0)
    await opened.prepare()
    yield opened
    await opened.aclose()


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """`open_database`; closes what it opened, however the test ends."""
    databases: list[Database] = []

    def open_one(*arguments: Any) -> Database:
        databases.append(open_database(*arguments))
        return databases[-1]

    yield open_one
    for database in databases:
        await database.aclose()


def without_secrets(error: BaseException) -> str:
    text = f"{error} {error!r}"
    assert postgres.PASSWORD not in text
    assert "eurouter:" not in text
    return text


async def test_a_server_that_comes_later_is_used_then(own_postgres: postgres.Postgres, opened: Open) -> None:
    url = own_postgres.database()
    own_postgres.stop()
    database = opened(url, QUICK)
    with pytest.raises(StoreError, match="can't be reached") as caught:
        await database.responses.insert(response(1))
    without_secrets(caught.value)
    own_postgres.start()
    await asyncio.sleep(1.1)
    await database.prepare()
    await database.responses.insert(response(1))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_a_server_that_goes_and_comes_back_is_used_again(
    own_postgres: postgres.Postgres, opened: Open, how: signal.Signals
) -> None:
    database = opened(own_postgres.database(), QUICK)
    await database.prepare()
    await asyncio.gather(*(database.responses.insert(response(number)) for number in range(20)))
    under_way = [asyncio.ensure_future(database.responses.get("a", f"resp_{number}")) for number in range(20)]
    await asyncio.to_thread(own_postgres.stop, how)
    outcomes = await asyncio.gather(*under_way, return_exceptions=True)
    assert all(not isinstance(outcome, BaseException) or isinstance(outcome, StoreError) for outcome in outcomes)
    for _ in range(3):
        with pytest.raises(StoreError) as caught:
            await database.responses.insert(response(100))
        without_secrets(caught.value)
    await asyncio.to_thread(own_postgres.start)
    await asyncio.sleep(1.1)
    assert await database.responses.get("a", "resp_19") is not None
    await database.responses.insert(response(100))


async def test_the_sweeper_tells_with_each_try_why_a_server_can_not_be_used_and_once_that_it_is_there(
    own_postgres: postgres.Postgres, opened: Open
) -> None:
    url = own_postgres.database()
    own_postgres.stop()
    database = opened(url, QUICK)
    told: list[str] = []
    heard: list[StoreError | None] = []
    sweeping = asyncio.ensure_future(
        run_sweep(database, 0.2, report=lambda event, _values: told.append(event), heard=heard.append)
    )

    async def hears(*, works: bool) -> None:
        since = len(heard)
        async with asyncio.timeout(15):
            while not any((error is None) is works for error in heard[since:]):
                await asyncio.sleep(0.05)

    await hears(works=False)
    await hears(works=False)
    assert all(error is not None for error in heard)
    assert told == []
    for _ in range(2):
        await asyncio.to_thread(own_postgres.start)
        await hears(works=True)
        await asyncio.to_thread(own_postgres.stop)
        await hears(works=False)
    assert told == [READY], "what comes and goes later is a condition"
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)


def tried(silent: socket.socket) -> int:
    """Connections that were made to a listener since it listens."""
    silent.setblocking(False)
    made = 0
    while True:
        try:
            silent.accept()[0].close()
        except BlockingIOError:
            return made
        made += 1


async def test_a_server_that_never_answers_holds_nobody_longer_than_one_attempt(opened: Open) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(100)
        port = silent.getsockname()[1]
        url = f"postgresql://eurouter:{postgres.PASSWORD}@127.0.0.1:{port}/x?sslmode=disable"
        database = opened(url, DatabaseOptions(pool_size=2, connect_seconds=0.5, seconds=5.0))
        outcomes = await asyncio.gather(
            *(database.responses.get("a", "resp_1") for _ in range(50)), return_exceptions=True
        )
        assert all(isinstance(outcome, StoreError) for outcome in outcomes)
        assert isinstance(outcomes[0], StoreError)
        assert "no answer in time" in without_secrets(outcomes[0])
        assert tried(silent) == 1, "all wait for one attempt"


async def test_a_full_pool_waits_for_no_place_once_the_server_is_gone(
    own_postgres: postgres.Postgres, opened: Open
) -> None:
    options = DatabaseOptions(pool_size=2, connect_seconds=1.0, seconds=5.0)
    database = opened(own_postgres.database(), options)
    await database.responses.insert(response(1))
    own_postgres.stop()
    outcomes = await asyncio.gather(
        *(database.responses.insert(response(number)) for number in range(100)), return_exceptions=True
    )
    assert all(isinstance(outcome, StoreError) for outcome in outcomes)
    assert not [outcome for outcome in outcomes if "connections are in use" in str(outcome)]


async def test_a_wrong_password_is_told_without_it(postgres_server: postgres.Postgres, opened: Open) -> None:
    # Another server may let everybody in.
    parts.require("a private PostgreSQL", postgres_server.private, postgres.HOW)
    url = urlsplit(postgres_server.url)
    wrong = urlunsplit(url._replace(netloc=f"eurouter:wrong-{postgres.PASSWORD}@{url.hostname}:{url.port}"))
    database = opened(wrong)
    with pytest.raises(StoreError, match="it refused the login") as caught:
        await database.responses.get("a", "resp_1")
    without_secrets(caught.value)
    assert postgres.PASSWORD not in repr(parse_url(wrong))


async def test_a_database_that_is_not_there_is_told_by_name(
    postgres_server: postgres.Postgres, opened: Open
) -> None:
    database = opened(urlunsplit(urlsplit(postgres_server.url)._replace(path="/nowhere")))
    with pytest.raises(StoreError, match='database "nowhere" does not exist') as caught:
        await database.responses.get("a", "resp_1")
    without_secrets(caught.value)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ("sslmode=perhaps", "check the others"),
        ("sslmode=verify-full", "needs sslrootcert=FILE"),
        ("sslmode=verify-full&sslrootcert=/nowhere/ca.pem", "what sslrootcert, sslcert"),
    ],
)
async def test_parameters_that_can_not_be_used_are_told(
    postgres_url: str, opened: Open, monkeypatch: pytest.MonkeyPatch, parameters: str, told: str
) -> None:
    # As in the image, whose user has no home in which the driver could look.
    monkeypatch.setenv("HOME", "/nonexistent")
    database = opened(f"{postgres_url}?{parameters}")
    with pytest.raises(StoreError, match=told) as caught:
        await database.responses.get("a", "resp_1")
    without_secrets(caught.value)


async def test_a_server_without_tls_is_refused_where_tls_is_asked_for(postgres_url: str, opened: Open) -> None:
    database = opened(f"{postgres_url}?sslmode=require")
    with pytest.raises(StoreError) as caught:
        await database.responses.get("a", "resp_1")
    without_secrets(caught.value)


async def test_a_statement_that_takes_too_long_is_ended_by_the_server(
    database: PostgresDatabase, postgres_url: str
) -> None:
    store = PostgresResponses(database)
    locker = await asyncpg.connect(postgres_url)
    transaction = locker.transaction()
    await transaction.start()
    await locker.execute("LOCK TABLE responses IN ACCESS EXCLUSIVE MODE")
    with pytest.raises(StoreError, match="statement timeout"):
        await store.insert(response(1))
    await transaction.rollback()
    await store.insert(response(1))
    await locker.close()


async def test_a_pool_whose_connections_are_all_in_use_says_so(database: PostgresDatabase) -> None:
    async with database.connection():
        with pytest.raises(StoreError, match=r"all 1 connections are in use for 1 s: see database\.pool_size"):
            await database.fetch("SELECT 1")
    assert await database.fetch("SELECT 1")


async def test_a_caller_that_leaves_gives_its_connection_back(database: PostgresDatabase) -> None:
    for _ in range(5):
        leaving = asyncio.ensure_future(database.fetch("SELECT pg_sleep(0.5)"))
        await asyncio.sleep(0.05)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    assert [tuple(row) for row in await database.fetch("SELECT 1")] == [(1,)]


async def test_an_error_never_repeats_values(database: PostgresDatabase) -> None:
    for sql, argument in (
        ("SELECT $1::text::uuid", "private words"),
        ("INSERT INTO responses (id, owner) VALUES ($1, 'private words')", "private words"),
        ("SELECT $1::int", "private words"),
    ):
        with pytest.raises(StoreError) as caught:
            await database.fetch(sql, argument)
        assert "private" not in str(caught.value)


async def test_a_transaction_is_undone_as_a_whole(database: PostgresDatabase) -> None:
    store = PostgresResponses(database)
    with pytest.raises(StoreError):
        async with database.connection() as connection, connection.transaction():
            await connection.execute("DELETE FROM responses")
            await connection.execute("SELECT 1/0")
    await store.insert(response(1))
    assert await store.get("a", "resp_1") is not None


async def test_a_chain_of_fifty_links_is_one_statement(database: PostgresDatabase) -> None:
    store = PostgresResponses(database)
    for number in range(50):
        await store.insert(response(number))
    statements: list[str] = []
    async with database.connection() as connection:
        connection.add_query_logger(lambda record: statements.append(record.query))
    chain = await store.chain("a", "resp_49", max_depth=200, max_bytes=2**20)
    assert len(chain.links) == 50
    assert statements == [CHAIN]


async def test_a_call_is_one_statement_and_one_that_removes_much_a_transaction(database: PostgresDatabase) -> None:
    store = PostgresResponses(database)
    await store.insert(response(0))
    statements: list[str] = []
    async with database.connection() as connection:
        connection.add_query_logger(lambda record: statements.append(record.query))
    await store.insert(response(1))
    await store.get("a", "resp_1")
    assert len(statements) == 2
    await store.delete("a", "resp_1")
    assert [statement.strip(";") for statement in statements[2::3]] == ["BEGIN", "COMMIT"]
    assert len(statements) == 6


async def test_sweep_and_chain_use_indexes_in_a_large_table(database: PostgresDatabase) -> None:
    async with database.connection() as connection:
        await connection.execute("""
            INSERT INTO responses SELECT 'resp_' || n, 'a', 'resp_' || n - 1, 'completed', now(),
              now() + make_interval(secs => n - 500), 'r', 'i' FROM generate_series(1, 50000) AS n
        """)
        await connection.execute("ANALYZE responses")
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE sweep (bigint, bigint) AS {SWEEP}")
        await connection.execute(f"PREPARE chain (text, text, int, bigint) AS {CHAIN}")
        sweep = "\n".join(row[0] for row in await connection.fetch("EXPLAIN EXECUTE sweep (200, 10000)"))
        chain = "\n".join(row[0] for row in await connection.fetch("EXPLAIN EXECUTE chain ('resp_9', 'a', 9, 99)"))
        await connection.execute("RESET plan_cache_mode")
    assert "Index Scan using responses_expires_at on responses" in sweep
    assert "Index Scan using responses_pkey on responses" in sweep
    assert "Index Scan using responses_pkey on responses" in chain
    assert "Seq Scan" not in sweep + chain
    store = PostgresResponses(database)
    assert [await store.sweep(300), await store.sweep(300)] == [300, 200]


async def test_a_sweep_passes_over_rows_that_another_one_holds(
    database: PostgresDatabase, postgres_url: str
) -> None:
    store = PostgresResponses(database)
    for number in range(4):
        await store.insert(NewResponse(f"resp_{number}", "a", None, "completed", b"", b"", -1.0))
    other = await asyncpg.connect(postgres_url)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT FROM responses WHERE id IN ('resp_0', 'resp_1') FOR UPDATE")
    assert await store.sweep(10) == 2
    await transaction.rollback()
    await other.close()
    assert await store.sweep(10) == 2
