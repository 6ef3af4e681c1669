"""Expired responses deleted, a few at a time, and the outbox's mode kept, for as long as the process runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from random import random
from typing import Final

from adapters.database.open import Database
from service.domain.stored import ResponseStore, StoreError

READY: Final = "database_ready"
SWEPT: Final = "responses_swept"
OUTBOX_ON: Final = "outbox_on"
OUTBOX_OFF: Final = "outbox_off"

_AGAIN_SECONDS: Final = 5.0

Report = Callable[[str, Mapping[str, object]], None]
"""Called with one of the names above and its values; must not block."""


async def run_sweep(
    database: Database,
    every: float,
    batch: int = 200,
    *,
    pause: float = 0.1,
    report: Report = lambda _event, _values: None,
    heard: Callable[[StoreError | None], None] = lambda _error: None,
) -> None:
    """Makes the database ready, then sweeps every so many seconds until cancelled; `pause` between batches.

    Looks each time whether what becomes of jobs is to be written to the outbox, and sooner when others do it.
    `heard` is told of every failure, and when it works.
    """
    worked = False
    mode = database.outbox_mode
    told = mode.always
    while True:
        wait = every
        try:
            await database.prepare()
            if not worked:
                worked = True
                report(READY, {"database": database.name})
            await database.look()
            if mode.on is not told:
                told = mode.on
                report(OUTBOX_ON if told else OUTBOX_OFF, {"database": database.name})
            # Only now: a database that has become read-only can be looked at, and no more.
            if swept := await _sweep(database.responses, batch, pause, lambda: heard(None)):
                report(SWEPT, {"responses": swept})
        except StoreError as error:
            wait = min(every, _AGAIN_SECONDS)
            heard(error)
        # Replicas that started together must not sweep together.
        await mode.pause(wait * (0.9 + 0.2 * random()))  # noqa: S311 - not a secret


async def _sweep(store: ResponseStore, batch: int, pause: float, works: Callable[[], None]) -> int:
    total = 0
    while True:
        swept = await store.sweep(batch)
        works()
        total += swept
        # Less than a batch is not the end: one holds less where the responses have many events.
        if not swept:
            return total
        await asyncio.sleep(pause)
