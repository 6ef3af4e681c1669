"""Settings to one worker process: the engine, a worker on it, probes and metrics; no door for callers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from adapters import logs
from service.announcement import kafka_lines
from service.domain.job_store import JobStore
from service.edge.http_server import HttpOptions, HttpServer, admin_app
from service.engine import Engine, Start
from service.kafka_side import leave
from service.settings import Settings
from service.until_signal import freeze_what_stays, run, run_until_stopped, say, starting, stop_on_signals
from service.worker_process import WorkerParts, WorkerProcess
from workers.leases import Leases, LeaseTimes
from workers.ports import WorkerTelemetry


class WorkerService(Engine):
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
        worker = self.worker(leases=leases, jobs=jobs(self.database.jobs))
        kafka = self.kafka(worker)
        others = {} if kafka is None else kafka.tasks()
        options = HttpOptions(settings.jobs.admin_host, settings.jobs.admin_port)
        self.process = WorkerProcess(
            WorkerParts(
                worker,
                partial(leave, worker, kafka),
                HttpServer(admin_app(worker.problem, self.telemetry.render), options),
                {**self.tasks(), **others, "worker": worker.run},
                self.closers,
                lambda: self.live.drain().finish,
            )
        )


def work(
    settings: Settings, config: Path | None, make: Callable[[Settings, Start], WorkerService] = WorkerService
) -> int:
    """Works until SIGTERM or SIGINT; the exit code (1: could not start or failed, and the reason was told)."""
    logs.configure(settings.log.format, settings.log.level)

    async def main() -> int:
        stop = stop_on_signals()
        with starting({"jobs.admin_port": settings.jobs.admin_port}):
            service = make(settings, Start(config, has_doors=False))
            await service.process.start()
        freeze_what_stays()
        host = settings.jobs.admin_host
        say(f"==> working on background responses of {service.database.name}")
        for line in kafka_lines(settings, works=True):
            say(line)
        say(f"==> probes and metrics on {host}:{service.process.admin_port}")
        return await run_until_stopped(service.process, stop)

    return run(main)
