"""Every migration after the first release keeps to what lets the version before it run on; the rules bite."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.database import migrate as migrations
from adapters.database.revisions import REVISIONS
from tests.upgrades.migration_rules import complaints, says

OF_THE_FIRST_RELEASE = "0006"
VERSIONS = migrations._FOLDER / "versions"
RULED = REVISIONS[REVISIONS.index(OF_THE_FIRST_RELEASE) + 1 :]
NEXT = Path(__file__).with_name("next_versions")
HEADER = 'revision = "0008"\ncompatible_from = "0007"\n'


def source(revision: str) -> str:
    return next(VERSIONS.glob(f"v{revision}_*.py")).read_text()


def test_every_migration_since_the_first_release_keeps_to_the_rules() -> None:
    assert {revision: complaints(source(revision)) for revision in RULED} == {revision: [] for revision in RULED}


def test_no_migration_takes_back_what_an_earlier_one_gave_up() -> None:
    oldest = [says(source(revision), "compatible_from") for revision in RULED]
    assert all(revision in REVISIONS for revision in oldest)
    assert oldest == sorted(oldest, key=lambda revision: REVISIONS.index(str(revision)))


def test_those_up_to_the_first_release_say_nothing_because_nobody_runs_beside_them() -> None:
    before = REVISIONS[: REVISIONS.index(OF_THE_FIRST_RELEASE) + 1]
    assert [says(source(revision), "compatible_from") for revision in before] == [None] * len(before)


@pytest.mark.parametrize("name", ["next_column", "next_expands", "next_contracts"])
def test_the_migrations_that_other_tests_use_keep_to_the_rules(name: str) -> None:
    text = (NEXT / f"{name}.py").read_text()
    said = [line for line in complaints(text) if line != "does not say compatible_from"]
    assert said == []
    assert "compatible_from = " in text


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('revision = "0008"', "does not say compatible_from"),
        (HEADER + 'op.create_index("i", "jobs", ["a"])', "an index on a table in use"),
        (HEADER + 'op.add_column("jobs", sa.Column("a", sa.Text, nullable=False))', "older code can't leave out"),
        (HEADER + 'op.drop_column("jobs", "a")', "without saying in unused_since"),
        (HEADER + 'unused_since = "0006"\nop.drop_column("jobs", "a")', "without saying in unused_since"),
        (HEADER + 'op.create_unique_constraint("u", "jobs", ["a"])', "while all rows are read"),
        (HEADER + 'op.execute("SET lock_timeout = 0")', "which the runner does"),
        (HEADER + 'build_index("i", "jobs", ["a"])\nop.execute("x")', "beside build_index"),
    ],
)
def test_a_migration_that_would_stop_callers_or_older_code_is_found(text: str, part: str) -> None:
    (said,) = complaints(text)
    assert part in said


@pytest.mark.parametrize(
    "text",
    [
        'op.add_column("jobs", sa.Column("a", sa.Text))',
        'op.add_column("jobs", sa.Column("a", sa.Text, nullable=False, server_default=""))',
        'op.create_table("new", sa.Column("a", sa.Text, nullable=False))\nop.create_index("i", "new", ["a"])',
        'not_concurrently = "the table has sixteen rows"\nop.create_index("i", "outbox_shards", ["a"])',
        'unused_since = "0007"\nop.drop_column("jobs", "a")',
        'build_index("i", "jobs", ["a"])',
    ],
)
def test_a_migration_that_older_code_can_live_with_is_not(text: str) -> None:
    assert complaints(HEADER + text) == []
