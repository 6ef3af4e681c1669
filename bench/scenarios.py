"""What is measured, on which servers, and what it is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from bench.traffic import BURST_MODEL, PACED_MODEL, UNARY_MODEL

Server: TypeAlias = Literal["floor", "sketch", "merged", "ours", "ours-http"]
SERVERS: Final[tuple[Server, ...]] = ("floor", "sketch", "merged", "ours", "ours-http")
SERVER_NAMES: Final[dict[Server, str]] = {
    "floor": "bare grpc.aio",
    "sketch": "sketch, unmerged",
    "merged": "sketch, merged",
    "ours": "service, gRPC",
    "ours-http": "service, HTTP",
}
GROUPS: Final = ("unary", "burst", "paced", "ttft", "processes", "memory")

PACE_SPREAD: Final = 0.05
QUICK_IN_FLIGHT: Final = 64
"""A quick run takes only the scenarios with so many in flight, which most targets are about."""
CONNECTIONS: Final = 8
"""Over how many connections the calls in flight are spread, at most."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """CPU per call or token at one number of calls in flight.

    `seconds`: how long calls begin; those that run are finished, and all of them count.
    """

    group: str
    name: str
    model: str
    in_flight: int
    servers: tuple[Server, ...]
    stream: bool
    seconds: float
    quick_seconds: float
    spread: float = 0.0

    @property
    def unit(self) -> str:
        """What the cost is per."""
        return "token" if self.stream else "call"


@dataclass(frozen=True, slots=True)
class Target:
    """`ours` may cost at most `ratio` times what `base` costs in the same scenario."""

    scenario: str
    base: Server
    ratio: float


def _unary(in_flight: int) -> Scenario:
    servers: tuple[Server, ...] = ("floor", "sketch", "ours", "ours-http")
    name = f"unary, {in_flight} in flight"
    return Scenario("unary", name, UNARY_MODEL, in_flight, servers, stream=False, seconds=1.5, quick_seconds=0.7)


def _burst(in_flight: int) -> Scenario:
    name = f"burst, {_streams(in_flight)}"
    return Scenario("burst", name, BURST_MODEL, in_flight, SERVERS, stream=True, seconds=1.2, quick_seconds=0.5)


def _paced(in_flight: int) -> Scenario:
    servers: tuple[Server, ...] = ("sketch", "merged", "ours", "ours-http")
    name = f"paced 5 ms, {_streams(in_flight)}"
    # A stream takes 1.3 s: callers begin a second one when the first took less than `seconds`.
    seconds = 2.0 if in_flight == 1 else 1.0
    return Scenario(
        "paced",
        name,
        PACED_MODEL,
        in_flight,
        servers,
        stream=True,
        seconds=seconds,
        quick_seconds=1.0,
        spread=PACE_SPREAD,
    )


def _streams(count: int) -> str:
    return "1 stream" if count == 1 else f"{count} streams"


SCENARIOS: Final = (
    *(_unary(count) for count in (16, 64)),
    *(_burst(count) for count in (1, 16, 64)),
    *(_paced(count) for count in (1, 16, 64)),
)

TARGETS: Final = (
    Target("unary, 16 in flight", "sketch", 1.5),
    Target("unary, 64 in flight", "sketch", 1.5),
    Target("burst, 64 streams", "merged", 1.3),
    Target("paced 5 ms, 64 streams", "sketch", 0.6),
)

FIRST_TOKEN_STREAMS: Final = 16
FIRST_TOKEN_TARGETS: Final = {"p50": 0.005, "p99": 0.010}
PROCESS_CONNECTIONS: Final = 64
PROCESS_COST_TARGET: Final = 0.10
PROCESS_SHARE_TARGET: Final = 0.30
MEMORY_STREAMS: Final = 5000
MEMORY_GROWTH_TARGET: Final = 0.05
"""How much more memory a process may hold after all streams than after the first fifth of them."""
