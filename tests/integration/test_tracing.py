"""The spans of calls: what a collector gets of a service that is called over gRPC and HTTP. Real sockets."""

from __future__ import annotations

import asyncio
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from multidict import CIMultiDict

from adapters.otlp.exporting import MOST_WAITING
from adapters.otlp.opening import FLUSH_SECONDS
from adapters.otlp.sender import EXPORT_FAILED, EXPORT_GOES_ON
from adapters.providers.simulator import Cut, HttpError, Script
from tests.support.http_door import CHAT, body
from tests.support.otlp import Collector, Seen
from tests.support.parts import ROOT
from tests.support.running import ALPHA_KEY, BETA_KEY, InProcess, ask, free_ports, running_service, until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
UNARY = "eurouter.v1.ChatService/CreateChatCompletion"
STREAM = "eurouter.v1.ChatService/StreamChatCompletion"
HTTP = "POST /v1/chat/completions"
CANARY = "canary-5ecret-w0rds"


@asynccontextmanager
async def traced(
    folder: Path, collector: Collector, settings: Mapping[str, Any] | None = None, **telemetry: object
) -> AsyncIterator[InProcess]:
    """A service that sends to the collector; once it has stopped, all spans are there."""
    sections = {**(settings or {}), "telemetry": {"endpoint": collector.url, **telemetry}}
    async with running_service(folder, sections) as up:
        yield up


def caller(flags: str = "01", **more: str) -> tuple[tuple[str, str], ...]:
    return (("traceparent", f"00-{TRACE}-{CALLER}-{flags}"), *more.items())


async def post(up: InProcess, request: Mapping[str, Any], query: str = "", **headers: str) -> bytes:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{up.http}{CHAT}{query}", json=request, headers=headers) as answer,
    ):
        return await answer.read()


def named(spans: list[Seen], name: str) -> Seen:
    (found,) = [span for span in spans if span.name == name]
    return found


async def test_a_grpc_call_is_one_tree_below_its_caller_and_the_upstream_is_told_its_client_span(
    tmp_path: Path,
) -> None:
    async with Collector() as collector:
        async with traced(tmp_path, collector) as up:
            up.alpha.enqueue(Script(text="hello you"))
            state = caller(tracestate="vendor=1")
            await up.chat.CreateChatCompletion(
                ask("sim/alpha", temperature=0.5, max_tokens=7), metadata=(*state, ("x-request-id", "r-1"))
            )
            (told,) = up.alpha.calls
        call = named(collector.spans, UNARY)
        assert (call.kind, call.trace_id, call.parent_id, call.tracestate) == ("SERVER", TRACE, CALLER, "vendor=1")
        assert call.attributes == {
            "rpc.system.name": "grpc",
            "rpc.method": UNARY,
            "rpc.response.status_code": "OK",
            "server.address": "127.0.0.1",
            "eurouter.request.id": "r-1",
        }
        (attempt,) = collector.below(call)
        assert (attempt.name, attempt.kind, attempt.is_error) == ("chat one", "CLIENT", False)
        assert (
            attempt.attributes.items()
            >= {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "alpha",
                "gen_ai.request.model": "one",
                "gen_ai.request.temperature": 0.5,
                "gen_ai.request.max_tokens": 7,
                "gen_ai.request.stream": False,
                "gen_ai.response.model": "one",
                "gen_ai.usage.input_tokens": 10,
                "server.address": "127.0.0.1",
                "server.port": up.alpha.port,
                "eurouter.endpoint": "alpha/sim/alpha",
                "eurouter.attempt": 1,
                "eurouter.strategy": "default",
            }.items()
        )
        assert attempt.attributes["gen_ai.response.finish_reasons"] == ["stop"]
        assert attempt.attributes["gen_ai.usage.output_tokens"] > 0
        (upstream,) = collector.below(attempt)
        assert (upstream.name, upstream.kind) == ("POST", "CLIENT")
        assert upstream.attributes == {
            "http.request.method": "POST",
            "server.address": "127.0.0.1",
            "server.port": up.alpha.port,
            "url.full": f"{up.alpha.url}/v1/chat/completions",
            "http.response.status_code": 200,
        }
        assert (told.headers["traceparent"], told.headers["tracestate"]) == (upstream.traceparent, "vendor=1")
        assert call.started <= attempt.started <= upstream.started <= upstream.ended <= attempt.ended <= call.ended
        assert len(collector.spans) == 3
        assert call.resource["service.name"] == "eurouter"


