"""Runbooks: one per alert, each whole, and nothing in them that is not there."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from functools import cache

import pytest

from service.cli import main
from service.domain.errors import ERRORS, Reason
from tests.prometheus import known, rules
from tests.support.pages import blocks, section
from tests.support.parts import ROOT

FOLDER = ROOT / "docs" / "runbooks"
PAGES = {path.stem: path for path in sorted(FOLDER.glob("*.md")) if path.stem != "README"}
PARTS = ("Meaning", "Impact", "Diagnosis", "Mitigation")
EVENT = re.compile(
    r"\b(?:attempt|request|consumer|intake|outbox|publisher|job|condition|certificate|catalog|kafka)_\w+"
)
_FAULTS = "Whose fault a failed call is"
each_page = pytest.mark.parametrize("name", PAGES)


def text(name: str) -> str:
    return PAGES[name].read_text(encoding="utf-8")


@cache
def code() -> str:
    """All that the service says, for a search."""
    return "".join(
        path.read_text(encoding="utf-8")
        for folder in ("service", "adapters", "workers")
        for path in (ROOT / folder).rglob("*.py")
    )


def commands(page: str) -> Iterator[list[str]]:
    """The arguments of every call of `eurouter` in a page."""
    for line in [*page.splitlines(), *re.findall(r"`([^`\n]+)`", page)]:
        found = re.search(r"(?:^|-- )(eurouter (?:config|db|dlq|keys|serve|work)\b[^`|]*)", line)
        if found and not line.startswith(("`", "|")):
            yield shlex.split(found[1])[1:]


def is_command(arguments: list[str]) -> bool:
    """Whether the command line takes these arguments, by its own help."""
    told = io.StringIO()
    with pytest.raises(SystemExit) as ended, contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        main([*arguments, "--help"], {})
    options = {argument for argument in arguments if argument.startswith("--")}
    return ended.value.code == 0 and all(f"{option} " in told.getvalue() for option in options)


def paths(page: str) -> Iterator[str]:
    """Every path of HTTP in a page."""
    for found in re.findall(r"(?:GET|POST|DELETE) (/[\w/.-]+)|http://127\.0\.0\.1:\d+(/[\w/.-]+)|`(/\w+z)`", page):
        yield next(part for part in found if part)


@cache
def doors() -> str:
    """The code of the doors, which names their paths."""
    return "".join(path.read_text(encoding="utf-8") for path in (ROOT / "service" / "edge").rglob("*.py"))


def is_served(path: str) -> bool:
    """Whether a door has such a path."""
    part = re.sub(r"^/v1/", "", path).replace("ID", "{id}").lstrip("/")
    return re.search(rf"""["/}}]{re.escape(part)}["/]""", doors()) is not None


def events(page: str) -> Iterator[str]:
    """Every event of the log that a page names."""
    yield from re.findall(r"(?:grep|-e) ([a-z_]+)", page)
    yield from (span for span in re.findall(r"`(\w+)`", page) if EVENT.fullmatch(span))


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert PAGES.keys() == rules.alerts().keys()


def test_the_index_says_of_every_reason_that_is_not_the_callers_where_it_counts() -> None:
    rows = re.findall(r"^\| (`[A-Z_`, ]+) \| (.+?) \|", section(FOLDER / "README.md", _FAULTS), re.MULTILINE)
    told = {reason: column for reasons, column in rows for reason in re.findall(r"\w+", reasons)}
    columns = {"us": "ours", "provider": "the provider's", "policy": "the policy's"}
    expected = {
        reason.value: columns[ERRORS[reason].fault] for reason in Reason if ERRORS[reason].fault in columns
    }
    assert {reason: column.partition(":")[0] for reason, column in told.items()} == expected


@each_page
def test_a_runbook_reads_the_log_of_all_pods_and_asks_one_that_it_names(name: str) -> None:
    assert not re.findall(r"(?:logs|port-forward) (?:deploy|deployment)/", text(name))
    for line in re.findall(r"^kubectl .* logs -l .*$", text(name), re.MULTILINE):
        assert " --tail=" in line, line
        assert " --prefix" in line, line
    for line in re.findall(r"^curl .*/v1/.*$", text(name), re.MULTILINE):
        assert '-H "authorization: Bearer $ADMIN_KEY"' in line, line
    # 9090 of the service, 9091 of workers.
    assert set(re.findall(r"port-forward pod/POD (\d+):\1$", text(name), re.MULTILINE)) <= {"9090", "9091"}


def test_the_index_has_every_alert_with_its_severity() -> None:
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \| (\w+) \|", index, re.MULTILINE)
    assert rows == [(name, name, alert["labels"]["severity"]) for name, alert in rules.alerts().items()]


@each_page
def test_a_runbook_has_its_four_parts_each_with_words(name: str) -> None:
    assert re.findall(r"^## (.+)$", text(name), re.MULTILINE) == list(PARTS)
    assert all(len(section(PAGES[name], part).split()) >= 4 for part in PARTS)
    assert text(name).startswith(f"# {name}\n")


@each_page
def test_every_query_in_a_runbook_reads_what_exists(name: str) -> None:
    for block in blocks(text(name), "promql"):
        for line in block.splitlines():
            assert list(known.problems(line)) == [], line
    for metric in re.findall(r"`(eurouter_\w+)", text(name)):
        assert metric in known.series(), metric


@each_page
def test_every_command_of_ours_in_a_runbook_is_taken(name: str) -> None:
    for arguments in commands(text(name)):
        assert is_command(arguments), arguments


def test_commands_are_found_and_one_that_does_not_exist_is_refused() -> None:
    found = [arguments for name in PAGES for arguments in commands(text(name))]
    assert ["db", "status"] in found
    assert ["dlq", "redrive", "--reason", "unknown_model", "--dry-run"] in found
    assert not is_command(["db", "mend"])
    assert not is_command(["dlq", "redrive", "--cause", "unknown_model"])


@each_page
def test_every_path_in_a_runbook_is_served(name: str) -> None:
    assert [path for path in paths(text(name)) if not is_served(path)] == []


@each_page
def test_every_event_in_a_runbook_is_logged(name: str) -> None:
    assert [event for event in events(text(name)) if f'"{event}"' not in code()] == []


def test_paths_and_events_are_found_and_those_that_do_not_exist_are_told() -> None:
    assert {path for name in PAGES for path in paths(text(name))} >= {
        "/readyz",
        "/v1/jobs/stats",
        "/v1/jobs/cancel",
    }
    assert {event for name in PAGES for event in events(text(name))} >= {"job_crashed", "condition_failed"}
    assert not is_served("/v1/jobs/stop")
    assert not is_served("/healthz")
    assert '"job_gone"' not in code()
    assert list(events("see `job_gone`, grep -e other_gone -e third")) == ["other_gone", "third", "job_gone"]


@each_page
def test_every_object_in_a_runbook_is_one_of_ours(name: str) -> None:
    manifests = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "deploy" / "kubernetes").rglob("*.yaml")
    )
    for kind, found in re.findall(r"\b(deployment|deploy)/([\w-]+)", text(name)):
        assert re.search(rf"name: {found}$", manifests, re.MULTILINE), (kind, found)
    for found in re.findall(r"component=(\w+)", text(name)):
        assert f"app.kubernetes.io/component: {found}" in manifests, found
