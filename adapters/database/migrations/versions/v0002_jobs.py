"""Background jobs: their state, requests, events, idempotency keys and usage."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the tables."""
    time = sa.DateTime(timezone=True).with_variant(sa.REAL(), "sqlite")
    _make_jobs(time)
    op.create_table(
        "job_requests",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("trace", sa.Text, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "response_events",
        sa.Column("response_id", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "idempotency",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("response_id", sa.Text, nullable=False),
        sa.Column("expires_at", time, nullable=False),
    )
    op.create_index("idempotency_expires_at", "idempotency", ["expires_at"])
    op.create_table(
        "usage_records",
        sa.Column("response_id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("at", time, nullable=False),
    )


def _make_jobs(time: Any) -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("api", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        sa.Column("group_label", sa.Text, nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("not_before", time, nullable=False),
        sa.Column("start_before", time),
        sa.Column("lease_until", time),
        sa.Column("worker", sa.Text),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("losses", sa.SmallInteger, nullable=False),
        sa.Column("failed_attempts", sa.SmallInteger, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("logged", sa.Boolean, nullable=False),
        sa.Column("restart_on_loss", sa.Boolean, nullable=False),
        sa.Column("log_deltas", sa.Boolean, nullable=False),
        sa.Column("failure", sa.Text),
        postgresql_with={"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.01},
    )
    queued, running = "status = 'queued'", "status = 'in_progress'"
    for name, columns, where in (
        ("jobs_waiting", ["priority", "not_before"], queued),
        ("jobs_waiting_of_owner", ["owner", "priority", "not_before"], queued),
        ("jobs_to_start", ["start_before"], f"{queued} AND start_before IS NOT NULL"),
        ("jobs_leased", ["lease_until"], running),
        ("jobs_running_of_owner", ["owner"], "lease_until IS NOT NULL AND failure IS NULL"),
    ):
        op.create_index(name, "jobs", columns, postgresql_where=sa.text(where), sqlite_where=sa.text(where))
