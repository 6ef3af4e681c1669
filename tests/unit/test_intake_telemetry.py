"""Metrics of intake and of wake-ups."""

from __future__ import annotations

from math import isnan

import pytest
import structlog
from prometheus_client import CollectorRegistry

from adapters.intake_telemetry import PrometheusIntakeTelemetry, PrometheusWakeUpTelemetry
from service.domain.consuming import ConsumerError
from service.domain.intake import BatchOutcome, TryLaterError
from tests.support.fake_consumer import records
from workers.intake_ports import IntakeTelemetry, WakeUpTelemetry


def test_everything_that_is_told_is_counted_and_nothing_of_content_is_logged() -> None:
    registry = CollectorRegistry()
    prometheus = PrometheusIntakeTelemetry(registry)
    intake: IntakeTelemetry = prometheus
    wake_ups: WakeUpTelemetry = PrometheusWakeUpTelemetry(registry)
    with structlog.testing.capture_logs() as logs:
        intake.read(10)
        intake.stored(BatchOutcome(accepted=6, repeated=3, rejected=1))
        prometheus.dead_letter("expired")
        intake.batch(0.03)
        intake.paused(True)
        intake.aside(2)
        intake.store_failed("accept", TryLaterError("content"))
        intake.crashed(records(("submit", 3), 2, first=40), ValueError("content"))
        intake.gave_up("stuck", None)
        intake.gave_up("crashed", KeyError("content"))
        wake_ups.gave_up("broker", ConsumerError("Kafka: KafkaConnectionError"))
        wake_ups.hints(4, 2)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"eurouter_{name}", labels)

    assert value("intake_records_total") == 10
    outcomes = {
        what: value("intake_outcomes_total", outcome=what) for what in ("accepted", "repeated", "rejected")
    }
    assert outcomes == {"accepted": 6, "repeated": 3, "rejected": 1}
    assert value("intake_batch_seconds_count") == 1
    assert value("intake_dead_letters_total", reason="expired") == 1
    assert value("intake_paused") == 1
    assert value("intake_aside") == 2
    assert value("intake_store_failures_total", what="accept") == 1
    assert value("intake_consumers_given_up_total", reason="stuck") == 1
    assert value("wakeup_consumers_given_up_total", reason="broker") == 1
    assert value("wakeup_records_total", stale="no") == 4
    assert value("wakeup_records_total", stale="yes") == 2
    assert [line["event"] for line in logs] == [
        *("intake_store_failed", "intake_records_crashed"),
        *("consumer_given_up", "consumer_given_up", "consumer_given_up"),
    ]
    crashed = {"topic": "submit", "partition": 3, "offset": 40, "records": 2, "error_type": "ValueError"}
    assert crashed.items() <= logs[1].items()
    assert [line["error"] for line in logs[2:]] == ["", "KeyError", "Kafka: KafkaConnectionError"]
    assert "content" not in repr(logs)


def test_the_lag_of_a_partition_that_went_away_is_shown_no_more() -> None:
    registry = CollectorRegistry()
    telemetry = PrometheusIntakeTelemetry(registry)

    def shown(partition: str) -> float | None:
        labels = {"topic": "submit", "partition": partition}
        return registry.get_sample_value("eurouter_intake_lag_records", labels)

    telemetry.lag({("submit", 0): 7, ("submit", 1): 0})
    assert (shown("0"), shown("1")) == (7, 0)
    telemetry.lag({("submit", 1): 5})
    assert (shown("0"), shown("1")) == (None, 5)
    telemetry.lag({})
    assert (shown("0"), shown("1")) == (None, None)
    telemetry.lag({("submit", 0): 1})
    assert shown("0") == 1


def test_in_the_files_of_several_processes_that_lag_is_no_number() -> None:
    telemetry = PrometheusIntakeTelemetry(None)
    telemetry.lag({("submit", 0): 7})
    telemetry.lag({})
    (sample,) = next(iter(telemetry._lag.collect())).samples
    assert isnan(sample.value)


@pytest.mark.parametrize("kind", [PrometheusIntakeTelemetry, PrometheusWakeUpTelemetry])
def test_no_number_is_shown_before_there_is_one(kind: type[PrometheusIntakeTelemetry]) -> None:
    registry = CollectorRegistry()
    kind(registry)
    assert not [one for metric in registry.collect() for one in metric.samples if one.name.endswith("lag_records")]


def test_whether_records_are_read_is_shown() -> None:
    registry = CollectorRegistry()
    intake, wake_ups = PrometheusIntakeTelemetry(registry), PrometheusWakeUpTelemetry(registry)

    def shown() -> list[float | None]:
        return [registry.get_sample_value(f"eurouter_{of}_working") for of in ("intake", "wakeup")]

    assert shown() == [0, 0]
    intake.working(working=True)
    assert shown() == [1, 0]
    wake_ups.working(working=True)
    intake.working(working=False)
    assert shown() == [0, 1]