async def test_a_stream_over_http_lasts_to_its_end_and_tells_its_first_token(tmp_path: Path) -> None:
    async with Collector() as collector:
        async with traced(tmp_path, collector) as up:
            up.alpha.enqueue(Script(tokens=4, pace=0.05))
            await post(up, body(stream=True), "?page=2")
        call = named(collector.spans, HTTP)
        assert (
            call.attributes.items()
            >= {
                "http.request.method": "POST",
                "http.route": CHAT,
                "http.response.status_code": 200,
                "url.scheme": "http",
                "url.path": CHAT,
            }.items()
        )
        (attempt,) = collector.below(call)
        assert attempt.events == ("eurouter.first_token",)
        assert attempt.attributes["gen_ai.request.stream"] is True
        first = attempt.attributes["gen_ai.response.time_to_first_chunk"]
        assert 0 < first < (attempt.ended - attempt.started) / 1e9
        assert attempt.ended - attempt.started > 0.15e9
        assert call.ended >= attempt.ended


async def test_a_fallback_is_two_attempts_and_the_call_is_no_error(tmp_path: Path) -> None:
    async with Collector() as collector:
        async with traced(tmp_path, collector) as up:
            up.alpha.enqueue(Script(fault=HttpError(503)))
            await up.chat.CreateChatCompletion(ask("sim/both"))
        call = named(collector.spans, UNARY)
        assert not call.is_error
        failed, answered = collector.below(call)
        told = [
            (each.attributes["eurouter.attempt"], each.attributes["gen_ai.provider.name"])
            for each in (failed, answered)
        ]
        assert told == [(1, "alpha"), (2, "beta")]
        assert (failed.is_error, failed.attributes["error.type"]) == (True, "overloaded")
        assert "error.type" not in answered.attributes
        (refused,) = collector.below(failed)
        assert (refused.is_error, refused.attributes["http.response.status_code"]) == (True, 503)
        assert refused.attributes["error.type"] == "503"


async def test_only_our_own_faults_are_errors_of_a_call(tmp_path: Path) -> None:
    async with Collector() as collector:
        async with traced(tmp_path, collector) as up:
            for request in (ask("no/such"), ask("sim/alpha")):
                up.alpha.script(Script(fault=HttpError(500)))
                with pytest.raises(grpc.aio.AioRpcError):
                    await up.chat.CreateChatCompletion(request)
            await post(up, body("no/such"))
            await post(up, body("sim/alpha"))
        unknown, unavailable = await collector.named(UNARY, 2)
        assert (unknown.is_error, unknown.attributes["error.type"]) == (False, "MODEL_NOT_FOUND")
        assert unknown.attributes["rpc.response.status_code"] == "NOT_FOUND"
        assert (unavailable.is_error, unavailable.attributes["rpc.response.status_code"]) == (True, "UNAVAILABLE")
        wrong, failed = await collector.named(HTTP, 2)
        assert (wrong.is_error, wrong.attributes["http.response.status_code"]) == (False, 404)
        assert (failed.is_error, failed.attributes["http.response.status_code"]) == (True, 503)


async def test_a_stream_that_is_cut_is_told_as_it_is_and_its_status_stays_200(tmp_path: Path) -> None:
    async with Collector() as collector:
        async with traced(tmp_path, collector) as up:
            up.alpha.enqueue(Script(tokens=6, fault=Cut(3)))
            await post(up, body(stream=True))
        call = named(collector.spans, HTTP)
        (attempt,) = collector.below(call)
        assert (attempt.is_error, attempt.attributes["error.type"]) == (True, "cut")
        assert (call.is_error, call.attributes["error.type"]) == (True, "PROVIDER_BROKEN_ANSWER")
        assert call.attributes["http.response.status_code"] == 200


