"""The measurements through service and worker: what Kafka adds to a job, how soon it wakes, how soon it tells."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bench.fleet import StartError
from bench.jobs import postgres
from bench.jobs.world import World
from bench.kafka.sizes import BY, IN_FLIGHT, JSON, ON, RATE
from bench.kafka.world import JOBS, KafkaWorlds, moments
from bench.run import Watch, watched
from bench.traffic import ONE_TOKEN_MODEL

_MICRO: Final = 1e6
_KIND: Final = "background response"
_REST: Final = 0.1
"""Seconds after the last job in which readers of wake-ups take them in."""

_PACE: Final = 0.3
"""Seconds from one wake-up to the next: the last job is over by then, and what its end stirs up."""
_ALONE_PACE: Final = 1.5
_ALONE: Final = 5
"""Jobs that nobody is woken for, so that it is known what is measured: the worker's next look is a second away."""
_LATE: Final = 0.1
_LATER: Final = timedelta(hours=1)
_WAITING: Final = "SELECT id FROM jobs WHERE status = 'queued'"


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU µs per job of service and worker, and of the worker alone."""

    total: float
    worker: float


def back_to_back(worlds: KafkaWorlds, way: str, jobs: int) -> Cost:
    """What jobs cost until they are over and published: over gRPC `IN_FLIGHT` at a time, by Kafka all at once."""
    where = worlds.of(way)
    with _watched(where) as watch:
        if way == BY:
            worlds.submit(form=JSON, model=ONE_TOKEN_MODEL, count=jobs)
        else:
            where.load(_KIND, ONE_TOKEN_MODEL, in_flight=IN_FLIGHT, calls=jobs)
        worlds.settle(way, jobs)
        time.sleep(_REST)
    return _cost(where, watch, jobs)


def arrivals(worlds: KafkaWorlds, way: str, seconds: float) -> tuple[Cost, list[float]]:
    """What jobs cost that arrive by chance at `RATE`; with Kafka also seconds from the commit of each one's end
    until its result was read.
    """
    where = worlds.of(way)
    with _watched(where) as watch:
        if way == BY:
            jobs = worlds.submit(form=JSON, model=ONE_TOKEN_MODEL, rate=RATE, seconds=seconds)
        else:
            jobs = where.load(_KIND, ONE_TOKEN_MODEL, rate=RATE, seconds=seconds)["calls"]
        came = worlds.settle(way, jobs)
        time.sleep(_REST)
    over = moments(where, "completed", list(came))
    return _cost(where, watch, jobs), [came[each] - over[each] for each in came]


def wakes(worlds: KafkaWorlds, count: int) -> dict[str, list[float]]:
    """Seconds until an idle worker claims a job: `woken` from when its wake-up is written; `alone` without one.

    Nothing else tells the worker: the jobs are there, for later, and become due by a statement of ours.

    Raises:
        StartError: it claims without a wake-up as soon.
    """
    worlds.submit(form=JSON, model=ONE_TOKEN_MODEL, count=count + _ALONE, run_at=later())
    ids = waiting(worlds.on, count + _ALONE)
    told = {"url": worlds.on.url, "topic": JOBS}
    alone = worlds.ask("wake", **told, ids=ids[:_ALONE], pace=_ALONE_PACE, tell=False)
    woken = worlds.ask("wake", **told, ids=ids[_ALONE:], pace=_PACE)
    worlds.settle(ON, len(ids))
    claimed = moments(worlds.on, "in_progress", ids)
    found = {
        name: [claimed[each] - at for each, at in begun.items()]
        for name, begun in (("woken", woken), ("alone", alone))
    }
    if sorted(found["alone"])[_ALONE // 2] < _LATE:
        raise StartError("the worker claims without a wake-up as soon: something else tells it")
    return found


def later() -> str:
    """A time at which nothing of the run is left."""
    return (datetime.now(UTC) + _LATER).strftime("%Y-%m-%dT%H:%M:%SZ")


def waiting(where: World, count: int) -> list[str]:
    """Returns when so many jobs wait; their ids.

    Raises:
        StartError: they don't.
    """
    due = time.monotonic() + 30.0
    while len(rows := postgres.ask(where.url, _WAITING)) < count:
        if time.monotonic() > due:
            raise StartError(f"{len(rows)} of {count} records were taken in")
        time.sleep(0.05)
    # One that is asked for as soon as it is stored may find others' news still under way.
    time.sleep(1.0)
    return [row["id"] for row in rows]


def _watched(where: World) -> Any:
    return watched(*where.ours)


def _cost(where: World, watch: Watch, jobs: int) -> Cost:
    assert where.worker is not None
    return Cost(watch.total / jobs * _MICRO, watch.spent[where.worker.pid] / jobs * _MICRO)
