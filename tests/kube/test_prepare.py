"""What is built for the API server is built once, and what could not be had is named with its reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.kube import prepare


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a PATH with nothing but a shell's own tools."""
    monkeypatch.setattr(prepare, "CACHE", tmp_path / "cache")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "cache"


def play_go(cache: Path, script: str) -> None:
    """Put a `go` on the PATH that does what the script says and notes that it was called."""
    go = cache.parent / "bin" / "go"
    go.write_text(f"#!/bin/sh\necho called >> {cache.parent / 'calls'}\n{script}\n", encoding="utf-8")
    go.chmod(0o700)


def calls(cache: Path) -> int:
    return (cache.parent / "calls").read_text(encoding="utf-8").count("called")


def downloaded(sum_of_it: str, folder: Path) -> str:
    """A script that says of any module that it lies in a folder."""
    said = json.dumps({"Sum": sum_of_it, "Dir": str(folder)})
    return f"printf '%s' '{said}'"


def test_without_go_it_says_what_to_install(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare.main()
    assert not prepare.available()
    assert "install Go 1.26 or newer" in prepare.how()
    assert "install Go 1.26 or newer" in capsys.readouterr().out


def test_a_program_is_built_once(cache: Path) -> None:
    # The last argument but one is the file to write.
    play_go(cache, 'while [ $# -gt 2 ]; do shift; done\nprintf program > "$1"')
    prepare.build(prepare.ETCD)
    prepare.build(prepare.ETCD)
    assert prepare.ETCD.binary().read_bytes() == b"program"
    assert calls(cache) == 1


def test_a_build_that_fails_is_told_by_its_last_line_and_tried_again(cache: Path) -> None:
    play_go(cache, "echo first; echo 'no space left on device' >&2; exit 1")
    prepare.build(prepare.API_SERVER)
    prepare.build(prepare.API_SERVER)
    assert not prepare.available()
    assert prepare.how().endswith("commands.log: no space left on device")
    assert calls(cache) == 2


def test_definitions_whose_sum_differs_are_not_taken(cache: Path, tmp_path: Path) -> None:
    play_go(cache, downloaded("h1:other", tmp_path))
    prepare.fetch()
    assert "its sum is h1:other, not h1:" in prepare.how()
    assert not list(prepare.definitions().glob("*.yaml"))


def test_definitions_are_taken_out_of_the_modules(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = prepare.Definitions("Project", "example.com/module", "v1.0.0", "h1:right", ("config/kinds.yaml",))
    monkeypatch.setattr(prepare, "DEFINITIONS", (one,))
    (tmp_path / "module" / "config").mkdir(parents=True)
    (tmp_path / "module" / "config" / "kinds.yaml").write_text("kind: X\n", encoding="utf-8")
    play_go(cache, downloaded("h1:right", tmp_path / "module"))
    prepare.fetch()
    prepare.fetch()
    assert (prepare.definitions() / "kinds.yaml").read_text(encoding="utf-8") == "kind: X\n"
    assert calls(cache) == 1


def test_other_sources_make_another_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = prepare.ETCD.folder()
    shutil.copytree(Path(prepare.__file__).with_name("server"), tmp_path / "server")
    monkeypatch.setattr(prepare, "_SOURCES", tmp_path / "server")
    assert prepare.ETCD.folder() == before
    with (tmp_path / "server" / "etcd" / "go.mod").open("a", encoding="utf-8") as file:
        file.write("// changed\n")
    assert prepare.ETCD.folder() != before


def test_the_version_is_the_one_that_the_module_requires(monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"-X k8s.io/component-base/version.gitVersion={prepare.API_SERVER.version()}" in str(
        prepare.API_SERVER.command()
    )
    nobody = prepare.Program("etcd", "etcd", "example.com/nobody", 1)
    with pytest.raises(LookupError, match=r"etcd/go.mod does not require example.com/nobody"):
        nobody.version()
