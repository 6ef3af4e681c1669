"""One run: a plan played on a cluster, everybody made well again, and then what was seen is checked."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final

import aiohttp

from tests.chaos.callers import Callers
from tests.chaos.checker import check
from tests.chaos.cluster import Cluster
from tests.chaos.doors import Away, Door, Refused
from tests.chaos.entrance import Entrance
from tests.chaos.history import TERMINAL_STATUS, Ending, History, Json
from tests.chaos.kafka_run import KafkaRun
from tests.chaos.kafka_schedule import warm_up_records
from tests.chaos.outcome import Outcome, calls_of
from tests.chaos.rollout import Rollout
from tests.chaos.schedule import Fault, Plan, What, warm_up

SETTLE_SECONDS: Final = 90.0
"""In which all must be over once nothing more befalls anybody."""

_KAFKA_SECONDS: Final = 60.0
"""So much more where partitions have to change hands before anybody reads them."""

_GRACE: Final = 1.5
"""Seconds after the end in which calls that should be closed can close."""

_AT_A_TIME: Final = 16
_WATCH: Final = 0.05


@dataclass
class _Run:
    plan: Plan
    cluster: Cluster
    history: History
    doors: Mapping[str, Sequence[Door]]
    callers: Callers
    kafka: KafkaRun | None
    rollout: Rollout | None = None
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def settle(self) -> float:
        """Seconds in which all must be over."""
        return SETTLE_SECONDS + (0.0 if self.kafka is None else _KAFKA_SECONDS)


async def run(
    plan: Plan, cluster: Cluster, worker: Sequence[str] | None = None, rollout: Rollout | None = None
) -> Outcome:
    """Plays the plan; `worker`: the command of workers that take the place of the cluster's.

    `rollout`: how all processes are replaced meanwhile.

    All that was seen is in `history.json` in the cluster's folder.
    """
    history = History()
    await cluster.begin(history, worker)
    async with _entrance(cluster) as entrance:
        doors = entrance.by_kind
        callers = Callers(doors, history, plan.seed)
        brokers = cluster.brokers
        kafka = KafkaRun(brokers, cluster.database, callers, history) if brokers is not None else None
        playing = _Run(plan, cluster, history, doors, callers, kafka, rollout)
        if rollout is not None:
            rollout.begin(entrance, history)
        watching = asyncio.create_task(_watch(history))
        try:
            await _warm_up(playing)
            await _play(playing)
        finally:
            watching.cancel()
            if kafka is not None:
                await kafka.aclose()
        await _look(playing)
    (cluster.folder / "history.json").write_text(json.dumps(asdict(history), indent=1, default=sorted))
    violations = check(history)
    counts = _counts(playing) | {"violations": len(violations)}
    return Outcome(plan.seed, history, violations, counts, cluster.folder)


def _counts(run: _Run) -> dict[str, int]:
    history = run.history
    accepted = {job for submission in history.submissions for job in submission.ids}
    counts = {
        "jobs": len(history.jobs()),
        "lost answers": len(set(history.jobs()) - accepted),
        "calls": len(history.calls),
        "lost runs": _restarts(history),
        "kills": run.counts[What.KILL],
        "stops": run.counts[What.STOP],
        "drains": run.counts[What.DRAIN],
        "restarts of the database": run.counts[What.CRASH] + run.counts[What.RESTART],
        "cancels": run.callers.cancels,
        "follows": len(history.follows),
        "disconnects": run.callers.disconnects,
    }
    if run.rollout is not None:
        counts |= {**run.rollout.counts(), "calls for jobs made again": run.callers.away}
    return counts if run.kafka is None else {**counts, "deletes": len(history.deleted), **run.kafka.counts()}


async def _watch(history: History) -> None:
    """Measures how late this process is served."""
    while True:
        due = time.monotonic() + _WATCH
        await asyncio.sleep(_WATCH)
        history.lateness = max(history.lateness, time.monotonic() - due)


def _restarts(history: History) -> int:
    """How often output that was seen had to be forgotten."""
    logs = [endings[0].events for endings in history.endings.values() if endings]
    return sum(event["type"] == "response.restarted" for log in logs for event in log)


async def _warm_up(run: _Run) -> None:
    """What is new is slow: the opening of the plan counts on processes that are at work."""
    playing = [run.callers.play(request) for request in warm_up(run.plan.seed)]
    if run.kafka is not None:
        playing += [run.kafka.play(record) for record in warm_up_records(run.plan.seed)]
    try:
        async with asyncio.timeout(SETTLE_SECONDS):
            await asyncio.gather(*playing)
    except TimeoutError:
        raise AssertionError(f"nothing works before anything befalls it: see {run.cluster.folder}") from None


async def _play(run: _Run) -> None:
    """Requests and faults at their times, then waits until everything is over; at most as long as it may take."""
    begin = time.monotonic()
    plays = [(request.at, partial(run.callers.play, request)) for request in run.plan.requests]
    if run.kafka is not None:
        plays += [(record.request.at, partial(run.kafka.play, record)) for record in run.plan.records]
    requests = [asyncio.create_task(_at(begin + at, play)) for at, play in plays]
    by_target: dict[str, list[Fault]] = {}
    for fault in run.plan.faults:
        # One broker at a time.
        target = "brokers" if fault.who.startswith("broker-") else fault.who
        by_target.setdefault(target, []).append(fault)
    async with asyncio.TaskGroup() as tasks:
        for faults in by_target.values():
            tasks.create_task(_befall(run, begin, faults))
        if run.rollout is not None:
            tasks.create_task(run.rollout.play(run.plan.seconds))
    try:
        async with asyncio.timeout(run.settle):
            await asyncio.gather(*requests)
            await _over(run)
    except TimeoutError:
        # Whoever still waits is what the checker will find.
        pass
    finally:
        for task in requests:
            task.cancel()
        await asyncio.gather(*requests, return_exceptions=True)


async def _befall(run: _Run, begin: float, faults: Sequence[Fault]) -> None:
    """One target's faults, one after another."""
    for fault in faults:
        await asyncio.sleep(max(0.0, begin + fault.at - time.monotonic()))
        if fault.who.startswith("broker-"):
            assert run.cluster.brokers is not None
            await run.cluster.brokers.befall(fault)
            continue
        run.counts[fault.what] += 1
        if fault.who == "database":
            how = signal.SIGQUIT if fault.what is What.CRASH else signal.SIGINT
            await run.cluster.restart_database(how, fault.seconds)
            continue
        member = run.cluster.members[fault.who]
        if fault.what is What.STOP:
            await member.pause(fault.seconds)
            continue
        await (member.kill() if fault.what is What.KILL else member.drain())
        await asyncio.sleep(fault.seconds)
        await member.start()


