"""Health from outcomes: shares, speeds, cool-downs."""

from __future__ import annotations

import pytest

from adapters.health import OutcomeHealth
from service.domain.failure import HARMS_HEALTH, FailureKind
from tests.support.upstreams import FakeClock

A, B = "alpha/m", "beta/m"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def health(clock: FakeClock) -> OutcomeHealth:
    return OutcomeHealth(clock)


def fail(
    health: OutcomeHealth, clock: FakeClock, kind: FailureKind, retry_after: float | None = None, name: str = A
) -> float | None:
    """Reports a failure now; seconds of cool-down left after it."""
    health.failed(name, kind, retry_after, clock())
    until = health.cooling_until(name, clock())
    return None if until is None else until - clock()


def test_what_was_never_seen_is_healthy_and_unknown(health: OutcomeHealth, clock: FakeClock) -> None:
    assert health.score(A) == 1.0
    assert health.cooling_until(A, clock()) is None
    assert health.latency(A) is None
    assert health.throughput(A) is None


def test_only_successes_leave_a_perfect_score(health: OutcomeHealth) -> None:
    for _ in range(5):
        health.succeeded(A, None, 0, 1.0)
    assert health.score(A) == 1.0


def test_the_score_follows_the_share_of_failures(health: OutcomeHealth, clock: FakeClock) -> None:
    for _ in range(99):
        health.succeeded(A, None, 0, 1.0)
    fail(health, clock, FailureKind.SERVER_ERROR)
    assert health.score(A) == pytest.approx(100 / 101)
    fail(health, clock, FailureKind.SERVER_ERROR, name=B)
    assert health.score(B) == pytest.approx(0.5)


def test_time_alone_brings_the_score_back(health: OutcomeHealth, clock: FakeClock) -> None:
    fail(health, clock, FailureKind.TIMEOUT)
    scores = []
    for _ in range(10):
        scores.append(health.score(A))
        clock.forward(60)
    assert scores[1] == pytest.approx(1 / 1.5)
    assert scores == sorted(scores)
    assert health.score(A) > 0.999


def test_old_successes_do_not_hide_new_failures(health: OutcomeHealth, clock: FakeClock) -> None:
    for _ in range(100):
        health.succeeded(A, None, 0, 1.0)
    clock.forward(600)
    for _ in range(5):
        fail(health, clock, FailureKind.SERVER_ERROR)
    assert health.score(A) < 0.2


@pytest.mark.parametrize("kind", sorted(HARMS_HEALTH))
def test_every_failure_starts_a_cool_down_that_ends(
    health: OutcomeHealth, clock: FakeClock, kind: FailureKind
) -> None:
    left = fail(health, clock, kind)
    assert left is not None
    clock.forward(left)
    assert health.cooling_until(A, clock()) is None


def test_a_cool_down_lasts_30_s_and_doubles_to_120(health: OutcomeHealth, clock: FakeClock) -> None:
    lasted = []
    for _ in range(5):
        left = fail(health, clock, FailureKind.SERVER_ERROR)
        assert left is not None
        lasted.append(left)
        clock.forward(left)
    assert lasted == [30, 60, 120, 120, 120]


def test_a_success_after_it_resets_the_growth(health: OutcomeHealth, clock: FakeClock) -> None:
    fail(health, clock, FailureKind.CONNECT)
    clock.forward(31)
    health.succeeded(A, 0.1, 5, 0.5)
    assert fail(health, clock, FailureKind.CONNECT) == 30


def test_calls_that_fail_together_count_as_one_for_the_cool_down(health: OutcomeHealth, clock: FakeClock) -> None:
    fail(health, clock, FailureKind.SERVER_ERROR)
    clock.forward(10)
    assert fail(health, clock, FailureKind.SERVER_ERROR) == 20
    clock.forward(20)
    assert fail(health, clock, FailureKind.SERVER_ERROR) == 60


def test_a_call_that_began_after_the_failure_and_succeeds_ends_the_cool_down(
    health: OutcomeHealth, clock: FakeClock
) -> None:
    fail(health, clock, FailureKind.SERVER_ERROR)
    clock.forward(5)
    health.succeeded(A, None, 0, 20.0)
    assert health.cooling_until(A, clock()) is not None
    health.succeeded(A, None, 0, 3.0)
    assert health.cooling_until(A, clock()) is None


@pytest.mark.parametrize(("named", "lasts"), [(7.0, 7.0), (0.0, 1.0), (3600.0, 120.0)])
def test_a_rate_limit_lasts_as_long_as_it_says_within_limits(
    health: OutcomeHealth, clock: FakeClock, named: float, lasts: float
) -> None:
    assert fail(health, clock, FailureKind.RATE_LIMITED, named) == lasts


def test_a_longer_wait_named_during_a_cool_down_replaces_it(health: OutcomeHealth, clock: FakeClock) -> None:
    fail(health, clock, FailureKind.RATE_LIMITED, 5.0)
    assert fail(health, clock, FailureKind.RATE_LIMITED, 50.0) == 50.0
    assert fail(health, clock, FailureKind.RATE_LIMITED, 2.0) == 50.0


def test_an_overloaded_provider_cools_shortly_and_longer_each_time(
    health: OutcomeHealth, clock: FakeClock
) -> None:
    lasted = []
    for _ in range(7):
        left = fail(health, clock, FailureKind.OVERLOADED)
        assert left is not None
        lasted.append(left)
        clock.forward(left)
    assert lasted == [5, 10, 20, 40, 80, 120, 120]


@pytest.mark.parametrize("kind", [FailureKind.AUTH, FailureKind.QUOTA, FailureKind.MODEL_MISSING])
def test_what_only_the_operator_can_mend_cools_longest(
    health: OutcomeHealth, clock: FakeClock, kind: FailureKind
) -> None:
    assert fail(health, clock, kind) == 120


def test_thousands_of_failures_in_a_row_do_not_overflow(health: OutcomeHealth, clock: FakeClock) -> None:
    for _ in range(3000):
        assert fail(health, clock, FailureKind.CONNECT) is not None
        clock.forward(121)
    assert fail(health, clock, FailureKind.CONNECT) == 120


def test_speeds_are_smoothed_and_a_streams_rate_counts_from_its_first_token(health: OutcomeHealth) -> None:
    health.succeeded(A, 0.5, 100, 2.5)
    assert health.latency(A) == 0.5
    assert health.throughput(A) == 50.0
    health.succeeded(A, 1.0, 100, 2.0)
    assert health.latency(A) == pytest.approx(0.6)
    assert health.throughput(A) == pytest.approx(60.0)


def test_an_answer_without_usage_says_nothing_about_throughput(health: OutcomeHealth) -> None:
    health.succeeded(A, None, 0, 1.0)
    assert health.throughput(A) is None
    assert health.latency(A) is None


def test_memory_is_bounded_and_the_longest_unheard_of_go_first(clock: FakeClock) -> None:
    health = OutcomeHealth(clock, capacity=2)
    fail(health, clock, FailureKind.CONNECT, name=A)
    fail(health, clock, FailureKind.CONNECT, name=B)
    health.succeeded(A, None, 0, 5.0)
    fail(health, clock, FailureKind.CONNECT, name="gamma/m")
    assert health.score(B) == 1.0
    assert health.score(A) < 1.0
    assert health.score("gamma/m") < 1.0
