"""`eurouter serve --wait` and `eurouter work --wait` as children, looked at from before they are ready.

    async with starting(tmp_path, settings) as child:
        await child.until(503, "not ready: secrets: …")

The admin port is known before anything answers there, as a kubelet knows it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.support.parts import ROOT
from tests.support.running import free_ports

Answer = tuple[int, str]


def write(path: Path, settings: Mapping[str, Any]) -> None:
    """Replaces a settings file at once."""
    fresh = path.with_suffix(".new")
    fresh.write_text(yaml.safe_dump(dict(settings)))
    fresh.replace(path)


def rows(*, admin: int, url: str | None, **more: Any) -> dict[str, Any]:
    """Settings of a service or a worker whose admin port is `admin`; the doors take free ports."""
    jobs = {"admin_port": admin, "here": False, **more.pop("jobs", {})}
    database = {"url": url, "auto_migrate": False, "connect_seconds": 1, **more.pop("database", {})}
    return {
        "grpc": {"port": 0},
        "http": {"port": 0},
        "admin": {"port": admin},
        "log": {"format": "json"},
        "drain": {"pause_seconds": 0, "finish_seconds": 1},
        "jobs": jobs,
        "database": database,
        **more,
    }


@dataclass
class Starting:
    """A child that may still wait. `admin` is the URL of its admin port, which may not answer yet."""

    process: asyncio.subprocess.Process
    log: Path
    admin: str

    def lines(self) -> list[str]:
        """What it wrote so far, on both of its outputs."""
        return self.log.read_text(errors="replace").splitlines()

    def events(self, name: str) -> list[dict[str, Any]]:
        """What it logged under this name."""
        logged = [json.loads(line) for line in self.lines() if line.startswith("{")]
        return [line for line in logged if line["event"] == name]

    def conditions(self) -> list[tuple[str, str, str]]:
        """Its conditions as they began and ended: event, part and sentence ("" for an end)."""
        names = ("condition_failed", "condition_ended")
        logged = [json.loads(line) for line in self.lines() if line.startswith("{")]
        return [(one["event"], one["part"], one.get("why", "")) for one in logged if one["event"] in names]

    async def get(self, path: str = "/readyz") -> Answer:
        """Status and text; (0, "") while nobody answers."""
        try:
            async with aiohttp.ClientSession() as session, session.get(self.admin + path) as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientConnectionError:
            return 0, ""

    async def gauge(self, part: str) -> float | None:
        """What `eurouter_condition` says of a part; None: nothing."""
        _, text = await self.get("/metrics")
        prefix = f'eurouter_condition{{part="{part}"}} '
        found = [line.removeprefix(prefix) for line in text.splitlines() if line.startswith(prefix)]
        return float(found[0]) if found else None

    async def until(self, status: int, text: str, seconds: float = 40.0) -> None:
        """Returns once /readyz answers exactly so."""
        answer: Answer = (0, "")
        try:
            async with asyncio.timeout(seconds):
                while (answer := await self.get()) != (status, text):
                    assert self.process.returncode is None, "\n".join(self.lines())
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"/readyz says {answer}, not {(status, text)}; log: {self.lines()}") from None

    async def says(self, *parts: str, seconds: float = 40.0) -> Answer:
        """What /readyz answers once it holds all of these."""
        answer: Answer = (0, "")
        try:
            async with asyncio.timeout(seconds):
                while True:
                    answer = await self.get()
                    if all(part in answer[1] for part in parts):
                        return answer
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"/readyz says {answer}, not {parts}; log: {self.lines()}") from None

    async def ended(self, seconds: float = 20.0) -> int:
        """The exit code, once it ended by itself."""
        async with asyncio.timeout(seconds):
            return await self.process.wait()


@asynccontextmanager
async def starting(
    settings_file: Path,
    settings: Mapping[str, Any] | None,
    *,
    command: Sequence[str] = ("serve", "--wait"),
    env: Mapping[str, str] | None = None,
    admin: int = 0,
) -> AsyncIterator[Starting]:
    """The child with these settings (None: the file is there already); SIGTERM ends it with the context."""
    if settings is not None:
        write(settings_file, settings)
        admin = settings["admin"]["port"]
    log = settings_file.with_name("child.log")
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", *command, "--config", str(settings_file)),
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield Starting(process, log, f"http://127.0.0.1:{admin}")
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 15)
            except TimeoutError:
                process.kill()
                await process.wait()


def free_port() -> int:
    """A port that was free a moment ago."""
    return free_ports(1)[0]
