"""What `--wait` does, in this process: what it takes up while it waits, what ends it, and what it hands on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.documents.read import DocumentError
from service.edge.http_server import HttpOptions
from service.settings import Settings, SettingsError
from service.waiting import Needs, There, wait_for_needs
from tests.support.starting import free_port, rows, write

PEPPER = "x" * 32


@dataclass
class World:
    """A wait that goes on beside the test. `file` are its settings."""

    file: Path
    stop: asyncio.Event
    task: asyncio.Task[There | None]

    async def readyz(self, port: int) -> str | None:
        """What the admin port says; None: nobody listens."""
        try:
            async with aiohttp.ClientSession() as web, web.get(f"http://127.0.0.1:{port}/readyz") as answer:
                return await answer.text()
        except aiohttp.ClientConnectionError:
            return None

    async def says(self, port: int, text: str) -> None:
        """Returns once it says exactly this, a line each."""
        async with asyncio.timeout(15):
            while (found := await self.readyz(port)) != text:
                assert not self.task.done(), (found, self.task)
                await asyncio.sleep(0.02)

    async def came(self) -> There:
        """What it hands on once everything is there."""
        there = await asyncio.wait_for(self.task, 15)
        assert there is not None
        return there


@asynccontextmanager
async def waiting(
    folder: Path, settings: Mapping[str, Any], env: Mapping[str, str] | None = None
) -> AsyncIterator[World]:
    file, stop = folder / "settings.yaml", asyncio.Event()
    write(file, settings)
    seen = env or {}
    needs = Needs(file, seen, lambda found: HttpOptions(found.admin.host, found.admin.port), has_doors=True)
    async with AsyncExitStack() as stack:
        wait = wait_for_needs(stack, Settings.load(file, seen), needs, stop)
        task = asyncio.create_task(wait)
        yield World(file, stop, task)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def sqlite(folder: Path, port: int, **more: Any) -> dict[str, Any]:
    return rows(admin=port, url=f"sqlite:///{folder}/one.db", database={"auto_migrate": True}, **more)


async def test_what_is_there_is_not_waited_for_and_the_admin_port_is_handed_on_open(tmp_path: Path) -> None:
    port = free_port()
    async with waiting(tmp_path, sqlite(tmp_path, port)) as world:
        there = await world.came()
        assert there.conditions.begun
        assert there.admin.server.port == port
        assert await world.readyz(port) is not None
    assert await world.readyz(port) is None


async def test_a_variable_may_come_as_a_file_where_a_folder_of_secrets_is_mounted(tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "secrets"
    folder.mkdir()
    said = f"neither the environment variable is set nor is there a file {folder}/PEPPER"
    settings = sqlite(tmp_path, port, key_pepper="env:PEPPER")
    async with waiting(tmp_path, settings, {"EUROUTER_SECRETS_DIR": str(folder)}) as world:
        await world.says(port, f"not ready: secrets: key_pepper: env:PEPPER: {said}\n")
        (folder / "PEPPER").write_text(PEPPER)
        await world.came()


async def test_a_variable_that_no_folder_can_bring_ends_the_wait_whatever_else_may_come(tmp_path: Path) -> None:
    settings = sqlite(tmp_path, free_port(), key_pepper="env:PEPPER")
    settings["grpc"]["tls"] = {"cert": f"{tmp_path}/none.pem", "key": f"{tmp_path}/none.pem"}
    async with waiting(tmp_path, settings) as world:
        with pytest.raises(SettingsError) as raised:
            await world.task
    assert raised.value.lines == ("key_pepper: env:PEPPER: the environment variable is not set",)


async def test_settings_edited_meanwhile_are_taken_and_a_mistake_in_them_is_told_and_left(tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    pepper = tmp_path / "pepper"
    settings = sqlite(tmp_path, port, key_pepper=f"file:{pepper}")
    missing = (
        f"not ready: secrets: key_pepper: file:{pepper}: the file can't be read (No such file or directory): put "
        "it there (in Kubernetes: the Secret's key 'pepper')\n"
    )
    async with waiting(tmp_path, settings) as world:
        await world.says(port, missing)
        write(world.file, {**settings, "log": {"level": "loud"}})
        async with asyncio.timeout(15):
            while "not ready: settings: log.level: " not in (await world.readyz(port) or ""):
                await asyncio.sleep(0.05)
        write(world.file, {**settings, "admin": {"port": other}, "hint_fields": ["mine"]})
        await world.says(other, missing)
        assert await world.readyz(port) is None
        pepper.write_text(PEPPER)
        there = await world.came()
        assert there.settings.hint_fields == ("mine",)


async def test_a_catalogue_that_can_not_be_used_ends_the_wait_whatever_else_is_missing(tmp_path: Path) -> None:
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text("providers:\n  - slug: a\n    dialect: openai_chat\n")
    settings = sqlite(tmp_path, free_port(), key_pepper="file:/nowhere", catalog={"path": str(catalogue)})
    async with waiting(tmp_path, settings) as world:
        with pytest.raises(DocumentError, match="base_url: is required"):
            await world.task


async def test_who_is_told_to_stop_gets_nothing_and_the_port_is_closed(tmp_path: Path) -> None:
    port = free_port()
    async with waiting(tmp_path, sqlite(tmp_path, port, key_pepper="file:/nowhere")) as world:
        async with asyncio.timeout(15):
            while await world.readyz(port) is None:
                await asyncio.sleep(0.02)
        world.stop.set()
        assert await asyncio.wait_for(world.task, 5) is None
    assert await world.readyz(port) is None
