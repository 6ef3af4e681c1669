"""Alert rules: what they read is there, what they say is complete, and each fires when it should and not else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

import pytest

from adapters.media.errors import Outcome as MediaOutcome
from adapters.metrics_document import SHOWN_AS_ZERO, metrics
from adapters.telemetry import OUTCOMES_AT_PROVIDERS
from service.domain.errors import ERRORS, Reason
from service.domain.failure import CALLERS_END, OPERATORS_FAULT, FailureKind
from service.domain.job_store import Priority
from tests.prometheus import known, prepare, rules
from tests.prometheus.promql import read
from tests.support.parts import ROOT, require
from workers.ports import Outcome as RunOutcome

RULES = {rule.get("alert") or rule["record"]: rule for rule in rules.rules()}
each_rule = pytest.mark.parametrize("name", RULES)
each_alert = pytest.mark.parametrize("name", rules.alerts())


def values(label: str) -> Iterator[str]:
    """What rules compare this label of calls and attempts with."""
    for rule in rules.rules():
        for selector in read(rule["expr"]).selectors:
            for name, _, text in selector.matchers:
                if name == label:
                    yield from text.split("|")


@each_rule
def test_every_metric_and_label_that_a_rule_reads_exists(name: str) -> None:
    assert list(known.problems(RULES[name]["expr"])) == []


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("sum(rate(eurouter_request_total[5m]))", "no metric eurouter_request_total"),
        ('eurouter_requests_total{reason="ok"}', "eurouter_requests_total has no label reason"),
        ("sum by (provider) (eurouter_jobs_running)", "no metric here has the label provider"),
        ("eurouter_request_seconds > 1", "no metric eurouter_request_seconds"),
        ("eurouter_jobs_running{", "can't be read: no }"),
        ("1 > 0", "reads nothing"),
        (
            "max by (endpoint) (eurouter_condition) and on (namespace) up == 0",
            "no metric here has the label endpoint",
        ),
    ],
)
def test_a_metric_or_label_that_does_not_exist_is_found(expression: str, problem: str) -> None:
    assert list(known.problems(expression)) == [problem]


@each_alert
def test_every_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(name: str) -> None:
    alert = rules.alerts()[name]
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert re.fullmatch(r"\d+[mh]", alert["for"])
    told = alert["annotations"]
    assert set(told) == {"summary", "description", "runbook_url"}
    assert told["runbook_url"] == f"docs/runbooks/{name}.md"
    assert (ROOT / told["runbook_url"]).is_file()
    assert all(text.endswith(".") for text in (told["summary"], told["description"]))


@each_alert
def test_an_alert_tells_only_labels_that_it_has(name: str) -> None:
    alert = rules.alerts()[name]
    told = " ".join(alert["annotations"].values())
    named = set(re.findall(r"\$labels\.(\w+)", told))
    found = read(alert["expr"])
    # What is not grouped keeps the labels of its series.
    kept = found.grouped or known.SCRAPED.union(*(known.series()[one.metric] for one in found.selectors))
    assert named <= kept | {"namespace"}


def test_no_two_alerts_have_one_name() -> None:
    named = [rule["alert"] for rule in rules.rules() if "alert" in rule]
    assert sorted(named) == sorted(rules.alerts())


def test_the_outcomes_that_are_our_fault_are_those_of_the_error_catalogue() -> None:
    for fault, part in (("us", "by_us"), ("provider", "by_providers")):
        expected = {reason.value for reason in Reason if ERRORS[reason].fault == fault}
        for rule in rules.rules():
            if part in rule.get("record", ""):
                found = {text for one in read(rule["expr"]).selectors for _, _, text in one.matchers}
                counts = rule["record"].endswith(":rate5m")
                assert [set(text.split("|")) for text in found] == ([expected] if counts else []), rule["record"]


def test_every_outcome_and_priority_in_a_rule_exists() -> None:
    outcomes = {reason.value for reason in Reason} | {kind.value for kind in FailureKind}
    outcomes |= {*get_args(MediaOutcome), *get_args(RunOutcome), *CALLERS_END, "ok"}
    assert set(values("outcome")) <= outcomes
    assert set(values("priority")) == {priority.name.lower() for priority in Priority}


def test_the_refusals_that_are_told_are_those_that_an_operator_must_mend() -> None:
    (selector,) = read(rules.alerts()["EurouterProviderRefusesUs"]["expr"]).selectors
    ((_, _, text),) = selector.matchers
    assert set(text.split("|")) == set(values("kind")) == {kind.value for kind in OPERATORS_FAULT}


def test_what_callers_end_by_themselves_takes_no_provider_down() -> None:
    first, _ = read(rules.alerts()["EurouterProviderDown"]["expr"]).selectors
    ((_, sign, text),) = first.matchers
    assert sign == "!~"
    assert set(text.split("|")) > CALLERS_END


def test_the_failures_that_take_a_provider_down_are_those_that_are_shown_as_0_before_they_happen() -> None:
    (selector, well) = read(rules.alerts()["EurouterProviderDown"]["expr"]).selectors
    ((_, _, left_out),) = selector.matchers
    assert well.matchers == (("outcome", "=", "ok"),)
    told = {kind.value for kind in FailureKind} - set(left_out.split("|"))
    assert {*told, "ok"} == set(OUTCOMES_AT_PROVIDERS)


def test_every_counter_with_labels_that_a_rule_reads_is_shown_as_0_before_it_is_counted() -> None:
    labelled = {one.name for part in metrics().values() for one in part if one.kind == "counter" and one.labels}
    counted = {selector.metric for rule in rules.rules() for selector in read(rule["expr"]).selectors}
    shown = {name for name, *_ in SHOWN_AS_ZERO}
    assert "eurouter_requests_total" in counted & labelled
    assert counted & labelled <= shown <= labelled


@each_rule
def test_a_window_holds_four_scrapes_where_there_is_one_a_minute(name: str) -> None:
    unit = {"m": 1, "h": 60, "d": 1440}
    windows = re.findall(r"\[(\d+)([mhd])(?::\w+)?\]", RULES[name]["expr"])
    assert len(windows) == RULES[name]["expr"].count("[")
    assert all(int(number) * unit[letter] >= 5 for number, letter in windows)


def test_a_gauge_of_the_whole_database_is_never_summed_over_replicas() -> None:
    whole = [
        name
        for part in metrics().values()
        for one in part
        for name in one.series
        if "take max, not sum" in one.meaning
    ]
    assert len(whole) == 6
    for rule in rules.rules():
        assert not re.search(rf"(sum|avg|count)[^(]*(\([^()]*\))? *\(({'|'.join(whole)})", rule["expr"]), rule


@pytest.mark.parametrize(
    "name",
    [
        "EurouterErrorBudgetBurnsFast",
        "EurouterCallsFailByOurAccount",
        "EurouterProviderRefusesUs",
        "EurouterJobsCrash",
    ],
)
def test_an_alert_of_what_seldom_happens_has_a_case_of_a_series_that_was_not_there(name: str) -> None:
    values = [value for case in rules.cases()[name] if case["fires"] for value in case["series"].values()]
    assert any(str(value).startswith("_") for value in values)


def test_every_alert_has_a_case_that_fires_it_and_one_that_does_not() -> None:
    assert rules.cases().keys() == rules.alerts().keys()
    for name, cases in rules.cases().items():
        assert {case["fires"] > 0 for case in cases} == {True, False}, name


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_promtool_takes_the_rules() -> None:
    require("promtool", prepare.available(), prepare.how())
    good, said = rules.check()
    assert good, said


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_alert_fires_when_it_should_and_not_else() -> None:
    require("promtool", prepare.available(), prepare.how())
    good, said = rules.judge(rules.cases())
    assert good, said


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_alert_that_does_not_do_what_its_cases_say_is_found() -> None:
    require("promtool", prepare.available(), prepare.how())
    turned = {
        name: [{**case, "fires": 0 if case["fires"] else 1} for case in cases]
        for name, cases in rules.cases().items()
    }
    good, said = rules.judge(turned)
    assert not good
    for name, cases in turned.items():
        assert said.count(f'alertname=\\"{name}\\"') == len(cases), name
