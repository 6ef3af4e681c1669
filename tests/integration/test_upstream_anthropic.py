"""The anthropic dialect through real sockets, against the simulator's Messages API and its faults."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from aiohttp import web

from adapters.local_model import LocalModel
from adapters.providers.anthropic import DIALECT
from adapters.providers.secrets import Secrets
from adapters.providers.simulator import (
    INVALID_KEY,
    OVERLOADED,
    Cut,
    ErrorIn200,
    Fault,
    Garbage,
    Reset,
    Script,
    Simulator,
    SlowFirstByte,
    Stall,
    ToolCall,
    rate_limited,
)
from adapters.providers.simulator import Reason as SimulatedReason
from adapters.providers.upstream import HttpUpstream
from service.domain.calls import CallContext, Principal
from service.domain.catalog import Auth, Endpoint, Facts, Price, Provider, Timeouts
from service.domain.events import Event, Folded
from service.domain.failure import Failure, FailureKind, UpstreamError
from service.domain.fold import fold
from service.domain.generation import Generation, Role, Text, Turn

ASK = Generation((Turn(Role.USER, (Text("Hello"),)),))


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        yield simulator


@pytest.fixture
async def up() -> AsyncIterator[HttpUpstream]:
    upstream = HttpUpstream({"anthropic": DIALECT}, Secrets({"KEY": "sk-ant-1"}))
    yield upstream
    await upstream.aclose()


def row(sim: Simulator) -> Endpoint:
    return row_at(sim.url)


def row_at(url: str) -> Endpoint:
    provider = Provider(
        "acme",
        "Acme",
        "anthropic",
        f"{url}/v1",
        auth=Auth("header", "x-api-key", "env:KEY"),
        timeouts=Timeouts(connect=2, first_byte=0.5, idle=0.5, total=5),
    )
    return Endpoint("acme/m", provider, "v/m", "m", Price(), Facts(), DIALECT.expressible)


def context() -> CallContext:
    return CallContext(Principal("local"), "req-1", time.monotonic() + 10)


async def streamed(up: HttpUpstream, endpoint: Endpoint) -> list[Event]:
    source = await up.open(endpoint, ASK, context())
    events: list[Event] = []
    try:
        while batch := await source.next():
            events += batch
    finally:
        await source.aclose()
    return events


async def test_an_answer_says_the_same_whole_and_streamed(sim: Simulator, up: HttpUpstream) -> None:
    script = Script(
        text=("Hel", "lo", "!"),
        reasoning=("I ", "think."),
        tool_calls=(ToolCall("toolu_1", "get_weather", '{"city":"Rome"}'),),
    )
    sim.script(script)

    def plain(events: Sequence[Event]) -> tuple[object, ...]:
        folded: Folded = fold(events)
        (choice,) = folded.choices
        return (
            choice.text,
            choice.reasoning,
            choice.calls,
            choice.finish,
            folded.usage and folded.usage.output_tokens,
        )

    whole = await up.call(row(sim), ASK, context())
    assert plain(whole) == plain(await streamed(up, row(sim)))
    assert fold(whole).choices[0].text == "Hello!"
    assert fold(whole).choices[0].calls[0].arguments == '{"city":"Rome"}'


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Cut(), FailureKind.CUT),
        (Reset(), FailureKind.CUT),
        (Stall(), FailureKind.TIMEOUT),
        (SlowFirstByte(5), FailureKind.TIMEOUT),
        (SlowFirstByte(5, headers_first=True), FailureKind.TIMEOUT),
        (Garbage(after_tokens=2), FailureKind.PROTOCOL),
        (ErrorIn200(reason=SimulatedReason.SERVER_ERROR), FailureKind.SERVER_ERROR),
        (ErrorIn200(after_tokens=2), FailureKind.OVERLOADED),
        (OVERLOADED, FailureKind.OVERLOADED),
        (INVALID_KEY, FailureKind.AUTH),
    ],
    ids=lambda value: value.value if isinstance(value, FailureKind) else type(value).__name__,
)
async def test_each_fault_of_a_stream_is_called_by_its_name(
    fault: Fault, kind: FailureKind, sim: Simulator, up: HttpUpstream
) -> None:
    sim.script(Script(text=("a ", "b ", "c ", "d "), fault=fault, pace=0.01))
    with pytest.raises(UpstreamError) as caught:
        await streamed(up, row(sim))
    assert caught.value.failure.kind is kind


def _said(kind: str, **more: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()


async def test_a_ping_keeps_a_silent_stream_from_being_given_up_and_says_nothing(up: HttpUpstream) -> None:
    message = {"id": "msg_1", "model": "m", "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}}

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(_said("message_start", message=message))
        # Longer in all than the row's 0.5 seconds between two reads.
        for _ in range(4):
            await asyncio.sleep(0.25)
            await response.write(_said("ping"))
        await response.write(_said("content_block_start", index=0, content_block={"type": "text", "text": "Late"}))
        await response.write(_said("message_stop"))
        return response

    app = web.Application()
    app.router.add_post("/v1/messages", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        endpoint = row_at(f"http://127.0.0.1:{runner.addresses[0][1]}")
        assert fold(await streamed(up, endpoint)).choices[0].text == "Late"
    finally:
        await runner.cleanup()


async def test_a_rate_limit_tells_when_to_come_back(sim: Simulator, up: HttpUpstream) -> None:
    sim.script(Script(fault=rate_limited(7)))
    with pytest.raises(UpstreamError) as caught:
        await up.call(row(sim), ASK, context())
    failure: Failure = caught.value.failure
    assert (failure.kind, failure.status, failure.retry_after) == (FailureKind.RATE_LIMITED, 429, 7)


async def test_leaving_a_stream_is_seen_by_the_provider_within_100_ms(sim: Simulator, up: HttpUpstream) -> None:
    sim.script(Script(tokens=10_000, pace=0.005))
    source = await up.open(row(sim), ASK, context())
    await source.next()
    left = time.monotonic()
    await source.aclose()
    while not any(call.cancelled for call in sim.calls):
        assert time.monotonic() - left < 3
        await asyncio.sleep(0.002)
    assert time.monotonic() - left < 1


async def test_the_key_goes_where_the_row_says(sim: Simulator, up: HttpUpstream) -> None:
    await up.call(row(sim), ASK, context())
    headers = sim.calls[0].headers
    assert headers["anthropic-version"] == "2023-06-01"
    assert "x-api-key" in headers
    assert "authorization" not in headers


async def test_the_local_models_own_messages_api_is_read_whole_and_streamed(
    model_python: Path, up: HttpUpstream
) -> None:
    local = LocalModel(model_python)
    await local.start()
    try:
        provider = Provider("local", "Local", "anthropic", f"{local.url}/v1")
        endpoint = Endpoint("local/m", provider, "v/m", LocalModel.model, Price(), Facts(), DIALECT.expressible)
        generation = Generation(ASK.turns, temperature=0.0, max_output_tokens=8)
        whole = fold(await up.call(endpoint, generation, context()))
        source = await up.open(endpoint, generation, context())
        events: list[Event] = []
        while batch := await source.next():
            events += batch
        streamed_answer = fold(events)
    finally:
        await local.stop()
    (choice,) = whole.choices
    assert choice.text
    assert choice.finish is not None
    assert choice.finish.raw == "max_tokens"
    assert streamed_answer.choices[0].text == choice.text
    assert streamed_answer.choices[0].finish == choice.finish
    assert whole.usage is not None
    assert streamed_answer.usage is not None
    assert (whole.usage.output_tokens, streamed_answer.usage.output_tokens) == (8, 8)
