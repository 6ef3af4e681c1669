"""Wake-ups: tells a worker that there may be something to run. The claim alone decides whether there is.

A hint that is lost or comes late costs a poll of the database, never a job: so places are committed now and then
only, and nothing waits for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from service.domain.consuming import Consumer, Place, Record
from workers.consuming import ConsumerSupervisor, gather
from workers.intake_ports import WakeUpTelemetry
from workers.intake_settings import WakeUpSettings


class WakeUpLoop:
    """One consumer of wake-ups. `run` it once; `stop` lets it leave.

    `make` gives a consumer that is not started and begins with the latest records. `wake` is quick and may be
    called as often as one likes. `clock` is monotonic; `now` are seconds since 1970.
    """

    def __init__(
        self,
        make: Callable[[], Consumer],
        wake: Callable[[], None],
        telemetry: WakeUpTelemetry,
        *,
        settings: Callable[[], WakeUpSettings] = WakeUpSettings,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._wake = wake
        self._telemetry = telemetry
        self._settings = settings
        self._clock = clock
        self._now = now
        self._supervisor = ConsumerSupervisor(make, self._work, telemetry, settings=settings, clock=clock)

    @property
    def stopping(self) -> bool:
        """Whether it was told to."""
        return self._supervisor.stopping

    @property
    def lag(self) -> Mapping[Place, int]:
        """How many hints of each partition that is read here come after those that were read."""
        return self._supervisor.lag

    def problem(self) -> str | None:
        """None while hints are read, otherwise a sentence on why they aren't. Jobs run without them, too."""
        if self.stopping:
            return "draining"
        return None if self._supervisor.connected else "the broker was not reached yet, or is away"

    def stop(self) -> None:
        """Reads nothing more; `run` returns soon. Idempotent."""
        self._supervisor.stop()

    async def leave(self) -> None:
        """`stop`, and returns when `run` does."""
        await self._supervisor.leave()

    async def run(self) -> None:
        """Wakes until stopped or cancelled, whatever fails."""
        await self._supervisor.run()

    async def _work(self, consumer: Consumer) -> None:
        following: dict[Place, int] = {}
        committed = self._clock()
        while not self.stopping:
            began = self._clock()
            settings = self._settings()
            records = await consumer.poll(settings.batch, settings.poll)
            if records:
                self._take(records, settings)
                following.update((record.place, record.offset + 1) for record in records)
            if following and self._clock() - committed >= settings.commit:
                await consumer.commit(following)
                following.clear()
                committed = self._clock()
            full = len(records) >= settings.batch
            await gather(0.0 if full else began + settings.gather - self._clock())
        if following:
            await consumer.commit(following)

    def _take(self, records: Sequence[Record], settings: WakeUpSettings) -> None:
        oldest = (self._now() - settings.stale) * 1000
        # Below zero: nobody knows when it was written.
        fresh = sum(record.timestamp_ms >= oldest or record.timestamp_ms < 0 for record in records)
        self._telemetry.hints(fresh, len(records) - fresh)
        if fresh:
            self._wake()
