"""What a relay remembers of rows that did not go out: which wait for a while, and which are sent without content.

Nothing here is needed to find them again: whoever takes the shard next begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from service.domain.outbox import OutboxRow

Line: TypeAlias = tuple[str, bytes]
"""Rows of the same destination and key, which keep their order."""

_MOST_ASIDE: Final = 10_000
"""So many ids go with every question to the database; beyond that the oldest are asked for again too soon."""


def line_of(row: OutboxRow) -> Line | None:
    """The line in which a row stands; None without a key."""
    return None if row.record.key is None else (row.destination, row.record.key)


class Backlog:
    """Times are the relay's."""

    def __init__(self) -> None:
        self._aside: dict[int, tuple[Line | None, float]] = {}
        self._resting: dict[str, float] = {}
        self._small: set[int] = set()

    def expire(self, now: float) -> None:
        """Forgets what has waited long enough."""
        self._aside = {number: one for number, one in self._aside.items() if one[1] > now}
        self._resting = {name: until for name, until in self._resting.items() if until > now}

    @property
    def aside(self) -> Iterable[int]:
        """Ids of rows that wait."""
        return self._aside

    @property
    def resting(self) -> Iterable[str]:
        """Destinations that wait."""
        return self._resting

    def in_line(self, rows: Sequence[OutboxRow]) -> list[OutboxRow]:
        """Those of the rows that no older one of the same line keeps waiting."""
        waiting = {line: until for line, until in self._aside.values() if line is not None}
        found = []
        for row in rows:
            line = line_of(row)
            if line is not None and line in waiting:
                self._put(row, waiting[line])
            else:
                found.append(row)
        return found

    def put_aside(self, row: OutboxRow, until: float) -> None:
        """A row waits, and those that follow it in its line."""
        self._put(row, until)

    def rest(self, row: OutboxRow, until: float) -> None:
        """All rows with this one's destination wait."""
        self._resting[row.destination] = until

    def is_small(self, row: OutboxRow) -> bool:
        """Whether a row goes without its content."""
        return row.id in self._small

    def make_small(self, row: OutboxRow) -> None:
        """A row goes without its content from now on."""
        self._small.add(row.id)

    def done(self, rows: Iterable[OutboxRow]) -> None:
        """Rows went out."""
        self._small.difference_update(row.id for row in rows)

    def _put(self, row: OutboxRow, until: float) -> None:
        self._aside.pop(row.id, None)
        self._aside[row.id] = (line_of(row), until)
        if len(self._aside) > _MOST_ASIDE:
            del self._aside[next(iter(self._aside))]
