"""Plans: the same for the same seed, and each with what it takes to find a hole."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.schedule import BUSY, LEASE, WORKERS, What, plan

SEEDS = st.integers(0, 10_000)


@given(SEEDS)
def test_a_seed_is_a_plan(seed: int) -> None:
    assert plan(seed, 20) == plan(seed, 20)
    assert plan(seed, 20) != plan(seed + 1, 20)


@given(SEEDS)
def test_every_plan_stops_workers_for_more_than_a_lease_and_restarts_the_database(seed: int) -> None:
    made = plan(seed, 40)
    stops = [fault for fault in made.faults if fault.what is What.STOP]
    assert len({fault.who for fault in stops if fault.seconds > LEASE}) >= 2
    assert len({fault.who for fault in stops if fault.seconds < LEASE}) == WORKERS
    assert {fault.who for fault in made.faults} >= {"database", "worker-1", "worker-2", "worker-3"}


@given(SEEDS)
def test_nothing_befalls_a_process_that_is_away(seed: int) -> None:
    made = plan(seed, 300)
    for who in {fault.who for fault in made.faults}:
        mine = [fault for fault in made.faults if fault.who == who]
        for before, after in pairwise(mine):
            assert before.at + before.seconds < after.at


@given(SEEDS)
def test_half_of_the_requests_meet_a_busy_provider_and_no_two_are_alike(seed: int) -> None:
    requests = plan(seed, 300).requests
    assert 0.35 < sum(request.model in BUSY for request in requests) / len(requests) < 0.65
    assert len({request.prompt for request in requests}) == len(requests)
    keys = [request.key for request in requests if request.key is not None]
    assert len(set(keys)) == len(keys)


@given(SEEDS)
def test_only_what_has_a_key_comes_again(seed: int) -> None:
    for request in plan(seed, 100).requests:
        assert request.keyed or (not request.repeats and request.other is None)
