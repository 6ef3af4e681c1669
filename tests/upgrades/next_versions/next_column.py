"""A column that may be null."""

import sqlalchemy as sa
from alembic import op

from adapters.database.revisions import HEAD

revision = "next_column"
down_revision = HEAD
branch_labels = None
depends_on = None
compatible_from = HEAD


def upgrade() -> None:
    """Adds it."""
    op.add_column("responses", sa.Column("mood", sa.Text))
