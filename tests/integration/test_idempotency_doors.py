"""Idempotency keys of responses in the foreground, end to end: one upstream call, however often one asks."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import grpc
import openai
import pytest
from eurouter.v1 import response_events_pb2
from eurouter.v1 import responses_pb2 as pb
from grpc import aio

from adapters.providers.simulator import CONTEXT_LENGTH, Cut, Script
from tests.support.background import ended
from tests.support.http_door import Answer
from tests.support.responses_door import RESPONSES, Followed, ResponsesDoor, asked, responses_door
from tests.support.running import ask_response, running_child, until
from tests.support.statuses import reason_of, retry_delay_of, trailers_of

KEY: Final = {"idempotency-key": "order-17"}
METADATA: Final = tuple(KEY.items())
REPLAY: Final = "x-idempotent-replay"
SLOW: Final = Script(tokens=200, pace=0.05)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[ResponsesDoor]:
    async with responses_door(tmp_path) as opened:
        yield opened


async def create(door: ResponsesDoor, headers: Mapping[str, str] = KEY, **fields: Any) -> Answer:
    return await door.create(asked(**fields), headers=headers)


async def stream(door: ResponsesDoor, headers: Mapping[str, str] = KEY, **fields: Any) -> Followed:
    return await door.stream(asked(**fields), headers=headers)


async def grpc_stream(
    door: ResponsesDoor, **fields: Any
) -> tuple[dict[str, Any], list[response_events_pb2.ResponseStreamEvent]]:
    call = door.up.responses.StreamResponse(ask_response(**fields), metadata=METADATA)
    first = dict(await call.initial_metadata())
    return first, [event async for event in call]


async def refused(call: Any) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value


def reserved(door: ResponsesDoor) -> int:
    """Keys that wait for their response."""
    with closing(sqlite3.connect(door.up.upstreams.folder / "responses.db")) as raw:
        statement = "SELECT count(*) FROM idempotency WHERE reserved_at IS NOT NULL"
        return int(raw.execute(statement).fetchone()[0])


async def test_the_same_request_under_a_key_is_answered_once_and_given_twice(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(text="Hello"))
    first, again = await create(door), await create(door)
    assert (first.status, again.status) == (200, 200)
    assert again.json == first.json
    assert REPLAY not in first.headers
    assert again.headers[REPLAY] == "true"
    assert "x-provider-slug" not in again.headers
    assert len(door.up.alpha.calls) == 1


async def test_both_doors_share_the_keys(door: ResponsesDoor) -> None:
    first = await create(door, text="hi")
    call = door.up.responses.CreateResponse(ask_response(text="hi"), metadata=METADATA)
    again = await call
    assert again.id == first.json["id"]
    assert dict(await call.trailing_metadata())[REPLAY] == "true"
    other = door.up.responses.CreateResponse(ask_response(text="hi"), metadata=(("idempotency-key", "new"),))
    assert (await other).id != again.id
    assert REPLAY not in dict(await other.trailing_metadata())
    assert len(door.up.alpha.calls) == 2


async def test_what_a_request_leaves_out_is_the_same_as_its_default(door: ResponsesDoor) -> None:
    first = await create(door)
    fields: dict[str, Any] = {"store": True, "temperature": 1.0, "parallel_tool_calls": True, "stream": False}
    again = await create(door, **fields, tool_choice="auto", text="hello")
    assert again.json["id"] == first.json["id"]
    for other in ({"temperature": 0.9}, {"metadata": {"a": "b"}}, {"instructions": "Be brief."}):
        assert (await create(door, **other)).status == 422
    assert len(door.up.alpha.calls) == 1


async def test_another_request_under_the_key_is_refused_before_anybody_is_asked(door: ResponsesDoor) -> None:
    await create(door)
    other = await create(door, text="another")
    assert (other.status, other.error["reason"]) == (422, "IDEMPOTENCY_CONFLICT")
    assert other.error["param"] == "idempotency-key"
    assert other.headers["x-should-retry"] == "false"
    for call in (
        door.up.responses.CreateResponse(ask_response(text="another"), metadata=METADATA),
        door.up.responses.StreamResponse(ask_response(text="another"), metadata=METADATA).read(),
    ):
        error = await refused(call)
        assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    assert len(door.up.alpha.calls) == 1


async def test_a_streamed_repeat_is_the_stored_response_as_events(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(text="one two three", reasoning="hm"))
    first, again = await stream(door), await stream(door)
    assert again.done
    assert again.headers[REPLAY] == "true"
    assert again.response == first.response
    assert again.text == first.text == "one two three"
    assert again.types[:2] == ["response.created", "response.in_progress"]
    assert again.events[0]["response"]["output"] == []
    assert list(dict.fromkeys(again.types)) == list(dict.fromkeys(first.types))
    done = [event["item"] for event in again.events if event["type"] == "response.output_item.done"]
    assert done == first.response["output"]
    assert len(door.up.alpha.calls) == 1


async def test_a_repeat_may_ask_for_a_stream_or_for_the_whole(door: ResponsesDoor) -> None:
    whole = await create(door)
    assert (await stream(door)).response == whole.json
    other = {"idempotency-key": "another"}
    streamed = await stream(door, other)
    assert (await create(door, other)).json == streamed.response
    assert len(door.up.alpha.calls) == 2


async def test_over_grpc_a_streamed_repeat_counts_its_events_and_ends_with_what_get_gives(
    door: ResponsesDoor,
) -> None:
    first_metadata, first = await grpc_stream(door)
    metadata, again = await grpc_stream(door)
    assert REPLAY not in first_metadata
    assert metadata[REPLAY] == "true"
    assert [event.sequence_number for event in again] == list(range(len(again)))
    last = again[-1].completed.response
    assert last == first[-1].completed.response
    assert last == await door.up.responses.GetResponse(pb.GetResponseRequest(response_id=last.id))
    assert len(door.up.alpha.calls) == 1


async def test_a_repeat_while_the_first_one_runs_is_told_to_come_back(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(text="late", latency=1.5))
    first = asyncio.create_task(create(door))
    await door.up.alpha.wait_for(lambda calls: len(calls) == 1, 5.0)
    early = await create(door)
    assert (early.status, early.error["reason"]) == (409, "IDEMPOTENCY_IN_PROGRESS")
    assert int(early.headers["retry-after"]) >= 1
    assert early.headers["x-should-retry"] == "true"
    error = await refused(door.up.responses.CreateResponse(ask_response(), metadata=METADATA))
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.ABORTED, "IDEMPOTENCY_IN_PROGRESS")
    assert (retry_delay_of(error) or 0) > 0
    assert int(trailers_of(error)["grpc-retry-pushback-ms"]) > 0
    assert (await create(door, text="another")).status == 422
    made = await first
    assert (await create(door)).json == made.json
    assert len(door.up.alpha.calls) == 1


async def test_of_many_at_once_one_is_answered_and_the_others_come_back(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(text="late", latency=0.3))
    answers = await asyncio.gather(*(create(door) for _ in range(20)))
    made = [answer.json["id"] for answer in answers if answer.status == 200]
    assert len(set(made)) == 1
    assert {answer.status for answer in answers} <= {200, 409}
    assert len(door.up.alpha.calls) == 1


async def test_a_key_needs_a_response_that_is_kept(door: ResponsesDoor) -> None:
    for fields, cause in (
        ({"store": False}, "store is false"),
        ({"provider": {"max_retention_days": 0}}, "max_retention_days is 0"),
    ):
        for streamed in (False, True):
            answer = await create(door, **fields, stream=streamed)
            assert (answer.status, answer.error["param"]) == (400, "idempotency-key"), answer.raw
            assert cause in answer.error["message"]
    assert not door.up.alpha.calls


async def test_a_failure_gives_the_key_back_and_the_retry_runs(door: ResponsesDoor) -> None:
    door.up.alpha.enqueue(Script(fault=CONTEXT_LENGTH), Script(fault=CONTEXT_LENGTH), Script(text="at last"))
    assert (await create(door)).status == 400
    with pytest.raises(aio.AioRpcError):
        await grpc_stream(door)
    made = await create(door)
    assert made.json["output"][0]["content"][0]["text"] == "at last"
    assert REPLAY not in made.headers
    assert (await create(door)).json == made.json
    assert len(door.up.alpha.calls) == 3


async def test_a_request_that_nobody_serves_gives_the_key_back(door: ResponsesDoor) -> None:
    for streamed in (False, True):
        assert (await create(door, provider={"only": ["beta"]}, stream=streamed)).status == 503
    assert (await create(door)).status == 200


async def test_a_stream_that_fails_midway_gives_the_key_back_and_can_still_be_read(door: ResponsesDoor) -> None:
    door.up.alpha.enqueue(Script(text="one two three four", fault=Cut(after_tokens=2)))
    door.up.beta.enqueue(Script(text="whole"))
    # The provider that failed rests for a while.
    failed = await stream(door, model="sim/both")
    assert failed.types[-1] == "response.failed"
    assert (await door.call("GET", f"/{failed.response['id']}")).json["status"] == "failed"
    made = await stream(door, model="sim/both")
    assert (made.types[-1], made.text) == ("response.completed", "whole")
    assert REPLAY not in made.headers
    assert (await stream(door, model="sim/both")).response == made.response


async def test_a_caller_who_leaves_gives_the_key_back(door: ResponsesDoor) -> None:
    door.up.alpha.enqueue(SLOW, SLOW, SLOW, Script(text="whole"))
    url = door.up.http + RESPONSES
    async with door.session.post(url, json=asked(stream=True), headers=KEY) as response:
        await response.content.readuntil(b"\n\n")
    await until(lambda: reserved(door) == 0, "the key of the stream is given back", 2.0)
    with pytest.raises(TimeoutError):
        await door.session.post(url, json=asked(), headers=KEY, timeout=aiohttp.ClientTimeout(total=0.5))
    await until(lambda: reserved(door) == 0, "the key of the call is given back", 2.0)
    call = door.up.responses.StreamResponse(ask_response(), metadata=METADATA)
    await call.read()
    call.cancel()
    await until(lambda: reserved(door) == 0, "the key of the RPC is given back", 2.0)
    assert (await create(door)).json["output"][0]["content"][0]["text"] == "whole"
    assert [call.cancelled for call in door.up.alpha.calls] == [True, True, True, False]


async def test_a_deadline_gives_the_key_back(door: ResponsesDoor) -> None:
    # The first use of the database makes it, which may take longer than the call below has.
    await door.up.service.database.prepare()
    door.up.alpha.enqueue(Script(text="late", latency=5), Script(text="whole"))
    call = door.up.responses.CreateResponse(ask_response(), metadata=METADATA, timeout=0.3)
    assert (await refused(call)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: reserved(door) == 0, "the key is given back", 2.0)
    assert (await create(door)).status == 200


async def test_a_deleted_response_takes_its_key_along(door: ResponsesDoor) -> None:
    first = await create(door)
    assert (await door.call("DELETE", f"/{first.json['id']}")).status == 200
    second = await create(door)
    assert second.status == 200
    assert second.json["id"] != first.json["id"]
    assert len(door.up.alpha.calls) == 2


@pytest.mark.parametrize("background", [False, True])
async def test_a_key_whose_response_is_gone_makes_a_new_one(door: ResponsesDoor, background: bool) -> None:
    def expire() -> None:
        with closing(sqlite3.connect(door.up.upstreams.folder / "responses.db")) as raw, raw:
            raw.execute("UPDATE responses SET expires_at = 1")

    made = [(await create(door, background=background)).json["id"]]
    for text in ("hello", "another"):
        expire()
        answer = await create(door, text=text, background=background)
        assert answer.status == 200, answer.raw
        assert REPLAY not in answer.headers
        made.append(answer.json["id"])
        again = await create(door, text=text, background=background)
        assert (again.json["id"], again.headers[REPLAY]) == (made[-1], "true")
    assert len(set(made)) == 3
    assert (await create(door, background=background)).status == 422


async def replayed(door: ResponsesDoor, made: str, **fields: Any) -> None:
    """The same request gives the response `made`, at both doors, whole and streamed."""
    again = await create(door, **fields)
    assert again.status == 200, again.raw
    assert (again.json["id"], again.headers[REPLAY]) == (made, "true")
    streamed = await stream(door, **fields)
    assert (streamed.response["id"], streamed.headers[REPLAY]) == (made, "true")
    assert (await door.up.responses.CreateResponse(ask_response(**fields), metadata=METADATA)).id == made
    metadata, events = await grpc_stream(door, **fields)
    assert (events[-1].completed.response.id, metadata[REPLAY]) == (made, "true")


@pytest.mark.parametrize("background", [False, True])
async def test_a_repeat_is_answered_when_what_it_continues_is_gone(door: ResponsesDoor, background: bool) -> None:
    first = (await create(door, {})).json["id"]
    fields: dict[str, Any] = {"previous_response_id": first, "background": background}
    made = (await create(door, **fields)).json["id"]
    await ended(door, made)
    assert (await door.call("DELETE", f"/{first}")).status == 200
    await replayed(door, made, **fields)
    assert (await create(door, text="another", **fields)).status == 422
    for headers in ({}, {"idempotency-key": "new"}):
        refused = await create(door, headers, **fields)
        assert (refused.error["param"], refused.error["reason"]) == (
            "previous_response_id",
            "PREVIOUS_RESPONSE_NOT_FOUND",
        )
    assert len(door.up.alpha.calls) == 2


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize(
    ("floor", "reason"),
    [
        (None, "MODEL_NOT_FOUND"),
        ({"data_residency": ["eu"]}, "NO_ENDPOINT_ALLOWED"),
        ({"max_retention_days": 0}, "INVALID_REQUEST"),
    ],
)
async def test_a_repeat_is_answered_when_the_request_could_not_be_made_any_more(
    door: ResponsesDoor, floor: Mapping[str, object] | None, reason: str, background: bool
) -> None:
    fields: dict[str, Any] = {"background": background}
    made = (await create(door, **fields)).json["id"]
    await ended(door, made)
    service, upstreams = door.up.service, door.up.upstreams
    before = service.watcher.current, service.catalog.current()
    if floor is None:
        upstreams.write_catalog({"providers": [], "models": []})
        await until(lambda: service.catalog.current() is not before[1], "the edit is taken")
    else:
        upstreams.write_settings({"floor": floor})
        await until(lambda: service.watcher.current is not before[0], "the edit is taken")
    await replayed(door, made, **fields)
    assert (await create(door, text="another", **fields)).status == 422
    refused = await create(door, {"idempotency-key": "new"}, **fields)
    assert refused.error["reason"] == reason
    assert len(door.up.alpha.calls) == 1


async def test_a_repeat_may_come_after_the_latest_start_that_the_first_call_named(door: ResponsesDoor) -> None:
    expires = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    headers = {**KEY, "eurouter-expires-at": expires}
    made = (await create(door, headers, background=True)).json["id"]
    await ended(door, made)
    await asyncio.sleep(1.2)
    again = await create(door, headers, background=True)
    assert (again.status, again.json["id"], again.headers[REPLAY]) == (200, made, "true")
    assert (await stream(door, headers, background=True)).response["id"] == made
    call = door.up.responses.CreateResponse(ask_response(background=True), metadata=tuple(headers.items()))
    assert (await call).id == made
    assert (await create(door, headers, text="another", background=True)).status == 422
    for other in ({}, {"idempotency-key": "new"}):
        late = await create(door, {**other, "eurouter-expires-at": expires}, background=True)
        assert (late.status, late.error["param"]) == (400, "eurouter-expires-at")
        assert "must be later than now" in late.error["message"]


async def test_without_a_key_nothing_is_looked_up(door: ResponsesDoor) -> None:
    async def never(*_: object) -> None:
        raise AssertionError("no key, no look")

    keys: Any = door.up.service.database.keys
    for name in ("find", "free", "reserve", "release"):
        setattr(keys, name, never)
    for background in (False, True):
        assert (await create(door, {}, background=background)).status == 200
        assert (await create(door, {}, model="no/model", background=background)).status == 404


async def test_background_and_foreground_are_different_requests_under_one_key(door: ResponsesDoor) -> None:
    await create(door)
    assert (await create(door, background=True)).status == 422
    other = {"idempotency-key": "another"}
    assert (await create(door, other, background=True)).json["status"] == "queued"
    for streamed in (False, True):
        assert (await create(door, other, stream=streamed)).status == 422


async def test_a_repeated_background_response_says_that_it_is_one(door: ResponsesDoor) -> None:
    first = await create(door, background=True)
    again = await create(door, background=True)
    assert REPLAY not in first.headers
    assert (again.json["id"], again.headers[REPLAY]) == (first.json["id"], "true")
    followed = await stream(door, background=True)
    assert (followed.response["id"], followed.headers[REPLAY]) == (first.json["id"], "true")
    call = door.up.responses.CreateResponse(ask_response(background=True), metadata=METADATA)
    assert (await call).id == first.json["id"]
    assert dict(await call.trailing_metadata())[REPLAY] == "true"
    metadata, events = await grpc_stream(door, background=True)
    assert metadata[REPLAY] == "true"
    assert events[-1].completed.response.id == first.json["id"]
    assert len(door.up.alpha.calls) == 1


async def take_over(door: ResponsesDoor) -> None:
    """As if the first call's time were over, and another call came."""
    with closing(sqlite3.connect(door.up.upstreams.folder / "responses.db")) as raw, raw:
        raw.execute("UPDATE idempotency SET expires_at = 1, reserved_at = 0")


