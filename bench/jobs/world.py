"""A service that works on no jobs itself, a worker process that comes and goes, and their database."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from adapters.database.open import open_database
from bench import fleet, product
from bench.fleet import ROOT, Cores, Loads, Running, StartError
from bench.jobs import postgres
from bench.load import Load
from bench.traffic import Kind

CONNECTIONS: Final = 8
_LOOK_SECONDS: Final = 0.05
_PATIENCE: Final = 120.0
_LEFT: Final = """
SELECT (SELECT count(*) FROM jobs WHERE status = 'queued') AS waiting,
  (SELECT count(*) FROM jobs WHERE status = 'in_progress') AS running
"""
_OTHERS: Final = """
SELECT status, count(*) FROM jobs WHERE owner = 'bench' AND status <> 'completed' GROUP BY status
"""


@dataclass(frozen=True, slots=True)
class Place:
    """What all worlds of a run share."""

    loads: Loads
    upstream: Running
    upstream_url: str
    server: postgres.Server
    cores: Cores
    folder: Path


@dataclass(frozen=True, slots=True)
class Look:
    """How many jobs waited and ran at a moment (`time.monotonic`)."""

    at: float
    waiting: int
    running: int

    @property
    def left(self) -> int:
        """How many were not over."""
        return self.waiting + self.running


@dataclass
class World:
    """One of them. `profile`: where service and worker write their profiles, when they are profiled."""

    name: str
    place: Place
    url: str
    service: product.Product
    profile: Path | None = None
    worker: Running | None = None
    _workers: int = field(default=0, init=False)

    @property
    def ours(self) -> tuple[int, ...]:
        """The ids of our processes that are up."""
        service = self.service.running.pid
        return (service,) if self.worker is None else (service, self.worker.pid)

    def start_worker(self, changes: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Starts the worker and returns when it works; `changes` are settings over the service's, by part."""
        assert self.worker is None
        self._workers += 1
        name = f"{self.name}-worker-{self._workers}"
        port = fleet.free_port()
        settings: dict[str, Any] = {**self.service.settings}
        for part, values in {"jobs": {"admin_port": port}, **(changes or {})}.items():
            settings[part] = {**settings.get(part, {}), **values}
        settings["jobs"] = {**settings["jobs"], "admin_port": port}
        file = product.write(self.place.folder / f"{name}.yaml", settings)
        command = [sys.executable, "-m", "workers", "--config", str(file)]
        if self.profile is not None:
            script = str(ROOT / "workers" / "__main__.py")
            wrapper = [sys.executable, "-m", "bench.profiled", str(self.profile_of("worker"))]
            command = [*wrapper, script, "--config", str(file)]
        self.worker = Running(name, command, self.place.cores.server, self.place.folder)
        self.worker.wait_for_port(port)

    def stop_worker(self) -> None:
        """Stops the worker, if there is one."""
        if self.worker is not None:
            self.worker.stop()
            self.worker = None

    def profile_of(self, who: str) -> Path:
        """The file for the profile of `service` or `worker`."""
        assert self.profile is not None
        return self.profile.with_name(f"{self.profile.name}-{who}")

    def stop(self) -> None:
        """Stops both."""
        self.stop_worker()
        self.service.running.stop()

    def load(self, kind: Kind, model: str, **more: Any) -> dict[str, Any]:
        """Runs a load over gRPC to its end; its result."""
        load = Load(
            door="grpc",
            port=self.service.grpc_port,
            key=self.service.key,
            kind=kind,
            model=model,
            **{"stream": False, "in_flight": 16, "connections": CONNECTIONS, **more},
        )
        (result,) = self.place.loads.run(load)
        return result

    def watch(self, *, until_waiting: int = 0, until_running: int = 0) -> list[Look]:
        """Looks at the queue until no more jobs than that wait and run.

        Raises:
            StartError: the worker ended, or it took too long.
        """
        return postgres.wait_for(self._watch(until_waiting, until_running))

    def check(self) -> None:
        """Returns when every job that was accepted is completed.

        Raises:
            StartError: one is not.
        """
        if others := postgres.ask(self.url, _OTHERS):
            told = ", ".join(f"{count} {status}" for status, count in others)
            raise StartError(f"jobs that did not end well: {told}{self._worker_tail()}")

    async def _watch(self, waiting: int, running: int) -> list[Look]:
        looks: list[Look] = []
        due = time.monotonic() + _PATIENCE
        connection = await postgres.connect(self.url)
        try:
            while True:
                row = await connection.fetchrow(_LEFT)
                assert row is not None
                looks.append(Look(time.monotonic(), row["waiting"], row["running"]))
                if row["waiting"] <= waiting and row["running"] <= running:
                    return looks
                ended = self.worker is not None and self.worker.process.poll() is not None
                if ended or time.monotonic() > due:
                    why = "the worker ended" if ended else f"not done after {_PATIENCE:.0f} s"
                    raise StartError(f"{row['waiting']} jobs waiting, {why}{self._worker_tail()}")
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            await connection.close()

    def _worker_tail(self) -> str:
        return "" if self.worker is None else f":\n{self.worker.tail()}"


async def _migrate(url: str) -> None:
    database = open_database(url)
    await database.prepare()
    await database.aclose()


def start(name: str, place: Place, profile: Path | None = None, changes: Mapping[str, Any] | None = None) -> World:
    """Makes the database and starts the service; no worker yet. `changes` are more settings of both.

    Raises:
        StartError: the service did not start.
    """
    url = place.server.create(name)
    postgres.wait_for(_migrate(url))
    profiled = profile.with_name(f"{profile.name}-service") if profile else None
    settings = {"database": {"url": url}, "jobs": {"here": False}, **(changes or {})}
    service = product.start(
        f"jobs-{name}", place.upstream_url, place.cores.server, place.folder, profile=profiled, changes=settings
    )
    world = World(name, place, url, service, profile)
    try:
        service.wait()
    except StartError:
        world.stop()
        raise
    return world
