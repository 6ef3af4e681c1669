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
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.chaos.callers import Callers
from tests.chaos.checker import Violation, check
from tests.chaos.cluster import PROCESS_HEADER, Cluster
from tests.chaos.doors import Away, Door, GrpcDoor, HttpDoor, Refused
from tests.chaos.history import TERMINAL_STATUS, Call, Ending, History, Json
from tests.chaos.schedule import Fault, Plan, What, warm_up

SETTLE_SECONDS: Final = 90.0
"""In which all must be over once nothing more befalls anybody."""

_GRACE: Final = 1.5
"""Seconds after the end in which calls that should be closed can close."""

_AT_A_TIME: Final = 16
_WATCH: Final = 0.05
_LINE: Final = 600


@dataclass
class Outcome:
    """What came of a run. `counts` as the last line names them."""

    seed: int
    history: History
    violations: Sequence[Violation]
    counts: Mapping[str, int]
    folder: Path

    def last_line(self) -> str:
        """The run in one line."""
        counts = ", ".join(f"{name} {count}" for name, count in self.counts.items())
        return f"seed {self.seed}: {counts}"

    def broke(self, rules: frozenset[str]) -> bool:
        """Whether one of these rules is broken."""
        return any(violation.rule in rules for violation in self.violations)

    def report(self, most: int = 40) -> str:
        """What is wrong, and where to look further."""
        more = len(self.violations) - most
        lines = [str(violation)[:_LINE] for violation in self.violations[:most]]
        lines += [f"and {more} more"] if more > 0 else []
        return "\n".join([*lines, f"==> the logs of all processes and history.json are in {self.folder}"])


@dataclass
class _Run:
    plan: Plan
    cluster: Cluster
    history: History
    doors: Mapping[str, Sequence[Door]]
    counts: Counter[str] = field(default_factory=Counter)


async def run(plan: Plan, cluster: Cluster, worker: Sequence[str] | None = None) -> Outcome:
    """Plays the plan; `worker`: the command of workers that take the place of the cluster's.

    All that was seen is in `history.json` in the cluster's folder.
    """
    history = History()
    await cluster.begin(history, worker)
    async with _doors(cluster) as doors:
        playing = _Run(plan, cluster, history, doors)
        callers = Callers(doors, history, plan.seed)
        watching = asyncio.create_task(_watch(history))
        try:
            # What is new is slow: the opening of the plan counts on processes that are at work.
            await asyncio.gather(*(callers.play(request) for request in warm_up(plan.seed)))
            await _play(playing, callers)
        finally:
            watching.cancel()
        await _look(playing)
    (cluster.folder / "history.json").write_text(json.dumps(asdict(history), indent=1))
    violations = check(history)
    accepted = {job for submission in history.submissions for job in submission.ids}
    counts = {
        "jobs": len(history.jobs()),
        "lost answers": len(set(history.jobs()) - accepted),
        "calls": len(history.calls),
        "lost runs": _restarts(history),
        "kills": playing.counts[What.KILL],
        "stops": playing.counts[What.STOP],
        "drains": playing.counts[What.DRAIN],
        "restarts of the database": playing.counts[What.CRASH] + playing.counts[What.RESTART],
        "cancels": callers.cancels,
        "follows": len(history.follows),
        "disconnects": callers.disconnects,
        "violations": len(violations),
    }
    return Outcome(plan.seed, history, violations, counts, cluster.folder)


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


async def _play(run: _Run, callers: Callers) -> None:
    """Requests and faults at their times, then waits until everything is over; at most SETTLE_SECONDS."""
    begin = time.monotonic()
    requests = [
        asyncio.create_task(_at(begin + request.at, partial(callers.play, request)))
        for request in run.plan.requests
    ]
    by_target: dict[str, list[Fault]] = {}
    for fault in run.plan.faults:
        by_target.setdefault(fault.who, []).append(fault)
    async with asyncio.TaskGroup() as tasks:
        for faults in by_target.values():
            tasks.create_task(_befall(run, begin, faults))
    try:
        async with asyncio.timeout(SETTLE_SECONDS):
            await asyncio.gather(*requests)
            await _over(run, run.history.jobs())
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


async def _over(run: _Run, jobs: Sequence[str]) -> None:
    """Returns when all of them are over."""
    waiting = list(jobs)
    while waiting:
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
    history.calls = _calls(await run.cluster.journal())
    if len(history.jobs()) > known:
        # Responses whose callers never got an answer.
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await _over(run, history.jobs())
        except TimeoutError:
            pass
    await asyncio.sleep(_GRACE)
    history.end = time.monotonic()
    history.calls = _calls(await run.cluster.journal())
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


def _calls(journal: Sequence[Mapping[str, Any]]) -> list[Call]:
    calls = []
    for entry in journal:
        job, _, epoch = entry["headers"].get("x-request-id", "").partition(".")
        calls.append(
            Call(
                job=job,
                epoch=int(epoch),
                process=entry["headers"][PROCESS_HEADER],
                prompt=entry["body"]["messages"][-1]["content"],
                began=entry["began"],
                closed=entry["closed"],
                whole=entry["finished"] and entry["status"] == 200,
            )
        )
    return calls


@asynccontextmanager
async def _doors(cluster: Cluster) -> AsyncIterator[Mapping[str, Sequence[Door]]]:
    grpc = [GrpcDoor(address) for address in cluster.addresses]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        try:
            yield {"http": [HttpDoor(address, session) for address in cluster.addresses], "grpc": grpc}
        finally:
            for door in grpc:
                await door.aclose()


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
