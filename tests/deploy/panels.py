"""Grafana's JSON for a dashboard of rows of panels; what they show is said in dashboards.py.

https://grafana.com/docs/grafana/latest/visualizations/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from tests.deploy.queries import FIRING

Kind: TypeAlias = Literal["timeseries", "stat", "state-timeline", "table"]
Json: TypeAlias = dict[str, Any]

WIDTH: Final = 24
"""Columns of a dashboard."""

_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_SCHEMA: Final = 41
_GOOD_OR_NOT: Final = [
    {
        "type": "value",
        "options": {
            "0": {"text": "not good", "color": "red", "index": 0},
            "1": {"text": "good", "color": "green", "index": 1},
        },
    }
]


@dataclass(frozen=True, slots=True)
class Panel:
    """`queries`: expression and legend of each. `unit` by Grafana's ids. `red_above`: from which value it is red.

    `zero_is_bad`: of a state timeline, 1 is good and 0 not.
    """

    title: str
    about: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    kind: Kind = "timeseries"
    width: int = 8
    stacked: bool = False
    red_above: float | None = None
    zero_is_bad: bool = False

    @property
    def height(self) -> int:
        """In Grafana's units."""
        return 4 if self.kind == "stat" else 8


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """`variables` by name: a query of label values, or a list of choices, beside datasource and namespace."""

    uid: str
    title: str
    about: str
    rows: Sequence[Row]
    variables: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Json:
        """What Grafana imports."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.about,
            "tags": ["eurouter"],
            "schemaVersion": _SCHEMA,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "timezone": "browser",
            "links": [
                {
                    "type": "dashboards", "tags": ["eurouter"], "title": "eurouter", "asDropdown": True,
                    "includeVars": True, "keepTime": True, "icon": "external link", "targetBlank": False,
                    "tooltip": "", "url": "",
                }
            ],
            "annotations": {"list": [_alerts()]},
            "templating": {"list": [*_variables(self.variables)]},
            "panels": [*_placed(self.rows)],
        }  # fmt: skip


def _alerts() -> Json:
    return {
        "name": "Alerts",
        "enable": True,
        "datasource": _SOURCE,
        "expr": f"max by (alertname, severity) ({FIRING})",
        "titleFormat": "{{alertname}}",
        "textFormat": "{{severity}}",
        "iconColor": "red",
        "step": "60s",
    }


def _variables(own: Mapping[str, str]) -> Iterator[Json]:
    yield {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "refresh": 1}
    for name, query in {"namespace": "label_values(eurouter_build_info, namespace)", **own}.items():
        several: Json = {
            "name": name, "label": name.capitalize(), "multi": True, "includeAll": True, "allValue": ".*",
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        }  # fmt: skip
        if query.startswith("label_values("):
            asked = {"query": query, "refId": f"variable-{name}", "qryType": 1}
            yield {**several, "type": "query", "datasource": _SOURCE, "query": asked, "refresh": 2, "sort": 1}
        else:
            yield {**several, "type": "custom", "query": query}


def _placed(rows: Sequence[Row]) -> Iterator[Json]:
    number, top = 0, 0
    for row in rows:
        number += 1
        place = {"h": 1, "w": WIDTH, "x": 0, "y": top}
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        top, left, tallest = top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > WIDTH:
                top, left, tallest = top + tallest, 0, 0
            number += 1
            place = {"h": panel.height, "w": panel.width, "x": left, "y": top}
            yield _panel(panel, number, place)
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest


def _panel(panel: Panel, number: int, place: Json) -> Json:
    instant = panel.kind == "table"
    targets = [
        {
            "refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": expr, "legendFormat": legend,
            "range": not instant, "instant": instant, "format": "table" if instant else "time_series",
        }
        for index, (expr, legend) in enumerate(panel.queries)
    ]  # fmt: skip
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": targets,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
        # A table's columns are its labels; the time says nothing.
        **(
            {"transformations": [{"id": "organize", "options": {"excludeByName": {"Time": True}}}]}
            if instant
            else {}
        ),
    }


def _defaults(panel: Panel) -> Json:
    steps: list[Json] = [{"color": "green", "value": None}]
    if panel.red_above is not None:
        steps.append({"color": "red", "value": panel.red_above})
    defaults: Json = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind == "timeseries":
        defaults["min"] = 0
        defaults["color"] = {"mode": "palette-classic"}
        defaults["custom"] = {
            "drawStyle": "line", "lineWidth": 1, "fillOpacity": 25 if panel.stacked else 5, "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }  # fmt: skip
    if panel.kind == "state-timeline":
        defaults["color"] = {"mode": "thresholds"}
        if panel.zero_is_bad:
            defaults["mappings"] = _GOOD_OR_NOT
    return defaults


def _options(panel: Panel) -> Json:
    match panel.kind:
        case "timeseries":
            legend = {
                "displayMode": "table",
                "placement": "bottom",
                "showLegend": True,
                "calcs": ["lastNotNull", "max"],
            }
            return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
        case "stat":
            reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
            return {"reduceOptions": reduce, "colorMode": "value", "graphMode": "area", "textMode": "auto"}
        case "state-timeline":
            return {"showValue": "auto", "rowHeight": 0.8, "legend": {"showLegend": False, "displayMode": "list"}}
        case "table":
            return {"showHeader": True}
