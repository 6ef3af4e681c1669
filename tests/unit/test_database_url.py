"""The database's URL: what it names, what is refused and how, and that no password is ever shown."""

from pathlib import Path

import pytest
import yaml

from adapters.database.open import open_database
from adapters.database.url import (
    DatabaseUrlError,
    PostgresTarget,
    SqliteTarget,
    default_url,
    effective_url,
    parse_url,
    without_password,
)
from service import cli
from service.settings import Settings, SettingsError

SECRET = "Pa55word"
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///eurouter.db", "eurouter.db"),
        ("sqlite:///folder/eurouter.db", "folder/eurouter.db"),
        ("sqlite:////var/lib/eurouter.db", "/var/lib/eurouter.db"),
        ("sqlite:////a%20b/c%3Fd%23.db", "/a b/c?d#.db"),
    ],
)
def test_a_sqlite_url_names_a_file(url: str, path: str) -> None:
    assert parse_url(url) == SqliteTarget(Path(path))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (f"postgresql://u:{SECRET}@db.example:5432/eurouter", "postgresql://db.example:5432/eurouter"),
        (f"postgres://u:{SECRET}@db/eurouter?sslmode=require", "postgresql://db/eurouter"),
        (f"postgresql://u:{SECRET}@[::1]:5432/x", "postgresql://[::1]:5432/x"),
        (f"postgresql://u:{SECRET}@one:1,two:2/x?target_session_attrs=primary", "postgresql://one:1,two:2/x"),
        (f"postgresql://u:a%40b%2F{SECRET}@db/x", "postgresql://db/x"),
        (f"postgresql:///x?host=/run/postgresql&user=u&password={SECRET}", "postgresql:///x"),
        ("postgresql://db", "postgresql://db"),
    ],
)
def test_a_postgresql_url_has_a_name_without_user_and_password(url: str, name: str) -> None:
    target = parse_url(url)
    assert isinstance(target, PostgresTarget)
    assert (target.dsn, target.name) == (url, name)
    assert SECRET not in repr(target)
    assert open_database(url).name == name


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"mysql://u:{SECRET}@h/x", "postgresql://user:password@host"),
        (f"postgresql+asyncpg://u:{SECRET}@h/x", "must be sqlite:////"),
        (SECRET, "must be sqlite:////"),
        ("", "must be sqlite:////"),
        (f"postgresql://u:{SECRET}/tail@h/x", "percent-encoded: / is %2F"),
        (f"postgresql://u:{SECRET}?tail@h/x", "percent-encoded"),
        (f"postgresql://u:{SECRET}#tail@h/x", "percent-encoded"),
        (f"postgresql://u:{SECRET}@tail@h/x", "percent-encoded"),
        (f"postgresql://u:[{SECRET}@h/x", "can't be read as a URL"),
        (f"postgresql://u:{SECRET}/x", "before an @"),
        (f"postgresql://u:{SECRET}@h/x/y", "must name one database"),
        (f"postgresql://u:p@h/x?sslmode=require&{SECRET}", "must be name=value"),
        ("postgresql://u:p@h/x?sslmode", "must be name=value"),
        ("postgresql://u:p@h/x?sslmode=disable&", "must be name=value"),
        ("postgresql://u:p@h:65536/x", "a port must be 0..65535"),
        ("postgresql://u:p@h:1,i:99999/x", "a port must be 0..65535"),
        ("sqlite://", "must name a file"),
        ("sqlite:///", "must name a file"),
        ("sqlite:////var/lib/", "must name a file"),
        ("sqlite://eurouter.db", "three slashes"),
        ("sqlite:///:memory:", "a file on a disk"),
        ("sqlite:///a.db?mode=ro", "takes no parameters"),
    ],
)
def test_any_other_url_is_refused_without_repeating_it(url: str, said: str) -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        parse_url(url)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


