"""The service, two workers and all that they need, under mixed load with faults: something for dashboards to show.

Real processes on loopback. The only fakes are the providers, which the simulator plays.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import yaml
from aiohttp import web
from eurouter.v1 import chat_pb2_grpc
from grpc import aio

from adapters.providers.simulator import Simulator
from tests.kafka import prepare as kafka_parts
from tests.support import postgres
from tests.support.kafka import KafkaCluster, cluster
from tests.support.parts import ROOT
from tests.support.running import ask, free_ports, plain_channel

TOPIC: Final = "team-a.requests"
PODS: Final = ("service-0", "worker-0", "worker-1")

Rows = dict[str, Any]
_KEYS: Final = {"A_KEY": "sk-of-nobody-a", "B_KEY": "sk-of-nobody-b"}
_MODELS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    # By price in this order; what stands after `sim-` is the simulator's to understand.
    "small": (("alpha", "sim-paced-5ms-48"), ("beta", "sim-tokens-48")),
    "thinking": (("beta", "sim-reasoning-tokens-48-after-300ms"),),
    "flaky": (("gamma", "sim-fault-503"), ("beta", "sim-tokens-48")),
    "refused": (("gamma", "sim-fault-401"), ("alpha", "sim-tokens-16")),
    "cut": (("gamma", "sim-tokens-64-fault-cut-10"),),
    "broken": (("gamma", "sim-fault-500"),),
    # Takes bytes only: what stands at an address is fetched for it.
    "picture": (("delta", "sim-tokens-16"),),
    "crowded": (("own", "sim-tokens-32-takes-1s-after-400ms"), ("alpha", "sim-tokens-32")),
}


def catalogue(url: str) -> Rows:
    """Four providers and a server of one's own, which bears three calls at a time."""

    def provider(slug: str, dialect: str, secret: str, **more: object) -> Rows:
        auth = {"kind": "bearer", "secret": f"env:{secret}"}
        return {"slug": slug, "dialect": dialect, "base_url": f"{url}/v1", "ours": True, "auth": auth, **more}

    providers = [
        provider("alpha", "openai_chat", "A_KEY"),
        provider("beta", "anthropic", "B_KEY"),
        provider("gamma", "openai_chat", "A_KEY"),
        provider("own", "openai_chat", "A_KEY", concurrency=3),
        {
            "slug": "delta",
            "dialect": "gemini",
            "base_url": f"{url}/v1beta",
            "ours": True,
            "auth": {"kind": "header", "name": "x-goog-api-key", "secret": "env:A_KEY"},
        },
    ]
    models = []
    for name, places in _MODELS.items():
        endpoints = [
            {"provider": slug, "model": model, "price": {"prompt": 1 + at, "completion": 3 + at}}
            for at, (slug, model) in enumerate(places)
        ]
        reads = {"input_modalities": ["text", "image"]}
        models.append({"id": f"demo/{name}", **reads, "endpoints": endpoints})
    return {"providers": providers, "models": models}


