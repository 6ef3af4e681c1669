"""The load generator, a process of its own: reads commands as JSON lines, runs them, answers with JSON lines.

A command is a list of loads that run at the same time; the answer has one result for each. A load keeps its
connections for the next one with the same `connection_set`, so that a warm-up can open them.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias

import orjson
import uvloop

from bench.h1 import HttpConnection
from bench.h2 import CallFailedError, GrpcConnection
from bench.traffic import Kind, grpc_call, http_call

Door: TypeAlias = Literal["grpc", "http"]
Connection: TypeAlias = GrpcConnection | HttpConnection

_FAILURES_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Load:
    """`in_flight` callers, each calling again until `seconds` have passed or all made `calls` between them.

    With neither it only connects. What has begun is finished. `connections` are shared evenly by the callers
    (HTTP: one each). Callers begin after `delay` seconds, spread over `spread` seconds. `close`: drop the
    connections at the end. `previous`: the id of the response that each call continues. `leave`: a call ends
    with its first message.

    `rate`: no callers, calls begin by chance, so many a second, whether or not earlier ones are over. Their times
    then count from when they were due. Both are gRPC's.
    """

    door: Door
    port: int
    model: str
    stream: bool
    in_flight: int
    connections: int
    key: str = ""
    seconds: float = 0.0
    calls: int = 0
    delay: float = 0.0
    spread: float = 0.0
    connection_set: str = ""
    close: bool = False
    kind: Kind = "chat"
    previous: str | None = None
    leave: bool = False
    rate: float = 0.0


@dataclass(slots=True)
class Result:
    """`seconds` from the first beginning to the last end; `first` and `whole` are seconds by call."""

    calls: int = 0
    messages: int = 0
    bytes: int = 0
    seconds: float = 0.0
    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    failed: int = 0


class Generator:
    """Runs loads; holds the connections between them."""

    def __init__(self) -> None:
        self._open: dict[tuple[Any, ...], list[Connection]] = {}

    async def run(self, load: Load) -> Result:
        """Runs one load.

        Raises:
            OSError: it could not connect.
        """
        asked = (load.kind, load.model, load.stream, load.previous, load.leave)
        key = (load.door, load.port, asked, load.in_flight, load.connection_set)
        if key not in self._open:
            count = load.in_flight if load.door == "http" else min(load.connections, load.in_flight)
            self._open[key] = [await _connect(load) for _ in range(count)]
        connections = self._open[key]
        result = Result()
        begun = time.perf_counter()
        if load.rate:
            await _arrivals(load, connections, begun, result)
        else:
            left = iter(range(load.calls)) if load.calls else None
            callers = (
                self._caller(load, connections[at % len(connections)], at, (begun, left), result)
                for at in range(load.in_flight)
            )
            await asyncio.gather(*callers)
        result.seconds = time.perf_counter() - begun
        if load.close:
            for connection in self._open.pop(key):
                connection.close()
        return result

    async def _caller(
        self, load: Load, connection: Connection, at: int, course: tuple[float, Any], result: Result
    ) -> None:
        begun, left = course
        if wait := load.delay + load.spread * at / load.in_flight:
            await asyncio.sleep(wait)
        while next(left, None) is not None if left is not None else time.perf_counter() - begun < load.seconds:
            if not await _call(connection, result):
                return


async def _arrivals(load: Load, connections: list[Connection], begun: float, result: Result) -> None:
    chance = random.Random(load.rate)
    calls: list[asyncio.Task[bool]] = []
    after = chance.expovariate(load.rate)
    while after < load.seconds:
        due = begun + after
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        connection = connections[len(calls) % len(connections)]
        calls.append(asyncio.create_task(_call(connection, result, due)))
        after += chance.expovariate(load.rate)
    await asyncio.gather(*calls)


async def _call(connection: Connection, result: Result, due: float | None = None) -> bool:
    """Makes one call and counts it; False: it failed. `due`: when it should have begun, now by default."""
    try:
        call = connection.call()
        await call.done
    except CallFailedError as error:
        result.failed += 1
        if len(result.failures) < _FAILURES_SHOWN:
            result.failures.append(str(error))
        return False
    result.calls += 1
    result.messages += call.messages
    result.bytes += call.bytes
    begun = call.started if due is None else due
    result.whole.append(time.perf_counter() - begun)
    if call.first_at:
        result.first.append(call.first_at - begun)
    return True


async def _connect(load: Load) -> Connection:
    authority = f"127.0.0.1:{load.port}"
    bearer = {"authorization": f"Bearer {load.key}"} if load.key else {}

    def make() -> Connection:
        if load.door == "http":
            path, body = http_call(load.kind, load.model, stream=load.stream, previous=load.previous)
            return HttpConnection(path, authority, bearer, body)
        path, body = grpc_call(load.kind, load.model, stream=load.stream, previous=load.previous)
        return GrpcConnection(path, authority, tuple(bearer.items()), body, leave=load.leave)

    _, connection = await asyncio.get_running_loop().create_connection(make, "127.0.0.1", load.port)
    return connection


async def _main() -> None:
    generator = Generator()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        try:
            loads = [Load(**item) for item in orjson.loads(line)]
            results = await asyncio.gather(*(generator.run(load) for load in loads))
            answer: Any = {"results": [asdict(result) for result in results]}
        except OSError as error:
            answer = {"error": f"it could not connect: {error}"}
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(_main())
