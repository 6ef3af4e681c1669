"""The databases and brokers that tests here use.

A SQLite file and topics of its own for each test; one PostgreSQL server and one Kafka for all.
"""

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.kafka import prepare
from tests.support import parts, postgres
from tests.support.kafka import KafkaCluster, cluster
from tests.support.kafka_clients import Kafka, Topics, connections_ended

_test_numbers = count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Postgres]:
    """A running server; ask it for a `database()`."""
    parts.require("PostgreSQL", postgres.available(), postgres.HOW)
    if (url := postgres.named()) is not None:
        yield postgres.Postgres(url)
        return
    with private_server() as server:
        yield server


@contextmanager
def private_server() -> Iterator[postgres.Postgres]:
    """A server that runs while the context lasts."""
    # Not pytest's own folder: another user may not enter it, and it keeps the data of the last runs.
    with tempfile.TemporaryDirectory(prefix="eurouter-postgres-") as folder:
        server = postgres.private(Path(folder))
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def postgres_url(postgres_server: postgres.Postgres) -> Iterator[str]:
    """An empty database of its own."""
    url = postgres_server.database()
    yield url
    postgres_server.drop(url)


@pytest.fixture
def own_postgres() -> Iterator[postgres.Postgres]:
    """A server to stop and start, for one test."""
    parts.require("a private PostgreSQL", postgres.can_start(), postgres.HOW)
    with private_server() as server:
        yield server


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A file that is not there yet."""
    return f"sqlite:///{tmp_path}/state/eurouter.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database of either kind: whoever asks for it runs on both."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    return str(request.getfixturevalue(name))


def _require_private_kafka() -> None:
    part = "Kafka" if prepare.named() is None else "a private Kafka"
    parts.require(part, prepare.named() is None and prepare.can_start(), prepare.how())


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """A broker that all tests share: stop it never, and name what is yours by `topics`."""
    parts.require("Kafka", prepare.available(), prepare.how())
    if (address := prepare.named()) is not None:
        yield Kafka(address)
        return
    with cluster() as started:
        yield started


@pytest.fixture
async def topics(kafka: Kafka) -> AsyncIterator[Topics]:
    """This test's names in the shared broker; its topics are deleted in the end."""
    made = Topics(kafka, f"test-{os.getpid()}-{next(_test_numbers)}")
    yield made
    await made.remove()


@pytest.fixture
def own_kafka() -> Iterator[KafkaCluster]:
    """A broker to stop and start, for one test."""
    _require_private_kafka()
    with cluster() as started:
        yield started


@pytest.fixture
def three_kafkas() -> Iterator[KafkaCluster]:
    """A cluster of three brokers, of which a test may stop one."""
    _require_private_kafka()
    with cluster(brokers=3) as started:
        yield started


@pytest.fixture(scope="session")
def kafka_with_tls() -> Iterator[KafkaCluster]:
    """The broker of `secure_kafka`."""
    _require_private_kafka()
    with cluster(security="sasl_ssl") as started:
        yield started


@pytest.fixture
async def secure_kafka(kafka_with_tls: KafkaCluster) -> AsyncIterator[KafkaCluster]:
    """A broker for all that wants TLS and a password by SCRAM-SHA-512: see `kafka_security.py` and `ca_file`."""
    yield kafka_with_tls
    await connections_ended()
