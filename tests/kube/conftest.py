"""Servers for the tests: one with each overlay applied, and an empty one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.objects import Object, everything
from tests.kube import prepare
from tests.kube.cluster import Cluster, Said, running
from tests.support.parts import require


def pytest_report_header() -> str:
    return f"servers and definitions: {prepare.versions()}"


@dataclass(frozen=True, slots=True)
class Installed:
    """An overlay on a server that had nothing, and what the server said to it."""

    overlay: str
    cluster: Cluster
    said: Said

    def objects(self) -> list[Object]:
        """What was applied, the caller's to change."""
        return everything(self.overlay)


def needs_a_server() -> None:
    """Skip the test (in CI: fail it) where no server was built."""
    require("a Kubernetes API server", prepare.available(), prepare.how())


@pytest.fixture(scope="session", params=["dev", "prod"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """Each overlay, applied to a server of its own by server-side apply with strict validation."""
    needs_a_server()
    with running(tmp_path_factory.mktemp(request.param)) as cluster:
        yield Installed(request.param, cluster, cluster.apply(everything(request.param)))


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Cluster]:
    """A server that nothing was applied to."""
    needs_a_server()
    with running(tmp_path) as cluster:
        yield cluster
