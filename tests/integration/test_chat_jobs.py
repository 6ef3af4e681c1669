"""Chat jobs on both databases, by the whole service: read and followed as responses, with their completions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from eurouter.v1 import chat_pb2, response_events_pb2
from eurouter.v1 import responses_pb2 as pb

from adapters.providers.simulator import Script, ToolCall, rate_limited
from service.api.chat.background import ChatJobs
from service.api.responses.submission import Submission
from service.domain.calls import CallContext, Principal
from service.domain.idempotency import Conflict, Repeated
from service.domain.job_store import Accepted, NewJob
from service.engine import new_id
from service.wire import parse
from tests.support.background import ended, follow
from tests.support.responses_door import ResponsesDoor, asked, responses_door
from tests.support.running import ask, running_child, until

LONG: Final = Script(tokens=1000, pace=0.02)
TOOL: Final = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
OWNER: Final = "local"


@pytest.fixture
async def door(tmp_path: Path, database_url: str) -> AsyncIterator[ResponsesDoor]:
    async with responses_door(tmp_path, {"database": {"url": database_url}}) as opened:
        yield opened


async def job_of(
    door: ResponsesDoor,
    request: chat_pb2.CreateChatCompletionRequest,
    key: str | None = None,
    response_id: str | None = None,
) -> NewJob:
    """The job that a chat request becomes in this service."""
    service = door.up.service
    jobs = ChatJobs(
        service.catalog,
        service.router,
        service.live.responses,
        wall_clock=time.time,
        new_id=new_id,
        restart_on_loss=service.live.restart_on_loss,
    )
    context = CallContext(Principal(OWNER), "r", time.monotonic() + 60, door="kafka")
    return await jobs.job(request, Submission(key), context, streaming=request.stream, response_id=response_id)


async def submit(
    door: ResponsesDoor, request: chat_pb2.CreateChatCompletionRequest, key: str | None = None
) -> str:
    """The id of a chat request that is accepted as a job."""
    new = await job_of(door, request, key)
    assert await door.up.service.database.jobs.accept_many([new]) == [Accepted()]
    return new.response.id


async def completion(door: ResponsesDoor, response_id: str) -> chat_pb2.ChatCompletion | None:
    """What is stored for the job's result, None when there is none."""
    row = await door.up.service.database.responses.get(OWNER, response_id)
    assert row is not None
    body = pb.StoredResponseBody.FromString(row.response)
    return body.chat_completion if body.HasField("chat_completion") else None


async def test_a_chat_job_is_a_response_at_both_doors_and_has_its_completion(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(text="one two"))
    made = await submit(door, ask("sim/alpha", "hello", max_tokens=9, metadata={"team": "blue"}))
    found = await ended(door, made)
    assert (found["status"], found["background"], found["store"]) == ("completed", True, True)
    assert found["output"][0]["content"][0]["text"] == "one two"
    assert (found["max_output_tokens"], found["metadata"]) == (9, {"team": "blue"})
    typed = await door.up.responses.GetResponse(pb.GetResponseRequest(response_id=made))
    assert typed.output[0].message.content[0].output_text.text == "one two"
    result = await completion(door, made)
    assert result is not None
    assert result.choices[0].message.content == "one two"
    assert (result.id, result.created) == (f"chatcmpl-{made[5:]}", found["created_at"])
    items = (await door.call("GET", f"/{made}/input_items")).json["data"]
    assert [(item["role"], item["content"][0]["text"]) for item in items] == [("user", "hello")]


async def test_it_is_followed_over_both_doors_word_by_word_when_it_asks_for_a_stream(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(tokens=20, pace=0.01))
    made = await submit(door, ask("sim/alpha", stream=True, stream_options={"include_usage": True}))
    followed = await follow(door, made)
    assert followed.types[:3] == ["response.created", "response.queued", "response.in_progress"]
    assert followed.types[-1] == "response.completed"
    assert followed.text == followed.response["output"][0]["content"][0]["text"]
    call = door.up.responses.FollowResponse(pb.FollowResponseRequest(response_id=made))
    typed: list[response_events_pb2.ResponseStreamEvent] = [event async for event in call]
    assert [event.sequence_number for event in typed] == list(range(len(followed.events)))
    assert "".join(event.output_text_delta.delta for event in typed) == followed.text
    result = await completion(door, made)
    assert result is not None
    assert result.choices[0].message.content == followed.text


