"""Clients that leave, stall or read slowly: the upstream call ends with them, and memory stays flat."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from adapters.providers.simulator import Script, SlowFirstByte, Stall, rate_limited
from tests.support.http_door import CHAT, Door, body, http_door
from tests.support.running import Rows, until


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with http_door(tmp_path, {"http": {"heartbeat_seconds": 0.1}}) as opened:
        yield opened


class Raw:
    """A client with a socket of its own, which it closes, resets or doesn't read as it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def ask(cls, door: Door, request: Mapping[str, object], *, buffer: int | None = None) -> Raw:
        host, port = door.up.http.removeprefix("http://").split(":")
        plain = socket.socket()
        if buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, (host, int(port)))
        reader, writer = await asyncio.open_connection(sock=plain, limit=2**14)
        sent = json.dumps(request).encode()
        writer.write(
            b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (CHAT.encode(), len(sent), sent)
        )
        return cls(reader, writer)

    def leave(self) -> float:
        """Closes the connection; when."""
        self.writer.transport.abort()
        return time.time()


def outcomes(door: Door, door_name: str = "http") -> dict[str, float]:
    found: dict[str, float] = {}
    for family in door.up.service.telemetry.registry.collect():
        for sample in family.samples:
            if sample.name == "eurouter_requests_total" and sample.labels["door"] == door_name and sample.value:
                found[sample.labels["outcome"]] = sample.value
    return found


def attempts(door: Door) -> dict[tuple[str, str], float]:
    return {
        (sample.labels["provider"], sample.labels["outcome"]): sample.value
        for family in door.up.service.telemetry.registry.collect()
        for sample in family.samples
        if sample.name == "eurouter_upstream_attempts_total" and sample.value
    }


@pytest.mark.parametrize("model", ["sim/alpha", "sim/beta"])
@pytest.mark.parametrize(
    ("stream", "script", "wait_for_output"),
    [
        (False, Script(text="a", latency=5), False),
        (False, Script(text="a b c d", fault=Stall()), False),
        (True, Script(text="a", first_byte_delay=5), False),
        (True, Script(text="a", fault=SlowFirstByte(5, headers_first=True)), False),
        (True, Script(text=("a", "b"), pace=5), True),
        (True, Script(tokens=2000, pace=0.005), True),
        (True, Script(text="a b c d e f", pace=0.01, fault=Stall(2)), True),
    ],
)
async def test_a_client_that_leaves_ends_the_upstream_call_at_once(
    door: Door, model: str, stream: bool, script: Script, wait_for_output: bool
) -> None:
    upstream = door.up.alpha if model == "sim/alpha" else door.up.beta
    upstream.script(script)
    client = await Raw.ask(door, body(model, stream=stream))
    if wait_for_output:
        async with asyncio.timeout(5):
            await client.reader.readuntil(b"data: ")
    else:
        await upstream.wait_for(lambda calls: len(calls) == 1)
        await asyncio.sleep(0.05)
    left = client.leave()
    (call,) = await upstream.wait_for(lambda calls: calls[0].ended is not None)
    assert call.cancelled
    assert call.ended is not None
    assert call.ended - left < 1
    await until(lambda: door.up.service.admission.in_flight == 0, "the call is over")
    assert outcomes(door) == {"CANCELLED": 1}
    assert attempts(door) == {(call_provider(model), "cancelled"): 1}


def call_provider(model: str) -> str:
    return model.removeprefix("sim/")


async def test_a_client_that_leaves_while_its_call_waits_to_be_tried_again_starts_no_new_attempt(
    door: Door,
) -> None:
    door.up.alpha.script(Script(fault=rate_limited(1)))
    client = await Raw.ask(door, body())
    await door.up.alpha.wait_for(lambda calls: len(calls) == 1 and calls[0].ended is not None)
    client.leave()
    await until(lambda: door.up.service.admission.in_flight == 0, "the call is over")
    await asyncio.sleep(1.1)
    assert len(door.up.alpha.calls) == 1
    assert outcomes(door) == {"CANCELLED": 1}


