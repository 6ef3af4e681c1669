"""The benchmark's own instruments: its lean clients against real servers, its readings, its verdicts."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import pytest
from eurouter.v1 import chat_pb2
from eurouter.v1.chat_pb2_grpc import ChatServiceStub
from grpc import aio

from adapters.providers.simulator import Script, Simulator
from bench import floor, grpc_process, measure, report
from bench.load import Door, Generator, Load
from bench.run import Raw, Sample
from bench.sketch import Sketch
from bench.traffic import BURST_MODEL, STREAM_TOKENS, UNARY_MODEL, answer_text, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LINUX = pytest.mark.skipif(not measure.supported(), reason="part missing: /proc: the benchmark runs on Linux")


@asynccontextmanager
async def serving(methods: grpc_process.Methods) -> AsyncIterator[int]:
    server = aio.server()
    server.add_generic_rpc_handlers((grpc_process.handlers(methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)
        if methods.close is not None:
            await methods.close()


def load(door: Door, port: int, model: str, *, stream: bool, **more: Any) -> Load:
    return Load(door, port, model, stream, in_flight=3, connections=2, calls=7, close=True, **more)


async def test_the_grpc_client_counts_the_calls_and_messages_that_a_real_server_sends() -> None:
    async with serving(grpc_process.Methods(floor.create, floor.stream)) as port:
        whole = await Generator().run(load("grpc", port, UNARY_MODEL, stream=False))
        streams = await Generator().run(load("grpc", port, BURST_MODEL, stream=True))
    assert (whole.calls, whole.messages, whole.failures) == (7, 7, [])
    assert (streams.calls, streams.messages, streams.failures) == (7, 7 * STREAM_TOKENS, [])
    assert len(streams.first) == 7
    assert all(0 < first <= whole for first, whole in zip(streams.first, streams.whole, strict=True))


async def test_a_status_other_than_ok_is_a_failure_that_says_why() -> None:
    async def refuse(request: grpc_process.Request, context: grpc_process.Context) -> NoReturn:
        del request
        await context.abort(grpc.StatusCode.UNAVAILABLE, "no room")

    async with serving(grpc_process.Methods(refuse, floor.stream)) as port:
        result = await Generator().run(load("grpc", port, UNARY_MODEL, stream=False))
    assert (result.calls, result.failed) == (0, 3)
    assert "no room" in result.failures[0]


async def test_the_http_client_counts_whole_answers_and_events() -> None:
    async with Simulator() as simulator:
        whole = await Generator().run(load("http", simulator.port, UNARY_MODEL, stream=False))
        streams = await Generator().run(load("http", simulator.port, BURST_MODEL, stream=True))
    assert (whole.calls, whole.messages, whole.failures) == (7, 7, [])
    # Beside the tokens: the role, the finish reason and [DONE].
    assert streams.calls == 7
    assert streams.messages == pytest.approx(7 * (STREAM_TOKENS + 3), abs=7)
    assert len(streams.first) == 7


async def test_an_http_error_is_a_failure_that_says_why() -> None:
    async with Simulator() as simulator:
        result = await Generator().run(load("http", simulator.port, "sim-fault-429", stream=False))
    assert result.calls == 0
    assert "429" in result.failures[0]


@pytest.mark.parametrize("merge", [False, True])
async def test_the_sketch_answers_in_full(merge: bool) -> None:
    async with Simulator() as simulator:
        sketch = Sketch(f"{simulator.url}/v1", merge=merge)
        methods = grpc_process.Methods(sketch.create, sketch.stream, sketch.aclose)
        async with serving(methods) as port, aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = ChatServiceStub(channel)
            whole = await stub.CreateChatCompletion(request(UNARY_MODEL))
            chunks = [chunk async for chunk in stub.StreamChatCompletion(request(BURST_MODEL))]
    assert whole.choices[0].message.content == answer_text(64)
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == answer_text(STREAM_TOKENS)
    assert chunks[-1].choices[0].finish_reason == chat_pb2.FINISH_REASON_STOP
    assert len(chunks) < 20 if merge else len(chunks) == STREAM_TOKENS + 2


async def test_callers_stop_when_their_time_is_over_and_finish_what_they_began() -> None:
    async with Simulator() as simulator:
        simulator.script(Script(tokens=2, pace=0.05))
        begun = time.perf_counter()
        result = await Generator().run(
            Load("http", simulator.port, "any", stream=True, in_flight=2, connections=2, seconds=0.12)
        )
    assert result.calls in (4, 6)
    assert time.perf_counter() - begun < 2


async def test_a_stream_that_is_reset_is_a_failure() -> None:
    async with Simulator() as simulator:
        result = await Generator().run(load("http", simulator.port, "sim-tokens-9-fault-reset", stream=True))
        assert result.calls == 0
        assert "lost" in result.failures[0]


@LINUX
def test_cpu_time_of_another_process_is_read_with_all_its_threads() -> None:
    burn = "import threading,time\ndef f():\n  e=time.thread_time()+0.15\n  while time.thread_time()<e: pass\n"
    code = burn + "ts=[threading.Thread(target=f) for _ in '12']\n[t.start() for t in ts];[t.join() for t in ts]"
    with subprocess.Popen(
        [sys.executable, "-c", code + "\nprint(flush=True);input()"], stdin=-1, stdout=-1
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        used = measure.cpu_seconds(child.pid)
        assert child.pid in measure.family(os.getpid())
        assert measure.resident_bytes((child.pid,)) > 1_000_000
        child.communicate(b"\n")
    assert used > 0.3


@LINUX
async def test_connections_are_counted_at_the_process_that_holds_the_servers_end() -> None:
    async with Simulator() as simulator:
        held = [await asyncio.open_connection("127.0.0.1", simulator.port) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert measure.connections((os.getpid(),), simulator.port) == {os.getpid(): 3}
        for _, writer in held:
            writer.close()
            await writer.wait_closed()


def test_a_target_is_judged_by_the_ratio_of_medians() -> None:
    raw = Raw()
    for server, costs in {"sketch": (400.0, 900.0, 410.0), "ours": (600.0, 610.0, 2000.0)}.items():
        raw.samples["unary, 64 in flight"][server] = [Sample(cost, 1, 1, 1, 1) for cost in costs]
    verdict = next(v for v in report.verdicts(raw) if v.what.startswith("unary, 64"))
    assert verdict.met is True
    assert verdict.measured.startswith("1.49")
    raw.samples["unary, 64 in flight"]["ours"] = [Sample(700.0, 1, 1, 1, 1)] * 3
    assert next(v for v in report.verdicts(raw) if v.what.startswith("unary, 64")).mark == "MISSED"


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {verdict.mark for verdict in report.verdicts(Raw())} == {"not measured"}


def test_a_process_without_connections_misses_its_share() -> None:
    sample = {"cost": 100.0, "rate": 1.0, "cpu_shares": [1.0]}
    raw = Raw(processes={"1": [sample | {"connections": [64]}], "2": [sample | {"connections": [64]}]})
    share = next(v for v in report.verdicts(raw) if "smaller share" in v.what)
    assert (share.met, share.measured) == (False, "0% (by round 0% to 0%)")
