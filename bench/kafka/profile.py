"""`python -m bench --profile --only kafka`: where a worker spends its time on Kafka."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.fleet import StartError
from bench.jobs.run import place_of
from bench.kafka import rows, verify
from bench.kafka.run import start
from bench.kafka.sizes import BY, JSON, ON
from bench.kafka.world import KafkaWorlds
from bench.profile_run import recorded, show
from bench.run import Stage
from bench.traffic import ONE_TOKEN_MODEL

_JOBS: Final = 2000
_RECORDS: Final = 10_000
_SECONDS: Final = 5.0


def profile(stage: Stage, written: Path, target: Path) -> None:
    """Profiles the worker while it takes in records that nobody may begin yet, makes jobs that came over gRPC and
    by Kafka, back to back, and those that arrive one by one. The profiles stay beside `target`.

    Raises:
        StartError: something did not run.
    """
    if "kafka" not in stage.options.groups:
        return
    with ExitStack() as stack:
        worlds = start(place_of(stage, stack), stack, written)
        verify.answers(worlds)
        for way in (ON, BY):
            rows.back_to_back(worlds, way, _JOBS // 4)
        _one(worlds, target, "jobs", lambda: rows.back_to_back(worlds, ON, _JOBS))
        _one(worlds, target, "submitted", lambda: rows.back_to_back(worlds, BY, _JOBS))
        _one(worlds, target, "arrivals", lambda: rows.arrivals(worlds, ON, _SECONDS))
        _one(worlds, target, "intake", lambda: _intake(worlds))


def _intake(worlds: KafkaWorlds) -> None:
    worlds.submit(form=JSON, model=ONE_TOKEN_MODEL, count=_RECORDS, small=True, run_at=rows.later())
    rows.waiting(worlds.on, _RECORDS)


def _one(worlds: KafkaWorlds, target: Path, what: str, work: Callable[[], object]) -> None:
    worker = worlds.on.worker
    if worker is None:
        raise StartError("no worker to profile")
    written = worlds.on.profile_of("worker")
    with recorded(worker, written):
        work()
    kept = target.with_name(f"{target.stem}-kafka-{what}.prof")
    written.replace(kept)
    show(kept, f"kafka: {what}")
