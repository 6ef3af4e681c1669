"""The end of a process: what a stop does to health, to calls under way, to new ones, and the exit code."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2
from structlog.testing import capture_logs

from adapters.providers.simulator import Script
from service.process import Process
from service.until_signal import run_until_stopped
from tests.support.running import ask, plain_channel, running_child, running_service, until
from tests.support.statuses import reason_of, trailers_of

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def whole(call: Any) -> tuple[str, Any]:
    """The text of a stream, and its error."""
    text = ""
    try:
        async for chunk in call:
            text += "".join(choice.delta.content for choice in chunk.choices)
    except aio.AioRpcError as error:
        return text, error
    return text, None


async def probe(url: str) -> int | None:
    """The status of a GET; None when nobody answers."""
    try:
        async with aiohttp.ClientSession() as web, web.get(url) as answer:
            return answer.status
    except aiohttp.ClientError:
        return None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_signal_drains_in_stages_and_the_exit_code_is_0(tmp_path: Path, number: int) -> None:
    async with running_child(tmp_path, {"drain": {"pause_seconds": 0.5, "finish_seconds": 10}}) as up:
        async with asyncio.timeout(10):
            while await probe(f"{up.admin}/readyz") != 200:
                await asyncio.sleep(0.05)
        watch = up.health.Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        up.alpha.script(Script(tokens=28, pace=0.05))
        stream = up.chat.StreamChatCompletion(ask())
        reading = asyncio.ensure_future(whole(stream))
        await up.alpha.wait_for(lambda calls: bool(calls) and calls[0].tokens_sent > 2)

        up.process.send_signal(number)
        assert (await watch.read()).status == NOT_SERVING
        assert await probe(f"{up.admin}/readyz") == 503
        # The pause: not ready, and yet new calls are served, because balancers need time to notice.
        assert (await up.chat.CreateChatCompletion(ask("sim/beta"))).choices
        async with plain_channel(up.grpc) as fresh:
            await fresh.channel_ready()

        await asyncio.sleep(0.7)
        assert not reading.done()
        for channel in (up.channel, plain_channel(up.grpc)):
            call: Any = channel.unary_unary("/eurouter.v1.ChatService/CreateChatCompletion")
            with pytest.raises(aio.AioRpcError) as caught:
                await call(ask("sim/beta").SerializeToString())
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await probe(f"{up.http}/v1/models") is None
        text, error = await asyncio.wait_for(reading, 10)
        assert error is None
        assert len(up.alpha.calls[0].headers) > 0
        assert up.alpha.calls[0].finished
        assert text
        assert await asyncio.wait_for(up.process.wait(), 5) == 0
        assert "Traceback" not in up.logged()


async def test_a_stream_that_does_not_finish_is_ended_with_a_status_that_says_why(tmp_path: Path) -> None:
    web = aiohttp.ClientSession()
    async with running_child(tmp_path, {"drain": {"pause_seconds": 0, "finish_seconds": 0.5}}) as up, web:
        up.alpha.script(Script(tokens=10_000, pace=0.02))
        reading = asyncio.ensure_future(whole(up.chat.StreamChatCompletion(ask())))
        waiting = asyncio.ensure_future(whole(up.chat.StreamChatCompletion(ask("sim/beta"))))
        up.beta.script(Script(first_byte_delay=30))
        body = {"model": "sim/alpha", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        streamed = await web.post(f"{up.http}/v1/chat/completions", json=body)
        await up.alpha.wait_for(lambda calls: len(calls) == 2 and all(c.tokens_sent > 2 for c in calls))
        began = time.monotonic()
        code = await up.stop(seconds=10)
        assert time.monotonic() - began < 4
        assert code == 0
        text, error = await reading
        assert text
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert reason_of(error) == "SHUTTING_DOWN"
        assert trailers_of(error)["x-request-id"]
        _, error = await waiting
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert reason_of(error) == "SHUTTING_DOWN"
        told = (await streamed.content.read()).decode()
        assert "[DONE]" not in told, "a stream that was cut must not look like one that ended"
        assert "SHUTTING_DOWN" in told
        await until(lambda: all(call.ended is not None for call in up.alpha.calls), "the upstream calls ended")
        assert all(not call.finished for call in up.alpha.calls)
        assert "Traceback" not in up.logged()
        assert "drain_timed_out" in up.logged()


async def test_an_idle_process_stops_at_once(tmp_path: Path) -> None:
    async with running_child(tmp_path, {"drain": {"pause_seconds": 0, "finish_seconds": 30}}) as up:
        await up.chat.CreateChatCompletion(ask())
        began = time.monotonic()
        assert await up.stop() == 0
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("door", ["grpc", "http", "admin"])
async def test_a_taken_port_is_said_in_one_line_and_nothing_keeps_running(tmp_path: Path, door: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=str(port)):
            async with running_service(tmp_path, {door: {"port": port}}):
                pass


async def test_a_side_task_that_fails_stops_the_process_and_its_words_are_not_logged(tmp_path: Path) -> None:
    async def broken() -> None:
        raise RuntimeError("words of a prompt")

    async with running_service(tmp_path) as up:
        process: Process = up.service.process
        with capture_logs() as logs:
            process._tasks.start({"broken": broken})
            await asyncio.wait_for(process.wait(), 2)
        assert process.failed
        (line,) = [line for line in logs if line["event"] == "side_task_ended"]
        assert line["error_type"] == "RuntimeError"
        assert "words of a prompt" not in str(logs)
        assert await run_until_stopped(process, asyncio.Event()) == 1
