"""Which series there are, with which labels: the code's, and those that Prometheus and our recording rules add."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final

from adapters.metrics_document import metrics
from tests.prometheus import rules
from tests.prometheus.promql import PromqlError, read

SCRAPED: Final = frozenset({"namespace", "pod", "job", "instance"})
"""Labels that a PodMonitor gives to all that it scrapes."""

_PROMETHEUS: Final[Mapping[str, frozenset[str]]] = {
    "up": frozenset(),
    "ALERTS": frozenset({"alertname", "alertstate", "severity"}),
}


@cache
def series() -> Mapping[str, frozenset[str]]:
    """The labels of every series by its name, without those of SCRAPED."""
    code = {name: labels for part in metrics().values() for one in part for name, labels in one.series.items()}
    recorded = {rule["record"]: frozenset[str]() for rule in rules.rules() if "record" in rule}
    return {**_PROMETHEUS, **code, **recorded}


def problems(expression: str) -> Iterator[str]:
    """What an expression reads that is not there; nothing where all of it is."""
    try:
        found = read(expression)
    except PromqlError as error:
        yield f"can't be read: {error}"
        return
    if not found.selectors:
        yield "reads nothing"
    every: set[str] = set()
    for selector in found.selectors:
        labels = series().get(selector.metric)
        if labels is None:
            yield f"no metric {selector.metric}"
            continue
        every |= labels
        for label, _, _ in selector.matchers:
            if label not in labels | SCRAPED:
                yield f"{selector.metric} has no label {label}"
    for label in sorted(found.grouped - every - SCRAPED):
        yield f"no metric here has the label {label}"
