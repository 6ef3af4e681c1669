"""Runs of chat jobs: followers and readers see a response, and beside it stands the completion."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from eurouter.v1 import chat_pb2
from eurouter.v1 import response_object_pb2 as object_pb
from eurouter.v1 import responses_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers import openai_chat
from service.api.chat.background import ChatJobs
from service.api.chat.completion import whole
from service.api.chat.handler import ChatHandler
from service.api.responses.submission import Submission
from service.domain.calls import CallContext, Principal
from service.domain.events import (
    AudioDelta,
    Event,
    Extra,
    Finish,
    FinishReason,
    MessageStart,
    OpaqueAnnotation,
    OpaqueItem,
    OpaqueProgress,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    Start,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
    UrlCitation,
    Usage,
)
from service.domain.failure import Failure, FailureKind
from service.domain.job_store import Usage as Charged
from service.domain.jobs import JobState
from tests.contract.sample import decode
from tests.support.chats import STREAMS, request
from tests.support.recorded import Exchange, read_exchanges
from tests.support.upstreams import Hang, Pause, Script, fails, says
from tests.support.working import World, until
from workers.chat_run import ChatAnswer

NOW: Final = 1_700_000_000
START: Final = Start("id-1", "model", 12, "fp", "flex")
STOP: Final = Finish(FinishReason.STOP, "stop")
USED: Final = Usage(5, 7, 12, cached_tokens=2, reasoning_tokens=3, details=(("prompt.audio_tokens", 1),))
HI: Final = TokenLogprob("hi", -0.5, (104, 105))
FUNCTION: Final = {"type": "function", "function": {"name": "f"}}


def context(owner: str = "local") -> CallContext:
    return CallContext(Principal(owner), "r", time.monotonic() + 60, "00-aa-bb-01")


async def accept(
    world: World, *, streaming: bool = False, submission: Submission | None = None, **fields: Any
) -> str:
    """Accepts a chat job; its id."""
    jobs = ChatJobs(
        world.preparer.catalog,
        world._router,
        world.preparer.settings,
        wall_clock=world.preparer.wall_clock,
        new_id=world._new_id,
    )
    new = await jobs.job(request(**fields), submission or Submission(), context(), streaming=streaming)
    await world.store.accept(new)
    return new.response.id


def stored(world: World) -> pb.StoredResponseBody:
    return pb.StoredResponseBody.FromString(world.fake.row().response)


def arms(world: World) -> list[str]:
    events = world.fake.read()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    return [str(event.WhichOneof("event")) for event in events]


def answers(*events: Event) -> Script:
    return Script((list(events),))


async def made(*steps: Sequence[Event], **fields: Any) -> World:
    """A world in which a chat job was answered so."""
    world = World(Script(tuple(steps)))
    await accept(world, **fields)
    await world.drained(1)
    return world


async def at_the_door(script: Script, **fields: Any) -> chat_pb2.ChatCompletion:
    """What the chat door answers when the provider says the same."""
    world = World(script)
    handler = ChatHandler(
        world.preparer.catalog, world._router, wall_clock=world.preparer.wall_clock, new_id=world._new_id
    )
    return (await handler.create(request(**fields), context())).completion


async def test_a_chat_job_makes_a_response_and_its_completion() -> None:
    world = await made([START, TextDelta("Hello")], [TextDelta(" there"), STOP, USED])
    assert arms(world) == [
        "created",
        "queued",
        "in_progress",
        "output_item_added",
        "output_item_done",
        "completed",
    ]
    body = stored(world)
    response = body.response
    assert response == world.fake.read()[-1].completed.response
    assert response.output[0].message.content[0].output_text.text == "Hello there"
    assert (response.model, response.usage.output_tokens) == ("model", 7)
    completion = body.chat_completion
    assert response.usage.cost == completion.usage.cost == "0.000012"
    assert completion.id == f"chatcmpl-{response.id[5:]}"
    assert (completion.object, completion.created, completion.model) == ("chat.completion", NOW, "model")
    assert completion.provider == "alpha"
    assert completion.choices[0].message.content == "Hello there"
    assert completion.choices[0].finish_reason == chat_pb2.FINISH_REASON_STOP
    row = world.fake.row()
    assert (row.job.state, row.usage) == (JobState.COMPLETED, Charged("vendor/model", 5, 7))


async def test_with_stream_followers_see_every_word() -> None:
    world = await made([START, TextDelta("Hel")], [TextDelta("lo"), STOP], streaming=True, stream=True)
    assert "".join(event.output_text_delta.delta for event in world.fake.read()) == "Hello"
    assert stored(world).chat_completion.choices[0].message.content == "Hello"


ANSWERS: Final[dict[str, tuple[Event, ...]]] = {
    "text with log probabilities": (TextDelta("hi", 0, (HI,)), STOP, USED),
    "nothing": (TextDelta(""), STOP, USED),
    "no word at all": (STOP,),
    "a refusal": (RefusalDelta("No", 0, (HI,)), RefusalDelta("."), STOP),
    "reasoning": (ReasoningDelta("h"), ReasoningDelta("m"), TextDelta("so"), STOP),
    "sealed reasoning": (
        ReasoningDelta("hm"),
        ReasoningSeal("anthropic-claude-v1", "sig", id="r1"),
        ReasoningDelta("short", kind="summary"),
        ReasoningSeal("openai-responses-v1", encrypted="xyz"),
        TextDelta("so"),
        STOP,
    ),
    "calls": (
        ToolCallStart(0, "c0", "f"),
        ToolCallDelta(0, '{"a"'),
        ToolCallStart(1, "c1", "run", "custom"),
        ToolCallDelta(0, ":1}"),
        ToolCallDelta(1, "ls"),
        Finish(FinishReason.TOOL_CALLS, "tool_calls"),
    ),
    "sources": (
        TextDelta("see X"),
        UrlCitation("https://x.eu", "X", 4, 5),
        OpaqueAnnotation("other", '{"type":"other"}'),
        STOP,
    ),
    "what a provider adds": (
        TextDelta("hi"),
        Extra("answer", (("x_groq", "{}"),)),
        Extra("choice", (("content_filter_results", "{}"), ("native_finish_reason", '"eos"'))),
        Extra("message", (("mood", '"good"'),)),
        STOP,
    ),
    "items that the provider made": (
        OpaqueItem(
            0, "openai_responses", "web_search_call", '{"type":"web_search_call","status":"x"}', done=False
        ),
        OpaqueProgress(0, "response.web_search_call.searching", "{}"),
        OpaqueItem(0, "openai_responses", "web_search_call", '{"type":"web_search_call","status":"completed"}'),
        MessageStart("final_answer"),
        TextDelta("hi"),
        STOP,
    ),
    "audio that nobody asked for": (AudioDelta("aGk=", "hi", "audio-1", 17), STOP),
    "the limit": (TextDelta("so f"), Finish(FinishReason.LENGTH, "length"), USED),
    "a filter": (TextDelta("so f"), Finish(FinishReason.CONTENT_FILTER, "content_filter")),
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("streaming", [False, True])
async def test_every_kind_of_answer_is_stored_as_the_chat_door_gives_it(name: str, streaming: bool) -> None:
    events = (START, *ANSWERS[name])
    world = await made(*([event] for event in events), streaming=streaming, stream=streaming)
    expected = await at_the_door(answers(*events))
    completion = stored(world).chat_completion
    assert completion.id.startswith("chatcmpl-")
    expected.id, expected.created = completion.id, completion.created
    assert completion == expected
    cut = name in ("the limit", "a filter")
    assert world.fake.row().job.state is (JobState.INCOMPLETE if cut else JobState.COMPLETED)


def test_the_answers_hold_every_kind_of_event() -> None:
    seen = {type(event) for events in ANSWERS.values() for event in (START, *events)}
    assert seen == set(Event.__args__)


async def test_a_request_of_old_style_is_answered_in_old_style() -> None:
    call = (ToolCallStart(0, "c0", "f"), ToolCallDelta(0, "{}"), Finish(FinishReason.TOOL_CALLS, "tool_calls"))
    world = await made([START, *call], functions=[{"name": "f"}])
    choice = stored(world).chat_completion.choices[0]
    assert (choice.message.function_call.name, choice.finish_reason) == ("f", chat_pb2.FINISH_REASON_FUNCTION_CALL)
    assert stored(world).response.output[0].function_call.name == "f"


@pytest.mark.parametrize(
    "events",
    [
        (TextDelta("one"), TextDelta("two", 1), STOP),
        (TextDelta("hi"), STOP, Usage(2**40, 1, 1)),
        (ToolCallDelta(3, "{}"), STOP),
    ],
)
async def test_an_answer_that_a_response_has_no_room_for_fails_the_job_and_tells_nothing_of_it(
    events: tuple[Event, ...],
) -> None:
    world = World(answers(START, *events))
    await accept(world)
    for attempt in range(1, 6):
        await world.drained(attempt)
        world.clock.forward(3600)
    assert world.telemetry.outcomes[-1] == "failed"
    assert world.telemetry.crashes == []
    body = stored(world)
    assert not body.HasField("chat_completion")
    assert body.response.status == object_pb.RESPONSE_STATUS_FAILED
    assert "can't be passed on" in body.response.error.message


async def test_a_provider_that_ends_with_an_error_leaves_a_failed_response_and_no_completion() -> None:
    world = await made([START, TextDelta("so f"), Finish(FinishReason.ERROR, "error")])
    assert (arms(world)[-1], stored(world).HasField("chat_completion")) == ("failed", False)
    assert world.fake.row().job.state is JobState.FAILED


async def test_a_provider_that_asks_for_time_puts_the_job_off_and_one_that_fails_is_asked_again() -> None:
    world = World([fails(FailureKind.RATE_LIMITED, retry_after=40.0), fails(FailureKind.OVERLOADED), says("hi")])
    await accept(world)
    await world.drained(1)
    world.clock.forward(41)
    await world.drained(2)
    world.clock.forward(3600)
    await world.drained(3)
    assert world.telemetry.outcomes == ["put_off", "retried", "completed"]
    assert stored(world).chat_completion.choices[0].message.content == "hi"


async def test_after_a_loss_the_completion_holds_what_the_last_run_made_and_nothing_before_it() -> None:
    # Long enough for the words to be logged.
    lost: list[Event] = [START, TextDelta("lost words")]
    cut = Script((lost, Pause(0.2), Failure(FailureKind.CUT, "the connection was lost")))
    world = World([cut, says("new words")])
    await accept(world, streaming=True)
    await world.drained(1)
    world.clock.forward(3600)
    await world.drained(2)
    assert "restarted" in arms(world)
    assert stored(world).chat_completion.choices[0].message.content == "new words"


async def test_a_job_that_is_too_late_fails_without_a_call_and_without_a_completion() -> None:
    world = World()
    await accept(world, submission=Submission(start_within=5.0))
    world.clock.forward(6)
    await world.drained(1)
    assert stored(world).response.error.code == "expired"
    assert not stored(world).HasField("chat_completion")
    assert world.upstream.asked() == []


async def test_a_cancelled_job_stops_its_call_and_gets_no_completion() -> None:
    world = World(Script(([START, TextDelta("so f")], Hang())))
    job = await accept(world)
    async with world.working():
        await until(lambda: world.upstream.open_streams == 1)
        body = stored(world)
        state = await world.fake.job("local", job)
        assert state is not None
        body.response.status = object_pb.RESPONSE_STATUS_CANCELLED
        assert await world.fake.cancel("local", job, state[1], body.SerializeToString(), b"")
        await until(lambda: world.upstream.open_streams == 0)
    assert not stored(world).HasField("chat_completion")


async def test_a_job_runs_under_the_filters_that_held_when_it_was_accepted() -> None:
    world = World()
    await accept(world, provider={"data_residency": "FR"}, tools=[FUNCTION])
    row = world.fake.row()
    body = pb.StoredResponseBody.FromString(row.response)
    body.filters.data_residency[:] = ["de"]
    row.response = body.SerializeToString()
    await world.drained(1)
    assert stored(world).response.error.code == "server_error"
    assert "de" in stored(world).response.error.message
    assert world.upstream.asked() == []


async def test_a_job_that_would_have_its_data_kept_beyond_its_filters_asks_no_provider() -> None:
    world = World()
    await accept(world, store=True)
    row = world.fake.row()
    body = pb.StoredResponseBody.FromString(row.response)
    body.filters.max_retention_days = 7
    row.response = body.SerializeToString()
    await world.drained(1)
    assert "store: true needs storage" in stored(world).response.error.message
    assert world.upstream.asked() == []


async def test_the_model_is_asked_what_the_chat_request_says() -> None:
    world = await made([START, TextDelta("hi"), STOP], seed=5, stop=["x"], logit_bias={"1": 2})
    asked = world.upstream.generations[0]
    assert (asked.seed, asked.stop, asked.logit_bias) == (5, ("x",), {"1": 2})
    assert world.upstream.contexts[0].background


def answer_of(events: Sequence[Event], batch: int) -> ChatAnswer:
    """The answer of a chat job whose events came in batches of so many."""
    world = World()
    answer = ChatAnswer(request(), world.preparer, Principal("local"), streaming=False)
    for at in range(0, len(events), batch):
        answer.add(events[at : at + batch])
    return answer


def completion_of(answer: ChatAnswer) -> chat_pb2.ChatCompletion:
    world = World()
    chosen = world._router.open(answer.asked.generation, answer.asked.needs, answer.asked.selection, context())
    return answer.completion(chosen, object_pb.Response(id="resp_" + "1" * 36, created_at=NOW))


def expected_of(events: Sequence[Event]) -> chat_pb2.ChatCompletion:
    made = whole(events, provider="alpha", model="model", completion_id="", now=NOW)
    made.id, made.created = "chatcmpl-" + "1" * 36, NOW
    return made


@given(STREAMS, st.integers(1, 4))
def test_gathering_an_answer_changes_nothing_of_it(events: list[Event], batch: int) -> None:
    try:
        expected = expected_of(events)
    except ValueError:
        with pytest.raises(ValueError, match=r".*"):
            completion_of(answer_of(events, batch))
        return
    assert completion_of(answer_of(events, batch)) == expected


def test_a_long_answer_is_kept_small_and_whole() -> None:
    words = [TextDelta(f"word{number} ", 0, (HI,)) for number in range(50_000)]
    events: list[Event] = [START, *words, STOP, USED]
    answer = answer_of(events, 7)
    assert len(answer._events) < 3000
    assert completion_of(answer) == expected_of(events)


def _events(exchange: Exchange) -> list[Event]:
    body = exchange.body.encode()
    dialect = openai_chat.DIALECT
    return decode(dialect, [body]) if exchange.document is None else list(dialect.read(body))


@pytest.mark.parametrize("kind", ["openai.chat", "azure.chat", "compat.chat", "mistral.chat"])
def test_every_recorded_answer_is_gathered_to_the_completion_that_the_door_gives(kind: str, shared: Path) -> None:
    looked_at = 0
    for exchange in read_exchanges(shared, kind):
        if exchange.status == 200 and exchange.body and "error" not in (exchange.document or {}):
            events = _events(exchange)
            assert completion_of(answer_of(events, 3)) == expected_of(events), str(exchange)
            looked_at += 1
    assert looked_at > 15


async def test_events_of_a_run_that_showed_nothing_are_no_part_of_the_completion() -> None:
    lost = Script(([Start("id-lost", "lost")], Failure(FailureKind.CUT, "the connection was lost")))
    world = World([lost, says("hi")])
    await accept(world)
    await world.drained(1)
    world.clock.forward(3600)
    await world.drained(2)
    assert world.telemetry.outcomes == ["retried", "completed"]
    assert stored(world).chat_completion.model == "model"
