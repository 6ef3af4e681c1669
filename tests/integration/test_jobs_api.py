"""Jobs as a whole over gRPC and HTTP: lists, counts, statistics, the cancel of many, and who may do what."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from eurouter.v1 import jobs_pb2 as pb
from eurouter.v1 import responses_pb2
from grpc import aio

from adapters.keys import hash_secret, make_key, public_id
from adapters.providers.simulator import Script
from service.domain.stored import StoreError
from tests.support.http_door import Answer, events
from tests.support.job_worlds import World
from tests.support.responses_door import Followed, ResponsesDoor, asked, responses_door
from tests.support.running import ask_response, until

PEPPER: Final = "a pepper for tests only, long enough"
TEAM_A, TEAM_B, ADMIN = make_key(), make_key(), make_key()


def row(key: str, owner: str, **fields: object) -> dict[str, object]:
    return {"id": public_id(key), "hash": hash_secret(key, PEPPER.encode()), "owner": owner, **fields}


KEYS: Final[dict[str, Any]] = {
    "key_pepper": "env:KEY_PEPPER",
    "keys": [row(TEAM_A, "team-a"), row(TEAM_B, "team-b"), row(ADMIN, "ops", admin=True)],
}
IDLE: Final = {"jobs": {"here": False}}


def settings(url: str, **more: Any) -> dict[str, Any]:
    return {"database": {"url": url}, **more}


@pytest.fixture
async def door(tmp_path: Path, database_url: str) -> AsyncIterator[ResponsesDoor]:
    """A service that works on jobs, for one owner."""
    async with responses_door(tmp_path, settings(database_url)) as opened:
        yield opened


@pytest.fixture
async def idle(tmp_path: Path, database_url: str) -> AsyncIterator[ResponsesDoor]:
    """One that works on none."""
    async with responses_door(tmp_path, settings(database_url, **IDLE)) as opened:
        yield opened


@pytest.fixture
async def keyed(tmp_path: Path, database_url: str) -> AsyncIterator[ResponsesDoor]:
    """One with keys of two owners and an admin's, that works on none."""
    with_keys = settings(database_url, **IDLE, **KEYS)
    async with responses_door(tmp_path, with_keys, env={"KEY_PEPPER": PEPPER}) as opened:
        yield opened


def by(key: str) -> dict[str, str]:
    return {"x-api-key": key}


async def accept(door: ResponsesDoor, count: int = 1, **headers: str) -> list[str]:
    """So many jobs, one after the other; their ids."""
    made = []
    for _ in range(count):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await door.create(asked(background=True), headers=named)
        assert answer.status == 200, answer.raw
        made.append(answer.json["id"])
    return made


async def listed(door: ResponsesDoor, query: str = "", key: str = "", prefix: str = "/v1") -> Answer:
    return await door.call("GET", f"{prefix}/jobs{query}", headers=by(key) if key else {})


async def cancel(door: ResponsesDoor, key: str = "", **body: object) -> Answer:
    return await door.call("POST", "/v1/jobs/cancel", json=body, headers=by(key) if key else {})


async def follow(door: ResponsesDoor, response_id: str) -> Followed:
    async with door.session.get(f"{door.up.http}/v1/responses/{response_id}?stream=true") as response:
        assert response.status == 200, await response.read()
        followed = Followed(response.headers)
        async for event in events(response):
            followed.take(event)
        return followed


