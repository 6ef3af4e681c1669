"""A raw HTTP server whose answers a test writes byte by byte, and a dialect of lines to call it with."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from adapters.providers.dialect import Dialect, UpstreamRequest, less_reasoning
from adapters.providers.http import HttpSettings
from adapters.providers.secrets import Secrets
from adapters.providers.upstream import HttpUpstream
from service.domain.calls import CallContext, Principal
from service.domain.catalog import Auth, Endpoint, Facts, Price, Provider, Quirks, Timeouts
from service.domain.events import Event, TextDelta
from service.domain.failure import Failure, FailureKind, UpstreamError
from service.domain.fields import Field
from service.domain.generation import Generation, Role, Text, Turn

SECRET = "sk-test-4f1b9c"
GENERATION = Generation((Turn(Role.USER, (Text("hello"),)),))

Answer = Callable[["Peer"], Awaitable[None]]


@dataclass
class Peer:
    """One request at the server: what came, and the ways to answer."""

    head: str
    body: bytes
    writer: asyncio.StreamWriter
    gone: asyncio.Event

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def whole(self, body: bytes, status: str = "200 OK", headers: str = "") -> None:
        await self.send(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body)

    async def begin(self, content_type: str = "text/event-stream") -> None:
        await self.send(
            f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        )

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def finish(self) -> None:
        await self.send(b"0\r\n\r\n")

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()

    def header(self, name: str) -> str | None:
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name:
                return value.strip()
        return None


@dataclass
class Server:
    """What a test may ask of the server afterwards."""

    port: int = 0
    connections: int = 0
    peers: list[Peer] = field(default_factory=list)
    gone_at: float | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            while True:
                await exchange(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        peer = Peer(head, b"", writer, asyncio.Event())
        peer.body = await reader.readexactly(int(peer.header("content-length") or 0))
        server.peers.append(peer)
        answering = asyncio.ensure_future(answer(peer))
        watching = asyncio.ensure_future(watch(reader, peer))
        try:
            await asyncio.wait((answering, watching), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                # The client left in the middle of the answer: give the script a moment to see it.
                await asyncio.wait((answering,), timeout=0.5)
        finally:
            watching.cancel()
            answering.cancel()
            results = await asyncio.gather(answering, watching, return_exceptions=True)
        if isinstance(results[0], ConnectionError) or writer.is_closing() or peer.gone.is_set():
            raise ConnectionResetError

    async def watch(reader: asyncio.StreamReader, peer: Peer) -> None:
        while not reader.at_eof() and reader.exception() is None:
            await asyncio.sleep(0.002)
        server.gone_at = time.monotonic()
        peer.gone.set()

    listener = await asyncio.start_server(client, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class LinesDecoder:
    def __init__(self) -> None:
        self._rest = b""
        self._ended = False

    def feed(self, data: bytes) -> list[Event]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if b"BAD" in lines:
            raise UpstreamError(Failure(FailureKind.PROTOCOL, "a bad line"))
        self._ended = self._ended or b"END" in lines
        return [TextDelta(line.decode()) for line in lines if line != b"END"]

    def end(self) -> list[Event]:
        if not self._ended:
            raise UpstreamError(Failure(FailureKind.CUT, "no END"))
        return []


def read_lines(body: bytes) -> Sequence[Event]:
    if body.startswith(b'{"error'):
        raise UpstreamError(Failure(FailureKind.OVERLOADED, "overloaded, said in a 200"))
    return [TextDelta(body.decode())]


def classify_lines(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    kind = FailureKind.RATE_LIMITED if status == 429 else FailureKind.UNKNOWN
    return Failure(kind, body.decode(), status, code=headers.get("x-code"))


def lines(sent: bytes = b"hello") -> Dialect:
    """A dialect of lines that sends this: each line is a TextDelta; the line END ends a stream, BAD breaks it."""

    def build(generation: Generation, endpoint: Endpoint, *, stream: bool) -> UpstreamRequest:
        return UpstreamRequest("/lines", (("content-type", "text/plain"),), sent)

    nothing: frozenset[Field] = frozenset()
    return Dialect(
        name="lines",
        expressible=nothing,
        expressible_with=less_reasoning(nothing),
        build=build,
        read=read_lines,
        decoder=LinesDecoder,
        classify=classify_lines,
    )


def endpoint(
    server: Server | str,
    *,
    timeouts: Timeouts | None = None,
    auth: Auth | None = None,
    quirks: Quirks | None = None,
    ours: bool = True,
) -> Endpoint:
    provider = Provider(
        slug="acme",
        name="Acme",
        dialect="lines",
        base_url=server if isinstance(server, str) else server.url,
        auth=auth or Auth("bearer", "", "env:KEY"),
        timeouts=timeouts or Timeouts(connect=2, first_byte=2, idle=2, total=5),
        quirks=quirks or Quirks(),
        ours=ours,
    )
    return Endpoint("acme/m", provider, "v/m", "m", Price(), Facts(), frozenset())


def context(seconds: float = 10.0, **more: Any) -> CallContext:
    return CallContext(Principal("local"), "req-1", time.monotonic() + seconds, **more)


@asynccontextmanager
async def upstream(
    dialect: Dialect | None = None, settings: HttpSettings | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[HttpUpstream]:
    secrets = Secrets({"KEY": SECRET})
    up = HttpUpstream(
        {"lines": dialect or lines()}, secrets, user_agent="eurouter/1.2.3", settings=settings, tls=tls
    )
    try:
        yield up
    finally:
        await up.aclose()


def texts(events: Sequence[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, TextDelta)]
