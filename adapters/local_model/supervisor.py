"""Starts the local model's process, waits until it answers, starts it again when it dies, stops it.

Nothing here talks to the model beyond one health check; nothing here knows what a catalogue or a provider is.
"""

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

MODEL: Final = "smollm2-135m-instruct"

OnEvent = Callable[[str, Mapping[str, object]], None]
"""Called in the event loop with a constant name and its values; must not block."""

STARTING: Final = "local_model_starting"
READY: Final = "local_model_ready"
DIED: Final = "local_model_died"
START_FAILED: Final = "local_model_start_failed"
STOPPED: Final = "local_model_stopped"

FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 30.0
STEADY_SECONDS: Final = 60.0
"""A process that ran this long was fine: its death starts the delays anew."""

_PROGRAM = Path(__file__).with_name("server.py")
_STOP_SECONDS = 5.0
_TAIL_LINES = 20
# The child gets no other variable: keys of other providers are none of its business.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TEMP", "SYSTEMROOT", "LD_LIBRARY_PATH")


class LocalModelError(Exception):
    """The process did not become ready; the message holds the tail of its output."""


class LocalModelUnavailable(LocalModelError):  # noqa: N818 - a state of the machine, not a mistake
    """Something is not installed here: one line that says what, and what to do. Trying again is no use."""


class LocalModel:
    """SmolLM2-135M-Instruct, served by llama.cpp on 127.0.0.1 in a process of its own.

    `python` is an interpreter with the packages of requirements-model.txt; `port` 0 lets the system choose
    one, which is then kept over restarts, so that `url` never changes. `context` (per call) and `max_tokens`
    (per answer; a higher limit in a request is cut to it by the server, with finish_reason `length`) are in
    tokens; `start_timeout` is in seconds. The child also ends by itself when this process dies, however it
    dies.
    """

    model: Final = MODEL

    def __init__(
        self,
        python: Path,
        port: int = 0,
        *,
        context: int = 4096,
        parallel: int = 2,
        max_tokens: int = 256,
        start_timeout: float = 60.0,
        on_event: OnEvent | None = None,
    ) -> None:
        self._python = python
        self._port = port
        self._sizes = {"context": context, "parallel": parallel, "max-tokens": max_tokens}
        self._start_timeout = start_timeout
        self._on_event = on_event or _ignore
        self._process: asyncio.subprocess.Process | None = None
        self._output: asyncio.Task[None] | None = None
        self._supervision: asyncio.Task[None] | None = None
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)

    @property
    def url(self) -> str:
        """The base URL without a path, `http://127.0.0.1:PORT`; known once `start` has returned."""
        if self._port == 0:
            raise LocalModelError("the local model has no address before it was started")
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is no child."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start the process and return when it answers; from then on it is watched.

        Raises LocalModelUnavailable when something is not installed, LocalModelError when it did not get
        ready.
        """
        if self._supervision is not None:
            raise LocalModelError("the local model was started already")
        await self._launch()
        self._supervision = asyncio.create_task(self._supervise(), name="local-model-supervision")

    async def stop(self) -> None:
        """Stop watching and end the process; harmless when it does not run."""
        if self._supervision is not None:
            self._supervision.cancel()
            with suppress(asyncio.CancelledError):
                await self._supervision
            self._supervision = None
        if self._process is not None:
            await self._end()
            self._on_event(STOPPED, {})

    async def _supervise(self) -> None:
        delay = FIRST_DELAY
        while True:
            process, since = self._process, time.monotonic()
            if process is not None:
                code = await process.wait()
                if time.monotonic() - since > STEADY_SECONDS:
                    delay = FIRST_DELAY
                self._on_event(
                    DIED, {"exit_code": code, "restart_in_seconds": delay, "output": self._last_lines()}
                )
                await self._end()
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY)
            try:
                await self._launch()
            except (LocalModelError, OSError) as error:
                self._on_event(START_FAILED, {"error": str(error), "restart_in_seconds": delay})

    async def _launch(self) -> None:
        if not self._python.exists():
            raise LocalModelUnavailable(f"the local model's Python {self._python} is missing: run `make setup`")
        started = time.monotonic()
        self._tail.clear()
        options = [f"--{name}={value}" for name, value in self._sizes.items()]
        # Isolated: neither this project nor PYTHONPATH is importable there. A session of its own: Ctrl-C in
        # the terminal is for us, and the model must outlive the calls that we then drain.
        self._process = await asyncio.create_subprocess_exec(
            self._python,
            "-I",
            _PROGRAM,
            f"--port={self._port}",
            f"--alias={MODEL}",
            *options,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            start_new_session=True,
        )
        self._output = asyncio.create_task(self._keep_tail(self._process), name="local-model-output")
        self._on_event(STARTING, {"pid": self._process.pid})
        try:
            async with asyncio.timeout(self._start_timeout):
                self._port = await self._listening(self._process)
                await _health(self._port)
        except TimeoutError:
            await self._end()
            raise LocalModelError(
                f"the local model did not answer within {self._start_timeout:g} s{self._quoted()}"
            ) from None
        except BaseException:
            await self._end()
            raise
        took = round(time.monotonic() - started, 2)
        self._on_event(READY, {"pid": self._process.pid, "url": self.url, "model": MODEL, "seconds": took})

    async def _listening(self, process: asyncio.subprocess.Process) -> int:
        """Wait for the child's one line. Returns its port."""
        assert process.stdout is not None  # noqa: S101 - it was asked for above
        line = await process.stdout.readline()
        if not line:
            code = await process.wait()
            if self._output is not None:
                await self._output
            raise LocalModelError(f"the local model ended with status {code} before it answered{self._quoted()}")
        said: dict[str, str] = json.loads(line)
        if "unavailable" in said:
            raise LocalModelUnavailable(
                f"the local model can't run here: {said['unavailable']}. Run `make setup`; where there is no "
                "wheel for this platform (there is for Linux with glibc and macOS 13+), use the simulator"
            )
        return urlsplit(said["listening"]).port or 0

    async def _keep_tail(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None  # noqa: S101 - it was asked for above
        # By chunks: a line over the reader's limit would end the reading, and a full pipe stops the child.
        rest = b""
        while chunk := await process.stderr.read(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            self._tail.extend(line.decode(errors="replace")[:500] for line in lines)
            rest = rest[-500:]
        if rest:
            self._tail.append(rest.decode(errors="replace"))

    async def _end(self) -> None:
        """Make sure that the current child is gone and reaped, and that its output was read to the end."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.stdin is not None:
            process.stdin.close()
        if self._output is not None:
            await self._output
            self._output = None

    def _last_lines(self) -> str:
        return "\n".join(self._tail)

    def _quoted(self) -> str:
        return f"; the end of its output:\n{self._last_lines()}" if self._tail else "; it wrote nothing"


async def _health(port: int) -> None:
    """Ask `/health` until it says 200; the caller sets the time limit."""
    while True:
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                status = await reader.readline()
                await reader.read()
            finally:
                writer.close()
            if status.split(b" ")[1:2] == [b"200"]:
                return
        await asyncio.sleep(0.1)


def _ignore(_name: str, _values: Mapping[str, object]) -> None:
    """Where nobody listens."""
