"""Migrations on both databases, and the commands that run them."""

import asyncio
from urllib.parse import urlsplit, urlunsplit

import pytest
from sqlalchemy import Connection

from adapters.database import migrate as migrations
from adapters.database.open import DatabaseOptions, open_database
from adapters.database.revisions import (
    COMPATIBLE_TABLE,
    HEAD,
    REVISIONS,
    VERSION_TABLE,
    SchemaError,
    SchemaState,
    TooNewError,
)
from adapters.database.url import SqliteTarget, parse_url
from service import cli
from service.domain.stored import NewResponse
from tests.support import postgres
from tests.support.schemas import execute, make_too_new

Capture = pytest.CaptureFixture[str]
TABLES = [
    *("eurouter_version", "idempotency", "job_origins", "job_requests", "jobs"),
    *("outbox", "outbox_relays", "outbox_shards", "outbox_state", "response_events", "responses"),
    "usage_records",
]
NEW = NewResponse("resp_1", "a", None, "completed", b"r", b"i", 3600.0)


def look(url: str) -> list[object]:
    """What alembic would change to make the database what `schema` says; and the tables that are there.

    Without the one that migrations keep for themselves since the first of them that older code can live with.
    """
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from sqlalchemy import inspect

    from adapters.database.schema import METADATA

    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": VERSION_TABLE,
                "compare_type": True,
                "include_name": lambda name, kind, _: (kind, name) != ("table", COMPATIBLE_TABLE),
            },
        )
        tables = set(inspect(connection).get_table_names()) - {COMPATIBLE_TABLE}
        return [*compare_metadata(context, METADATA), *sorted(tables)]

    target = parse_url(url)
    if isinstance(target, SqliteTarget):
        return migrations._on_sqlite(target, compare, write=False)
    return migrations._on_postgres(target, compare, 5.0, write=False)


def test_every_revision_of_the_scripts_is_known_in_order() -> None:
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(migrations._FOLDER))
    assert scripts.get_heads() == [HEAD]
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == REVISIONS


def test_an_empty_database_becomes_what_the_schema_says(database_url: str) -> None:
    assert migrations.status(parse_url(database_url)).state is SchemaState.EMPTY
    assert migrations.migrate(parse_url(database_url)) is None
    assert look(database_url) == TABLES
    assert migrations.status(parse_url(database_url)) == migrations.Status(HEAD, 0)


async def test_an_up_to_date_database_keeps_what_it_holds(database_url: str) -> None:
    database = open_database(database_url)
    await database.responses.insert(NEW)
    await database.aclose()
    assert await asyncio.to_thread(migrations.migrate, parse_url(database_url)) == HEAD
    again = open_database(database_url)
    await again.prepare()
    assert await again.responses.get("a", "resp_1") is not None
    await again.aclose()


async def test_many_that_migrate_at_once_all_succeed_and_one_does_the_work(database_url: str) -> None:
    target = parse_url(database_url)
    befores = await asyncio.gather(*(asyncio.to_thread(migrations.migrate, target) for _ in range(5)))
    assert sorted(str(before) for before in befores) == [HEAD] * 4 + ["None"]


async def test_services_that_start_together_on_an_empty_database_all_work(database_url: str) -> None:
    databases = [open_database(database_url) for _ in range(4)]
    await asyncio.gather(*(database.prepare() for database in databases))
    await databases[0].responses.insert(NEW)
    assert all([await database.responses.get("a", "resp_1") for database in databases])
    for database in databases:
        await database.aclose()


async def test_a_newer_schema_is_refused_and_left_as_it_is(database_url: str) -> None:
    await asyncio.to_thread(migrations.migrate, parse_url(database_url))
    await asyncio.to_thread(make_too_new, database_url)
    database = open_database(database_url)
    for _ in range(2):
        with pytest.raises(TooNewError, match=f"revision 9999, which this version does not know .*{HEAD}"):
            await database.responses.insert(NEW)
    await database.aclose()
    with pytest.raises(TooNewError, match="9999"):
        await asyncio.to_thread(migrations.migrate, parse_url(database_url))
    found = await asyncio.to_thread(migrations.status, parse_url(database_url))
    assert (found.revision, found.state) == ("9999", SchemaState.NEWER)


async def test_without_auto_migrate_the_command_is_named_and_then_it_works(database_url: str) -> None:
    database = open_database(database_url, DatabaseOptions(auto_migrate=False))
    with pytest.raises(SchemaError, match="has no schema yet: run `eurouter db migrate`") as told:
        await database.responses.insert(NEW)
    assert not isinstance(told.value, TooNewError)
    await asyncio.to_thread(migrations.migrate, parse_url(database_url))
    await asyncio.sleep(1.1)
    await database.responses.insert(NEW)
    await database.aclose()


