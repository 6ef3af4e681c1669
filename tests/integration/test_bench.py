"""The benchmark's own instruments: its lean clients against real servers, its readings, its verdicts."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import pytest
from eurouter.v1 import chat_pb2
from eurouter.v1.chat_pb2_grpc import ChatServiceStub
from grpc import aio

from adapters.providers.simulator import Script, Simulator
from bench import floor, grpc_process, measure, product, report, scenarios, verify_responses
from bench.fleet import StartError
from bench.load import Door, Generator, Load
from bench.run import Raw, Sample
from bench.sketch import Sketch
from bench.traffic import (
    BURST_MODEL,
    DIALECTS,
    MODELS,
    STREAM_TOKENS,
    UNARY_MODEL,
    Kind,
    answer_text,
    name_of,
    request,
)
from service.domain.idempotency import Idempotency
from service.domain.stored import NewResponse, StoreError
from tests.support.running import CatalogOf, InProcess, running_service

if TYPE_CHECKING:
    from pathlib import Path

LINUX = pytest.mark.skipif(not measure.supported(), reason="part missing: /proc: the benchmark runs on Linux")


KEY = "none"  # the service is open on loopback
CHECKS: tuple[tuple[Callable[[str, int, str, str], None], Door], ...] = (
    (verify_responses.answers_grpc, "grpc"),
    (verify_responses.answers_http, "http"),
)


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[InProcess]:
    async with running_service(tmp_path, catalog=lambda alpha, _: product.catalog_of(f"{alpha}/v1")) as running:
        yield running


def instead(upstream_model: str) -> CatalogOf:
    """The bench's catalogue with another model behind every name."""

    def catalog(alpha: str, _: str) -> dict[str, Any]:
        rows = product.catalog_of(f"{alpha}/v1")
        for model in rows["models"]:
            model["endpoints"][0]["model"] = upstream_model
        return rows

    return catalog


def port_of(up: InProcess, door: Door) -> int:
    return int((up.grpc if door == "grpc" else up.http).rpartition(":")[2])


async def conversation(up: InProcess, length: int) -> str:
    return await asyncio.to_thread(
        verify_responses.conversation, "it", port_of(up, "http"), KEY, up.alpha.port, length
    )


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


async def test_the_service_answers_responses_as_the_load_generator_believes_it_does(up: InProcess) -> None:
    previous = await conversation(up, 3)
    for check, door in CHECKS:
        await asyncio.to_thread(check, "it", port_of(up, door), KEY, previous)
        continued = up.alpha.calls[-1].body["messages"]
        assert [message["role"] for message in continued[-3:]] == ["user", "assistant", "user"]
        assert len(continued) == 2 + 2 * 3


async def test_a_service_that_does_not_keep_what_it_should_is_not_measured(up: InProcess) -> None:
    previous = await conversation(up, 1)

    async def forget(new: NewResponse, idempotency: Idempotency | None = None) -> None:
        del new, idempotency

    up.service.database.responses.insert = forget  # type: ignore[method-assign]
    for check, door in CHECKS:
        with pytest.raises(StartError, match="store True should leave"):
            await asyncio.to_thread(check, "it", port_of(up, door), KEY, previous)


async def test_a_service_that_loses_a_token_is_not_measured(tmp_path: Path) -> None:
    async with running_service(tmp_path, catalog=instead("sim-tokens-63")) as up:
        with pytest.raises(StartError, match="on behalf of its model answered"):
            await conversation(up, 1)
        for check, door in CHECKS:
            with pytest.raises(StartError, match="it answered"):
                await asyncio.to_thread(check, "it", port_of(up, door), KEY, "")


@pytest.mark.parametrize("door", ["grpc", "http"])
async def test_responses_are_counted_and_stored_or_not_as_the_load_asks(up: InProcess, door: Door) -> None:
    previous = await conversation(up, 2)
    stored: list[str] = []
    insert = up.service.database.responses.insert

    async def count(new: NewResponse, idempotency: Idempotency | None = None) -> None:
        stored.append(new.id)
        await insert(new, idempotency)

    up.service.database.responses.insert = count  # type: ignore[method-assign]
    kinds: tuple[tuple[Kind, str | None, int], ...] = (
        ("response", None, 0),
        ("stored response", None, 7),
        ("response", previous, 0),
    )
    for kind, continued, kept in kinds:
        more = {"kind": kind, "previous": continued, "key": KEY}
        whole = await Generator().run(load(door, port_of(up, door), UNARY_MODEL, stream=False, **more))
        streams = await Generator().run(load(door, port_of(up, door), BURST_MODEL, stream=True, **more))
        assert (whole.calls, whole.messages, whole.failures) == (7, 7, [])
        assert (streams.calls, streams.failures, len(streams.first)) == (7, [], 7)
        assert streams.bytes > 7 * len(answer_text(STREAM_TOKENS))
        assert len(stored) == 2 * kept
        stored.clear()
        assert len(up.alpha.calls[-1].body["messages"]) == (2 if continued is None else 6)


