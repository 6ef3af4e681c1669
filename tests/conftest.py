"""Fixtures and hooks for the whole suite: the loopback guard, missing parts, golden files."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support import guard, parts

# A busy machine is no failure: what takes too long ends at pytest's own time limit.
hypothesis.settings.register_profile(
    "eurouter", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("eurouter")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the golden files from what the code says now"
    )


def pytest_report_header() -> str:
    return guard.active_guard()


def pytest_unconfigure(config: pytest.Config) -> None:
    # Here and not in the terminal summary: only this comes after pytest's own count of passed and failed tests.
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput") or config.option.collectonly or config.option.help:
        return
    skipped = [report.longrepr[2] for report in reporter.stats.get("skipped", [])]
    failed = [report.longreprtext for kind in ("failed", "error") for report in reporter.stats.get(kind, [])]
    reporter.write_line(parts.last_line(skipped, failed))


@pytest.fixture(scope="session", autouse=True)
def outside_connections() -> Iterator[list[str]]:
    """The guard, for the whole session; yields the connections that it refused."""
    with guard.loopback_only() as attempts:
        yield attempts


@pytest.fixture(autouse=True)
def no_test_leaves_this_machine(outside_connections: list[str]) -> Iterator[None]:
    """Fail a test that tried, even if its code took the refusal for an ordinary network error."""
    outside_connections.clear()
    yield
    if outside_connections:
        pytest.fail(f"the test tried to reach {', '.join(outside_connections)}", pytrace=False)


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten instead of compared."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded exchanges and specifications beside the checkout."""
    parts.require("recorded exchanges", parts.SHARED.is_dir(), "put the folder `shared` beside this checkout")
    return parts.SHARED


@pytest.fixture(scope="session")
def model_python() -> Path:
    """The Python that can run the local model."""
    python = parts.model_python()
    parts.require("the local model", python.exists(), "run `make setup`, on a platform that has its wheels")
    return python
