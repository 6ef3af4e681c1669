"""Every migration after the first release keeps to what lets the version before it run on; the rules bite."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.database import migrate as migrations
from adapters.database.revisions import HEAD, REVISIONS
from tests.upgrades.migration_rules import complaints, says
from tests.upgrades.releases import heads

OF_THE_FIRST_RELEASE = "0006"
VERSIONS = migrations._FOLDER / "versions"
RULED = REVISIONS[REVISIONS.index(OF_THE_FIRST_RELEASE) + 1 :]
NEXT = Path(__file__).with_name("next_versions")
THEIRS = ("next_column", "next_expands", "next_contracts")
KNOWN = ("0006", "0007", "0008")
HEADER = 'revision = "0008"\ncompatible_from = "0006"\n'


def released_before(revision: str) -> str:
    """The newest revision of the last release that does not know this one."""
    older = REVISIONS[: REVISIONS.index(revision)]
    return max((head for head in heads().values() if head in older), key=older.index)


def source(revision: str) -> str:
    return next(VERSIONS.glob(f"v{revision}_*.py")).read_text()


def test_the_releases_are_known_by_what_they_left() -> None:
    assert heads()["0.1.0"] == OF_THE_FIRST_RELEASE


def test_every_migration_since_the_first_release_keeps_to_the_rules() -> None:
    said = {revision: complaints(source(revision), REVISIONS, released_before(revision)) for revision in RULED}
    assert said == {revision: [] for revision in RULED}


def test_no_migration_takes_back_what_an_earlier_one_gave_up() -> None:
    oldest = [says(source(revision), "compatible_from") for revision in RULED]
    assert all(revision in REVISIONS for revision in oldest)
    assert oldest == sorted(oldest, key=lambda revision: REVISIONS.index(str(revision)))


def test_those_up_to_the_first_release_say_nothing_because_nobody_runs_beside_them() -> None:
    before = REVISIONS[: REVISIONS.index(OF_THE_FIRST_RELEASE) + 1]
    assert [says(source(revision), "compatible_from") for revision in before] == [None] * len(before)


@pytest.mark.parametrize(
    ("name", "released"), [("next_column", HEAD), ("next_expands", HEAD), ("next_contracts", "next_expands")]
)
def test_the_migrations_that_other_tests_use_keep_to_the_rules(name: str, released: str) -> None:
    text = (NEXT / f"{name}.py").read_text().replace("= OURS\n", f'= "{HEAD}"\n')
    assert complaints(text, (*REVISIONS, *THEIRS), released) == []


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('op.create_index("i", "jobs", ["a"])', "an index on a table in use"),
        ('op.execute("DROP TABLE jobs")', "op.execute may"),
        ('op.get_bind().exec_driver_sql("DROP TABLE jobs")', "op.get_bind may"),
        ("with op.get_context().autocommit_block():\n    pass", "op.get_context may"),
        ('op.bulk_insert(jobs, [{"a": 1}])', "op.bulk_insert may"),
        ('op.batch_alter_table("jobs")', "op.batch_alter_table may"),
        ('op.alter_column("jobs", "a", nullable=False)', "op.alter_column may"),
        ('op.create_unique_constraint("u", "jobs", ["a"])', "op.create_unique_constraint may"),
        ('drop = op.drop_table\ndrop("jobs")', "hands op on"),
        ("act(op)", "hands op on"),
        ("from alembic import op as operations", "more of alembic than op"),
        ("from alembic.op import execute", "more of alembic than op"),
        ("import alembic.op", "more of alembic than op"),
        ('op.add_column("jobs", sa.Column("a", sa.Text, unique=True))', "more than a type"),
        ('op.add_column("jobs", sa.Column("a", sa.Text, sa.Identity()))', "more than a type"),
        ('op.add_column("jobs", sa.Column("a", sa.Text, server_default=sa.text("now()")))', "more than a type"),
        ('op.add_column("jobs", sa.Column("a", sa.Text, server_default=sa.func.random()))', "more than a type"),
        (
            'op.create_table("new", sa.Column("a", sa.Text, sa.ForeignKey("jobs.id")))',
            "ForeignKey holds both tables",
        ),
    ],
)
def test_what_is_not_known_to_be_harmless_is_refused_without_a_reason(text: str, part: str) -> None:
    (said,) = complaints(HEADER + text, KNOWN, "0007")
    assert part in said
    assert complaints(HEADER + 'why = "sixteen rows"\n' + text, KNOWN, "0007") == []


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('revision = "0008"', "does not say compatible_from"),
        ('revision = "0008"\ncompatible_from = "0008"', "locks out the last release, which knows 0007"),
        (HEADER + 'op.add_column("jobs", sa.Column("a", sa.Text, nullable=False))', "older code can't leave out"),
        (HEADER + 'op.add_column("jobs", column)', "older code can't leave out"),
        (HEADER + 'op.drop_column("jobs", "a")', "say unused_since"),
        (HEADER + 'unused_since = "0007"\nop.drop_column("jobs", "a")', "say unused_since"),
        (HEADER + 'compatible_from = "0007"\nop.drop_table("jobs")', "say unused_since"),
        (HEADER + 'op.execute("SET lock_timeout = 0")', "which the runner does"),
        (HEADER + 'build_index("i", "jobs", ["a"])\nop.execute("x")', "beside build_index"),
    ],
)
def test_no_reason_makes_up_for_stopping_callers_or_older_code(text: str, part: str) -> None:
    (said,) = complaints(text + '\nwhy = "it is quick"', KNOWN, "0007")
    assert part in said


@pytest.mark.parametrize(
    "text",
    [
        'op.add_column("jobs", sa.Column("a", sa.Text))',
        'op.add_column("jobs", sa.Column("a", sa.Text, nullable=False, server_default=""))',
        'op.add_column("jobs", sa.Column("a", sa.Integer, nullable=False, server_default=sa.text("0")))',
        'op.create_table("new", sa.Column("a", sa.Text, nullable=False))\nop.create_index("i", "new", ["a"])',
        'unused_since = "0006"\nop.drop_column("jobs", "a")',
        'from alembic import op\nbuild_index("i", "jobs", ["a"])',
    ],
)
def test_a_migration_that_older_code_can_live_with_is_not_refused(text: str) -> None:
    assert complaints(HEADER + text, KNOWN, "0007") == []


def test_what_no_code_uses_since_the_last_release_may_go_and_older_code_with_it() -> None:
    text = 'compatible_from = "0007"\nunused_since = "0007"\nop.drop_table("jobs")'
    assert complaints(text, KNOWN, "0007") == []
    assert complaints(text, KNOWN, "0006") != []