async def test_a_call_that_its_caller_gives_up_is_cancelled_and_nobodys_error(tmp_path: Path) -> None:
    async with Collector() as collector:
        async with traced(tmp_path, collector) as up:
            up.alpha.enqueue(Script(tokens=50, pace=0.1))
            call = up.chat.StreamChatCompletion(ask("sim/alpha"))
            await call.read()
            call.cancel()
            await until(lambda: not up.service.admission.in_flight, "the call is over")
        span = named(collector.spans, STREAM)
        assert (span.is_error, span.attributes["error.type"]) == (False, "CANCELLED")
        assert span.attributes["rpc.response.status_code"] == "CANCELLED"
        (attempt,) = collector.below(span)
        assert (attempt.is_error, attempt.attributes["error.type"]) == (False, "cancelled")


async def test_an_exchange_that_its_caller_gave_up_or_had_no_time_for_says_so_and_is_nobodys_error(
    tmp_path: Path,
) -> None:
    async with Collector() as collector:
        async with traced(tmp_path, collector) as up:
            up.alpha.script(Script(first_byte_delay=5.0))
            given_up = up.chat.CreateChatCompletion(ask("sim/alpha"))
            await until(lambda: len(up.alpha.calls) == 1, "the upstream is asked")
            given_up.cancel()
            with pytest.raises(grpc.aio.AioRpcError):
                await up.chat.CreateChatCompletion(ask("sim/alpha"), timeout=0.3)
            await until(lambda: not up.service.admission.in_flight, "the calls are over")
        exchanges = await collector.named("POST", 2)
        assert [span.attributes["error.type"] for span in exchanges] == ["cancelled", "deadline"]
        calls = await collector.named(UNARY, 2)
        assert [span.attributes["error.type"] for span in calls] == ["CANCELLED", "DEADLINE_EXCEEDED"]
        assert not any(span.is_error for span in collector.spans)


async def test_both_doors_join_a_tracestate_of_two_lines_and_over_http_two_traceparents_name_no_caller(
    tmp_path: Path,
) -> None:
    (parent,) = caller()
    other = ("traceparent", f"00-{'e' * 32}-{CALLER}-01")
    states = (("tracestate", "a=1"), ("tracestate", "b=2"))
    async with Collector() as collector:
        async with traced(tmp_path, collector) as up, aiohttp.ClientSession() as session:
            for lines in ((parent, *states), (other, parent, states[0])):
                await up.chat.CreateChatCompletion(ask("sim/alpha"), metadata=lines)
                async with session.post(f"{up.http}{CHAT}", json=body(), headers=CIMultiDict(lines)) as answer:
                    assert answer.status == 200
            told = [call.headers.get("tracestate") for call in up.alpha.calls]
        # gRPC's own library keeps the last of two traceparents and shows no other.
        assert told == ["a=1, b=2", "a=1, b=2", "a=1", None]
        for name in (UNARY, HTTP):
            joined, twice = await collector.named(name, 2)
            assert (joined.trace_id, joined.parent_id, joined.tracestate) == (TRACE, CALLER, "a=1, b=2")
            if name == UNARY:
                assert (twice.trace_id, twice.parent_id) == (TRACE, CALLER)
            else:
                assert (twice.parent_id, twice.tracestate) == ("", "")
                assert twice.trace_id not in (TRACE, "e" * 32)


@asynccontextmanager
async def raw_call(address: str, method: str, message: bytes, *headers: tuple[str, str]) -> AsyncIterator[None]:
    """A unary call byte by byte (RFC 9113, RFC 7541), so that no client's library drops a header; nobody reads."""
    host, _, port = address.rpartition(":")
    fixed = {":method": "POST", ":scheme": "http", ":path": f"/{method}", ":authority": address}
    more = {"content-type": "application/grpc", "te": "trailers"}
    block = b"".join(
        # A literal with a new name, not indexed.
        b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in header)
        for header in (*fixed.items(), *more.items(), *headers)
    )

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload

    _, writer = await asyncio.open_connection(host, int(port))
    data = struct.pack(">BI", 0, len(message)) + message
    writer.write(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, block) + frame(0, 1, 1, data)
    )
    yield
    writer.close()


