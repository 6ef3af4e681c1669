"""Intake by itself: how many small records a second one worker's consumer takes in, and what each costs.

They wait in their topic when the worker starts. It works on one job, and on no other one meanwhile: it reads,
stores, and publishes the wake-ups of what it took in.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from bench.fleet import StartError
from bench.jobs import postgres
from bench.jobs.world import World
from bench.kafka.client import small_record
from bench.kafka.world import DLQ, KafkaWorlds, settings_of
from bench.run import watched
from bench.traffic import PACED_MODEL
from service.edge.kafka import names

_MICRO: Final = 1e6
_LOOK_SECONDS: Final = 0.05
_PATIENCE: Final = 120.0
_COUNT: Final = "SELECT count(*) FROM jobs"
_COUNTS: Final = """
SELECT (SELECT count(*) FROM jobs) AS jobs, (SELECT count(*) FROM idempotency) AS keys,
  (SELECT count(*) FROM job_origins) AS origins
"""
# What asks for a job stays as long as it waits: its row is as it was written.
_COMMITS: Final = """
SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 AS at, count(*) AS jobs
FROM job_requests GROUP BY 1 ORDER BY 1
"""
_FORGET: Final = """
TRUNCATE jobs, responses, job_requests, response_events, idempotency, job_origins, outbox, usage_records
"""


def intake(worlds: KafkaWorlds, where: World, number: int, form: str, records: int) -> dict[str, Any]:
    """So many records from a new topic into an empty database, and out of it again.

    `rate`: a second, from the first batch's commit to the last one's; `cpu`: the worker's µs per record; `bytes`
    of a record; `batch`: records per transaction; `busy`, `database_busy`, `broker_busy`: CPU seconds a second.

    Raises:
        StartError: some were not taken in, or became dead letters.
    """
    topic = f"bench.intake.{number}.{form}"
    worlds.broker.create(topic)
    model = PACED_MODEL
    worlds.ask("submit", topic=topic, form=form, model=model, count=records, small=True)
    where.start_worker({"kafka": settings_of(worlds.broker, topic, topic), "jobs": {"concurrency": 1}})
    assert where.worker is not None
    database, broker = where.place.server.running.pid, worlds.broker.pid
    postgres.wait_for(_until(where, 1))
    begun = time.monotonic()
    with watched(where.worker.pid) as worker, watched(database) as of_database, watched(broker) as of_broker:
        before = postgres.wait_for(_until(where, 1))
        postgres.wait_for(_until(where, records))
    seconds = time.monotonic() - begun
    commits = postgres.ask(where.url, _COMMITS)
    where.stop_worker()
    _check(worlds, where, records)
    postgres.wait_for(postgres.execute(where.url, _FORGET))
    after_first = sum(row["jobs"] for row in commits[1:])
    return {
        "rate": after_first / (commits[-1]["at"] - commits[0]["at"]),
        "cpu": worker.total / (records - before) * _MICRO,
        "bytes": len(small_record(form, model)),
        "batch": records / len(commits),
        "busy": worker.total / seconds,
        "database_busy": of_database.total / seconds,
        "broker_busy": of_broker.total / seconds,
    }


async def _until(where: World, records: int) -> int:
    """Returns when so many jobs are there; how many are."""
    due = time.monotonic() + _PATIENCE
    connection = await postgres.connect(where.url)
    try:
        while (stored := await connection.fetchval(_COUNT)) < records:
            assert where.worker is not None
            ended = where.worker.process.poll() is not None
            if ended or time.monotonic() > due:
                why = "the worker ended" if ended else f"not done after {_PATIENCE:.0f} s"
                raise StartError(f"{stored} of {records} records were taken in, {why}:\n{where.worker.tail()}")
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        await connection.close()
    return int(stored)


def _check(worlds: KafkaWorlds, where: World, records: int) -> None:
    found = dict(postgres.ask(where.url, _COUNTS)[0])
    if found != {"jobs": records, "keys": records, "origins": records}:
        raise StartError(f"{records} records were submitted, and there are {found}")
    if letters := worlds.broker.statuses(DLQ, names.DLQ_REASON):
        raise StartError(f"{len(letters)} records became dead letters: {letters[0][1]}")
