"""Idempotency keys that are reserved before their response is stored, and are found by it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column and the index."""
    time = sa.DateTime(timezone=True).with_variant(sa.REAL(), "sqlite")
    op.add_column("idempotency", sa.Column("reserved_at", time))
    op.create_index("idempotency_response_id", "idempotency", ["response_id"])