async def test_without_a_stream_items_and_states_are_kept_for_followers(door: ResponsesDoor) -> None:
    made = await submit(door, ask("sim/alpha"))
    await ended(door, made)
    types = (await follow(door, made)).types
    assert types[-3:] == ["response.output_item.added", "response.output_item.done", "response.completed"]
    assert "response.output_text.delta" not in types


SCRIPTS: Final[dict[str, tuple[Script, dict[str, Any]]]] = {
    "text": (Script(text="one two"), {}),
    "log probabilities": (Script(text="one two"), {"logprobs": True, "top_logprobs": 1}),
    "reasoning": (Script(text="so", reasoning="hm, well"), {}),
    "a refusal": (Script(refusal="No."), {}),
    "calls": (
        Script(tool_calls=(ToolCall("c0", "look_up", '{"a":1}'), ToolCall("c1", "look_up", '{"a":2}'))),
        {"tools": [TOOL]},
    ),
    "a call of old style": (
        Script(tool_calls=(ToolCall("c0", "look_up", '{"a":1}'),)),
        {"functions": [{"name": "look_up"}]},
    ),
    "the limit": (Script(text="so f", finish_reason="length"), {}),
    "a filter": (Script(text="so f", finish_reason="content_filter"), {}),
}


# What an answer of the other dialect can be.
ANTHROPIC: Final = ("text", "reasoning", "calls", "a call of old style", "the limit")


@pytest.mark.parametrize(
    ("model", "name"), [*(("sim/alpha", name) for name in SCRIPTS), *(("sim/beta", name) for name in ANTHROPIC)]
)
async def test_its_completion_is_what_the_chat_door_answers(tmp_path: Path, name: str, model: str) -> None:
    script, fields = SCRIPTS[name]
    async with responses_door(tmp_path) as door:
        door.up.alpha.script(script)
        door.up.beta.script(script)
        request = ask(model, "hello", **fields)
        expected = await door.up.chat.CreateChatCompletion(request)
        made = await submit(door, request)
        found = await ended(door, made)
        result = await completion(door, made)
        assert result is not None
        assert found["status"] == ("incomplete" if name in ("the limit", "a filter") else "completed")
        expected.id, expected.created = result.id, result.created
        if model == "sim/beta":
            # This simulator tells the tokens of reasoning in streams only.
            result.usage.ClearField("completion_tokens_details")
        assert result == expected


async def test_a_conversation_goes_on_from_it_over_the_responses_api(door: ResponsesDoor) -> None:
    call = {"id": "call_a", "type": "function", "function": {"name": "look_up", "arguments": '{"a":1}'}}
    talk = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "What is a?"},
        {"role": "assistant", "content": "I look.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_a", "content": "42"},
    ]
    door.up.alpha.enqueue(Script(text="It is 42."), Script(text="Because."))
    request = parse(
        chat_pb2.CreateChatCompletionRequest, {"model": "sim/alpha", "messages": talk, "tools": [TOOL]}
    )
    made = await submit(door, request)
    await ended(door, made)
    answer = await door.create(asked(text="Why?", previous_response_id=made))
    assert answer.status == 200, answer.raw
    assert answer.json["output"][0]["content"][0]["text"] == "Because."
    first, second = [call.body["messages"] for call in door.up.alpha.calls]
    assert second == [
        *first,
        {"role": "assistant", "content": "It is 42."},
        {"role": "user", "content": "Why?"},
    ]


async def test_a_call_that_it_made_is_answered_over_the_responses_api(door: ResponsesDoor) -> None:
    door.up.alpha.enqueue(Script(tool_calls=(ToolCall("c0", "look_up", '{"a":1}'),)), Script(text="It is 42."))
    made = await submit(door, ask("sim/alpha", tools=[TOOL]))
    found = await ended(door, made)
    result = await completion(door, made)
    assert result is not None
    call_id = found["output"][0]["call_id"]
    assert result.choices[0].message.tool_calls[0].id == call_id
    output = {"type": "function_call_output", "call_id": call_id, "output": "42"}
    answer = await door.create(asked(text=[output], previous_response_id=made))
    assert answer.status == 200, answer.raw
    assert answer.json["output"][0]["content"][0]["text"] == "It is 42."


