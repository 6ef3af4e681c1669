"""A database that a later version migrated: who may use it, and what the commands of this version say of it."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from adapters.database import migrate as migrations
from adapters.database.open import DatabaseOptions, open_database
from adapters.database.revisions import HEAD, REVISIONS, SchemaState, TooNewError, state_of
from adapters.database.url import parse_url
from service import cli
from service.domain.stored import NewResponse
from tests.support import postgres
from tests.upgrades.next_release import migrate_to

Capture = pytest.CaptureFixture[str]
NEW = NewResponse("resp_1", "a", None, "completed", b"r", b"i", 3600.0)


async def stored(url: str, **options: bool) -> bool:
    """Whether a process that starts now can store a response and read it."""
    database = open_database(url, DatabaseOptions(**options))
    try:
        await database.prepare()
        await database.responses.insert(NEW)
        return await database.responses.get("a", NEW.id) is not None
    finally:
        await database.aclose()


async def expanded(url: str) -> None:
    await asyncio.to_thread(migrations.migrate, parse_url(url))
    await asyncio.to_thread(migrate_to, parse_url(url), "next_expands")


def test_only_what_a_newer_version_says_makes_its_schema_usable() -> None:
    assert state_of(HEAD, None) is SchemaState.CURRENT
    assert state_of("9999", None) is SchemaState.NEWER
    assert state_of("9999", "9998") is SchemaState.NEWER
    assert {state_of("9999", known) for known in REVISIONS} == {SchemaState.COMPATIBLE}
    assert state_of(REVISIONS[0], "9999") is SchemaState.BEHIND
    assert state_of(None, HEAD) is SchemaState.EMPTY


@pytest.mark.parametrize("auto_migrate", [True, False])
async def test_a_process_starts_on_a_newer_schema_that_it_can_work_with(
    database_url: str, auto_migrate: bool
) -> None:
    await expanded(database_url)
    assert await stored(database_url, auto_migrate=auto_migrate)
    found = await asyncio.to_thread(migrations.status, parse_url(database_url))
    assert found == migrations.Status("next_expands", 0, HEAD)


async def test_a_process_that_runs_goes_on_while_the_next_version_migrates(database_url: str) -> None:
    database = open_database(database_url)
    await database.prepare()
    await expanded(database_url)
    await database.responses.insert(NEW)
    assert await database.responses.get("a", NEW.id) is not None
    await database.aclose()


async def test_a_schema_that_was_contracted_is_refused_with_what_to_run(database_url: str) -> None:
    await expanded(database_url)
    await asyncio.to_thread(migrate_to, parse_url(database_url), "next_contracts")
    with pytest.raises(
        TooNewError, match=r"next_contracts, which this version .* run the version that migrated it"
    ):
        await stored(database_url)


def test_the_commands_say_whether_a_newer_schema_can_be_worked_with(database_url: str, capsys: Capture) -> None:
    env = {"EUROUTER_DATABASE__URL": database_url}
    asyncio.run(expanded(database_url))
    name = parse_url(database_url).name
    sentence = f"revision next_expands, made by a newer version; this one ({HEAD}) can work with it\n"
    assert cli.main(["db", "migrate"], env) == 0
    assert capsys.readouterr().out == f"{name}: nothing to do: {sentence}"
    assert cli.main(["db", "migrate", "--wait"], env) == 0
    assert capsys.readouterr().out == f"{name}: nothing to do: {sentence}"
    assert cli.main(["db", "status"], env) == 0
    assert capsys.readouterr().out == (
        f"database: {name}\nschema:   {sentence}expired:  0 responses not removed yet\n"
    )
    migrate_to(parse_url(database_url), "next_contracts")
    assert cli.main(["db", "migrate"], env) == 1
    assert "can't work with: run the version that migrated it, or a newer one" in capsys.readouterr().err
    assert cli.main(["db", "status"], env) == 1
    assert "can't be used by it: use a newer version" in capsys.readouterr().out
    assert migrations.status(parse_url(database_url)).revision == "next_contracts"


async def test_a_user_who_may_only_read_and_write_the_rows_of_today_can_use_the_schema_of_tomorrow(
    postgres_url: str,
) -> None:
    await asyncio.to_thread(migrations.migrate, parse_url(postgres_url))
    name = f"{urlsplit(postgres_url).path[1:]}_rows"
    for sql in (
        f"CREATE ROLE {name} LOGIN PASSWORD '{postgres.PASSWORD}'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}",
    ):
        await postgres.statement(postgres_url, sql)
    await asyncio.to_thread(migrate_to, parse_url(postgres_url), "next_expands")
    parts = urlsplit(postgres_url)
    url = urlunsplit(parts._replace(netloc=f"{name}:{postgres.PASSWORD}@{parts.hostname}:{parts.port}"))
    try:
        assert await stored(url, auto_migrate=False)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await postgres.statement(url, "CREATE TABLE mine (a int)")
    finally:
        await postgres.statement(postgres_url, f"DROP OWNED BY {name}; DROP ROLE {name}")
