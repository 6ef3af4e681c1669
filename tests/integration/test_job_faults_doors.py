"""Jobs at both doors when something is wrong: ids, headers, states, and where followers begin."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from eurouter.v1 import responses_pb2 as pb
from grpc import aio

from adapters.keys import hash_secret, make_key, public_id
from adapters.providers.simulator import HttpError, Reason, Script, rate_limited
from tests.support.background import ended, follow
from tests.support.responses_door import RESPONSES, ResponsesDoor, asked, responses_door
from tests.support.running import ask_response, until

LATER: Final = "2100-01-01T00:00:00Z"
SOON: Final = "2099-12-31T23:59:59Z"
LONG: Final = Script(tokens=1000, pace=0.02)
PEPPER: Final = "a pepper for tests only, long enough"
KEYS: Final = {owner: make_key() for owner in ("a", "b")}


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[ResponsesDoor]:
    async with responses_door(tmp_path) as opened:
        yield opened


async def code_of(call: Any) -> grpc.StatusCode:
    """How a call that must fail fails."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    code = caught.value.code()
    assert isinstance(code, grpc.StatusCode)
    return code


async def test_a_cancel_in_every_state_is_final_or_changes_nothing(door: ResponsesDoor) -> None:
    up = door.up
    made: dict[str, str] = {}

    async def make(state: str, script: Script, **headers: str) -> None:
        up.alpha.enqueue(script)
        made[state] = (await door.create(asked(background=True), headers=headers)).json["id"]
        if state not in ("queued", "in_progress", "put off"):
            found = await ended(door, made[state])
            assert found["status"] == state

    await make("completed", Script(tokens=3))
    await make("incomplete", Script(tokens=3, finish_reason="length"))
    await make("failed", Script(fault=HttpError(400, Reason.INVALID_REQUEST)))
    await make("in_progress", LONG)
    await until(lambda: len(up.alpha.calls) == 4, "the call begins")
    await make("put off", Script(fault=rate_limited(30)))
    await until(lambda: len(up.alpha.calls) == 5, "the provider asks for time")
    in_an_hour = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    await make("queued", Script(), **{"eurouter-run-at": in_an_hour})
    for state, response_id in made.items():
        before = (await door.call("GET", f"/{response_id}")).json
        first = await door.call("POST", f"/{response_id}/cancel")
        second = await up.responses.CancelResponse(pb.CancelResponseRequest(response_id=response_id))
        assert first.status == 200
        over = state in ("completed", "incomplete", "failed")
        assert first.json["status"] == (state if over else "cancelled")
        assert (first.json == before) == over
        assert second == await up.responses.GetResponse(pb.GetResponseRequest(response_id=response_id))
        assert (await follow(door, response_id)).types[-1] == f"response.{first.json['status']}"
    await up.alpha.wait_for(lambda calls: calls[3].cancelled, 2.0)
    await door.call("DELETE", f"/{made['queued']}")
    gone = pb.CancelResponseRequest(response_id=made["queued"])
    assert (await door.call("POST", f"/{made['queued']}/cancel")).status == 404
    assert await code_of(up.responses.CancelResponse(gone)) is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    "wrong",
    [
        "resp_",
        "resp_" + "0" * 36,
        "resp_" + "0" * 35,
        "resp_" + "Z" * 36,
        "msg_" + "0" * 40,
        "resp_" + "0" * 1000,
        "resp_\x00" + "0" * 35,
        "résponse",
        "' OR 1=1 --",
    ],
    ids=lambda wrong: ascii(wrong)[1:16],
)
async def test_an_id_that_is_none_is_not_found_at_both_doors(door: ResponsesDoor, wrong: str) -> None:
    path = "/" + "".join(f"%{byte:02x}" for byte in wrong.encode())
    for method, route in (("GET", f"{path}?stream=true"), ("POST", f"{path}/cancel"), ("DELETE", path)):
        answer = await door.call(method, route)
        assert (answer.status, answer.error["reason"]) == (404, "RESPONSE_NOT_FOUND")
    stub = door.up.responses
    for call in (
        stub.FollowResponse(pb.FollowResponseRequest(response_id=wrong)).read(),
        stub.CancelResponse(pb.CancelResponseRequest(response_id=wrong)),
        stub.DeleteResponse(pb.DeleteResponseRequest(response_id=wrong)),
    ):
        assert await code_of(call) is grpc.StatusCode.NOT_FOUND


