"""What settings need beside their file: a file that may not be looked at is told of, and ends nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.providers.secrets import SecretError, Secrets
from service.settings import Settings
from service.settings.needs import Missing, missing
from tests.support.parts import ROOT

LET = "let the process's user read it, and each folder above it"


@pytest.fixture
def denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that may not be entered. Root may enter any: there the system's answer is given for it."""
    folder = tmp_path / "denied"
    folder.mkdir()
    (folder / "file").write_text("x" * 32)
    if os.geteuid() == 0:
        stat = os.stat

        def refuse(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
            if not isinstance(path, int) and str(path).startswith(f"{folder}/"):
                raise PermissionError(13, "Permission denied", str(path))
            return stat(path, *arguments, **options)

        monkeypatch.setattr(os, "stat", refuse)
    folder.chmod(0)
    yield folder
    folder.chmod(0o700)


def found(secrets: Secrets, **settings: Any) -> list[Missing]:
    return list(missing(Settings(**settings), secrets))


@pytest.mark.parametrize(
    ("setting", "settings"),
    [
        ("upstream.ca_file", lambda file: {"upstream": {"ca_file": file}}),
        ("telemetry.ca_file", lambda file: {"telemetry": {"ca_file": file}}),
        (
            "kafka.security.ca_file",
            lambda file: {
                "kafka": {"bootstrap_servers": "a:1", "security": {"protocol": "SSL", "ca_file": file}},
            },
        ),
    ],
    ids=["upstream", "telemetry", "kafka"],
)
def test_a_file_that_may_not_be_looked_at_is_told_of_and_may_come(
    denied: Path, setting: str, settings: Any
) -> None:
    file = denied / "file"
    assert found(Secrets({}), **settings(str(file))) == [
        Missing(f"{setting}: the file {file} can't be read (Permission denied): {LET}", may_come=True)
    ]


def test_a_certificate_that_may_not_be_looked_at_is_told_of_beside_its_key(denied: Path) -> None:
    tls = {"cert": str(denied / "file"), "key": str(denied / "file")}
    said = f"the file {denied}/file can't be read (Permission denied): {LET}"
    assert [one.text for one in found(Secrets({}), grpc={"tls": tls})] == [
        f"grpc.tls.cert: {said}",
        f"grpc.tls.key: {said}",
    ]


def test_a_folder_of_secrets_that_may_not_be_looked_at_is_a_missing_secret(denied: Path) -> None:
    secrets = Secrets({"EUROUTER_SECRETS_DIR": str(denied)})
    with pytest.raises(SecretError, match=f"the file {denied}/PEPPER can't be read \\(Permission denied\\)"):
        secrets.resolve("env:PEPPER")
    (one,) = found(secrets, key_pepper="env:PEPPER")
    assert one.may_come


def test_a_secret_that_is_there_and_can_not_be_read_is_not_asked_to_be_put_there(
    denied: Path, tmp_path: Path
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    said = [
        found(Secrets({}), key_pepper=f"file:{path}")[0].text for path in (denied / "file", tmp_path / "binary")
    ]
    assert said[0].endswith(f"/denied/file: the file can't be read (Permission denied): {LET}")
    assert said[1].endswith("/binary: the file can't be read (it is not UTF-8 text)")


@pytest.mark.parametrize("section", ["upstream", "telemetry"])
def test_a_file_that_holds_no_certificates_of_issuers_is_told_of(tmp_path: Path, section: str) -> None:
    (tmp_path / "ca.pem").write_text("garbage")
    (one,) = found(Secrets({}), **{section: {"ca_file": str(tmp_path / "ca.pem")}})
    assert one.text.startswith(f"{section}.ca_file: {tmp_path}/ca.pem holds no certificate that can be used (")
    assert one.may_come


def test_an_empty_name_of_the_folder_of_secrets_is_no_folder() -> None:
    secrets = Secrets({"EUROUTER_SECRETS_DIR": ""})
    (one,) = found(secrets, key_pepper="env:PEPPER")
    assert one == Missing("key_pepper: env:PEPPER: the environment variable is not set", may_come=False)


def test_sigterm_ends_a_command_that_still_loads_what_it_needs() -> None:
    """The first process of a container gets no signal that it does not handle: it must handle this one early."""
    code = """
import os, signal, sys
class Sends:
    def find_spec(self, name, path=None, target=None):
        if name == "pydantic":
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Sends())
from service.cli import main
main(["config", "check"])
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 143