async def test_of_two_calls_that_had_the_key_one_after_the_other_the_later_keeps_it(door: ResponsesDoor) -> None:
    door.up.alpha.enqueue(Script(text="first", latency=1.0), Script(text="second"))
    first = asyncio.create_task(create(door))
    await door.up.alpha.wait_for(lambda calls: len(calls) == 1, 5.0)
    await take_over(door)
    second = await create(door)
    late = await first
    assert (late.status, late.error["reason"]) == (409, "IDEMPOTENCY_IN_PROGRESS")
    assert late.headers["x-should-retry"] == "true"
    assert (await create(door)).json == second.json


async def test_a_stream_that_lost_its_key_ends_with_an_error_and_is_not_kept(door: ResponsesDoor) -> None:
    door.up.alpha.enqueue(Script(tokens=20, pace=0.05), Script(text="second"))
    first = asyncio.create_task(stream(door))
    await door.up.alpha.wait_for(lambda calls: len(calls) == 1 and calls[0].tokens_sent > 2, 5.0)
    await take_over(door)
    second = await create(door)
    lost = await first
    assert (lost.types[-1], lost.last["code"]) == ("error", "idempotency_key_in_use")
    assert (await door.call("GET", f"/{lost.events[0]['response']['id']}")).status == 404
    assert (await create(door)).json == second.json


