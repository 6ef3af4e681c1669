"""Secrets by reference: what resolves, what a change of a file does, and what errors say."""

import os
from pathlib import Path

import pytest

from adapters.providers.secrets import SecretError, Secrets


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_environment_variable_resolves_without_its_line_break() -> None:
    secrets = Secrets({"KEY": "sk-1\n"})
    assert secrets.resolve("env:KEY") == "sk-1"
    assert secrets.is_configured("env:KEY")


def test_a_file_resolves_without_its_line_break(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-1\r\n")
    assert Secrets({}).resolve(f"file:{tmp_path}/key") == "sk-1"


def test_a_changed_file_is_noticed_after_a_second_and_not_looked_at_before(tmp_path: Path) -> None:
    path, clock = tmp_path / "key", Clock()
    path.write_text("first")
    secrets = Secrets({}, clock)
    assert secrets.resolve(f"file:{path}") == "first"
    path.write_text("second")
    os.utime(path, ns=(1, 1))
    clock.now += 0.9
    assert secrets.resolve(f"file:{path}") == "first"
    clock.now += 0.2
    assert secrets.resolve(f"file:{path}") == "second"


def test_a_swap_of_the_link_above_the_file_is_noticed(tmp_path: Path) -> None:
    for name, value in (("v1", "first"), ("v2", "other")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "key").write_text(value)
        os.utime(tmp_path / name / "key", ns=(1, 1))
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "key").symlink_to("..data/key")
    clock = Clock()
    secrets = Secrets({}, clock)
    assert secrets.resolve(f"file:{tmp_path}/key") == "first"
    (tmp_path / "..tmp").symlink_to("v2")
    (tmp_path / "..tmp").rename(tmp_path / "..data")
    clock.now += 1.1
    assert secrets.resolve(f"file:{tmp_path}/key") == "other"


def test_a_file_that_is_gone_is_an_error_and_not_the_old_value(tmp_path: Path) -> None:
    path, clock = tmp_path / "key", Clock()
    path.write_text("first")
    secrets = Secrets({}, clock)
    secrets.resolve(f"file:{path}")
    path.unlink()
    clock.now += 1.1
    with pytest.raises(SecretError, match="No such file"):
        secrets.resolve(f"file:{path}")
    assert not secrets.is_configured(f"file:{path}")


def test_the_last_value_is_what_was_read_before_the_file_was_gone_and_the_new_one_once_it_is_back(
    tmp_path: Path,
) -> None:
    path, clock = tmp_path / "key", Clock()
    secrets = Secrets({}, clock)
    with pytest.raises(SecretError, match="No such file"):
        secrets.last(f"file:{path}")
    path.write_text("first")
    assert secrets.last(f"file:{path}") == "first"
    path.unlink()
    clock.now += 1.1
    assert secrets.last(f"file:{path}") == "first"
    path.write_text("second")
    clock.now += 1.1
    assert secrets.last(f"file:{path}") == "second"


@pytest.mark.parametrize(
    ("reference", "says"),
    [("env:ABSENT", "env:ABSENT: the environment variable is not set"), ("env:EMPTY", "env:EMPTY: it is empty")],
)
def test_a_missing_or_empty_secret_is_named_by_its_reference(reference: str, says: str) -> None:
    with pytest.raises(SecretError, match=says):
        Secrets({"EMPTY": "\n"}).resolve(reference)


@pytest.mark.parametrize("reference", ["sk-live-123", "", "env:", "file:", "vault:x"])
def test_a_key_in_place_of_a_reference_is_refused_and_not_repeated(reference: str) -> None:
    with pytest.raises(SecretError) as caught:
        Secrets({}).resolve(reference)
    assert "sk-live" not in str(caught.value)
    assert not Secrets({}).is_configured(reference)


@pytest.mark.parametrize("value", ["two\nlines", "tab\there", "schlüssel"])
def test_a_secret_that_can_not_stand_in_a_header_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(SecretError) as caught:
        Secrets({"KEY": value}).resolve("env:KEY")
    assert value not in str(caught.value)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    with pytest.raises(SecretError, match="not UTF-8"):
        Secrets({}).resolve(f"file:{tmp_path}/key")


def test_a_variable_that_is_not_set_is_a_file_of_its_name_in_the_folder_of_secrets(tmp_path: Path) -> None:
    (tmp_path / "MISTRAL_API_KEY").write_text("sk-in-the-folder\n")
    secrets = Secrets({"EUROUTER_SECRETS_DIR": str(tmp_path), "OPENAI_API_KEY": "sk-in-the-environment"})
    (tmp_path / "OPENAI_API_KEY").write_text("sk-not-this-one")
    assert secrets.resolve("env:MISTRAL_API_KEY") == "sk-in-the-folder"
    assert secrets.resolve("env:OPENAI_API_KEY") == "sk-in-the-environment"


def test_a_key_in_the_folder_of_secrets_may_come_change_and_go(tmp_path: Path) -> None:
    clock = Clock()
    secrets = Secrets({"EUROUTER_SECRETS_DIR": str(tmp_path)}, clock)
    assert not secrets.is_configured("env:KEY")
    (tmp_path / "KEY").write_text("first")
    assert secrets.resolve("env:KEY") == "first"
    (tmp_path / "KEY").write_text("second one")
    clock.now += 1.1
    assert secrets.resolve("env:KEY") == "second one"
    (tmp_path / "KEY").unlink()
    clock.now += 1.1
    with pytest.raises(SecretError, match=f"env:KEY: neither .* nor is there a file {tmp_path}/KEY"):
        secrets.resolve("env:KEY")


@pytest.mark.parametrize("name", ["../key", "sub/key", ".hidden", "/etc/hostname"])
def test_no_reference_leads_out_of_the_folder_of_secrets(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    for path in ("key", "folder/sub/key", "folder/.hidden"):
        (tmp_path / path).write_text("not-to-be-had")
    secrets = Secrets({"EUROUTER_SECRETS_DIR": str(tmp_path / "folder")})
    with pytest.raises(SecretError, match="the environment variable is not set"):
        secrets.resolve(f"env:{name}")
