"""The dashboard of calls: what callers see."""

from __future__ import annotations

from typing import Final

from tests.deploy.panels import Dashboard, Panel, Row
from tests.deploy.queries import ALL, good_share, quantile, quantiles, rate


def _calls(matchers: str) -> str:
    return rate("eurouter_requests_total", "door", ALL + matchers)


DASHBOARD: Final = Dashboard(
    "eurouter-calls",
    "eurouter / Calls",
    "What callers see: how many, how fast, what fails and why. Reasons: docs/errors.md.",
    [
        Row(
            "Rate and errors",
            [
                Panel(
                    "Calls by door",
                    "Calls that ended, over gRPC and HTTP.",
                    [(rate("eurouter_requests_total", "door"), "{{door}}")],
                    "reqps",
                    stacked=True,
                ),
                Panel(
                    "Calls by method",
                    "Calls that ended, by RPC or route.",
                    [(rate("eurouter_requests_total", "method"), "{{method}}")],
                    "reqps",
                ),
                Panel(
                    "In flight",
                    "Calls under way, by process.",
                    [(f"sum by (pod, instance) (eurouter_requests_in_flight{{{ALL}}})", "{{pod}} {{instance}}")],
                    "short",
                    stacked=True,
                ),
                Panel(
                    "Failed calls by reason",
                    "Calls that did not end well, by their reason.",
                    [(rate("eurouter_requests_total", "outcome", f'{ALL},outcome!="ok"'), "{{outcome}}")],
                    "reqps",
                    width=12,
                    stacked=True,
                ),
                Panel(
                    "Share that ends well",
                    "Of all calls, by door; 0: none does. What callers ask wrongly counts here, too.",
                    [(f"{good_share(_calls)} / {_calls('')}", "{{door}}")],
                    "percentunit",
                    width=12,
                ),
            ],
        ),
        Row(
            "Time",
            [
                Panel(
                    "Duration",
                    "Of calls, all together: with streams that is how long answers are.",
                    quantiles("eurouter_request_seconds"),
                    "s",
                ),
                Panel(
                    "Duration by method, p99",
                    "The slowest 1 % of each RPC or route.",
                    [(quantile(0.99, "eurouter_request_seconds", "method"), "{{method}}")],
                    "s",
                    width=16,
                ),
            ],
        ),
        Row(
            "Media that stand at addresses",
            [
                Panel(
                    "Fetches",
                    "Images, files and sounds fetched for endpoints that take bytes only, by outcome.",
                    [(rate("eurouter_media_fetches_total", "outcome"), "{{outcome}}")],
                    "ops",
                    stacked=True,
                ),
                Panel(
                    "Bytes fetched", "By kind.", [(rate("eurouter_media_bytes_total", "kind"), "{{kind}}")], "Bps"
                ),
                Panel("Duration of fetches", "Of one fetch.", quantiles("eurouter_media_seconds"), "s"),
            ],
        ),
    ],
)
