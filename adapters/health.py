"""Health of endpoints from real outcomes, in memory and for this process: shares, speeds, cool-downs.

No network and no background task: everything decays when it is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from service.domain.failure import FailureKind

HALF_LIFE: Final = 60.0
"""Seconds in which an outcome's weight halves.

By time and not by count: an endpoint that plans avoid sees no more calls, and only time can bring it back.
"""

COOL_DOWN: Final = 30.0
"""Seconds after a first failure; doubled when the endpoint fails again once its cool-down is over."""

OVERLOADED_COOL_DOWN: Final = 5.0
"""The same for an overloaded provider, which is back sooner than a broken one."""

LONGEST_COOL_DOWN: Final = 120.0

_OURS_TO_MEND: Final = frozenset({FailureKind.AUTH, FailureKind.QUOTA, FailureKind.MODEL_MISSING})
_NAMES_ITS_WAIT: Final = frozenset({FailureKind.RATE_LIMITED, FailureKind.OVERLOADED})
_SMOOTHING: Final = 0.2


@dataclass(slots=True)
class _Record:
    """One endpoint. `good` and `bad` are decayed counts as of `at`."""

    at: float
    good: float = 0.0
    bad: float = 0.0
    latency: float | None = None
    throughput: float | None = None
    failed_at: float = float("-inf")
    cooling_until: float = float("-inf")
    cooling_for: FailureKind = FailureKind.UNKNOWN
    failures_in_a_row: int = 0

    def decay(self, now: float) -> None:
        factor = _weight(now - self.at)
        self.good *= factor
        self.bad *= factor
        self.at = now


class OutcomeHealth:
    """Implements the Health port. Remembers at most `capacity` endpoints, those last heard of."""

    def __init__(self, clock: Callable[[], float], *, capacity: int = 4096) -> None:
        self._clock = clock
        self._capacity = capacity
        self._records: dict[str, _Record] = {}

    def score(self, endpoint_id: str) -> float:
        """Decayed share of successes, with one success assumed: a single failure halves it for a while."""
        record = self._records.get(endpoint_id)
        if record is None or not record.bad:
            return 1.0
        factor = _weight(self._clock() - record.at)
        good, bad = record.good * factor, record.bad * factor
        return (good + 1.0) / (good + bad + 1.0)

    def cooling_until(self, endpoint_id: str, now: float) -> float | None:
        """When the endpoint's cool-down ends, or None when it is not cooling at `now`."""
        record = self._records.get(endpoint_id)
        return record.cooling_until if record is not None and record.cooling_until > now else None

    def cooling(self) -> Mapping[str, FailureKind]:
        """The endpoints that are cooling now, among those remembered, each with the failure it cools down for."""
        now = self._clock()
        return {name: record.cooling_for for name, record in self._records.items() if record.cooling_until > now}

    def latency(self, endpoint_id: str) -> float | None:
        """Smoothed seconds to the first token of streams, None before the first."""
        record = self._records.get(endpoint_id)
        return None if record is None else record.latency

    def throughput(self, endpoint_id: str) -> float | None:
        """Smoothed tokens per second, None before the first answer with usage.

        A stream's rate counts from its first token; a whole answer's from its start, a lower bound.
        """
        record = self._records.get(endpoint_id)
        return None if record is None else record.throughput

    def succeeded(self, endpoint_id: str, ttft: float | None, tokens: int, seconds: float) -> None:
        """Counts a success. One that began after the last failure proves it over and ends the cool-down."""
        now = self._clock()
        record = self._touch(endpoint_id, now)
        record.good += 1.0
        if ttft is not None:
            record.latency = _smoothed(record.latency, ttft)
        generating = seconds - (ttft or 0.0)
        if tokens > 0 and generating > 0.0:
            record.throughput = _smoothed(record.throughput, tokens / generating)
        if now - seconds >= record.failed_at:
            record.failures_in_a_row = 0
            record.cooling_until = float("-inf")

    def failed(self, endpoint_id: str, kind: FailureKind, retry_after: float | None, now: float) -> None:
        """Counts a failure and starts the cool-down.

        Many calls in flight fail together: within a cool-down further failures don't make it grow, only a
        wait that reaches further replaces it.
        """
        record = self._touch(endpoint_id, now)
        record.bad += 1.0
        record.failed_at = now
        cooling = record.cooling_until > now
        if not cooling:
            record.failures_in_a_row += 1
        if kind in _OURS_TO_MEND:
            seconds = LONGEST_COOL_DOWN
        elif kind in _NAMES_ITS_WAIT and retry_after is not None:
            seconds = min(max(retry_after, 1.0), LONGEST_COOL_DOWN)
        elif cooling:
            return
        else:
            first = OVERLOADED_COOL_DOWN if kind is FailureKind.OVERLOADED else COOL_DOWN
            # Bounded because a float's exponent is.
            seconds = min(math.ldexp(first, min(record.failures_in_a_row - 1, 10)), LONGEST_COOL_DOWN)
        if now + seconds > record.cooling_until:
            record.cooling_until = now + seconds
            record.cooling_for = kind

    def _touch(self, endpoint_id: str, now: float) -> _Record:
        """The endpoint's record, decayed to `now` and last in the order of eviction."""
        record = self._records.pop(endpoint_id, None)
        if record is None:
            record = _Record(now)
            while len(self._records) >= self._capacity:
                del self._records[next(iter(self._records))]
        else:
            record.decay(now)
        self._records[endpoint_id] = record
        return record


def _weight(age: float) -> float:
    return math.exp2(-max(0.0, age) / HALF_LIFE)


def _smoothed(before: float | None, new: float) -> float:
    return new if before is None else before + _SMOOTHING * (new - before)
