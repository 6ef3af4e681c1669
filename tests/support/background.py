"""Background responses as a client of the HTTP door sees them, and workers in processes of their own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.support.http_door import events
from tests.support.parts import ROOT
from tests.support.responses_door import RESPONSES, Followed, ResponsesDoor
from tests.support.running import PROVIDER_KEYS, until

OVER: Final = {"completed", "incomplete", "failed", "cancelled"}


async def ended(door: ResponsesDoor, response_id: str, seconds: float = 20.0) -> dict[str, Any]:
    """The response once it is over; a database that is away for a while is waited for."""
    async with asyncio.timeout(seconds):
        while True:
            answer = await door.call("GET", f"/{response_id}")
            if answer.status == 200 and answer.json["status"] in OVER:
                found: dict[str, Any] = answer.json
                return found
            assert answer.status in (200, 503), answer.raw
            await asyncio.sleep(0.05)


async def follow(
    door: ResponsesDoor, response_id: str, after: int | None = None, begun: asyncio.Event | None = None
) -> Followed:
    """The events from number `after` on, read to their end or until the stream breaks off; without gaps.

    `begun` is set when the stream is open.
    """
    query = "" if after is None else f"&starting_after={after}"
    url = f"{door.up.http}{RESPONSES}/{response_id}?stream=true{query}"
    async with door.session.get(url) as response:
        assert response.status == 200, await response.read()
        if begun is not None:
            begun.set()
        return await taken(response, first=0 if after is None else after + 1)


async def taken(response: aiohttp.ClientResponse, first: int = 0) -> Followed:
    """What an open stream still brings."""
    followed = Followed(response.headers, first=first)
    async for event in events(response):
        followed.take(event)
    return followed


async def accepted(door: ResponsesDoor, request: Mapping[str, object], key: str, seconds: float = 20.0) -> str:
    """The id of a response that is accepted under a key, asked for again while the database is away."""
    async with asyncio.timeout(seconds):
        while True:
            answer = await door.create({**request, "background": True}, headers={"idempotency-key": key})
            if answer.status == 200:
                return str(answer.json["id"])
            assert answer.status == 503, answer.raw
            assert answer.error["reason"] == "STORE_UNAVAILABLE"
            await asyncio.sleep(0.05)


@dataclass
class WorkerChild:
    """`python -m workers` as a child; `log` is the file that its stderr goes to."""

    process: asyncio.subprocess.Process
    log: Path

    def logged(self, event: str) -> int:
        """How often it wrote this event."""
        return self.log.read_text(errors="replace").count(event)


@asynccontextmanager
async def worker_child(door: ResponsesDoor, name: str) -> AsyncIterator[WorkerChild]:
    """A worker process beside the service of `door`, by the same settings; it runs when this returns."""
    upstreams = door.up.upstreams
    log = upstreams.folder / f"{name}.log"
    env = {**os.environ, **PROVIDER_KEYS, "EUROUTER_JOBS__ADMIN_PORT": "0"}
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "workers", "--config", str(upstreams.settings_file)),
            cwd=ROOT,
            env=env,
            stderr=stderr,
            start_new_session=True,
        )
    child = WorkerChild(process, log)
    try:
        await until(lambda: process.returncode is not None or child.logged("worker_started") > 0, "it starts", 60)
        assert process.returncode is None, log.read_text()
        yield child
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
