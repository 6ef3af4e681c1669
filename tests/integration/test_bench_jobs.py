"""The benchmark's group of background jobs: a tiny run of all of it, and the instruments that it adds."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from bench import floor, grpc_process, measure
from bench.jobs import report, run
from bench.jobs.rows import drained_by_fifths
from bench.jobs.sizes import BEHIND, EMPTY, FILLED, OPEN, Sizes
from bench.jobs.world import Look
from bench.load import Generator, Load
from bench.run import Options, Raw, Stage
from bench.traffic import BURST_MODEL, UNARY_MODEL
from tests.support import parts, postgres

pytestmark = pytest.mark.slow

LINUX = pytest.mark.skipif(not measure.supported(), reason="part missing: /proc: the benchmark runs on Linux")

TINY = Sizes(rounds=1, calls=20, seconds=0.5, drain=100, streams=160, followed=2, claims=3, few=1000, many=2000)
FINISHED = 300


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, Any]]:
    parts.require("a private PostgreSQL", postgres.can_start(), postgres.HOW)
    raw = Raw()
    options = Options(1, quick=True, groups=frozenset({"jobs"}), servers=frozenset(), finished=FINISHED)
    with (
        tempfile.TemporaryDirectory(prefix="eurouter-bench-") as folder,
        Stage(options, Path(folder), raw) as stage,
        ExitStack() as stack,
    ):
        yield run.everything(run.place_of(stage, stack), TINY, FINISHED, lambda _: None)


@LINUX
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "before"), [(EMPTY, 0), (FILLED, FINISHED)])
def test_every_row_of_jobs_is_measured_with_and_without_finished_jobs(
    found: dict[str, Any], name: str, before: int
) -> None:
    world = found[name]
    assert world["finished"] == before
    for kind in ("foreground", "background"):
        (cost,) = world[kind]
        assert 100 < cost["service"] <= cost["total"] < 1_000_000
    assert world["background"][0]["service"] < world["background"][0]["total"]
    assert 10 < len(world["accepted"][0]) < 150
    # The event of the claim, of each piece of text, and those around it.
    assert len(world["lags"][0]) > 2 * 20
    assert all(-0.05 < lag < 5 for lag in world["lags"][0])
    (drain,) = world["drains"]
    assert drain["rate"] > 5
    assert drain["looks"][-1]["waiting"] == drain["looks"][-1]["running"] == 0
    assert {which: list(by_waiting) for which, by_waiting in world["claims"].items()} == {
        OPEN: ["1000", "2000"],
        BEHIND: ["1000", "2000"],
    }
    assert all(
        len(seconds) == TINY.claims and min(seconds) > 0
        for measured in (world["claims"], world["claims_cpu"])
        for by_waiting in measured.values()
        for rounds in by_waiting.values()
        for seconds in rounds
    )


@LINUX
@pytest.mark.timeout(300)
def test_a_run_of_jobs_judges_every_target_and_tells_what_it_measured(found: dict[str, Any]) -> None:
    (events,) = found[EMPTY]["events"]
    assert events["events"] > 32
    assert found["sqlite"]["accept_cpu"] > 1
    assert found[FILLED]["bytes"] > 1_000_000
    verdicts = report.verdicts(found)
    assert [verdict.what for verdict in verdicts if verdict.met is None] == []
    assert len([verdict for verdict in verdicts if "300 finished jobs" in verdict.what]) == 4 + 2 * 2
    told = report.tables(found)
    for words in ("background job", "accept at 100 a second, p99", "behind a full owner", "SQLite", "bytes a job"):
        assert words in told


def world(job: float, call: float, **more: Any) -> dict[str, Any]:
    """Figures as a run leaves them."""
    base = {"finished": 0, "drains": [], "events": [], "claims_cpu": {}, "accepted": [], "lags": []}
    costs = {"background": [{"total": job, "service": 1.0}], "foreground": [{"total": call, "service": 1.0}]}
    return base | costs | more


def test_a_job_is_judged_by_what_it_costs_more_than_the_same_call() -> None:
    marks = {}
    for job in (2500.0, 2501.0):
        verdict = report.verdicts({EMPTY: world(job, 1000.0)})[0]
        marks[verdict.measured] = verdict.mark
    assert marks == {"1,500 µs": "met", "1,501 µs": "MISSED"}


def test_a_rate_is_judged_by_the_least_that_is_wanted() -> None:
    for rate, mark in ((150.0, "met"), (149.0, "MISSED")):
        found = {EMPTY: world(1.0, 1.0, drains=[{"rate": rate}])}
        assert next(v for v in report.verdicts(found) if v.what.startswith("drain")).mark == mark


def test_a_claim_is_judged_by_the_ratio_of_its_cpu_among_many_and_few() -> None:
    cpu = {OPEN: {"10": [[1.0, 1.0, 9.0]], "99": [[2.0, 2.0, 30.0]]}, BEHIND: {"10": [[1.0]], "99": [[2.1]]}}
    found = report.verdicts({EMPTY: world(1.0, 1.0, claims_cpu=cpu)})
    told = {v.what: (v.measured.split()[0], v.mark) for v in found if v.what.startswith("claim")}
    assert list(told.values()) == [("2.00", "met"), ("2.10", "MISSED")]


def test_finished_jobs_may_make_a_figure_worse_by_a_fifth_and_better_by_anything() -> None:
    before = world(1000.0, 1.0, drains=[{"rate": 300.0}], accepted=[[0.01]])
    after = world(1190.0, 1.0, finished=5, drains=[{"rate": 240.0}], accepted=[[0.001]])
    found = report.verdicts({EMPTY: before, FILLED: after})
    told = {v.what.removeprefix("5 finished jobs: "): (v.measured, v.mark) for v in found if "finished" in v.what}
    assert told == {
        "cost of a background job": ("+19.0%", "met"),
        "accept, p99": ("-90.0%", "met"),
        "drain, seconds a job": ("+25.0%", "MISSED"),
        "live follower's lag, p99": ("", "not measured"),
    }


def test_a_drain_shows_where_it_was_slow() -> None:
    looks = [
        Look(at, waiting, 0) for at, waiting in ((0.0, 100), (1.0, 80), (2.0, 60), (3.0, 50), (4.0, 40), (5, 0))
    ]
    assert drained_by_fifths(looks) == [20, 20, 10, 10, 40]


@asynccontextmanager
async def serving(methods: grpc_process.Methods) -> AsyncIterator[int]:
    server = aio.server()
    server.add_generic_rpc_handlers((grpc_process.handlers(methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


def load(port: int, model: str, **more: Any) -> Load:
    return Load("grpc", port, model, in_flight=2, connections=2, close=True, **more)


async def test_calls_that_arrive_at_a_rate_wait_for_no_other_call() -> None:
    async def slow(request: grpc_process.Request, context: grpc_process.Context) -> Any:
        await asyncio.sleep(0.5)
        return await floor.create(request, context)

    async with serving(grpc_process.Methods(slow, floor.stream)) as port:
        begun = time.perf_counter()
        result = await Generator().run(load(port, UNARY_MODEL, stream=False, rate=60.0, seconds=1.0))
    # One after the other on two connections they would take ten times as long.
    assert time.perf_counter() - begun < 4
    assert 30 < result.calls < 100
    assert (result.failed, len(result.whole)) == (0, result.calls)
    assert min(result.whole) >= 0.5


async def test_a_call_that_is_left_ends_with_its_first_message_and_is_cancelled_at_the_server() -> None:
    ended = asyncio.Queue[str]()

    async def endless(request: grpc_process.Request, context: grpc_process.Context) -> None:
        (chunk, *_) = floor._chunks(request.model)
        try:
            while True:
                await context.write(chunk)
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            ended.put_nowait("cancelled")
            raise

    async with serving(grpc_process.Methods(floor.create, endless)) as port:
        result = await Generator().run(load(port, BURST_MODEL, stream=True, leave=True, calls=5))
        async with asyncio.timeout(5):
            assert [await ended.get() for _ in range(5)] == ["cancelled"] * 5
    assert (result.calls, result.failures) == (5, [])
    assert 5 <= result.messages < 50
