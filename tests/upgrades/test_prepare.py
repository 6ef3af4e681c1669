"""Which version counts as the one before, in histories of a few commits."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.upgrades import prepare


class Repository:
    """A history that grows; `prepare` looks at it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "--quiet")

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
        command = ("git", *who, *arguments)
        return subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, tag: str = "") -> str:
        self.git("commit", "--quiet", "--allow-empty", "--message", "more")
        if tag:
            self.git("tag", tag)
        return self.git("rev-parse", "HEAD")

    @property
    def before(self) -> str | None:
        prepare.previous.cache_clear()
        found = prepare.previous()
        return found.commit if found else None


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    for name in (prepare.OWN_CHOICE, "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(prepare, "_ROOT", tmp_path)
    monkeypatch.setattr(prepare, "_RELEASES", tmp_path / "releases")
    yield Repository(tmp_path)
    prepare.previous.cache_clear()


def test_the_version_before_is_the_newest_release_that_is_not_this_commit(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = repository.commit()
    monkeypatch.setattr(prepare, "BEFORE_THE_FIRST_RELEASE", first)
    repository.commit()
    assert repository.before == first
    released = repository.commit("v0.1.0")
    assert repository.before == first
    repository.commit("some-other-tag")
    assert repository.before == released
    second = repository.commit("v0.2.0")
    assert repository.before == released
    repository.commit()
    assert repository.before == second
    monkeypatch.setenv(prepare.OWN_CHOICE, "v0.1.0")
    assert repository.before == released


def test_without_the_history_it_says_what_to_do(repository: Repository, capfd: pytest.CaptureFixture[str]) -> None:
    repository.commit()
    assert repository.before is None
    assert not prepare.available()
    prepare.main()
    said = "".join(capfd.readouterr())
    assert "the version before this one is NOT here: get the whole history" in said
