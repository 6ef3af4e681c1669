"""The whole service with two simulated providers, for tests that go through the doors.

    async with running_service(tmp_path) as up:
        up.alpha.enqueue(Script(text="hi"))
        answer = await up.chat.CreateChatCompletion(ask("sim/alpha"))

`running_service` builds it in this process; `running_child` starts `eurouter serve` as a child, for signals,
several processes and logs. Both write a settings file and a catalogue into the folder that they are given, so
that a test may rewrite them. Models of the default catalogue: see `two_dialects`.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import yaml
from eurouter.v1 import (
    catalog_pb2_grpc,
    chat_pb2,
    chat_pb2_grpc,
    jobs_pb2_grpc,
    responses_pb2,
    responses_pb2_grpc,
    routing_pb2_grpc,
)
from grpc import aio
from grpc_health.v1 import health_pb2_grpc

from adapters.media.addresses import IpAddress, is_public
from adapters.providers.simulator import Simulator
from service.bootstrap import Service, Start
from service.settings import Settings
from service.wire import parse
from tests.support.checked_channel import checked
from tests.support.parts import ROOT

ALPHA_KEY: Final = "sk-alpha-5ecretOfTheOperator0001"
BETA_KEY: Final = "sk-beta-5ecretOfTheOperator0002"
PROVIDER_KEYS: Final = {"ALPHA_KEY": ALPHA_KEY, "BETA_KEY": BETA_KEY}

Rows = dict[str, Any]
_QUICK: Final[Rows] = {
    "grpc": {"port": 0},
    "http": {"port": 0},
    "admin": {"port": 0},
    "drain": {"pause_seconds": 0, "finish_seconds": 2},
    # Only who breaks something waits for these; a busy machine has been seen to take 5 seconds for a first byte.
    "upstream": {"connect_seconds": 10, "first_byte_seconds": 15, "idle_seconds": 15},
}


def two_dialects(alpha: str, beta: str) -> Rows:
    """Provider alpha speaks openai_chat, beta anthropic; each has a key.

    Models: sim/alpha and sim/beta are at one of them, sim/both at alpha and then beta, sim/reverse at beta and
    then alpha (by price). Upstream every one of them is called `one`.
    """

    def endpoint(slug: str, price: int) -> Rows:
        return {"provider": slug, "model": "one", "price": {"prompt": price, "completion": price}}

    reads = {"input_modalities": ["text", "image", "audio", "file"]}
    return {
        "providers": [
            {
                "slug": "alpha",
                "dialect": "openai_chat",
                "base_url": f"{alpha}/v1",
                "ours": True,
                "auth": {"kind": "bearer", "secret": "env:ALPHA_KEY"},
            },
            {
                "slug": "beta",
                "dialect": "anthropic",
                "base_url": f"{beta}/v1",
                "ours": True,
                "auth": {"kind": "header", "name": "x-api-key", "secret": "env:BETA_KEY"},
            },
        ],
        "models": [
            {"id": "sim/alpha", **reads, "endpoints": [endpoint("alpha", 1)]},
            {"id": "sim/beta", **reads, "endpoints": [endpoint("beta", 1)]},
            {"id": "sim/both", **reads, "endpoints": [endpoint("alpha", 1), endpoint("beta", 2)]},
            {"id": "sim/reverse", **reads, "endpoints": [endpoint("alpha", 2), endpoint("beta", 1)]},
        ],
    }


def ask(model: str = "sim/alpha", text: str = "hello", **fields: object) -> chat_pb2.CreateChatCompletionRequest:
    """A chat request with one user message; `fields` as their JSON reads."""
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return parse(chat_pb2.CreateChatCompletionRequest, {**body, **fields})


def ask_response(
    model: str = "sim/alpha", text: str | list[Any] = "hello", **fields: object
) -> responses_pb2.CreateResponseRequest:
    """A Responses request; `fields` as their JSON reads."""
    return parse(responses_pb2.CreateResponseRequest, {"model": model, "input": text, **fields})


def plain_channel(address: str, **options: Any) -> aio.Channel:
    """A channel with a connection of its own; `options` are gRPC's, without their prefix `grpc.`."""
    given = {"use_local_subchannel_pool": 1, "max_receive_message_length": -1, "enable_retries": 0, **options}
    return aio.insecure_channel(address, options=[(f"grpc.{name}", value) for name, value in given.items()])


