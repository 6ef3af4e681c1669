"""What the loops that read from the broker tell of themselves, for metrics and logs. Adapters implement it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

from service.domain.consuming import Place, Record
from service.domain.intake import BatchOutcome

Failure: TypeAlias = Literal["start", "broker", "stuck", "crashed"]
"""Why a consumer was given up: it could not join, it could not go on, a call did not return, a fault of ours."""


class ConsumingTelemetry(Protocol):
    """Counts what becomes of consumers; never content."""

    def gave_up(self, failure: Failure, error: BaseException | None) -> None:
        """A consumer is given up, and another one made. Once for each."""
        ...

    def lag(self, lag: Mapping[Place, int]) -> None:
        """How many records come after those that were read, of each partition that is read here; of no other."""
        ...


class IntakeTelemetry(ConsumingTelemetry, Protocol):
    """Counts what becomes of records that ask for jobs; never content. Cheap enough for every batch."""

    def read(self, records: int) -> None:
        """So many records came."""
        ...

    def stored(self, outcome: BatchOutcome) -> None:
        """What became of records is stored. One that is handed in again is counted again."""
        ...

    def batch(self, seconds: float) -> None:
        """A batch was dealt with, so long after it came."""
        ...

    def paused(self, paused: bool) -> None:
        """Nothing is read for a while, or is read on."""
        ...

    def store_failed(self, what: str, error: BaseException) -> None:
        """The database failed at `what`, and will be asked again."""
        ...

    def crashed(self, records: Sequence[Record], error: BaseException) -> None:
        """Records could not be judged together, by a fault of ours. They are kept and tried again."""
        ...

    def aside(self, records: int) -> None:
        """So many records wait for their own sake; the partitions they are from are not committed beyond."""
        ...


class WakeUpTelemetry(ConsumingTelemetry, Protocol):
    """Counts wake-ups; never content. Cheap enough for every poll."""

    def hints(self, fresh: int, stale: int) -> None:
        """So many wake-ups came, and so many that were too old to help."""
        ...
