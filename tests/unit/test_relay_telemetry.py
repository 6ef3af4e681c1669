"""Metrics of relays and of the outbox."""

import asyncio
from math import isnan

import pytest
import structlog
from prometheus_client import CollectorRegistry

from adapters.relay_telemetry import OutboxGauges, PrometheusRelayTelemetry
from service.domain.outbox import OutboxKind, OutboxRecord, OutboxRow, OutboxStats
from service.domain.publishing import Delivery, PublisherError
from tests.support.fake_outbox import FakeOutbox
from workers.relay_ports import RelayTelemetry


def row(kind: OutboxKind, age: float) -> OutboxRow:
    return OutboxRow(1, 0, OutboxRecord(kind, b"key", value=b"content"), age)


def test_everything_that_is_told_is_counted_and_nothing_of_content_is_logged() -> None:
    registry = CollectorRegistry()
    telemetry: RelayTelemetry = PrometheusRelayTelemetry(registry)
    with structlog.testing.capture_logs() as logs:
        telemetry.holds(8)
        telemetry.sent([row(OutboxKind.RESULT, 0.03), row(OutboxKind.RESULT, 3.0), row(OutboxKind.WAKE, 0.0)])
        telemetry.dropped([row(OutboxKind.WAKE, 99.0)])
        telemetry.failed(Delivery.UNKNOWN, "results")
        telemetry.late(3)
        telemetry.store_failed("relay")
        telemetry.publisher_failed(PublisherError("Kafka: KafkaConnectionError"))
        telemetry.publisher_failed(ValueError("content"))
        telemetry.turn_crashed(ValueError("content"))
        telemetry.crashed(OutboxKind.RESULT, ValueError("content"))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"eurouter_{name}", labels)

    assert value("outbox_shards") == 8
    assert value("outbox_sent_seconds_count", kind="result") == 2
    assert value("outbox_sent_seconds_bucket", kind="result", le="0.05") == 1
    assert value("outbox_dropped_total", kind="wake") == 1
    assert value("outbox_send_failures_total", delivery="unknown") == 1
    assert value("outbox_late_total") == 3
    assert value("outbox_store_failures_total") == 1
    assert value("publisher_failures_total") == 2
    assert value("outbox_crashes_total") == 2
    assert [line["event"] for line in logs] == [
        *("outbox_send_failed", "outbox_store_failed", "publisher_failed", "publisher_failed"),
        *("outbox_turn_crashed", "outbox_row_crashed"),
    ]
    assert [line.get("error") for line in logs][2:4] == ["Kafka: KafkaConnectionError", "ValueError"]
    assert "content" not in repr(logs)


def test_a_failure_that_goes_on_is_told_now_and_then_with_its_count_and_the_metric_stays_exact() -> None:
    registry, now = CollectorRegistry(), [50.0]
    telemetry = PrometheusRelayTelemetry(registry, clock=lambda: now[0])
    with structlog.testing.capture_logs() as logs:
        for _ in range(500):
            telemetry.failed(Delivery.REFUSED, "results")
        telemetry.failed(Delivery.UNKNOWN, "results")
        telemetry.failed(Delivery.TOO_LARGE, "others")
        now[0] += 29.9
        telemetry.failed(Delivery.REFUSED, "results")
        now[0] += 0.2
        telemetry.failed(Delivery.REFUSED, "results")
        telemetry.failed(Delivery.REFUSED, "results")
    assert [(line["delivery"], line["topic"], line["messages"]) for line in logs] == [
        ("refused", "results", 1),
        ("unknown", "results", 1),
        ("too_large", "others", 1),
        ("refused", "results", 501),
    ]
    assert [line["why"] for line in logs][:3] == [
        "the topic is not there, or we may not write to it",
        "no answer in time, it is sent again",
        "larger than the broker takes",
    ]
    counted = registry.get_sample_value("eurouter_outbox_send_failures_total", {"delivery": "refused"})
    assert counted == 503


async def test_the_gauges_follow_the_outbox_and_are_nothing_while_it_can_not_be_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    outbox, registry = FakeOutbox(lambda: now[0]), CollectorRegistry()
    running = asyncio.create_task(OutboxGauges(registry, outbox, period=0.001).run())

    async def shown(rows: float, oldest: float) -> None:
        async with asyncio.timeout(5):
            while True:
                found = [
                    registry.get_sample_value(f"eurouter_outbox_{name}") for name in ("rows", "oldest_seconds")
                ]
                if found == [rows, oldest] or (isnan(rows) and all(isnan(one or 0.0) for one in found)):
                    return
                await asyncio.sleep(0.001)

    await shown(0.0, 0.0)
    outbox.finish(b"a")
    now[0] += 7
    await shown(1.0, 7.0)
    outbox.down = 10**9
    await shown(float("nan"), float("nan"))
    outbox.down = 0
    await shown(1.0, 7.0)

    async def crashes() -> OutboxStats:
        raise ZeroDivisionError

    monkeypatch.setattr(outbox, "stats", crashes)
    await shown(float("nan"), float("nan"))
    monkeypatch.undo()
    await shown(1.0, 7.0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
