"""`python -m bench.capacity`: what docs/kubernetes/capacity.md needs beside docs/benchmarks.md.

Memory of processes and of open streams, and the size of what is stored, in PostgreSQL and SQLite, with the time
that a dump and its restore take. What a call costs is measured by `python -m bench`, not here.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import grpc
from eurouter.v1 import chat_pb2, chat_pb2_grpc, content_pb2

from bench import fleet, product
from bench.fleet import Cores, Running, StartError
from bench.jobs import postgres
from bench.measure import resident_bytes, supported
from bench.traffic import VENDOR
from tests.support.postgres import binaries

_ECHO: Final = "sim-echo"
_SLOW: Final = "sim-echo-pace-500ms"
_PER_CONNECTION: Final = 50
_AT_A_TIME: Final = 16
_WORDS: Final = 4000
_WORD_BYTES: Final = (2, 11)
_SETTLE_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored: a prompt of so many bytes, and an answer that repeats it."""

    name: str
    prompt_bytes: int
    fields: Mapping[str, Any]


KINDS: Final = (
    Stored("a response, 0.25 kB each way", 250, {"store": True}),
    Stored("a response, 4 kB each way", 4_000, {"store": True}),
    Stored("a response, 40 kB each way", 40_000, {"store": True}),
    Stored("a job, 0.25 kB each way", 250, {"background": True}),
    Stored("a job, 4 kB each way", 4_000, {"background": True}),
)


