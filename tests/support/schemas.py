"""Databases whose schema another version left, and a statement past our code."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from adapters.database.revisions import COMPATIBLE_TABLE, VERSION_TABLE
from adapters.database.url import SqliteTarget, parse_url
from tests.support import postgres


def execute(url: str, statement: str) -> None:
    """One statement past our code. Blocking."""
    target = parse_url(url)
    if isinstance(target, SqliteTarget):
        with closing(sqlite3.connect(target.path)) as raw, raw:
            raw.execute(statement)
    else:
        postgres.run(postgres.statement(url, statement))


def make_too_new(url: str) -> None:
    """Makes a database that is up to date one that only a newer version can use, of revision 9999. Blocking."""
    execute(url, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    execute(url, f"DROP TABLE IF EXISTS {COMPATIBLE_TABLE}")