async def test_of_two_traceparents_that_reach_the_grpc_door_the_library_shows_the_last(tmp_path: Path) -> None:
    (parent,) = caller()
    other = ("traceparent", f"00-{'e' * 32}-{CALLER}-01")
    message = ask("sim/alpha").SerializeToString()
    async with (
        Collector() as collector,
        traced(tmp_path, collector) as up,
        raw_call(up.grpc, UNARY, message, other, parent),
    ):
        await until(lambda: bool(up.alpha.calls), "the call reached its provider")
        await until(lambda: not up.service.admission.in_flight, "it is over")
    assert named(collector.spans, UNARY).trace_id == TRACE


async def test_the_span_of_a_call_names_its_door_as_the_settings_do_whatever_its_caller_calls_it(
    tmp_path: Path,
) -> None:
    grpc_port, http_port = free_ports(2)
    doors = {"grpc": {"port": grpc_port}, "http": {"port": http_port, "host": "localhost"}}
    async with Collector() as collector:
        async with traced(tmp_path, collector, doors) as up:
            await up.chat.CreateChatCompletion(ask("sim/alpha"))
            await post(up, body(), host=CANARY)
        for name, address, port in ((UNARY, "127.0.0.1", grpc_port), (HTTP, "localhost", http_port)):
            told = named(collector.spans, name).attributes
            assert (told["server.address"], told["server.port"]) == (address, port)
        assert CANARY.encode() not in b"".join(collector.bodies)


async def test_what_a_caller_writes_in_a_routes_place_is_not_in_the_spans_path(tmp_path: Path) -> None:
    known = f"/v1/responses/resp_{'0' * 36}"
    async with Collector() as collector:
        async with traced(tmp_path, collector) as up, aiohttp.ClientSession() as session:
            for path in (f"/v1/responses/{CANARY * 150}", f"/v1/responses/{CANARY}/input_items", known):
                async with session.get(f"{up.http}{path}") as answer:
                    assert answer.status == 404
        paths = [span.attributes["url.path"] for span in sorted(collector.spans, key=lambda span: span.started)]
        assert paths == ["/v1/responses/{id}", "/v1/responses/{id}/input_items", known]
        assert CANARY.encode() not in b"".join(collector.bodies)


async def test_what_its_caller_does_not_record_is_not_recorded_and_passed_on(tmp_path: Path) -> None:
    async with Collector() as collector:
        async with traced(tmp_path, collector) as up:
            await up.chat.CreateChatCompletion(ask("sim/alpha"), metadata=caller("00"))
            (told,) = up.alpha.calls
        assert collector.spans == []
        version, trace_id, span_id, flags = told.headers["traceparent"].split("-")
        assert (version, trace_id, flags) == ("00", TRACE, "00")
        assert span_id != CALLER


async def test_a_caller_that_is_not_trusted_decides_nothing_and_keeps_its_trace(tmp_path: Path) -> None:
    async with Collector() as collector:
        async with traced(tmp_path, collector, trust_parent=False, sample_ratio=0) as up:
            await up.chat.CreateChatCompletion(ask("sim/alpha"), metadata=caller("01"))
            (told,) = up.alpha.calls
        assert collector.spans == []
        assert told.headers["traceparent"].startswith(f"00-{TRACE}-")
        assert told.headers["traceparent"].endswith("-00")
    async with Collector() as collector:
        async with traced(tmp_path, collector, trust_parent=False, sample_ratio=1) as up:
            await up.chat.CreateChatCompletion(ask("sim/alpha"), metadata=caller("00"))
        assert (named(collector.spans, UNARY).trace_id, named(collector.spans, UNARY).parent_id) == (TRACE, CALLER)


