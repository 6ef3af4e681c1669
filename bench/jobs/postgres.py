"""A private PostgreSQL server for a run, and the few questions that a measurement asks it.

Unlike the tests' server it is as durable as one that matters: a commit waits for the disk. It also keeps the time
of each commit, from which a follower's lag is known.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from bench.fleet import Running, StartError
from tests.support import postgres

T = TypeVar("T")

_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "512MB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "8GB",
    "max_connections": "80",
    "track_commit_timestamp": "on",
}
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 60.0


class Server:
    """The server. `url` names its first database."""

    def __init__(self, url: str, running: Running) -> None:
        self.url = url
        self.running = running

    def create(self, name: str) -> str:
        """Makes an empty database; its URL."""
        wait_for(execute(self.url, f"CREATE DATABASE {name}"))
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def stop(self) -> None:
        """Ends it in order, whoever is connected."""
        process = self.running.process
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(_STOP_SECONDS)


def start(cores: frozenset[int], folder: Path) -> Server:
    """Makes and starts a server in a folder that is not there yet.

    Raises:
        StartError: this machine has none, or it did not start.
    """
    bin_folder, before = postgres.binaries(), postgres.as_user()
    if bin_folder is None or before is None:
        raise StartError(postgres.HOW)
    folder.mkdir()
    # The folder above is this user's alone, and root's server runs as another.
    folder.parent.chmod(0o711)
    made = postgres.private(folder)
    made.stop()
    port = urlsplit(made.url).port
    assert port is not None
    settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
    data = str(folder / "data")
    command = [*before, str(bin_folder / "postgres"), "-D", data, "-c", f"port={port}", *settings]
    running = Running("postgres", command, cores, folder.parent)
    running.wait_for_port(port)
    wait_for(_ready(made.url))
    return Server(made.url, running)


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Runs it to its end."""
    return asyncio.run(work)


def ask(url: str, sql: str, *values: Any) -> list[asyncpg.Record]:
    """The rows of one statement, on a connection of its own."""
    return wait_for(_ask(url, sql, values))


async def connect(url: str) -> asyncpg.Connection[asyncpg.Record]:
    """A connection whose statements find few rows by index, however many there are."""
    settings = {"enable_seqscan": "off", "jit": "off", "application_name": "bench"}
    return await asyncpg.connect(url, server_settings=settings)


async def _ready(url: str) -> None:
    """Returns when the server has started: it listens before."""
    async with asyncio.timeout(_START_SECONDS):
        while True:
            try:
                return await execute(url, "SELECT 1")
            except asyncpg.CannotConnectNowError:
                await asyncio.sleep(0.05)


async def _ask(url: str, sql: str, values: tuple[Any, ...]) -> list[asyncpg.Record]:
    connection = await connect(url)
    try:
        return await connection.fetch(sql, *values)
    finally:
        await connection.close()


async def execute(url: str, sql: str) -> None:
    """Runs statements, on a connection of its own."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
