"""The guard rails of the suite itself."""

import asyncio
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import guard, parts

pytest_plugins = ["pytester"]
NAMESPACE = Path(guard.__file__).with_name("namespace.py")


@pytest.fixture
def refused(outside_connections: list[str]) -> Iterator[list[str]]:
    """The refused connections, forgotten at the end: here they are wanted."""
    yield outside_connections
    outside_connections.clear()


@pytest.mark.parametrize(
    "address",
    [
        ("127.0.0.1", 1),
        ("127.9.9.9", 1),
        ("::1", 1, 0, 0),
        ("::ffff:127.0.0.1", 1),
        ("localhost", 1),
        "/run/a.sock",
    ],
)
def test_an_address_of_this_machine_is_local(address: object) -> None:
    assert guard.is_local(address)


@pytest.mark.parametrize(
    "address", [("192.0.2.1", 1), ("10.0.0.1", 1), ("2001:db8::1", 1, 0, 0), ("example.com", 1)]
)
def test_every_other_address_is_not(address: object) -> None:
    assert not guard.is_local(address)


@pytest.mark.parametrize("method", ["connect", "connect_ex"])
def test_a_socket_refuses_an_outside_address_before_a_packet_leaves(method: str, refused: list[str]) -> None:
    with socket.socket() as outside, pytest.raises(guard.OutsideAddressError, match=r"192\.0\.2\.1:9"):
        getattr(outside, method)(("192.0.2.1", 9))
    assert refused == ["192.0.2.1:9"]


async def test_the_guard_holds_for_asyncio_too(refused: list[str]) -> None:
    with pytest.raises(guard.OutsideAddressError):
        await asyncio.open_connection("192.0.2.1", 9)
    assert refused


def test_a_loopback_connection_works_under_the_guard() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        assert client.getpeername() == server.getsockname()


def test_a_command_runs_in_a_namespace_with_loopback_and_nothing_else_or_as_it_is() -> None:
    program = (
        "import socket; server = socket.create_server(('127.0.0.1', 0));"
        "socket.create_connection(server.getsockname()).close(); print([n for _, n in socket.if_nameindex()])"
    )
    ran = subprocess.run(
        [sys.executable, str(NAMESPACE), sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    unshare = shutil.which("unshare")
    can = unshare is not None and subprocess.run([unshare, "-rn", "true"], capture_output=True).returncode == 0
    assert (ran.stdout.strip() == "['lo']") or not can


def test_the_exit_status_of_the_command_comes_through() -> None:
    command = [sys.executable, str(NAMESPACE), sys.executable, "-c", "raise SystemExit(7)"]
    assert subprocess.run(command, check=False).returncode == 7


def test_a_missing_part_skips_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="a part: install it"):
        parts.require("a part", False, "install it")


def test_a_missing_part_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="install it"):
        parts.require("a part", False, "install it")


def test_the_last_line_names_each_missing_part_once() -> None:
    missing = "Skipped: part missing: a part: install it"
    assert parts.last_line([missing, missing]) == "NOT RUN on this machine: a part: install it"
    assert parts.last_line([]) == "All parts ran."


@pytest.mark.parametrize(
    ("ci", "outcome", "line"),
    [
        ("", {"passed": 1, "skipped": 1}, "NOT RUN on this machine: a part: install it"),
        (
            "true",
            {"passed": 1, "failed": 1},
            "NOT RUN on this machine: a part: install it (in CI that is a failure)",
        ),
    ],
)
def test_the_run_ends_with_the_line_after_everything_else(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: dict[str, int], line: str
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("PYTHONPATH", str(parts.ROOT))
    pytester.makeconftest((parts.ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(
        """
        from tests.support.parts import require

        def test_needs_a_part():
            require("a part", False, "install it")

        def test_needs_none():
            pass
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(**outcome)
    assert result.outlines[-1] == line
    assert any(text.startswith("loopback guard:") for text in result.outlines)


def test_a_swallowed_attempt_to_leave_still_fails_the_test(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(parts.ROOT))
    pytester.makeconftest((parts.ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(
        """
        import socket

        def test_leaves():
            with socket.socket() as outside:
                try:
                    outside.connect(("192.0.2.1", 9))
                except Exception:
                    pass
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1, errors=1)
