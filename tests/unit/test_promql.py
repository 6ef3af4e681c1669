"""What an expression of PromQL reads."""

from __future__ import annotations

import pytest

from tests.prometheus.promql import PromqlError, Selector, read


@pytest.mark.parametrize(
    ("expression", "metrics", "grouped"),
    [
        ("up", ["up"], []),
        ('sum by (a, b) (rate(x_total{c="d"}[5m])) / 2', ["x_total"], ["a", "b"]),
        ("sum(rate(x_total[1h])) by (a)", ["x_total"], ["a"]),
        ("x > 0 unless on (a) count by (b) (y)", ["x", "y"], ["a", "b"]),
        ("histogram_quantile(0.99, sum by (le) (rate(x_bucket[$__rate_interval])))", ["x_bucket"], ["le"]),
        ("time() - x{} < 14 * 86400", ["x"], []),
        ("a:b:rate5m > 14.4 * 0.001 and a:b:rate1h > 1e-3", ["a:b:rate5m", "a:b:rate1h"], []),
        ("x offset 5m or vector(0)", ["x"], []),
    ],
)
def test_metrics_and_groupings_are_found(expression: str, metrics: list[str], grouped: list[str]) -> None:
    found = read(expression)
    assert [one.metric for one in found.selectors] == metrics
    assert found.grouped == set(grouped)


def test_matchers_are_found_with_their_operators() -> None:
    found = read("""x{a="b",c=~"d|e", f!='g"h'}""")
    assert found.selectors == (Selector("x", (("a", "=", "b"), ("c", "=~", "d|e"), ("f", "!=", 'g"h'))),)


@pytest.mark.parametrize("expression", ['x{a="b"', "x ? y", '{a="b"}', "x{a=b}", "sum by (a"])
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(PromqlError):
        read(expression)
