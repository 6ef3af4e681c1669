"""The gemini dialect through real sockets, against the simulator's generateContent and its faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from google.genai import Client, errors, types

from adapters.providers.gemini import DIALECT
from adapters.providers.secrets import Secrets
from adapters.providers.simulator import (
    CONTEXT_LENGTH,
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
    Usage,
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
from service.domain.generation import FunctionTool, Generation, Reasoning, Role, Text, ToolResult, Turn
from service.domain.generation import ToolCall as NeutralCall

ASK = Generation((Turn(Role.USER, (Text("Hello"),)),))
VERTEX = "/v1/projects/p/locations/europe-west4/publishers/google"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        yield simulator


@pytest.fixture
async def up() -> AsyncIterator[HttpUpstream]:
    upstream = HttpUpstream({"gemini": DIALECT}, Secrets({"KEY": "AIza-test-1"}))
    yield upstream
    await upstream.aclose()


def row(sim: Simulator, base: str = "/v1beta") -> Endpoint:
    provider = Provider(
        "acme",
        "Acme",
        "gemini",
        f"{sim.url}{base}",
        auth=Auth("header", "x-goog-api-key", "env:KEY"),
        timeouts=Timeouts(connect=2, first_byte=0.5, idle=0.5, total=5),
    )
    return Endpoint("acme/m", provider, "v/m", "gemini-3-m", Price(), Facts(), DIALECT.expressible)


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


@pytest.mark.parametrize("base", ["/v1beta", VERTEX], ids=["gemini_api", "vertex"])
async def test_an_answer_says_the_same_whole_and_streamed(base: str, sim: Simulator, up: HttpUpstream) -> None:
    script = Script(
        text=("Hel", "lo", "!"),
        reasoning=("I ", "think."),
        tool_calls=(ToolCall("c1", "get_weather", '{"city":"Rome"}'), ToolCall("c2", "get_time")),
        usage=Usage(prompt_tokens=30, completion_tokens=12, cached_tokens=8, reasoning_tokens=5),
    )
    sim.script(script)

    def plain(events: Sequence[Event]) -> tuple[object, ...]:
        folded: Folded = fold(events)
        (choice,) = folded.choices
        return (choice, folded.usage)

    whole = await up.call(row(sim, base), ASK, context())
    assert plain(whole) == plain(await streamed(up, row(sim, base)))
    (choice,) = fold(whole).choices
    assert choice.text == "Hello!"
    assert choice.calls[0].arguments == '{"city":"Rome"}'
    assert [piece.seal.id for piece in choice.reasoning if piece.seal] == ["c1"]
    usage = fold(whole).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens) == (30, 12, 8, 5)
    assert [call.path for call in sim.calls] == [
        f"{base}/models/gemini-3-m:generateContent",
        f"{base}/models/gemini-3-m:streamGenerateContent",
    ]


async def test_a_tool_loop_replays_the_signature_on_the_call_that_it_came_with(
    sim: Simulator, up: HttpUpstream
) -> None:
    sim.enqueue(Script(tool_calls=(ToolCall("c1", "get_time", "{}"), ToolCall("c2", "get_time", "{}"))))
    (first,) = fold(await up.call(row(sim), ASK, context())).choices
    seals = [piece.seal for piece in first.reasoning if piece.seal]
    history = Generation(
        (
            *ASK.turns,
            Turn(
                Role.ASSISTANT,
                (
                    *(Reasoning(encrypted=seal.encrypted, format=seal.format, id=seal.id) for seal in seals),
                    *(NeutralCall(call.id, call.name, call.arguments) for call in first.calls),
                ),
            ),
            *(Turn(Role.TOOL, (ToolResult(call.id, (Text("12:00"),)),)) for call in first.calls),
        ),
        (FunctionTool("get_time"),),
    )
    await up.call(row(sim), history, context())
    body = sim.calls[-1].body
    assert isinstance(body, dict)
    (_, model, _) = body["contents"]
    assert [part.get("thoughtSignature") for part in model["parts"]] == [seals[0].encrypted, None]


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
        (CONTEXT_LENGTH, FailureKind.CONTEXT_LENGTH),
        (insufficient_quota(), FailureKind.QUOTA),
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
    assert "x-goog-api-key" in headers
    assert "authorization" not in headers


def asked_by_googles_client(url: str) -> tuple[types.GenerateContentResponse, list[types.GenerateContentResponse]]:
    options = types.HttpOptions(base_url=url)
    with Client(api_key="none", http_options=options) as client:
        whole = client.models.generate_content(model="gemini-3-m", contents="Hello")
        return whole, list(client.models.generate_content_stream(model="gemini-3-m", contents="Hello"))


async def test_googles_own_client_reads_the_simulator_whole_and_streamed(sim: Simulator) -> None:
    call = ToolCall("c1", "get_time", '{"zone":"UTC"}')
    sim.script(Script(text=("Hel", "lo"), reasoning="Hm.", tool_calls=(call,)))
    whole, chunks = await asyncio.to_thread(asked_by_googles_client, sim.url)
    assert len(chunks) == 5
    for answer in ([whole], chunks):
        parts = [part for chunk in answer for part in chunk.parts or ()]
        assert "".join(part.text or "" for part in parts if not part.thought) == "Hello"
        assert "".join(part.text or "" for part in parts if part.thought) == "Hm."
        calls = [part.function_call for part in parts if part.function_call]
        assert [(call.id, call.name, call.args) for call in calls] == [("c1", "get_time", {"zone": "UTC"})]
        assert answer[-1].candidates
        assert answer[-1].candidates[0].finish_reason is types.FinishReason.STOP
        assert answer[-1].usage_metadata
        assert answer[-1].usage_metadata.thoughts_token_count == 1


async def test_googles_own_client_takes_the_simulators_error_for_what_it_is(sim: Simulator) -> None:
    sim.script(Script(fault=INVALID_KEY))
    with pytest.raises(errors.ClientError) as caught:
        await asyncio.to_thread(asked_by_googles_client, sim.url)
    assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")
