"""Settings to running objects: the only module that names concrete adapters."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from random import getrandbits
from typing import Final

import structlog

from adapters import logs
from adapters.catalog.load import DEFAULT_CATALOG
from adapters.catalog.watch import FileCatalog
from adapters.database.open import Database, DatabaseOptions, open_database
from adapters.database.sweep import run_sweep
from adapters.database.url import effective_url
from adapters.health import OutcomeHealth
from adapters.keys import CertificateOwners, SettingsKeys
from adapters.providers.http import HttpSettings
from adapters.providers.listing import Listing
from adapters.providers.registry import DIALECTS
from adapters.providers.secrets import Secrets
from adapters.providers.upstream import HttpUpstream
from adapters.telemetry import PrometheusTelemetry
from adapters.worker_telemetry import PrometheusWorkerTelemetry
from service.api.catalog import CatalogHandler
from service.api.chat.handler import ChatHandler
from service.api.responses.background import BackgroundResponses
from service.api.responses.follow import Followers
from service.api.responses.handler import ResponsesHandler
from service.api.responses.prepare import Preparer
from service.api.responses.stored import StoredResponses
from service.api.routing import RoutingHandler
from service.coalesce import LoadWindow
from service.edge.admission import Admission
from service.edge.calls import Calls
from service.edge.grpc_calls import GrpcCalls
from service.edge.grpc_responses import responses_service
from service.edge.grpc_server import GrpcOptions, GrpcServer
from service.edge.grpc_services import catalog_service, chat_service, routing_service
from service.edge.heartbeats import Heartbeats
from service.edge.http_app import HttpApp
from service.edge.http_calls import HttpCalls
from service.edge.http_chat import HttpChat
from service.edge.http_responses import HttpResponses
from service.edge.http_server import HttpOptions, HttpServer, admin_app
from service.edge.tls import HttpTls, TlsFiles
from service.live import LiveSettings
from service.process import Parts, Process, every, measure_load
from service.router import Router
from service.settings import Settings, SettingsWatcher
from service.settings.parts import TlsSettings
from service.settings.show import problems
from workers.flush import Flusher, FlushLimits
from workers.leases import Leases, LeaseTimes
from workers.runner import JobRunner
from workers.worker import Worker

USER_AGENT: Final = f"eurouter/{metadata.version('eurouter')}"
_TLS_POLL_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Start:
    """How a process is started.

    `config` is the settings file; `env` the environment. `catalog` replaces the catalogue's path (the demo's
    own). `share_ports`: one of several processes, with no admin port of its own. Without `drain_pause` a stop
    begins at once: nobody balances load over a process that a person runs in a terminal.
    """

    config: Path | None = None
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    catalog: Path | None = None
    share_ports: bool = False
    drain_pause: bool = True


class Service:
    """One serving process, built from settings. `process` runs it; the rest is there for those who look in."""

    def __init__(self, settings: Settings, start: Start) -> None:
        """Builds everything; listens on nothing yet. Call it with a running event loop.

        Raises:
            DocumentError: the catalogue can't be used.
            OSError: a TLS file can't be read.
        """
        self._log = structlog.get_logger().bind()
        self.secrets = Secrets(start.env)
        self.watcher = SettingsWatcher(
            start.config,
            start.env,
            settings,
            report=self._report,
            on_change=self._settings_changed,
            check=lambda fresh: problems(fresh, self.secrets.resolve),
        )
        self._live = LiveSettings(settings, drain_pause=start.drain_pause)
        self.telemetry = PrometheusTelemetry(multiprocess_mode=start.share_ports)
        self.admission = Admission(self.telemetry, time.monotonic)
        self.catalog = FileCatalog(
            start.catalog or settings.catalog.path or DEFAULT_CATALOG,
            {name: dialect.expressible_with for name, dialect in DIALECTS.items()},
            self.secrets.is_configured,
            rules=settings.rule_rows,
            timeouts=settings.upstream.timeouts(),
            report=self._report,
        )
        self.upstream = HttpUpstream(
            DIALECTS, self.secrets, user_agent=USER_AGENT, settings=_http_settings(settings)
        )
        self.router = Router(
            self.upstream, OutcomeHealth(time.monotonic), self.telemetry, settings=self._live.router
        )
        self._window = LoadWindow(settings.coalesce.max_window_ms / 1000)
        self._heartbeats = Heartbeats(self._live.heartbeat, time.monotonic)
        self._http_tls = _http_tls(settings.http.tls)
        self.database = _database(settings, self.secrets, start.env)
        self.process = Process(self._parts(settings, start))

    def _parts(self, settings: Settings, start: Start) -> Parts:
        # Where this process listens, whatever a later edit says: that edit needs a restart.
        calls = self._calls(open_without_keys=settings.loopback_only)
        chat = ChatHandler(
            self.catalog, self.router, self._live.chat, wall_clock=time.time, new_id=_new_id, window=self._window
        )
        preparer = Preparer(
            self.catalog, self.database.responses, self._live.responses, wall_clock=time.time, new_id=_new_id
        )
        responses = ResponsesHandler(preparer, self.router, self.database.responses, window=self._window)
        stored = StoredResponses(self.database.responses)
        worker = self._worker(preparer, settings) if settings.jobs.here else None
        background = BackgroundResponses(
            preparer,
            self.router,
            stored,
            self.database.jobs,
            Followers(self.database.jobs),
            restart_on_loss=self._live.restart_on_loss,
            wake=worker.wake if worker is not None else lambda: None,
        )
        catalog = CatalogHandler(self.catalog)
        routing = RoutingHandler(self.catalog, self.router, self._live.chat, clock=time.monotonic)
        certificates = settings.grpc.tls.client_ca is not None
        wrap = GrpcCalls(calls, self.admission, certificates=certificates)
        open_to_all = GrpcCalls(calls, self.admission, public=True)
        services = (
            chat_service(wrap, chat),
            responses_service(wrap, responses, stored, background),
            catalog_service(open_to_all, catalog),
            routing_service(wrap, routing),
        )
        app = HttpApp(
            HttpCalls(calls, self.admission),
            HttpChat(chat, self._heartbeats, self._live.hint_fields),
            HttpResponses(responses, stored, background, self._heartbeats, self._live.hint_fields),
            catalog,
        ).build(settings.http.max_body_bytes)
        tls = self._http_tls.context if self._http_tls else None
        return Parts(
            grpc=GrpcServer(_grpc_options(settings, share_port=start.share_ports), services),
            http=HttpServer(app, HttpOptions(settings.http.host, settings.http.port, start.share_ports, tls)),
            admin=None if start.share_ports else self._admin(settings),
            admission=self.admission,
            tasks=self._tasks(settings, worker),
            closers=(self.upstream.aclose, self.database.aclose),
            drain=self._live.drain,
            leave=worker.stop if worker is not None else lambda: None,
        )

    def _worker(self, preparer: Preparer, settings: Settings) -> Worker:
        jobs, store = settings.jobs, self.database.jobs
        telemetry = PrometheusWorkerTelemetry(self.telemetry.shared_registry)
        leases = Leases(store, telemetry, LeaseTimes(length=jobs.lease_seconds, margin=jobs.lease_seconds / 10))
        flusher = Flusher(store, telemetry, FlushLimits())
        runner = JobRunner(
            preparer,
            self.router,
            flusher,
            telemetry,
            clock=time.monotonic,
            settings=self._live.runs,
            window=self._window,
        )
        return Worker(
            f"{socket.gethostname()}.{os.getpid()}",
            store,
            runner,
            leases,
            flusher,
            telemetry,
            clock=time.monotonic,
            settings=self._live.workers,
        )

    def _calls(self, *, open_without_keys: bool) -> Calls:
        keys = SettingsKeys(
            self._live.key_rows,
            self._pepper,
            owners=self._live.owner_rows,
            open_without_keys=lambda: open_without_keys,
        )
        by_certificate = CertificateOwners(self._live.owner_rows)
        return Calls(keys, self._live.deadlines, time.monotonic, by_certificate)

    def _pepper(self) -> bytes:
        reference = self.watcher.current.key_pepper
        return self.secrets.resolve(reference).encode() if reference else b""

    def _admin(self, settings: Settings) -> HttpServer:
        app = admin_app(lambda: None if self.process.ready else "starting or draining", self.telemetry.render)
        return HttpServer(app, HttpOptions(settings.admin.host, settings.admin.port))

    def _tasks(self, settings: Settings, worker: Worker | None) -> dict[str, Callable[[], Awaitable[None]]]:
        listing = Listing(self.secrets, USER_AGENT, ca_file=_http_settings(settings).ca_file)
        tasks: dict[str, Callable[[], Awaitable[None]]] = {
            "load": lambda: measure_load(self._window.observe),
            "heartbeats": self._heartbeats.run,
            "settings": self.watcher.run,
            "catalog": lambda: self.catalog.run(listing, discover_every=settings.catalog.discover_seconds),
            "database": lambda: run_sweep(self.database, settings.responses.sweep_seconds, report=self._report),
        }
        if worker is not None:
            tasks["worker"] = worker.run
        if self._http_tls is not None:
            poll = self._http_tls.poll
            tasks["tls"] = lambda: every(_TLS_POLL_SECONDS, poll)
        return tasks

    def _settings_changed(self, settings: Settings) -> None:
        self._live.use(settings)
        self.catalog.use_rules(settings.rule_rows)
        self._window.max_window = settings.coalesce.max_window_ms / 1000
        logs.set_level(settings.log.level)

    def _report(self, event: str, values: Mapping[str, object]) -> None:
        bad = event.endswith(("_rejected", "_failed", "_missing", "_old", "_need_restart"))
        self._log.log(30 if bad else 20, event, **values)


def _new_id() -> str:
    """36 hexadecimal digits, the last part of an answer's id."""
    return f"{getrandbits(144):036x}"


def _database(settings: Settings, secrets: Secrets, env: Mapping[str, str]) -> Database:
    database = settings.database
    url = effective_url(database.url, env, secrets.resolve)
    options = DatabaseOptions(
        auto_migrate=database.auto_migrate,
        pool_size=database.pool_size,
        connect_seconds=database.connect_seconds,
        seconds=database.statement_seconds,
    )
    return open_database(url, options)


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


def _http_tls(tls: TlsSettings) -> HttpTls | None:
    files = _tls_files(tls)
    return HttpTls(files) if files is not None else None


def _http_settings(settings: Settings) -> HttpSettings:
    upstream = settings.upstream
    return HttpSettings(
        max_connections=upstream.max_connections,
        max_connections_per_host=upstream.max_connections_per_host,
        keepalive=upstream.keepalive_seconds,
        max_answer_bytes=upstream.max_answer_bytes,
        ca_file=str(upstream.ca_file) if upstream.ca_file else None,
    )


async def run_until_stopped(service: Service, stop: asyncio.Event) -> int:
    """Waits for `stop` or the process's own end, then drains; the exit code."""
    waits = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(service.process.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for waiter in waits:
        waiter.cancel()
    await service.process.stop()
    return 1 if service.process.failed else 0