async def test_a_client_that_leaves_amid_its_body_is_no_fault_of_ours(door: Door) -> None:
    host, port = door.up.http.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{")
    await until(lambda: door.up.service.admission.in_flight == 1, "the call is under way")
    writer.transport.abort()
    await until(lambda: door.up.service.admission.in_flight == 0, "the call is over")
    assert outcomes(door) == {"CANCELLED": 1}


PRICE = {"prompt": 1, "completion": 1}
_PIECE = "x" * 4000
_BLOCK_BYTES = 64_000
_TOTAL_BYTES = 50_000_000


@asynccontextmanager
async def torrent() -> AsyncIterator[tuple[str, list[int]]]:
    """An upstream that streams 50 MB as fast as it is read; how many bytes it could write so far."""
    sent = [0]
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "one",
        "choices": [{"index": 0, "delta": {"content": _PIECE}, "finish_reason": None}],
    }
    event = b"data: %b\n\n" % json.dumps(chunk).encode()
    block = event * (_BLOCK_BYTES // len(event))

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        while sent[0] < _TOTAL_BYTES:
            await response.write(block)
            sent[0] += len(block)
        await response.write(event.replace(b"null", b'"stop"') + b"data: [DONE]\n\n")
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", sent
    finally:
        await runner.cleanup()


async def test_a_client_that_does_not_read_makes_the_upstream_wait_and_no_memory_grow(tmp_path: Path) -> None:
    async with torrent() as (url, sent):

        def catalog(_alpha: str, _beta: str) -> Rows:
            return {
                "providers": [{"slug": "own", "dialect": "openai_chat", "base_url": f"{url}/v1"}],
                "models": [
                    {"id": "sim/alpha", "endpoints": [{"provider": "own", "model": "one", "price": PRICE}]}
                ],
            }

        async with http_door(tmp_path, {"http": {"heartbeat_seconds": 0.1}}, catalog) as door:
            before = resident_bytes()
            client = await Raw.ask(door, body(stream=True), buffer=65536)
            await until(lambda: sent[0] > 0, "the upstream streams")
            await settled(sent)
            stalled_at = sent[0]
            # What stands in the kernel's buffers of two connections counts as sent.
            assert stalled_at < 20_000_000
            await asyncio.sleep(0.5)
            assert sent[0] == stalled_at
            assert resident_bytes() - before < 20_000_000
            # And what was held back comes whole once the client reads.
            received = 0
            async with asyncio.timeout(30):
                while data := await client.reader.read(2**20):
                    received += data.count(b"x")
                    if b"data: [DONE]" in data:
                        break
            assert received >= _TOTAL_BYTES * 0.9
            client.leave()


async def settled(sent: list[int]) -> None:
    async with asyncio.timeout(10):
        while True:
            seen = sent[0]
            await asyncio.sleep(0.3)
            if sent[0] == seen:
                return


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


async def test_a_client_that_never_reads_on_is_dropped_when_its_time_is_over(tmp_path: Path) -> None:
    times = {"deadlines": {"default_seconds": 1, "max_seconds": 1}}
    async with torrent() as (url, sent):

        def catalog(_alpha: str, _beta: str) -> Rows:
            return {
                "providers": [{"slug": "own", "dialect": "openai_chat", "base_url": f"{url}/v1"}],
                "models": [
                    {"id": "sim/alpha", "endpoints": [{"provider": "own", "model": "one", "price": PRICE}]}
                ],
            }

        async with http_door(tmp_path, times, catalog) as door:
            client = await Raw.ask(door, body(stream=True), buffer=65536)
            await until(lambda: sent[0] > 0, "the upstream streams")
            await until(lambda: door.up.service.admission.in_flight == 0, "the call is over", 5)
            assert sent[0] < _TOTAL_BYTES
            assert outcomes(door) == {"DEADLINE_EXCEEDED": 1}
            client.leave()


async def test_a_stalled_client_does_not_hold_up_the_comments_of_others(tmp_path: Path) -> None:
    async with torrent() as (url, sent):

        def catalog(alpha: str, _beta: str) -> Rows:
            return {
                "providers": [
                    {"slug": "own", "dialect": "openai_chat", "base_url": f"{url}/v1"},
                    {"slug": "alpha", "dialect": "openai_chat", "base_url": f"{alpha}/v1"},
                ],
                "models": [
                    {"id": "sim/torrent", "endpoints": [{"provider": "own", "model": "one", "price": PRICE}]},
                    {"id": "sim/alpha", "endpoints": [{"provider": "alpha", "model": "one", "price": PRICE}]},
                ],
            }

        async with http_door(tmp_path, {"http": {"heartbeat_seconds": 0.1}}, catalog) as door:
            stalled = [await Raw.ask(door, body("sim/torrent", stream=True), buffer=65536) for _ in range(5)]
            await until(lambda: sent[0] > 0, "the upstream streams")
            door.up.alpha.script(Script(text=("a", "b"), pace=1.0))
            idle = await door.stream(body())
            assert len(idle.comments) >= 5
            for client in stalled:
                client.leave()