@pytest.mark.parametrize("door", ["grpc", "http"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_that_could_not_be_stored_is_a_failure(up: InProcess, door: Door, stream: bool) -> None:
    async def refuse(new: NewResponse, idempotency: Idempotency | None = None) -> None:
        del idempotency
        raise StoreError(f"no room for {new.id}")

    up.service.database.responses.insert = refuse  # type: ignore[method-assign]
    model = BURST_MODEL if stream else UNARY_MODEL
    more: dict[str, Any] = {"kind": "stored response", "key": KEY}
    result = await Generator().run(load(door, port_of(up, door), model, stream=stream, **more))
    assert (result.calls, result.failed) == (0, 3)
    assert any("stored" in failure for failure in result.failures)


@pytest.mark.parametrize("kind", ["chat", "response"])
async def test_an_http_stream_that_fails_after_it_began_is_a_failure_that_says_why(
    tmp_path: Path, kind: Kind
) -> None:
    async with running_service(tmp_path, catalog=instead("sim-tokens-256-fault-cut-10")) as up:
        port = port_of(up, "http")
        result = await Generator().run(load("http", port, BURST_MODEL, stream=True, kind=kind, key=KEY))
    assert (result.calls, result.failed) == (0, 3)
    assert all("error" in failure for failure in result.failures)


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


def test_a_target_may_compare_two_scenarios_of_one_server() -> None:
    raw = Raw()
    for scenario, costs in {
        "burst 64: chat": (4.0, 4.2, 9.0),
        "burst 64: responses, store true": (6.0, 6.2, 6.4),
        "unary 16: responses, store false": (700.0, 710.0, 690.0),
        "unary 16: responses, store true": (950.0, 1010.0, 960.0),
    }.items():
        raw.samples[scenario]["ours-http"] = [Sample(cost, 1, 1, 1, 1) for cost in costs]
    found = {verdict.what: verdict for verdict in report.verdicts(raw)}
    stream = found["burst 64: responses, store true, HTTP: times chat"]
    assert (stream.target, stream.mark) == ("1.50", "met")
    assert stream.measured == "1.48 (by round 0.71 to 1.50)"
    kept = found["unary 16: responses, store true, HTTP: more than responses, store false"]
    assert (kept.target, kept.mark) == ("300 µs", "met")
    assert kept.measured == "260 µs (by round 250 to 300)"
    raw.samples["unary 16: responses, store true"]["ours-http"] = [Sample(1001.0, 1, 1, 1, 1)] * 3
    assert {v.mark for v in report.verdicts(raw) if v.what == kept.what} == {"MISSED"}
    assert {v.mark for v in report.verdicts(raw) if ", gRPC: " in v.what} == {"not measured"}


def test_every_target_names_scenarios_that_are_measured_on_its_servers() -> None:
    measured = {scenario.name: scenario.servers for scenario in scenarios.SCENARIOS}
    assert len(measured) == len(scenarios.SCENARIOS)
    for target in scenarios.TARGETS:
        assert target.server in measured[target.scenario]
        assert target.base in measured[target.base_scenario or target.scenario]
    for added in scenarios.STORE_TARGETS:
        assert added.server in measured[added.scenario]
        assert added.server in measured[added.base_scenario]
    spoken = {name_of(dialect, model) for dialect in DIALECTS for model in (UNARY_MODEL, BURST_MODEL)}
    assert {scenario.model for scenario in scenarios.SCENARIOS} <= {*MODELS, *spoken}


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {verdict.mark for verdict in report.verdicts(Raw())} == {"not measured"}


def test_a_process_without_connections_misses_its_share() -> None:
    sample = {"cost": 100.0, "rate": 1.0, "cpu_shares": [1.0]}
    raw = Raw(processes={"1": [sample | {"connections": [64]}], "2": [sample | {"connections": [64]}]})
    share = next(v for v in report.verdicts(raw) if "smaller share" in v.what)
    assert (share.met, share.measured) == (False, "0% (by round 0% to 0%)")
