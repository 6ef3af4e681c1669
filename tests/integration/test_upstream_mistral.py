"""The mistral dialect through real sockets: what it sends, and Mistral's own forms of answers and errors."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest

from adapters.providers.mistral import DIALECT
from adapters.providers.secrets import Secrets
from adapters.providers.simulator import (
    OVERLOADED,
    Cut,
    Fault,
    Garbage,
    Script,
    Simulator,
    Stall,
    rate_limited,
)
from adapters.providers.upstream import HttpUpstream
from service.domain.calls import CallContext, Principal
from service.domain.catalog import Auth, Endpoint, Facts, Price, Provider, Timeouts
from service.domain.events import Event
from service.domain.failure import FailureKind, UpstreamError
from service.domain.fold import fold
from service.domain.generation import Generation, Role, Text, Turn
from tests.contract.answers import ANSWERS
from tests.contract.mistral import SAMPLE
from tests.contract.sample import cut_every
from tests.contract.test_dialects import says
from tests.golden.requests import CASES
from tests.integration.upstream_server import Peer, serving

ASK = Generation((Turn(Role.USER, (Text("Hello"),)),), max_output_tokens=40, seed=7)


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        yield simulator


@pytest.fixture
async def up() -> AsyncIterator[HttpUpstream]:
    upstream = HttpUpstream({"mistral": DIALECT}, Secrets({"KEY": "mistral-key-1"}))
    yield upstream
    await upstream.aclose()


def row(url: str) -> Endpoint:
    provider = Provider(
        "mistral",
        "Mistral",
        "mistral",
        f"{url}/v1",
        auth=Auth("bearer", "", "env:KEY"),
        timeouts=Timeouts(connect=2, first_byte=0.5, idle=0.5, total=5),
    )
    return Endpoint("mistral/m", provider, "v/m", "m", Price(), Facts(), DIALECT.expressible)


def context() -> CallContext:
    return CallContext(Principal("local"), "req-1", time.monotonic() + 10)


async def streamed(up: HttpUpstream, endpoint: Endpoint, ask: Generation = ASK) -> list[Event]:
    source = await up.open(endpoint, ask, context())
    events: list[Event] = []
    try:
        while batch := await source.next():
            events += batch
    finally:
        await source.aclose()
    return events


@pytest.mark.parametrize("case", [case for case in ANSWERS if case not in SAMPLE.lacks])
async def test_each_golden_answer_means_the_same_over_a_socket_whole_and_streamed(
    case: str, up: HttpUpstream
) -> None:
    async def answer(peer: Peer) -> None:
        if json.loads(peer.body).get("stream"):
            await peer.begin()
            for piece in cut_every(SAMPLE.stream(case), 61):
                await peer.chunk(piece)
            await peer.finish()
        else:
            await peer.whole(SAMPLE.answer(case), headers="content-type: application/json\r\n")

    async with serving(answer) as server:
        says(fold(await up.call(row(server.url), ASK, context())), ANSWERS[case])
        says(fold(await streamed(up, row(server.url))), ANSWERS[case])


async def test_the_request_arrives_in_mistrals_words(sim: Simulator, up: HttpUpstream) -> None:
    await streamed(up, row(sim.url), CASES["an_answer_that_is_begun"].generation)
    await up.call(row(sim.url), ASK, context())
    begun, plain = sim.calls
    assert begun.path == "/v1/chat/completions"
    assert begun.body["messages"][-1]["prefix"] is True
    assert begun.body["stream"] is True
    assert "stream_options" not in begun.body
    assert (plain.body["random_seed"], plain.body["max_tokens"]) == (7, 40)
    assert "authorization" in plain.headers


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Cut(), FailureKind.CUT),
        (Stall(), FailureKind.TIMEOUT),
        (Garbage(after_tokens=2), FailureKind.PROTOCOL),
        (OVERLOADED, FailureKind.OVERLOADED),
        (rate_limited(7), FailureKind.RATE_LIMITED),
    ],
    ids=lambda value: value.value if isinstance(value, FailureKind) else type(value).__name__,
)
async def test_each_fault_of_a_stream_is_called_by_its_name(
    fault: Fault, kind: FailureKind, sim: Simulator, up: HttpUpstream
) -> None:
    sim.script(Script(text=("a ", "b ", "c ", "d "), fault=fault, pace=0.01))
    with pytest.raises(UpstreamError) as caught:
        await streamed(up, row(sim.url))
    assert caught.value.failure.kind is kind


async def test_an_error_in_mistrals_own_form_is_told_after_what_came_before_it(up: HttpUpstream) -> None:
    good = SAMPLE.stream("text").split(b"\n\n")[0] + b"\n\n"
    bad = b'data: {"object":"error","message":"Service unavailable","type":"service_unavailable"}\n\n'

    async def answer(peer: Peer) -> None:
        await peer.begin()
        await peer.chunk(good + bad)
        await peer.finish()

    async with serving(answer) as server:
        with pytest.raises(UpstreamError) as caught:
            await streamed(up, row(server.url))
    assert caught.value.failure.kind is FailureKind.OVERLOADED
    assert caught.value.failure.message == "Service unavailable"


async def test_what_fastapi_finds_wrong_is_told_with_its_place(up: HttpUpstream) -> None:
    body = b'{"detail":[{"type":"extra_forbidden","loc":["body","best_of"],"msg":"Extra inputs"}]}'

    async def answer(peer: Peer) -> None:
        await peer.whole(body, "422 Unprocessable Entity", "content-type: application/json\r\n")

    async with serving(answer) as server:
        with pytest.raises(UpstreamError) as caught:
            await up.call(row(server.url), ASK, context())
    failure = caught.value.failure
    assert (failure.kind, failure.status) == (FailureKind.INVALID_REQUEST, 422)
    assert failure.message == "best_of: Extra inputs"


async def test_leaving_a_stream_is_seen_by_the_provider_within_100_ms(sim: Simulator, up: HttpUpstream) -> None:
    sim.script(Script(tokens=10_000, pace=0.005))
    source = await up.open(row(sim.url), ASK, context())
    await source.next()
    left = time.monotonic()
    await source.aclose()
    while not any(call.cancelled for call in sim.calls):
        assert time.monotonic() - left < 3
        await asyncio.sleep(0.002)
    assert time.monotonic() - left < 1
