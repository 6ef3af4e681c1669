"""What is to be published, who carries it out, and where jobs came from."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_SHARDS = 16


def upgrade() -> None:
    """Makes the tables, and a row for each shard."""
    time = sa.DateTime(timezone=True).with_variant(sa.REAL(), "sqlite")
    op.create_table(
        "outbox",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=True), primary_key=True
        ),
        sa.Column("shard", sa.SmallInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("topic", sa.Text),
        sa.Column("job_id", sa.Text),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("key", sa.LargeBinary),
        sa.Column("headers", sa.Text),
        sa.Column("value", sa.LargeBinary),
        sqlite_autoincrement=True,
        postgresql_with={"autovacuum_vacuum_scale_factor": 0.01},
    )
    op.create_index("outbox_shard", "outbox", ["shard", "id"])
    of_jobs = sa.text("job_id IS NOT NULL")
    op.create_index("outbox_job_id", "outbox", ["job_id"], postgresql_where=of_jobs, sqlite_where=of_jobs)
    shards = op.create_table(
        "outbox_shards",
        sa.Column("shard", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("owner", sa.Text),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("lease_until", time),
    )
    op.bulk_insert(shards, [{"shard": shard, "epoch": 0} for shard in range(_SHARDS)])
    op.create_table(
        "outbox_relays",
        sa.Column("relay", sa.Text, primary_key=True),
        sa.Column("lease_until", time, nullable=False),
    )
    op.create_table(
        "job_origins",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("topic", sa.Text),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
