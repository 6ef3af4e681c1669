"""The tables as SQLAlchemy Core: what migrations build and cold queries use. Hot statements are SQL text."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeEngine

METADATA: Final = MetaData()

# SQLite has no type for times: Unix seconds by the writer's clock.
TIME: Final[TypeEngine[Any]] = DateTime(timezone=True).with_variant(REAL(), "sqlite")


def _index_of_some(name: str, *columns: str, where: str) -> Index:
    """An index that holds only the rows that are looked for: jobs that are over cost it nothing."""
    return Index(name, *columns, postgresql_where=text(where), sqlite_where=text(where))


# The bodies come last: whoever reads the columns before them doesn't walk through them (SQLite).
RESPONSES: Final = Table(
    "responses",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("previous_id", Text),
    Column("status", Text, nullable=False),
    Column("created_at", TIME, nullable=False),
    Column("expires_at", TIME, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("input", LargeBinary, nullable=False),
    Index("responses_expires_at", "expires_at"),
)

# Narrow: every move writes the row anew. `sequence` is the next event's number; `failure` of a job that is not
# over says that it can only be ended. Foreign keys would cost a look-up for every event.
JOBS: Final = Table(
    "jobs",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("api", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("group_label", Text, nullable=False),
    Column("created_at", TIME, nullable=False),
    Column("not_before", TIME, nullable=False),
    Column("start_before", TIME),
    Column("lease_until", TIME),
    Column("worker", Text),
    Column("epoch", Integer, nullable=False),
    Column("losses", SmallInteger, nullable=False),
    Column("failed_attempts", SmallInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("logged", Boolean, nullable=False),
    Column("restart_on_loss", Boolean, nullable=False),
    Column("log_deltas", Boolean, nullable=False),
    Column("failure", Text),
    _index_of_some("jobs_waiting", "priority", "not_before", where="status = 'queued'"),
    _index_of_some("jobs_waiting_of_owner", "owner", "priority", "not_before", where="status = 'queued'"),
    _index_of_some("jobs_to_start", "start_before", where="status = 'queued' AND start_before IS NOT NULL"),
    _index_of_some("jobs_leased", "lease_until", where="status = 'in_progress'"),
    _index_of_some("jobs_running_of_owner", "owner", where="lease_until IS NOT NULL AND failure IS NULL"),
    # Owner by owner, in every state: the only ones that hold jobs that are over.
    Index("jobs_listed", "owner", "status", "created_at"),
    _index_of_some(
        "jobs_listed_of_group", "owner", "group_label", "status", "created_at", where="group_label <> ''"
    ),
    postgresql_with={"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.01},
)

# Apart from `jobs`, and gone when the job is over. `trace` is a JSON object of headers.
JOB_REQUESTS: Final = Table(
    "job_requests",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("trace", Text, nullable=False),
    Column("request", LargeBinary, nullable=False),
)

RESPONSE_EVENTS: Final = Table(
    "response_events",
    METADATA,
    Column("response_id", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# With `reserved_at` the key waits for its response, until `expires_at`; without, it has one.
IDEMPOTENCY: Final = Table(
    "idempotency",
    METADATA,
    Column("owner", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("response_id", Text, nullable=False),
    Column("expires_at", TIME, nullable=False),
    Column("reserved_at", TIME),
    Index("idempotency_expires_at", "expires_at"),
    Index("idempotency_response_id", "response_id"),
)

# Outlives its response.
USAGE_RECORDS: Final = Table(
    "usage_records",
    METADATA,
    Column("response_id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("at", TIME, nullable=False),
)

# What is to be published. Of a job `job_id` says which; `key` is that of others. `headers` is a JSON array of
# pairs or, of a job, the JSON object of its trace. An id never comes again: relays delete by it what they sent.
# `destination` is what kind and topic make (service/domain/outbox.py, destination_of).
OUTBOX: Final = Table(
    "outbox",
    METADATA,
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), Identity(always=True), primary_key=True),
    Column("shard", SmallInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("topic", Text),
    Column("job_id", Text),
    Column("version", Integer, nullable=False),
    Column("created_at", TIME, nullable=False),
    Column("key", LargeBinary),
    Column("headers", Text),
    Column("value", LargeBinary),
    Column("destination", Text, nullable=False, server_default=""),
    Index("outbox_line", "shard", "destination", "id"),
    _index_of_some("outbox_job_id", "job_id", where="job_id IS NOT NULL"),
    sqlite_autoincrement=True,
    postgresql_with={"autovacuum_vacuum_scale_factor": 0.01},
)

# One row for each shard, from the beginning.
OUTBOX_SHARDS: Final = Table(
    "outbox_shards",
    METADATA,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("owner", Text),
    Column("epoch", Integer, nullable=False),
    Column("lease_until", TIME),
)

# Who shares them.
OUTBOX_RELAYS: Final = Table(
    "outbox_relays",
    METADATA,
    Column("relay", Text, primary_key=True),
    Column("lease_until", TIME, nullable=False),
)

# One row. Until then somebody publishes: whoever works on jobs writes the outbox.
OUTBOX_STATE: Final = Table(
    "outbox_state",
    METADATA,
    Column("one", SmallInteger, primary_key=True, autoincrement=False),
    Column("until", TIME),
)

# Of jobs that came with one; as long as their responses.
JOB_ORIGINS: Final = Table(
    "job_origins",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("topic", Text),
    Column("body", LargeBinary, nullable=False),
)