async def test_replicas_share_the_keys(tmp_path: Path, database_url: str) -> None:
    settings = {"database": {"url": database_url}}
    async with AsyncExitStack() as stack:
        doors = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            doors.append(await stack.enter_async_context(responses_door(tmp_path / name, settings)))
        one, two = doors
        one.up.alpha.script(Script(text="late", latency=1.0))
        first = asyncio.create_task(create(one))
        await one.up.alpha.wait_for(lambda calls: len(calls) == 1, 10.0)
        assert (await create(two)).status == 409
        made = await first
        again = await create(two)
        assert (again.json, again.headers[REPLAY]) == (made.json, "true")
        assert (await create(two, text="another")).status == 422
        assert not two.up.alpha.calls
        assert (await two.call("DELETE", f"/{made.json['id']}")).status == 200
        assert (await create(one)).json["id"] != made.json["id"]


async def test_a_process_that_is_killed_blocks_its_key_until_its_calls_deadline_and_no_longer(
    tmp_path: Path,
) -> None:
    database = {"database": {"url": f"sqlite:///{tmp_path / 'kept.db'}"}}
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    async with running_child(tmp_path / "first", database) as child:
        child.alpha.script(Script(text="never", latency=60))
        call = child.responses.CreateResponse(ask_response(), metadata=METADATA, timeout=6)
        lost = asyncio.create_task(refused(call))
        await child.alpha.wait_for(lambda calls: len(calls) == 1, 10.0)
        child.process.kill()
        await child.process.wait()
        async with responses_door(tmp_path / "second", database) as door:
            assert (await create(door)).status == 409
            async with asyncio.timeout(10):
                while (answer := await create(door)).status == 409:
                    await asyncio.sleep(0.2)
            assert answer.status == 200
            assert (await create(door)).json == answer.json
            assert len(door.up.alpha.calls) == 1
        await lost


