"""The processes of a run: services, workers, the simulated provider, PostgreSQL; started, stopped, killed.

Every process has a log in the run's folder. Only what was started here is ever signalled.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from tests.chaos.brokers import Brokers, running_brokers, settings_for
from tests.chaos.cluster_settings import catalogue_of, settings_of
from tests.chaos.history import History, Span
from tests.chaos.schedule import SERVICES, WORKERS
from tests.support import postgres
from tests.support.parts import ROOT
from tests.support.running import free_ports, until

WORKER: Final = ("-m", "workers")
_SIMULATOR: Final = ("-m", "adapters.providers.simulator", "--port", "0", "--calls-kept", "1000000")
_START_SECONDS: Final = 60.0
_DRAIN_SECONDS: Final = 30.0


@dataclass
class Member:
    """A process that is started again and again; `run` counts how often. Its faults come one at a time.

    `python` and `cwd` decide whose code it runs.
    """

    name: str
    command: Sequence[str]
    env: dict[str, str]
    folder: Path
    history: History
    provider: str = ""
    python: str = sys.executable
    cwd: Path = ROOT
    run: int = 0
    process: asyncio.subprocess.Process | None = field(default=None, repr=False)
    watcher: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def id(self) -> str:
        """The name of the process that runs now."""
        return f"{self.name}.{self.run}"

    @property
    def log(self) -> Path:
        """What the process that runs now writes."""
        return self.folder / f"{self.id}.log"

    async def start(self) -> None:
        """Starts it; whether it answers yet is another question."""
        self.run += 1
        catalogue = self.folder / f"{self.id}.catalogue.yaml"
        catalogue.write_text(yaml.safe_dump(catalogue_of(self.provider, self.id)))
        env = {**os.environ, **self.env, "EUROUTER_CATALOG__PATH": str(catalogue)}
        with self.log.open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(self.python, *self.command),
                cwd=self.cwd,
                env=env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.watcher = asyncio.create_task(self._watch(self.process, self.id))

    async def kill(self) -> None:
        """Ends it at once."""
        await self._end(signal.SIGKILL, _DRAIN_SECONDS)

    async def drain(self) -> None:
        """Asks it to leave once it is up, and waits."""
        await until_up(self)
        name = self.id
        code = await self._end(signal.SIGTERM, _DRAIN_SECONDS)
        if code:
            self.history.ended.append((name, f"was asked to leave and ended with {code}"))

    async def pause(self, seconds: float) -> None:
        """Stops it for so long, with all that it holds."""
        assert self.process is not None
        begin = time.monotonic()
        self.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.process.send_signal(signal.SIGCONT)
            # It may have gone on before this, never after.
            self.history.pauses.setdefault(self.id, []).append(Span(begin, time.monotonic()))

    async def _end(self, how: signal.Signals, seconds: float) -> int:
        process, watcher = self.process, self.watcher
        assert process is not None
        assert watcher is not None
        watcher.cancel()
        self.process = None
        if process.returncode is not None:
            return process.returncode
        process.send_signal(how)
        try:
            async with asyncio.timeout(seconds):
                return await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            return -signal.SIGALRM

    async def _watch(self, process: asyncio.subprocess.Process, name: str) -> None:
        code = await process.wait()
        self.history.ended.append((name, f"ended by itself with {code}"))


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service listens: `http` is a URL without a path, `grpc` host:port."""

    name: str
    http: str
    grpc: str


