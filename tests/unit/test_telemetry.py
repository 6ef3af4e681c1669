"""What the metrics' adapter writes to the log."""

from structlog.testing import capture_logs

from adapters.telemetry import PrometheusTelemetry
from service.domain.failure import FailureKind
from tests.support.catalogs import endpoint


def test_a_failed_attempt_is_logged_and_what_the_operator_must_mend_is_a_warning() -> None:
    telemetry, tried = PrometheusTelemetry(), endpoint()
    with capture_logs() as logs:
        telemetry.attempt_failed(tried, FailureKind.AUTH, "id-1", 1)
        telemetry.attempt_failed(tried, FailureKind.OVERLOADED, "id-1", 2)
    same = {"event": "attempt_failed", "endpoint": tried.id, "request_id": "id-1"}
    assert logs == [
        same | {"kind": "auth", "attempt": 1, "log_level": "warning"},
        same | {"kind": "overloaded", "attempt": 2, "log_level": "info"},
    ]


def test_calls_at_endpoints_that_declare_a_number_are_a_gauge_and_who_was_passed_over_a_counter() -> None:
    telemetry, full = PrometheusTelemetry(), endpoint()
    assert "eurouter_endpoint_in_flight{" not in telemetry.render().decode()
    for calls in (1, 2, 1):
        telemetry.endpoint_in_flight(full.id, calls)
    telemetry.passed_over(full)
    shown = telemetry.render().decode().splitlines()
    assert f'eurouter_endpoint_in_flight{{endpoint="{full.id}"}} 1.0' in shown
    assert f'eurouter_endpoint_passed_over_total{{endpoint="{full.id}"}} 1.0' in shown
