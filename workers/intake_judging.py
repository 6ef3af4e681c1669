"""Has records judged and stored together, and finds out which of them stand in the way of the others.

When to try again, and how a consumer is kept in its group meanwhile, is the session's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

from service.domain.consuming import Record
from service.domain.intake import Acceptance, TryLaterError
from service.domain.stored import StoreError
from workers.intake_ports import IntakeTelemetry
from workers.intake_pressure import Pressure


class Judging:
    """One per session; what it accepts is told to the `pressure`."""

    def __init__(self, acceptance: Acceptance, pressure: Pressure, telemetry: IntakeTelemetry) -> None:
        self._acceptance = acceptance
        self._pressure = pressure
        self._telemetry = telemetry

    async def judge(self, records: Sequence[Record], *, whole: bool = True) -> list[Record]:
        """Has records judged and stored; those that can't be, by a fault of ours or not yet.

        Raises:
            TryLaterError: some were not stored.
            StoreError: likewise.
        """
        try:
            outcome = await self._acceptance.accept(records)
        except (TryLaterError, StoreError):
            raise
        except Exception as error:  # noqa: BLE001 - one record must not stop the others
            if whole or len(records) == 1:
                self._telemetry.crashed(records, error)
            if len(records) == 1:
                return list(records)
            # Whoever fails without waiting for anything would keep the event loop for all of them.
            await asyncio.sleep(0)
            return [record for half in halves(records) for record in await self.judge(half, whole=False)]
        self._telemetry.stored(outcome)
        self._pressure.accepted(outcome.accepted)
        return list(outcome.later)

    async def sift(
        self, records: Sequence[Record], most: int, breathe: Callable[[], Awaitable[bool]]
    ) -> list[Record] | None:
        """Of records that failed together while the database answers: has all stored but those that fail alone.

        None: it is no matter of theirs, as the database is away by now, or as more than `most` failed and none
        passed; likewise when `breathe`, which is waited for after every failure, says that there is no time.
        """
        waiting, aside, failed, passed = [records], list[Record](), 0, False
        while waiting:
            some = waiting.pop()
            try:
                # That all of them fail is why they are here.
                found = None if some is records else await self.judge(some)
            except (TryLaterError, StoreError) as error:
                self._telemetry.store_failed("accept", error)
                found = None
                if not await breathe() or not await self._pressure.answers():
                    return None
            if found is not None:
                aside += found
                passed = passed or len(found) < len(some)
            elif len(some) > 1:
                waiting += reversed(halves(some))
            else:
                aside += some
                failed += 1
                if failed > most and not passed:
                    return None
        return aside


def halves(records: Sequence[Record]) -> tuple[Sequence[Record], Sequence[Record]]:
    """Records in two parts, in order."""
    middle = len(records) // 2
    return records[:middle], records[middle:]


def parcels(records: Sequence[Record], most_bytes: int) -> Iterator[Sequence[Record]]:
    """Records in parts of so many bytes at most, in order; one that has more is a part of its own."""
    begin = size = 0
    for number, record in enumerate(records):
        more = _size(record)
        if size + more > most_bytes and number > begin:
            yield records[begin:number]
            begin, size = number, 0
        size += more
    if records:
        yield records[begin:] if begin else records


def _size(record: Record) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers
