"""SQLite's database file: made, opened, and its errors told. Who uses the connections is another module's."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from adapters.database.revisions import (
    COMPATIBLE_TABLE,
    READ_COMPATIBLE,
    READ_REVISION,
    VERSION_TABLE,
    SchemaState,
    state_of,
)
from adapters.database.url import SqliteTarget
from service.domain.stored import StoreError

_MAX_WAL_KEPT: Final = 64 * 1024 * 1024
"""Bytes that the write-ahead log may keep on disk once a burst is over."""

_WHAT_TO_DO: Final = {
    "SQLITE_BUSY": "another process held its lock for too long",
    "SQLITE_LOCKED": "another process held its lock for too long",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "it can't be written: check the permissions of the file and of its folder",
    "SQLITE_CANTOPEN": "it can't be opened: check that its folder exists and may be written by this user",
    "SQLITE_NOTADB": "the file is no SQLite database",
    "SQLITE_CORRUPT": "the file is damaged",
    "SQLITE_IOERR": "the disk reported an error",
    "SQLITE_PERM": "it can't be opened: check the permissions",
    "SQLITE_AUTH": "it can't be opened: check the permissions",
    "SQLITE_TOOBIG": "what is to be stored is larger than SQLite allows",
}


def describe_sqlite(error: sqlite3.Error, target: SqliteTarget) -> StoreError:
    """The same for whoever runs the service. SQLite's own texts name tables and columns, never values."""
    code = getattr(error, "sqlite_errorname", None) or type(error).__name__
    short = "_".join(code.split("_")[:2])
    return StoreError(f"{target.name}: {_WHAT_TO_DO.get(short, str(error))} ({code})")


def is_there(target: SqliteTarget) -> bool:
    """Whether the file exists."""
    return target.path.exists()


def create(target: SqliteTarget) -> None:
    """Makes file and folder, readable by this user only, where they are missing.

    Raises:
        StoreError: that can't be done.
    """
    path = target.path
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives the files beside it the same permissions.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(
            f"{target.name}: the file can't be made or opened ({error.strerror}): name one in a folder that this "
            "user may write, with database.url"
        ) from None


def connect(path: Path, *, busy_seconds: float, read_only: bool = False) -> sqlite3.Connection:
    """A connection that begins transactions only when told to, and that any one thread at a time may use.

    Raises:
        sqlite3.Error: it can't be opened.
    """
    connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA journal_size_limit={_MAX_WAL_KEPT}")
        if read_only:
            connection.execute("PRAGMA query_only=ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def use_wal(target: SqliteTarget, *, busy_seconds: float) -> None:
    """Switches the file to a write-ahead log, once and for all: readers and the writer don't wait for each other.

    Raises:
        StoreError: the file or its disk does not allow it.
    """
    until = time.monotonic() + busy_seconds
    try:
        with closing(connect(target.path, busy_seconds=busy_seconds)) as connection:
            while True:
                try:
                    mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
                    break
                except sqlite3.OperationalError as error:
                    # While others open the file for the first time SQLite says so at once, whatever the timeout.
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                        raise
                    time.sleep(0.02)
    except sqlite3.Error as error:
        raise describe_sqlite(error, target) from None
    if mode != "wal":
        raise StoreError(f"{target.name}: the disk does not allow a write-ahead log: use a local one")


def revisions_of(target: SqliteTarget, *, busy_seconds: float) -> tuple[str | None, str | None]:
    """The schema's revision, None for a database that was never migrated; and the oldest whose code may use it.

    The second is None where nothing says so, and where it does not matter: see `state_of`.

    Raises:
        StoreError: it can't be read.
    """
    try:
        with closing(connect(target.path, busy_seconds=busy_seconds)) as connection:
            revision = _only(connection, VERSION_TABLE, READ_REVISION)
            newer = state_of(revision) is SchemaState.NEWER
            return revision, _only(connection, COMPATIBLE_TABLE, READ_COMPATIBLE) if newer else None
    except sqlite3.Error as error:
        raise describe_sqlite(error, target) from None


def _only(connection: sqlite3.Connection, table: str, read: str) -> str | None:
    """What `read` finds in a table that may not be there."""
    there = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
    ).fetchone()
    row = connection.execute(read).fetchone() if there else None
    return row[0] if row else None
