"""An index that is built while callers write."""

from adapters.database.migrations.building import build_index
from tests.upgrades.next_release import OURS

revision = "next_expands"
down_revision = "next_column"
branch_labels = None
depends_on = None
compatible_from = OURS


def upgrade() -> None:
    """Builds it."""
    build_index("responses_mood", "responses", ["mood"], where="mood IS NOT NULL")
