"""One cluster for all tests of a run, and what they look at."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.cluster import node, prepare
from tests.cluster import prod as production
from tests.cluster.inside import FOLDER
from tests.kube.cluster import Cluster
from tests.support.parts import require


def pytest_report_header() -> str:
    return f"cluster: {prepare.versions()}"


@pytest.fixture(scope="session")
def outside_connections() -> list[str]:
    """In place of the suite's guard, which knows loopback only: here the network itself has no way out."""
    return []


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A node that is ready, with our image and the names of a cluster. All in it is forgotten in the end."""
    require("a Kubernetes cluster", FOLDER in os.environ, "run `make cluster-test`, as root on Linux")
    require("a Kubernetes cluster", prepare.available(), prepare.missing())
    with node.cluster() as made:
        yield made


@pytest.fixture(scope="session")
def prod(cluster: Cluster) -> Iterator[production.Prod]:
    """`overlays/prod` with what an installation has of its own, installed step by step."""
    with production.installed(cluster) as made:
        yield made
