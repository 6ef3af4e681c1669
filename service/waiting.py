"""What `--wait` does: a process whose needs are not there yet waits for them, with its admin port open.

What may still come is waited for: files of secrets and certificates, the database, its schema. What can't come
while the process runs ends it: a wrong setting, a variable that its environment lacks, a schema that is too new.
Brokers are never waited for. Nothing is served and nothing is worked on here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from adapters.catalog.load import read_catalog
from adapters.condition_telemetry import ConditionGauge
from adapters.database.migrate import status
from adapters.database.revisions import SchemaError, SchemaState
from adapters.database.url import DatabaseUrlError, effective_url, parse_url
from adapters.documents.watch import WatchedFile
from adapters.providers.secrets import SecretError, Secrets
from service.conditions import Conditions, Part
from service.domain.stored import StoreError
from service.edge.admin import Admin
from service.edge.http_server import HttpOptions
from service.settings import Settings, SettingsError
from service.settings.needs import missing
from service.storage import open_for, sentence

AGAIN_SECONDS: Final = 1.0
"""Between two looks at what is missing."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a process is started with: its settings' file and environment; where they say that its admin port is.

    `metrics` are shown meanwhile, of several processes; None: those of this one.
    """

    config: Path | None
    env: Mapping[str, str]
    address: Callable[[Settings], HttpOptions]
    has_doors: bool = False
    metrics: Callable[[], bytes] | None = None


@dataclass(frozen=True, slots=True)
class There:
    """Everything came: the settings as they are now, and what the process shows of itself."""

    settings: Settings
    conditions: Conditions
    admin: Admin


async def wait_for_needs(
    stack: AsyncExitStack, settings: Settings, needs: Needs, stop: asyncio.Event
) -> There | None:
    """Waits until everything was there at once; None: it was told to stop. `stack` closes the admin port.

    Raises:
        SettingsError: something is wrong that can't come right while the process runs; a line each.
        DocumentError: the catalogue can't be used.
        OSError: the admin port is taken.
    """
    waiting = _Waiting(settings, needs)
    stack.push_async_callback(waiting.close)
    await waiting.listen()
    waits = (asyncio.ensure_future(waiting.run()), asyncio.ensure_future(stop.wait()))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            return None
        waits[0].result()
    finally:
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    return There(waiting.settings, waiting.conditions, waiting.admin)


class _Waiting:
    """One wait. `settings` are those in force: an edit that can't be used changes nothing."""

    def __init__(self, settings: Settings, needs: Needs) -> None:
        self.settings = settings
        self.conditions = Conditions()
        self._needs = needs
        self._secrets = Secrets(needs.env)
        self._file = None if needs.config is None else WatchedFile(needs.config, known=False)
        gauge = ConditionGauge(CollectorRegistry() if needs.metrics is None else None)
        self.conditions.show_by(gauge.show)
        self._metrics = needs.metrics or gauge.render
        self.admin = Admin(needs.address(settings), self.conditions.waiting, self._metrics)

    async def listen(self) -> None:
        """Opens the admin port where the settings say that it is."""
        address = self._needs.address(self.settings)
        if address != self.admin.options:
            await self.admin.server.stop()
            self.admin = Admin(address, self.conditions.waiting, self._metrics)
        await self.admin.server.start()

    async def close(self) -> None:
        """Closes the admin port, whoever has it by now."""
        await self.admin.server.stop()

    async def run(self) -> None:
        """Returns once everything was there at once.

        Raises:
            SettingsError: as `wait_for_needs`.
        """
        if self.settings.catalog.path is not None:
            await asyncio.to_thread(read_catalog, self.settings.catalog.path)
        while True:
            await self._read_again()
            secrets, database = await self._secrets_there(), await self._database_there()
            if secrets and database:
                return
            self.conditions.remind()
            await asyncio.sleep(AGAIN_SECONDS)

    async def _read_again(self) -> None:
        """Takes an edit of the settings that can be used; another is told and left, as in a running process."""
        if self._file is None or not self._file.changed():
            return
        try:
            self.settings = await asyncio.to_thread(Settings.load, self._needs.config, self._needs.env)
        except SettingsError as error:
            self.conditions.tell(Part.SETTINGS, *error.lines)
        else:
            self.conditions.tell(Part.SETTINGS)
            await self.listen()

    async def _secrets_there(self) -> bool:
        found = await asyncio.to_thread(
            lambda: list(missing(self.settings, self._secrets, has_doors=self._needs.has_doors))
        )
        if never := [one.text for one in found if not one.may_come]:
            raise SettingsError(never)
        self.conditions.tell(Part.SECRETS, *(one.text for one in found))
        return not found

    async def _database_there(self) -> bool:
        try:
            database = open_for(self.settings, self._secrets.resolve, self._needs.env)
        except (SecretError, DatabaseUrlError):
            # Which of the settings' secrets is missing was told already.
            return False
        try:
            await database.prepare()
        except StoreError as error:
            if isinstance(error, SchemaError) and await self._is_newer():
                raise SettingsError([f"{Part.DATABASE}: {error}"]) from None
            self.conditions.tell(Part.DATABASE, sentence(error))
            return False
        finally:
            await database.aclose()
        self.conditions.tell(Part.DATABASE)
        return True

    async def _is_newer(self) -> bool:
        """Whether the schema is one that this version can't work with, and not one that a migration brings up."""
        settings = self.settings.database
        target = parse_url(effective_url(settings.url, self._needs.env, self._secrets.resolve))
        try:
            found = await asyncio.to_thread(status, target, connect_seconds=settings.connect_seconds)
        except StoreError:
            return False
        return found.state is SchemaState.NEWER
