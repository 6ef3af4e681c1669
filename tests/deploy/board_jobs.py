"""The dashboard of background jobs: the queue and the workers."""

from __future__ import annotations

from typing import Final

from tests.deploy.panels import Dashboard, Panel, Row
from tests.deploy.queries import ALL, OF_PRIORITY, biggest, quantile, quantiles, rate

DASHBOARD: Final = Dashboard(
    "eurouter-jobs",
    "eurouter / Background jobs",
    "The queue, which is the database's, and the workers. No values of the queue: the database is away.",
    [
        Row(
            "Queue",
            [
                Panel(
                    "Runnable",
                    "Jobs whose time has come and that no worker has, those at their owner's cap included.",
                    [(biggest("eurouter_jobs_runnable", "priority", OF_PRIORITY), "{{priority}}")],
                    "short",
                    stacked=True,
                ),
                Panel(
                    "Oldest runnable",
                    "For how long the oldest one waits. What to alert on.",
                    [(biggest("eurouter_jobs_oldest_runnable_seconds", "priority", OF_PRIORITY), "{{priority}}")],
                    "s",
                ),
                Panel(
                    "In progress",
                    "Jobs that workers have.",
                    [(biggest("eurouter_jobs_in_progress", "priority", OF_PRIORITY), "{{priority}}")],
                    "short",
                    stacked=True,
                ),
                Panel(
                    "Waiting for their time",
                    "Put off by a provider, or to begin later.",
                    [(biggest("eurouter_jobs_waiting", "priority", OF_PRIORITY), "{{priority}}")],
                    "short",
                ),
                Panel(
                    "Running, by worker",
                    "Jobs under way, and the places for them of all workers.",
                    [
                        (f"sum by (pod, instance) (eurouter_jobs_running{{{ALL}}})", "{{pod}} {{instance}}"),
                        (f"sum (eurouter_jobs_places{{{ALL}}})", "places"),
                    ],
                    "short",
                ),
                Panel(
                    "Claimed", "Jobs that workers took.", [(rate("eurouter_jobs_claimed_total"), "jobs")], "ops"
                ),
            ],
        ),
        Row(
            "Runs",
            [
                Panel(
                    "Runs by outcome",
                    "retried: an attempt failed; put_off: a provider asked for time; fenced: cancelled or "
                    "another's by now; crashed: a fault of ours that escaped.",
                    [(rate("eurouter_job_runs_total", "outcome"), "{{outcome}}")],
                    "ops",
                    stacked=True,
                ),
                Panel("Duration of runs", "Of one run.", quantiles("eurouter_job_run_seconds"), "s"),
                Panel(
                    "Events and statements",
                    "Events appended, and the statements that did: a group has many events.",
                    [
                        (rate("eurouter_job_events_total"), "events"),
                        (rate("eurouter_job_flushes_total"), "statements"),
                    ],
                    "ops",
                ),
            ],
        ),
        Row(
            "Leases and database",
            [
                Panel(
                    "Lease lag, p99",
                    "How late leases are looked after, by worker. Beyond its lease a worker loses its jobs.",
                    [(quantile(0.99, "eurouter_job_renew_lag_seconds", "pod, instance"), "{{pod}} {{instance}}")],
                    "s",
                    width=6,
                ),
                Panel(
                    "Duration of claims",
                    "Of one statement that claims jobs.",
                    quantiles("eurouter_job_claim_seconds"),
                    "s",
                    width=6,
                ),
                Panel(
                    "Refused writes",
                    "Writes that the store refused as another's: after a cancel, or when a lease was lost.",
                    [(rate("eurouter_jobs_fenced_total"), "writes")],
                    "ops",
                    width=6,
                ),
                Panel(
                    "Faults",
                    "Failed calls of the database, by what for: each is tried again. Faults of ours in runs.",
                    [
                        (rate("eurouter_job_store_failures_total", "what"), "database {{what}}"),
                        (rate("eurouter_job_crashes_total"), "faults of ours"),
                    ],
                    "ops",
                    width=6,
                ),
            ],
        ),
    ],
    {"priority": "high,normal,bulk"},
)
