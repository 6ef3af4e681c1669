"""How gRPC calls end early: deadlines, clients that leave, and clients that retry on their own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from eurouter.v1 import chat_pb2_grpc
from grpc import aio
from structlog.testing import capture_logs

from adapters.providers.simulator import UNAVAILABLE, Call, Script, SlowFirstByte, Stall, rate_limited
from tests.support.running import InProcess, ask, plain_channel, running_service, until
from tests.support.statuses import reason_of

RPCS = ("CreateChatCompletion", "StreamChatCompletion")
STALLS = {
    "before the first byte": Script(fault=SlowFirstByte(30)),
    "after the headers": Script(fault=SlowFirstByte(30, headers_first=True)),
    "after some tokens": Script(tokens=8, fault=Stall(3)),
}


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[InProcess]:
    async with running_service(tmp_path) as running:
        yield running


def start(up: InProcess, rpc: str, **options: Any) -> Any:
    """The call, and a task that reads it to its end."""
    call = getattr(up.chat, rpc)(ask("sim/alpha"), **options)

    async def whole() -> None:
        if rpc == RPCS[0]:
            await call
        else:
            async for _ in call:
                pass

    return call, asyncio.ensure_future(whole())


_STANDSTILL = 3.0


async def cancelled_within(up: InProcess, since: float, seconds: float) -> Call:
    """The upstream call, once the provider saw that its client left; the machine may stand still for a while."""
    calls = await up.alpha.wait_for(lambda calls: calls[0].cancelled)
    assert calls[0].ended is not None
    assert calls[0].ended - since < seconds + _STANDSTILL
    return calls[0]


def outcomes(up: InProcess, metric: str) -> dict[str, float]:
    """Outcome to count, from the metrics, of what there was."""
    found: dict[str, float] = {}
    for family in up.service.telemetry.registry.collect():
        for sample in family.samples:
            if sample.name == metric and sample.value:
                found[sample.labels["outcome"]] = sample.value
    return found


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize("stall", STALLS)
async def test_the_clients_deadline_ends_the_upstream_call(up: InProcess, rpc: str, stall: str) -> None:
    up.alpha.script(STALLS[stall])
    began = time.time()
    _, reading = start(up, rpc, timeout=0.4)
    with pytest.raises(aio.AioRpcError) as caught:
        await reading
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await cancelled_within(up, began, 0.4)
    await until(lambda: up.service.admission.in_flight == 0, "the call ended")
    assert outcomes(up, "eurouter_requests_total") == {"DEADLINE_EXCEEDED": 1}


@pytest.mark.parametrize("rpc", RPCS)
async def test_a_call_without_a_deadline_gets_the_default(tmp_path: Path, rpc: str) -> None:
    async with running_service(tmp_path, {"deadlines": {"default_seconds": 0.3}}) as up:
        up.alpha.script(STALLS["after the headers"])
        began = time.time()
        _, reading = start(up, rpc)
        with pytest.raises(aio.AioRpcError) as caught:
            await reading
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert reason_of(caught.value) == "DEADLINE_EXCEEDED"
        await cancelled_within(up, began, 0.3)


async def test_a_longer_deadline_than_the_maximum_is_cut_to_it(tmp_path: Path) -> None:
    async with running_service(tmp_path, {"deadlines": {"default_seconds": 0.2, "max_seconds": 0.3}}) as up:
        up.alpha.script(STALLS["after some tokens"])
        began = time.time()
        _, reading = start(up, "StreamChatCompletion", timeout=60)
        with pytest.raises(aio.AioRpcError) as caught:
            await reading
        assert reason_of(caught.value) == "DEADLINE_EXCEEDED"
        await cancelled_within(up, began, 0.3)


async def test_the_callers_own_short_deadline_does_not_take_the_endpoint_down(up: InProcess) -> None:
    up.alpha.enqueue(STALLS["before the first byte"])
    _, reading = start(up, RPCS[0], timeout=0.2)
    with pytest.raises(aio.AioRpcError):
        await reading
    await until(lambda: up.service.admission.in_flight == 0, "the call ended")
    await up.chat.CreateChatCompletion(ask("sim/alpha"))


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize("stall", STALLS)
async def test_a_client_that_leaves_ends_the_upstream_call_within_100_ms(
    up: InProcess, rpc: str, stall: str
) -> None:
    up.alpha.script(STALLS[stall])
    call, reading = start(up, rpc)
    await up.alpha.wait_for(lambda calls: bool(calls) and calls[0].body is not None)
    await asyncio.sleep(0.05)
    call.cancel()
    left = time.time()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await cancelled_within(up, left, 0.0)
    await until(lambda: up.service.admission.in_flight == 0, "the call ended")
    assert outcomes(up, "eurouter_requests_total") == {"CANCELLED": 1}
    assert outcomes(up, "eurouter_upstream_attempts_total") == {"cancelled": 1}
    await up.chat.CreateChatCompletion(ask("sim/beta"))


async def test_a_client_that_vanishes_ends_the_upstream_call_too(up: InProcess) -> None:
    up.alpha.script(Script(tokens=1000, pace=0.01))
    channel = plain_channel(up.grpc)
    call = chat_pb2_grpc.ChatServiceStub(channel).StreamChatCompletion(ask())
    await call.read()
    await channel.close()
    await cancelled_within(up, time.time(), 0.0)


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize("model", ["sim/alpha", "sim/both"])
async def test_a_clients_retry_policy_makes_one_plan_per_call_of_its_user(
    up: InProcess, rpc: str, model: str
) -> None:
    for simulator in (up.alpha, up.beta):
        simulator.script(Script(fault=UNAVAILABLE))
    async with plain_channel(up.grpc, enable_retries=1, service_config=_retrying()) as channel:
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        call = getattr(stub, rpc)(ask(model))
        with pytest.raises(aio.AioRpcError) as caught:
            await (call.read() if hasattr(call, "read") else call)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(up.alpha.calls) == 1
    assert len(up.beta.calls) == (1 if model == "sim/both" else 0)
    assert outcomes(up, "eurouter_requests_total") == {"PROVIDER_UNAVAILABLE": 1}


async def test_a_clients_retry_policy_waits_as_long_as_the_provider_asks(up: InProcess) -> None:
    up.alpha.enqueue(Script(fault=rate_limited(11)))
    async with plain_channel(up.grpc, enable_retries=1, service_config=_retrying()) as channel:
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.CreateChatCompletion(ask(), timeout=0.5)
    assert caught.value.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert len(up.alpha.calls) == 1


def _retrying() -> str:
    policy = {
        "maxAttempts": 5,
        "initialBackoff": "0.01s",
        "maxBackoff": "0.05s",
        "backoffMultiplier": 1.5,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
    }
    return json.dumps(
        {"methodConfig": [{"name": [{"service": "eurouter.v1.ChatService"}], "retryPolicy": policy}]}
    )


async def stalled(up: InProcess, channel: aio.Channel, timeout: float | None = None) -> Any:
    """A call whose client has read one piece of an answer that no buffer holds, and reads no more."""
    up.alpha.script(Script(text=("x" * 65536,) * 600))
    stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
    call = stub.StreamChatCompletion(ask("sim/alpha"), timeout=timeout)
    await call.read()
    await asyncio.sleep(0.3)
    assert up.service.admission.in_flight == 1
    return call


@pytest.mark.parametrize(
    ("how", "outcome"),
    [("cancels", "CANCELLED"), ("hangs up", "CANCELLED"), ("has a deadline", "DEADLINE_EXCEEDED")],
)
async def test_a_client_that_leaves_amid_a_write_is_no_fault_of_ours(
    up: InProcess, how: str, outcome: str
) -> None:
    async with plain_channel(up.grpc) as channel:
        with capture_logs() as logged:
            call = await stalled(up, channel, 2.0 if how == "has a deadline" else None)
            if how == "cancels":
                call.cancel()
            elif how == "hangs up":
                await channel.close()
            await until(lambda: up.service.admission.in_flight == 0, "the call is over", 5)
    assert [line["event"] for line in logged if line["log_level"] == "error"] == []
    assert [line["outcome"] for line in logged if line["event"] == "request_finished"] == [outcome]


async def test_a_client_that_never_reads_on_is_given_up_when_its_time_is_over(tmp_path: Path) -> None:
    times = {"deadlines": {"default_seconds": 2.0, "max_seconds": 2.0}}
    async with running_service(tmp_path, times) as up, plain_channel(up.grpc) as channel:
        with capture_logs() as logged:
            await stalled(up, channel)
            await until(lambda: up.service.admission.in_flight == 0, "the call is over", 5)
    outcomes = [line["outcome"] for line in logged if line["event"] == "request_finished"]
    assert outcomes == ["DEADLINE_EXCEEDED"]