@dataclass
class Cluster:
    """All that runs. `members` by name; `provider` is the simulator's URL, `database` the one that all share."""

    folder: Path
    history: History
    server: postgres.Postgres
    database: str
    provider: str
    members: dict[str, Member]
    addresses: Sequence[Address]
    brokers: Brokers | None = None

    async def begin(self, history: History, worker: Sequence[str] | None = None) -> None:
        """From now on everything is noted in `history`. `worker`: the command of workers to take these' place."""
        self.history = history
        for member in self.members.values():
            member.history = history
        if worker is not None:
            mine = [member for name, member in self.members.items() if name.startswith("worker-")]
            for member in mine:
                await member.kill()
                member.command = (*worker, *member.command[-2:])
                await member.start()
            for member in mine:
                await until_up(member)
        if self.brokers is not None:
            await self.brokers.until_there()
            await self.brokers.begin()
        async with aiohttp.ClientSession() as session:
            (await session.delete(f"{self.provider}/simulator/calls")).raise_for_status()

    async def restart_database(self, how: signal.Signals, seconds: float) -> None:
        """Stops the database, and starts it after so long."""
        begin = time.monotonic()
        await asyncio.to_thread(self.server.stop, how)
        try:
            await asyncio.sleep(seconds)
        finally:
            # Shielded, because a thread that starts the database can't be called back.
            await asyncio.shield(asyncio.to_thread(self.server.start))
            self.history.outages.append(Span(begin, time.monotonic()))

    async def journal(self) -> list[dict[str, Any]]:
        """The provider's."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.provider}/simulator/calls", timeout=aiohttp.ClientTimeout(60)) as response,
        ):
            calls: list[dict[str, Any]] = (await response.json())["calls"]
            return calls


@asynccontextmanager
async def running_cluster(
    folder: Path, worker: Sequence[str] = WORKER, brokers: int = 0
) -> AsyncIterator[Cluster]:
    """A cluster whose services answer and whose workers work; `worker` is their command. All of it ends here.

    `brokers`: so many of Kafka's, 1 or 3; 0: there is no Kafka.
    """
    async with AsyncExitStack() as stack:
        cluster, settings = await start_surroundings(stack, folder, brokers, {})
        ports = free_ports(2 * SERVICES)
        addresses = []
        for number in range(SERVICES):
            name, grpc, http = f"service-{number + 1}", ports[2 * number], ports[2 * number + 1]
            env = {"EUROUTER_GRPC__PORT": str(grpc), "EUROUTER_HTTP__PORT": str(http)}
            command = ("-m", "service", "serve", "--config", str(settings))
            cluster.members[name] = Member(name, command, env, folder, cluster.history, cluster.provider)
            addresses.append(Address(name, f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc}"))
        for number in range(WORKERS):
            name = f"worker-{number + 1}"
            command_of_worker = (*worker, "--config", str(settings))
            cluster.members[name] = Member(name, command_of_worker, {}, folder, cluster.history, cluster.provider)
        cluster.addresses = addresses
        for member in cluster.members.values():
            stack.push_async_callback(end, member)
            await member.start()
        for member in cluster.members.values():
            await until_up(member)
        yield cluster


async def start_surroundings(
    stack: AsyncExitStack, folder: Path, brokers: int, more: Mapping[str, Mapping[str, object]]
) -> tuple[Cluster, Path]:
    """What services and workers need, until the stack is left: a cluster of none, and the file of their settings.

    `more`: settings by section, beside those that all runs have.
    """
    provider = await start_simulator(stack, folder)
    server = await start_database(stack)
    kafka = await stack.enter_async_context(running_brokers(brokers)) if brokers else None
    database = await asyncio.to_thread(server.database)
    sections: dict[str, Any] = settings_of(database) | ({} if kafka is None else settings_for(kafka))
    for name, section in more.items():
        sections[name] = {**sections.get(name, {}), **section}
    settings = folder / "settings.yaml"
    settings.write_text(yaml.safe_dump(sections))
    return Cluster(folder, History(), server, database, provider, {}, [], kafka), settings


async def start_simulator(stack: AsyncExitStack, folder: Path) -> str:
    """The simulated provider, until the stack is left; its URL."""
    log = folder / "simulator.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *_SIMULATOR), cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
    stack.push_async_callback(_kill, process)
    await until(lambda: "http://" in log.read_text(), f"the simulator listens, see {log}", _START_SECONDS)
    found = re.search(r"http://\S+", log.read_text())
    assert found is not None
    return found[0]


async def start_database(stack: AsyncExitStack) -> postgres.Postgres:
    """A server of the run's own, until the stack is left."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="eurouter-chaos-postgres-"))
    server = await asyncio.to_thread(postgres.private, Path(folder))
    stack.callback(server.stop)
    return server


async def until_up(member: Member) -> None:
    """Returns when the process says so."""

    def said() -> bool:
        return "==>" in member.log.read_text() or member.process is None or member.process.returncode is not None

    await until(said, f"{member.name} is up, see {member.log}", _START_SECONDS)
    assert "==>" in member.log.read_text(), f"{member.name} did not start: {member.log.read_text()[-2000:]}"


async def end(member: Member) -> None:
    """Kills what runs now."""
    if member.watcher is not None:
        member.watcher.cancel()
    if member.process is not None:
        await _kill(member.process)


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()