def prompts(size: int, count: int) -> list[str]:
    """Texts of made-up words, each of `size` bytes: pages that compress about as prose does."""
    chance = random.Random(size)
    letters = "eeeetttaaaooinnsshrrddlucmfwypgvbk"
    words = ["".join(chance.choices(letters, k=chance.randint(*_WORD_BYTES))) for _ in range(_WORDS)]
    # Few words are frequent and most are rare, as in any language.
    weights = [1 / rank for rank in range(1, _WORDS + 1)]
    return [" ".join(chance.choices(words, weights, k=size // 3 + 1))[:size] for _ in range(count)]


class Place:
    """A simulator, a folder and a database server."""

    def __init__(self, folder: Path, cores: Cores) -> None:
        self.folder, self.cores = folder, cores
        port = fleet.free_port()
        # Its journal of calls would hold the prompts of the whole run.
        options = {"port": str(port), "calls-kept": "100"}
        self.upstream = fleet.module("simulator", "adapters.providers.simulator", options, cores.rest, folder)
        self.upstream.wait_for_port(port)
        self.url = f"http://127.0.0.1:{port}/v1"

    def service(self, name: str, url: str) -> product.Product:
        """A service on a database, which works on jobs itself."""
        provider = {"slug": "simulator", "dialect": "openai_chat", "base_url": self.url, "simulator": True}
        models = [
            {"id": f"{VENDOR}/{model}", "endpoints": [{"provider": "simulator", "model": model}]}
            for model in (_ECHO, _SLOW)
        ]
        rows = {"providers": [provider], "models": models}
        catalogue = product.write(self.folder / f"{name}-own.yaml", rows)
        changes = {"database": {"url": url}, "catalog": {"path": str(catalogue)}}
        started = product.start(name, self.url, self.cores.server, self.folder, changes=changes)
        started.wait()
        return started


async def store(service: product.Product, kind: Stored, count: int) -> None:
    """Makes so many responses of a kind and returns when each is over."""
    base = f"http://127.0.0.1:{service.http_port}/v1/responses"
    left = prompts(kind.prompt_bytes, count)
    headers = {"authorization": f"Bearer {service.key}"}

    async def some(session: aiohttp.ClientSession) -> None:
        while left:
            body = {"model": f"{VENDOR}/{_ECHO}", "input": left.pop(), **kind.fields}
            async with session.post(base, json=body) as answer:
                made = await answer.json()
            while made["status"] in ("queued", "in_progress"):
                await asyncio.sleep(0.05)
                async with session.get(f"{base}/{made['id']}") as answer:
                    made = await answer.json()
            if made["status"] != "completed":
                raise StartError(f"a response ended as {made['status']}")

    async with aiohttp.ClientSession(headers=headers) as session:
        await asyncio.gather(*(some(session) for _ in range(_AT_A_TIME)))


def stored_bytes(url: str) -> int:
    """What a database takes once dead rows are gone, with its indexes and what is stored out of line."""
    if url.startswith("sqlite:///"):
        return _sqlite_bytes(Path(url.removeprefix("sqlite:///")))
    postgres.wait_for(postgres.execute(url, "VACUUM FULL"))
    sql = "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class WHERE relkind = 'r' AND relnamespace = "
    return int(postgres.ask(url, sql + "'public'::regnamespace")[0][0])


def _sqlite_bytes(file: Path) -> int:
    copy = file.with_suffix(".copy")
    copy.unlink(missing_ok=True)
    with sqlite3.connect(file) as database:
        database.execute("VACUUM INTO ?", [str(copy)])
    return copy.stat().st_size


def sizes(place: Place, server: postgres.Server, count: int) -> dict[str, dict[str, float]]:
    """Bytes per response by kind and database."""
    found: dict[str, dict[str, float]] = {kind.name: {} for kind in KINDS}
    file = (place.folder / "sizes.db").resolve()
    urls = {"PostgreSQL": server.create("sizes"), "SQLite": f"sqlite:///{file}"}
    for database, url in urls.items():
        running = place.service(f"sizes-{database.lower()}", url)
        try:
            # The tables are made with the first response.
            asyncio.run(store(running, KINDS[0], 1))
            for kind in KINDS:
                before = stored_bytes(url)
                asyncio.run(store(running, kind, count))
                found[kind.name][database] = (stored_bytes(url) - before) / count
        finally:
            running.running.stop()
    return found


async def open_streams(service: product.Product, count: int) -> list[Any]:
    """So many streams that have begun and go on for minutes."""
    request = chat_pb2.CreateChatCompletionRequest(model=f"{VENDOR}/{_SLOW}")
    text = content_pb2.ContentPart(text=" ".join(["word"] * 600))
    request.messages.add(role=chat_pb2.CHAT_ROLE_USER, content=[text])
    streams = []
    for first in range(0, count, _PER_CONNECTION):
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{service.grpc_port}", options=options)
        chat = chat_pb2_grpc.ChatServiceStub(channel)
        metadata = (("authorization", f"Bearer {service.key}"),)
        made = [
            chat.StreamChatCompletion(request, metadata=metadata)
            for _ in range(min(_PER_CONNECTION, count - first))
        ]
        await asyncio.gather(*(call.read() for call in made))
        streams += [(channel, call) for call in made]
    return streams


async def memory(service: product.Product, counts: tuple[int, ...]) -> dict[int, float]:
    """Resident MiB of the process by how many streams are open."""
    found = {0: resident_bytes((service.running.pid,)) / 2**20}
    for count in counts:
        streams = await open_streams(service, count)
        readers = [asyncio.ensure_future(_read(call)) for _, call in streams]
        await asyncio.sleep(_SETTLE_SECONDS)
        found[count] = resident_bytes((service.running.pid,)) / 2**20
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        for channel in {id(channel): channel for channel, _ in streams}.values():
            await channel.close()
    return found


async def _read(call: Any) -> None:
    async for _ in call:
        pass


def worker_mebibytes(place: Place, url: str) -> float:
    """Resident memory of a worker with nothing to do."""
    port = fleet.free_port()
    catalogue = product.write(place.folder / "worker-own.yaml", product.catalog_of(place.url))
    settings = {"database": {"url": url}, "jobs": {"admin_port": port}, "catalog": {"path": str(catalogue)}}
    file = product.write(place.folder / "worker.yaml", settings)
    command = [sys.executable, "-m", "workers", "--config", str(file)]
    worker = Running("worker", command, place.cores.server, place.folder)
    try:
        worker.wait_for_port(port)
        time.sleep(_SETTLE_SECONDS)
        return resident_bytes((worker.pid,)) / 2**20
    finally:
        worker.stop()


def dumped(server: postgres.Server, folder: Path) -> dict[str, float]:
    """Seconds to dump and to restore what `sizes` left, and how much it is."""
    bins = binaries()
    assert bins is not None
    source = server.url.replace(urlsplit(server.url).path, "/sizes")
    target, file = server.create("restored"), folder / "dump"
    flags = ["--no-owner", "--no-privileges"]
    begun = time.monotonic()
    subprocess.run([str(bins / "pg_dump"), "--format=custom", *flags, f"--file={file}", source], check=True)
    half = time.monotonic()
    how = [*flags, "--single-transaction", "--exit-on-error"]
    restore = [str(bins / "pg_restore"), *how, f"--dbname={target}", str(file)]
    subprocess.run(restore, check=True)
    rows = postgres.ask(source, "SELECT count(*) FROM responses")[0][0]
    return {
        "responses": rows,
        "database_mib": stored_bytes(source) / 2**20,
        "file_mib": file.stat().st_size / 2**20,
        "dump_s": half - begun,
        "restore_s": time.monotonic() - half,
    }


def main() -> None:
    """Measures everything and prints it."""
    parser = argparse.ArgumentParser(prog="python -m bench.capacity")
    parser.add_argument("--responses", type=int, default=2000, help="of each kind")
    parser.add_argument("--streams", type=int, nargs="+", default=[500, 1000])
    asked = parser.parse_args()
    if not supported():
        sys.exit("It reads memory from Linux's /proc: run it on Linux.")
    with tempfile.TemporaryDirectory(prefix="eurouter-capacity-") as name:
        folder, cores = Path(name), Cores.of_this_machine()
        place = Place(folder, cores)
        server = postgres.start(cores.rest, folder / "postgres")
        try:
            for kind, by_database in sizes(place, server, asked.responses).items():
                print(f"{kind}: " + ", ".join(f"{of} {size / 1000:.2f} kB" for of, size in by_database.items()))
            print({name: round(value, 2) for name, value in dumped(server, folder).items()})
            service = place.service("memory", server.create("memory"))
            try:
                held = asyncio.run(memory(service, tuple(asked.streams)))
            finally:
                service.running.stop()
            print("service, MiB by open streams:", {count: round(size, 1) for count, size in held.items()})
            print(f"worker, idle: {worker_mebibytes(place, server.create('worker')):.1f} MiB")
        finally:
            server.stop()
            place.upstream.stop()


if __name__ == "__main__":
    main()
