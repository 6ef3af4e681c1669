"""Whether a tree that is not ready to be released is told apart from one that is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.upgrades.release_check import problems

JOB = "kind: Job\nmetadata:\n  name: eurouter-migrate-1-2-3\nspec:\n  image: eurouter:1.2.3\n"
JOB_FILE = "deploy/kubernetes/components/migration/job.yaml"
BASE = "deploy/kubernetes/base/kustomization.yaml"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """One that is ready."""
    files = {
        "pyproject.toml": '[project]\nversion = "1.2.3"\n',
        "protos/pyproject.toml": '[project]\nversion = "1.2.3"\n',
        "CHANGELOG.md": "# Changelog\n\n## [1.2.3] - 2027-01-01\n",
        JOB_FILE: JOB,
        BASE: "labels:\n      app.kubernetes.io/version: 1.2.3\nimages:\n  - {name: eurouter, newTag: 1.2.3}\n",
        "deploy/Dockerfile": "ARG VERSION=1.2.3\n",
        "protos/baseline.binpb": "x",
        "tests/upgrades/fixtures/1.2.3/SHA256SUMS": "x",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_tree_whose_files_agree_can_be_released(tree: Path) -> None:
    assert list(problems(tree)) == []


@pytest.mark.parametrize(
    ("name", "before", "after", "said"),
    [
        ("pyproject.toml", "1.2.3", "1.2.4.dev0", "none of a release"),
        ("protos/pyproject.toml", "1.2.3", "1.2.2", "has 1.2.2"),
        ("CHANGELOG.md", "1.2.3", "Unreleased", "has no section"),
        (JOB_FILE, "migrate-1-2-3", "migrate-1-2-2", "can't be changed"),
        (JOB_FILE, "kind: Job", "kind: CronJob", "no Job that migrates"),
        (JOB_FILE, "eurouter:1.2.3", "eurouter:1.2.2", "has 1.2.2"),
        (BASE, "newTag: 1.2.3", "newTag: 1.2.2", "has 1.2.2"),
        (BASE, "version: 1.2.3", "version: 1.2.2", "has 1.2.2"),
        ("deploy/Dockerfile", "1.2.3", "1.2.2", "has 1.2.2"),
    ],
)
def test_a_file_that_names_another_version_is_named(
    tree: Path, name: str, before: str, after: str, said: str
) -> None:
    path = tree / name
    path.write_text(path.read_text().replace(before, after))
    assert any(said in problem for problem in problems(tree))


@pytest.mark.parametrize("name", ["protos/baseline.binpb", "tests/upgrades/fixtures/1.2.3"])
def test_what_later_versions_are_compared_with_must_be_there(tree: Path, name: str) -> None:
    (tree / name).rename(tree / "elsewhere")
    (problem,) = problems(tree)
    assert problem.startswith(f"{name} is missing")
