"""Endpoints that declare how many calls they bear, through the doors: never more at a time, and who goes in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from eurouter.v1 import jobs_pb2, routing_pb2
from grpc import StatusCode, aio

from adapters.providers.simulator import Call, Script
from tests.support.http_door import Door, body
from tests.support.responses_door import asked
from tests.support.running import CatalogOf, InProcess, Rows, ask, running_service, two_dialects, until

ALPHA = "alpha/sim/alpha"


def bearing(calls: int | None) -> CatalogOf:
    """The catalogue of `two_dialects`, each endpoint of alpha bearing so many."""

    def rows(alpha: str, beta: str) -> Rows:
        made = two_dialects(alpha, beta)
        if calls is not None:
            made["providers"][0]["concurrency"] = calls
        return made

    return rows


@asynccontextmanager
async def door_at(folder: Path, calls: int, settings: Rows | None = None) -> AsyncIterator[Door]:
    async with (
        running_service(folder, settings, bearing(calls)) as up,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        yield Door(up, session)


def most_at_a_time(calls: Iterable[Call]) -> int:
    """How many of the journal's calls were open at a time."""
    return deepest((call.began, call.closed or time.monotonic()) for call in calls)


def deepest(spans: Iterable[tuple[float, float]]) -> int:
    """How many of the spans overlap; one that ends where another begins makes room for it."""
    now = most = 0
    for _, step in sorted(step for begin, end in spans for step in ((begin, 1), (end, -1))):
        now += step
        most = max(most, now)
    return most


def open_now(up: InProcess) -> int:
    return sum(call.ended is None for call in up.alpha.calls)


def metric(up: InProcess, name: str) -> dict[str, float]:
    """A metric's values by endpoint."""
    families = up.service.telemetry.registry.collect()
    samples = (sample for family in families for sample in family.samples if sample.name == name)
    return {sample.labels["endpoint"]: sample.value for sample in samples}


_UNARY = Script(text="one two", latency=0.05)
_STREAM = Script(text="one two three", pace=0.02)


async def test_ten_calls_at_once_are_never_more_than_two_at_the_provider_and_all_succeed(tmp_path: Path) -> None:
    async with door_at(tmp_path, 2) as door:
        up = door.up
        up.alpha.script(_UNARY)
        answers = await asyncio.gather(*(door.post(body()) for _ in range(10)))
        assert [answer.status for answer in answers] == [200] * 10
        assert (len(up.alpha.calls), most_at_a_time(up.alpha.calls)) == (10, 2)

        up.alpha.forget_calls()
        up.alpha.script(_STREAM)
        streams = await asyncio.gather(*(door.stream(body()) for _ in range(10)))
        assert {(stream.text, stream.done) for stream in streams} == {("one two three", True)}
        assert (len(up.alpha.calls), most_at_a_time(up.alpha.calls)) == (10, 2)

        up.alpha.forget_calls()
        await asyncio.gather(*(up.chat.CreateChatCompletion(ask()) for _ in range(10)))
        assert (len(up.alpha.calls), most_at_a_time(up.alpha.calls)) == (10, 2)
        assert metric(up, "eurouter_endpoint_in_flight") == {ALPHA: 0}
        assert metric(up, "eurouter_endpoint_passed_over_total") == {ALPHA: 24}


async def test_calls_that_find_it_full_go_to_the_next_endpoint_at_once(tmp_path: Path) -> None:
    async with door_at(tmp_path, 2) as door:
        door.up.alpha.script(Script(text="alpha", first_byte_delay=1.0))
        door.up.beta.script(Script(text="beta"))
        answers = await asyncio.gather(*(door.post(body("sim/both")) for _ in range(6)))
        by = sorted((answer.headers["x-provider-slug"], answer.headers["x-fallback-count"]) for answer in answers)
        assert by == [("alpha", "0")] * 2 + [("beta", "0")] * 4
        assert len(door.up.beta.calls) == 4


async def test_endpoints_that_declare_nothing_have_no_numbers(tmp_path: Path) -> None:
    async with running_service(tmp_path) as up:
        up.alpha.script(Script(text="slow", first_byte_delay=30.0))
        calls = [asyncio.ensure_future(up.chat.CreateChatCompletion(ask())) for _ in range(5)]
        await until(lambda: open_now(up) == 5, "all five are under way at a time")
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        assert metric(up, "eurouter_endpoint_in_flight") == {}


