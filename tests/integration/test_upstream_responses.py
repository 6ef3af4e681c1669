"""The openai_responses dialect through real sockets, against the simulator's Responses API and its faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from openai import AsyncOpenAI

from adapters.providers.openai_responses import DIALECT
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
    insufficient_quota,
    rate_limited,
)
from adapters.providers.simulator import Reason as SimulatedReason
from adapters.providers.upstream import HttpUpstream
from service.domain.calls import CallContext, Principal
from service.domain.catalog import Auth, Endpoint, Facts, Price, Provider, Timeouts
from service.domain.events import Event, Folded, ReasoningSeal
from service.domain.failure import FailureKind, UpstreamError
from service.domain.fold import fold
from service.domain.generation import (
    FunctionTool,
    Generation,
    Reasoning,
    Role,
    Text,
    ToolResult,
    Turn,
)
from service.domain.generation import ToolCall as Called

ASK = Generation((Turn(Role.USER, (Text("Hello"),)),), reasoning_effort="low")
TOOLS = (FunctionTool("get_weather", parameters='{"type":"object","properties":{"city":{"type":"string"}}}'),)


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        yield simulator


@pytest.fixture
async def up() -> AsyncIterator[HttpUpstream]:
    upstream = HttpUpstream({"openai_responses": DIALECT}, Secrets({"KEY": "sk-1"}))
    yield upstream
    await upstream.aclose()


def row(sim: Simulator) -> Endpoint:
    provider = Provider(
        "acme",
        "Acme",
        "openai_responses",
        f"{sim.url}/v1",
        auth=Auth("bearer", secret="env:KEY"),
        timeouts=Timeouts(connect=2, first_byte=0.5, idle=0.5, total=5),
    )
    return Endpoint("acme/m", provider, "v/m", "m", Price(), Facts(), DIALECT.expressible)


def context() -> CallContext:
    return CallContext(Principal("local"), "req-1", time.monotonic() + 10)


async def streamed(up: HttpUpstream, endpoint: Endpoint, generation: Generation = ASK) -> list[Event]:
    source = await up.open(endpoint, generation, context())
    events: list[Event] = []
    try:
        while batch := await source.next():
            events += batch
    finally:
        await source.aclose()
    return events


def said(folded: Folded) -> tuple[object, ...]:
    (choice,) = folded.choices
    reasoning = [(piece.text, piece.kind, piece.seal and piece.seal.encrypted) for piece in choice.reasoning]
    return choice.text, reasoning, choice.calls, choice.finish, folded.usage, folded.extra


async def test_an_answer_says_the_same_whole_and_streamed(sim: Simulator, up: HttpUpstream) -> None:
    sim.script(
        Script(
            text=("Hel", "lo", "!"),
            reasoning=("I ", "think."),
            tool_calls=(ToolCall("call_1", "get_weather", '{"city":"Rome"}'),),
        )
    )
    whole = fold(await up.call(row(sim), ASK, context()))
    told = fold(await streamed(up, row(sim)))
    assert said(told) == said(whole)
    # The simulator gives each answer ids of its own.
    assert told.start.id != whole.start.id
    (choice,) = whole.choices
    assert (choice.text, choice.calls[0].arguments) == ("Hello!", '{"city":"Rome"}')
    assert [piece.text for piece in choice.reasoning] == ["I think.", ""]


async def test_a_tool_loop_brings_reasoning_call_and_result_back_in_order(
    sim: Simulator, up: HttpUpstream
) -> None:
    sim.enqueue(
        Script(reasoning="Rome.", tool_calls=(ToolCall("call_1", "get_weather", '{"city":"Rome"}'),)),
        Script(text="25 °C."),
    )
    asked = Generation(ASK.turns, TOOLS, reasoning_effort="low")
    first: Folded = fold(await streamed(up, row(sim), asked))
    (choice,) = first.choices
    summary, sealed = choice.reasoning
    assert isinstance(sealed.seal, ReasoningSeal)
    back = Turn(
        Role.ASSISTANT,
        (
            Reasoning(summary=summary.text),
            Reasoning(encrypted=sealed.seal.encrypted, format=sealed.seal.format, id=sealed.seal.id),
            Called(choice.calls[0].id, choice.calls[0].name, choice.calls[0].arguments),
        ),
    )
    result = Turn(Role.TOOL, (ToolResult("call_1", (Text("25"),)),))
    second = fold(await streamed(up, row(sim), Generation((*ASK.turns, back, result), TOOLS)))
    assert second.choices[0].text == "25 °C."
    sent = [call.body for call in sim.calls]
    assert all(body["store"] is False for body in sent if body is not None)
    assert sent[1] is not None
    assert [item["type"] for item in sent[1]["input"]] == [
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
    ]
    assert sent[1]["input"][1]["encrypted_content"] == sealed.seal.encrypted
    assert sent[1]["include"] == ["reasoning.encrypted_content"]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Cut(), FailureKind.CUT),
        (Cut(after_tokens=0), FailureKind.CUT),
        (Reset(), FailureKind.CUT),
        (Stall(), FailureKind.TIMEOUT),
        (SlowFirstByte(5), FailureKind.TIMEOUT),
        (SlowFirstByte(5, headers_first=True), FailureKind.TIMEOUT),
        (Garbage(after_tokens=2), FailureKind.PROTOCOL),
        (ErrorIn200(reason=SimulatedReason.SERVER_ERROR), FailureKind.SERVER_ERROR),
        (ErrorIn200(after_tokens=2, reason=SimulatedReason.RATE_LIMITED), FailureKind.RATE_LIMITED),
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
    failure = caught.value.failure
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


def spoken(events: Sequence[object]) -> str:
    return "".join(
        getattr(e, "delta", "") for e in events if getattr(e, "type", "") == "response.output_text.delta"
    )


async def test_openais_own_client_reads_the_simulators_answers(sim: Simulator) -> None:
    sim.script(Script(text="Hello over there.", reasoning="Hm."))
    async with AsyncOpenAI(base_url=f"{sim.url}/v1", api_key="sk-1", max_retries=0) as client:
        answer = await client.responses.create(model="m", input="Hi", store=False)
        events = [event async for event in await client.responses.create(model="m", input="Hi", stream=True)]
    assert answer.output_text == spoken(events) == "Hello over there."
    assert (answer.to_dict()["store"], answer.status) == (False, "completed")
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == answer.output_text
