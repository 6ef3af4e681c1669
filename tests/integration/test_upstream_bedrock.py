"""The bedrock dialect through real sockets, against the simulator's Converse API and its faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from aiohttp import web

from adapters.providers.bedrock import DIALECT
from adapters.providers.secrets import Secrets
from adapters.providers.simulator import (
    CONTEXT_LENGTH,
    INVALID_KEY,
    UNAVAILABLE,
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
    insufficient_quota,
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
from tests.contract.bedrock import SAMPLE
from tests.support import eventstream

ASK = Generation((Turn(Role.USER, (Text("Hello"),)),))
ARN = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-haiku-4-5-20251001-v1:0"
ENCODED = (
    "arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Ainference-profile%2F"
    "eu.anthropic.claude-haiku-4-5-20251001-v1%3A0"
)


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        yield simulator


@pytest.fixture
async def up() -> AsyncIterator[HttpUpstream]:
    upstream = HttpUpstream({"bedrock": DIALECT}, Secrets({"KEY": "bedrock-api-key-1"}))
    yield upstream
    await upstream.aclose()


def row(url: str, model: str = ARN) -> Endpoint:
    provider = Provider(
        "acme",
        "Acme",
        "bedrock",
        url,
        auth=Auth("bearer", secret="env:KEY"),
        timeouts=Timeouts(connect=2, first_byte=0.5, idle=0.5, total=5),
    )
    return Endpoint("acme/m", provider, "v/m", model, Price(), Facts(), DIALECT.expressible)


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
        tool_calls=(
            ToolCall("tooluse_1", "get_weather", '{"city":"Rome"}'),
            ToolCall("tooluse_2", "get_time", "{}"),
        ),
    )
    sim.script(script)

    def plain(events: Sequence[Event]) -> tuple[object, ...]:
        folded: Folded = fold(events)
        (choice,) = folded.choices
        return choice.text, choice.reasoning, choice.calls, choice.finish, folded.usage

    whole = await up.call(row(sim.url), ASK, context())
    assert plain(whole) == plain(await streamed(up, row(sim.url)))
    assert fold(whole).choices[0].text == "Hello!"
    assert [call.arguments for call in fold(whole).choices[0].calls] == ['{"city":"Rome"}', "{}"]
    assert [call.model for call in sim.calls] == [ARN, ARN]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Cut(), FailureKind.CUT),
        (Reset(), FailureKind.CUT),
        (Stall(), FailureKind.TIMEOUT),
        (SlowFirstByte(5), FailureKind.TIMEOUT),
        (SlowFirstByte(5, headers_first=True), FailureKind.TIMEOUT),
        (Garbage(after_tokens=0), FailureKind.PROTOCOL),
        (Garbage(after_tokens=2), FailureKind.PROTOCOL),
        (ErrorIn200(reason=SimulatedReason.SERVER_ERROR), FailureKind.SERVER_ERROR),
        (ErrorIn200(after_tokens=0, reason=SimulatedReason.RATE_LIMITED), FailureKind.RATE_LIMITED),
        (ErrorIn200(after_tokens=2), FailureKind.OVERLOADED),
        (ErrorIn200(after_tokens=2, reason=SimulatedReason.INVALID_REQUEST), FailureKind.INVALID_REQUEST),
        (ErrorIn200(after_tokens=2, reason=SimulatedReason.SERVER_ERROR), FailureKind.SERVER_ERROR),
        (UNAVAILABLE, FailureKind.OVERLOADED),
        (INVALID_KEY, FailureKind.AUTH),
        (CONTEXT_LENGTH, FailureKind.CONTEXT_LENGTH),
        (insufficient_quota(400), FailureKind.QUOTA),
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


async def test_what_came_before_an_exception_frame_is_not_lost(sim: Simulator, up: HttpUpstream) -> None:
    sim.script(Script(text=("a ", "b ", "c "), fault=ErrorIn200(after_tokens=2)))
    source = await up.open(row(sim.url), ASK, context())
    seen: list[Event] = []
    with pytest.raises(UpstreamError):
        while batch := await source.next():
            seen += batch
    assert "".join(getattr(event, "text", "") for event in seen) == "a b "


async def test_a_rate_limit_tells_when_to_come_back(sim: Simulator, up: HttpUpstream) -> None:
    sim.script(Script(fault=rate_limited(7)))
    with pytest.raises(UpstreamError) as caught:
        await up.call(row(sim.url), ASK, context())
    failure: Failure = caught.value.failure
    assert (failure.kind, failure.status, failure.retry_after) == (FailureKind.RATE_LIMITED, 429, 7)
    assert failure.code == "ThrottlingException"


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


class Converse:
    """A server that keeps the request lines as they came and answers with the contract's golden answers."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.content_type = "application/vnd.amazon.eventstream"
        self.stream = SAMPLE.stream("text")
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.targets.append(request.raw_path)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        await request.read()
        if request.raw_path.endswith("/converse"):
            return web.Response(body=SAMPLE.answer("text"), content_type="application/json")
        response = web.StreamResponse(headers={"content-type": self.content_type})
        await response.prepare(request)
        for at in range(0, len(self.stream), 13):
            await response.write(self.stream[at : at + 13])
        await response.write_eof()
        return response