async def test_who_waits_in_vain_is_told_so_at_both_doors(tmp_path: Path) -> None:
    async with door_at(tmp_path, 1, {"routing": {"max_retry_wait_seconds": 0.1}}) as door:
        up = door.up
        up.alpha.script(Script(text="slow", first_byte_delay=2.0))
        slow = asyncio.create_task(door.post(body()))
        await until(lambda: open_now(up) == 1, "the first call is under way")
        refused = await door.post(body())
        assert (refused.status, refused.error["reason"]) == (503, "NO_ENDPOINT_AVAILABLE")
        assert "alpha/sim/alpha busy: 1 of 1 calls under way" in refused.error["message"]
        assert (refused.headers["retry-after"], refused.headers["x-should-retry"]) == ("1", "true")
        with pytest.raises(aio.AioRpcError) as caught:
            await up.chat.CreateChatCompletion(ask())
        assert caught.value.code() is StatusCode.UNAVAILABLE
        trailers = dict(caught.value.trailing_metadata() or ())
        assert trailers["grpc-retry-pushback-ms"] == "1000"
        told = await up.routing.DryRunRouting(routing_pb2.DryRunRoutingRequest(model="sim/alpha"))
        assert told.summary == (
            "alpha/sim/alpha would be tried first; "
            "passed over at this moment: alpha/sim/alpha is busy: 1 of 1 calls under way."
        )
        assert (await slow).status == 200
        told = await up.routing.DryRunRouting(routing_pb2.DryRunRoutingRequest(model="sim/alpha"))
        assert told.summary == "alpha/sim/alpha would be tried first."


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_client_that_leaves_frees_its_place(tmp_path: Path, stream: bool) -> None:
    async with door_at(tmp_path, 1) as door:
        up = door.up
        up.alpha.enqueue(Script(tokens=2000, pace=0.01), Script(text="next"))
        request = body(stream=stream, stream_options={"include_usage": True}) if stream else body()
        leaving = asyncio.create_task(door.post(request))
        await until(lambda: open_now(up) == 1, "the first call is under way")
        waiting = asyncio.create_task(door.post(body()))
        gone = asyncio.create_task(door.post(body()))
        await asyncio.sleep(0.1)
        assert len(up.alpha.calls) == 1
        gone.cancel()
        leaving.cancel()
        async with asyncio.timeout(3.0):
            answer = await waiting
        assert answer.json["choices"][0]["message"]["content"] == "next"
        assert (len(up.alpha.calls), most_at_a_time(up.alpha.calls)) == (2, 1)
        await until(lambda: metric(up, "eurouter_endpoint_in_flight") == {ALPHA: 0}, "all places are free")


async def test_background_responses_leave_a_place_for_people(tmp_path: Path) -> None:
    async with door_at(tmp_path, 5, {"jobs": {"endpoint_share": 0.8}}) as door:
        up = door.up
        up.alpha.script(Script(text="one two", pace=0.4))
        made = await asyncio.gather(
            *(door.call("POST", "/v1/responses", json=asked(background=True)) for _ in range(9))
        )
        ids = [answer.json["id"] for answer in made]
        await until(lambda: open_now(up) == 4, "four responses are made")
        up.alpha.enqueue(Script(text="at once"))
        answer = await door.post(body())
        assert answer.json["choices"][0]["message"]["content"] == "at once"
        assert most_at_a_time(up.alpha.calls) == 5

        async def done() -> list[str]:
            found = [await door.call("GET", f"/v1/responses/{each}") for each in ids]
            return [each.json["status"] for each in found]

        async with asyncio.timeout(20.0):
            while (states := await done()) != ["completed"] * 9:
                assert set(states) <= {"queued", "in_progress", "completed"}
                await asyncio.sleep(0.1)
        jobs = [call for call in up.alpha.calls if "." in call.headers["x-request-id"]]
        assert (len(jobs), most_at_a_time(jobs)) == (9, 4)


