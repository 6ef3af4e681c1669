"""Fetching for the example clients: once per content, and what can't be had is said, not raised."""

from pathlib import Path

import pytest

from tests.clients import prepare
from tests.clients.prepare import Language

PAGE = """# Sketch

## Set up

```sh
{setup}
```

Words between.

## Generate and compile

```sh
ls protos > listed
```

## Run

```sh
./sketch
```
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with one page, one example and one proto; the cache is beside it."""
    (tmp_path / "docs" / "clients").mkdir(parents=True)
    (tmp_path / "tests" / "clients" / "sketch").mkdir(parents=True)
    (tmp_path / "tests" / "clients" / "sketch" / "main").write_text("program")
    (tmp_path / "protos").mkdir()
    (tmp_path / "protos" / "chat.proto").write_text('syntax = "proto3";')
    (tmp_path / "protos" / "chat_pb2.py").write_text("")
    monkeypatch.setattr(prepare, "ROOT", tmp_path)
    monkeypatch.setattr(prepare, "CACHE", tmp_path / "cache")
    write_page(tmp_path, "echo fetched >> fetched")
    return tmp_path


def write_page(root: Path, setup: str) -> None:
    (root / "docs" / "clients" / "sketch.md").write_text(PAGE.format(setup=setup))


def sketch(*tools: str) -> Language:
    return Language("sketch", "Sketch", tools, "install it")


def test_the_commands_of_a_page_are_found_by_their_headings(root: Path) -> None:
    assert sketch().commands("Run") == "./sketch\n"
    assert sketch().commands("Set up", prepare.BUILD) == "echo fetched >> fetched\nls protos > listed\n"
    with pytest.raises(LookupError, match=r"sketch\.md has no commands under the heading 'Deploy'"):
        sketch().commands("Deploy")


def test_the_commands_run_beside_the_example_and_the_protos_without_our_generated_code(root: Path) -> None:
    prepare.prepare(sketch())
    prepared = sketch().prepared()
    assert prepare.is_ready(prepared)
    assert (prepared / "main").read_text() == "program"
    assert (prepared / "listed").read_text() == "chat.proto\n"


def test_a_second_run_fetches_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare.prepare(sketch())
    capsys.readouterr()
    prepare.prepare(sketch())
    assert (sketch().prepared() / "fetched").read_text() == "fetched\n"
    assert capsys.readouterr().out == ""


def test_a_changed_page_or_example_is_fetched_for_anew(root: Path) -> None:
    before = sketch().prepared()
    (root / "tests" / "clients" / "sketch" / "main").write_text("another program")
    changed = sketch().prepared()
    write_page(root, "echo something else")
    assert len({before, changed, sketch().prepared()}) == 3


def test_a_missing_tool_is_said_and_nothing_is_fetched(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare.prepare(sketch("sh", "no-such-compiler"))
    assert capsys.readouterr().out == "==> no no-such-compiler here: the Sketch client is not checked\n"
    assert not (root / "cache").exists()


def test_a_command_that_fails_is_told_with_its_last_words_and_tried_again(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_page(root, "[ -e ../reachable ] || { echo registry not reached; exit 7; }")
    prepare.prepare(sketch())
    prepared = sketch().prepared()
    assert not prepare.is_ready(prepared)
    assert prepare.why_not(prepared).endswith("commands.log: registry not reached")
    assert "the Sketch client is not checked" in capsys.readouterr().out
    (root / "cache" / "reachable").touch()
    prepare.prepare(sketch())
    assert prepare.is_ready(prepared)


def test_a_command_that_hangs_is_stopped(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "LIMIT", 0.2)
    write_page(root, "sleep 60")
    prepare.prepare(sketch())
    assert prepare.why_not(sketch().prepared()).endswith("it took more than 0.2 seconds")


def test_only_the_newest_contents_are_kept(root: Path) -> None:
    for content in ("one", "two", "three"):
        (root / "tests" / "clients" / "sketch" / "main").write_text(content)
        prepare.prepare(sketch())
    assert len(list((root / "cache").iterdir())) == 2
    assert prepare.is_ready(sketch().prepared())
