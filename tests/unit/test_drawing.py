"""Panels as text and SVG: numbers in their units, gaps where nothing was."""

from __future__ import annotations

import re
from math import nan

import pytest

from tests.prometheus.drawing import Series, lines, shown, spark, states


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123, "percentunit", "1.23 %"),
        (0.02, "s", "20 ms"),
        (90.0, "s", "1.5 min"),
        (7776000.0, "s", "90 d"),
        (1234.0, "reqps", "1.23k req/s"),
        (nan, "short", "-"),
    ],
)
def test_numbers_read_as_grafana_writes_them(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_a_gap_is_a_dot_in_text_and_parts_a_line_in_a_picture() -> None:
    values = [0.0, 1.0, nan, nan, 2.0, 2.0]
    assert spark(values) == " ▄··██"
    assert lines([Series("a", values)], 300, 100, "short", stacked=False).count("<polyline") == 2
    assert Series("a", values).last == 2.0


def test_stacked_lines_stand_on_each_other() -> None:
    picture = lines([Series("a", [1.0, 1.0]), Series("b", [3.0, 3.0])], 300, 100, "short", stacked=True)
    heights = [float(found) for found in re.findall(r'<polyline points="[\d.]+,([\d.]+)', picture)]
    assert heights == [65.0, 8.0]
    assert ">4</text>" in picture


def test_states_are_red_where_something_is_to_be_looked_at() -> None:
    good = states([Series("database", [1.0, 0.0, nan])], 400, zero_is_bad=True)
    fires = states([Series("Alert", [1.0, nan, nan])], 400, zero_is_bad=False)
    assert (good.count("#37872d"), good.count("#c4162a")) == (1, 1)
    assert (fires.count("#37872d"), fires.count("#c4162a")) == (0, 1)
