"""The databases that tests here use: a file of its own for each, and one PostgreSQL server for all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import parts, postgres


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
