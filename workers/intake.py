"""Intake: takes the records that ask for jobs, and runs none.

What a record means and how it is stored is the acceptance's; how its consumer is kept alive, the supervisor's.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from service.domain.consuming import Consumer, Place
from service.domain.intake import Acceptance
from workers.consuming import ConsumerSupervisor
from workers.intake_ports import IntakeTelemetry
from workers.intake_pressure import Pressure
from workers.intake_session import IntakeSession
from workers.intake_settings import IntakeSettings


class IntakeLoop:
    """One consumer's worth of intake. `run` it once; `stop` lets it leave.

    `make` gives a consumer that is not started. `runnable` says how many jobs may be run now, and may raise
    StoreError. `clock` is monotonic.
    """

    def __init__(
        self,
        make: Callable[[], Consumer],
        acceptance: Acceptance,
        runnable: Callable[[], Awaitable[int]],
        telemetry: IntakeTelemetry,
        *,
        settings: Callable[[], IntakeSettings] = IntakeSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._acceptance = acceptance
        self._pressure = Pressure(runnable, clock)
        self._telemetry = telemetry
        self._settings = settings
        self._clock = clock
        self._supervisor = ConsumerSupervisor(make, self._work, telemetry, settings=settings, clock=clock)
        self._session: IntakeSession | None = None

    @property
    def stopping(self) -> bool:
        """Whether it was told to."""
        return self._supervisor.stopping

    @property
    def lag(self) -> Mapping[Place, int]:
        """How many records of each partition that is read here come after those that were read."""
        return self._supervisor.lag

    def problem(self) -> str | None:
        """None while it takes records or could, otherwise a sentence on why it doesn't."""
        if self.stopping:
            return "draining"
        if not self._supervisor.connected or self._session is None:
            return "the broker was not reached yet, or is away"
        if not self._session.storing:
            return "the database was not reached, or is away: records wait in the broker"
        if self._session.aside >= self._settings().most_aside:
            return "many records can't be judged, by a fault of the service: nothing more is read"
        return None

    def stop(self) -> None:
        """Reads nothing more; `run` returns when the batch under way is stored and committed. Idempotent."""
        self._supervisor.stop()

    async def leave(self) -> None:
        """`stop`, and returns when `run` does."""
        await self._supervisor.leave()

    async def run(self) -> None:
        """Takes records until stopped or cancelled, whatever fails. Cancelled, it leaves the batch to others."""
        await self._supervisor.run()

    async def _work(self, consumer: Consumer) -> None:
        self._session = session = IntakeSession(
            consumer,
            self._acceptance,
            self._pressure,
            self._telemetry,
            settings=self._settings,
            stopping=lambda: self.stopping,
            clock=self._clock,
        )
        try:
            await session.run()
        finally:
            # One that was given up may end after its successor began.
            if self._session is session:
                self._session = None
