"""What waits for each topic, found without what waits for others; whether anybody publishes at all."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column and the table. Origins whose responses are gone were left behind: they go."""
    time = sa.DateTime(timezone=True).with_variant(sa.REAL(), "sqlite")
    op.add_column("outbox", sa.Column("destination", sa.Text, nullable=False, server_default=""))
    op.execute(
        "UPDATE outbox SET destination ="
        " CASE WHEN kind = 'tombstone' THEN 'result' ELSE kind END || ':' || coalesce(topic, '')"
    )
    op.drop_index("outbox_shard", "outbox")
    op.create_index("outbox_line", "outbox", ["shard", "destination", "id"])
    state = op.create_table(
        "outbox_state",
        sa.Column("one", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("until", time),
    )
    op.bulk_insert(state, [{"one": 1}])
    op.execute(
        "DELETE FROM job_origins WHERE NOT EXISTS (SELECT 1 FROM responses AS r WHERE r.id = job_origins.id)"
    )
