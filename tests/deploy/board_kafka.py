"""The dashboard of Kafka: records in, results out."""

from __future__ import annotations

from typing import Final

from tests.deploy.panels import Dashboard, Panel, Row
from tests.deploy.queries import ALL, biggest, quantiles, rate

DASHBOARD: Final = Dashboard(
    "eurouter-kafka",
    "eurouter / Kafka",
    "Records in, results out. Empty where no Kafka is set.",
    [
        Row(
            "Records in",
            [
                Panel(
                    "Records",
                    "Records that came.",
                    [(rate("eurouter_intake_records_total"), "records")],
                    "ops",
                    width=6,
                ),
                Panel(
                    "What became of them",
                    "accepted: a job; repeated: that job was there already; rejected: a dead letter.",
                    [(rate("eurouter_intake_outcomes_total", "outcome"), "{{outcome}}")],
                    "ops",
                    width=6,
                    stacked=True,
                ),
                Panel(
                    "Not read yet",
                    "Records that come after the last that was read, by topic.",
                    [(f"sum by (topic) (eurouter_intake_lag_records{{{ALL}}} >= 0)", "{{topic}}")],
                    "short",
                    width=6,
                ),
                Panel(
                    "Dead letters",
                    "By their reason: docs/kafka.md.",
                    [(rate("eurouter_intake_dead_letters_total", "reason"), "{{reason}}")],
                    "ops",
                    width=6,
                    stacked=True,
                ),
                Panel(
                    "Duration of batches",
                    "From a batch's arrival until it is stored.",
                    quantiles("eurouter_intake_batch_seconds"),
                    "s",
                    width=6,
                ),
                Panel(
                    "Consumers that read",
                    "Of intake and of wake-ups; below the number of workers: somebody reads nothing.",
                    [
                        (f"sum (eurouter_intake_working{{{ALL}}})", "intake"),
                        (f"sum (eurouter_wakeup_working{{{ALL}}})", "wake-ups"),
                    ],
                    "short",
                    width=6,
                ),
                Panel(
                    "Paused and aside",
                    "Consumers that read nothing for now, and records that can't be judged yet.",
                    [
                        (f"sum (eurouter_intake_paused{{{ALL}}})", "paused"),
                        (f"sum (eurouter_intake_aside{{{ALL}}})", "aside"),
                    ],
                    "short",
                    width=6,
                ),
                Panel(
                    "Failures of intake",
                    "Consumers that were made anew after they failed or hung, and failed calls of the database.",
                    [
                        (f"{rate('eurouter_intake_consumers_given_up_total', 'reason')}", "intake {{reason}}"),
                        (f"{rate('eurouter_wakeup_consumers_given_up_total', 'reason')}", "wake-ups {{reason}}"),
                        (rate("eurouter_intake_store_failures_total", "what"), "database {{what}}"),
                    ],
                    "ops",
                    width=6,
                ),
            ],
        ),
        Row(
            "Results out",
            [
                Panel(
                    "Outbox",
                    "Rows that wait to be published, counted up to 100,000.",
                    [(biggest("eurouter_outbox_rows", ""), "rows")],
                    "short",
                    width=6,
                ),
                Panel(
                    "Oldest row",
                    "For how long it waits. What to alert on.",
                    [(biggest("eurouter_outbox_oldest_seconds", ""), "oldest")],
                    "s",
                    width=6,
                ),
                Panel(
                    "Published",
                    "Messages a second, by kind.",
                    [(rate("eurouter_outbox_sent_seconds_count", "kind"), "{{kind}}")],
                    "ops",
                    width=6,
                    stacked=True,
                ),
                Panel(
                    "Time in the outbox",
                    "For how long published rows had waited.",
                    quantiles("eurouter_outbox_sent_seconds", "kind"),
                    "s",
                    width=6,
                ),
                Panel(
                    "Failures",
                    "Messages not sent for certain, failures of broker and database, faults of ours.",
                    [
                        (rate("eurouter_outbox_send_failures_total", "delivery"), "send {{delivery}}"),
                        (rate("eurouter_publisher_failures_total"), "broker"),
                        (rate("eurouter_outbox_store_failures_total"), "database"),
                        (rate("eurouter_outbox_crashes_total"), "faults of ours"),
                    ],
                    "ops",
                    width=6,
                ),
                Panel(
                    "Shards",
                    "Of the outbox, by the process that publishes them.",
                    [(f"sum by (pod, instance) (eurouter_outbox_shards{{{ALL}}})", "{{pod}} {{instance}}")],
                    "short",
                    width=6,
                    stacked=True,
                ),
                Panel(
                    "Dropped and late",
                    "Rows with no use in publishing them, and rows that may have gone out after a lease.",
                    [
                        (rate("eurouter_outbox_dropped_total", "kind"), "dropped {{kind}}"),
                        (rate("eurouter_outbox_late_total"), "late"),
                    ],
                    "ops",
                    width=6,
                ),
                Panel(
                    "Wake-ups",
                    "That came, by whether they were too old to help.",
                    [(rate("eurouter_wakeup_records_total", "stale"), "stale: {{stale}}")],
                    "ops",
                    width=6,
                ),
            ],
        ),
    ],
)
