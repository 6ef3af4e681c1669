"""A private Kafka: one broker or three, in a temporary folder, on free loopback ports, gone with the tests.

EUROUTER_TEST_KAFKA names a broker of one's own instead, as host:port; what stops and starts a broker then doesn't
run. The methods that start and stop wait: in a coroutine call them by `asyncio.to_thread`.
"""

from __future__ import annotations

import base64
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from tests.kafka import prepare
from tests.support.kafka_clients import Kafka
from tests.support.kafka_security import (
    Security,
    broker_settings,
    client_settings,
    format_arguments,
    write_certificates,
)
from tests.support.postgres import run

_SECONDS: Final = 60
_JVM: Final = (
    *("-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
# A port of the range that outgoing connections take could be gone when a stopped broker wants it back.
_PORTS: Final = range(20_000, 32_000)
_PROPERTIES: Final[Mapping[str, str]] = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "INTERNAL",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "3",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # How long a broker that was killed is taken for living: until then it is not let in again.
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "500",
    # What is deleted leaves the disk soon, and what a test wants compacted is looked at often.
    "log.initial.task.delay.ms": "500",
    "log.segment.delete.delay.ms": "1000",
    "log.retention.check.interval.ms": "1000",
    "log.cleaner.backoff.ms": "200",
    # Less memory.
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.index.size.max.bytes": "1048576",
}


@dataclass(slots=True)
class Node:
    """One broker, which is a controller too."""

    number: int
    folder: Path
    client_port: int
    internal_port: int
    controller_port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    writes: Path | None = None
    """The archive of classes that the process leaves when it ends in order."""

    @property
    def address(self) -> str:
        """What clients connect to."""
        return f"127.0.0.1:{self.client_port}"

    @property
    def log(self) -> str:
        """The warnings and errors so far."""
        path = self.folder / "log"
        return path.read_text() if path.exists() else "it never started"

    def keep_archive(self) -> None:
        """Puts the archive that the process left, if it did, where the next one finds it."""
        if self.writes is not None and self.writes.exists():
            # Another run may read the old one: it must never be half of one.
            new = prepare.archive().with_suffix(f".{os.getpid()}")
            shutil.copy(self.writes, new)
            new.replace(prepare.archive())


class KafkaCluster(Kafka):
    """Brokers of our own, numbered from 1. `cluster` makes one and starts it."""

    def __init__(
        self,
        folder: Path,
        brokers: int = 1,
        security: Security = "plaintext",
        others: Mapping[str, str] | None = None,
    ) -> None:
        """Writes the settings and formats the storage, in an empty folder. `others`: settings of the broker's."""
        ports = iter(_free_ports(3 * brokers))
        self.nodes: Final = [
            Node(number, folder / str(number), next(ports), next(ports), next(ports))
            for number in range(1, brokers + 1)
        ]
        super().__init__(",".join(node.address for node in self.nodes), replication=brokers)
        self.security: Final = security
        self.ca_file: Final = folder / "ca.pem"
        """The certificate to trust with `sasl_ssl`."""
        certificate = folder / "server.pem"
        if security == "sasl_ssl":
            write_certificates(self.ca_file, certificate)
        for node in self.nodes:
            node.folder.mkdir()
            settings = {
                **_PROPERTIES,
                **self._of_node(node),
                **broker_settings(security, certificate),
                **(others or {}),
            }
            text = "".join(f"{name}={value}\n" for name, value in settings.items())
            (node.folder / "server.properties").write_text(text)
        self._format()

    def client(self) -> dict[str, Any]:
        """The arguments that every client of aiokafka's takes to connect."""
        return {**super().client(), **client_settings(self.security, self.ca_file)}

    def start(self, *numbers: int) -> None:
        """Starts these nodes, or all, and waits until each answers clients and knows the others.

        Raises:
            AssertionError: one ended or said nothing for a minute; the message is its log.
        """
        nodes = [node for node in self.nodes if node.number in (numbers or range(1, len(self.nodes) + 1))]
        for node in nodes:
            assert node.process is None, f"node {node.number} runs already"
            java, *arguments = prepare.command("kafka.Kafka", str(node.folder / "server.properties"))
            node.writes = None if prepare.archive().exists() else node.folder / "classes.jsa"
            classes = f"-XX:ArchiveClassesAtExit={node.writes}" if node.writes else _archived()
            command = [java, *_JVM, classes, *arguments]
            with (node.folder / "log").open("ab") as log:
                node.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=node.folder)
        for node in nodes:
            self._wait_for(node, {one.number for one in nodes})

    def stop(self, number: int = 1, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends a node, in order or by SIGKILL as a crash would, and waits until it is gone."""
        node = self.nodes[number - 1]
        assert node.process is not None, f"node {number} doesn't run"
        node.process.send_signal(how)
        node.process.wait(_SECONDS)
        node.process = None
        node.keep_archive()

    def signal(self, number: int, how: signal.Signals) -> None:
        """Sends a signal and waits for nothing: SIGSTOP freezes a node, SIGCONT lets it go on."""
        node = self.nodes[number - 1]
        assert node.process is not None, f"node {number} doesn't run"
        node.process.send_signal(how)

    def close(self) -> None:
        """Ends what still runs. Nothing of the data is wanted any more."""
        running = [node for node in self.nodes if node.process is not None]
        if running and running[0].writes is not None:
            self.signal(running[0].number, signal.SIGCONT)
            self.stop(running[0].number)
        for node in running:
            if node.process is not None:
                self.stop(node.number, signal.SIGKILL)

    def files_with(self, marker: bytes, topic: str = "") -> list[Path]:
        """The files of the brokers' storage that hold these bytes: of topics whose names begin so, or of all.

        Records that a client compressed are not seen: the marker must be sent without compression.
        """
        paths = (path for node in self.nodes for path in (node.folder / "data").glob(f"{topic}*/*"))
        return sorted(path for path in paths if marker in _bytes_of(path))

    def _of_node(self, node: Node) -> dict[str, str]:
        count = len(self.nodes)
        here = {"CLIENT": node.client_port, "INTERNAL": node.internal_port, "CONTROLLER": node.controller_port}
        listeners = {name: f"{name}://127.0.0.1:{port}" for name, port in here.items()}
        return {
            "node.id": str(node.number),
            "log.dirs": str(node.folder / "data"),
            "controller.quorum.voters": ",".join(f"{n.number}@127.0.0.1:{n.controller_port}" for n in self.nodes),
            "listeners": ",".join(listeners.values()),
            "advertised.listeners": ",".join((listeners["CLIENT"], listeners["INTERNAL"])),
            "offsets.topic.replication.factor": str(count),
            "default.replication.factor": str(count),
            "min.insync.replicas": "2" if count > 1 else "1",
        }

    def _format(self) -> None:
        # An id that begins with a dash would be an option.
        cluster_id = base64.urlsafe_b64encode(b"e" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        tools = []
        for node in self.nodes:
            arguments = ["kafka.tools.StorageTool", "format", "--cluster-id", cluster_id]
            arguments += ["--config", str(node.folder / "server.properties")]
            arguments += format_arguments(self.security)
            java, *rest = prepare.command(*arguments)
            tools.append(
                subprocess.Popen(
                    [java, *_JVM, _archived(), *rest], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
                )
            )
        for tool in tools:
            said, _ = tool.communicate(timeout=_SECONDS)
            assert tool.returncode == 0, said

    def _wait_for(self, node: Node, known: set[int]) -> None:
        until = time.monotonic() + _SECONDS
        while not (_listens(node.client_port) and _listens(node.internal_port) and known <= self._seen_by(node)):
            assert node.process is not None
            assert node.process.poll() is None, node.log
            assert time.monotonic() < until, f"no answer for {_SECONDS} s\n{node.log}"
            time.sleep(0.05)

    def _seen_by(self, node: Node) -> set[int]:
        """The brokers that this one tells others of."""
        seen: set[int] = set()

        async def ask() -> None:
            # Not by TLS: its connections would have to be waited for before this loop may end.
            client = AIOKafkaClient(bootstrap_servers=f"127.0.0.1:{node.internal_port}")
            try:
                await client.bootstrap()
                seen.update(broker.nodeId for broker in client.cluster.brokers())
            except KafkaError:
                pass  # not yet
            finally:
                await client.close()

        run(ask())
        return seen


@contextmanager
def cluster(
    brokers: int = 1, security: Security = "plaintext", others: Mapping[str, str] | None = None
) -> Iterator[KafkaCluster]:
    """One that runs while the context lasts, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="eurouter-kafka-") as folder:
        made = KafkaCluster(Path(folder), brokers, security, others)
        try:
            made.start()
            yield made
        finally:
            made.close()


def _archived() -> str:
    return f"-XX:SharedArchiveFile={prepare.archive()}"


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        ports: list[int] = []
        for port in random.sample(_PORTS, len(_PORTS)):
            taken = held.enter_context(socket.socket())
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == count:
                return ports
    raise OSError(f"no {count} free ports between {_PORTS.start} and {_PORTS.stop}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""  # the broker deleted it just now
