"""What works on jobs, on top of the engine: a worker, what makes jobs of records, Kafka's side of the process.

How a job is claimed and run is known to `workers`, what a record means to service.edge.kafka.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from functools import partial
from random import getrandbits

from adapters.worker_telemetry import PrometheusWorkerTelemetry
from service.api.chat.background import ChatJobs, chat_idempotency_of
from service.api.responses.background import BackgroundResponses
from service.api.responses.follow import Followers
from service.api.responses.idempotency import idempotency_of
from service.domain.job_store import JobStore
from service.edge.kafka.acceptance import RecordAcceptance
from service.edge.kafka.judging import JobApi
from service.engine import Engine, Start, new_id
from service.kafka_side import KafkaSide
from service.settings import Settings
from workers.flush import Flusher, FlushLimits
from workers.leases import Leases, LeaseTimes
from workers.ports import WorkerTelemetry
from workers.runner import JobRunner
from workers.worker import Worker


class JobEngine(Engine):
    """The engine, and what accepts jobs and works on them."""

    def __init__(self, settings: Settings, start: Start) -> None:
        """Builds what accepts jobs; works on nothing yet.

        Raises:
            DocumentError: as `Engine`.
            OSError: as `Engine`.
        """
        super().__init__(settings, start)
        self.background = self._background()
        self._name = f"{socket.gethostname()}.{os.getpid()}"

    def _background(self) -> BackgroundResponses:
        return BackgroundResponses(
            self.preparer,
            self.router,
            self.stored,
            self.database.jobs,
            self.database.keys,
            Followers(self.database.jobs, self.database.signals),
            restart_on_loss=self.live.restart_on_loss,
            results_topic=self.live.results_topic,
        )

    def worker(
        self,
        *,
        leases: Callable[[JobStore, WorkerTelemetry, LeaseTimes], Leases] = Leases,
        jobs: JobStore | None = None,
    ) -> Worker:
        """A worker on this process's jobs. `leases` makes its leases, and `jobs` is the store that it works on."""
        seconds = self._settings.jobs.lease_seconds
        store = jobs or self.database.jobs
        telemetry = PrometheusWorkerTelemetry(
            self.telemetry.shared_registry,
            heard=partial(self._reports.database, "claims"),
            places=lambda: self.live.workers().concurrency,
        )
        held = leases(store, telemetry, LeaseTimes(length=seconds, margin=seconds / 10))
        flusher = Flusher(store, telemetry, FlushLimits())
        runner = JobRunner(
            self.preparer,
            self.router,
            flusher,
            telemetry,
            clock=time.monotonic,
            settings=self.live.runs,
            window=self.window,
            tracer=self.tracer,
        )
        worker = Worker(
            self._name,
            store,
            runner,
            held,
            flusher,
            telemetry,
            clock=time.monotonic,
            settings=self.live.workers,
        )
        self.database.signals.listen(on_work=worker.wake)
        return worker

    def acceptance(self, count: Callable[[str], object] = lambda _reason: None) -> RecordAcceptance:
        """What makes jobs of records; `count` is told the reason of each that is none."""
        chat = ChatJobs(
            self.catalog,
            self.router,
            self.live.responses,
            wall_clock=time.time,
            new_id=new_id,
            restart_on_loss=self.live.restart_on_loss,
            results_topic=self.live.results_topic,
        )
        return RecordAcceptance(
            self.live.intake_rules,
            {
                "responses": JobApi(self.background.job, idempotency_of),
                "chat": JobApi(chat.job, chat_idempotency_of),
            },
            self.database.jobs,
            self.database.keys,
            self.database.outbox,
            group=self._settings.kafka.intake_group,
            clock=time.monotonic,
            wall_clock=time.time,
            count=count,
            complete=self.catalog.complete,
            tracer=self.tracer,
        )

    def kafka(self, worker: Worker) -> KafkaSide | None:
        """Kafka's side of the process that this worker works in; None: there is no Kafka."""
        if not self._settings.kafka.enabled:
            return None
        return KafkaSide(
            # A container that begins again has the name and the process id of the one before.
            f"{self._name}.{getrandbits(32):08x}",
            self._settings,
            self.live,
            self.database,
            self.acceptance,
            wake=worker.wake,
            resolve=self.secrets.resolve,
            registry=self.telemetry.shared_registry,
            report=self.report,
            conditions=self.conditions,
            tracer=self.tracer,
        )
