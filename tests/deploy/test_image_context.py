"""Which files a builder gets to see: ours, and what lies about on somebody's machine."""

from __future__ import annotations

import pytest

from tests.deploy.image_context import files_of_the_repository, in_context, is_ignored
from tests.support.parts import ROOT

IGNORE_FILE = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".git/config",
        ".venv/lib/python3.11/site-packages/pip/__init__.py",
        "adapters/.env.production",
        "deploy/Dockerfile",
        "eurouter.yaml",
        "protos/pyproject.toml",
        "requirements-dev.txt",
        "service/__pycache__/cli.cpython-311.pyc",
        "service/client.key",
        "service/responses.db-wal",
        "service/tls/server.pem",
        "tests/conftest.py",
        "workers/debug.log",
    ],
)
def test_what_is_no_part_of_the_image_never_leaves_the_machine(path: str) -> None:
    assert in_context([path], IGNORE_FILE) == set()


def test_no_file_of_the_packages_stays_outside() -> None:
    folders = ("service/", "adapters/", "workers/", "protos/eurouter/")
    files = {path for path in files_of_the_repository() if path.startswith(folders)}
    assert len(files) > 300
    assert in_context(files, IGNORE_FILE) == files


@pytest.mark.parametrize(
    ("patterns", "path", "ignored"),
    [
        (["*"], "a/b", True),
        (["*", "!a"], "a/b", False),
        (["*", "!a", "a/b"], "a/b/c", True),
        (["*", "!a/b"], "a/c", True),
        (["*", "!a/b"], "a/b/c", False),
        (["**/x"], "x", True),
        (["**/x"], "a/b/x/c", True),
        (["*/x"], "a/b/x", False),
        (["a.*"], "a/b", False),
        (["# a", "", "b"], "a", False),
        (["a", "!a", "a"], "a", True),
    ],
)
def test_the_last_pattern_that_matches_a_file_or_its_folder_counts(
    patterns: list[str], path: str, ignored: bool
) -> None:
    assert is_ignored(path, patterns) is ignored
