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
