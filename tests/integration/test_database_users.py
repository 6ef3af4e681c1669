"""Two users of one database, as docs/kubernetes/configure.md makes them: one migrates, the other does the rest."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from adapters.database.migrate import migrate
from adapters.database.open import DatabaseOptions, open_database
from adapters.database.url import parse_url
from service.domain.stored import StoreError
from tests.support.job_worlds import world, write
from tests.support.parts import ROOT

USERS = {"eurouter_owner": "CHOOSE-ONE", "eurouter_pods": "CHOOSE-ANOTHER"}


def statements() -> str:
    page = (ROOT / "docs/kubernetes/configure.md").read_text(encoding="utf-8")
    (found,) = (part.partition("```")[0] for part in page.split("```sql\n")[1:])
    assert all(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'" in found for user, password in USERS.items())
    return found


def as_user(url: str, user: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{USERS[user]}@{parts.hostname}:{parts.port}"))


async def drop(admin: asyncpg.Connection[asyncpg.Record]) -> None:
    for user in USERS:
        if await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", user):
            await admin.execute(f"DROP OWNED BY {user}")
            await admin.execute(f"DROP ROLE {user}")


@pytest.mark.slow  # roles are the whole server's, on which other tests run at the same time
async def test_what_one_user_migrates_another_works_with_and_can_not_change(postgres_url: str) -> None:
    admin = await asyncpg.connect(postgres_url)
    try:
        await drop(admin)
        await admin.execute(statements())
        mine, theirs = (as_user(postgres_url, user) for user in USERS)
        early = open_database(theirs, DatabaseOptions(auto_migrate=False))
        with pytest.raises(StoreError, match=r"run `?eurouter db migrate"):
            await early.prepare()
        await early.aclose()
        assert await asyncio.to_thread(migrate, parse_url(mine)) is None
        async with world(theirs) as w:
            await w.accept()
            job = await w.claim_one()
            assert not await w.store.append([write(job, b"{}")])
            assert await w.bodies(job.id) == [b"created", b"queued", b"{}"]
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await w.execute("CREATE TABLE more (id int)")
    finally:
        await drop(admin)
        await admin.close()
