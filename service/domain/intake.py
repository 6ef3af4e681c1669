"""What becomes of records that ask for jobs: the port between whoever reads records and whoever judges them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from service.domain.consuming import Record


class TryLaterError(Exception):
    """Records could not be dealt with now, for a reason that may pass: a database that is away.

    All of a batch may be handed in again: what was accepted of it is not accepted twice.
    """


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """How many records of a batch became jobs, were known already, and went to the dead letters.

    `later`: those of which that can't be told yet, for a reason of their own that soon passes. They are to be
    handed in again; nothing else waits for them.
    """

    accepted: int = 0
    repeated: int = 0
    rejected: int = 0
    later: Sequence[Record] = ()


class Acceptance(Protocol):
    """Judges records and stores what becomes of them."""

    async def accept(self, records: Sequence[Record]) -> BatchOutcome:
        """Returns when each record is a job, was one before, or is a dead letter in the outbox: all is stored, but
        for those that the outcome names as `later`.

        Serves the event loop in between; `records` may be hundreds.

        Raises:
            TryLaterError: that is not so for all of them.
        """
        ...
