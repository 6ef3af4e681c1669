"""What is deleted is nowhere any more: no table, no results topic nor its files, no log holds a word of it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import asyncpg
from eurouter.v1 import responses_pb2 as pb

from adapters.database.url import SqliteTarget, parse_url
from adapters.providers.simulator import Script
from tests.support.kafka import KafkaCluster
from tests.support.kafka_clients import COMPACTED_SOON
from tests.support.kafka_world import PARTITIONS, Reader, kafka_section
from tests.support.running import Child, ask_response, running_child
from tests.support.worker_child import worker_child

ERASED: Final = "ErasedMarkerOfThisTest"
SUBMITTED: Final = "SubmittedMarkerOfThisTest"
KEPT: Final = "KeptMarkerOfThisTest"
PREFIX: Final = "erasure"
RESULTS: Final = f"{PREFIX}.results"
REQUESTS: Final = f"{PREFIX}.requests"


async def test_a_deleted_response_is_in_no_table_no_results_topic_no_file_of_it_and_no_log(
    own_kafka: KafkaCluster, database_url: str, tmp_path: Path
) -> None:
    for topic in ("submit", "requests", "jobs", "dlq"):
        await own_kafka.create(f"{PREFIX}.{topic}", PARTITIONS)
    await own_kafka.create(RESULTS, PARTITIONS, COMPACTED_SOON)
    reader = Reader(own_kafka)
    settings = {
        "database": {"url": database_url},
        "jobs": {"here": False, "admin_port": 0},
        "log": {"format": "json", "level": "debug"},
        "owners": [{"name": "local", "results_topic": RESULTS}],
        "kafka": kafka_section(own_kafka, PREFIX),
    }
    async with running_child(tmp_path, settings) as up, worker_child(up.upstreams.settings_file) as worker:
        up.alpha.script(Script(echo=True))
        await reader.start([RESULTS], PARTITIONS)
        try:
            kept = await accepted(up, KEPT)
            erased = await accepted(up, ERASED)
            await submitted(own_kafka, SUBMITTED)
            await reader.until(lambda: len(reader.records) == 3, "the results", 30)
            (by_record,) = {told.id for told in reader.records} - {kept, erased}
            # All of this finds what is there.
            for marker in (ERASED, SUBMITTED, KEPT):
                assert await tables_with(database_url, marker) >= {"responses", "response_events"}
                assert files_with(own_kafka, marker, RESULTS)
            for response_id in (erased, by_record):
                await up.responses.DeleteResponse(pb.DeleteResponseRequest(response_id=response_id))
            await reader.until(lambda: len(reader.records) == 5, "the tombstones", 30)
        finally:
            await reader.stop()

        async def gone() -> bool:
            return not files_with(own_kafka, ERASED, RESULTS) and not files_with(own_kafka, SUBMITTED, RESULTS)

        await own_kafka.compact(RESULTS, 60, gone)
        for marker in (ERASED, SUBMITTED):
            assert await tables_with(database_url, marker) == set()
        assert files_with(own_kafka, ERASED) == []
        # What a team wrote itself stays in its own topic until that one's retention ends.
        assert {path.parent.name[:-2] for path in files_with(own_kafka, SUBMITTED)} == {REQUESTS}
        values = [record.value or b"" for record in await own_kafka.records(RESULTS)]
        assert [value for value in values if ERASED.encode() in value or SUBMITTED.encode() in value] == []
        assert sum(KEPT.encode() in value for value in values) == 1
        assert "responses" in await tables_with(database_url, KEPT)
        # Of the one that no record asked for not even the key is left; what was used is counted without content.
        assert await tables_with(database_url, erased) <= {"usage_records"}
        assert await tables_with(database_url, "key-of-" + ERASED) == set()
    for marker in (ERASED, SUBMITTED, KEPT):
        assert marker not in up.logged()
        assert marker not in worker.log.read_text()
    assert '"method"' in up.logged()
    assert worker.process.returncode == 0


async def accepted(up: Child, marker: str) -> str:
    """A background response over gRPC, followed to its end, whose input, label and output hold the marker."""
    request = ask_response(
        text=f"say {marker}", background=True, stream=True, instructions=marker, metadata={"about": marker}
    )
    metadata = (("idempotency-key", "key-of-" + marker),)
    events = [event async for event in up.responses.StreamResponse(request, metadata=metadata)]
    whole = events[-1].completed.response
    assert marker in whole.output[0].message.content[0].output_text.text
    return str(whole.id)


async def submitted(kafka: KafkaCluster, marker: str) -> None:
    value = f'{{"model": "sim/alpha", "input": "say {marker}", "stream": true}}'.encode()
    producer = kafka.producer()
    await producer.start()
    await producer.send_and_wait(REQUESTS, value)
    await producer.stop()


def files_with(kafka: KafkaCluster, marker: str, topic: str = "") -> list[Path]:
    return kafka.files_with(marker.encode(), topic)


async def tables_with(url: str, marker: str) -> set[str]:
    """The tables of which some column of some row holds the text."""
    target = parse_url(url)
    found: dict[str, Sequence[Any]] = {}
    if isinstance(target, SqliteTarget):
        found = await asyncio.to_thread(_of_sqlite, target.path)
    else:
        connection = await asyncpg.connect(url)
        rows = await connection.fetch("SELECT schemaname, tablename FROM pg_tables WHERE schemaname = 'public'")
        for schema, table in rows:
            found[table] = await connection.fetch(f'SELECT * FROM {schema}."{table}"')
        await connection.close()
    assert {"responses", "jobs", "idempotency", "outbox"} <= found.keys()
    return {table for table, rows in found.items() if any(_holds(value, marker) for row in rows for value in row)}


def _of_sqlite(path: Path) -> dict[str, Sequence[Any]]:
    with closing(sqlite3.connect(path, timeout=10)) as raw:
        tables = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: raw.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables}


def _holds(value: object, marker: str) -> bool:
    return marker.encode() in value if isinstance(value, bytes) else marker in str(value)
