"""`python -m bench --profile --only jobs`: where service and worker spend their time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.fleet import Piped, Running
from bench.jobs import rows, world
from bench.jobs.run import place_of
from bench.jobs.sizes import EMPTY
from bench.jobs.world import World
from bench.profile_run import recorded, show
from bench.run import Stage
from bench.traffic import ONE_TOKEN_MODEL, PACED_MODEL, UNARY_MODEL

_JOBS: Final = 2000
_STREAMS: Final = 384
_FOLLOWED: Final = 64


def profile(stage: Stage, written: Path, target: Path) -> None:
    """Profiles the service while it accepts and while it is followed, the worker while it makes waiting jobs of 64
    tokens and of one, and streams. The profiles stay beside `target`.

    Raises:
        StartError: something did not run.
    """
    if "jobs" not in stage.options.groups:
        return
    with ExitStack() as stack:
        place = place_of(stage, stack)
        followers = Piped("followers", "bench.jobs.followers", stage.cores, stage.folder)
        stack.callback(followers.stop)
        up = world.start(EMPTY, place, written)
        stack.callback(up.stop)
        _warm(up)
        service = up.service.running
        _one(up, service, target, "accept", lambda: _wait(up, UNARY_MODEL))
        _one(up, _worker(up), target, "jobs", up.watch)
        _wait(up, ONE_TOKEN_MODEL)
        up.stop_worker()
        _one(up, _worker(up), target, "drain", up.watch)
        _one(up, service, target, "follow", lambda: rows.lags(up, followers, _FOLLOWED))
        up.stop_worker()
        up.load("background response", PACED_MODEL, in_flight=64, calls=_STREAMS, stream=True, leave=True)
        up.start_worker(rows.UNMERGED)
        assert up.worker is not None
        _one(up, up.worker, target, "events", up.watch)


def _warm(up: World) -> None:
    _worker(up)
    rows.cost(up, "background response", 200)
    up.stop_worker()


def _wait(up: World, model: str) -> None:
    """So many waiting jobs; the worker is gone."""
    up.stop_worker()
    up.load("background response", model, in_flight=16, calls=_JOBS)


def _worker(up: World) -> Running:
    up.start_worker()
    assert up.worker is not None
    return up.worker


def _one(up: World, running: Running, target: Path, what: str, work: Callable[[], object]) -> None:
    written = up.profile_of("service" if running is up.service.running else "worker")
    with recorded(running, written):
        work()
    kept = target.with_name(f"{target.stem}-jobs-{what}.prof")
    written.replace(kept)
    show(kept, f"jobs: {what}")