async def test_jobs_and_keys_of_another_owner_do_not_exist(tmp_path: Path) -> None:
    rows = [
        {"id": public_id(key), "hash": hash_secret(key, PEPPER.encode()), "owner": owner}
        for owner, key in KEYS.items()
    ]
    settings = {"key_pepper": "env:KEY_PEPPER", "keys": rows}
    async with responses_door(tmp_path, settings, env={"KEY_PEPPER": PEPPER}) as door:
        door.up.alpha.script(LONG)
        mine, theirs = ({"authorization": f"Bearer {key}"} for key in KEYS.values())
        key = {"idempotency-key": "the-same"}
        made = (await door.create(asked(background=True), headers={**mine, **key})).json["id"]
        other = (await door.create(asked(text="other", background=True), headers={**theirs, **key})).json["id"]
        assert other != made
        for method, path in (
            ("GET", f"/{made}?stream=true"),
            ("GET", f"/{made}?stream=true&starting_after=1"),
            ("POST", f"/{made}/cancel"),
            ("DELETE", f"/{made}"),
        ):
            answer = await door.call(method, path, headers=theirs)
            assert (answer.status, answer.error["reason"]) == (404, "RESPONSE_NOT_FOUND")
        call = door.up.responses.FollowResponse(
            pb.FollowResponseRequest(response_id=made), metadata=tuple(theirs.items())
        )
        assert await code_of(call.read()) is grpc.StatusCode.NOT_FOUND
        assert (await door.call("GET", f"/{made}", headers=mine)).json["status"] in ("queued", "in_progress")


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"eurouter-priority": "9000"}, "eurouter-priority"),
        ({"eurouter-priority": "-1"}, "eurouter-priority"),
        ({"eurouter-priority": ""}, "eurouter-priority"),
        ({"eurouter-run-at": LATER, "eurouter-expires-at": SOON}, "eurouter-expires-at"),
        ({"eurouter-run-at": SOON, "eurouter-expires-at": SOON}, "eurouter-expires-at"),
        ({"eurouter-expires-at": "2001-01-01T00:00:00Z"}, "eurouter-expires-at"),
        ({"eurouter-expires-at": "0001-01-01T00:00:00+23:59"}, "eurouter-expires-at"),
        ({"eurouter-expires-at": "9999-12-31T23:59:59-23:59"}, "eurouter-expires-at"),
        ({"eurouter-expires-at": "9999-12-31T23:59:59.5Z"}, "eurouter-expires-at"),
        ({"eurouter-run-at": "9999-12-31T23:59:59-00:01"}, "eurouter-run-at"),
        ({"eurouter-run-at": "1969-12-31T23:59:59Z"}, "eurouter-run-at"),
        ({"eurouter-run-at": "1970-01-01T00:00:00+00:01"}, "eurouter-run-at"),
        ({"eurouter-run-at": "2027-01-01T00:00:00"}, "eurouter-run-at"),
        ({"eurouter-run-at": "1e300"}, "eurouter-run-at"),
        ({"eurouter-run-at": ""}, "eurouter-run-at"),
        ({"eurouter-group": "x" * 129}, "eurouter-group"),
        ({"idempotency-key": ""}, "idempotency-key"),
    ],
    ids=str,
)
async def test_headers_that_can_not_be_meant_are_named_at_both_doors(
    door: ResponsesDoor, headers: dict[str, str], named: str
) -> None:
    refused = await door.create(asked(background=True), headers=headers)
    assert (refused.status, refused.error["param"]) == (400, named)
    stub, request, sent = door.up.responses, ask_response(background=True), tuple(headers.items())
    for call in (
        stub.CreateResponse(request, metadata=sent),
        stub.StreamResponse(request, metadata=sent).read(),
    ):
        with pytest.raises(aio.AioRpcError, match=named) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not door.up.alpha.calls


async def test_a_job_that_was_to_run_long_ago_runs_now(door: ResponsesDoor) -> None:
    headers = {"eurouter-run-at": "1970-01-01T00:00:00Z", "eurouter-expires-at": "9999-12-31T23:59:59Z"}
    made = await door.create(asked(background=True), headers=headers)
    assert (await ended(door, made.json["id"]))["status"] == "completed"
    (job,) = (await door.call("GET", "/v1/jobs")).json["jobs"]
    assert job["expire_time"].startswith("9999-12-31T23:59:5")


