"""Fixtures of one release: databases, the messages that they hold, and records. `make` sets the clock."""

from __future__ import annotations

import asyncio
import hashlib
import json
import lzma
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pytest
from google.protobuf.json_format import MessageToDict

from adapters.database.schema import METADATA
from service.domain.outbox import SHARDS, OutboxRow
from service.edge.kafka.records import read_record
from service.edge.kafka.rejections import RejectedRecordError
from service.edge.kafka.results import Content, OutTopics, Results
from tests.support import postgres
from tests.support.kafka_records import NOW, rules
from tests.support.responses_door import ResponsesDoor
from tests.upgrades.messages import COLUMNS, message_of
from tests.upgrades.releases import (
    KEPT,
    POSTGRES,
    SQLITE,
    Json,
    dump_postgres,
    fields_of,
    told,
    write_json,
)
from tests.upgrades.world import fill, nothing_by_lot, opened, submitted
from workers.relay_ports import Render

OUT_TOPICS: Final = OutTopics("eurouter.jobs.v1", "eurouter.results.v1", "eurouter.dlq.v1")
CONTENTS: Final[tuple[Content, ...]] = ("full", "reference")
_MIB: Final = 1024 * 1024

# PostgreSQL's clock is the server's. What waits may begin, leases are over, and nothing is deleted in our time.
_TIMES: Final = {
    "responses": {"created_at": "past", "expires_at": "far"},
    "jobs": {"created_at": "past", "not_before": "past", "start_before": "far", "lease_until": "past"},
    "idempotency": {"expires_at": "far", "reserved_at": "past"},
    "usage_records": {"at": "past"},
    "outbox": {"created_at": "past"},
    "outbox_state": {"until": "far"},
}
_NAMELESS: Final = "UPDATE jobs SET worker = 'gone.1' WHERE worker IS NOT NULL"
"""The name of a worker has the number of its process."""
_AT: Final = {"past": "2026-09-21T14:13:20Z", "far": "2126-08-28T14:13:20Z"}


def make(folder: Path, scratch: Path, patch: pytest.MonkeyPatch) -> None:
    """Fills the folder."""
    file = scratch / "state" / "eurouter.db"
    asyncio.run(_sqlite(folder, scratch, f"sqlite:///{file}", patch))
    # What the write-ahead log holds goes into the file, and the file into as few pages as it needs.
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(_NAMELESS)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA page_size=1024")
        connection.execute("VACUUM")
        _messages(folder / "messages", connection)
    (folder / SQLITE).write_bytes(lzma.compress(file.read_bytes()))
    with tempfile.TemporaryDirectory(prefix="eurouter-postgres-") as server_folder:
        server = postgres.private(Path(server_folder))
        try:
            url = server.database()
            asyncio.run(_postgres(scratch, url, patch))
            (folder / POSTGRES).write_text(dump_postgres(url))
        finally:
            server.stop()
    _records(folder)
    write_sums(folder)


