"""Files that are read once: another content is told while it is another, by the file's name and nothing of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.providers.secrets import Secrets
from service.settings import Settings
from service.settings.at_start import ReadAtStart

SAID = "has changed since this process started, which goes on with the old one until it is restarted"
OLD, NEW = "postgresql://a:old-password@db/x", "postgresql://a:another-password@db/x"


class Clock:
    """Files of secrets are looked at once a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 2.0
        return self.now


def reads(env: dict[str, str] | None = None, **settings: Any) -> ReadAtStart:
    return ReadAtStart(Settings(**settings), Secrets(env or {}, Clock()))


def test_another_url_of_the_database_is_told_for_as_long_as_it_is_another(tmp_path: Path) -> None:
    file = tmp_path / "database-url"
    file.write_text(OLD)
    read = reads(database={"url": f"file:{file}"})
    assert list(read.changed()) == []
    file.write_text(NEW)
    assert list(read.changed()) == [f"database.url: file:{file} {SAID}"]
    assert list(read.changed()) == [f"database.url: file:{file} {SAID}"]
    file.write_text(f"{OLD}\n")
    assert list(read.changed()) == [], "the same, with a line break"


def test_a_variable_that_a_folder_of_secrets_stands_in_for_is_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "DATABASE_URL").write_text(OLD)
    read = reads({"EUROUTER_SECRETS_DIR": str(tmp_path)}, database={"url": "env:DATABASE_URL"})
    (tmp_path / "DATABASE_URL").write_text(NEW)
    assert list(read.changed()) == [f"database.url: env:DATABASE_URL {SAID}"]


@pytest.mark.parametrize("content", [None, "", "a line\nand another"], ids=["gone", "empty", "two lines"])
def test_a_file_that_can_not_be_read_now_has_not_changed(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "database-url"
    file.write_text(OLD)
    read = reads(database={"url": f"file:{file}"})
    file.unlink() if content is None else file.write_text(content)
    assert list(read.changed()) == []
    file.write_text(NEW)
    assert len(list(read.changed())) == 1


def test_a_file_that_came_after_the_start_was_not_read_at_it(tmp_path: Path) -> None:
    read = reads(upstream={"ca_file": f"{tmp_path}/ca.pem"})
    (tmp_path / "ca.pem").write_text("one")
    assert list(read.changed()) == []


@pytest.mark.parametrize(
    ("setting", "section"),
    [
        ("upstream.ca_file", lambda path: {"upstream": {"ca_file": path}}),
        ("telemetry.ca_file", lambda path: {"telemetry": {"endpoint": "https://collector", "ca_file": path}}),
    ],
)
def test_other_authorities_are_told(tmp_path: Path, setting: str, section: Any) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("one")
    read = reads(**section(str(file)))
    assert list(read.changed()) == []
    file.write_text("another")
    assert list(read.changed()) == [f"{setting}: {file} {SAID}"]


def test_what_is_read_again_by_itself_or_not_at_all_is_not_told(tmp_path: Path) -> None:
    names = ("pepper", "password", "kafka.pem", "token", "unused.pem")
    files = {name: tmp_path / name for name in names}
    for file in files.values():
        file.write_text("x" * 32)
    security = {
        "protocol": "SASL_SSL",
        "mechanism": "PLAIN",
        "username": "u",
        "password": f"file:{files['password']}",
        "ca_file": str(files["kafka.pem"]),
    }
    read = reads(
        key_pepper=f"file:{files['pepper']}",
        kafka={"bootstrap_servers": "a:1", "security": security},
        telemetry={"headers": {"a": f"file:{files['token']}"}, "ca_file": str(files["unused.pem"])},
        database={"url": OLD},
    )
    for file in files.values():
        file.write_text("y" * 32)
    assert list(read.changed()) == []
