"""Who is claimed next on SQLite, inside the writer's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from heapq import merge

from adapters.database import job_statements_sqlite as sql
from adapters.database.job_rows import WINDOW
from service.domain.job_store import AGEING_SECONDS, Priority


@dataclass(frozen=True, slots=True)
class Choice:
    """Ids in the order of policy: lost by their workers, too late to start, and to start now."""

    lost: list[str]
    late: list[str]
    waiting: list[str]


def choose(connection: sqlite3.Connection, *, now: float, limit: int, owner_cap: int) -> Choice:
    """Those who are next."""
    values = {"now": now, "limit": limit}
    lost = [row[0] for row in connection.execute(sql.LOST, values)]
    late = [row[0] for row in connection.execute(sql.LATE, values)]
    room = _Room(connection, owner_cap)
    waiting, more = _oldest(connection, room, now, limit - len(lost))
    missing = limit - len(lost) - len(waiting)
    if missing and more:
        waiting += _of_each_owner(connection, room, now, missing, frozenset(waiting))
    return Choice(lost, late, waiting)


class _Room:
    """How many more jobs of an owner may begin."""

    def __init__(self, connection: sqlite3.Connection, owner_cap: int) -> None:
        self._connection = connection
        self._cap = owner_cap
        self._left: dict[str, int] = {}

    def of(self, owner: str) -> int:
        """Jobs of this owner that may begin."""
        if owner not in self._left:
            running = self._connection.execute(sql.RUNNING, (owner, self._cap)).fetchone()[0]
            self._left[owner] = self._cap - running
        return self._left[owner]

    def take(self, owner: str) -> bool:
        """Takes one place, if there is one."""
        if self.of(owner) <= 0:
            return False
        self._left[owner] -= 1
        return True


def _oldest(connection: sqlite3.Connection, room: _Room, now: float, limit: int) -> tuple[list[str], bool]:
    """Ids by rank, and whether full owners' jobs filled the place where others may follow."""
    found: list[str] = []
    if limit <= 0:
        return found, False
    with ExitStack() as cursors:
        ranks: list[Iterator[tuple[float, str, str]]] = [
            cursors.enter_context(
                closing(
                    connection.execute(
                        sql.OLDEST, {"ageing": AGEING_SECONDS, "priority": int(priority), "now": now}
                    )
                )
            )
            for priority in Priority
        ]
        passed_over = 0
        for _, job_id, owner in merge(*ranks):
            if room.take(owner):
                found.append(job_id)
                if len(found) == limit:
                    break
            else:
                passed_over += 1
                if passed_over == WINDOW:
                    return found, True
    return found, False


def _of_each_owner(
    connection: sqlite3.Connection, room: _Room, now: float, limit: int, but: frozenset[str]
) -> list[str]:
    ranks: list[tuple[float, str, str]] = []
    for (owner,) in connection.execute(sql.WAITING_OWNERS).fetchall():
        if (left := room.of(owner)) <= 0:
            continue
        for priority in Priority:
            values = {
                "ageing": AGEING_SECONDS,
                "priority": int(priority),
                "now": now,
                "owner": owner,
                "limit": min(left, limit) + len(but),
            }
            ranks += connection.execute(sql.OLDEST_OF_OWNER, values)
    found: list[str] = []
    for _, job_id, owner in sorted(ranks):
        if len(found) == limit:
            break
        if job_id not in but and room.take(owner):
            found.append(job_id)
    return found
