"""A column that may be null."""

import sqlalchemy as sa
from alembic import op

from tests.upgrades.next_release import OURS

revision = "next_column"
down_revision = OURS
branch_labels = None
depends_on = None
compatible_from = OURS


def upgrade() -> None:
    """Adds it."""
    op.add_column("responses", sa.Column("mood", sa.Text))
