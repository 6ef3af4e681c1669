"""`python -m workers` as a child process, on the settings of a service that runs beside it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.parts import ROOT
from tests.support.running import PROVIDER_KEYS, until


@dataclass
class WorkerChild:
    """The child. Its settings must say `log: {format: json}` and `jobs: {admin_port: 0}`."""

    process: asyncio.subprocess.Process
    log: Path
    admin: str = ""

    def events(self, name: str) -> list[dict[str, Any]]:
        """What it logged under this name."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of a path on its admin port."""
        async with aiohttp.ClientSession() as session, session.get(self.admin + path) as answer:
            return answer.status, await answer.text()

    async def ready(self) -> None:
        """Returns once it says that it works."""
        async with asyncio.timeout(20):
            while (await self.get("/readyz"))[0] != 200:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def worker_child(
    settings_file: Path, name: str = "worker", env: Mapping[str, str] | None = None
) -> AsyncIterator[WorkerChild]:
    """A worker that has started; SIGTERM ends it with the context, if nothing else did."""
    log = settings_file.with_name(f"{name}.log")
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "workers", "--config", str(settings_file)),
            cwd=ROOT,
            env={**os.environ, **PROVIDER_KEYS, **(env or {})},
            stderr=stderr,
            start_new_session=True,
        )
    child = WorkerChild(process, log)
    try:
        started = "worker_started"
        await until(lambda: process.returncode is not None or bool(child.events(started)), "the worker starts", 60)
        assert process.returncode is None, f"the worker ended with {process.returncode}:\n{log.read_text()}"
        child.admin = f"http://127.0.0.1:{child.events(started)[0]['admin_port']}"
        yield child
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 15)
            except TimeoutError:
                process.kill()
                await process.wait()