async def test_background_responses_that_wait_in_vain_are_put_off_and_made_later(tmp_path: Path) -> None:
    async with door_at(tmp_path, 1, {"routing": {"max_retry_wait_seconds": 0.1}}) as door:
        up = door.up
        up.alpha.script(Script(text="one two", first_byte_delay=0.8))
        made = [
            (await door.call("POST", "/v1/responses", json=asked(background=True))).json["id"] for _ in range(3)
        ]
        for each in made:
            async with asyncio.timeout(30.0):
                while (await door.call("GET", f"/v1/responses/{each}")).json["status"] != "completed":
                    await asyncio.sleep(0.1)
        assert (len(up.alpha.calls), most_at_a_time(up.alpha.calls)) == (3, 1)
        jobs = (await up.jobs.ListJobs(jobs_pb2.ListJobsRequest())).jobs
        assert sorted(job.id for job in jobs) == sorted(made)
        assert [job.failed_attempts for job in jobs] == [0, 0, 0]
        # Each beyond the first run of a job is one that was put off.
        assert sum(job.attempts for job in jobs) > 3


async def test_jobs_for_a_full_endpoint_keep_no_other_job_waiting(tmp_path: Path) -> None:
    async with door_at(tmp_path, 1, {"jobs": {"concurrency": 1}}) as door:
        up = door.up
        up.alpha.enqueue(Script(text="slow", first_byte_delay=4.5), Script(text="later"))
        slow = asyncio.create_task(door.post(body()))
        await until(lambda: open_now(up) == 1, "the endpoint is full")
        made = [
            (await door.call("POST", "/v1/responses", json=asked(model, background=True))).json["id"]
            for model in ("sim/alpha", "sim/beta")
        ]
        for each in reversed(made):
            async with asyncio.timeout(15.0):
                while (await door.call("GET", f"/v1/responses/{each}")).json["status"] != "completed":
                    await asyncio.sleep(0.05)
            if each == made[1]:
                assert not slow.done()
        assert (await slow).status == 200
        assert (len(up.alpha.calls), most_at_a_time(up.alpha.calls)) == (2, 1)


async def test_a_larger_share_in_the_settings_lets_in_who_waits(tmp_path: Path) -> None:
    async with door_at(tmp_path, 5, {"jobs": {"endpoint_share": 0.2}}) as door:
        capacity = door.up.service.router.capacity
        row = door.up.service.catalog.current().models["sim/alpha"].endpoints[0]
        held = capacity.enter(row, background=True)
        waiting = asyncio.create_task(capacity.wait([row], 30.0, background=True))
        await asyncio.sleep(0)
        assert capacity.enter(row, background=True) is None
        door.up.upstreams.write_settings({"jobs": {"endpoint_share": 0.4}})
        async with asyncio.timeout(10.0):
            slot = await waiting
        for each in (held, slot):
            assert each is not None
            capacity.leave(each)


@pytest.mark.parametrize("more", [3, None], ids=["a higher number", "no number"])
async def test_another_number_in_the_catalogue_counts_at_once(tmp_path: Path, more: int | None) -> None:
    async with door_at(tmp_path, 1) as door:
        up = door.up
        up.alpha.script(Script(text="slow", first_byte_delay=4.5))
        calls = [asyncio.create_task(door.post(body())) for _ in range(3)]
        await until(lambda: open_now(up) == 1, "the first call is under way")
        up.upstreams.write_catalog(bearing(more)(up.alpha.url, up.beta.url))
        await until(lambda: open_now(up) == 3, "those who wait go in", 4.0)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)


async def test_a_lower_number_ends_no_call_and_counts_for_the_next(tmp_path: Path) -> None:
    async with door_at(tmp_path, 3) as door:
        up = door.up
        version = up.service.catalog.current().version
        up.alpha.script(Script(text="slow", first_byte_delay=2.0))
        first = [asyncio.create_task(door.post(body())) for _ in range(3)]
        await until(lambda: open_now(up) == 3, "three calls are under way")
        up.upstreams.write_catalog(bearing(1)(up.alpha.url, up.beta.url))
        await until(lambda: up.service.catalog.current().version > version, "the catalogue is read again")
        up.alpha.script(_UNARY)
        later = [asyncio.create_task(door.post(body())) for _ in range(3)]
        answers: list[Any] = await asyncio.gather(*first, *later)
        assert [answer.status for answer in answers] == [200] * 6
        assert most_at_a_time(up.alpha.calls[3:]) == 1
        assert all(call.began >= up.alpha.calls[0].began + 1.9 for call in up.alpha.calls[3:])


def test_spans_are_counted_rightly() -> None:
    assert deepest([]) == 0
    assert deepest([(0, 1), (1, 2)]) == 1
    assert deepest([(0, 2), (1, 3), (2.5, 4)]) == 2
    assert deepest([(0, 9), (1, 3), (2, 4)]) == 3
