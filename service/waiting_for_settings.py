"""What `--wait` does first where there is no settings file yet: waits for it, with the admin port open.

Where that port is only the environment says. Prometheus' library is not loaded here: it asks when it is loaded
whether several processes count, and that stands in the settings. What else is needed service.waiting waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from adapters import logs
from adapters.condition_text import ConditionText
from adapters.documents.watch import WatchedFile
from service.admin_place import AdminPlace
from service.conditions import Conditions, Part
from service.edge.admin import Admin
from service.edge.http_server import HttpOptions
from service.settings import Settings, SettingsError, SettingsFileError
from service.settings.load import sections_of_environment
from service.settings.needs import no_settings
from service.sigterm import kept_signals
from service.until_signal import run, starting

AGAIN_SECONDS: Final = 1.0
"""Between two looks at the file."""


def wait_for_settings(
    config: Path, env: Mapping[str, str], place: AdminPlace, *, again: float = AGAIN_SECONDS
) -> Settings | int:
    """The settings once they can be used, or the exit code: of a stop, or of a port that is taken.

    A file that comes with a mistake is told and waited for, like an edit of one that is there.

    Raises:
        SettingsError: the environment says something wrong of the admin port or the log.
    """
    known = sections_of_environment(env, "admin", "jobs", "log")
    logs.configure(known.log.format, known.log.level)
    options = place.options(known)
    came: list[Settings] = []

    async def wait() -> int:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        signals.tell(lambda: loop.call_soon_threadsafe(stop.set))
        try:
            with starting({place.setting: options.port}):
                async with AsyncExitStack() as stack:
                    if (settings := await _wait(stack, config, env, options, stop, again)) is not None:
                        came.append(settings)
        finally:
            signals.tell(None)
        return 0

    with kept_signals() as signals:
        code = run(wait)
    return came[0] if came and not signals.came else code


async def _wait(
    stack: AsyncExitStack,
    config: Path,
    env: Mapping[str, str],
    options: HttpOptions,
    stop: asyncio.Event,
    again: float,
) -> Settings | None:
    """The settings; None: it was told to stop."""
    conditions, text = Conditions(), ConditionText()
    conditions.show_by(text.show)
    admin = Admin(options, conditions.waiting, text.render)
    stack.push_async_callback(admin.server.stop)
    await admin.server.start()
    looking = asyncio.ensure_future(look(config, env, conditions, again))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((looking, stopping), return_when=asyncio.FIRST_COMPLETED)
        return None if stop.is_set() else looking.result()
    finally:
        for task in (looking, stopping):
            task.cancel()
        await asyncio.gather(looking, stopping, return_exceptions=True)


async def look(config: Path, env: Mapping[str, str], conditions: Conditions, again: float) -> Settings:
    """The settings once their file is there and right; until then `conditions` are told why they are not."""
    file = WatchedFile(config, known=False)
    while True:
        if file.changed():
            try:
                settings = await asyncio.to_thread(Settings.load, config, env)
            except SettingsFileError as error:
                conditions.tell(Part.SETTINGS, *error.lines)
                # Who may read it does not change how it looks.
                file = WatchedFile(config, known=False)
            except SettingsError as error:
                conditions.tell(Part.SETTINGS, *error.lines)
            else:
                conditions.tell(Part.SETTINGS)
                return settings
        elif file.missing() and (why := no_settings(config)) is not None:
            conditions.tell(Part.SETTINGS, why)
        conditions.remind()
        await asyncio.sleep(again)
