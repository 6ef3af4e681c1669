"""What a process that waits does with its database, its log and a signal, in this process and quickly."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog
from structlog.testing import capture_logs

from adapters.database.migrate import _LOCK_KEY
from service.conditions import Conditions, Part
from service.edge.http_server import HttpOptions
from service.settings import Settings
from service.waiting import Needs, There, wait_for_needs

AGAIN = 0.02


@pytest.fixture(autouse=True)
def defaults() -> None:
    structlog.reset_defaults()


class Waits:
    """A wait that is under way, to be stopped."""

    def __init__(self, settings: dict[str, Any], conditions: Conditions, config: Path | None = None) -> None:
        self.conditions = conditions
        self._needs = Needs(config, {}, lambda _settings: HttpOptions(port=0))
        self.stop = asyncio.Event()
        self._task = asyncio.ensure_future(self._wait(Settings.model_validate(settings)))

    async def _wait(self, settings: Settings) -> There | None:
        async with AsyncExitStack() as stack:
            return await wait_for_needs(stack, settings, self._needs, self.stop, self.conditions, again=AGAIN)

    async def until_told(self, part: Part) -> None:
        async with asyncio.timeout(10):
            while not self.conditions.why(part):
                await asyncio.sleep(0.01)

    async def stopped(self) -> There | None:
        self.stop.set()
        return await asyncio.wait_for(self._task, 5)


async def test_a_process_that_waits_for_the_schema_keeps_no_connection_of_its_looks(postgres_url: str) -> None:
    waits = Waits({"database": {"url": postgres_url, "auto_migrate": False}}, Conditions())
    await waits.until_told(Part.DATABASE)
    other = await asyncpg.connect(postgres_url)
    found = []
    for _ in range(6):
        await asyncio.sleep(0.1)
        found.append(
            await other.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        )
    await other.close()
    assert await waits.stopped() is None
    assert max(found) <= 2, "its own, and ours that asks"


async def test_an_edit_with_a_mistake_is_logged_again_while_it_lasts(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("database: {url: file:/nowhere/url}\n")
    with capture_logs() as logs:
        waits = Waits({"database": {"url": "file:/nowhere/url"}}, Conditions(remind=0.1), file)
        await waits.until_told(Part.SECRETS)
        file.write_text("databse: 7\n")
        await waits.until_told(Part.SETTINGS)
        await asyncio.sleep(0.4)
        await waits.stopped()
    assert len([line for line in logs if line["event"] == "condition_failed" and line["part"] == "settings"]) >= 3


async def test_a_wait_for_anothers_migration_ends_at_once(postgres_url: str) -> None:
    other = await asyncpg.connect(postgres_url)
    await other.execute(f"SELECT pg_advisory_lock({_LOCK_KEY})")
    waits = Waits({"database": {"url": postgres_url}}, Conditions())
    try:
        async with asyncio.timeout(10):
            while not await other.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'COMMIT|pg_try_advisory_lock' AND pid <> "
                "pg_backend_pid()"
            ):
                await asyncio.sleep(0.05)
        assert await waits.stopped() is None
    finally:
        await other.close()
