"""A container's stead for tests: the built image's commands with what a pod gives them, and takes from them."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.image_build import SETTINGS, image, inside
from tests.support.parts import ROOT


@dataclass
class Pod:
    """A container's stead: `tmp` and `state` are what it may write to, in `settings` is what is mounted for it."""

    built: Path
    folder: Path
    state_mounted: bool = True

    def __post_init__(self) -> None:
        for path in (self.tmp, self.state, self.settings):
            path.mkdir()
        for path in (self.tmp, self.state):
            shutil.chown(path, 10001, 10001)
        self.configure({})

    @property
    def tmp(self) -> Path:
        return self.folder / "tmp"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def settings(self) -> Path:
        return self.folder / "settings"

    def configure(self, settings: Mapping[str, Any], upstream: int = 9) -> None:
        """Writes the settings, and a catalogue with a simulator on a port."""
        rows = yaml.safe_load((ROOT / "examples/kafka/catalogue.yaml").read_text(encoding="utf-8"))
        rows["providers"][0]["base_url"] = f"http://127.0.0.1:{upstream}/v1"
        (self.settings / "catalogue.yaml").write_text(yaml.safe_dump(rows), encoding="utf-8")
        fixed = {
            "catalog": {"path": f"/{SETTINGS}/catalogue.yaml"},
            "drain": {"pause_seconds": 0, "finish_seconds": 5},
        }
        (self.settings / "settings.yaml").write_text(yaml.safe_dump({**fixed, **settings}), encoding="utf-8")

    def command(self, *arguments: str, entry: bool = True) -> list[str]:
        """A command line for what follows the image's ENTRYPOINT, or for another program of the image."""
        dockerfile, environment = image()
        last = dockerfile.runtime.last("ENTRYPOINT")
        assert last is not None
        mounts = {"tmp": self.tmp, SETTINGS: self.settings}
        mounts |= {"var/lib/eurouter": self.state} if self.state_mounted else {}
        given = {**environment, "EUROUTER_CONFIG": f"/{SETTINGS}/settings.yaml"}
        return [*inside(self.built, mounts, given), *(last.exec_form() if entry else []), *arguments]

    def run(self, *arguments: str, entry: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        line = self.command(*arguments, entry=entry)
        return subprocess.run(line, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60)

    def written(self) -> list[str]:
        """What stands in the two folders."""
        return sorted(
            str(path.relative_to(self.folder)) for top in (self.tmp, self.state) for path in top.rglob("*")
        )

    @asynccontextmanager
    async def running(self, *arguments: str, until: str) -> AsyncIterator[Path]:
        """Runs a command beside the test until it said something; after the test a SIGTERM must end it with 0."""
        log = self.folder / f"{arguments[0]}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *self.command(*arguments), cwd=self.folder, stdout=output, stderr=output, start_new_session=True
            )
        try:
            async with asyncio.timeout(40):
                while not re.search(until, log.read_text()) and process.returncode is None:
                    await asyncio.sleep(0.05)
            assert process.returncode is None, log.read_text()
            yield log
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(15):
                assert await process.wait() == 0, log.read_text()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert "Read-only file system" not in log.read_text()
