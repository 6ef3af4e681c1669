"""More than one process takes at a time, by calls and by bytes: refused at both doors, told when to come again."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from adapters.providers.simulator import Script
from service.domain.errors import Reason
from tests.integration.test_process_metrics import samples
from tests.support.http_door import CHAT, Answer, Door, body, http_door
from tests.support.running import InProcess, ask, until
from tests.support.statuses import reason_of, retry_delay_of

LATE = Script(text="late", first_byte_delay=60)
LARGE = "x" * 40_000
PATIENT = {"first_byte_seconds": 60}
ROOM = {"admission": {"max_request_bytes": 60_000}}


@asynccontextmanager
async def held(up: InProcess, *requests: str) -> AsyncIterator[None]:
    """Calls with these texts are under way, and end with this."""
    before = up.service.admission.in_flight
    calls = [up.chat.CreateChatCompletion(ask(text=text)) for text in requests]
    await until(lambda: up.service.admission.in_flight == before + len(calls), "the calls are under way")
    yield
    for call in calls:
        call.cancel()
    await until(lambda: up.service.admission.in_flight == before, "the calls are over")


@asynccontextmanager
async def full(folder: Path, settings: dict[str, Any]) -> AsyncIterator[Door]:
    """A door behind which a provider takes its time."""
    async with http_door(folder, {**settings, "upstream": PATIENT}) as door:
        door.up.alpha.script(LATE)
        yield door
        assert (door.up.service.admission.in_flight, door.up.service.admission.request_bytes) == (0, 0)


def refused(answer: Answer) -> bool:
    """Whether a call was refused as it should be; or else it was not refused at all."""
    if answer.status == 200:
        return False
    assert (answer.status, answer.error["reason"]) == (503, Reason.OVERLOADED.value), answer.raw
    assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("1", "true")
    return True


async def refused_by_grpc(up: InProcess, text: str) -> bool:
    """The same of a call over gRPC."""
    try:
        await up.chat.CreateChatCompletion(ask(text=text))
    except grpc.aio.AioRpcError as error:
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNAVAILABLE, Reason.OVERLOADED.value)
        assert retry_delay_of(error) == 1.0
        return True
    return False


async def test_calls_beyond_the_limit_are_refused_at_both_doors_and_counted(tmp_path: Path) -> None:
    async with full(tmp_path, {"admission": {"max_calls": 2}}) as door, held(door.up, "one", "two"):
        assert refused(await door.post(body()))
        assert await refused_by_grpc(door.up, "three")
        found = await samples(door.up)
        for method in ("grpc,CreateChatCompletion", "http,chat/completions"):
            assert found["eurouter_requests_total", f"{method},OVERLOADED"] == 1
        assert found["eurouter_requests_in_flight", ""] == 2
        assert len(door.up.alpha.calls) == 2


async def test_probes_and_health_are_answered_while_no_call_is_taken(tmp_path: Path) -> None:
    async with full(tmp_path, {"admission": {"max_calls": 1}}) as door, held(door.up, "one"):
        await until(lambda: not door.up.service.readiness().not_ready, "it is ready")
        checked = await door.up.health.Check(health_pb2.HealthCheckRequest())
        assert checked.status == health_pb2.HealthCheckResponse.SERVING
        for path in ("/livez", "/readyz"):
            async with door.session.get(door.up.admin + path) as answer:
                assert answer.status == 200
        assert refused(await door.post(body()))


async def test_a_limit_that_is_raised_counts_from_then_on(tmp_path: Path) -> None:
    async with full(tmp_path, {"admission": {"max_calls": 1}}) as door, held(door.up, "one"):
        assert refused(await door.post(body()))
        door.up.upstreams.write_settings({"admission": {"max_calls": 2}, "upstream": PATIENT})
        await until(lambda: door.up.service.live.admission().calls == 2, "the settings are read again")
        async with held(door.up, "two"):
            assert await refused_by_grpc(door.up, "three")


async def test_large_requests_for_which_there_is_no_room_are_refused_and_small_ones_are_not(
    tmp_path: Path,
) -> None:
    async with full(tmp_path, ROOM) as door, held(door.up, LARGE):
        assert refused(await door.post(body(text=LARGE)))
        assert await refused_by_grpc(door.up, LARGE)
        door.up.alpha.script(Script(text="hi"))
        assert not refused(await door.post(body()))
        assert not await refused_by_grpc(door.up, "hello")


async def test_bodies_whose_headers_say_less_are_weighed_when_they_are_read(tmp_path: Path) -> None:
    data = json.dumps(body(text=LARGE)).encode()
    packed = gzip.compress(data)
    assert len(packed) < 1000
    json_type = {"content-type": "application/json"}

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    async with full(tmp_path, ROOM) as door, held(door.up, LARGE):
        assert refused(await door.call("POST", CHAT, data=chunks(), headers=json_type))
        zipped = {**json_type, "content-encoding": "gzip"}
        assert refused(await door.call("POST", CHAT, data=packed, headers=zipped))


@asynccontextmanager
async def begun(door: Door, data: bytes, *headers: str) -> AsyncIterator[asyncio.StreamReader]:
    """A connection on which a body in chunks has begun with `data`, and does not go on."""
    host, port = door.up.http.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = (f"POST {CHAT} HTTP/1.1", "host: x", "transfer-encoding: chunked", *headers, "", "")
    writer.write("\r\n".join(lines).encode() + f"{len(data):x}\r\n".encode() + data + b"\r\n")
    try:
        yield reader
    finally:
        writer.close()
        await until(lambda: door.up.service.admission.in_flight == 0, "it is over")


def unfinished(text: str) -> bytes:
    """A body in gzip that goes on behind `text`."""
    packing = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return packing.compress(text.encode()) + packing.flush(zlib.Z_SYNC_FLUSH)


async def test_a_body_that_never_ends_counts_for_what_of_it_has_come(tmp_path: Path) -> None:
    packed = unfinished(LARGE)
    assert len(packed) < 1000
    async with full(tmp_path, ROOM) as door:
        for data, headers in ((LARGE.encode(), ()), (packed, ("content-encoding: gzip",))):
            async with begun(door, data, *headers):
                await until(lambda: door.up.service.admission.request_bytes == len(LARGE), "it counts")
                assert refused(await door.post(body(text=LARGE)))


async def test_a_body_without_room_is_refused_before_its_end(tmp_path: Path) -> None:
    async with full(tmp_path, ROOM) as door:
        call = door.up.chat.CreateChatCompletion(ask(text=LARGE))
        await until(lambda: door.up.service.admission.request_bytes >= len(LARGE), "the call is under way")
        async with begun(door, unfinished("x" * 4_000_000), "content-encoding: gzip") as reader:
            async with asyncio.timeout(5):
                head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1\r\n" in head.lower()
            assert door.up.service.admission.request_bytes < 2 * len(LARGE)
            call.cancel()


async def test_a_body_that_is_announced_takes_its_room_before_it_has_come(tmp_path: Path) -> None:
    async with full(tmp_path, ROOM) as door:
        host, port = door.up.http.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 50000\r\n\r\n".encode())
        await until(lambda: door.up.service.admission.request_bytes == 50_000, "its headers are read")
        assert refused(await door.post(body(text=LARGE)))
        writer.close()
        await until(lambda: door.up.service.admission.in_flight == 0, "it is over")
        assert await reader.read() == b""
