"""The chat handler over the real router: answers, streams, the commit point, cancellation. Scripted upstreams."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from eurouter.v1 import chat_pb2 as pb

from adapters.health import OutcomeHealth
from service.api.chat.handler import ChatHandler, ChatSettings, ChatStream
from service.domain.catalog import Catalog
from service.domain.errors import Reason, ServiceError
from service.domain.events import Event, Finish, FinishReason, ReasoningDelta, Start, TextDelta, Usage
from service.domain.failure import Failure, FailureKind
from service.domain.preferences import Floor
from service.router import Router
from tests.support.catalogs import AMERICAN, catalog, endpoint, model, provider
from tests.support.chats import request
from tests.support.upstreams import (
    FakeClock,
    FakeUpstream,
    Hang,
    RecordingTelemetry,
    Script,
    context,
    fails,
    says,
)

EUROPE, AMERICA = endpoint("alpha", price="1"), endpoint(provider("beta", facts=AMERICAN), price="2")
CUT = Failure(FailureKind.CUT, "the stream was cut")


class Rows:
    """A catalogue source with one catalogue."""

    def current(self) -> Catalog:
        return catalog(model("vendor/model", EUROPE, AMERICA))


class World:
    """A handler with everything around it."""

    def __init__(
        self,
        alpha: Script | Sequence[Script],
        beta: Script | Sequence[Script] = (),
        settings: ChatSettings | None = None,
        window: float = 0.0,
    ) -> None:
        self.clock = FakeClock()
        scripts = {EUROPE.id: alpha, AMERICA.id: beta or says("from beta")}
        self.upstream = FakeUpstream(self.clock, scripts)
        router = Router(
            self.upstream,
            OutcomeHealth(clock=self.clock),
            RecordingTelemetry(),
            clock=self.clock,
            sleep=self.clock.sleep,
        )
        self.handler = ChatHandler(
            Rows(),
            router,
            lambda: settings or ChatSettings(),
            wall_clock=lambda: 1700000000.7,
            new_id=lambda: "42",
            window=lambda: window,
        )

    def stream(self, **fields: object) -> ChatStream:
        return self.handler.stream(request(**fields), context())


async def drain(stream: ChatStream) -> list[pb.ChatCompletionChunk]:
    chunks: list[pb.ChatCompletionChunk] = []
    while more := await stream.next():
        chunks += more
    assert await stream.next() == ()
    return chunks


def text(chunks: Sequence[pb.ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content for chunk in chunks for choice in chunk.choices)


async def test_a_whole_answer_carries_the_provider_and_the_decision() -> None:
    world = World(says("Hel", "lo"))
    answer = await world.handler.create(request(), context())
    completion = answer.completion
    assert completion.choices[0].message.content == "Hello"
    assert completion.choices[0].finish_reason == pb.FINISH_REASON_STOP
    assert (completion.id, completion.model, completion.created) == ("id-1", "model", 1700000000)
    assert completion.provider == answer.decision.provider_slug == "alpha"
    assert completion.usage.total_tokens == 12


async def test_an_answer_without_an_id_or_a_model_gets_ours() -> None:
    world = World(Script(([Start("", ""), TextDelta("a")],)))
    completion = (await world.handler.create(request(), context())).completion
    assert (completion.id, completion.model) == ("chatcmpl-42", "model")


async def test_a_stream_starts_with_the_decision_and_ends_with_the_usage_that_was_asked_for() -> None:
    world = World(says("Hel", "lo"))
    stream = world.stream(stream_options={"include_usage": True})
    decision = await stream.start()
    assert decision.provider_slug == "alpha"
    chunks = await drain(stream)
    await stream.aclose()
    assert text(chunks) == "Hello"
    assert [len(chunk.choices) for chunk in chunks] == [1, 1, 1, 0]
    assert chunks[-1].usage.total_tokens == 12
    assert chunks[-2].choices[0].finish_reason == pb.FINISH_REASON_STOP
    assert {chunk.id for chunk in chunks} == {"id-1"}
    assert world.upstream.open_streams == 0


async def test_a_stream_may_be_read_without_waiting_for_its_start() -> None:
    assert text(await drain(World(says("a", "b")).stream())) == "ab"


async def test_the_flag_in_the_body_must_not_contradict_the_method() -> None:
    world = World(says("a"))
    for wrong in (world.handler.create(request(stream=True), context()), None):
        with pytest.raises(ServiceError) as caught:
            if wrong is not None:
                await wrong
            else:
                world.stream(stream=False)
        assert [violation.path for violation in caught.value.violations] == ["stream"]
        assert caught.value.reason is Reason.INVALID_REQUEST
    assert text(await drain(world.stream(stream=True))) == "a"
    assert world.upstream.asked() == [EUROPE.id]


async def test_bad_requests_and_unknown_models_never_reach_an_upstream() -> None:
    world = World(says("a"))
    for fields, reason in (
        ({"temperature": 9}, Reason.INVALID_REQUEST),
        ({"model": "vendor/none"}, Reason.MODEL_NOT_FOUND),
        ({"top_k": 5}, Reason.UNKNOWN_FIELD),
        ({"provider": {"data_residency": "de"}}, Reason.NO_ENDPOINT_ALLOWED),
    ):
        with pytest.raises(ServiceError) as whole:
            await world.handler.create(request(**fields), context())
        with pytest.raises(ServiceError) as streamed:
            world.stream(**fields)
        assert whole.value.reason is streamed.value.reason is reason
    assert world.upstream.journal == []


async def test_the_operators_floor_binds_every_call() -> None:
    floor = ChatSettings(floor=Floor(data_residency=("us",)))
    world = World(says("from alpha"), says("from beta"), floor)
    assert (await world.handler.create(request(), context())).decision.provider_slug == "beta"
    with pytest.raises(ServiceError) as caught:
        await world.handler.create(request(provider={"data_residency": "eu"}), context())
    assert caught.value.reason is Reason.NO_ENDPOINT_ALLOWED


async def test_a_failure_before_the_first_output_falls_back_and_start_tells_the_final_decision() -> None:
    world = World(fails(FailureKind.OVERLOADED), says("from beta"))
    stream = world.stream()
    decision = await stream.start()
    assert (decision.provider_slug, decision.fallback_count) == ("beta", 1)
    chunks = await drain(stream)
    assert {chunk.provider for chunk in chunks} == {"beta"}


async def test_start_raises_the_real_error_when_every_attempt_failed() -> None:
    world = World(fails(FailureKind.OVERLOADED), fails(FailureKind.SERVER_ERROR))
    stream = world.stream()
    with pytest.raises(ServiceError) as caught:
        await stream.start()
    assert caught.value.reason is Reason.PROVIDER_UNAVAILABLE
    await stream.aclose()
    assert world.upstream.open_streams == 0


async def test_a_cut_stream_is_an_error_never_a_clean_end() -> None:
    world = World(Script(([Start("id", "m"), TextDelta("a")], CUT)))
    stream = world.stream()
    await stream.start()
    assert text(await stream.next()) == "a"
    with pytest.raises(ServiceError) as caught:
        await stream.next()
    assert caught.value.reason is Reason.PROVIDER_BROKEN_ANSWER
    await stream.aclose()
    assert world.upstream.open_streams == 0


async def test_start_waits_no_longer_than_the_commit_wait_and_loses_nothing() -> None:
    gate = asyncio.Event()

    world = World(says("late"), settings=ChatSettings(commit_wait=0.02))
    play = world.upstream.play

    async def gated(step: object, endpoint: object) -> object:
        await gate.wait()
        return await play(step, endpoint)  # type: ignore[arg-type]

    world.upstream.play = gated  # type: ignore[assignment, method-assign]
    stream = world.stream()
    began = asyncio.get_running_loop().time()
    decision = await stream.start()
    assert 0.015 < asyncio.get_running_loop().time() - began < 1.0
    assert decision.provider_slug == "alpha"
    gate.set()
    assert text(await drain(stream)) == "late"
    await stream.aclose()


async def test_a_fallback_after_the_commit_wait_shows_in_the_chunks_and_in_the_final_decision() -> None:
    gate = asyncio.Event()
    world = World(fails(FailureKind.SERVER_ERROR), says("from beta"), ChatSettings(commit_wait=0.0))
    opened = world.upstream.open

    async def gated(*args: object) -> object:
        await gate.wait()
        return await opened(*args)  # type: ignore[arg-type]

    world.upstream.open = gated  # type: ignore[assignment, method-assign]
    stream = world.stream()
    assert (await stream.start()).provider_slug == "alpha"
    gate.set()
    assert {chunk.provider for chunk in await drain(stream)} == {"beta"}
    assert stream.decision.provider_slug == "beta"


@pytest.mark.parametrize("commit_wait", [0.01, 15.0])
async def test_closing_while_nothing_came_ends_the_upstream_call(commit_wait: float) -> None:
    world = World(Script(([Start("id", "m")], Hang())), settings=ChatSettings(commit_wait=commit_wait))
    stream = world.stream()
    starting = asyncio.create_task(_start(stream))
    await asyncio.sleep(0.05)
    assert starting.done() == (commit_wait < 1)
    starting.cancel()
    await asyncio.wait((starting,))
    await stream.aclose()
    await stream.aclose()
    assert world.upstream.open_streams == 0
    assert await stream.next() == ()


async def _start(stream: ChatStream) -> None:
    await stream.start()


async def test_a_caller_who_leaves_in_the_middle_ends_the_upstream_call() -> None:
    world = World(Script(([Start("id", "m"), TextDelta("a")], Hang())))
    stream = world.stream()
    await stream.start()
    await stream.next()
    reading = asyncio.create_task(_next(stream))
    await asyncio.sleep(0.01)
    reading.cancel()
    await asyncio.wait((reading,))
    await stream.aclose()
    assert reading.cancelled()
    assert world.upstream.open_streams == 0


async def _next(stream: ChatStream) -> None:
    await stream.next()


async def test_a_stream_costs_one_task() -> None:
    world = World(says(*"abcdefgh"))
    before = len(asyncio.all_tasks())
    most = 0
    stream = world.stream()
    await stream.start()
    while await stream.next():
        most = max(most, len(asyncio.all_tasks()) - before)
    await stream.aclose()
    assert most == 0


async def test_deltas_of_one_read_leave_as_one_chunk() -> None:
    batch: list[Event] = [
        Start("id", "m"),
        ReasoningDelta("h"),
        ReasoningDelta("m"),
        TextDelta("a"),
        TextDelta("b"),
    ]
    world = World(Script((batch, [TextDelta("c"), TextDelta("d")], [Finish(FinishReason.STOP)])))
    chunks = await drain(world.stream())
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert [(d.reasoning, d.content) for d in deltas] == [("hm", ""), ("", "ab"), ("", "cd"), ("", "")]


async def test_an_answer_that_the_contract_has_no_room_for_is_the_providers_fault_and_not_quoted() -> None:
    events: list[Event] = [Start("id", "m"), TextDelta("secret"), Usage(2**40, 1, 2**40)]
    world = World(Script((events,)))
    with pytest.raises(ServiceError) as caught:
        await world.handler.create(request(), context())
    assert caught.value.reason is Reason.PROVIDER_BROKEN_ANSWER
    assert "secret" not in caught.value.message
    stream = world.stream(stream_options={"include_usage": True})
    await stream.start()
    await stream.next()
    with pytest.raises(ServiceError, match="can't be passed on"):
        await stream.next()
    await stream.aclose()
    assert world.upstream.open_streams == 0
