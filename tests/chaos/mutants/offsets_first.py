"""A worker that commits the offsets of records before they are stored; and waits in between, so that it shows."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Final

from service.domain.consuming import Record
from service.worker_service import WorkerService
from tests.chaos.mutants.started import main
from workers.intake_session import IntakeSession
from workers.intake_settings import IntakeSettings

_WINDOW: Final = 8.0


def commit_first() -> None:
    """Turns the order around, in this process."""
    take = IntakeSession._take

    async def hasty(self: IntakeSession, records: Sequence[Record], settings: IntakeSettings) -> None:
        await self._consumer.commit({record.place: record.offset + 1 for record in records})
        await asyncio.sleep(_WINDOW)
        await take(self, records, settings)

    IntakeSession._take = hasty  # type: ignore[method-assign]


if __name__ == "__main__":
    commit_first()
    sys.exit(main(WorkerService))
