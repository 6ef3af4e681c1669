"""What the metrics' adapter counts, and writes to the log."""

from dataclasses import replace
from decimal import Decimal

from structlog.testing import capture_logs

from adapters.telemetry import PrometheusTelemetry
from service.domain.errors import ERRORS, Reason
from service.domain.events import Usage
from service.domain.failure import FailureKind
from service.domain.money import Cost
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


def test_tokens_are_counted_by_direction_and_kind_and_their_cost_by_endpoint_and_currency() -> None:
    telemetry, used = PrometheusTelemetry(), endpoint()
    audio = (("prompt.audio_tokens", 5), ("completion.audio_tokens", 6), ("prompt.video_tokens", 9))
    usage = Usage(30, 20, 50, 4, 3, 2, audio, cost=Cost(Decimal("0.25"), "EUR"))
    telemetry.used(used, usage)
    telemetry.used(used, usage)
    telemetry.used(used, replace(usage, cost=Cost(Decimal("0.5"), "USD")))
    shown = telemetry.render().decode().splitlines()
    model = f'model="{used.model}",provider="{used.provider.slug}"'
    for direction, count in (("input", 90), ("output", 60)):
        assert f'eurouter_tokens_total{{direction="{direction}",{model}}} {count}.0' in shown
    kinds = {"cached": 12, "cache_write": 9, "reasoning": 6, "audio_input": 15, "audio_output": 18}
    for kind, count in kinds.items():
        assert f'eurouter_tokens_by_kind_total{{kind="{kind}",{model}}} {count}.0' in shown
    assert sum(line.startswith("eurouter_tokens_by_kind_total") for line in shown) == len(kinds)
    where = f'endpoint="{used.id}",model="{used.model}"'
    for currency in ("EUR", "USD"):
        assert f'eurouter_cost_total{{currency="{currency}",{where}}} 0.5' in shown


def test_usage_without_a_cost_counts_tokens_only() -> None:
    telemetry, used = PrometheusTelemetry(), endpoint()
    telemetry.used(used, Usage(1, 2, 3))
    shown = telemetry.render().decode()
    assert "eurouter_tokens_total{" in shown
    assert "eurouter_cost_total{" not in shown
    assert "eurouter_tokens_by_kind_total{" not in shown


def test_what_is_ours_to_mend_is_shown_as_0_before_it_happens_once_its_method_or_provider_was_asked() -> None:
    telemetry, asked = PrometheusTelemetry(), endpoint()
    assert "eurouter_requests_total{" not in telemetry.render().decode()
    telemetry.request_started()
    telemetry.request_finished("grpc", "Ask", "ok", 0.1)
    telemetry.attempt(asked, "ok", 0.1)
    shown = telemetry.render().decode().splitlines()
    ours = {reason for reason in Reason if ERRORS[reason].fault == "us"}
    assert Reason.PROVIDER_QUOTA_SPENT in ours
    for outcome, count in (("ok", 1), *((reason.value, 0) for reason in ours)):
        assert f'eurouter_requests_total{{door="grpc",method="Ask",outcome="{outcome}"}} {count}.0' in shown
    assert sum(line.startswith("eurouter_requests_total") for line in shown) == len(ours) + 1
    where = f'provider="{asked.provider.slug}"'
    for outcome, count in {"ok": 1, "auth": 0, "quota": 0, "model_missing": 0}.items():
        assert f'eurouter_upstream_attempts_total{{outcome="{outcome}",{where}}} {count}.0' in shown


def test_a_call_that_is_refused_is_counted_and_its_time_is_not() -> None:
    telemetry = PrometheusTelemetry()
    telemetry.request_refused("http", "chat/completions", "SHUTTING_DOWN")
    shown = telemetry.render().decode().splitlines()
    where = 'door="http",method="chat/completions"'
    assert f'eurouter_requests_total{{{where},outcome="SHUTTING_DOWN"}} 1.0' in shown
    assert f"eurouter_request_seconds_count{{{where}}} 0.0" in shown
    assert "eurouter_requests_in_flight 0.0" in shown