async def test_a_call_by_nobody_known_is_not_recorded_whatever_it_asks_for(tmp_path: Path) -> None:
    async with Collector() as collector:
        async with traced(tmp_path, collector) as up, aiohttp.ClientSession() as session:
            given = {"origin": "https://elsewhere.example", **dict(caller())}
            async with session.post(f"{up.http}{CHAT}", json=body(), headers=given) as refused:
                assert refused.status == 403
            async with session.get(f"{up.http}/v1/models", headers=dict(caller())) as public:
                assert public.status == 200
        assert collector.spans == []


async def test_no_word_no_key_and_no_query_is_in_anything_that_is_sent(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": f"t-{CANARY}"[:60], "description": CANARY, "parameters": {}}}
    async with Collector() as collector:
        settings = {"telemetry": {"endpoint": collector.url, "metrics": True}}
        async with running_service(tmp_path, settings) as up:
            up.alpha.enqueue(
                Script(text=CANARY), Script(text=CANARY), Script(fault=HttpError(400, message=CANARY))
            )
            metadata = (("authorization", f"Bearer {CANARY}"), ("x-custom", CANARY))
            spoken = ask("sim/alpha", CANARY, stop=[CANARY], tools=[tool], user=CANARY)
            await up.chat.CreateChatCompletion(spoken, metadata=metadata)
            await post(up, body(text=CANARY, stream=True), f"?key={CANARY}", authorization=f"Bearer {CANARY}")
            await post(up, body(text=CANARY))
            await post(up, body(f"no/{CANARY}"))
        assert len(await collector.named(HTTP, 3)) == 3
        sent = b"".join(collector.bodies)
        for secret in (CANARY, ALPHA_KEY, BETA_KEY):
            assert secret.encode() not in sent


async def test_while_the_collector_is_away_calls_go_on_and_one_line_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    collector = Collector()
    async with collector:
        pass
    async with traced(tmp_path, collector) as up:
        for _ in range(3):
            await up.chat.CreateChatCompletion(ask("sim/alpha"))
        await asyncio.sleep(2.5)
        async with collector:
            await collector.named(UNARY, 3)
            await up.chat.CreateChatCompletion(ask("sim/alpha"))
            await collector.named(UNARY, 4)
    told = "".join(capfd.readouterr())
    assert told.count(EXPORT_FAILED) == 1
    assert told.count(EXPORT_GOES_ON) == 1


async def test_a_stop_waits_for_a_dead_collector_no_longer_than_it_says(tmp_path: Path) -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(swallow, "127.0.0.1", 0)
    async with silent:
        url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        async with running_service(tmp_path, {"telemetry": {"endpoint": url}}) as up:
            await up.chat.CreateChatCompletion(ask("sim/alpha"))
            began = time.monotonic()
            await up.service.otlp.aclose()  # type: ignore[union-attr]
            assert time.monotonic() - began < FLUSH_SECONDS + 1.0


async def test_what_is_too_much_for_a_collector_is_dropped_and_counted(tmp_path: Path) -> None:
    async with Collector() as collector, traced(tmp_path, collector) as up:
        collector.status = 400
        await up.chat.CreateChatCompletion(ask("sim/alpha"))
        registry = up.service.telemetry.registry

        def dropped(reason: str) -> float:
            return registry.get_sample_value("eurouter_spans_dropped_total", {"reason": reason}) or 0.0

        await until(lambda: dropped("refused") == 3, "three spans refused")
        collector.status = 503
        assert up.service.tracer is not None
        for _ in range(MOST_WAITING + 2000):
            up.service.tracer.start("x", 1, {}).end()  # type: ignore[arg-type]
        assert dropped("full") > 0
        # At the stop each batch that waits is tried once more.
        collector.status = 200


async def test_without_an_endpoint_nothing_of_it_is_there(tmp_path: Path) -> None:
    async with running_service(tmp_path) as up:
        await up.chat.CreateChatCompletion(ask("sim/alpha"))
        assert up.service.otlp is None
        assert up.service.tracer is None
        assert "eurouter_spans" not in up.service.telemetry.render().decode()


def test_a_process_that_sends_nothing_loads_no_part_of_it() -> None:
    told = (
        "import sys, service.bootstrap, service.worker_service\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'adapters.otlp'))])"
    )
    found = subprocess.run([sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
