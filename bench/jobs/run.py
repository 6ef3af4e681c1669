"""The group `jobs`: all measurements of background jobs, on a database that is empty at first, and on one with
millions of finished jobs in it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, Final

import asyncpg

from bench.fleet import Piped, StartError
from bench.jobs import claims, fill, postgres, rows, verify, world
from bench.jobs.sizes import EMPTY, FILLED, Sizes, sizes_of
from bench.jobs.world import Place, World
from bench.run import Stage
from bench.traffic import Kind

Say = Callable[[str], None]

_CLAIM_ROUNDS: Final = 2
_COSTS: Final[dict[str, Kind]] = {"foreground": "stored response", "background": "background response"}


def measure(stage: Stage, say: Say) -> None:
    """Measures when the group was asked for; the figures go to `stage.raw.jobs`.

    By world: `foreground` and `background` costs, `accepted`, `lags`, `drains`, `events`, `claims` with
    `claims_cpu`; `finished` jobs that were there before, and the `bytes` that the database has with them. Beside
    the worlds `sqlite`.
    """
    options = stage.options
    if "jobs" not in options.groups:
        return
    sizes = sizes_of(rounds=options.rounds, quick=options.quick)
    try:
        with ExitStack() as stack:
            stage.raw.jobs |= everything(place_of(stage, stack), sizes, options.finished, say)
    except (StartError, asyncpg.PostgresError, OSError) as error:
        stage.raw.missing["background jobs"] = str(error)


def everything(place: Place, sizes: Sizes, finished: int, say: Say) -> dict[str, Any]:
    """All figures; `finished` 0: of an empty database only.

    Raises:
        StartError: something did not run.
    """
    found: dict[str, Any] = {"sizes": asdict(sizes)}
    with ExitStack() as stack:
        followers = Piped("followers", "bench.jobs.followers", place.cores, place.folder)
        stack.callback(followers.stop)
        worlds: list[World] = []
        for name in (EMPTY, FILLED) if finished else (EMPTY,):
            say(f"jobs: starting on a database that is {name}")
            worlds.append(world.start(name, place))
            stack.callback(worlds[-1].stop)
            found[name] = _new(finished if name == FILLED else 0)
        if finished:
            found[FILLED]["bytes"] = fill.finished(worlds[-1].url, finished, say)
        for each in worlds:
            _prepare(each, sizes, say)
        _go_round(worlds, followers, sizes, found, say)
        for each in worlds:
            _once(each, sizes, found[each.name], say)
            each.check()
    say("jobs: SQLite")
    found["sqlite"] = claims.on_sqlite(place.folder, sizes)
    return found


def place_of(stage: Stage, stack: ExitStack) -> Place:
    """Starts the database server; `stack` stops it."""
    server = postgres.start(stage.cores.rest, stage.folder / "postgres")
    stack.callback(server.stop)
    return Place(stage.loads, stage.upstream, stage.upstream_url, server, stage.cores, stage.folder)


def _new(finished: int) -> dict[str, Any]:
    lists = ("foreground", "background", "accepted", "lags", "drains", "events")
    return {"finished": finished, "claims": {}, "claims_cpu": {}} | {name: [] for name in lists}


def _prepare(each: World, sizes: Sizes, say: Say) -> None:
    say(f"jobs, {each.name}: warming up")
    each.start_worker()
    verify.answers(each)
    for kind in _COSTS.values():
        rows.cost(each, kind, max(10, sizes.calls // 2))


def _go_round(worlds: list[World], followers: Piped, sizes: Sizes, found: dict[str, Any], say: Say) -> None:
    """What is measured every round, in each world in turn: machines change their speed."""
    for number in range(sizes.rounds):
        for each in worlds if number % 2 == 0 else reversed(worlds):
            kept = found[each.name]
            say(f"jobs, round {number + 1} of {sizes.rounds}, {each.name}: cost, accept, followers")
            for name, kind in _COSTS.items():
                kept[name].append(asdict(rows.cost(each, kind, sizes.calls)))
            kept["accepted"].append(rows.accepted(each, sizes.seconds))
            kept["lags"].append(rows.lags(each, followers, sizes.followed))


def _once(each: World, sizes: Sizes, kept: dict[str, Any], say: Say) -> None:
    """What takes long."""
    say(f"jobs, {each.name}: {sizes.drain:,} waiting jobs")
    kept["drains"].append(rows.drain(each, sizes.drain))
    if each.name == EMPTY:
        say(f"jobs, {each.name}: {sizes.streams} streams")
        kept["events"].append(rows.events(each, sizes.streams))
    each.stop_worker()
    for _ in range(min(_CLAIM_ROUNDS, sizes.rounds)):
        say(f"jobs, {each.name}: claims among {sizes.many:,}")
        found = claims.Measured(kept["claims"], kept["claims_cpu"])
        claims.on_postgres(each.url, each.place.server.running.pid, sizes, found)
