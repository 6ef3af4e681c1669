"""What nobody uses any more goes, and with it the versions that would."""

from alembic import op

revision = "next_contracts"
down_revision = "next_expands"
branch_labels = None
depends_on = None
compatible_from = "next_expands"
unused_since = "next_expands"


def upgrade() -> None:
    """Takes it away."""
    op.drop_index("responses_expires_at", "responses")