def test_the_default_is_a_file_in_the_state_folder() -> None:
    home = "sqlite:////home/u/.local/state/eurouter/eurouter.db"
    assert default_url({"HOME": "/home/u"}) == home
    assert default_url({"HOME": "/home/u", "XDG_STATE_HOME": "relative"}) == home
    odd = default_url({"XDG_STATE_HOME": "/a?b%20#c"})
    assert parse_url(odd) == SqliteTarget(Path("/a?b%20#c/eurouter/eurouter.db"))


def test_a_setting_may_name_where_the_url_is() -> None:
    held = {"env:DB": "sqlite:///held.db"}
    assert effective_url("env:DB", {}, held.__getitem__) == "sqlite:///held.db"
    assert effective_url("sqlite:///own.db", {}, held.__getitem__) == "sqlite:///own.db"
    assert effective_url(None, {"HOME": "/h"}, held.__getitem__) == default_url({"HOME": "/h"})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql://u:{SECRET}@h:1/x?sslmode=require", "postgresql://u@h:1/x?sslmode=require"),
        (f"postgresql:///x?host=/run/pg&password={SECRET}", "postgresql:///x?host=/run/pg"),
        ("postgresql://h/x", "postgresql://h/x"),
        ("sqlite:////a%20b.db", "sqlite:////a%20b.db"),
        ("env:DB", "env:DB"),
    ],
)
def test_what_is_shown_is_the_url_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_config_check_shows_the_database_without_the_password(tmp_path: Path, capsys: Capture) -> None:
    env = {"EUROUTER_DATABASE__URL": f"postgresql://u:{SECRET}@h:1/x"}
    assert cli.main(["config", "check"], env) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["database"]["url"] == "postgresql://u@h:1/x"
    assert SECRET not in printed
    assert SECRET not in repr(Settings.load(None, env))


def test_config_check_shows_the_default_file_and_references_as_they_are(capsys: Capture) -> None:
    assert cli.main(["config", "check"], {"XDG_STATE_HOME": "/state"}) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["database"]["url"] == "sqlite:////state/eurouter/eurouter.db"
    assert shown["responses"]["retention_days"] == 30
    env = {"EUROUTER_DATABASE__URL": "env:DB", "DB": f"postgresql://u:{SECRET}@h/x"}
    assert cli.main(["config", "check"], env) == 0
    assert yaml.safe_load(capsys.readouterr().out)["database"]["url"] == "env:DB"


@pytest.mark.parametrize("command", [["config", "check"], ["serve"], ["db", "status"], ["db", "migrate"]])
@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"EUROUTER_DATABASE__URL": "env:DB"}, "database.url: env:DB: the environment variable is not set"),
        ({"EUROUTER_DATABASE__URL": "env:DB", "DB": f"mysql://u:{SECRET}@h/x"}, "must be sqlite:////"),
        ({"EUROUTER_DATABASE__URL": f"mysql://u:{SECRET}@h/x"}, "database.url: must be sqlite:////"),
        ({"EUROUTER_DATABASE__URL": "env:"}, "database.url: must say where the URL is"),
    ],
)
def test_a_database_that_can_not_be_used_is_told_before_anything_starts(
    command: list[str], env: dict[str, str], said: str, capsys: Capture
) -> None:
    assert cli.main(command, env) == 1
    printed = capsys.readouterr()
    assert said in printed.err
    assert SECRET not in printed.out + printed.err


def test_a_bad_url_in_the_file_is_told_with_its_line_and_without_it(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"database:\n  url: postgresql://u:{SECRET}/x@h/y\n")
    with pytest.raises(
        SettingsError, match=r"database\.url: user and password must be percent-encoded.*line 2"
    ) as caught:
        Settings.load(config, {})
    assert SECRET not in str(caught.value)


def test_the_help_of_the_commands_says_what_they_change(capsys: Capture) -> None:
    for command, said in (("migrate", "Does nothing when it is"), ("status", "Changes nothing")):
        with pytest.raises(SystemExit) as caught:
            cli.main(["db", command, "--help"], {})
        assert caught.value.code == 0
        assert said in " ".join(capsys.readouterr().out.split())
