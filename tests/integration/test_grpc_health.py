"""Health, reflection with the real grpcurl, and message sizes."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import grpc
import pytest
from eurouter.v1 import chat_pb2_grpc
from grpc import aio
from grpc_health.v1 import health_pb2

from adapters.providers.simulator import Script
from service.edge.grpc_services import SERVICE_NAMES
from tests.support.parts import require
from tests.support.running import InProcess, ask, plain_channel, running_service, until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
GRPCURL = Path(sys.executable).with_name("grpcurl")
HELLO = {"model": "sim/alpha", "messages": [{"role": "CHAT_ROLE_USER", "content": [{"text": "hello"}]}]}


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[InProcess]:
    async with running_service(tmp_path) as running:
        yield running


async def grpcurl(up: InProcess, *arguments: str) -> str:
    """What the real program prints; a failed test when it fails."""
    require("grpcurl", GRPCURL.exists(), "run `make setup`, on a platform that has its wheel")
    process = await asyncio.create_subprocess_exec(
        *(str(GRPCURL), "-plaintext", *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.parametrize("service", ["", *SERVICE_NAMES])
async def test_each_service_is_healthy_by_its_name(up: InProcess, service: str) -> None:
    assert (await up.health.Check(health_pb2.HealthCheckRequest(service=service))).status == SERVING


async def test_the_health_of_an_unknown_service_is_not_found(up: InProcess) -> None:
    with pytest.raises(aio.AioRpcError) as caught:
        await up.health.Check(health_pb2.HealthCheckRequest(service="eurouter.v1.NoSuchService"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_watchers_and_probes_see_a_drain_while_calls_are_still_served(tmp_path: Path) -> None:
    async with running_service(tmp_path, {"drain": {"pause_seconds": 0.6}}) as up, aiohttp.ClientSession() as web:
        watch = up.health.Watch(health_pb2.HealthCheckRequest(service=SERVICE_NAMES[0]))
        assert (await watch.read()).status == SERVING
        await until(lambda: up.service.conditions.begun, "the database is ready")
        async with web.get(f"{up.admin}/readyz") as ready:
            assert ready.status == 200
        stopping = asyncio.ensure_future(up.service.process.stop())
        assert (await watch.read()).status == NOT_SERVING
        for service in ("", *SERVICE_NAMES):
            assert (await up.health.Check(health_pb2.HealthCheckRequest(service=service))).status == NOT_SERVING
        async with web.get(f"{up.admin}/readyz") as ready, web.get(f"{up.admin}/livez") as live:
            assert (ready.status, live.status) == (503, 200)
        assert (await up.chat.CreateChatCompletion(ask())).choices
        async with plain_channel(up.grpc) as fresh:
            await fresh.channel_ready()
        watch.cancel()
        await stopping
        await until(lambda: up.service.admission.in_flight == 0, "nothing runs")


async def test_grpcurl_lists_and_describes_the_services_by_reflection(up: InProcess) -> None:
    listed = (await grpcurl(up, up.grpc, "list")).split()
    assert set(listed) == {*SERVICE_NAMES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    methods = (await grpcurl(up, up.grpc, "list", "eurouter.v1.ChatService")).split()
    assert [name.rpartition(".")[2] for name in methods] == ["CreateChatCompletion", "StreamChatCompletion"]
    described = await grpcurl(up, up.grpc, "describe", "eurouter.v1.CreateChatCompletionRequest")
    assert "max_completion_tokens" in described


async def test_grpcurl_gets_an_answer_and_a_stream_by_reflection(up: InProcess) -> None:
    up.alpha.script(Script(text=("Good", " day"), pace=0.01))
    whole = json.loads(
        await grpcurl(up, "-d", json.dumps(HELLO), up.grpc, "eurouter.v1.ChatService/CreateChatCompletion")
    )
    assert whole["choices"][0]["message"]["content"] == "Good day"
    stream = await grpcurl(up, "-d", json.dumps(HELLO), up.grpc, "eurouter.v1.ChatService/StreamChatCompletion")
    decoder, chunks, at = json.JSONDecoder(), [], 0
    while at < len(stream.rstrip()):
        chunk, at = decoder.raw_decode(stream, at)
        chunks.append(chunk)
        at += len(stream[at:]) - len(stream[at:].lstrip())
    said = [choice.get("delta", {}).get("content", "") for chunk in chunks for choice in chunk.get("choices", [])]
    assert "".join(said) == "Good day"


async def test_grpcurl_sees_health(up: InProcess) -> None:
    assert "SERVING" in await grpcurl(up, up.grpc, "grpc.health.v1.Health/Check")


def image(size: int) -> list[dict[str, object]]:
    url = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(size)).decode()
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


async def test_an_image_of_20_mb_reaches_the_provider(up: InProcess) -> None:
    request = ask(messages=image(15_000_000))
    assert request.ByteSize() > 20_000_000
    async with plain_channel(up.grpc, max_send_message_length=-1) as channel:
        answer = await chat_pb2_grpc.ChatServiceStub(channel).CreateChatCompletion(request)
    assert answer.choices
    sent = up.alpha.calls[0].body["messages"][0]["content"][0]["image_url"]["url"]
    assert len(sent) == len(request.messages[0].content[0].image_url.url)


async def test_a_message_above_32_mib_is_refused_as_too_large(up: InProcess) -> None:
    async with plain_channel(up.grpc, max_send_message_length=-1) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await chat_pb2_grpc.ChatServiceStub(channel).CreateChatCompletion(ask(messages=image(26_000_000)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not up.alpha.calls
    assert (await up.chat.CreateChatCompletion(ask())).choices


async def test_the_http_listeners_name_the_service_and_not_its_library(up: InProcess) -> None:
    async with aiohttp.ClientSession() as web:
        for url in (f"{up.http}/v1/models", f"{up.http}/no/such/path", f"{up.admin}/livez"):
            async with web.get(url) as answer:
                assert answer.headers["server"] == "eurouter"


async def test_the_metrics_count_calls_attempts_and_tokens_of_both_doors(up: InProcess) -> None:
    await up.chat.CreateChatCompletion(ask("sim/both"))
    async for _ in up.chat.StreamChatCompletion(ask("sim/both")):
        pass
    async with aiohttp.ClientSession() as web:
        body = {"model": "sim/both", "messages": [{"role": "user", "content": "hi"}]}
        async with web.post(f"{up.http}/v1/chat/completions", json=body) as answer:
            assert answer.status == 200
        async with web.get(f"{up.admin}/metrics") as answer:
            shown = await answer.text()
    assert 'eurouter_requests_total{door="grpc",method="CreateChatCompletion",outcome="ok"} 1.0' in shown
    assert 'eurouter_requests_total{door="grpc",method="StreamChatCompletion",outcome="ok"} 1.0' in shown
    assert 'eurouter_requests_total{door="http",' in shown
    assert 'eurouter_upstream_attempts_total{outcome="ok",provider="alpha"} 3.0' in shown
    assert 'eurouter_upstream_first_token_seconds_count{provider="alpha"} 1.0' in shown
    assert 'eurouter_tokens_total{direction="output",model="sim/both",provider="alpha"}' in shown
    assert "eurouter_requests_in_flight 0.0" in shown
    assert "_created" not in shown
