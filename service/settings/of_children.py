"""What several serving processes of one parent have in force, as their parent knows it.

Each child follows the file by itself. The parent gives a new one what its siblings have, and waits at the end for
as long as they take.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from adapters.providers.secrets import Secrets
from service.settings.changes import in_force
from service.settings.model import Settings
from service.settings.show import problems
from service.settings.watch import SettingsWatcher


class SettingsOfChildren:
    """Follows the file that the children follow, by the same rules; what it finds wrong is theirs to tell."""

    def __init__(self, path: Path | None, env: Mapping[str, str], settings: Settings) -> None:
        """`settings` are those that all started with."""
        self._started_with = settings
        resolve = Secrets(env).resolve
        self._watcher = SettingsWatcher(path, env, settings, check=lambda fresh: problems(fresh, resolve))

    def now(self) -> Settings:
        """What is in force: of an edit nothing that needs a restart, and of a bad edit nothing."""
        return in_force(self._started_with, self._watcher.current)

    def drain_seconds(self) -> float:
        """The longest that a child may take to drain. Looks at the file."""
        before = self.now()
        # Each process looks in a second of its own: of an edit just made, some know already.
        for _ in range(2):
            self._watcher.poll()
        return max(drain.pause_seconds + drain.finish_seconds for drain in (before.drain, self.now().drain))

    async def run(self) -> None:
        """Follows the file until cancelled."""
        await self._watcher.run()
