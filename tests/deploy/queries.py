"""Expressions that panels repeat. Matchers name the dashboards' variables.

Counters are summed over replicas; gauges that tell of the whole database are the same on each: max.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

WELL: Final = ',outcome="ok"'
ALL: Final = 'namespace=~"$namespace"'
AT_PROVIDER: Final = f'{ALL},provider=~"$provider"'
AT_ENDPOINT: Final = f'{ALL},endpoint=~"($provider)/.*"'
FIRING: Final = 'ALERTS{alertname=~"Eurouter.*",alertstate="firing",namespace=~"$namespace|"}'
"""What is absent altogether has no namespace: that is shown in each."""

OF_PRIORITY: Final = f'{ALL},priority=~"$priority"'


def rate(metric: str, by: str = "", matchers: str = ALL) -> str:
    """So many a second."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({metric}{{{matchers}}}[$__rate_interval]))"


def quantile(share: float, metric: str, by: str = "", matchers: str = ALL) -> str:
    """Of a histogram."""
    labels = f"{by}, le" if by else "le"
    return (
        f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{{matchers}}}[$__rate_interval])))"
    )


def quantiles(metric: str, by: str = "", matchers: str = ALL) -> list[tuple[str, str]]:
    """The middle and the slowest 1 %."""
    name = f"{{{{{by}}}}} " if by else ""
    return [
        (quantile(share, metric, by, matchers), f"{name}{end}") for share, end in ((0.5, "p50"), (0.99, "p99"))
    ]


def good_share(share: Callable[[str], str]) -> str:
    """Of all, those that are ok; 0 where none is. `share` gives the rate of what more matchers leave."""
    return f"({share(WELL)} or 0 * {share('')})"


def or_nothing(expression: str) -> str:
    """The same, and 0 where there is no value though somebody is scraped; where nobody is, nothing is known."""
    return f"{expression} or 0 * max (eurouter_build_info{{{ALL}}})"


def biggest(metric: str, by: str, matchers: str = ALL) -> str:
    """Of a gauge that every replica shows."""
    grouping = f" by ({by})" if by else ""
    return f"max{grouping} ({metric}{{{matchers}}})"
