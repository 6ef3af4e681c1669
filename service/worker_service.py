"""Settings to one worker process: the engine, a worker on it, probes and metrics; no door for callers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from adapters import logs
from adapters.condition_telemetry import ReadyGauge
from service.admin_place import OF_WORKER
from service.announcement import kafka_lines
from service.domain.job_store import JobStore
from service.edge.admin import Admin, Health
from service.engine import Start
from service.job_engine import JobEngine
from service.kafka_side import leave
from service.settings import Settings
from service.side_tasks import READY_SECONDS, every
from service.until_signal import freeze_what_stays, run, run_until_stopped, say, starting, stop_on_signals
from service.waiting import Needs, wait_for_needs
from service.worker_process import WorkerParts, WorkerProcess
from workers.leases import Leases, LeaseTimes
from workers.ports import WorkerTelemetry


class WorkerService(JobEngine):
    """One worker process, built from settings. `process` runs it.

    `leases` makes the worker's leases, `jobs` the store that it works on out of the database's.
    """

    def __init__(
        self,
        settings: Settings,
        start: Start,
        *,
        leases: Callable[[JobStore, WorkerTelemetry, LeaseTimes], Leases] = Leases,
        jobs: Callable[[JobStore], JobStore] = lambda jobs: jobs,
    ) -> None:
        """Builds everything; works on nothing yet. Call it with a running event loop.

        Raises:
            DocumentError: the catalogue can't be used.
        """
        super().__init__(settings, start)
        self._ready = ReadyGauge(self.telemetry.shared_registry)
        self._worker = worker = self.worker(leases=leases, jobs=jobs(self.database.jobs))
        kafka = self.kafka(worker)
        others = {} if kafka is None else kafka.tasks()
        admin = start.admin or Admin(OF_WORKER.options(settings), self.readiness, self.telemetry.render)
        admin.health, admin.metrics = self.readiness, self.telemetry.render
        self.process = WorkerProcess(
            WorkerParts(
                worker,
                partial(leave, worker, kafka),
                admin.server,
                {**self.tasks(), **others, "worker": worker.run, "ready": self._show_ready},
                self.closers,
                lambda: self.live.drain().finish,
            )
        )

    def readiness(self) -> Health:
        """What the probes say now."""
        worker = self._worker
        return self.conditions.health_of_worker(works=worker.reached, leaving=worker.stopping)

    async def _show_ready(self) -> None:
        await every(READY_SECONDS, lambda: self._ready.show(not self.readiness().not_ready))


def work(
    settings: Settings,
    config: Path | None,
    make: Callable[[Settings, Start], WorkerService] = WorkerService,
    *,
    wait: bool = False,
) -> int:
    """Works until SIGTERM or SIGINT; the exit code (1: could not start or failed, and the reason was told).

    `wait`: first for what is needed and may still come.

    Raises:
        SettingsError: while it waited it found what can't come.
    """
    logs.configure(settings.log.format, settings.log.level)
    return run(lambda: _work(settings, Start(config, has_doors=False), make, wait=wait))


async def _work(
    settings: Settings, start: Start, make: Callable[[Settings, Start], WorkerService], *, wait: bool
) -> int:
    stop = stop_on_signals()
    async with AsyncExitStack() as stack:
        with starting({"jobs.admin_port": settings.jobs.admin_port}):
            if wait:
                there = await wait_for_needs(
                    stack, settings, Needs(start.config, start.env, OF_WORKER.options), stop
                )
                if there is None:
                    return 0
                settings = there.settings
                logs.configure(settings.log.format, settings.log.level)
                start = replace(start, conditions=there.conditions, admin=there.admin)
            service = make(settings, start)
            await service.process.start()
        freeze_what_stays()
        host = settings.jobs.admin_host
        say(f"==> working on background responses of {service.database.name}")
        for line in kafka_lines(settings, works=True):
            say(line)
        say(f"==> probes and metrics on {host}:{service.process.admin_port}")
        return await run_until_stopped(service.process, stop)
