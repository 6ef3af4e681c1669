"""What workers tell of themselves, for metrics and logs. Adapters implement it."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from service.domain.errors import ServiceError
from service.domain.stored import StoreError

Outcome: TypeAlias = Literal[
    "completed", "incomplete", "failed", "retried", "put_off", "fenced", "handed_back", "crashed"
]
"""What became of a run. `retried` is a failed attempt, `put_off` is none; `crashed` waits for its lease to end."""


StoreFault: TypeAlias = StoreError | ServiceError
"""How a database's failure reaches a worker: from a store, or from what reads by way of one. Its text is ours."""


class WorkerTelemetry(Protocol):
    """Counts what workers do; never content. Cheap enough for every job."""

    def claimed(self, jobs: int, seconds: float) -> None:
        """A claim took `seconds` and brought so many jobs."""
        ...

    def running(self, jobs: int) -> None:
        """So many jobs run now."""
        ...

    def ended(self, outcome: Outcome, seconds: float) -> None:
        """A run ended after `seconds`."""
        ...

    def renewed(self, lag: float) -> None:
        """Leases were looked after, `lag` seconds later than was due."""
        ...

    def fenced(self, jobs: int) -> None:
        """The store refused the writes of so many jobs: they were ours no more."""
        ...

    def flushed(self, jobs: int, events: int) -> None:
        """One statement appended events of so many jobs."""
        ...

    def store_failed(self, what: str, error: StoreFault) -> None:
        """The database failed at `what`, and will be asked again."""
        ...

    def crashed(self, job_id: str, error: BaseException) -> None:
        """A run ended by a fault of ours."""
        ...
