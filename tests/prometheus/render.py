"""Dashboards as text and as HTML, each panel's queries asked of a real Prometheus, as Grafana asks them."""

from __future__ import annotations

import html
import json
import math
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.prometheus.drawing import COLOURS, Series, lines, shown, spark, states

DASHBOARDS: Final = Path("deploy/kubernetes/components/monitoring/dashboards")
Json = dict[str, Any]

_COLUMN: Final = 62
_LINE: Final = 26
_STYLE: Final = """
body{background:#111217;color:#ccccdc;font:12px Inter,DejaVu Sans,sans-serif;margin:12px;width:1500px}
h1{font-size:18px}h2{font-size:14px;margin:14px 0 4px}svg text{fill:#9a9ba5;font-size:10px}
.row{display:flex;flex-wrap:wrap;gap:6px}
.panel{background:#181b1f;border:1px solid #2c3235;padding:6px;box-sizing:border-box}
.panel b{display:block;margin-bottom:2px}.about{color:#8e8e9a;font-size:10px;margin-bottom:4px}
table{width:100%;border-spacing:0;font-size:10.5px}td,th{text-align:right;padding:0 4px}
td:first-child,th:first-child{text-align:left}
.big{font-size:26px}.none{color:#f2495c}
"""


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds since 1970, from and to, and the step between values; `window` is what rates are taken over."""

    begin: float
    end: float
    step: int
    window: str


class Asked:
    """One Prometheus. `empty` names the panels for which nothing came."""

    def __init__(self, url: str, span: Span) -> None:
        self._url = url
        self._span = span
        self.empty: list[str] = []

    def series(self, expr: str, legend: str) -> Iterator[Series]:
        """What a query gives, each with its legend.

        Raises:
            urllib.error.HTTPError: Prometheus refuses the query.
        """
        span = self._span
        values = {"query": self._filled(expr), "start": span.begin, "end": span.end, "step": span.step}
        address = f"{self._url}/api/v1/query_range?{urllib.parse.urlencode(values)}"
        with urllib.request.urlopen(address, timeout=20) as answer:
            found = json.load(answer)["data"]["result"]
        places = round((span.end - span.begin) / span.step) + 1
        for one in found:
            line = [math.nan] * places
            for at, value in one["values"]:
                line[min(places - 1, round((at - span.begin) / span.step))] = float(value)
            yield Series(_legend(legend, one["metric"]), line)

    def _filled(self, expr: str) -> str:
        for name, value in {"__rate_interval": self._span.window, "namespace": ".*", "provider": ".*"}.items():
            expr = expr.replace(f"${name}", value)
        return expr.replace("$priority", ".*")


def _legend(pattern: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), pattern).strip() or str(labels)


def dashboards() -> list[Json]:
    """The files, the overview first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS.glob("*.json")]
    return sorted(found, key=lambda one: ("Overview" not in one["title"], one["title"]))


def render(dashboard: Json, asked: Asked) -> tuple[str, str]:
    """A dashboard as text and as an HTML page."""
    text = [f"{'=' * 100}\n{dashboard['title']}: {dashboard['description']}\n"]
    page = [f"<h1>{html.escape(dashboard['title'])}</h1>", f"<div>{html.escape(dashboard['description'])}</div>"]
    opened = False
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            page.append(f"{'</div>' if opened else ''}<h2>{html.escape(panel['title'])}</h2><div class=row>")
            text.append(f"--- {panel['title']} ---\n")
            opened = True
            continue
        series = [
            one for target in panel["targets"] for one in asked.series(target["expr"], target["legendFormat"])
        ]
        if not any(one.there for one in series):
            asked.empty.append(f"{dashboard['title']}: {panel['title']}")
        text.append(_text(panel, series))
        page.append(_html(panel, series))
    return "\n".join(text), f"<meta charset=utf-8><style>{_STYLE}</style>{''.join(page)}</div>"


def _text(panel: Json, series: list[Series]) -> str:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    rows = [f"{panel['title']}"]
    for one in series:
        most = shown(max(one.there), unit) if one.there else "-"
        rows.append(f"  {one.legend[:44]:44} {shown(one.last, unit):>12} max {most:>12} |{spark(one.values)}|")
    return "\n".join(rows if series else [*rows, "  (nothing)"]) + "\n"


def _html(panel: Json, series: list[Series]) -> str:
    place, defaults = panel["gridPos"], panel["fieldConfig"]["defaults"]
    width, height, unit = place["w"] * _COLUMN - 8, place["h"] * _LINE, defaults["unit"]
    body = "<div class=none>No data</div>"
    if panel["type"] == "stat" and series:
        small = lines(series, width - 14, 50, unit, stacked=False)
        body = f"<div class=big>{shown(series[0].last, unit)}</div>{small}"
    elif panel["type"] == "state-timeline" and series:
        body = states(series, width - 14, zero_is_bad="mappings" in defaults)
    elif series:
        stacked = defaults["custom"]["stacking"]["mode"] == "normal"
        body = lines(series, width - 14, height - 70, unit, stacked=stacked) + _table(series, unit)
    about = f"<div class=about>{html.escape(panel['description'])}</div>"
    return f"<div class=panel style='width:{width}px'><b>{html.escape(panel['title'])}</b>{about}{body}</div>"


def _table(series: list[Series], unit: str) -> str:
    def colour(number: int) -> str:
        return COLOURS[number % len(COLOURS)]

    rows = "".join(
        f"<tr><td><span style='color:{colour(number)}'>&#9644;</span> {html.escape(one.legend)}</td>"
        f"<td>{shown(one.last, unit)}</td><td>{shown(max(one.there, default=math.nan), unit)}</td></tr>"
        for number, one in enumerate(series)
    )
    return f"<table><tr><th></th><th>last</th><th>max</th></tr>{rows}</table>"
