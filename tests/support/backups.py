"""Backups of a running database, by the commands of docs/kubernetes/backup.md."""

from __future__ import annotations

import asyncio
import re
import shlex
import sqlite3
import sys
from pathlib import Path
from typing import Final

from tests.support import postgres
from tests.support.pages import blocks, section
from tests.support.parts import ROOT

PAGE: Final = ROOT / "docs" / "kubernetes" / "backup.md"


def commands(heading: str) -> list[str]:
    """The page's shell commands under a heading, one a line; continued lines are joined."""
    joined = "".join(blocks(section(PAGE, heading), "sh")).replace("\\\n", " ")
    return [line for line in joined.splitlines() if line and not line.startswith("#")]


async def erase(url: str, *response_ids: str) -> list[str]:
    """The page's program that deletes again; the lines that it printed."""
    (program,) = blocks(section(PAGE, "Erasure"), "python")
    ids = " ".join(response_ids)
    command = f"echo {ids} | python -c {shlex.quote(program)}"
    return (await shell(command, EUROUTER_URL=url, EUROUTER_KEY="any")).splitlines()


async def shell(command: str, **variables: str) -> str:
    """Runs it with our Python and PostgreSQL's own programs first on the PATH, and gives what it printed.

    Raises:
        AssertionError: it failed; the text is what it said.
    """
    bins = postgres.binaries()
    path = f"{Path(sys.executable).parent}:{bins}:/usr/bin:/bin"
    process = await asyncio.create_subprocess_exec(
        "bash", "-euc", command, env={"PATH": path, **variables}, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    printed, _ = await process.communicate()
    assert process.returncode == 0, f"{re.sub(postgres.PASSWORD, '…', command)}\n{printed.decode()}"
    return printed.decode()


async def dump(url: str, file: Path) -> None:
    """The page's dump of a PostgreSQL database into a file."""
    (command,) = commands("Dump")
    await shell(command, DATABASE_URL=url, BACKUP=str(file))


async def restore(url: str, file: Path) -> None:
    """The page's restore into an empty PostgreSQL database."""
    for command in commands("Restore a dump"):
        await shell(command, DATABASE_URL=url, BACKUP=str(file))


async def copy_sqlite(file: Path, to: Path) -> None:
    """The page's copy of a SQLite file that is in use."""
    (command,) = commands("SQLite")
    await shell(command, DATABASE=str(file), BACKUP=str(to))
    with sqlite3.connect(to) as copied:
        assert copied.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
