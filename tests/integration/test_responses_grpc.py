"""Responses over gRPC: the same handlers as HTTP, with typed events, status codes and metadata."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from eurouter.v1 import response_events_pb2, response_object_pb2
from eurouter.v1 import responses_pb2 as pb
from grpc import aio

from adapters.keys import hash_secret, make_key, public_id
from adapters.providers.simulator import SERVER_ERROR, Cut, Script
from tests.support.running import InProcess, ask_response, running_service, two_dialects
from tests.support.statuses import info_of

PEPPER = "a pepper for tests only, long enough"
TEAM_A, TEAM_B = make_key(), make_key()


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[InProcess]:
    async with running_service(tmp_path) as running:
        yield running


async def events_of(call: Any) -> list[response_events_pb2.ResponseStreamEvent]:
    return [event async for event in call]


def arms(events: list[response_events_pb2.ResponseStreamEvent]) -> list[str]:
    return [event.WhichOneof("event") or "" for event in events]


async def failure_of(call: Any) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_whole_response_is_stored_and_read_again_as_it_was(up: InProcess) -> None:
    up.alpha.script(Script(text="Hello"))
    call = up.responses.CreateResponse(ask_response(metadata={"a": "b"}))
    made = await call
    trailing = dict(await call.trailing_metadata())
    assert trailing["x-provider-slug"] == "alpha"
    assert made.status == response_object_pb2.RESPONSE_STATUS_COMPLETED
    assert made.output[0].message.content[0].output_text.text == "Hello"
    assert await up.responses.GetResponse(pb.GetResponseRequest(response_id=made.id)) == made


async def test_a_stream_counts_its_events_and_ends_with_what_get_gives(up: InProcess) -> None:
    up.alpha.script(Script(text="one two", reasoning="hm"))
    call = up.responses.StreamResponse(ask_response())
    assert dict(await call.initial_metadata())["x-model-used"] == "sim/alpha"
    events = await events_of(call)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert arms(events)[:2] == ["created", "in_progress"]
    assert arms(events)[-1] == "completed"
    last = events[-1].completed.response
    assert await up.responses.GetResponse(pb.GetResponseRequest(response_id=last.id)) == last


async def test_a_response_that_fails_midway_says_so_as_an_event_and_as_the_calls_status(up: InProcess) -> None:
    up.alpha.script(Script(text="one two three four", fault=Cut(after_tokens=2)))
    call = up.responses.StreamResponse(ask_response())
    seen: list[response_events_pb2.ResponseStreamEvent] = []
    with pytest.raises(aio.AioRpcError) as caught:
        async for event in call:
            seen.append(event)  # noqa: PERF401  what came before the failure counts
    assert arms(seen)[-1] == "failed"
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert info_of(caught.value).reason == "PROVIDER_BROKEN_ANSWER"
    failed = seen[-1].failed.response
    assert await up.responses.GetResponse(pb.GetResponseRequest(response_id=failed.id)) == failed


async def test_a_response_that_never_began_is_a_status_alone(up: InProcess) -> None:
    up.alpha.script(Script(fault=SERVER_ERROR))
    call = up.responses.StreamResponse(ask_response())
    with pytest.raises(aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_method_decides_whether_a_response_is_streamed(up: InProcess) -> None:
    for call in (
        up.responses.CreateResponse(ask_response(stream=True)),
        up.responses.StreamResponse(ask_response(stream=False)).read(),
    ):
        assert (await failure_of(call)).code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not up.alpha.calls


async def test_responses_of_another_owner_do_not_exist(tmp_path: Path) -> None:
    rows = [
        {"id": public_id(key), "hash": hash_secret(key, PEPPER.encode()), "owner": owner}
        for key, owner in ((TEAM_A, "team-a"), (TEAM_B, "team-b"))
    ]
    settings: dict[str, Any] = {"key_pepper": "env:KEY_PEPPER", "keys": rows}
    async with running_service(tmp_path, settings, env={"KEY_PEPPER": PEPPER}) as up:
        mine = (("authorization", f"Bearer {TEAM_A}"),)
        theirs = (("authorization", f"Bearer {TEAM_B}"),)
        made = await up.responses.CreateResponse(ask_response(), metadata=mine)
        of = {"response_id": made.id}
        stub = up.responses
        for refused in (
            stub.GetResponse(pb.GetResponseRequest(**of), metadata=theirs),
            stub.DeleteResponse(pb.DeleteResponseRequest(**of), metadata=theirs),
            stub.ListInputItems(pb.ListInputItemsRequest(**of), metadata=theirs),
            stub.CancelResponse(pb.CancelResponseRequest(**of), metadata=theirs),
            stub.CreateResponse(ask_response(previous_response_id=made.id), metadata=theirs),
        ):
            assert (await failure_of(refused)).code() is grpc.StatusCode.NOT_FOUND
        referring = ask_response(text=[{"type": "item_reference", "id": made.output[0].message.id}])
        assert (await failure_of(stub.CreateResponse(referring, metadata=theirs))).code() is (
            grpc.StatusCode.INVALID_ARGUMENT
        )
        assert (await stub.GetResponse(pb.GetResponseRequest(**of), metadata=mine)).id == made.id


async def test_the_operators_zero_retention_turns_storage_off_and_says_so(tmp_path: Path) -> None:
    facts = {"retention_days": {"value": 0, "source": "https://example.org/terms", "verified_on": "2026-11-01"}}

    def catalog(alpha: str, beta: str) -> dict[str, Any]:
        rows = two_dialects(alpha, beta)
        for provider in rows["providers"]:
            provider["facts"] = facts
        return rows

    async with running_service(tmp_path, {"floor": {"max_retention_days": 0}}, catalog) as up:
        made = await up.responses.CreateResponse(ask_response())
        assert made.store is False
        missing = await failure_of(up.responses.GetResponse(pb.GetResponseRequest(response_id=made.id)))
        assert missing.code() is grpc.StatusCode.NOT_FOUND
        refused = await failure_of(up.responses.CreateResponse(ask_response(store=True)))
        assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "operator's max_retention_days" in (refused.details() or "")


async def test_a_conversation_that_lost_hundreds_of_turns_still_reaches_its_caller(tmp_path: Path) -> None:
    def catalog(alpha: str, beta: str) -> dict[str, Any]:
        rows = two_dialects(alpha, beta)
        rows["models"][0]["endpoints"][0]["context_length"] = 3000
        return rows

    async with running_service(tmp_path, catalog=catalog) as up:
        turns: list[Any] = [{"role": "user", "content": f"question {number}, at length"} for number in range(800)]
        call = up.responses.CreateResponse(ask_response(text=turns, truncation="auto"))
        assert (await call).status == response_object_pb2.RESPONSE_STATUS_COMPLETED
        told = dict(await call.trailing_metadata())["x-truncated-items"].split(",")
        assert told[:2] == ["input[0]", "input[1]"]
        assert re.fullmatch(r"\+[0-9]+", told[-1])
        sent = up.alpha.calls[-1].body["messages"]
        assert len(told) - 1 + int(told[-1]) + len(sent) == len(turns)


async def test_following_and_cancelling_need_a_background_response(up: InProcess) -> None:
    made = await up.responses.CreateResponse(ask_response())
    follow = up.responses.FollowResponse(pb.FollowResponseRequest(response_id=made.id)).read()
    cancel = up.responses.CancelResponse(pb.CancelResponseRequest(response_id=made.id))
    for call in (follow, cancel):
        assert (await failure_of(call)).code() is grpc.StatusCode.FAILED_PRECONDITION
