"""A process that is told to stop ends, even while its database hangs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from adapters.database.postgres import PostgresDatabase
from adapters.database.url import PostgresTarget, parse_url
from tests.support.postgres import Postgres
from tests.support.starting import free_port, rows, starting


def _below(pid: int) -> list[int]:
    """A process and all that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _below(int(child)))]


@contextmanager
def hanging(server: Postgres) -> Iterator[None]:
    """The server takes what is sent, and does nothing; every process of it that runs now."""
    assert server.process is not None
    stopped = _below(server.process.pid)
    _tell(stopped, signal.SIGSTOP)
    try:
        yield
    finally:
        _tell(stopped, signal.SIGCONT)


def _tell(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        # A connection's process may be at its end.
        with suppress(ProcessLookupError):
            os.kill(pid, number)


async def test_a_cancellation_while_the_database_hangs_is_not_turned_into_its_failure(
    own_postgres: Postgres,
) -> None:
    target = parse_url(own_postgres.database())
    assert isinstance(target, PostgresTarget)
    database = PostgresDatabase(target, connect_seconds=0.5, seconds=5)
    await database.prepare()
    with hanging(own_postgres):
        asking = asyncio.ensure_future(database.fetch("SELECT 1"))
        await asyncio.sleep(0.1)
        asking.cancel()
        await asyncio.wait((asking,), timeout=5)
    assert asking.cancelled()
    await database.aclose()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["serve", "work"])
@pytest.mark.parametrize("after", [10.5, 11.5])
async def test_a_process_whose_database_hangs_ends_when_it_is_told_to(
    own_postgres: Postgres, command: str, after: float, tmp_path: Path
) -> None:
    settings = rows(admin=free_port(), url=own_postgres.database(), database={"auto_migrate": True})
    async with starting(tmp_path / "settings.yaml", settings, command=(command, "--wait")) as child:
        await child.until(200, "ready\n")
        with hanging(own_postgres):
            await asyncio.sleep(after)
            child.process.send_signal(signal.SIGTERM)
            assert await child.ended(25) == 0
