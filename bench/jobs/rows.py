"""The measurements through service and worker: what a job costs, how soon it is accepted, drained and followed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

from bench.fleet import Piped, StartError
from bench.jobs import postgres
from bench.jobs.sizes import IN_FLIGHT, RATE, STREAM_CONCURRENCY
from bench.jobs.world import Look, World
from bench.run import watched
from bench.traffic import ONE_TOKEN_MODEL, PACED_MODEL, UNARY_MODEL, Kind

_MICRO: Final = 1e6
_FOLLOW_SPREAD: Final = 0.5
_WORKER_EVENTS: Final = 2
"""Events before this number are written when a job is accepted."""

# Every token by itself: what a busy worker would merge is what is to be counted.
UNMERGED: Final = {
    "coalesce": {"max_window_ms": 0},
    "jobs": {"concurrency": STREAM_CONCURRENCY, "per_owner": STREAM_CONCURRENCY},
}
_EVENTS: Final = "SELECT coalesce(sum(sequence), 0)::bigint AS events FROM jobs WHERE owner = 'bench'"
_COMMITS: Final = """
SELECT e.response_id, e.sequence, extract(epoch FROM pg_xact_commit_timestamp(e.xmin))::float8 AS at
FROM unnest($1::text[]) AS f (id) CROSS JOIN LATERAL (
  SELECT response_id, sequence, xmin FROM response_events WHERE response_id = f.id ORDER BY sequence
) AS e
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU µs per call of all our processes, and of the service alone."""

    total: float
    service: float


def cost(world: World, kind: Kind, calls: int, model: str = UNARY_MODEL) -> Cost:
    """What calls cost, jobs until the last one is over."""
    service = world.service.running.pid
    with watched(*world.ours) as watch:
        world.load(kind, model, in_flight=IN_FLIGHT, calls=calls)
        if kind == "background response":
            world.watch()
    return Cost(watch.total / calls * _MICRO, watch.spent[service] / calls * _MICRO)


def accepted(world: World, seconds: float) -> list[float]:
    """Seconds until each of the jobs that arrive at `RATE` was accepted, while the worker makes them."""
    result = world.load("background response", UNARY_MODEL, rate=RATE, seconds=seconds)
    world.watch()
    whole: list[float] = result["whole"]
    return whole


def drain(world: World, jobs: int) -> dict[str, Any]:
    """A new worker with so many one-token jobs before it: `rate` and the rates of the `fifths`, jobs a second.

    Time counts from the first look that sees one taken. `cpu`: µs of the worker per job; `busy` and
    `database_busy`: CPU seconds a second of the worker and of the database. The worker stays.
    """
    world.stop_worker()
    world.load("background response", ONE_TOKEN_MODEL, in_flight=64, calls=jobs)
    world.start_worker()
    assert world.worker is not None
    with watched(world.worker.pid) as worker, watched(world.place.server.running.pid) as database:
        looks = _begun(world.watch(), jobs)
    seconds = looks[-1].at - looks[0].at
    return {
        "rate": looks[0].left / seconds,
        "fifths": drained_by_fifths(looks),
        "cpu": worker.total / jobs * _MICRO,
        "busy": worker.total / seconds,
        "database_busy": database.total / seconds,
        "looks": [asdict(look) for look in looks],
    }


def events(world: World, streams: int) -> dict[str, Any]:
    """A new worker with so many streamed jobs before it, each token an event: `rate` of events a second from a
    look to a later one, both while jobs still wait. `cpu`: the worker's µs per event; `busy`, `rest_busy`: CPU
    seconds a second of the worker, and of upstream and database. The worker is gone afterwards.
    """
    world.stop_worker()
    world.load("background response", PACED_MODEL, in_flight=64, calls=streams, stream=True, leave=True)
    world.start_worker(UNMERGED)
    assert world.worker is not None
    place = world.place
    # From when all places are taken until no job is left to fill one.
    world.watch(until_waiting=streams - STREAM_CONCURRENCY, until_running=streams)
    with watched(world.worker.pid) as worker, watched(place.upstream.pid, place.server.running.pid) as rest:
        before = postgres.ask(world.url, _EVENTS)[0]["events"]
        looks = world.watch(until_running=STREAM_CONCURRENCY)
        after = postgres.ask(world.url, _EVENTS)[0]["events"]
    seconds = looks[-1].at - looks[0].at
    world.watch()
    world.stop_worker()
    counted = after - before
    return {
        "rate": counted / seconds,
        "events": counted,
        "seconds": seconds,
        "cpu": worker.total / counted * _MICRO,
        "busy": worker.total / seconds,
        "rest_busy": rest.total / seconds,
    }


def lags(world: World, followers: Piped, count: int) -> list[float]:
    """Seconds from each event's commit by the worker until a follower has it, through the service, over gRPC."""
    command = {
        "port": world.service.grpc_port,
        "key": world.service.key,
        "model": PACED_MODEL,
        "count": count,
        "spread": _FOLLOW_SPREAD,
    }
    came = {one["id"]: one["times"] for one in followers.ask(command)["followed"]}
    found = [
        came[row["response_id"]][row["sequence"]] - row["at"]
        for row in postgres.ask(world.url, _COMMITS, list(came))
        if row["sequence"] >= _WORKER_EVENTS
    ]
    if len(found) != sum(len(times) - _WORKER_EVENTS for times in came.values()):
        raise StartError("followers were told of other events than were stored")
    return found


def _begun(looks: list[Look], jobs: int) -> list[Look]:
    return next(looks[at:] for at, look in enumerate(looks) if look.left < jobs or look.running)


def drained_by_fifths(looks: list[Look]) -> list[float]:
    """How many jobs a second were over in each fifth of the time."""
    first, last = looks[0], looks[-1]
    step = (last.at - first.at) / 5
    inner = (next(look for look in looks if look.at >= first.at + number * step) for number in range(1, 5))
    return [
        (one.left - other.left) / max(other.at - one.at, 1e-9) for one, other in pairwise((first, *inner, last))
    ]