async def test_a_job_that_would_begin_too_late_fails_as_expired(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(fault=rate_limited(30)))
    expires = (datetime.now(UTC) + timedelta(seconds=20)).isoformat()
    made = (await door.create(asked(background=True), headers={"eurouter-expires-at": expires})).json["id"]
    url = f"{door.up.http}{RESPONSES}/{made}"
    async with asyncio.timeout(10):
        # Its code is ours, which OpenAI's description does not list.
        while (found := await _json(door, url))["status"] != "failed":
            await asyncio.sleep(0.02)
    assert found["error"]["code"] == "expired"
    assert found["error"]["message"].startswith(
        "the response was not begun, or not begun again, before its latest start"
    )
    assert len(door.up.alpha.calls) == 1


async def _json(door: ResponsesDoor, url: str) -> dict[str, Any]:
    async with door.session.get(url) as answer:
        found: dict[str, Any] = await answer.json()
        return found


async def test_a_follower_from_beyond_the_end_gets_the_end_and_nothing_else(door: ResponsesDoor) -> None:
    made = (await door.create(asked(background=True))).json["id"]
    await ended(door, made)
    last = len((await follow(door, made)).events) - 1
    for after in (last, last + 1, 999_999_999):
        beyond = await follow(door, made, after)
        assert (beyond.events, beyond.done) == ([], True)
        call = door.up.responses.FollowResponse(pb.FollowResponseRequest(response_id=made, starting_after=after))
        assert [event async for event in call] == []
    for wrong in ("-2", "1.5", "x", "", "9" * 10):
        refused = await door.call("GET", f"/{made}?stream=true&starting_after={wrong}")
        assert (refused.status, refused.error["param"]) == (400, "starting_after")
    call = door.up.responses.FollowResponse(pb.FollowResponseRequest(response_id=made, starting_after=-2))
    assert await code_of(call.read()) is grpc.StatusCode.INVALID_ARGUMENT


async def test_followers_of_a_response_that_is_deleted_are_told(door: ResponsesDoor) -> None:
    door.up.alpha.script(LONG)
    made = (await door.create(asked(background=True))).json["id"]
    call = door.up.responses.FollowResponse(pb.FollowResponseRequest(response_id=made))
    by_grpc = asyncio.create_task(code_of(_all(call)))
    url = f"{door.up.http}{RESPONSES}/{made}?stream=true"
    async with asyncio.timeout(10), door.session.get(url) as response:
        await response.content.readuntil(b"response.in_progress")
        assert (await door.call("DELETE", f"/{made}")).status == 200
        *_, told, done = (await response.content.read()).split(b"\n\n")[:-1]
    name, _, data = told.partition(b"\ndata: ")
    assert (name, done) == (b"event: error", b"data: [DONE]")
    assert "deleted" in json.loads(data)["message"]
    assert await asyncio.wait_for(by_grpc, 5) is grpc.StatusCode.NOT_FOUND


async def _all(call: Any) -> None:
    async for _ in call:
        pass


async def test_a_follower_from_beyond_the_end_keeps_no_other_waiting(door: ResponsesDoor) -> None:
    door.up.alpha.script(LONG)
    made = (await door.stream_begun(asked(background=True, stream=True)))["id"]
    begun = asyncio.Event()
    beyond = asyncio.create_task(follow(door, made, 9999, begun))
    await begun.wait()
    url = f"{door.up.http}{RESPONSES}/{made}?stream=true"
    async with asyncio.timeout(5), door.session.get(url) as response:
        for _ in range(10):
            await response.content.readuntil(b"response.output_text.delta")
    assert not beyond.done()
    await door.call("POST", f"/{made}/cancel")
    assert (await asyncio.wait_for(beyond, 5)).events == []


@pytest.mark.parametrize(
    ("name", "values"),
    [("eurouter-priority", ("high", "bulk")), ("eurouter-group", ("a", "b")), ("idempotency-key", ("a", "b"))],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_header_that_says_two_things_is_refused_at_both_doors(
    door: ResponsesDoor, name: str, values: tuple[str, ...]
) -> None:
    twice = [(name, value) for value in values]
    refused = await door.create(asked(background=True), headers=twice)
    assert (refused.status, refused.error["param"]) == (400, name)
    call = door.up.responses.CreateResponse(ask_response(background=True), metadata=tuple(twice))
    assert await code_of(call) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_job_that_would_begin_when_its_response_is_gone_is_refused(door: ResponsesDoor) -> None:
    late = (datetime.now(UTC) + timedelta(days=31)).isoformat()
    refused = await door.create(asked(background=True), headers={"eurouter-run-at": late})
    assert (refused.status, refused.error["param"]) == (400, "eurouter-run-at")
    assert "30 days" in refused.error["message"]
