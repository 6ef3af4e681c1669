"""Hostile providers through real sockets: bytes in drips, headers and lines without end, values of wrong types."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from adapters.providers.secrets import Secrets
from adapters.providers.upstream import HttpUpstream
from service.domain.catalog import Auth, Endpoint, Facts, Price, Provider, Timeouts
from service.domain.events import Event
from service.domain.failure import Failure, FailureKind, UpstreamError
from service.domain.fold import fold
from tests.contract.dialects import DIALECTS
from tests.contract.sample import DialectSample, decode
from tests.integration.upstream_server import GENERATION, Answer, Peer, Server, context, serving

MEGABYTE = 1 << 20
SAMPLES = [sample for sample in DIALECTS if sample.name in ("openai_chat", "anthropic", "bedrock", "gemini")]
each_dialect = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)


@asynccontextmanager
async def asking(sample: DialectSample, answer: Answer) -> AsyncIterator[tuple[HttpUpstream, Endpoint, Server]]:
    async with serving(answer) as server:
        provider = Provider(
            slug="hostile",
            name="Hostile",
            dialect=sample.name,
            base_url=server.url,
            auth=Auth(),
            timeouts=Timeouts(connect=2, first_byte=5, idle=5, total=20),
        )
        to = Endpoint(
            "h/m", provider, "v/m", "m", Price(), Facts(), sample.dialect.expressible, max_output_tokens=99
        )
        up = HttpUpstream({sample.name: sample.dialect}, Secrets({}))
        try:
            yield up, to, server
        finally:
            await up.aclose()


async def streamed(up: HttpUpstream, to: Endpoint) -> list[Event] | Failure:
    events: list[Event] = []
    try:
        source = await up.open(to, GENERATION, context(30))
        while batch := await source.next():
            events += batch
    except UpstreamError as error:
        return error.failure
    return events


def content_type(sample: DialectSample) -> str:
    return "application/vnd.amazon.eventstream" if sample.binary else "text/event-stream"


@each_dialect
async def test_a_stream_in_drips_is_the_same_answer(sample: DialectSample) -> None:
    async def drips(peer: Peer) -> None:
        await peer.begin(content_type(sample))
        data = sample.stream("parallel_tool_calls")
        for at in range(len(data)):
            await peer.chunk(data[at : at + 1])
            await asyncio.sleep(0)
        await peer.finish()

    async with asking(sample, drips) as (up, to, _):
        found = await streamed(up, to)
    assert isinstance(found, list)
    assert fold(found) == fold(decode(sample.dialect, [sample.stream("parallel_tool_calls")]))


@each_dialect
async def test_a_stream_without_an_end_of_line_fails_in_bounded_memory_and_stops_the_provider(
    sample: DialectSample,
) -> None:
    stopped = asyncio.Event()

    async def endless(peer: Peer) -> None:
        await peer.begin(content_type(sample))
        await peer.chunk(b"data: ")
        try:
            while True:
                await peer.chunk(b"x" * MEGABYTE)
        finally:
            stopped.set()

    async with asking(sample, endless) as (up, to, _):
        tracemalloc.start()
        try:
            failure = await streamed(up, to)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await asyncio.wait_for(stopped.wait(), 5)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.PROTOCOL
    assert peak < 96 * MEGABYTE


async def test_headers_without_end_are_a_protocol_failure() -> None:
    async def endless(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await peer.send(b"x-more: " + b"y" * 4000 + b"\r\n")

    async with asking(SAMPLES[0], endless) as (up, to, _):
        failure = await asyncio.wait_for(streamed(up, to), 15)
    assert isinstance(failure, Failure)
    assert failure.kind in (FailureKind.PROTOCOL, FailureKind.TIMEOUT)


async def test_a_header_without_end_is_a_protocol_failure() -> None:
    async def endless(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nx-more: ")
        while True:
            await peer.send(b"y" * 4000)

    async with asking(SAMPLES[0], endless) as (up, to, _):
        failure = await asyncio.wait_for(streamed(up, to), 15)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.PROTOCOL


async def test_an_error_body_without_end_keeps_its_status() -> None:
    async def endless(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 503 Busy\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            await peer.chunk(b"z" * 65536)

    async with asking(SAMPLES[0], endless) as (up, to, _):
        failure = await asyncio.wait_for(streamed(up, to), 15)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.status) == (FailureKind.OVERLOADED, 503)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_value_of_a_wrong_type_never_leaves_the_upstream(stream: bool) -> None:
    sample = SAMPLES[0]

    async def wrong(peer: Peer) -> None:
        if stream:
            await peer.begin()
            await peer.chunk(b'data: {"id":7,"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n')
            await peer.chunk(b"data: [DONE]\n\n")
            await peer.finish()
        else:
            body = b'{"id":["a"],"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}'
            await peer.whole(body, headers="content-type: application/json\r\n")

    async with asking(sample, wrong) as (up, to, _):
        if stream:
            failure = await streamed(up, to)
        else:
            with pytest.raises(UpstreamError) as error:
                await up.call(to, GENERATION, context())
            failure = error.value.failure
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.PROTOCOL
    assert failure.message == "the provider's answer holds a value that can't stand there (Start.id)"
