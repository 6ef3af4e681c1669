"""How far one consumer's records are dealt with: what may be committed, and which records still wait.

Lost with its consumer: what was not committed comes again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from service.domain.consuming import Place, Record

_Identity: TypeAlias = tuple[int, int]
"""Offset and timestamp: a topic that was made anew has other records at the same offsets."""


class Progress:
    """No partition is committed beyond a record of it that waits."""

    def __init__(self) -> None:
        self._next: dict[Place, int] = {}
        self._changed: set[Place] = set()
        self._aside: dict[Place, dict[_Identity, Record]] = {}

    @property
    def aside(self) -> list[Record]:
        """Records that wait until they can be judged or stored."""
        return [record for waiting in self._aside.values() for record in waiting.values()]

    def apart(self, records: Sequence[Record]) -> tuple[Sequence[Record], Sequence[Record]]:
        """Records but for those that wait already, and those: they come again with a partition that comes back."""
        if not self._aside:
            return records, ()
        fresh: list[Record] = []
        waiting: list[Record] = []
        for one in records:
            known = (one.offset, one.timestamp_ms) in self._aside.get(one.place, ())
            (waiting if known else fresh).append(one)
        return fresh, waiting

    def done(self, records: Sequence[Record], aside: Sequence[Record]) -> None:
        """Records, in order within a partition, were dealt with, but for those to put aside."""
        for record in records:
            place = record.place
            self._next[place] = record.offset + 1
            self._changed.add(place)
        if self._aside:
            self._resolve(records)
        for record in aside:
            self._aside.setdefault(record.place, {})[record.offset, record.timestamp_ms] = record

    def tried(self, records: Sequence[Record], aside: Sequence[Record]) -> None:
        """Records that had waited were dealt with, but for those that still wait."""
        self._changed.update(record.place for record in records)
        self._resolve(records)
        self.done((), aside)

    @property
    def following(self) -> Mapping[Place, int]:
        """The offsets to commit, of partitions of which something was dealt with since."""
        found = {}
        for place in self._changed:
            waiting = [offset for offset, _ in self._aside.get(place, ())]
            # What waits may be of a topic that was made anew since: it never counts as progress.
            found[place] = min((self._next[place], *waiting))
        return found

    def committed(self) -> None:
        """What is to be committed was."""
        self._changed.clear()

    def _resolve(self, records: Sequence[Record]) -> None:
        for record in records:
            waiting = self._aside.get(record.place)
            if waiting is not None:
                waiting.pop((record.offset, record.timestamp_ms), None)
                if not waiting:
                    del self._aside[record.place]
