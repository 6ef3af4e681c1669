"""The dashboard of upstream attempts."""

from __future__ import annotations

from typing import Final

from tests.deploy.panels import Dashboard, Panel, Row
from tests.deploy.queries import AT_ENDPOINT, AT_PROVIDER, good_share, quantiles, rate

_TO_THEIR_END: Final = ',outcome!~"cancelled|deadline"'


def _attempts(matchers: str = "") -> str:
    return rate("eurouter_upstream_attempts_total", "provider", AT_PROVIDER + matchers)


DASHBOARD: Final = Dashboard(
    "eurouter-providers",
    "eurouter / Providers",
    "What upstream attempts come to: a call may take several.",
    [
        Row(
            "Attempts",
            [
                Panel(
                    "Attempts",
                    "Attempts that ended, by provider.",
                    [(rate("eurouter_upstream_attempts_total", "provider", AT_PROVIDER), "{{provider}}")],
                    "reqps",
                    stacked=True,
                ),
                Panel(
                    "Failures by kind",
                    "Attempts that failed. auth, quota and model_missing are the operator's to mend.",
                    [
                        (
                            rate(
                                "eurouter_upstream_attempts_total",
                                "provider, outcome",
                                f'{AT_PROVIDER},outcome!~"ok|cancelled|deadline"',
                            ),
                            "{{provider}} {{outcome}}",
                        )
                    ],
                    "reqps",
                    stacked=True,
                ),
                Panel(
                    "Share that goes well",
                    "Of the attempts at each provider, without those that their caller gave up or had no time "
                    "for. 0: none does.",
                    [
                        (
                            f"{good_share(_attempts)} / {_attempts(_TO_THEIR_END)}",
                            "{{provider}}",
                        )
                    ],
                    "percentunit",
                ),
            ],
        ),
        Row(
            "Time",
            [
                Panel(
                    "First token",
                    "Seconds to a stream's first visible event.",
                    quantiles("eurouter_upstream_first_token_seconds", "provider", AT_PROVIDER),
                    "s",
                    width=12,
                ),
                Panel(
                    "Duration of attempts",
                    "Streams to their end.",
                    quantiles("eurouter_upstream_attempt_seconds", "provider", AT_PROVIDER),
                    "s",
                    width=12,
                ),
            ],
        ),
        Row(
            "Tokens and cost",
            [
                Panel(
                    "Tokens per second",
                    "In and out, a second.",
                    [
                        (
                            rate("eurouter_tokens_total", "provider, direction", AT_PROVIDER),
                            "{{provider}} {{direction}}",
                        )
                    ],
                    "short",
                ),
                Panel(
                    "Tokens by kind",
                    "Of these, a second: cached, cache_write, reasoning, audio.",
                    [
                        (
                            rate("eurouter_tokens_by_kind_total", "provider, kind", AT_PROVIDER),
                            "{{provider}} {{kind}}",
                        )
                    ],
                    "short",
                ),
                Panel(
                    "Cost per hour",
                    "By the catalogue's prices, in each endpoint's currency.",
                    [
                        (
                            f"3600 * {rate('eurouter_cost_total', 'endpoint, currency', AT_ENDPOINT)}",
                            "{{endpoint}} {{currency}}",
                        )
                    ],
                    "short",
                    stacked=True,
                ),
            ],
        ),
        Row(
            "Endpoints",
            [
                Panel(
                    "Resting endpoints",
                    "In how many processes an endpoint rests, by the kind of failure. Missing: it never did.",
                    [
                        (
                            f"sum by (endpoint, kind) (eurouter_endpoint_cooling{{{AT_ENDPOINT}}})",
                            "{{endpoint}} {{kind}}",
                        )
                    ],
                    "short",
                ),
                Panel(
                    "In flight at endpoints",
                    "Only endpoints that declare how many calls they bear.",
                    [(f"sum by (endpoint) (eurouter_endpoint_in_flight{{{AT_ENDPOINT}}})", "{{endpoint}}")],
                    "short",
                ),
                Panel(
                    "Found full",
                    "Times that a call found an endpoint full.",
                    [(rate("eurouter_endpoint_passed_over_total", "endpoint", AT_ENDPOINT), "{{endpoint}}")],
                    "ops",
                ),
            ],
        ),
    ],
    {"provider": "label_values(eurouter_upstream_attempts_total, provider)"},
)
