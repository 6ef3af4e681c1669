"""The service and a simulator behind it, as processes, started as an operator starts them: for foreign clients."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import yaml

from adapters.keys import hash_secret, make_key, public_id

SCRIPT = Path(sys.executable).with_name("eurouter")
MODEL = "test/echo"
PROVIDER = "simulator"
_PEPPER = b"a pepper for tests only, thirty-two bytes or more"
_OPENS_WITHIN = 30.0


@dataclass(frozen=True, slots=True)
class RunningService:
    """Where it listens and a key that it knows. Its model `MODEL` repeats what the user says."""

    target: str
    key: str


@contextmanager
def running_service(folder: Path) -> Iterator[RunningService]:
    """Serve from an empty folder until the context ends; what it says goes to `service.log` there.

    Raises:
        AssertionError: it ended or did not listen in time; the text is what it said.
    """
    command = (sys.executable, "-m", "adapters.providers.simulator", "--port", "0")
    with child(command, folder / "simulator.log", subprocess.PIPE) as simulator:
        assert simulator.stdout is not None
        announced = re.search(r"listens on (\S+)", simulator.stdout.readline())
        assert announced, (folder / "simulator.log").read_text()
        key, port = make_key(), free_port()
        settings = write_settings(folder, f"{announced[1]}/v1", key, port)
        log = folder / "service.log"
        with child((str(SCRIPT), "serve", "--config", str(settings)), log, None) as service:
            wait_for(port, service, log)
            yield RunningService(f"127.0.0.1:{port}", key)


def write_settings(folder: Path, upstream: str, key: str, port: int) -> Path:
    """Write the settings file and what it names: a catalogue with the simulator alone, one key, its pepper."""
    provider = {"slug": PROVIDER, "name": "Simulator", "dialect": "openai_chat", "base_url": upstream}
    endpoint = {"provider": PROVIDER, "model": "sim-echo", "price": {"prompt": 0, "completion": 0}}
    catalogue = folder / "catalogue.yaml"
    catalogue.write_text(
        yaml.safe_dump(
            {
                "providers": [{**provider, "simulator": True}],
                "models": [{"id": MODEL, "endpoints": [endpoint]}],
            }
        )
    )
    (folder / "pepper").write_bytes(_PEPPER)
    row = {"id": public_id(key), "hash": hash_secret(key, _PEPPER), "name": "clients", "owner": "tests"}
    document = {
        "grpc": {"port": port},
        "http": {"port": 0},
        "admin": {"port": 0},
        "catalog": {"path": str(catalogue)},
        "owners": [{"name": "tests"}],
        "keys": [row],
        "key_pepper": f"file:{folder / 'pepper'}",
        "drain": {"pause_seconds": 0},
    }
    settings = folder / "settings.yaml"
    settings.write_text(yaml.safe_dump(document))
    return settings


@contextmanager
def child(command: tuple[str, ...], log: Path, stdout: int | None) -> Iterator[subprocess.Popen[str]]:
    """Run a process while the context lasts; its errors, and its output unless it is asked for, go to the log."""
    with log.open("w") as said:
        out: int | IO[str] = said if stdout is None else stdout
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=said, text=True)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[str], log: Path) -> None:
    """Return when something listens on the port."""
    until = time.monotonic() + _OPENS_WITHIN
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"the service does not listen:\n{log.read_text()}")
