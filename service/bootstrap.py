"""Settings to one serving process: the doors on top of the engine, their keys and certificates."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from adapters.condition_telemetry import ReadyGauge
from adapters.keys import CertificateOwners, SettingsKeys
from adapters.providers.secrets import SecretError
from service.admin_place import OF_SERVICE
from service.api.catalog import CatalogHandler
from service.api.chat.handler import ChatHandler
from service.api.dead_letters import DeadLettersHandler
from service.api.jobs import JobsHandler
from service.api.responses.handler import ResponsesHandler
from service.api.routing import RoutingHandler
from service.edge import spans
from service.edge.admin import Admin, Health
from service.edge.admission import Admission
from service.edge.calls import Calls
from service.edge.grpc_calls import GrpcCalls
from service.edge.grpc_jobs import jobs_service
from service.edge.grpc_responses import responses_service
from service.edge.grpc_server import GrpcOptions, GrpcServer
from service.edge.grpc_services import catalog_service, chat_service, routing_service
from service.edge.heartbeats import Heartbeats
from service.edge.http_app import HttpApp
from service.edge.http_calls import HttpCalls
from service.edge.http_chat import HttpChat
from service.edge.http_jobs import HttpDeadLetters, HttpJobs
from service.edge.http_responses import HttpResponses
from service.edge.http_server import HttpOptions, HttpServer
from service.edge.tls import HttpTls, TlsFiles
from service.engine import Start, new_id
from service.job_engine import JobEngine
from service.kafka_letters import dead_letters
from service.kafka_side import KafkaSide, leave
from service.process import Parts, Process
from service.settings import Settings
from service.settings.parts import TlsSettings
from service.side_tasks import READY_SECONDS, Tasks, every
from workers.worker import Worker

__all__ = ["Service", "Start"]

_TLS_POLL_SECONDS: Final = 5.0


class Service(JobEngine):
    """One serving process, built from settings. `process` runs it; the rest is there for those who look in."""

    def __init__(self, settings: Settings, start: Start) -> None:
        """Builds everything; listens on nothing yet. Call it with a running event loop.

        Raises:
            DocumentError: the catalogue can't be used.
            OSError: a TLS file can't be read.
        """
        super().__init__(settings, start)
        self.admission = Admission(self.telemetry, time.monotonic, self.live.admission)
        self._heartbeats = Heartbeats(self.live.heartbeat, time.monotonic)
        self._http_tls = _http_tls(settings.http.tls)
        self.process = Process(self._parts(settings, start))

    def _parts(self, settings: Settings, start: Start) -> Parts:
        # Where this process listens, whatever a later edit says: that edit needs a restart.
        calls = self._calls(open_without_keys=settings.loopback_only)
        chat = ChatHandler(
            self.catalog, self.router, self.live.chat, wall_clock=time.time, new_id=new_id, window=self.window
        )
        responses = ResponsesHandler(
            self.preparer, self.router, self.database.responses, self.database.keys, window=self.window
        )
        stored, background = self.stored, self.background
        worker = self.worker() if settings.jobs.here else None
        kafka = self.kafka(worker) if worker is not None else None
        catalog = CatalogHandler(self.catalog)
        jobs = JobsHandler(self.database.jobs, clock=time.monotonic)
        letters = DeadLettersHandler(
            dead_letters(settings.kafka, self.secrets.resolve, self.acceptance().redrive), clock=time.monotonic
        )
        routing = RoutingHandler(self.catalog, self.router, self.live.chat, clock=time.monotonic)
        certificates = settings.grpc.tls.client_ca is not None
        where = spans.server(settings.grpc.host, settings.grpc.port)
        wrap = GrpcCalls(calls, self.admission, certificates=certificates, tracer=self.tracer, where=where)
        open_to_all = GrpcCalls(calls, self.admission, public=True)
        services = (
            chat_service(wrap, chat),
            responses_service(wrap, responses, stored, background),
            catalog_service(open_to_all, catalog),
            routing_service(wrap, routing),
            jobs_service(wrap, jobs, letters),
        )
        app = HttpApp(
            HttpCalls(calls, self.admission, self.tracer, spans.server(settings.http.host, settings.http.port)),
            HttpChat(chat, self._heartbeats, self.live.hint_fields),
            HttpResponses(responses, stored, background, self._heartbeats, self.live.hint_fields),
            catalog,
            HttpJobs(jobs),
            HttpDeadLetters(letters),
        ).build(settings.http.max_body_bytes)
        tls = self._http_tls.context if self._http_tls else None
        return Parts(
            grpc=GrpcServer(_grpc_options(settings, share_port=start.share_ports), services),
            http=HttpServer(app, HttpOptions(settings.http.host, settings.http.port, start.share_ports, tls)),
            admin=None if start.share_ports else self._admin(settings, start.admin),
            admission=self.admission,
            tasks=self._tasks(worker, kafka),
            closers=self.closers,
            drain=self.live.drain,
            leave=partial(leave, worker, kafka) if worker is not None else None,
        )

    def _calls(self, *, open_without_keys: bool) -> Calls:
        keys = SettingsKeys(
            self.live.key_rows,
            self._pepper,
            owners=self.live.owner_rows,
            open_without_keys=lambda: open_without_keys,
        )
        # Read before the first call, or it could be gone by then.
        with suppress(SecretError):
            self._pepper()
        by_certificate = CertificateOwners(self.live.owner_rows)
        return Calls(keys, self.live.deadlines, time.monotonic, by_certificate)

    def _pepper(self) -> bytes:
        # A Secret that lost its key must not turn every caller away: the condition `secrets` tells of it.
        reference = self.watcher.current.key_pepper
        return self.secrets.last(reference).encode() if reference else b""

    def _admin(self, settings: Settings, opened: Admin | None) -> HttpServer:
        if opened is None:
            return Admin(OF_SERVICE.options(settings), self.readiness, self.telemetry.render).server
        opened.health, opened.metrics = self.readiness, self.telemetry.render
        return opened.server

    def readiness(self) -> Health:
        """What the probes say now."""
        return self.conditions.health(*(() if self.process.ready else ("starting or draining",)))

    def _tasks(self, worker: Worker | None, kafka: KafkaSide | None) -> Tasks:
        tasks = {**self.tasks(), "heartbeats": self._heartbeats.run}
        if self.telemetry.shared_registry is not None:
            ready = ReadyGauge(self.telemetry.shared_registry)
            tasks["ready"] = lambda: every(READY_SECONDS, lambda: ready.show(not self.readiness().not_ready))
        if worker is not None:
            tasks["worker"] = worker.run
        if kafka is not None:
            tasks |= kafka.tasks()
        if certificates := _certificates(self._settings):
            tasks["certificates"] = lambda: self.process_telemetry.watch_certificates(certificates)
        if self._http_tls is not None:
            poll = self._http_tls.poll
            tasks["tls"] = lambda: every(_TLS_POLL_SECONDS, poll)
        return tasks


def _grpc_options(settings: Settings, *, share_port: bool) -> GrpcOptions:
    grpc = settings.grpc
    return GrpcOptions(
        host=grpc.host,
        port=grpc.port,
        max_message_bytes=grpc.max_message_bytes,
        max_concurrent_streams=grpc.max_concurrent_streams,
        max_connection_age=grpc.max_connection_age_seconds,
        max_connection_age_grace=grpc.max_connection_age_grace_seconds,
        min_ping_interval=grpc.keepalive_permit_seconds,
        share_port=share_port,
        tls=_tls_files(grpc.tls),
    )


def _tls_files(tls: TlsSettings) -> TlsFiles | None:
    if tls.cert is None or tls.key is None:
        return None
    return TlsFiles(tls.cert, tls.key, tls.client_ca, tls.require_client_cert)


def _certificates(settings: Settings) -> dict[str, Path]:
    """The certificate's file of each door that has one."""
    files = {"grpc": settings.grpc.tls.cert, "http": settings.http.tls.cert}
    return {door: path for door, path in files.items() if path is not None}


def _http_tls(tls: TlsSettings) -> HttpTls | None:
    files = _tls_files(tls)
    return HttpTls(files) if files is not None else None
