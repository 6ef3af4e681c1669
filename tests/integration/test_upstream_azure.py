"""The azure dialect through real sockets: its paths and versions, its filters' chunks, its faults."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from adapters.providers.azure import DIALECT
from adapters.providers.secrets import Secrets
from adapters.providers.simulator import (
    OVERLOADED,
    Cut,
    ErrorIn200,
    Fault,
    Garbage,
    HttpError,
    Script,
    Simulator,
    Stall,
    ToolCall,
    rate_limited,
)
from adapters.providers.simulator import Reason as SimulatedReason
from adapters.providers.upstream import HttpUpstream
from service.domain.calls import CallContext, Principal
from service.domain.catalog import Auth, Endpoint, Facts, Price, Provider, Quirks, Timeouts
from service.domain.events import Event
from service.domain.failure import FailureKind, UpstreamError
from service.domain.fold import fold
from service.domain.generation import Generation, Role, Text, Turn
from tests.contract.azure import filtered
from tests.integration.upstream_server import Peer, serving

ASK = Generation((Turn(Role.USER, (Text("Hello"),)),), max_output_tokens=40)
V1, DATED = None, "2025-01-01-preview"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        yield simulator


@pytest.fixture
async def up() -> AsyncIterator[HttpUpstream]:
    upstream = HttpUpstream({"azure": DIALECT}, Secrets({"KEY": "azure-key-1"}))
    yield upstream
    await upstream.aclose()


def row(url: str, version: str | None) -> Endpoint:
    quirks = Quirks(api_version=version)
    provider = Provider(
        "foundry",
        "Foundry",
        "azure",
        url if version else f"{url}/openai/v1",
        auth=Auth("header", "api-key", "env:KEY"),
        quirks=quirks,
        timeouts=Timeouts(connect=2, first_byte=0.5, idle=0.5, total=5),
    )
    can = DIALECT.expressible_with(quirks)
    return Endpoint("foundry/m", provider, "v/m", "my deployment", Price(), Facts(), can)


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


@pytest.mark.parametrize("version", [V1, DATED])
async def test_an_answer_says_the_same_whole_and_streamed_at_either_path(
    version: str | None, sim: Simulator, up: HttpUpstream
) -> None:
    sim.script(Script(text=("Hel", "lo", "!"), tool_calls=(ToolCall("call_1", "now", '{"zone":"UTC"}'),)))
    whole = fold(await up.call(row(sim.url, version), ASK, context()))
    stream = fold(await streamed(up, row(sim.url, version)))
    for answer in (whole, stream):
        (choice,) = answer.choices
        assert choice.text == "Hello!"
        assert [(call.name, call.arguments) for call in choice.calls] == [("now", '{"zone":"UTC"}')]
        assert "content_filter_results" in (choice.extra or {})
        assert "prompt_filter_results" in (answer.extra or {})
    assert whole.choices[0].finish == stream.choices[0].finish
    assert (whole.usage and whole.usage.total_tokens) == (stream.usage and stream.usage.total_tokens)
    assert all(call.model == "my deployment" for call in sim.calls)


async def test_the_version_the_key_and_the_deployment_go_where_azure_reads_them(up: HttpUpstream) -> None:
    async def answer(peer: Peer) -> None:
        await peer.whole(b'{"error":{"code":"404","message":"Resource not found"}}', "404 Not Found")

    async with serving(answer) as server:
        for version in (DATED, V1):
            with pytest.raises(UpstreamError) as caught:
                await up.call(row(server.url, version), ASK, context())
            assert caught.value.failure.kind is FailureKind.MODEL_MISSING
    dated, v1 = server.peers
    line = "POST /openai/deployments/my%20deployment/chat/completions?api-version=2025-01-01-preview HTTP/1.1"
    assert dated.head.split("\r\n")[0] == line
    assert v1.head.split("\r\n")[0] == "POST /openai/v1/chat/completions HTTP/1.1"
    assert b'"model":"my deployment"' in v1.body
    for peer in (dated, v1):
        assert peer.header("api-key") == "azure-key-1"
        assert peer.header("authorization") is None


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Cut(), FailureKind.CUT),
        (Stall(), FailureKind.TIMEOUT),
        (Garbage(after_tokens=2), FailureKind.PROTOCOL),
        (ErrorIn200(after_tokens=2), FailureKind.SERVER_ERROR),
        (OVERLOADED, FailureKind.OVERLOADED),
        (HttpError(404, SimulatedReason.NOT_FOUND), FailureKind.MODEL_MISSING),
    ],
    ids=lambda value: value.value if isinstance(value, FailureKind) else type(value).__name__,
)
async def test_each_fault_of_a_stream_is_called_by_its_name(
    fault: Fault, kind: FailureKind, sim: Simulator, up: HttpUpstream
) -> None:
    sim.script(Script(text=("a ", "b ", "c ", "d "), fault=fault, pace=0.01))
    with pytest.raises(UpstreamError) as caught:
        await streamed(up, row(sim.url, DATED))
    assert caught.value.failure.kind is kind


async def test_a_rate_limit_tells_when_to_come_back(sim: Simulator, up: HttpUpstream) -> None:
    sim.script(Script(fault=rate_limited(7)))
    with pytest.raises(UpstreamError) as caught:
        await up.call(row(sim.url, DATED), ASK, context())
    failure = caught.value.failure
    assert (failure.kind, failure.status, failure.retry_after) == (FailureKind.RATE_LIMITED, 429, 7)


async def test_a_prompt_that_the_filters_stop_is_told_with_the_filters_name(up: HttpUpstream) -> None:
    body = filtered(jailbreak={"filtered": True, "detected": True}, hate={"filtered": False, "severity": "safe"})

    async def answer(peer: Peer) -> None:
        await peer.whole(body, "400 Bad Request", "content-type: application/json\r\n")

    async with serving(answer) as server:
        with pytest.raises(UpstreamError) as caught:
            await up.open(row(server.url, DATED), ASK, context())
    assert caught.value.failure.kind is FailureKind.CONTENT_POLICY
    assert caught.value.failure.message.endswith("content management policy. (jailbreak)")