async def test_a_cancel_stops_its_call_and_leaves_no_completion(door: ResponsesDoor) -> None:
    door.up.alpha.script(LONG)
    made = await submit(door, ask("sim/alpha"))
    await until(lambda: bool(door.up.alpha.calls), "the call begins")
    cancelled = await door.call("POST", f"/{made}/cancel")
    assert (cancelled.status, cancelled.json["status"]) == (200, "cancelled")
    await door.up.alpha.wait_for(lambda calls: calls[-1].cancelled, 2.0)
    assert (await follow(door, made)).types[-1] == "response.cancelled"
    assert await completion(door, made) is None


async def test_a_deleted_one_is_gone_with_all_that_was_asked(door: ResponsesDoor) -> None:
    made = await submit(door, ask("sim/alpha"))
    await ended(door, made)
    assert (await door.call("DELETE", f"/{made}")).status == 200
    assert (await door.call("GET", f"/{made}")).status == 404
    assert await door.up.service.database.responses.get(OWNER, made) is None


async def test_a_provider_that_asks_for_time_gets_it_and_the_completion_comes_later(door: ResponsesDoor) -> None:
    door.up.alpha.enqueue(Script(fault=rate_limited(1)), Script(text="late"))
    made = await submit(door, ask("sim/alpha"))
    await ended(door, made, 30.0)
    result = await completion(door, made)
    assert result is not None
    assert result.choices[0].message.content == "late"


async def test_the_same_key_is_the_same_job_whatever_its_id_and_another_request_a_conflict(
    door: ResponsesDoor,
) -> None:
    store = door.up.service.database.jobs
    first = await job_of(door, ask("sim/alpha"), "order-17", "resp_" + "a" * 36)
    again = await job_of(door, ask("sim/alpha", temperature=1, stream=False), "order-17")
    other = await job_of(door, ask("sim/alpha", "another"), "order-17")
    assert await store.accept(first) == Accepted()
    assert await store.accept(again) == Repeated(first.response.id)
    assert await store.accept_many([first, again, other]) == [
        Accepted(),
        Repeated(first.response.id),
        Conflict(first.response.id),
    ]
    assert (await ended(door, first.response.id))["id"] == "resp_" + "a" * 36
    # A Responses request of the same owner under the same key is another request.
    refused = await door.create(asked(background=True), headers={"idempotency-key": "order-17"})
    assert refused.error["reason"] == "IDEMPOTENCY_CONFLICT"


async def test_many_of_both_kinds_are_accepted_and_made_side_by_side(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(echo=True))
    news = [await job_of(door, ask("sim/alpha", f"number {number}")) for number in range(20)]
    assert await door.up.service.database.jobs.accept_many(news) == [Accepted()] * 20
    responses = [(await door.create(asked(text=f"item {n}", background=True))).json["id"] for n in range(5)]
    for number, new in enumerate(news):
        await ended(door, new.response.id)
        result = await completion(door, new.response.id)
        assert result is not None
        assert result.choices[0].message.content == f"number {number}"
    for number, made in enumerate(responses):
        found = await ended(door, made)
        assert found["output"][0]["content"][0]["text"] == f"item {number}"
        assert await completion(door, made) is None


async def test_it_outlives_its_worker_and_is_made_anew_by_another(tmp_path: Path, database_url: str) -> None:
    database = {"database": {"url": database_url}}
    folders = [tmp_path / name for name in ("accepts", "first", "second")]
    for folder in folders:
        folder.mkdir()
    async with running_child(folders[1], {**database, "jobs": {"lease_seconds": 3}}) as child:
        # Before there is a job: it would be answered at once by what stands there else.
        child.alpha.script(LONG)
        async with responses_door(folders[0], {**database, "jobs": {"here": False}}) as door:
            made = await submit(door, ask("sim/alpha", stream=True))
        await until(lambda: bool(child.alpha.calls), "the call begins")
        await asyncio.sleep(0.5)
        child.process.kill()
        await child.process.wait()
    async with responses_door(folders[2], {**database, "jobs": {"lease_seconds": 3}}) as door:
        door.up.alpha.script(Script(text="done by another"))
        await ended(door, made, 30.0)
        followed = await follow(door, made)
        assert followed.types.count("response.restarted") == 1
        assert followed.types[-1] == "response.completed"
        result = await completion(door, made)
        assert result is not None
        assert result.choices[0].message.content == "done by another"
