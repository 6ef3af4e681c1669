"""`eurouter db migrate --wait`: what it waits for, and how often it says so. The database is a SQLite file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from service import migrating
from service.migrating import migrate_when_there
from service.settings import Settings, SettingsError

Capture = pytest.CaptureFixture[str]


def loads(*what: Settings | str) -> Callable[[], Settings]:
    """Each of these in turn, the last again and again; a text is a mistake."""
    left = list(what)

    def load() -> Settings:
        one = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(one, str):
            raise SettingsError([one])
        return one

    return load


def of(url: str) -> Settings:
    return Settings.model_validate({"database": {"url": url}})


def test_a_mistake_in_the_first_settings_is_waited_for_and_said_once(tmp_path: Path, capsys: Capture) -> None:
    mended = of(f"sqlite:///{tmp_path}/a.db")
    load = loads("grpc.port: must be a number", "grpc.port: must be a number", "databse: unknown", mended)
    assert migrate_when_there(load, {}, again=0) == 0
    shown = capsys.readouterr()
    assert shown.err.splitlines() == ["waiting: grpc.port: must be a number", "waiting: databse: unknown"]
    assert "the schema is up to date" in shown.out


def test_an_edit_with_a_mistake_is_said_once_and_what_was_read_before_stays(
    tmp_path: Path, capsys: Capture
) -> None:
    secret = tmp_path / "url"
    settings = of(f"file:{secret}")
    looks = 0

    def load() -> Settings:
        nonlocal looks
        looks += 1
        if looks == 5:
            secret.write_text(f"sqlite:///{tmp_path}/a.db")
        if looks > 1:
            raise SettingsError(["databse: unknown"])
        return settings

    assert migrate_when_there(load, {}, again=0) == 0
    told = capsys.readouterr().err
    assert told.count("not taken: databse: unknown") == 1
    assert told.count(f"database.url: file:{secret}: the file can't be read (No such file or directory)") == 2
    assert (tmp_path / "a.db").exists()


def test_a_secret_that_vanishes_between_the_look_and_its_use_is_waited_for(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "url"
    looked = 0

    def look(*_arguments: object) -> tuple[()]:
        nonlocal looked
        looked += 1
        if looked == 3:
            secret.write_text(f"sqlite:///{tmp_path}/a.db")
        return ()

    monkeypatch.setattr(migrating, "missing_url", look)
    assert migrate_when_there(loads(of(f"file:{secret}")), {}, again=0) == 0
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("waiting: database.url: file:")


def test_a_variable_that_is_not_set_is_not_waited_for() -> None:
    with pytest.raises(SettingsError, match="env:NONE: the environment variable is not set"):
        migrate_when_there(loads(of("env:NONE")), {}, again=0)
