"""What `--wait` does: a process whose needs are not there yet waits for them, with its admin port open.

What may still come is waited for: files of secrets and certificates, the database, its schema. What can't come
while the process runs ends it: a wrong setting, a variable that its environment lacks, a schema that is too new.
The settings' file itself is waited for before, in service.waiting_for_settings.
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

from adapters import logs
from adapters.catalog.load import read_catalog
from adapters.condition_telemetry import ConditionGauge, ReadyGauge
from adapters.database.revisions import TooNewError
from adapters.database.url import DatabaseUrlError
from adapters.documents.read import DocumentError
from adapters.documents.watch import WatchedFile
from adapters.providers.secrets import SecretError, Secrets
from service.conditions import Conditions, Part
from service.domain.stored import StoreError
from service.edge.admin import Admin
from service.edge.http_server import HttpOptions
from service.settings import Settings, SettingsError
from service.settings.needs import Missing, missing
from service.storage import open_for, sentence

AGAIN_SECONDS: Final = 1.0
"""Between two looks at what is missing."""

_KEPT: Final = "what was read before stays in force"


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
    stack: AsyncExitStack,
    settings: Settings,
    needs: Needs,
    stop: asyncio.Event,
    conditions: Conditions | None = None,
    *,
    again: float = AGAIN_SECONDS,
) -> There | None:
    """Waits until everything was there at once; None: it was told to stop. `stack` closes the admin port.

    What is missing is looked at every `again` seconds and told to `conditions`, new ones if there are none.

    Raises:
        SettingsError: something is wrong that can't come right while the process runs; a line each.
        DocumentError: the catalogue can't be used.
        OSError: the admin port is taken.
    """
    waiting = _Waiting(settings, needs, conditions or Conditions())
    stack.push_async_callback(waiting.close)
    await waiting.admin.server.start()
    waits = (asyncio.ensure_future(waiting.run(again)), asyncio.ensure_future(stop.wait()))
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

    def __init__(self, settings: Settings, needs: Needs, conditions: Conditions) -> None:
        self.settings = settings
        self.conditions = conditions
        self._needs = needs
        self._secrets = Secrets(needs.env)
        self._file = None if needs.config is None else WatchedFile(needs.config, known=False)
        registry = CollectorRegistry() if needs.metrics is None else None
        gauge = ConditionGauge(registry)
        ReadyGauge(registry).show(ready=False)
        self.conditions.show_by(gauge.show)
        self._metrics = needs.metrics or gauge.render
        self.admin = Admin(needs.address(settings), self.conditions.waiting, self._metrics)

    async def close(self) -> None:
        """Closes the admin port, whoever has it by now."""
        await self.admin.server.stop()

    async def run(self, again: float) -> None:
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
            await asyncio.sleep(again)

    async def _read_again(self) -> None:
        """Takes an edit of the settings that can be used; another is told and left, as in a running process."""
        if self._file is None or not self._file.changed():
            return
        try:
            fresh = await asyncio.to_thread(Settings.load, self._needs.config, self._needs.env)
            if never := [one.text for one in await self._missing(fresh) if not one.may_come]:
                raise SettingsError(never)
            if fresh.catalog.path is not None:
                await asyncio.to_thread(read_catalog, fresh.catalog.path)
            await self._listen(self._needs.address(fresh))
        except SettingsError as error:
            self.conditions.tell(Part.SETTINGS, *error.lines)
        except DocumentError as error:
            self.conditions.tell(Part.SETTINGS, *str(error).splitlines())
        except OSError as error:
            name = "admin.port" if self._needs.has_doors else "jobs.admin_port"
            self.conditions.tell(Part.SETTINGS, f"{name}: {error.strerror or error}; {_KEPT}")
        else:
            self.settings = fresh
            logs.set_level(fresh.log.level)
            self.conditions.tell(Part.SETTINGS)

    async def _listen(self, address: HttpOptions) -> None:
        """Moves the admin port; where that can't be done it stays.

        Raises:
            OSError: nobody can listen there.
        """
        before = self.admin.options
        if address == before:
            return
        moved = Admin(address, self.conditions.waiting, self._metrics)
        # At another host of the same port two can't listen at once.
        if address.port == before.port:
            await self.admin.server.stop()
        try:
            await moved.server.start()
        except OSError:
            await moved.server.stop()
            if address.port == before.port:
                self.admin = Admin(before, self.conditions.waiting, self._metrics)
                await self.admin.server.start()
            raise
        await self.admin.server.stop()
        self.admin = moved

    async def _missing(self, settings: Settings) -> list[Missing]:
        return await asyncio.to_thread(
            lambda: list(missing(settings, self._secrets, has_doors=self._needs.has_doors))
        )

    async def _secrets_there(self) -> bool:
        found = await self._missing(self.settings)
        if never := [one.text for one in found if not one.may_come]:
            raise SettingsError(never)
        self.conditions.tell(Part.SECRETS, *(one.text for one in found))
        return not found

    async def _database_there(self) -> bool:
        try:
            database = open_for(self.settings, self._secrets.resolve, self._needs.env)
        except (SecretError, DatabaseUrlError):
            # Which of the settings' secrets is missing was told already. What was told of the database concerns
            # another URL.
            self.conditions.forget(Part.DATABASE)
            return False
        try:
            await database.prepare()
        except TooNewError as error:
            raise SettingsError([f"{Part.DATABASE}: {error}"]) from None
        except StoreError as error:
            self.conditions.tell(Part.DATABASE, sentence(error))
            return False
        finally:
            await database.aclose()
        self.conditions.tell(Part.DATABASE)
        return True
