"""How large the measurements of background jobs are, and what they are judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sizes:
    """`calls` per measurement of costs; `seconds` of arrivals; jobs that wait before a drain; streams of the
    measurement of events; streams followed at a time; claims per measurement, among `few` and among `many` waiting
    jobs.
    """

    rounds: int
    calls: int = 400
    seconds: float = 5.0
    drain: int = 5000
    streams: int = 512
    followed: int = 16
    claims: int = 150
    few: int = 1000
    many: int = 100_000


def sizes_of(*, rounds: int, quick: bool) -> Sizes:
    """Those of a run."""
    if not quick:
        return Sizes(rounds)
    return Sizes(rounds, calls=200, seconds=3.0, drain=1500, streams=384, claims=60, many=20_000)


EMPTY: Final = "empty"
FILLED: Final = "filled"
"""Databases that are measured: without and with finished jobs from before."""

OPEN: Final = "no owner is full"
BEHIND: Final = "behind a full owner"
QUEUES: Final = (OPEN, BEHIND)
"""How the jobs that may be claimed stand: at the front, or after many whose owner may run no more of them."""

IN_FLIGHT: Final = 16
RATE: Final = 100.0
"""Jobs accepted per second where that is measured."""

STREAM_CONCURRENCY: Final = 128
"""Jobs that one worker runs at a time where events are measured."""

ADDED_TARGET: Final = 1500.0
"""CPU µs that a background job may cost more than the same foreground call."""
ACCEPT_TARGET: Final = 0.025
DRAIN_TARGET: Final = 150.0
EVENTS_TARGET: Final = 10_000.0
LAG_TARGET: Final = 0.1
CLAIM_TARGET: Final = 2.0
FINISHED_TARGET: Final = 0.20