async def test_the_openai_sdk_gets_one_response_for_one_key_and_waits_for_one_that_runs(
    door: ResponsesDoor,
) -> None:
    door.up.alpha.script(Script(text="Hello there", latency=0.5))
    async with openai.AsyncOpenAI(base_url=f"{door.up.http}/v1", api_key="sk-anything") as client:

        async def ask() -> Any:
            return await client.responses.create(
                model="sim/alpha", input="hello", extra_headers={"Idempotency-Key": "sdk-1"}
            )

        made = await asyncio.gather(ask(), ask(), ask())
        assert len({response.id for response in made}) == 1
        raw = await client.responses.with_raw_response.create(
            model="sim/alpha", input="hello", extra_headers={"Idempotency-Key": "sdk-1"}
        )
        assert raw.headers[REPLAY] == "true"
        async with client.responses.stream(
            model="sim/alpha", input="hello", extra_headers={"Idempotency-Key": "sdk-1"}
        ) as events:
            text = "".join([event.delta async for event in events if event.type == "response.output_text.delta"])
            assert (await events.get_final_response()).id == made[0].id
        assert text == made[0].output_text == "Hello there"
        with pytest.raises(openai.UnprocessableEntityError):
            await client.responses.create(
                model="sim/alpha", input="another", extra_headers={"Idempotency-Key": "sdk-1"}
            )
    assert len(door.up.alpha.calls) == 1
