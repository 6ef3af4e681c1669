"""A rehearsal: the first migration of the next release, in a copy of everything, breaks no test of today."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.database.revisions import HEAD, REVISIONS
from tests.support.parts import ROOT
from tests.upgrades.migration_rules import complaints

NEXT = f"{int(HEAD) + 1:04}"
MIGRATION = f'''"""A column."""

import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{HEAD}"
branch_labels = None
depends_on = None
compatible_from = "{HEAD}"


def upgrade() -> None:
    """Adds it."""
    op.add_column("responses", sa.Column("rehearsed", sa.Text))
'''
FOLDERS = ("adapters", "service", "workers", "protos", "tests")
TESTS = (
    "tests/integration/test_database_schema.py",
    "tests/upgrades/test_schema_compatibility.py",
    "tests/upgrades/test_migrating.py",
    "tests/upgrades/test_migration_rules.py",
    "tests/upgrades/test_kept_fixtures.py",
)


def change(path: Path, before: str, after: str) -> None:
    text, times = re.subn(before, after, path.read_text(), count=1)
    assert times == 1, f"{path} has no {before}"
    path.write_text(text)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Everything that the tests need, with one more migration as docs/releasing.md says to make it."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    database = tmp_path / "adapters/database"
    (database / "migrations/versions" / f"v{NEXT}_rehearsed.py").write_text(MIGRATION)
    change(database / "revisions.py", rf'"{HEAD}"\)', f'"{HEAD}", "{NEXT}")')
    change(database / "schema.py", r'(    Index\("responses_expires_at")', r'    Column("rehearsed", Text),\n\1')
    return tmp_path


@pytest.mark.slow
def test_the_first_migration_of_the_next_release_breaks_no_test_of_today(copy: Path) -> None:
    assert complaints(MIGRATION, (*REVISIONS, NEXT), HEAD) == []
    command = (sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *TESTS)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
