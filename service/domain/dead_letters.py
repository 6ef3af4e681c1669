"""Records that are no jobs: what is known of one, where they are read, and what comes of submitting one again.

The topic that holds them is an adapter's; their headers are the Kafka door's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from service.domain.consuming import Record

LetterPlace: TypeAlias = tuple[int, int]
"""Partition and offset in the dead letters' topic."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`original` is the record as it was submitted, without its signature and without what tells why it is here.

    `reason` is a word, `message` for people. `owner` is "" when nobody knows whose it is. `value_bytes` is the
    size of its value; one that was too large to be kept is missing, and the letter is not `whole`.
    `created_ms` is when it came here, in milliseconds since 1970.
    """

    place: LetterPlace
    created_ms: int
    reason: str
    message: str
    owner: str
    group: str
    original: Record
    value_bytes: int
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Redriven:
    """What came of submitting a record again: a job (`repeated`: there was that job already), or a reason."""

    response_id: str = ""
    repeated: bool = False
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class LetterPage:
    """Records of the topic, newest first within a partition, and for each partition what to read on before.

    `before` is empty when there is nothing older.
    """

    records: Sequence[Record]
    before: Mapping[int, int]


class DeadLetterTopic(Protocol):
    """The topic that holds dead letters. Every method is bounded in time and may raise ConsumerError."""

    async def newest(self, before: Mapping[int, int] | None, most: int) -> LetterPage:
        """Up to `most` records, those before these offsets (None: all)."""
        ...

    async def at(self, places: Sequence[LetterPlace]) -> Sequence[Record | None]:
        """The records at these places; None where there is none (any more)."""
        ...


class ReadLetter(Protocol):
    """Reads a record of that topic."""

    def __call__(self, record: Record) -> DeadLetter | None:
        """The letter; None when it is none of ours."""
        ...


class Redrive(Protocol):
    """Submits a record again, in the name of an owner that an operator vouches for."""

    async def __call__(self, record: Record, owner: str) -> Redriven:
        """What came of it.

        Raises:
            TryLaterError: the database is away.
        """
        ...
