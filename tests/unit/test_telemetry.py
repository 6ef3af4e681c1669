"""What the metrics' adapter counts, and writes to the log."""

from dataclasses import replace
from decimal import Decimal

from structlog.testing import capture_logs

from adapters.telemetry import PrometheusTelemetry
from service.domain.catalog import ProviderStatus
from service.domain.errors import ERRORS, Reason
from service.domain.events import Usage
from service.domain.failure import HARMS_HEALTH, FailureKind
from service.domain.money import Cost
from tests.support.catalogs import catalog, endpoint, model, provider


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


def test_a_fault_of_ours_in_an_attempt_is_an_error_with_its_place_and_without_its_words() -> None:
    telemetry, tried = PrometheusTelemetry(), endpoint()
    with capture_logs() as logs:
        try:
            raise KeyError("words of the prompt")
        except KeyError as error:
            telemetry.attempt_crashed(tried, error, "id-1", 2)
    (line,) = logs
    assert str(line.pop("error_at")).startswith("test_telemetry.py:")
    same = {"event": "attempt_crashed", "endpoint": tried.id, "request_id": "id-1", "attempt": 2}
    assert line == same | {"error_type": "KeyError", "log_level": "error"}


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


def test_endpoints_that_left_with_the_last_catalogue_but_one_are_shown_no_more() -> None:
    telemetry = PrometheusTelemetry()
    rows = [endpoint("gpu", model=f"gpu/run-{number}") for number in range(50)]
    usage = Usage(1, 2, 3, 1, cost=Cost(Decimal("0.5"), "EUR"))

    def shown() -> set[str]:
        lines = telemetry.render().decode().splitlines()
        return {
            row.model for row in rows if any(f'"{row.model}"' in line or f'"{row.id}"' in line for line in lines)
        }

    for at, row in enumerate(rows):
        telemetry.declare(catalog(model(row.model, row)))
        # The settings' rules changed: the same endpoints, told again.
        telemetry.declare(catalog(model(row.model, row)))
        telemetry.endpoint_in_flight(row.id, 1)
        telemetry.passed_over(row)
        telemetry.used(row, usage)
        # What began before the change ends late.
        telemetry.used(rows[max(0, at - 1)], usage)
        assert shown() == {each.model for each in rows[max(0, at - 1) : at + 1]}
    telemetry.declare(catalog())
    telemetry.declare(catalog(model("gpu/new", endpoint("gpu", model="gpu/new"))))
    assert shown() == set()
    # One that comes back begins anew.
    telemetry.used(rows[0], usage)
    cost = f'eurouter_cost_total{{currency="EUR",endpoint="{rows[0].id}",model="{rows[0].model}"}} 0.5'
    assert cost in telemetry.render().decode().splitlines()


def test_a_model_at_a_provider_is_counted_on_when_only_one_of_its_endpoints_leaves() -> None:
    telemetry = PrometheusTelemetry()
    stays, leaves = endpoint("gpu"), replace(endpoint("gpu"), id="gpu/other@name")
    telemetry.declare(catalog(model(stays.model, stays, leaves)))
    for row in (stays, leaves):
        telemetry.used(row, Usage(10, 0, 10, 4))
    for number in range(2):
        telemetry.declare(catalog(model(stays.model, stays), model("v/m", endpoint("gpu", model=f"v/m{number}"))))
    telemetry.used(stays, Usage(1, 0, 1, 1))
    shown = telemetry.render().decode().splitlines()
    labels = f'model="{stays.model}",provider="gpu"'
    assert f'eurouter_tokens_total{{direction="input",{labels}}} 21.0' in shown
    assert f'eurouter_tokens_by_kind_total{{kind="cached",{labels}}} 9.0' in shown


def test_usage_without_a_cost_counts_tokens_only() -> None:
    telemetry, used = PrometheusTelemetry(), endpoint()
    telemetry.used(used, Usage(1, 2, 3))
    shown = telemetry.render().decode()
    assert "eurouter_tokens_total{" in shown
    assert "eurouter_cost_total{" not in shown
    assert "eurouter_tokens_by_kind_total{" not in shown


def outcomes(telemetry: PrometheusTelemetry, metric: str, **labels: str) -> dict[str, float]:
    """What a metric shows of these labels, by outcome."""
    return {
        sample.labels["outcome"]: sample.value
        for family in telemetry.registry.collect()
        for sample in family.samples
        if sample.name == metric and labels.items() <= sample.labels.items()
    }


def test_faults_of_a_method_are_shown_as_0_before_its_first_call_and_those_at_providers_if_it_asks_them() -> None:
    telemetry = PrometheusTelemetry()
    telemetry.request_offered("grpc", "Ask", asks=True)
    telemetry.request_offered("http", "look", asks=False)
    everybodys = {reason.value for reason in Reason if ERRORS[reason].fault in ("us", "provider")}
    asking = outcomes(telemetry, "eurouter_requests_total", door="grpc", method="Ask")
    assert asking == dict.fromkeys({"ok", *everybodys}, 0)
    looking = outcomes(telemetry, "eurouter_requests_total", door="http", method="look")
    assert looking == dict.fromkeys(("ok", "INTERNAL", "SHUTTING_DOWN", "OVERLOADED", "STORE_UNAVAILABLE"), 0)
    telemetry.request_refused("http", "look", "SHUTTING_DOWN")
    assert outcomes(telemetry, "eurouter_requests_total", method="look") == looking | {"SHUTTING_DOWN": 1}


def test_failures_of_a_provider_are_shown_as_0_before_it_is_asked_if_it_may_be_asked() -> None:
    telemetry, asked = PrometheusTelemetry(), endpoint()
    without_key = endpoint(provider("locked", status=ProviderStatus.NOT_CONFIGURED))
    telemetry.declare(catalog(model("m", asked, without_key)))
    shown = outcomes(telemetry, "eurouter_upstream_attempts_total")
    assert shown == outcomes(telemetry, "eurouter_upstream_attempts_total", provider=asked.provider.slug)
    assert shown == dict.fromkeys(("ok", "unknown", *(kind.value for kind in HARMS_HEALTH)), 0)
    telemetry.attempt(asked, "connect", 0.1)
    assert outcomes(telemetry, "eurouter_upstream_attempts_total") == shown | {"connect": 1}
    # Another catalogue, without it: what was counted stays.
    telemetry.declare(catalog(model("m", endpoint(provider("other")))))
    assert outcomes(telemetry, "eurouter_upstream_attempts_total", provider=asked.provider.slug)["connect"] == 1
    assert outcomes(telemetry, "eurouter_upstream_attempts_total", provider="other")["ok"] == 0


def test_a_call_that_is_refused_is_counted_and_its_time_is_not() -> None:
    telemetry = PrometheusTelemetry()
    telemetry.request_refused("http", "chat/completions", "SHUTTING_DOWN")
    shown = telemetry.render().decode().splitlines()
    where = 'door="http",method="chat/completions"'
    assert f'eurouter_requests_total{{{where},outcome="SHUTTING_DOWN"}} 1.0' in shown
    assert f"eurouter_request_seconds_count{{{where}}} 0.0" in shown
    assert "eurouter_requests_in_flight 0.0" in shown
