"""What stands outside of the cluster, on loopback of the node: PostgreSQL and Kafka with TLS, and a provider.

Pods find each by the name that the manifests have for it: a Service without a selector, whose one endpoint is the
node's address. The provider is the simulator, which runs no model.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import trustme
import yaml

from tests.cluster.configuration import ADDRESS
from tests.kube.cluster import Cluster
from tests.support import postgres
from tests.support.kafka import KafkaCluster, Node
from tests.support.kafka_security import PASSWORD as KAFKA_PASSWORD
from tests.support.kafka_security import write_certificates
from tests.support.postgres import PASSWORD, Postgres
from tests.support.running import free_ports

DATABASE: Final = "postgresql.postgresql.svc.cluster.local"
BROKER: Final = "kafka-bootstrap.kafka.svc.cluster.local"
BROKER_PORT: Final = 9093
PROVIDER: Final = "http://simulator.models.svc.cluster.local:9000"


class NamedBroker(KafkaCluster):
    """A broker with TLS and passwords that tells clients the name by which pods reach it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, security="sasl_ssl")
        write_certificates(self.ca_file, folder / "server.pem", BROKER)

    def client(self) -> dict[str, Any]:
        """What the tests themselves connect with: the brokers' own listener, which is plain."""
        return {"bootstrap_servers": f"127.0.0.1:{self.nodes[0].internal_port}"}

    def _of_node(self, node: Node) -> dict[str, str]:
        settings = super()._of_node(node)
        internal = settings["advertised.listeners"].partition(",")[2]
        return {**settings, "advertised.listeners": f"CLIENT://{BROKER}:{BROKER_PORT},{internal}"}


@dataclass
class Outside:
    """`reachable`: what is forwarded now, by port."""

    folder: Path
    database: Postgres
    broker: NamedBroker
    provider_port: int
    reachable: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def database_port(self) -> int:
        """On loopback, and on the node's address while it is reachable."""
        port = urlsplit(self.database.url).port
        assert port is not None
        return port

    def secrets(self) -> dict[str, str]:
        """What docs/kubernetes/README.md puts into the Secret, but a provider's key."""
        authority = "/etc/eurouter/secrets/database-ca.crt"
        return {
            "key-pepper": "a-pepper-of-the-tests-only",
            "database-url": f"postgresql://eurouter:{PASSWORD}@{DATABASE}:5432/eurouter"
            f"?sslmode=verify-full&sslrootcert={authority}",
            "database-ca.crt": (self.folder / "database-ca.pem").read_text(encoding="utf-8"),
            "kafka-password": KAFKA_PASSWORD,
            "kafka-ca.crt": self.broker.ca_file.read_text(encoding="utf-8"),
        }

    def let_in(self, port: int) -> None:
        """Makes a server reachable from pods."""
        self.reachable[port] = subprocess.Popen([sys.executable, "-m", "tests.cluster.forward", str(port)])

    def shut_out(self, port: int) -> None:
        """Refuses connections of pods, and ends those that there are."""
        process = self.reachable.pop(port)
        process.terminate()
        process.wait(10)

    def announce(self, cluster: Cluster) -> None:
        """Gives each its name in the cluster."""
        for namespace, name, port, target in (
            ("postgresql", "postgresql", 5432, self.database_port),
            ("kafka", "kafka-bootstrap", BROKER_PORT, self.broker.nodes[0].client_port),
            ("models", "simulator", 9000, self.provider_port),
        ):
            cluster.kubectl("apply", "-f", "-", stdin=_service(namespace, name, port, target))


def _service(namespace: str, name: str, port: int, target: int) -> str:
    place = {"name": name, "namespace": namespace}
    labels = {"kubernetes.io/service-name": name}
    return yaml.safe_dump_all([
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "Service", "metadata": place, "spec": {"ports": [{"port": port}]}},
        {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {**place, "labels": labels}, "ports": [{"port": target}],
            "endpoints": [{"addresses": [ADDRESS]}],
        },
    ])  # fmt: skip


def _with_tls(folder: Path) -> Postgres:
    """A PostgreSQL with a certificate for its name in the cluster, and a database `eurouter`."""
    data = folder / "postgres"
    data.mkdir()
    server = postgres.private(data)
    server.stop()
    authority = trustme.CA()
    issued = authority.issue_cert(DATABASE, key_type=trustme.KeyType.RSA)
    authority.cert_pem.write_to_path(str(folder / "database-ca.pem"))
    key = data / "data" / "server.key"
    key.touch(mode=0o600)
    issued.private_key_pem.write_to_path(str(key))
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(data / "data" / "server.crt"), append=True)
    with (data / "data" / "postgresql.conf").open("a", encoding="utf-8") as settings:
        settings.write("ssl = on\n")
    # The tests themselves go without: an event loop that ends does not wait for TLS to be closed.
    server.url += "?sslmode=disable"
    server.start()
    postgres.run(postgres.statement(server.url, "CREATE DATABASE eurouter"))
    return server


@contextmanager
def running(folder: Path) -> Iterator[Outside]:
    """All of them started; the provider and the broker can be reached from pods, the database can't yet."""
    database = _with_tls(folder)
    (folder / "kafka").mkdir()
    broker = NamedBroker(folder / "kafka")
    (port,) = free_ports(1)
    provider = subprocess.Popen([sys.executable, "-m", "adapters.providers.simulator", "--port", str(port)])
    made = Outside(folder, database, broker, port)
    try:
        broker.start()
        made.let_in(broker.nodes[0].client_port)
        made.let_in(port)
        yield made
    finally:
        for reachable in list(made.reachable):
            made.shut_out(reachable)
        broker.close()
        database.stop()
        provider.terminate()
        provider.wait(10)
