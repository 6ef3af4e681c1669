"""Records on their way in, and who brings them. The broker is an adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

RawHeaders: TypeAlias = Sequence[tuple[str, bytes | None]]
"""Names and values as they came; a name may come twice."""

Place: TypeAlias = tuple[str, int]
"""A topic and the number of one of its partitions."""


class ConsumerError(Exception):
    """The broker can't be reached or refused. The message holds no content and no credentials."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of an intake topic. `timestamp_ms` is its own, in milliseconds since 1970.

    `unreadable`, if not empty, says in a sentence why its client could not read it, or not as a whole; what it
    could not read is missing.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: RawHeaders = ()
    unreadable: str = ""

    @property
    def place(self) -> Place:
        """Where it stands."""
        return (self.topic, self.partition)


class Consumer(Protocol):
    """A member of a group that reads topics from their committed places: started once, closed once.

    After a ConsumerError it is of no more use. Not safe for concurrent use, but for `pause`, `lag` and `aclose`.
    """

    async def start(self) -> None:
        """Connects and joins, in a bounded time.

        Raises:
            ConsumerError: it can't.
        """
        ...

    async def poll(self, most: int, seconds: float) -> Sequence[Record]:
        """The next records, in order within a partition; none after about `seconds` without any.

        May take longer while the group settles who reads what.

        Raises:
            ConsumerError: it can't read any more.
        """
        ...

    async def commit(self, following: Mapping[Place, int]) -> None:
        """Stores, for each partition, the offset of the record to read next; in a bounded time.

        Partitions that are another member's by now are left out.

        Raises:
            ConsumerError: they are not stored, as far as one knows.
        """
        ...

    def rewind(self, following: Mapping[Place, int]) -> None:
        """Reads on from these offsets: what was polled from there on comes once more."""
        ...

    def pause(self, paused: bool) -> None:
        """Reads nothing more, or reads on; also what other members leave to it later. It stays in the group."""
        ...

    def lag(self) -> Mapping[Place, int]:
        """How many records of each of its partitions come after the last that was polled, as far as it knows."""
        ...

    async def aclose(self) -> None:
        """Leaves the group and disconnects. In a bounded time; never raises."""
        ...
