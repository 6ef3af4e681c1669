"""What a parent of several processes takes for their settings: what a new one gets, how long it waits for all."""

from pathlib import Path

import pytest

from service.settings import Settings
from service.settings.of_children import SettingsOfChildren


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text("processes: 2\ndrain: {pause_seconds: 1, finish_seconds: 30}\n")
    return file


@pytest.fixture
def children(path: Path) -> SettingsOfChildren:
    return SettingsOfChildren(path, {}, Settings.load(path, {}))


def test_a_new_process_gets_of_an_edit_what_applies_at_once_and_nothing_that_needs_a_restart(
    path: Path, children: SettingsOfChildren
) -> None:
    path.write_text("processes: 3\nhint_fields: [a]\nhttp: {port: 1, heartbeat_seconds: 7}\n")
    children.drain_seconds()
    now = children.now()
    assert (now.processes, now.hint_fields) == (2, ("a",))
    assert (now.http.port, now.http.heartbeat_seconds) == (8080, 7)


@pytest.mark.parametrize("bad", ["drain: {finish_seconds: soon}\n", "on: 1\n", "key_pepper: env:NOT_THERE\n"])
def test_a_new_process_gets_nothing_of_an_edit_that_the_others_refuse(
    path: Path, children: SettingsOfChildren, bad: str
) -> None:
    before = children.now()
    path.write_text(bad)
    assert children.drain_seconds() == 31
    assert children.now() == before


def test_processes_have_as_long_for_their_drain_as_the_file_says_when_they_are_stopped(
    path: Path, children: SettingsOfChildren
) -> None:
    path.write_text("drain: {pause_seconds: 2, finish_seconds: 300}\n")
    assert children.drain_seconds() == 302
    path.write_text("drain: {pause_seconds: 1, finish_seconds: 3}\n")
    assert children.drain_seconds() == 302, "of an edit just made not every process knows"
    assert children.drain_seconds() == 4
