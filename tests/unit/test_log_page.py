"""docs/observability.md says what each log event of a failure is for, and names none that is not logged."""

from __future__ import annotations

import re
from typing import Final

from tests.support.pages import section
from tests.support.parts import ROOT

PAGE: Final = ROOT / "docs" / "observability.md"
_EVENT: Final = re.compile(r'^[A-Z_]+: Final = "([a-z_]+)"$', re.MULTILINE)
_FAILURE: Final = re.compile(r"[a-z_]+_(failed|crashed|given_up|need_restart|rejected|not_released)")
_OF_A_RECORD: Final = "record_rejected"
"""A dead letter: docs/kafka.md has it."""


def events() -> set[str]:
    """The names that modules give to what they log, of failures and of all else."""
    sources = (path for package in ("service", "adapters") for path in (ROOT / package).rglob("*.py"))
    return {name for source in sources for name in _EVENT.findall(source.read_text(encoding="utf-8"))}


def on_page() -> set[str]:
    """The events of the section, fields and settings left out."""
    rows = section(PAGE, "What the log says of failures").splitlines()
    first = [row.split("|")[1] for row in rows if row.startswith("| `")]
    return set(re.findall(r"`([a-z_]+)`", " ".join(first)))


def test_every_event_of_a_failure_is_on_the_page() -> None:
    failures = {name for name in events() if _FAILURE.fullmatch(name)}
    assert failures - on_page() == {"condition_failed", _OF_A_RECORD}, "conditions stand above the table"
    assert len(failures) > 20


def test_every_event_on_the_page_is_one() -> None:
    assert on_page() <= events()


def test_what_is_a_condition_is_told_by_no_event_beside_it() -> None:
    """Each of these said the same as `condition_failed` or `condition_ended`, in other words."""
    gone = {
        *("database_failed", "settings_rejected", "settings_file_missing", "catalog_rejected"),
        *("catalog_file_missing", "kafka_topic_check_failed", "consumer_works", "consumer_works_not"),
    }
    assert not gone & events()
    pages = {page.name: page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md")}
    assert not [name for name, text in pages.items() if gone & set(re.findall(r"[a-z_]+", text))]