class World:
    """Use it as a context. `targets` are the admin ports by the names of PODS."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = AsyncExitStack()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._postgres: postgres.Postgres | None = None
        self.kafka: KafkaCluster | None = None
        self._http, self._grpc, *admin = free_ports(2 + len(PODS))
        self.targets = dict(zip(PODS, admin, strict=True))
        self.url = f"https://127.0.0.1:{self._http}/v1"
        self.grpc = f"127.0.0.1:{self._grpc}"

    async def __aenter__(self) -> Self:
        simulator = await self._stack.enter_async_context(Simulator())
        (self._folder / "catalogue.yaml").write_text(yaml.safe_dump(catalogue(simulator.url)))
        database = f"sqlite:///{self._folder / 'demo.db'}"
        if postgres.can_start():
            place = self._folder / "postgres"
            place.mkdir()
            self._postgres = await asyncio.to_thread(postgres.private, place)
            self._stack.callback(self._postgres.stop)
            database = self._postgres.database()
        if kafka_parts.can_start():
            self.kafka = self._stack.enter_context(cluster())
        self._write_settings(database, await self._collector())
        for pod in PODS:
            self.begin(pod)
            await self._answers(pod)
        return self

    async def __aexit__(self, *_: object) -> None:
        for child in self._children.values():
            child.terminate()
        for child in self._children.values():
            await asyncio.to_thread(child.wait, 30)
        await self._stack.aclose()

    def begin(self, pod: str) -> None:
        """Starts a process, again if need be."""
        command = "serve" if pod.startswith("service") else "work"
        settings = str(self._folder / f"{pod}.yaml")
        with (self._folder / f"{pod}.log").open("ab") as log:
            self._children[pod] = subprocess.Popen(
                (sys.executable, "-m", "service", command, "--config", settings),
                cwd=ROOT, env={**os.environ, **_KEYS}, stdout=log, stderr=log,
            )  # fmt: skip

    async def kill(self, pod: str) -> None:
        """Ends a process at once, as a node that dies does."""
        self._children[pod].send_signal(signal.SIGKILL)
        await asyncio.to_thread(self._children[pod].wait)

    async def database_away(self, seconds: float) -> None:
        """Stops the database for so long, if it is one that can be stopped."""
        if self._postgres is not None:
            await asyncio.to_thread(self._postgres.stop, signal.SIGQUIT)
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self._postgres.start)

    def _write_settings(self, database: str, collector: str) -> None:
        key, certificate = self._folder / "key.pem", self._folder / "certificate.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "90", "-subj", "/CN=localhost",
             "-keyout", str(key), "-out", str(certificate)],
            check=True, capture_output=True,
        )  # fmt: skip
        common: Rows = {
            "catalog": {"path": str(self._folder / "catalogue.yaml")},
            "database": {"url": database},
            "drain": {"pause_seconds": 0, "finish_seconds": 5},
            "telemetry": {"endpoint": collector},
            "owners": [{"name": "local", "fetch_media": True}],
        }
        if self.kafka is not None:
            common["kafka"] = {
                "bootstrap_servers": self.kafka.bootstrap, "topics": "create", "partitions": 6,
                "intake": [{"topic": TOPIC, "owner": "local"}],
            }  # fmt: skip
        for pod, port in self.targets.items():
            own: Rows = {"jobs": {"here": False, "admin_port": port}}
            if pod.startswith("service"):
                tls = {"cert": str(certificate), "key": str(key)}
                own |= {
                    "grpc": {"port": self._grpc},
                    "http": {"port": self._http, "tls": tls},
                    "admin": {"port": port},
                }
            (self._folder / f"{pod}.yaml").write_text(yaml.safe_dump({**common, **own}))

    async def _collector(self) -> str:
        """One that takes every span and keeps none; its URL."""

        async def take(request: web.Request) -> web.Response:
            await request.read()
            return web.Response()

        app = web.Application()
        app.router.add_post("/v1/traces", take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        (port,) = free_ports(1)
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return f"http://127.0.0.1:{port}"

    async def _answers(self, pod: str) -> None:
        deadline = time.monotonic() + 60
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < deadline:
                try:
                    async with session.get(f"http://127.0.0.1:{self.targets[pod]}/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.1)
        raise RuntimeError(f"{pod} is not ready: {(self._folder / f'{pod}.log').read_text()[-2000:]}")


class Load:
    """Callers of every kind, each beginning a call again and again. `calls` counts what they began."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.calls = 0
        self._random = random.Random(8)

    async def run(self) -> None:
        """Until cancelled."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            plain_channel(self._world.grpc) as channel,
            asyncio.TaskGroup() as group,
        ):
            for model, pause, count in (
                ("small", 0.15, 4),
                ("thinking", 0.5, 2),
                ("flaky", 0.5, 2),
                ("crowded", 0.1, 6),
            ):
                for _ in range(count):
                    group.create_task(self._often(pause, self._chat(session, model)))
            for model in ("refused", "cut", "broken"):
                group.create_task(self._often(2.5, self._chat(session, model)))
            group.create_task(self._often(3.0, self._wrong(session)))
            group.create_task(self._often(3.0, self._picture(session)))
            for priority, pause in (("normal", 0.25), ("bulk", 0.15), ("high", 1.0)):
                group.create_task(self._often(pause, self._job(session, priority)))
            chat = chat_pb2_grpc.ChatServiceStub(channel)
            for _ in range(3):
                group.create_task(self._often(0.3, partial(_stream, chat)))
            if self._world.kafka is not None:
                group.create_task(self._records(self._world.kafka))

    async def _often(self, pause: float, call: Callable[[], Any]) -> None:
        while True:
            self.calls += 1
            try:
                await call()
            except (aiohttp.ClientError, aio.AioRpcError, TimeoutError):
                # What is away is part of the show.
                await asyncio.sleep(0.2)
            await asyncio.sleep(pause * self._random.uniform(0.5, 1.5))

    def _chat(self, session: aiohttp.ClientSession, model: str) -> Callable[[], Any]:
        async def call() -> None:
            stream = self._random.random() < 0.7
            body = {"model": f"demo/{model}", "messages": [{"role": "user", "content": "hello"}], "stream": stream}
            await self._post(session, "chat/completions", body)

        return call

    def _wrong(self, session: aiohttp.ClientSession) -> Callable[[], Any]:
        async def call() -> None:
            await self._post(session, "chat/completions", {"model": "demo/unknown", "messages": []})

        return call

    def _picture(self, session: aiohttp.ClientSession) -> Callable[[], Any]:
        # No address of this machine is fetched from: that is a failed fetch.
        image = {"type": "image_url", "image_url": {"url": f"{self._world.url}/picture.png"}}
        body = {"model": "demo/picture", "messages": [{"role": "user", "content": [image]}]}

        async def call() -> None:
            await self._post(session, "chat/completions", body)

        return call

    def _job(self, session: aiohttp.ClientSession, priority: str) -> Callable[[], Any]:
        async def call() -> None:
            model = self._random.choice(("small", "small", "thinking", "flaky", "cut"))
            body = {"model": f"demo/{model}", "input": "hello", "background": True}
            await self._post(session, "responses", body, {"eurouter-priority": priority})

        return call

    async def _post(
        self, session: aiohttp.ClientSession, path: str, body: Rows, headers: Mapping[str, str] | None = None
    ) -> None:
        limit, url = aiohttp.ClientTimeout(total=20), f"{self._world.url}/{path}"
        async with session.post(url, json=body, headers=headers, timeout=limit) as answer:
            await answer.read()

    async def _records(self, kafka: KafkaCluster) -> None:
        producer = kafka.producer()
        await producer.start()
        try:
            while True:
                self.calls += 1
                known = self._random.random() > 0.1
                body = {"model": "demo/small" if known else "demo/unknown", "input": "hello"}
                await producer.send(TOPIC, json.dumps(body).encode())
                await asyncio.sleep(self._random.uniform(0.05, 0.3))
        finally:
            await producer.stop()


async def _stream(chat: Any) -> None:
    async for _ in chat.StreamChatCompletion(ask("demo/small"), timeout=20):
        pass
