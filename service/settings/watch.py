"""The settings in force: read again when the file changes, kept as they were when the edit is bad."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from adapters.documents.watch import WatchedFile
from service.domain import crash
from service.settings.changes import changes
from service.settings.load import SettingsError
from service.settings.model import Settings

RELOADED: Final = "settings_reloaded"
NEED_RESTART: Final = "settings_need_restart"

Report = Callable[[str, Mapping[str, object]], None]
"""Called with one of the names above and its values (paths of settings, never their values); must not block."""


def _ignore(_event: str, _values: Mapping[str, object]) -> None:
    pass


class SettingsWatcher:
    """`current` is always a whole, valid object: read it for each use of a setting that a reload may change.

    After a reload it holds the new file as a whole. What needs a restart is in it too, but the running
    parts were built from the old one; its paths are reported as `settings_need_restart`.
    """

    def __init__(
        self,
        path: Path | None,
        env: Mapping[str, str],
        settings: Settings,
        *,
        report: Report = _ignore,
        on_change: Callable[[Settings], None] = lambda _settings: None,
        check: Callable[[Settings], Iterable[str]] = lambda _settings: (),
        judged: Callable[[Sequence[str]], None] = lambda _problems: None,
    ) -> None:
        """`settings` are those that were loaded from `path` and `env`. `on_change` gets every new one.

        `check` names what else makes settings unusable, such as a secret that is not there: an edit that only
        this keeps out is taken once it is there. `judged` is told what is wrong with the file, each time that
        this changes; nothing: it is in force.
        """
        self.current = settings
        self._started_with = settings
        self._path = path
        self._env = dict(env)
        self._report = report
        self._on_change = on_change
        self._check = check
        self._judged = judged
        self._problems: tuple[str, ...] = ()
        self._held: Settings | None = None
        self._told_missing = False
        # Not known: the file may have changed since `settings` were loaded.
        self._file = WatchedFile(path, known=False) if path is not None else None

    def poll(self) -> bool:
        """Looks once; True when there are new settings."""
        return self._accept(self._read_if_changed())

    async def run(self, *, every: float = 1.0) -> None:
        """Looks again and again (seconds) until cancelled; reading happens in a thread, beside the calls."""
        while True:
            await asyncio.sleep(every)
            self._accept(await asyncio.to_thread(self._read_if_changed))

    def _read_if_changed(self) -> Settings | SettingsError | None:
        if self._file is None:
            return None
        if not self._file.changed():
            return self._release()
        self._held = None
        try:
            return self._fresh()
        except SettingsError as error:
            return error
        except Exception as error:  # noqa: BLE001 - every process that has this file would end at the same time
            return SettingsError([f"{self._path}: reading it failed by {crash.sentence(error)}"])

    def _fresh(self) -> Settings | SettingsError:
        fresh = Settings.load(self._path, self._env)
        if found := list(self._check(fresh)):
            self._held = fresh
            return SettingsError(found)
        return fresh

    def _release(self) -> Settings | None:
        """The edit that lacked a secret, once that is there: ConfigMaps and Secrets come in any order."""
        if self._held is None or list(self._check(self._held)):
            return None
        held, self._held = self._held, None
        return held

    def _accept(self, fresh: Settings | SettingsError | None) -> bool:
        if fresh is None:
            self._notice_missing()
            return False
        self._problems = fresh.lines if isinstance(fresh, SettingsError) else ()
        self._judged(self._problems)
        if isinstance(fresh, SettingsError):
            return False
        if fresh == self.current:
            return False
        applied, _ = changes(self.current, fresh)
        _, waiting = changes(self._started_with, fresh)
        self.current = fresh
        self._on_change(fresh)
        if applied:
            self._report(RELOADED, {"changed": list(applied)})
        if waiting:
            self._report(NEED_RESTART, {"changed": list(waiting)})
        return True

    def _notice_missing(self) -> None:
        missing = self._file is not None and self._file.missing()
        if missing != self._told_missing:
            self._judged((f"there is no file {self._path} any more",) if missing else self._problems)
        self._told_missing = missing
