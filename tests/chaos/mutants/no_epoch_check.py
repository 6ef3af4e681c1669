"""A worker whose writes the database takes though the job was given away, cancelled or is over."""

from __future__ import annotations

import sys

from adapters.database import job_statements_postgres as sql
from service.worker_service import WorkerService
from tests.chaos.mutants.started import main

_WITHOUT = (
    ("APPEND", " AND epoch = g.epoch AND lease_until IS NOT NULL", ""),
    # What was written is told by the epoch that asked, or the worker would learn from it.
    ("APPEND", "held.id, held.epoch, held.sequence", "held.id, g.epoch, held.sequence"),
    # PostgreSQL wants to know the types of parameters that nothing uses.
    ("FINISH", " AND epoch = $2 AND lease_until IS NOT NULL", " AND $2::int IS NOT NULL"),
    ("PUT_OFF", " AND epoch = $2 AND lease_until IS NOT NULL", " AND $2::int IS NOT NULL"),
)


def drop_checks() -> None:
    """Takes the checks out of the statements, in this process.

    Raises:
        ValueError: a statement has no such check, and this is no mutant any more.
    """
    for name, check, instead in _WITHOUT:
        statement = getattr(sql, name)
        if statement.count(check) != 1:
            raise ValueError(f"{name} has no check of the epoch that reads {check!r}")
        setattr(sql, name, statement.replace(check, instead))


if __name__ == "__main__":
    drop_checks()
    sys.exit(main(WorkerService))