async def _over(run: _Run) -> None:
    """Returns when all that is heard of now is over, or deleted."""
    waiting = run.history.jobs()
    while waiting := [job for job in waiting if job not in run.history.deleted]:
        statuses = await _each(waiting, lambda job: _status(run.doors["http"], job))
        waiting = [job for job, status in zip(waiting, statuses, strict=True) if status not in TERMINAL_STATUS]
        await asyncio.sleep(0.5)


async def _status(doors: Sequence[Door], job: str) -> str | None:
    try:
        return str((await doors[hash(job) % len(doors)].get(job))["status"])
    except (Away, Refused):
        return None


async def _look(run: _Run) -> None:
    """What there is to see in the end: the provider's journal, and each response at each replica."""
    history = run.history
    known = len(history.jobs())
    history.calls = calls_of(await run.cluster.journal())
    if run.kafka is not None:
        await run.kafka.read()
    if len(history.jobs()) > known:
        # Responses whose callers never got an answer.
        try:
            async with asyncio.timeout(run.settle):
                await _over(run)
        except TimeoutError:
            pass
    if run.kafka is not None:
        await run.kafka.settle()
    await asyncio.sleep(_GRACE)
    history.end = time.monotonic()
    history.calls = calls_of(await run.cluster.journal())
    jobs = history.jobs()
    first, second = run.doors["http"][0], run.doors["grpc"][-1]
    for door in (first, second):
        for job, ending in zip(jobs, await _each(jobs, partial(_ending, door)), strict=True):
            history.endings.setdefault(job, []).append(ending)


async def _ending(door: Door, job: str) -> Ending:
    response: Json | None = None
    events: list[Json] = []
    try:
        response = await door.get(job)
        async with asyncio.timeout(10):
            async for event in door.follow(job, -1):
                events.append(event)  # noqa: PERF401  what came before a failure counts
    except (Away, Refused, TimeoutError):
        # A log without its end, which the checker finds.
        pass
    return Ending(door.name, response, events)


@asynccontextmanager
async def _entrance(cluster: Cluster) -> AsyncIterator[Entrance]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        entrance = Entrance(session, cluster.addresses)
        try:
            yield entrance
        finally:
            await entrance.aclose()


async def _at(moment: float, act: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
    await act()


async def _each(jobs: Sequence[str], act: Callable[[str], Awaitable[Any]]) -> list[Any]:
    """What `act` gives for each, a few at a time."""
    free = asyncio.Semaphore(_AT_A_TIME)

    async def one(job: str) -> Any:
        async with free:
            return await act(job)

    return list(await asyncio.gather(*(one(job) for job in jobs)))
