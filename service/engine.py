"""What asks providers, below any door: built from settings, the same in every process of ours.

What works on jobs with it is in service.job_engine. Beside these two, bootstrap, the worker's service and the two
of Kafka no module names concrete adapters.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from random import getrandbits
from typing import Final

import structlog

from adapters import logs
from adapters.catalog.load import DEFAULT_CATALOG
from adapters.catalog.watch import FileCatalog
from adapters.condition_telemetry import ConditionGauge
from adapters.database.sweep import run_sweep
from adapters.health import OutcomeHealth
from adapters.media import WebFetcher
from adapters.media.addresses import IpAddress, is_public
from adapters.media.telemetry import PrometheusMediaTelemetry
from adapters.process_telemetry import ProcessTelemetry
from adapters.providers.http import HttpSettings
from adapters.providers.listing import Listing
from adapters.providers.registry import DIALECTS
from adapters.providers.secrets import Secrets
from adapters.providers.upstream import HttpUpstream
from adapters.queue_gauges import QueueGauges
from adapters.telemetry import PrometheusTelemetry
from service.api.responses.prepare import Preparer
from service.api.responses.stored import StoredResponses
from service.coalesce import LoadWindow
from service.condition_reports import ConditionReports
from service.conditions import Conditions
from service.edge.admin import Admin
from service.live import LiveSettings
from service.otlp_side import otlp_of
from service.router import Router
from service.settings import Settings, SettingsWatcher
from service.settings.at_start import ReadAtStart
from service.settings.show import problems
from service.side_tasks import Tasks, measure_load
from service.storage import open_for

USER_AGENT: Final = f"eurouter/{metadata.version('eurouter')}"


@dataclass(frozen=True, slots=True)
class Start:
    """How a process is started.

    `config` is the settings file; `env` the environment. `catalog` replaces the catalogue's path (the demo's
    own). `share_ports`: one of several processes, with no admin port of its own. Without `drain_pause` a stop
    begins at once: nobody balances load over a process that a person runs in a terminal. A process without
    `has_doors` needs nothing of what concerns callers. `fetch_from`: the addresses that media may be fetched from.
    `conditions` and `admin`: what the process knew of itself, and showed, while it waited for what it needs.
    """

    config: Path | None = None
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    catalog: Path | None = None
    share_ports: bool = False
    drain_pause: bool = True
    has_doors: bool = True
    fetch_from: Callable[[IpAddress], bool] = is_public
    conditions: Conditions = field(default_factory=Conditions)
    admin: Admin | None = None


class Engine:
    """Settings that reload, the catalogue, the router, the database, and what runs beside every process's work."""

    def __init__(self, settings: Settings, start: Start) -> None:
        """Builds everything; calls nobody yet. Call it with a running event loop.

        Raises:
            DocumentError: the catalogue can't be used.
            OSError: a TLS file can't be read.
        """
        self._log = structlog.get_logger().bind()
        self.secrets = Secrets(start.env)
        self._read_at_start = ReadAtStart(settings, self.secrets)
        self.conditions = start.conditions
        self._reports = ConditionReports(start.conditions)
        self._has_doors = start.has_doors
        self.watcher = self._watcher(settings, start)
        self.live = LiveSettings(settings, drain_pause=start.drain_pause)
        self.telemetry = PrometheusTelemetry(multiprocess_mode=start.share_ports)
        start.conditions.show_by(ConditionGauge(self.telemetry.shared_registry).show)
        self.process_telemetry = ProcessTelemetry(self.telemetry.shared_registry, metadata.version("eurouter"))
        self.otlp = otlp_of(
            settings,
            start.env,
            self.secrets.resolve,
            self.telemetry.shared_registry,
            self.report,
            metrics=None if start.share_ports else self.telemetry.registry.collect,
        )
        self.tracer = self.otlp.tracer if self.otlp is not None else None
        self.catalog = self._file_catalog(settings, start)
        self._reports.at_start()
        self.upstream = HttpUpstream(
            DIALECTS, self.secrets, user_agent=USER_AGENT, settings=_http_settings(settings)
        )
        self.media = WebFetcher(
            PrometheusMediaTelemetry(self.telemetry.shared_registry),
            self.live.media,
            user_agent=USER_AGENT,
            ca_file=_http_settings(settings).ca_file,
            allow=start.fetch_from,
        )
        self.health = OutcomeHealth(time.monotonic)
        self.router = Router(
            self.upstream,
            self.health,
            self.telemetry,
            settings=self.live.router,
            media=self.media,
        )
        for use in (self.router.capacity.declare, self.telemetry.declare, self.process_telemetry.declare):
            self.catalog.tell(use)
        self.window = LoadWindow(settings.coalesce.max_window_ms / 1000)
        self.database = open_for(settings, self.secrets.resolve, start.env)
        self.preparer = Preparer(
            self.catalog, self.database.responses, self.live.responses, wall_clock=time.time, new_id=new_id
        )
        self.stored = StoredResponses(self.database.responses)
        self._settings = settings

    def _watcher(self, settings: Settings, start: Start) -> SettingsWatcher:
        return SettingsWatcher(
            start.config,
            start.env,
            settings,
            report=self.report,
            on_change=self._settings_changed,
            check=self._missing,
            judged=self._reports.settings,
        )

    def _missing(self, settings: Settings) -> Iterable[str]:
        return problems(settings, self.secrets.resolve, has_doors=self._has_doors)

    def _file_catalog(self, settings: Settings, start: Start) -> FileCatalog:
        return FileCatalog(
            start.catalog or settings.catalog.path or DEFAULT_CATALOG,
            {name: dialect.expressible_with for name, dialect in DIALECTS.items()},
            self.secrets.is_configured,
            rules=settings.rule_rows,
            timeouts=settings.upstream.timeouts(),
            report=self.report,
            judged=self._reports.catalog,
        )

    @property
    def closers(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """Coroutine functions that end what is left, in this order, when nothing uses it any more."""
        last = () if self.otlp is None else (self.otlp.aclose,)
        return (self.upstream.aclose, self.media.aclose, self.database.aclose, *last)

    def tasks(self) -> Tasks:
        """What runs beside every process's work."""
        settings = self._settings
        registry, heard = self.telemetry.shared_registry, self._reports.database
        gauges = QueueGauges(registry, self.database.jobs, heard=partial(heard, "queue"))
        listing = Listing(self.secrets, USER_AGENT, ca_file=_http_settings(settings).ca_file)
        return {
            "load": lambda: measure_load(self._observe_load),
            "cooling": lambda: self.process_telemetry.watch_cooling(self.health.cooling),
            "settings": self.watcher.run,
            "catalog": lambda: self.catalog.run(listing, discover_every=settings.catalog.discover_seconds),
            "queue": gauges.run,
            "hints": lambda: self.database.signals.run(self.report),
            "database": lambda: run_sweep(
                self.database, settings.responses.sweep_seconds, report=self.report, heard=partial(heard, "sweep")
            ),
            "conditions": lambda: self._reports.watch(
                lambda: self._missing(self.watcher.current), self._read_at_start.changed
            ),
        }

    def report(self, event: str, values: Mapping[str, object]) -> None:
        """Logs what a part of the process tells of itself."""
        bad = event.endswith(("_failed", "_old", "_need_restart"))
        self._log.log(30 if bad else 20, event, **values)

    def _observe_load(self, lag: float, share: float) -> None:
        self.window.observe(lag, share)
        self.process_telemetry.loop_lag(lag)

    def _settings_changed(self, settings: Settings) -> None:
        self.live.use(settings)
        self.router.capacity.reconsider()
        self.catalog.use_rules(settings.rule_rows)
        self.window.max_window = settings.coalesce.max_window_ms / 1000
        logs.set_level(settings.log.level)


def new_id() -> str:
    """36 hexadecimal digits, the last part of an answer's id."""
    return f"{getrandbits(144):036x}"


def _http_settings(settings: Settings) -> HttpSettings:
    upstream = settings.upstream
    return HttpSettings(
        max_connections=upstream.max_connections,
        max_connections_per_host=upstream.max_connections_per_host,
        keepalive=upstream.keepalive_seconds,
        max_answer_bytes=upstream.max_answer_bytes,
        max_stream_bytes=upstream.max_stream_bytes,
        ca_file=str(upstream.ca_file) if upstream.ca_file else None,
    )