@dataclass
class Upstreams:
    """The files and the providers behind a running service."""

    folder: Path
    alpha: Simulator
    beta: Simulator

    @property
    def settings_file(self) -> Path:
        """The settings that the service reads, and reads again when they change."""
        return self.folder / "settings.yaml"

    @property
    def catalog_file(self) -> Path:
        """The catalogue, likewise."""
        return self.folder / "catalogue.yaml"

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Replaces the settings file: `settings` over ports 0, quick time limits and the catalogue's path."""
        files = {
            "catalog": {"path": str(self.catalog_file)},
            "database": {"url": f"sqlite:///{self.folder / 'responses.db'}"},
        }
        merged = _merged(_merged(_QUICK, files), settings)
        _replace(self.settings_file, yaml.safe_dump(merged))

    def write_catalog(self, rows: Mapping[str, Any]) -> None:
        """Replaces the catalogue."""
        _replace(self.catalog_file, yaml.safe_dump(dict(rows)))


@dataclass
class Running:
    """A service that answers. `grpc` is host:port; `http` and `admin` are URLs without a path."""

    upstreams: Upstreams
    grpc: str
    http: str
    admin: str
    channel: aio.Channel = field(init=False)
    problems: list[str] = field(init=False, default_factory=list)
    """What the schemas say against answers that came over `responses`: must be none in the end."""

    def __post_init__(self) -> None:
        # Connects at its first use only: harmless where the door speaks TLS.
        self.channel = plain_channel(self.grpc)

    @property
    def alpha(self) -> Simulator:
        """The provider of dialect openai_chat."""
        return self.upstreams.alpha

    @property
    def beta(self) -> Simulator:
        """The provider of dialect anthropic."""
        return self.upstreams.beta

    @cached_property
    def chat(self) -> Any:
        """ChatService over the plain channel."""
        return chat_pb2_grpc.ChatServiceStub(self.channel)

    @cached_property
    def responses(self) -> Any:
        """ResponsesService over the plain channel; what it answers is held to the published schemas."""
        return responses_pb2_grpc.ResponsesServiceStub(checked(self.channel, self.problems))

    @cached_property
    def models(self) -> Any:
        """CatalogService over the plain channel."""
        return catalog_pb2_grpc.CatalogServiceStub(self.channel)

    @cached_property
    def routing(self) -> Any:
        """RoutingService over the plain channel."""
        return routing_pb2_grpc.RoutingServiceStub(self.channel)

    @cached_property
    def jobs(self) -> Any:
        """JobsService over the plain channel."""
        return jobs_pb2_grpc.JobsServiceStub(self.channel)

    @cached_property
    def health(self) -> Any:
        """gRPC's standard health service over the plain channel."""
        return health_pb2_grpc.HealthStub(self.channel)


@dataclass
class InProcess(Running):
    """`service` is the running object: telemetry, admission, catalogue and settings may be looked at."""

    service: Service


@dataclass
class Child(Running):
    """`process` runs `eurouter serve`; `log` is the file that its stderr goes to."""

    process: asyncio.subprocess.Process
    log: Path

    def logged(self) -> str:
        """What it wrote so far."""
        return self.log.read_text(errors="replace")

    async def stop(self, number: int = signal.SIGTERM, seconds: float = 20.0) -> int:
        """Sends the signal and gives the exit code."""
        self.process.send_signal(number)
        async with asyncio.timeout(seconds):
            return await self.process.wait()


CatalogOf = Callable[[str, str], Rows]