@pytest.fixture
async def server() -> AsyncIterator[Converse]:
    converse = Converse()
    app = web.Application()
    app.router.add_post("/{rest:.*}", converse.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        converse.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield converse
    finally:
        await runner.cleanup()


async def test_an_arn_goes_over_the_wire_percent_encoded_as_it_is_written(
    server: Converse, up: HttpUpstream
) -> None:
    await up.call(row(server.url), ASK, context())
    await streamed(up, row(server.url))
    assert server.targets == [f"/model/{ENCODED}/converse", f"/model/{ENCODED}/converse-stream"]


async def test_a_model_id_with_a_colon_goes_over_the_wire_percent_encoded(
    server: Converse, up: HttpUpstream
) -> None:
    await up.call(row(server.url, "eu.amazon.nova-lite-v1:0"), ASK, context())
    assert server.targets == ["/model/eu.amazon.nova-lite-v1%3A0/converse"]


async def test_an_api_key_goes_as_a_bearer_token(server: Converse, up: HttpUpstream) -> None:
    await up.call(row(server.url), ASK, context())
    assert server.headers[0]["authorization"] == "Bearer bedrock-api-key-1"
    assert server.headers[0]["content-type"] == "application/json"


async def test_frames_split_anywhere_by_the_network_make_the_whole_answer(
    server: Converse, up: HttpUpstream
) -> None:
    assert fold(await streamed(up, row(server.url))) == fold(await up.call(row(server.url), ASK, context()))


async def test_a_frame_with_a_wrong_checksum_ends_the_stream_as_a_protocol_error(
    server: Converse, up: HttpUpstream
) -> None:
    frames = SAMPLE.frames("text")
    frames[2] = frames[2][:-1] + bytes((frames[2][-1] ^ 1,))
    server.stream = b"".join(frames)
    with pytest.raises(UpstreamError) as caught:
        await streamed(up, row(server.url))
    assert caught.value.failure.kind is FailureKind.PROTOCOL


async def test_an_error_body_of_a_200_that_calls_itself_a_stream_is_an_error(
    server: Converse, up: HttpUpstream
) -> None:
    server.stream = b'{"__type": "ModelNotReadyException", "message": "Not yet"}'
    for server.content_type in ("application/vnd.amazon.eventstream", "application/json"):
        with pytest.raises(UpstreamError) as caught:
            await streamed(up, row(server.url))
        assert caught.value.failure.kind is FailureKind.OVERLOADED


async def test_an_error_frame_without_a_model_is_read_from_its_headers(server: Converse, up: HttpUpstream) -> None:
    server.stream = SAMPLE.frames("text")[0] + eventstream.error("InternalFailure", "It broke.")
    with pytest.raises(UpstreamError) as caught:
        await streamed(up, row(server.url))
    failure = caught.value.failure
    assert (failure.kind, failure.message) == (FailureKind.SERVER_ERROR, "It broke.")
