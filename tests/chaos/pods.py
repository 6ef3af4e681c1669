"""Pods on loopback: each has an address of its own and all the same ports, as behind a headless Service.

A name server answers with those that are ready, so that clients find them as they do in a cluster.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import aiohttp

from tests.chaos.cluster import Address, Cluster, Member, end, start_surroundings
from tests.chaos.schedule import SERVICES, WORKERS
from tests.support.name_server import _Answers
from tests.support.parts import ROOT
from tests.support.running import free_ports

NAME: Final = "eurouter-headless.test"
DRAIN: Final = {"pause_seconds": 2, "finish_seconds": 5}
"""Seconds; shorter than the defaults, for runs that are short."""

_READY_SECONDS: Final = 60.0
_LOOK: Final = 0.1

Kind = Literal["service", "worker"]


@dataclass(frozen=True, slots=True)
class Version:
    """Whose code a pod runs: an interpreter that has it, started in `cwd`."""

    name: str
    python: str = sys.executable
    cwd: Path = ROOT


OURS: Final = Version("this version")


@dataclass(frozen=True, slots=True)
class Commands:
    """What is started, without the settings."""

    service: Sequence[str] = ("-m", "service", "serve")
    worker: Sequence[str] = ("-m", "workers")


@dataclass(frozen=True, slots=True)
class Pod:
    """One process. `address` is None where no caller comes."""

    member: Member
    probes: str
    address: Address | None

    async def until_ready(self) -> None:
        """Returns when its readiness probe says yes."""
        async with aiohttp.ClientSession() as session, asyncio.timeout(_READY_SECONDS):
            while not await self._ready(session):
                process = self.member.process
                ended = process is None or process.returncode is not None
                assert not ended, f"{self.member.id} ended: {self.member.log.read_text()[-2000:]}"
                await asyncio.sleep(_LOOK)

    async def _ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self.probes}/readyz", timeout=aiohttp.ClientTimeout(2)) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            return False


@dataclass
class Pods:
    """Makes the pods of a run. `named`: the IP addresses that the name server answers with, changed in place."""

    cluster: Cluster
    settings: Path
    commands: Commands
    ports: Sequence[int]
    stack: AsyncExitStack = field(repr=False)
    target: str = ""
    named: list[str] = field(default_factory=list)
    made: dict[Kind, int] = field(default_factory=lambda: {"service": 0, "worker": 0})

    async def start(self, kind: Kind, version: Version) -> Pod:
        """A new pod that is ready."""
        self.made[kind] += 1
        name = f"{kind}-{self.made[kind]}"
        ip = f"127.0.{1 if kind == 'service' else 2}.{self.made[kind]}"
        grpc, http, admin = self.ports
        env = {
            "EUROUTER_GRPC__HOST": ip, "EUROUTER_GRPC__PORT": str(grpc),
            "EUROUTER_HTTP__HOST": ip, "EUROUTER_HTTP__PORT": str(http),
            "EUROUTER_ADMIN__HOST": ip, "EUROUTER_ADMIN__PORT": str(admin),
        } if kind == "service" else {
            "EUROUTER_JOBS__ADMIN_HOST": ip, "EUROUTER_JOBS__ADMIN_PORT": str(admin),
        }  # fmt: skip
        command = (*(self.commands.service if kind == "service" else self.commands.worker), "--config")
        cluster = self.cluster
        member = Member(
            name,
            (*command, str(self.settings)),
            env,
            cluster.folder,
            cluster.history,
            cluster.provider,
            version.python,
            version.cwd,
        )
        cluster.members[name] = member
        self.stack.push_async_callback(end, member)
        address = Address(name, f"http://{ip}:{http}", f"{ip}:{grpc}") if kind == "service" else None
        pod = Pod(member, f"http://{ip}:{admin}", address)
        await member.start()
        await pod.until_ready()
        return pod

    def name(self, pod: Pod) -> None:
        """From now on who asks for the name finds this pod, too."""
        assert pod.address is not None
        self.named.append(pod.address.grpc.partition(":")[0])

    def forget(self, pod: Pod) -> None:
        """From now on nobody who asks finds it."""
        assert pod.address is not None
        self.named.remove(pod.address.grpc.partition(":")[0])

    async def migrate(self, version: Version) -> None:
        """What the Job of this version does before any pod of it starts."""
        command = (version.python, "-m", "service", "db", "migrate", "--config", str(self.settings))
        done = await asyncio.to_thread(
            subprocess.run, command, cwd=version.cwd, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{version.name} can't migrate: {done.stderr}"


@asynccontextmanager
async def running_pods(
    folder: Path, version: Version = OURS, brokers: int = 0, commands: Commands | None = None
) -> AsyncIterator[tuple[Pods, Sequence[Pod]]]:
    """A cluster of pods that are ready, all of one version, on a database that its own command migrated."""
    async with AsyncExitStack() as stack:
        more: dict[str, Mapping[str, object]] = {"database": {"auto_migrate": False}, "drain": DRAIN}
        cluster, settings = await start_surroundings(stack, folder, brokers, more)
        pods = Pods(cluster, settings, commands or Commands(), free_ports(3), stack)
        await pods.migrate(version)
        starting = [pods.start("service", version) for _ in range(SERVICES)]
        starting += [pods.start("worker", version) for _ in range(WORKERS)]
        first = await asyncio.gather(*starting)
        for pod in first:
            if pod.address is not None:
                pods.name(pod)
        cluster.addresses = [pod.address for pod in first if pod.address is not None]
        pods.target = await _name_server(stack, pods)
        yield pods, first


async def _name_server(stack: AsyncExitStack, pods: Pods) -> str:
    """A target for gRPC's own resolver of names."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Answers(pods.named), local_addr=("127.0.0.1", 0)
    )
    stack.callback(transport.close)
    host, port = transport.get_extra_info("sockname")
    return f"dns://{host}:{port}/{NAME}:{pods.ports[0]}"
