"""Dashboards: valid, made by what stands beside this test, and of metrics that exist."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.metrics_document import metrics
from tests.deploy import dashboards
from tests.prometheus import known
from tests.prometheus.promql import read
from tests.support.parts import ROOT

FILES = {path.stem: path for path in sorted(dashboards.FOLDER.glob("*.json"))}
UNITS = {"short", "s", "reqps", "ops", "percentunit", "Bps"}
each_file = pytest.mark.parametrize("name", FILES)

Json = dict[str, Any]


def loaded(name: str) -> Json:
    found: Json = json.loads(FILES[name].read_text(encoding="utf-8"))
    return found


def filled(expr: str) -> str:
    """The expression as Prometheus gets it."""
    return re.sub(r"\$__rate_interval", "1m", re.sub(r"\$(namespace|provider|priority)", ".*", expr))


def sources(part: object) -> Iterator[object]:
    """Every data source that is named anywhere."""
    if isinstance(part, dict):
        if "datasource" in part:
            yield part["datasource"]
        for value in part.values():
            yield from sources(value)
    elif isinstance(part, list):
        for value in part:
            yield from sources(value)


def problems(board: Json) -> Iterator[str]:
    """What is wrong with a dashboard."""
    variables = {one["name"]: one for one in board["templating"]["list"]}
    if variables.get("datasource", {}).get("type") != "datasource":
        yield "no variable for the data source"
    for source in sources({key: value for key, value in board.items() if key != "templating"}):
        if source != {"type": "prometheus", "uid": "${datasource}"}:
            yield f"data source {source}"
    if len({panel["id"] for panel in board["panels"]}) != len(board["panels"]):
        yield "two panels with one id"
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        if cells & taken or max(x for x, _ in cells) >= 24:
            yield f"{panel['title']}: over another or beyond the edge"
        taken |= cells
        if panel["type"] != "row":
            yield from of_panel(panel, set(variables))


def of_panel(panel: Json, variables: set[str]) -> Iterator[str]:
    """What is wrong with one panel."""
    title = panel["title"]
    if not panel["description"].endswith("."):
        yield f"{title}: no description"
    if panel["fieldConfig"]["defaults"].get("unit") not in UNITS:
        yield f"{title}: no unit"
    if not panel["targets"]:
        yield f"{title}: no query"
    for target in panel["targets"]:
        named = set(re.findall(r"\$\{?(\w+)", target["expr"])) - {"__rate_interval"}
        if named - variables:
            yield f"{title}: no variable {sorted(named - variables)}"
        if "rate(" in target["expr"] and "$__rate_interval" not in target["expr"]:
            yield f"{title}: a rate over a time of its own"
        yield from (f"{title}: {problem}" for problem in known.problems(filled(target["expr"])))
        legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        if not legend <= read(filled(target["expr"])).grouped | {"pod", "instance"}:
            yield f"{title}: a legend of labels that are not there"


@each_file
def test_a_dashboard_has_nothing_wrong(name: str) -> None:
    assert list(problems(loaded(name))) == []


def test_the_files_are_what_the_code_beside_says() -> None:
    made = dashboards.files()
    assert {path.name for path in made} == {path.name for path in FILES.values()}
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, "run `make docs`"


def queries() -> Iterator[tuple[str, str, str]]:
    """Each panel's title, and its queries with their legends."""
    for name in FILES:
        for panel in loaded(name)["panels"]:
            for target in panel.get("targets", ()):
                yield panel["title"], target["expr"], target["legendFormat"]


def test_where_nobody_is_scraped_no_panel_shows_a_good_0() -> None:
    zeros = [expr for _, expr, _ in queries() if " or " in expr]
    assert len(zeros) == 5
    for expr in zeros:
        assert "vector(" not in expr
        assert re.search(r" or 0 \* (max|sum by \(\w+\)) \(", expr), expr


def test_alerts_are_shown_of_the_namespaces_that_are_looked_at_and_those_of_none() -> None:
    shown = [expr for _, expr, _ in queries()] + [one["expr"] for one in loaded("overview")["annotations"]["list"]]
    found = [one for expr in shown for one in read(filled(expr)).selectors if one.metric == "ALERTS"]
    assert len(found) == 3
    assert all(("namespace", "=~", ".*|") in one.matchers for one in found)


def test_a_share_that_ends_well_is_0_where_none_does() -> None:
    shares = [expr for title, expr, _ in queries() if title in ("Share that ends well", "Share that goes well")]
    assert len(shares) == 2
    assert all(
        re.match(r"\(sum by \(\w+\) \(rate\(.*outcome=\"ok\".* or 0 \* sum by .*\) / sum by ", one)
        for one in shares
    )


def test_burn_rates_of_several_namespaces_can_be_told_apart() -> None:
    burns = [(expr, legend) for title, expr, legend in queries() if title == "Error budget burn"]
    assert len(burns) == 4
    for expr, legend in burns:
        assert "namespace" in read(filled(expr)).grouped
        assert "{{namespace}}" in legend


def test_every_dashboard_has_its_own_id_and_title() -> None:
    boards = [loaded(name) for name in FILES]
    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == len(boards) == 5


def test_every_metric_is_on_a_dashboard_or_not_for_people() -> None:
    shown = {
        selector.metric
        for name in FILES
        for panel in loaded(name)["panels"]
        for target in panel.get("targets", [])
        for selector in read(filled(target["expr"])).selectors
    }
    there = {one.name: set(one.series) for part in metrics().values() for one in part}
    missing = {name for name, names in there.items() if not names & shown}
    # Hints that are late do no harm.
    assert missing == {"eurouter_wakeup_lag_records"}


def test_labels_that_are_ours_are_kept_when_pods_are_scraped() -> None:
    # The operator sets `endpoint` to the port's name, which would move ours to `exported_endpoint`.
    assert any("endpoint" in labels for labels in known.series().values())
    path = dashboards.FOLDER.parent / "podmonitor.yaml"
    monitors = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    assert [end["honorLabels"] for one in monitors for end in one["spec"]["podMetricsEndpoints"]] == [True, True]


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("panels", 1, "id"), 1, "two panels with one id"),
        (("panels", 1, "description"), "", "no description"),
        (("panels", 1, "fieldConfig", "defaults", "unit"), "furlong", "no unit"),
        (("panels", 1, "datasource", "uid"), "P1809F7CD0C75ACF3", "data source"),
        (("panels", 1, "targets", 0, "expr"), "rate(eurouter_gone_total[$__rate_interval])", "no metric"),
        (("panels", 1, "targets", 0, "expr"), "rate(eurouter_requests_total[5m])", "a time of its own"),
        (("panels", 1, "targets", 0, "expr"), 'eurouter_jobs_running{pod=~"$pod"}', "no variable"),
        (("panels", 1, "targets", 0, "legendFormat"), "{{model}}", "a legend"),
        (("panels", 2, "gridPos", "x"), 0, "over another"),
        (("templating", "list"), [], "no variable for the data source"),
    ],
)
def test_what_is_wrong_with_a_dashboard_is_found(path: tuple[Any, ...], value: object, problem: str) -> None:
    board = copy.deepcopy(loaded("overview"))
    place: Any = board
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert any(problem in found for found in problems(board))


def test_dashboards_stand_where_the_component_looks() -> None:
    assert Path("deploy/kubernetes/components/monitoring/dashboards") == dashboards.FOLDER.relative_to(ROOT)
