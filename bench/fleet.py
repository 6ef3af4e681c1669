"""The processes of a run: where each is pinned, how it starts, when it is ready, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import orjson

from bench.load import Load

ROOT: Final = Path(__file__).resolve().parents[1]
_READY_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10.0
_TAIL: Final = 2000


class StartError(Exception):
    """A process that did not start or a load that did not run; the text says why."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores what runs on; an empty set: wherever the system likes."""

    server: frozenset[int]
    rest: frozenset[int]
    every: frozenset[int]

    @classmethod
    def of_this_machine(cls) -> Self:
        """One core for the server under test, the next one for everything else."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            return cls(frozenset(), frozenset(), frozenset())
        return cls(frozenset(cores[:1]), frozenset(cores[1:3]), frozenset(cores))


class Running:
    """A child process with its output in a file."""

    def __init__(
        self, name: str, command: Sequence[str], cores: frozenset[int], folder: Path, **more: Any
    ) -> None:
        self.name = name
        self._output = folder / f"{name}.log"
        # The service reads its settings from EUROUTER_*: what is set on this machine is no part of the bench.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("EUROUTER_")}
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdout=more.pop("stdout", output),
                stderr=output,
                # This process has one thread: nothing can hold a lock across the fork.
                preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,  # noqa: PLW1509
                **more,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def wait_for_port(self, port: int) -> None:
        """Returns when something listens on the port.

        Raises:
            StartError: the process ended, or nothing listened in time.
        """
        due = time.monotonic() + _READY_SECONDS
        while time.monotonic() < due:
            if self.process.poll() is not None:
                raise StartError(f"{self.name} ended with code {self.process.returncode}:\n{self.tail()}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise StartError(f"{self.name} did not listen on port {port} in {_READY_SECONDS:.0f} s:\n{self.tail()}")

    def tail(self) -> str:
        """The end of what it printed."""
        return self._output.read_text(errors="replace")[-_TAIL:].strip() or "(it printed nothing)"

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that is not enough."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Piped:
    """A process of the bench's own that answers each line of JSON with another; `{"error": …}`: it could not."""

    def __init__(self, name: str, module_name: str, cores: Cores, folder: Path) -> None:
        pipe = subprocess.PIPE
        self._running = Running(
            name, (sys.executable, "-m", module_name), cores.rest, folder, stdin=pipe, stdout=pipe
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running.pid

    def ask(self, command: Any) -> dict[str, Any]:
        """The answer to a command.

        Raises:
            StartError: it could not, or it died.
        """
        stdin, stdout = self._running.process.stdin, self._running.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(orjson.dumps(command) + b"\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise StartError(f"{self._running.name} died:\n{self._running.tail()}")
        answer: dict[str, Any] = orjson.loads(line)
        if "error" in answer:
            raise StartError(f"{self._running.name}: {answer['error']}")
        return answer

    def stop(self) -> None:
        """Ends it; its connections close."""
        stdin, stdout = self._running.process.stdin, self._running.process.stdout
        for pipe in (stdin, stdout):
            if pipe is not None:
                pipe.close()
        self._running.stop()


class Loads(Piped):
    """The load generator."""

    def __init__(self, cores: Cores, folder: Path) -> None:
        super().__init__("load", "bench.load", cores, folder)

    def run(self, *loads: Load) -> list[dict[str, Any]]:
        """Runs loads at the same time; one `Result` for each, as a dictionary.

        Raises:
            StartError: it could not connect, a call failed, or the generator died.
        """
        results: list[dict[str, Any]] = self.ask(list(loads))["results"]
        for load, result in zip(loads, results, strict=True):
            wanted = load.calls or load.seconds > 0
            if result["failed"] or (wanted and not result["calls"]):
                said = "; ".join(result["failures"]) or "no call ended"
                raise StartError(f"{result['failed']} calls of {load.model} over {load.door} failed: {said}")
        return results


def module(
    name: str, module_name: str, arguments: Mapping[str, str], cores: frozenset[int], folder: Path
) -> Running:
    """Starts `python -m module_name` with these options; an empty value makes a flag."""
    options = [word for key, value in arguments.items() for word in (f"--{key}", value) if word]
    return Running(name, (sys.executable, "-m", module_name, *options), cores, folder)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