def in_days(days: int) -> str:
    """A time as a caller writes it."""
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def ids(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.raw
    return [job["id"] for job in answer.json["jobs"]]


async def test_jobs_are_listed_newest_first_with_state_and_times_and_no_content(idle: ResponsesDoor) -> None:
    later, expires = in_days(1), in_days(2)
    made = await accept(idle, 2)
    made += await accept(
        idle,
        eurouter_priority="bulk",
        eurouter_group="night",
        eurouter_run_at=later,
        eurouter_expires_at=expires,
    )
    for prefix in ("/v1", "/api/v1"):
        assert ids(await listed(idle, prefix=prefix)) == made[::-1]
    newest, other = (await listed(idle, "?page_size=2")).json["jobs"]
    assert newest.pop("create_time").startswith("20")
    # The store counts from when it is asked.
    for name, sent in (("not_before_time", later), ("expire_time", expires)):
        told = datetime.fromisoformat(newest.pop(name))
        assert abs((told - datetime.fromisoformat(sent)).total_seconds()) < 5
    assert newest == {
        "id": made[2],
        "owner": "local",
        "api": "responses",
        "state": "queued",
        "priority": "bulk",
        "group": "night",
        "attempts": 0,
        "failed_attempts": 0,
        "losses": 0,
        "events": 2,
    }
    assert "expire_time" not in other
    assert (other["priority"], other["group"]) == ("normal", "")


async def test_lists_are_filtered_and_counted(door: ResponsesDoor) -> None:
    (done,) = await accept(door, eurouter_group="red")
    await until_over(door, done)
    later = in_days(1)
    waiting = await accept(door, 2, eurouter_group="red", eurouter_run_at=later)
    waiting += await accept(door, eurouter_run_at=later)
    assert ids(await listed(door, "?state=completed")) == [done]
    assert ids(await listed(door, "?state=queued,completed&group=red")) == [waiting[1], waiting[0], done]
    assert ids(await listed(door, "?state=queued&state=failed")) == waiting[::-1]
    assert ids(await listed(door, "?group=blue")) == []
    counted = (await listed(door, "?counts=true&group=red&state=failed")).json
    assert counted["jobs"] == []
    assert {each["state"]: each["count"] for each in counted["counts"]} == {
        **dict.fromkeys(("in_progress", "incomplete", "failed", "cancelled"), 0),
        "queued": 2,
        "completed": 1,
    }
    assert "counts" not in (await listed(door)).json


async def until_over(door: ResponsesDoor, response_id: str) -> dict[str, Any]:
    async with asyncio.timeout(15):
        while True:
            found: dict[str, Any] = (await door.call("GET", f"/{response_id}")).json
            if found["status"] not in ("queued", "in_progress"):
                return found
            await asyncio.sleep(0.05)


async def test_pages_hold_every_job_once_over_both_doors(idle: ResponsesDoor) -> None:
    made = await accept(idle, 7)
    over_http: list[str] = []
    token = ""
    while True:
        page = (await listed(idle, f"?page_size=3&page_token={token}")).json
        over_http += [job["id"] for job in page["jobs"]]
        token = page["next_page_token"]
        if not token:
            break
    request = pb.ListJobsRequest(page_size=2)
    over_grpc: list[str] = []
    while True:
        answer = await idle.up.jobs.ListJobs(request)
        over_grpc += [job.id for job in answer.jobs]
        request.page_token = answer.next_page_token
        if not request.page_token:
            break
    assert over_http == over_grpc == made[::-1]


async def test_queue_statistics_tell_what_waits_and_for_how_long(idle: ResponsesDoor) -> None:
    await accept(idle, 2)
    await accept(idle, eurouter_priority="high", eurouter_run_at=in_days(1))
    await asyncio.sleep(0.05)
    shown = (await idle.call("GET", "/v1/jobs/stats")).json
    assert (shown["runnable"], shown["waiting"], shown["in_progress"]) == (2, 1, 0)
    assert [each["priority"] for each in shown["priorities"]] == ["high", "normal", "bulk"]
    assert shown["priorities"][0] == {"priority": "high", "runnable": 0, "waiting": 1, "in_progress": 0}
    assert 0.05 <= float(shown["oldest_runnable_age"].removesuffix("s")) < 60
    stats = await idle.up.jobs.GetQueueStats(pb.GetQueueStatsRequest())
    assert (stats.runnable, stats.priorities[1].runnable) == (2, 2)
    assert stats.oldest_runnable_age.ToMilliseconds() >= 50
    assert not stats.priorities[0].HasField("oldest_runnable_age")


async def test_queued_jobs_are_cancelled_by_group_and_show_it_everywhere(idle: ResponsesDoor) -> None:
    red, rest = await accept(idle, 3, eurouter_group="red"), await accept(idle, 2)
    assert (await cancel(idle, group="red")).json == {"cancelled_count": 3}
    assert (await cancel(idle, group="red")).json == {"cancelled_count": 0}
    assert set(ids(await listed(idle, "?state=cancelled"))) == set(red)
    assert set(ids(await listed(idle, "?state=queued"))) == set(rest)
    shown = (await idle.call("GET", f"/{red[0]}")).json
    assert (shown["status"], shown["output"]) == ("cancelled", [])
    followed = await follow(idle, red[0])
    assert followed.types == ["response.created", "response.queued", "response.cancelled"]
    assert followed.done
    assert followed.response == shown
    assert (await idle.call("POST", f"/{red[0]}/cancel")).json == shown
    call = idle.up.responses.FollowResponse(
        responses_pb2.FollowResponseRequest(response_id=red[1], starting_after=1)
    )
    (last,) = [event async for event in call]
    assert (last.sequence_number, last.cancelled.response.id) == (2, red[1])
    assert (await listed(idle, "?state=cancelled")).json["jobs"][0]["attempts"] == 0


async def test_running_jobs_are_stopped_in_their_midst_and_their_followers_end(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(tokens=2000, pace=0.02))
    running = [(await door.stream_begun(asked(background=True, stream=True)))["id"] for _ in range(3)]
    followers = [asyncio.create_task(follow(door, response_id)) for response_id in running]
    await until(lambda: len(door.up.alpha.calls) == 3, "three calls begin")
    await asyncio.sleep(0.3)
    answer = await door.up.jobs.CancelJobs(pb.CancelJobsRequest(states=[pb.JOB_STATE_IN_PROGRESS]))
    assert answer.cancelled_count == 3
    # Left alone they take 40 seconds.
    calls = await door.up.alpha.wait_for(lambda calls: all(call.cancelled for call in calls), 15.0)
    assert not [call for call in calls if call.finished]
    for followed in await asyncio.wait_for(asyncio.gather(*followers), 15):
        # Their numbers are checked where they are read.
        assert followed.types[-1] == "response.cancelled"
        assert "response.output_text.delta" in followed.types
        assert followed.response == (await door.call("GET", f"/{followed.response['id']}")).json
    await asyncio.sleep(0.7)
    assert [job["state"] for job in (await listed(door)).json["jobs"]] == ["cancelled"] * 3
    assert (await cancel(door, all=True)).json == {"cancelled_count": 0}
    door.up.alpha.script(Script(text="the worker goes on"))
    (after,) = await accept(door)
    assert (await until_over(door, after))["status"] == "completed"


async def test_a_cancel_takes_many_more_than_a_batch(tmp_path: Path, database_url: str) -> None:
    async with responses_door(tmp_path, settings(database_url, **IDLE)) as door:
        database = door.up.service.database
        w = World(database_url, database, [0.0])
        try:
            (first,) = await accept(door)
            for begin in range(0, 2600, 200):
                await asyncio.gather(*(database.jobs.accept(w.new(begin + n, owner="local")) for n in range(200)))
            assert (await cancel(door, states=["queued"])).json == {"cancelled_count": 2601}
        finally:
            if w.raw is not None:
                await w.raw.close()
        assert (await door.call("GET", f"/{first}")).json["status"] == "cancelled"
        counts = (await listed(door, "?counts=true&page_size=1")).json["counts"]
        assert {each["state"] for each in counts if each["count"]} == {"cancelled"}


async def test_a_cancel_leaves_what_is_accepted_while_it_runs(idle: ResponsesDoor) -> None:
    before = await accept(idle, 2)
    store: Any = idle.up.service.database.jobs
    whole = store.cancel_where
    after: list[str] = []

    async def slowly(which: Any, limit: int, accepted_by: float) -> list[str]:
        # As long as one may wait for a connection.
        await asyncio.sleep(0.2 if after else 0)
        found = list(await whole(which, limit, accepted_by))
        if not after:
            after.extend(await accept(idle))
        return found

    store.cancel_where = slowly
    assert (await cancel(idle, all=True)).json == {"cancelled_count": 2}
    assert ids(await listed(idle, "?state=queued")) == after
    assert set(ids(await listed(idle, "?state=cancelled"))) == set(before)


async def test_a_job_for_a_time_after_the_calendars_end_can_be_listed(idle: ResponsesDoor) -> None:
    store, w = idle.up.service.database.jobs, World("", idle.up.service.database, [0.0])
    beyond = 253402300800.0 - time.time() + 60
    await store.accept(w.new(1, owner="local", delay=beyond, start_within=beyond + 86400))
    (job,) = (await listed(idle)).json["jobs"]
    assert job["not_before_time"] == job["expire_time"] == "9999-12-31T23:59:59Z"
    assert len((await idle.up.jobs.ListJobs(pb.ListJobsRequest())).jobs) == 1


async def test_owners_see_and_cancel_their_own_jobs_and_an_admin_all(keyed: ResponsesDoor) -> None:
    of_a, of_b = await accept(keyed, 2, x_api_key=TEAM_A), await accept(keyed, x_api_key=TEAM_B)
    assert ids(await listed(keyed, key=TEAM_A)) == ids(await listed(keyed, "?owner=team-a", TEAM_A)) == of_a[::-1]
    assert ids(await listed(keyed, key=ADMIN)) == [*of_a[::-1], *of_b]
    assert ids(await listed(keyed, "?owner=team-b", ADMIN)) == of_b
    for answer in (
        await listed(keyed, "?owner=team-b", TEAM_A),
        await cancel(keyed, TEAM_A, owner="team-b", all=True),
        await keyed.call("GET", "/v1/jobs/stats?owner=ops", headers=by(TEAM_A)),
    ):
        assert (answer.status, answer.error["reason"], answer.error["param"]) == (
            403,
            "PERMISSION_DENIED",
            "owner",
        )
    stats = await keyed.call("GET", "/v1/jobs/stats", headers=by(TEAM_B))
    assert stats.json["runnable"] == 1
    assert (await keyed.call("GET", "/v1/jobs/stats", headers=by(ADMIN))).json["runnable"] == 3
    assert (await cancel(keyed, TEAM_B, all=True)).json == {"cancelled_count": 1}
    assert (await cancel(keyed, ADMIN, owner="team-b", all=True)).json == {"cancelled_count": 0}
    assert (await cancel(keyed, ADMIN, all=True)).json == {"cancelled_count": 2}
    assert (await listed(keyed)).status == 401


async def test_a_page_of_one_owner_leads_nobody_into_anothers_jobs(keyed: ResponsesDoor) -> None:
    await accept(keyed, 3, x_api_key=TEAM_A)
    token = (await listed(keyed, "?page_size=1", TEAM_A)).json["next_page_token"]
    refused = await listed(keyed, f"?page_size=1&page_token={token}", TEAM_B)
    assert (refused.status, refused.error["param"]) == (400, "page_token")
    with pytest.raises(aio.AioRpcError) as caught:
        await keyed.up.jobs.ListJobs(pb.ListJobsRequest(owner="team-b"), metadata=tuple(by(TEAM_A).items()))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_wrong_question_is_refused_by_the_name_of_its_field(tmp_path: Path) -> None:
    async with responses_door(tmp_path, IDLE) as door:
        await accept(door, 2)
        token = (await listed(door, "?page_size=1")).json["next_page_token"]
        for query, param in (
            ("?state=done", "state"),
            ("?state=queued,%ED%A0%80", "state"),
            ("?group=", "group"),
            (f"?group={'g' * 129}", "group"),
            ("?group=a%00b", "group"),
            ("?owner=", "owner"),
            ("?owner=a%00b", "owner"),
            ("?page_size=1001", "page_size"),
            ("?page_size=-1", "page_size"),
            ("?page_token=nonsense", "page_token"),
            ("?page_token=WyJhIiwiYiIsMWU5OTksImMiXQ==", "page_token"),
            (f"?page_token={token}&group=x", "page_token"),
            ("?counts=maybe", "counts"),
            ("?states=queued", "states"),
        ):
            refused = await listed(door, query)
            assert (refused.status, refused.error["param"]) == (400, param), (query, refused.raw)
        for body, param in (
            ({}, "all"),
            ({"owner": "local"}, "all"),
            ({"all": True, "group": "g"}, "all"),
            ({"all": True, "states": ["queued"]}, "all"),
            ({"states": ["completed"]}, "states[0]"),
            ({"states": ["queued", "gone"]}, "states[1]"),
            ({"state": "queued"}, "state"),
            ({"group": ""}, "group"),
        ):
            refused = await cancel(door, **body)
            assert (refused.status, refused.error["param"]) == (400, param), (body, refused.raw)
        assert (await door.call("GET", "/v1/jobs/stats?group=g")).status == 400
        assert (await door.call("POST", "/v1/jobs/cancel", data=b"")).status == 400
        assert (await door.call("POST", "/v1/jobs")).status == 405
        assert [job["state"] for job in (await listed(door)).json["jobs"]] == ["queued", "queued"]


async def test_over_grpc_unknown_numbers_are_refused_too(tmp_path: Path) -> None:
    async with responses_door(tmp_path, IDLE) as door:
        for call in (
            door.up.jobs.ListJobs(pb.ListJobsRequest(states=[pb.JOB_STATE_QUEUED, 99])),  # type: ignore[list-item]
            door.up.jobs.ListJobs(pb.ListJobsRequest(states=[pb.JOB_STATE_UNSPECIFIED])),
            door.up.jobs.ListJobs(pb.ListJobsRequest(page_size=-5)),
            door.up.jobs.ListJobs(pb.ListJobsRequest.FromString(b"\xa2\x06\x01x")),
            door.up.jobs.CancelJobs(pb.CancelJobsRequest()),
            door.up.jobs.GetQueueStats(pb.GetQueueStatsRequest.FromString(b"\xa2\x06\x01x")),
        ):
            with pytest.raises(aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_cancel_says_how_far_it_came_when_its_time_or_the_database_ends(tmp_path: Path) -> None:
    async with responses_door(tmp_path, IDLE) as door:
        await accept(door, 3)
        store: Any = door.up.service.database.jobs
        whole = store.cancel_where

        async def one_by_one(which: Any, _limit: int, accepted_by: float) -> list[str]:
            await asyncio.sleep(0.4)
            if failing:
                raise StoreError("away")
            return list(await whole(which, 1, accepted_by))

        store.cancel_where = one_by_one
        failing = False
        with pytest.raises(aio.AioRpcError) as caught:
            await door.up.jobs.CancelJobs(pb.CancelJobsRequest(all=True), timeout=0.6)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        failing = True
        answer = await cancel(door, all=True)
        assert (answer.status, answer.error["reason"]) == (503, "STORE_UNAVAILABLE")
        assert "0 jobs were cancelled" in answer.error["message"]
        failing = False
        left = (await cancel(door, all=True)).json["cancelled_count"]
        assert 1 <= left <= 2


async def test_metrics_tell_how_many_jobs_wait_in_the_database(tmp_path: Path) -> None:
    database = settings(f"sqlite:///{tmp_path / 'shared.db'}")
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    async with responses_door(first, {**database, **IDLE}) as door:
        await accept(door, 3, eurouter_priority="high")
    async with responses_door(second, {**database, **IDLE}) as door:

        async def shown() -> str:
            async with door.session.get(f"{door.up.admin}/metrics") as answer:
                return await answer.text()

        async with asyncio.timeout(10):
            while 'eurouter_jobs_runnable{priority="high"} 3.0' not in (text := await shown()):
                await asyncio.sleep(0.05)
        assert 'eurouter_jobs_waiting{priority="bulk"} 0.0' in text


async def test_a_foreground_response_is_no_job(idle: ResponsesDoor) -> None:
    answer = await idle.up.responses.CreateResponse(ask_response())
    assert answer.id not in json.dumps((await listed(idle)).json)
    assert ids(await listed(idle)) == []