def sums(folder: Path) -> Mapping[str, str]:
    """The SHA-256 of each file by its path in the folder, without the list of them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != KEPT)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write_sums(folder: Path) -> None:
    """As `sha256sum --check` reads it."""
    lines = [f"{digest}  {name}\n" for name, digest in sums(folder).items()]
    (folder / KEPT).write_text("".join(lines))


async def _sqlite(folder: Path, scratch: Path, url: str, patch: pytest.MonkeyPatch) -> None:
    scratch = scratch / "sqlite"
    scratch.mkdir()
    nothing_by_lot(patch)
    async with opened(scratch, url) as door:
        made = await fill(door)
        responses = {name: await told(door, response_id) for name, response_id in made.items()}
        write_json(folder / "responses.json", responses)
        rows = await waiting(door)
    for content in CONTENTS:
        published = {}
        render = rendering(content)
        for number, row in enumerate(rows):
            message = render(row, small=False)
            assert message is not None, row
            published[f"{number:02} {row.record.kind.value}"] = fields_of(message)
        write_json(folder / f"published-{content}.json", published)


def rendering(content: Content) -> Render:
    """What makes messages of rows."""
    return Results(OUT_TOPICS, lambda: content).render


async def waiting(door: ResponsesDoor) -> list[OutboxRow]:
    """All that is to be published, in order."""
    outbox = door.up.service.database.outbox
    held = await outbox.hold("upgrades", 60.0)
    assert len(held) == SHARDS
    rows = await outbox.pending(held, 1000, most_bytes=100 * _MIB, most_body=_MIB, without=(), resting=())
    return sorted(rows, key=lambda row: row.id)


async def _postgres(scratch: Path, url: str, patch: pytest.MonkeyPatch) -> None:
    scratch = scratch / "postgres"
    scratch.mkdir()
    nothing_by_lot(patch)
    async with opened(scratch, url) as door:
        await fill(door)
    statements = [_NAMELESS] + [
        f"UPDATE {table} SET {column} = '{_AT[when]}' WHERE {column} IS NOT NULL"
        for table, columns in _TIMES.items()
        for column, when in columns.items()
    ]
    # A dump has rows where they stand, which is wherever there was room.
    for table in METADATA.tables:
        statements += [f"CLUSTER {table} USING {table}_pkey", f"ALTER TABLE {table} SET WITHOUT CLUSTER"]
    for sql in statements:
        await postgres.statement(url, sql)


def _messages(folder: Path, connection: sqlite3.Connection) -> None:
    """Of each column that holds messages: each different one, with its JSON beside it."""
    for table, column, kind in COLUMNS:
        order = "rowid" if table != "response_events" else "response_id, sequence"
        rows = connection.execute(f"SELECT {column} FROM {table} ORDER BY {order}").fetchall()
        seen: set[Any] = set()
        for (body,) in rows:
            message = message_of(kind, body, connection)
            shape = _shape(MessageToDict(message))
            if shape in seen:
                continue
            seen.add(shape)
            path = folder / f"{table}.{column}" / f"{len(seen):02}.{message.DESCRIPTOR.full_name}.binpb"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
            write_json(path.with_suffix(".json"), MessageToDict(message))


def _shape(value: Any) -> Any:
    """Which fields there are, not what they hold; of texts that name a kind, which kind."""
    if isinstance(value, dict):
        kinds = {name: one for name, one in value.items() if name in ("type", "status", "role")}
        return (*sorted((name, _shape(one)) for name, one in value.items()), *sorted(kinds.items())).__repr__()
    return sorted({_shape(one) for one in value}).__repr__() if isinstance(value, list) else ""


def _records(folder: Path) -> None:
    """Each record, and what it asks for: who, what, how."""
    records = submitted()
    write_json(folder / "submitted.json", {name: fields_of(record) for name, record in records.items()})
    write_json(folder / "asks.json", {name: asks(record) for name, record in records.items()})


def asks(record: Any) -> Json:
    """What the door for records reads of one."""
    try:
        intake = read_record(record, rules(), NOW)
    except RejectedRecordError as rejected:
        return {"rejected": rejected.reason.value}
    submission = asdict(intake.submission)
    return {
        "api": intake.api,
        "request": MessageToDict(intake.request),
        "owner": intake.principal.owner,
        "submission": {name: str(value) for name, value in submission.items()},
        "response_id": intake.response_id,
        "stream": intake.stream,
        "form": intake.form.value,
        "results_topic": intake.results_topic,
        "correlation_id": None if intake.correlation_id is None else intake.correlation_id.decode("latin-1"),
        # What no header says is drawn by lot.
        "trace": intake.traceparent.split("-")[1] if intake.caller is not None else None,
        "source": json.loads(json.dumps(asdict(intake.source), default=lambda value: value.decode("latin-1"))),
    }
