"""How outbox records become values, and what their rows mean; the same for both databases."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from service.domain.jobs import JobState
from service.domain.outbox import (
    FinishedJob,
    Headers,
    OutboxKind,
    OutboxRecord,
    OutboxRow,
    destination_of,
    shard_of,
)

Row: TypeAlias = Any

_OF_JOBS: Final = frozenset({OutboxKind.WAKE, OutboxKind.RESULT, OutboxKind.TOMBSTONE})

_KINDS: Final = {kind.value: kind for kind in OutboxKind}


def headers_text(headers: Headers) -> str | None:
    """Headers as they are stored: any bytes of a value are as many characters."""
    return json.dumps([(name, value.decode("latin-1")) for name, value in headers]) if headers else None


def headers_of(text: str | None) -> Headers:
    """Headers as they were given; of a job those of its trace."""
    if text is None:
        return ()
    found = json.loads(text)
    pairs = found.items() if isinstance(found, dict) else found
    return tuple((name, value.encode("latin-1")) for name, value in pairs)


def values_of(record: OutboxRecord) -> tuple[Any, ...]:
    """shard, kind, topic, job_id, version, key, headers, value, destination."""
    headers = headers_text(record.headers)
    job_id = record.key.decode() if record.kind in _OF_JOBS and record.key is not None else None
    # Without a key there is no order to keep, and the rest tells records apart well enough to spread them.
    shard = shard_of((headers or "").encode() if record.key is None else record.key)
    key = record.key if job_id is None else None
    of_job = (record.kind.value, record.topic, job_id, record.version)
    return (shard, *of_job, key, headers, record.value, destination_of(record))


def row_of(row: Row) -> OutboxRow:
    """Row: id, shard, kind, topic, job_id, version, age, key, headers, value; then of a job that is over owner,
    api, status, epoch, attempt, response and origin, else None in their place.
    """
    number, shard, kind, topic, job_id, version, age, key, headers, value, owner, *rest = row
    finished = None
    if owner is not None:
        api, status, epoch, attempt, response, origin = rest
        finished = FinishedJob(job_id, owner, api, JobState(status), epoch, attempt, response, origin or b"")
    record = OutboxRecord(
        kind=_KINDS.get(kind, OutboxKind.UNKNOWN),
        key=key if job_id is None else job_id.encode(),
        headers=headers_of(headers),
        value=value,
        topic=topic,
        version=version,
    )
    return OutboxRow(number, shard, record, max(0.0, age), finished)


def of_results(rows: Iterable[OutboxRow]) -> list[tuple[str, str | None, int]]:
    """Jobs of which there are results: id, topic, and the version that a tombstone of theirs has."""
    found = {}
    for row in rows:
        record = row.record
        if record.key is not None and record.kind in (OutboxKind.RESULT, OutboxKind.TOMBSTONE):
            version = record.version + (record.kind is OutboxKind.RESULT)
            job_id = record.key.decode()
            found[job_id] = (job_id, record.topic, version)
    return [found[job_id] for job_id in sorted(found)]


def still_held(rows: Sequence[OutboxRow], held: Mapping[int, int], owned: frozenset[int]) -> list[int]:
    """Ids of the rows whose shards are `held` and, by the database, still `owned`."""
    return [row.id for row in rows if row.shard in held and row.shard in owned]
