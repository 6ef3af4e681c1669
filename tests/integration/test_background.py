"""Background responses end to end: accepted, worked on in the service's own process, followed, cancelled, kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eurouter.v1 import response_events_pb2
from eurouter.v1 import responses_pb2 as pb

from adapters.providers.simulator import Script, rate_limited
from tests.support.http_door import events
from tests.support.responses_door import Followed, ResponsesDoor, asked, responses_door
from tests.support.running import ask_response, running_child, until

DONE = {"completed", "incomplete", "failed", "cancelled"}


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[ResponsesDoor]:
    async with responses_door(tmp_path) as opened:
        yield opened


async def ended(door: ResponsesDoor, response_id: str, seconds: float = 15.0) -> dict[str, Any]:
    """The response once it is over."""
    async with asyncio.timeout(seconds):
        while True:
            found: dict[str, Any] = (await door.call("GET", f"/{response_id}")).json
            if found["status"] in DONE:
                return found
            await asyncio.sleep(0.05)


async def follow(door: ResponsesDoor, response_id: str, after: int | None = None) -> Followed:
    """The events from number `after` on, read to their end; numbers go on without gaps."""
    query = "" if after is None else f"&starting_after={after}"
    url = f"{door.up.http}/v1/responses/{response_id}?stream=true{query}"
    async with door.session.get(url) as response:
        assert response.status == 200, await response.read()
        followed = Followed(response.headers, first=0 if after is None else after + 1)
        async for event in events(response):
            followed.take(event)
        return followed


async def test_a_background_response_is_queued_at_once_and_finished_later(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(text="one two", first_byte_delay=0.3))
    answer = await door.create(asked(background=True))
    assert answer.status == 200
    assert (answer.json["status"], answer.json["background"], answer.json["output"]) == ("queued", True, [])
    made = await ended(door, answer.json["id"])
    assert made["status"] == "completed"
    assert made["output"][0]["content"][0]["text"] == "one two"
    assert made["usage"]["output_tokens"] > 0


async def test_a_stream_that_is_left_is_resumed_without_gap_or_repeat(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(tokens=40, pace=0.03))
    url = f"{door.up.http}/v1/responses"
    async with door.session.post(url, json=asked(background=True, stream=True)) as response:
        first = Followed(response.headers)
        async for event in events(response):
            first.take(event)
            if len(first.events) == 12:
                break
    made = first.events[0]["response"]["id"]
    assert first.types[:2] == ["response.created", "response.queued"]
    rest = await follow(door, made, 11)
    whole = await follow(door, made)
    assert [*first.events, *rest.events] == whole.events
    assert whole.types[2] == "response.in_progress"
    assert whole.types[-1] == "response.completed"
    assert whole.response == (await door.call("GET", f"/{made}")).json
    assert whole.text == whole.response["output"][0]["content"][0]["text"]


async def test_many_followers_see_the_same(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(tokens=20, pace=0.02))
    made = (await door.stream_begun(asked(background=True, stream=True)))["id"]
    followed = await asyncio.gather(*(follow(door, made, after) for after in (None, 0, 3, None, 7)))
    assert followed[0].events == followed[3].events
    assert followed[4].events == followed[0].events[8:]


async def test_without_stream_only_items_and_states_are_kept(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(tokens=30))
    made = (await door.create(asked(background=True))).json["id"]
    await ended(door, made)
    types = (await follow(door, made)).types
    assert "response.output_text.delta" not in types
    assert types[-3:] == ["response.output_item.added", "response.output_item.done", "response.completed"]


async def test_a_cancel_stops_the_upstream_and_is_final(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(tokens=1000, pace=0.02))
    made = (await door.create(asked(background=True))).json["id"]
    await until(lambda: bool(door.up.alpha.calls), "the call begins")
    cancelled = await door.call("POST", f"/{made}/cancel")
    assert (cancelled.status, cancelled.json["status"]) == (200, "cancelled")
    await door.up.alpha.wait_for(lambda calls: calls[-1].cancelled, 2.0)
    assert (await door.call("POST", f"/{made}/cancel")).json == cancelled.json
    assert (await ended(door, made)) == cancelled.json
    assert (await follow(door, made)).types[-1] == "response.cancelled"


async def test_a_cancel_of_what_is_over_changes_nothing(door: ResponsesDoor) -> None:
    made = (await door.create(asked(background=True))).json["id"]
    done = await ended(door, made)
    assert (await door.call("POST", f"/{made}/cancel")).json == done


async def test_a_deleted_response_is_gone_in_every_state(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(tokens=1000, pace=0.02))
    made = (await door.create(asked(background=True))).json["id"]
    await until(lambda: bool(door.up.alpha.calls), "the call begins")
    assert (await door.call("DELETE", f"/{made}")).status == 200
    await door.up.alpha.wait_for(lambda calls: calls[-1].cancelled, 2.0)
    for method, path in (("GET", f"/{made}"), ("GET", f"/{made}?stream=true"), ("POST", f"/{made}/cancel")):
        assert (await door.call(method, path)).status == 404


async def test_a_provider_that_asks_for_time_gets_it(door: ResponsesDoor) -> None:
    door.up.alpha.enqueue(Script(fault=rate_limited(1)), Script(fault=rate_limited(1)), Script(text="late"))
    made = (await door.create(asked(background=True))).json["id"]
    assert (await ended(door, made, 30.0))["output"][0]["content"][0]["text"] == "late"


async def test_the_same_key_gives_the_same_response_and_another_request_is_refused(door: ResponsesDoor) -> None:
    key = {"idempotency-key": "order-17"}
    first = await door.create(asked(background=True), headers=key)
    again = await door.create(asked(background=True), headers=key)
    assert again.json["id"] == first.json["id"]
    await ended(door, first.json["id"])
    assert len(door.up.alpha.calls) == 1
    other = await door.create(asked(text="another", background=True), headers=key)
    assert (other.status, other.error["reason"]) == (422, "IDEMPOTENCY_CONFLICT")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("eurouter-priority", "urgent"),
        ("eurouter-run-at", "tomorrow"),
        ("eurouter-expires-at", "2001-01-01T00:00:00Z"),
        ("eurouter-group", "a b"),
        ("idempotency-key", "x" * 300),
    ],
)
async def test_a_wrong_header_is_named(door: ResponsesDoor, name: str, value: str) -> None:
    refused = await door.create(asked(background=True), headers={name: value})
    assert (refused.status, refused.error["param"]) == (400, name)


async def test_headers_of_jobs_are_refused_in_the_foreground(door: ResponsesDoor) -> None:
    refused = await door.create(asked(), headers={"eurouter-priority": "high"})
    assert (refused.status, refused.error["param"]) == (400, "eurouter-priority")


async def test_what_nobody_may_serve_is_refused_when_it_is_sent(door: ResponsesDoor) -> None:
    for body, status in (
        (asked("sim/nobody", background=True), 404),
        (asked(background=True, provider={"only": ["beta"]}), 503),
        (asked(background=True, previous_response_id="resp_" + "0" * 36), 400),
        (asked(background=True, store=False), 400),
    ):
        assert (await door.create(body)).status == status


async def test_over_grpc_a_background_response_is_followed_as_typed_events(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(text="one two"))
    waiting = await door.up.responses.CreateResponse(ask_response(background=True))
    call = door.up.responses.FollowResponse(pb.FollowResponseRequest(response_id=waiting.id))
    seen: list[response_events_pb2.ResponseStreamEvent] = [event async for event in call]
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert seen[-1].completed.response == await door.up.responses.GetResponse(
        pb.GetResponseRequest(response_id=waiting.id)
    )
    resumed = door.up.responses.FollowResponse(
        pb.FollowResponseRequest(response_id=waiting.id, starting_after=seen[1].sequence_number)
    )
    assert [event async for event in resumed] == seen[2:]


async def test_a_response_outlives_its_process_and_is_worked_on_by_the_next(tmp_path: Path) -> None:
    database = {"database": {"url": f"sqlite:///{tmp_path / 'kept.db'}"}, "jobs": {"lease_seconds": 3}}
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    async with running_child(first, database) as child:
        child.alpha.script(Script(tokens=1000, pace=0.05))
        made = await child.responses.CreateResponse(ask_response(background=True))
        await until(lambda: bool(child.alpha.calls), "the call begins")
        child.process.kill()
        await child.process.wait()
    async with responses_door(second, database) as door:
        door.up.alpha.script(Script(text="done by another"))
        found = await ended(door, made.id, 30.0)
        assert found["output"][0]["content"][0]["text"] == "done by another"
        log = (await follow(door, made.id)).types
        assert log.count("response.completed") == 1
        assert json.dumps(found)
