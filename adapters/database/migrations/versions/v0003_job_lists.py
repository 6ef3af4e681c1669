"""Indexes to list, count and cancel jobs by owner, state and group."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the indexes. On a large table this takes a while, in which jobs can't be written."""
    op.create_index("jobs_listed", "jobs", ["owner", "status", "created_at"])
    labelled = sa.text("group_label <> ''")
    op.create_index(
        "jobs_listed_of_group",
        "jobs",
        ["owner", "group_label", "status", "created_at"],
        postgresql_where=labelled,
        sqlite_where=labelled,
    )