async def test_a_foreign_table_of_the_same_name_is_not_touched(database_url: str) -> None:
    target = parse_url(database_url)
    if isinstance(target, SqliteTarget):
        target.path.parent.mkdir()
    execute(database_url, "CREATE TABLE responses (poem TEXT)")
    database = open_database(database_url)
    with pytest.raises(Exception, match="already exists") as caught:
        await database.prepare()
    assert postgres.PASSWORD not in str(caught.value)
    await database.aclose()
    execute(database_url, "INSERT INTO responses (poem) VALUES ('still here')")


def test_the_commands_migrate_and_tell(database_url: str, capsys: Capture) -> None:
    env = {"EUROUTER_DATABASE__URL": "env:DB_URL", "DB_URL": database_url}
    name = parse_url(database_url).name
    assert cli.main(["db", "status"], env) == 1
    assert capsys.readouterr().out == (
        f"database: {name}\nschema:   none yet; the service's next start or `eurouter db migrate` makes it\n"
    )
    assert cli.main(["db", "migrate"], env) == 0
    assert capsys.readouterr().out == f"{name}: the schema is up to date (revision {HEAD}, before: none)\n"
    assert cli.main(["db", "migrate"], env) == 0
    assert capsys.readouterr().out == f"{name}: the schema was up to date (revision {HEAD})\n"
    columns = "(id, owner, status, created_at, expires_at, response, input)"
    when = "0, 0" if name.startswith("sqlite") else "now(), now()"
    execute(database_url, f"INSERT INTO responses {columns} VALUES ('x', 'a', 'completed', {when}, '', '')")
    assert cli.main(["db", "status"], env) == 0
    assert capsys.readouterr().out == (
        f"database: {name}\nschema:   revision {HEAD}, up to date\nexpired:  1 response not removed yet\n"
    )


def test_the_commands_tell_what_is_wrong_without_the_password(
    postgres_server: postgres.Postgres, capsys: Capture
) -> None:
    nowhere = f"postgresql://eurouter:{postgres.PASSWORD}@127.0.0.1:1/x"
    missing = urlunsplit(urlsplit(postgres_server.url)._replace(path="/missing"))
    for command in ("migrate", "status"):
        for url, said in ((nowhere, "can't be reached"), (missing, 'database "missing" does not exist')):
            assert cli.main(["db", command], {"EUROUTER_DATABASE__URL": url}) == 1
            printed = capsys.readouterr()
            assert said in printed.err
            assert printed.out == ""
            assert postgres.PASSWORD not in printed.err
            assert "Traceback" not in printed.err


def test_rows_of_the_outbox_learn_where_they_go_and_origins_of_nothing_go(database_url: str) -> None:
    from alembic import command
    from alembic.config import Config

    def to_0005(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(migrations._FOLDER))
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")

    def read(connection: Connection) -> tuple[list[str], list[str], list[object]]:
        found = [
            [row[0] for row in connection.exec_driver_sql(sql)]
            for sql in (
                "SELECT destination FROM outbox ORDER BY id",
                "SELECT id FROM job_origins",
                "SELECT until FROM outbox_state",
            )
        ]
        return found[0], found[1], found[2]

    target = parse_url(database_url)
    sqlite = isinstance(target, SqliteTarget)
    when = "0" if sqlite else "now()"
    if isinstance(target, SqliteTarget):
        migrations._on_sqlite(target, to_0005, write=True)
    else:
        migrations._on_postgres(target, to_0005, 5.0, write=True)
    rows = ["'wake', NULL", "'result', NULL", "'result', 't'", "'tombstone', 't'", "'tombstone', NULL"]
    for row in [*rows, "'dead_letter', NULL"]:
        execute(
            database_url,
            f"INSERT INTO outbox (shard, kind, topic, version, created_at) VALUES (1, {row}, 0, {when})",
        )
    execute(
        database_url,
        "INSERT INTO responses (id, owner, status, created_at, expires_at, response, input)"
        f" VALUES ('here', 'a', 'completed', {when}, {when}, '', '')",
    )
    execute(database_url, "INSERT INTO job_origins (id, body) VALUES ('here', ''), ('gone', '')")
    assert migrations.migrate(target) == "0005"
    found = (
        migrations._on_sqlite(target, read, write=False)
        if isinstance(target, SqliteTarget)
        else migrations._on_postgres(target, read, 5.0, write=False)
    )
    assert found == (
        ["wake:", "result:", "result:t", "result:t", "result:", "dead_letter:"],
        ["here"],
        [None],
    )
