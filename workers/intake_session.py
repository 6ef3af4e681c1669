"""What intake does with one consumer: reads a batch, has it judged and stored, and only then commits its offsets.

While a batch can't be stored, the consumer is paused and polled on: a member that does not poll for long is taken
for dead, its partitions go to others, and they fail at the same database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from service.domain.consuming import Consumer, Record
from service.domain.intake import Acceptance, TryLaterError
from service.domain.stored import StoreError
from workers.consuming import gather, starts
from workers.intake_ports import IntakeTelemetry
from workers.intake_pressure import Pressure
from workers.intake_progress import Progress
from workers.intake_settings import IntakeSettings


class IntakeSession:
    """`run` it once, with a consumer that was started. `stopping` is asked again and again.

    `clock` is monotonic.
    """

    def __init__(
        self,
        consumer: Consumer,
        acceptance: Acceptance,
        pressure: Pressure,
        telemetry: IntakeTelemetry,
        *,
        settings: Callable[[], IntakeSettings],
        stopping: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._consumer = consumer
        self._acceptance = acceptance
        self._pressure = pressure
        self._telemetry = telemetry
        self._settings = settings
        self._stopping = stopping
        self._clock = clock
        self._progress = Progress()
        self._paused = False
        self._came = True
        self._retry_at = 0.0
        self._retry_wait = 0.0
        self.storing = True

    @property
    def aside(self) -> int:
        """How many records wait until they can be judged."""
        return len(self._progress.aside)

    async def run(self) -> None:
        """Takes records until told to stop; a batch that can't be stored then is left for whoever reads it next.

        Raises:
            ConsumerError: the consumer can't go on.
        """
        try:
            while not self._stopping():
                began = self._clock()
                settings = self._settings()
                await self._look(settings)
                full = await self._turn(settings)
                await gather(0.0 if full else began + settings.gather - self._clock())
        finally:
            self._telemetry.aside(0)
            self._telemetry.paused(False)

    async def _look(self, settings: IntakeSettings) -> None:
        """Reads on, or doesn't for a while."""
        if self._came or self._pressure.high:
            try:
                await self._pressure.look(settings)
            except StoreError as error:
                self._telemetry.store_failed("runnable", error)
        self._pause(paused=self._pressure.high or self.aside >= settings.most_aside)

    async def _turn(self, settings: IntakeSettings) -> bool:
        """One batch. Whether it was a full one."""
        seconds = min(settings.poll, settings.check) if self._paused else settings.poll
        records = await self._consumer.poll(settings.batch, seconds)
        self._came = bool(records)
        if records and not self._stopping():
            await self._take(records, settings)
        if self._progress.aside and self._clock() >= self._retry_at:
            await self._try_again(settings)
        following = self._progress.following
        if following:
            await self._consumer.commit(following)
            self._progress.committed()
        return len(records) >= settings.batch

    async def _take(self, records: Sequence[Record], settings: IntakeSettings) -> None:
        """Returns when records are dealt with, or it is told to stop and they can't be stored."""
        began = self._clock()
        self._telemetry.read(len(records))
        wait = settings.first_retry
        while True:
            try:
                crashed = await self._judge(records)
            except (TryLaterError, StoreError) as error:
                self.storing = False
                self._telemetry.store_failed("accept", error)
                if not self._stopping():
                    await self._hold(wait, settings)
                if self._stopping():
                    return
                wait = min(settings.longest_retry, wait * 2)
            else:
                break
        self.storing = True
        self._progress.done(records, crashed)
        if crashed:
            self._retry_at, self._retry_wait = self._clock() + settings.first_retry, settings.first_retry
            self._telemetry.aside(self.aside)
        self._telemetry.batch(self._clock() - began)

    async def _judge(self, records: Sequence[Record], *, whole: bool = True) -> list[Record]:
        """Has records judged and stored; those that can't be, by a fault of ours.

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
            middle = len(records) // 2
            halves = (records[:middle], records[middle:])
            return [record for half in halves for record in await self._judge(half, whole=False)]
        self._telemetry.stored(outcome)
        self._pressure.accepted(outcome.accepted)
        return []

    async def _hold(self, wait: float, settings: IntakeSettings) -> None:
        """Stays in the group for a while, reading nothing."""
        self._pause(paused=True)
        until = self._clock() + wait
        while (left := until - self._clock()) > 0 and not self._stopping():
            piece = min(left, settings.poll)
            began = self._clock()
            records = await self._consumer.poll(1, piece)
            if records:
                self._consumer.rewind(starts(records))
            await gather(began + piece - self._clock())

    async def _try_again(self, settings: IntakeSettings) -> None:
        """Records that failed by a fault of ours may succeed by now. They are never skipped."""
        waiting = self._progress.aside
        try:
            crashed = await self._judge(waiting)
        except (TryLaterError, StoreError) as error:
            self._telemetry.store_failed("accept", error)
        else:
            self._progress.tried(waiting, crashed)
            self._telemetry.aside(self.aside)
        self._retry_wait = min(settings.longest_aside, self._retry_wait * 2)
        self._retry_at = self._clock() + self._retry_wait

    def _pause(self, *, paused: bool) -> None:
        if paused != self._paused:
            self._paused = paused
            self._consumer.pause(paused)
            self._telemetry.paused(paused)
