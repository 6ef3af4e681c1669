"""What a worker counts: outcomes and faults from 0 on, and its places while it can claim."""

from __future__ import annotations

from typing import get_args

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from adapters.worker_telemetry import OUTCOMES, PrometheusWorkerTelemetry
from service.domain.stored import StoreError
from workers.ports import Outcome


def test_every_outcome_of_a_run_is_shown_before_it_happens() -> None:
    assert get_args(Outcome) == OUTCOMES
    registry = CollectorRegistry()
    telemetry = PrometheusWorkerTelemetry(registry)
    telemetry.ended("failed", 1.0)
    found = {name: registry.get_sample_value("eurouter_job_runs_total", {"outcome": name}) for name in OUTCOMES}
    assert found == {**dict.fromkeys(OUTCOMES, 0.0), "failed": 1.0}


def test_a_fault_in_a_run_is_counted_whatever_the_run_comes_to() -> None:
    registry = CollectorRegistry()
    telemetry = PrometheusWorkerTelemetry(registry)
    assert registry.get_sample_value("eurouter_job_crashes_total") == 0
    with capture_logs() as logs:
        telemetry.crashed("resp_1", RuntimeError("the prompt of somebody"))
    assert registry.get_sample_value("eurouter_job_crashes_total") == 1
    assert logs == [{"event": "job_crashed", "job": "resp_1", "error_type": "RuntimeError", "log_level": "error"}]


def test_a_worker_has_places_only_while_it_can_claim() -> None:
    registry, concurrency = CollectorRegistry(), 64
    telemetry = PrometheusWorkerTelemetry(registry, places=lambda: concurrency)

    def places() -> float | None:
        return registry.get_sample_value("eurouter_jobs_places")

    assert places() == 0
    telemetry.claimed(0, 0.01)
    assert places() == 64
    concurrency = 32
    telemetry.store_failed("renew", StoreError("away"))
    assert places() == 64
    telemetry.store_failed("claim", StoreError("away"))
    assert places() == 0
    telemetry.claimed(1, 0.01)
    assert places() == 32