@asynccontextmanager
async def running_service(
    folder: Path,
    settings: Mapping[str, Any] | None = None,
    catalog: CatalogOf = two_dialects,
    env: Mapping[str, str] | None = None,
    fetch_from: Callable[[IpAddress], bool] = is_public,
) -> AsyncIterator[InProcess]:
    """The service in this process and event loop, on free ports.

    `settings` are sections over the defaults, `catalog` makes the catalogue from the two simulators' URLs,
    `env` is what the service sees beside the providers' keys, `fetch_from` whom media may be fetched from.
    """
    async with AsyncExitStack() as stack:
        upstreams = await _upstreams(stack, folder, settings or {}, catalog)
        seen = {**PROVIDER_KEYS, **(env or {})}
        loaded = Settings.load(upstreams.settings_file, seen)
        pause = loaded.drain.pause_seconds > 0
        start = Start(upstreams.settings_file, seen, drain_pause=pause, fetch_from=fetch_from)
        service = Service(loaded, start)
        await service.process.start()
        stack.push_async_callback(service.process.stop)
        ports = service.process.ports
        scheme = "https" if loaded.http.tls.enabled else "http"
        up = InProcess(
            upstreams,
            f"{loaded.grpc.host}:{ports.grpc}",
            f"{scheme}://127.0.0.1:{ports.http}",
            f"http://127.0.0.1:{ports.admin}",
            service,
        )
        stack.push_async_callback(up.channel.close)
        yield up
        assert not up.problems, "\n".join(up.problems[:20])


@asynccontextmanager
async def running_child(
    folder: Path,
    settings: Mapping[str, Any] | None = None,
    catalog: CatalogOf = two_dialects,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Child]:
    """`eurouter serve` as a child that answers; parameters as in `running_service`.

    With `processes` above 1 the ports in `settings` must be real ones: see `free_ports`.
    """
    async with AsyncExitStack() as stack:
        upstreams = await _upstreams(stack, folder, settings or {}, catalog)
        log = folder / "stderr.log"
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "service", "serve", "--config", str(upstreams.settings_file)),
                cwd=ROOT,
                env={**os.environ, **PROVIDER_KEYS, **(env or {})},
                stderr=stderr,
                # A group of its own: a Ctrl-C at the test run must not race with the test's own signals.
                start_new_session=True,
            )
        stack.push_async_callback(_end, process)
        grpc, http, admin = await _announced(process, log)
        up = Child(upstreams, grpc, http, admin, process, log)
        stack.push_async_callback(up.channel.close)
        yield up
        assert not up.problems, "\n".join(up.problems[:20])


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


async def until(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Waits for a condition; a failed test that names it when it doesn't come about."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what}") from None


_ANNOUNCED: Final = re.compile(
    r"==> gRPC on (\S+).*?==> HTTP on (https?://[^/\s]+)/v1, probes and metrics on (\S+)", re.DOTALL
)


async def _announced(process: asyncio.subprocess.Process, log: Path) -> tuple[str, str, str]:
    def said() -> bool:
        return process.returncode is not None or _ANNOUNCED.search(log.read_text()) is not None

    await until(said, "the child says where it listens", 60)
    found = _ANNOUNCED.search(log.read_text())
    assert found is not None, f"the child ended with {process.returncode}:\n{log.read_text()}"
    return found[1], found[2], f"http://{found[3]}"


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(15):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _upstreams(
    stack: AsyncExitStack, folder: Path, settings: Mapping[str, Any], catalog: CatalogOf
) -> Upstreams:
    alpha, beta = [await stack.enter_async_context(Simulator()) for _ in range(2)]
    upstreams = Upstreams(folder, alpha, beta)
    upstreams.write_catalog(catalog(alpha.url, beta.url))
    upstreams.write_settings(settings)
    return upstreams


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> Rows:
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        merged[name] = _merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def _replace(path: Path, text: str) -> None:
    """As editors do it: the file is never half written."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
