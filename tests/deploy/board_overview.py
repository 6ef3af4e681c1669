"""The dashboard to begin with: what works, what fires, which version runs."""

from __future__ import annotations

from typing import Final

from tests.deploy.panels import Dashboard, Panel, Row
from tests.deploy.queries import ALL, FIRING, biggest, or_nothing, rate

_LAG: Final = " / ".join(
    rate(f"eurouter_event_loop_lag_seconds_{end}", "pod, instance") for end in ("sum", "count")
)


def _burn(window: str) -> tuple[str, str]:
    return (
        f"max by (namespace) (eurouter:calls_failed_by_us:ratio_rate{window}{{{ALL}}}) / 0.001",
        f"{{{{namespace}}}} {window}",
    )


def _worst(ratio: str) -> str:
    # NaN: no calls.
    return or_nothing(f"max (eurouter:{ratio}:ratio_rate5m{{{ALL}}} >= 0)")


DASHBOARD: Final = Dashboard(
    "eurouter-overview",
    "eurouter / Overview",
    "Whether it works, what fires, which version runs. Begin here.",
    [
        Row(
            "Now",
            [
                Panel(
                    "Calls",
                    "Calls that ended, at both doors.",
                    [(rate("eurouter_requests_total"), "calls")],
                    "reqps",
                    "stat",
                    4,
                ),
                Panel(
                    "In flight",
                    "Calls under way.",
                    [(f"sum (eurouter_requests_in_flight{{{ALL}}})", "calls")],
                    "short",
                    "stat",
                    4,
                ),
                Panel(
                    "Failed by us",
                    "Share of calls with an outcome that the operator must mend; the objective allows 0.1 %. "
                    "No value: nobody is scraped.",
                    [(_worst("calls_failed_by_us"), "share")],
                    "percentunit",
                    "stat",
                    4,
                    red_above=0.001,
                ),
                Panel(
                    "Failed at providers",
                    "Share of calls that no provider answered, after all fallbacks.",
                    [(_worst("calls_failed_by_providers"), "share")],
                    "percentunit",
                    "stat",
                    4,
                    red_above=0.2,
                ),
                Panel(
                    "Oldest job",
                    "For how long the oldest background job that could be run waits. No value: no database.",
                    [(biggest("eurouter_jobs_oldest_runnable_seconds", ""), "waits")],
                    "s",
                    "stat",
                    4,
                    red_above=900,
                ),
                Panel(
                    "Alerts that fire",
                    "Of the rules in alerts.yaml; docs/runbooks says what to do.",
                    [(or_nothing(f"count ({FIRING})"), "alerts")],
                    "short",
                    "stat",
                    4,
                    red_above=1,
                ),
            ],
        ),
        Row(
            "Conditions",
            [
                Panel(
                    "Conditions",
                    "The worst of all processes, by part. /readyz and the log of a process say what is wrong.",
                    [(f"min by (part) (eurouter_condition{{{ALL}}})", "{{part}}")],
                    "short",
                    "state-timeline",
                    12,
                    zero_is_bad=True,
                ),
                Panel(
                    "Alerts",
                    "What fires now and since the beginning of the range.",
                    [
                        (
                            f"max by (alertname, namespace, severity) ({FIRING})",
                            "{{alertname}} {{namespace}} ({{severity}})",
                        )
                    ],
                    "short",
                    "state-timeline",
                    12,
                    red_above=1,
                ),
                Panel(
                    "Error budget burn",
                    "How many times faster calls fail by our fault than the objective of 99.9 % allows. "
                    "A page: 14.4 over an hour, 6 over six.",
                    [_burn("5m"), _burn("1h"), _burn("6h"), _burn("3d")],
                    "short",
                    width=12,
                ),
                Panel(
                    "Ready",
                    "How many processes are ready, of those scraped. None of the service: callers are refused.",
                    [
                        (f"sum by (job) (eurouter_ready{{{ALL}}})", "{{job}} ready"),
                        (f"count by (job) (eurouter_ready{{{ALL}}})", "{{job}} in all"),
                    ],
                    "short",
                    width=12,
                ),
                Panel(
                    "Versions",
                    "How many processes run which version.",
                    [(f"count by (version) (eurouter_build_info{{{ALL}}})", "{{version}}")],
                    "short",
                    width=12,
                ),
                Panel(
                    "Certificates",
                    "For how long the certificate of each door is good. Empty: no door has TLS of its own.",
                    [(f"min by (door) (eurouter_certificate_expiry_seconds{{{ALL}}}) - time()", "{{door}}")],
                    "s",
                    width=12,
                ),
            ],
        ),
        Row(
            "Processes",
            [
                Panel(
                    "Age",
                    "For how long each process runs. A saw's teeth: it ends and is started again and again.",
                    [(f"time() - eurouter_start_time_seconds{{{ALL}}}", "{{pod}} {{instance}}")],
                    "s",
                ),
                Panel(
                    "Event loop lag",
                    "How late the event loop is, on average. 20 ms: it is behind for half of the time.",
                    [
                        (
                            _LAG,
                            "{{pod}} {{instance}}",
                        )
                    ],
                    "s",
                ),
                Panel(
                    "Spans",
                    "What a collector of traces got, and what it did not. Empty: none is set.",
                    [
                        (rate("eurouter_spans_exported_total"), "exported"),
                        (rate("eurouter_spans_dropped_total", "reason"), "dropped: {{reason}}"),
                    ],
                    "ops",
                ),
            ],
        ),
    ],
)
