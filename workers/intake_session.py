"""What intake does with one consumer: reads a batch, has it judged and stored, and only then commits its offsets.

While a batch can't be stored, the consumer is paused and polled on: a member that does not poll for long is taken
for dead, its partitions go to others, and they fail at the same database. Records that fail for their own sake,
while the database answers and others are stored, are put aside, and the rest is read on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from service.domain.consuming import Consumer, Record
from service.domain.intake import Acceptance, TryLaterError
from service.domain.stored import StoreError
from workers.consuming import gather, starts
from workers.intake_judging import Judging, parcels
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
        self._judging = Judging(acceptance, pressure, telemetry)
        self._pressure = pressure
        self._telemetry = telemetry
        self._settings = settings
        self._stopping = stopping
        self._clock = clock
        self._progress = Progress()
        self._paused = False
        self._came = True
        self._polled = clock()
        self._retry_at = 0.0
        self._retry_wait = 0.0
        self.storing = True

    @property
    def aside(self) -> int:
        """How many records wait until they can be judged or stored."""
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
        self._polled = self._clock()
        self._came = bool(records)
        if records and not self._stopping():
            await self._take(records, settings)
        if self._progress.aside and self._clock() >= self._retry_at:
            await self._try_again(settings)
            await self._commit()
        return len(records) >= settings.batch

    async def _take(self, records: Sequence[Record], settings: IntakeSettings) -> None:
        """Returns when records are dealt with, or it is told to stop and the rest is left to others."""
        began = self._clock()
        self._telemetry.read(len(records))
        for some in parcels(records, settings.batch_bytes):
            if self._stopping() or not await self._settle(some, settings):
                return
            await self._commit()
        self._telemetry.batch(self._clock() - began)

    async def _settle(self, records: Sequence[Record], settings: IntakeSettings) -> bool:
        """Whether records are dealt with; otherwise it is told to stop, and they can't be stored."""
        wait, failures = settings.first_retry, 0
        fresh, waiting = self._progress.apart(records)
        while True:
            try:
                aside: list[Record] | None = await self._judging.judge(fresh) if fresh else []
            except (TryLaterError, StoreError) as error:
                self.storing = False
                self._telemetry.store_failed("accept", error)
                failures += 1
                # The first failure may be one of the moment.
                aside = await self._sift(fresh, settings) if failures > 1 else None
            if aside is not None:
                break
            if not self._stopping():
                await self._hold(wait, settings)
            if self._stopping():
                return False
            wait = min(settings.longest_retry, wait * 2)
        self.storing = True
        self._progress.done(records, [*waiting, *aside])
        if aside:
            self._retry_at, self._retry_wait = self._clock() + settings.first_retry, settings.first_retry
            self._telemetry.aside(self.aside)
        return True

    async def _sift(self, records: Sequence[Record], settings: IntakeSettings) -> list[Record] | None:
        """Those that stand in the way of the others, if the database answers and has stored the others by now."""
        room = settings.most_aside - self.aside
        if room <= 0 or not await self._pressure.answers():
            return None
        return await self._judging.sift(records, room, lambda: self._breathe(settings))

    async def _breathe(self, settings: IntakeSettings) -> bool:
        """Is heard of now and then while it works for long; whether it may go on."""
        if self._clock() - self._polled >= settings.poll and not self._stopping():
            await self._hold(settings.gather, settings)
        return not self._stopping()

    async def _commit(self) -> None:
        following = self._progress.following
        if following:
            await self._consumer.commit(following)
            self._progress.committed()

    async def _hold(self, wait: float, settings: IntakeSettings) -> None:
        """Stays in the group for a while, reading nothing."""
        self._pause(paused=True)
        until = self._clock() + wait
        while (left := until - self._clock()) > 0 and not self._stopping():
            piece = min(left, settings.poll)
            began = self._clock()
            records = await self._consumer.poll(1, piece)
            self._polled = self._clock()
            if records:
                self._consumer.rewind(starts(records))
            await gather(began + piece - self._clock())

    async def _try_again(self, settings: IntakeSettings) -> None:
        """Records that failed for their own sake may succeed by now. They are never skipped."""
        for some in parcels(self._progress.aside, settings.batch_bytes):
            try:
                still: list[Record] | None = await self._judging.judge(some)
            except (TryLaterError, StoreError) as error:
                self._telemetry.store_failed("accept", error)
                still = None
                if await self._pressure.answers():
                    still = await self._judging.sift(some, len(some) + 1, lambda: self._breathe(settings))
            if still is None:
                break
            self._progress.tried(some, still)
        self._telemetry.aside(self.aside)
        self._retry_wait = min(settings.longest_aside, self._retry_wait * 2)
        self._retry_at = self._clock() + self._retry_wait

    def _pause(self, *, paused: bool) -> None:
        if paused != self._paused:
            self._paused = paused
            self._consumer.pause(paused)
            self._telemetry.paused(paused)
