"""docs/kubernetes/troubleshooting.md says what pods say: each sentence of it is made by the code."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from adapters.database.postgres_errors import describe_postgres
from adapters.database.revisions import HEAD, REVISIONS, SchemaError, must_migrate
from adapters.database.url import PostgresTarget
from adapters.providers.secrets import Secrets
from service.conditions import Conditions, Part
from service.domain.stored import StoreError
from service.settings import Settings, SettingsError
from service.settings.at_start import ReadAtStart
from service.settings.needs import missing, no_settings
from service.storage import sentence
from tests.support.parts import ROOT

PAGE: Final = ROOT / "docs" / "kubernetes" / "troubleshooting.md"
SECRETS: Final = "/etc/eurouter/secrets"
TARGET: Final = PostgresTarget(
    "postgresql://eurouter:secret@postgres:5432/eurouter", "postgresql://postgres:5432/eurouter"
)


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def on_page(text: str) -> str:
    """A sentence as it stands in a code span, where no backtick can."""
    return text.replace("`", "")


def lacking(env: dict[str, str] | None = None, **settings: Any) -> list[str]:
    """What is missing by these settings, whose files are nowhere."""
    return [one.text for one in missing(Settings(**settings), Secrets(env or {}))]


@pytest.mark.parametrize(
    "settings",
    [
        {"key_pepper": f"file:{SECRETS}/key-pepper"},
        {"database": {"url": f"file:{SECRETS}/database-url"}},
    ],
    ids=["pepper", "url"],
)
def test_a_missing_secret_is_on_the_page_as_pods_tell_it(page: str, settings: dict[str, Any]) -> None:
    (said,) = lacking(**settings)
    assert f"`secrets: {said}`" in page


def test_a_missing_settings_file_is_on_the_page_as_pods_tell_it(page: str) -> None:
    said = no_settings(Path("/etc/eurouter/settings/settings.yaml"))
    assert f"`settings: {said}`" in page


def test_a_url_that_was_replaced_is_on_the_page_as_pods_tell_it(page: str, tmp_path: Path) -> None:
    file = tmp_path / "database-url"
    file.write_text("sqlite:////a.db")
    settings = Settings.model_validate({"database": {"url": f"file:{file}"}})
    read = ReadAtStart(settings, Secrets({}, count(0, 2).__next__))
    file.write_text("sqlite:////another.db")
    (said,) = read.changed()
    assert f"`degraded: restart: {said.replace(str(tmp_path), SECRETS)}`" in page


def test_a_short_pepper_and_a_missing_certificate_are_on_the_page(page: str, tmp_path: Path) -> None:
    (tmp_path / "key-pepper").write_text("short")
    (said,) = lacking(key_pepper=f"file:{tmp_path}/key-pepper")
    assert f"`secrets: {on_page(said.replace(str(tmp_path), SECRETS))}`" in page
    tls = {"cert": "/etc/eurouter/tls/tls.crt", "key": "/etc/eurouter/tls/tls.key"}
    assert f"`secrets: {lacking(grpc={'tls': tls})[0]}`" in page


def test_a_variable_that_is_not_set_is_on_the_page(page: str) -> None:
    (said,) = lacking(key_pepper="env:KEY_PEPPER")
    assert f"`{said}`" in page


@pytest.mark.parametrize("error", [ConnectionRefusedError(111, "Connection refused"), TimeoutError()], ids=type)
def test_a_database_that_is_away_is_on_the_page(page: str, error: OSError) -> None:
    assert f"`database: {sentence(describe_postgres(error, TARGET))}`" in page


@pytest.mark.parametrize("revision", [None, "before"])
def test_a_schema_that_is_not_there_yet_is_on_the_page(page: str, revision: str | None) -> None:
    found = None if revision is None else REVISIONS[-2]
    with pytest.raises(SchemaError) as raised:
        must_migrate(TARGET.name, found, auto_migrate=False)
    said = on_page(sentence(raised.value))
    if revision is not None:
        # The page's revisions are those of its day.
        said = said.replace(REVISIONS[-2], "0005").replace(HEAD, "0006")
    assert f"`database: {said}`" in page


def test_a_schema_that_is_too_new_is_on_the_page(page: str) -> None:
    with pytest.raises(SchemaError) as raised:
        must_migrate(TARGET.name, "9999", auto_migrate=False)
    begins = "its schema has revision 9999, which this version "
    assert str(raised.value).startswith(f"{TARGET.name}: {begins}")
    assert f"`database: {TARGET.name}: {begins}…`" in page


def test_mistakes_in_the_settings_are_on_the_page(page: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    for text, line in (("grpc: {port: 99999}\n", 11), ("databse: {url: x}\n", 7)):
        file.write_text("\n" * (line - 1) + text)
        with pytest.raises(SettingsError) as raised:
            Settings.load(file, {})
        assert f"`{raised.value.lines[0]}`" in page


def test_every_part_is_on_the_page_and_ready_or_not_as_the_code_has_it(page: str) -> None:
    rows = {
        cells[0].strip(" `"): cells[-1].strip()
        for line in page.splitlines()
        if line.startswith("| `") and len(cells := line.strip("|").split("|")) == 3
    }
    assert rows.keys() == {part.value for part in Part}
    for part in Part:
        conditions = Conditions()
        conditions.tell(Part.DATABASE)
        conditions.tell(part, "wrong")
        assert not conditions.health().not_ready, "a service that has begun stays ready whatever is wrong"
        always = rows[part.value] == "yes"
        assert always == (part not in (Part.DATABASE, Part.SECRETS, Part.SETTINGS)), part


def test_what_a_store_says_is_never_without_advice() -> None:
    assert sentence(StoreError("x: away")).startswith("x: away; ")
