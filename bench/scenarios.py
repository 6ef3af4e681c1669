"""What is measured, on which servers, and what it is judged by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from bench.traffic import BURST_MODEL, DIALECTS, PACED_MODEL, UNARY_MODEL, Kind, name_of

Server: TypeAlias = Literal["floor", "sketch", "merged", "ours", "ours-http"]
SERVERS: Final[tuple[Server, ...]] = ("floor", "sketch", "merged", "ours", "ours-http")
SERVER_NAMES: Final[dict[Server, str]] = {
    "floor": "bare grpc.aio",
    "sketch": "sketch, unmerged",
    "merged": "sketch, merged",
    "ours": "service, gRPC",
    "ours-http": "service, HTTP",
}
OURS: Final[tuple[Server, ...]] = ("ours", "ours-http")
GROUPS: Final = (
    "unary",
    "burst",
    "paced",
    "ttft",
    "responses",
    "processes",
    "memory",
    "dialects",
    "jobs",
    "kafka",
)

PACE_SPREAD: Final = 0.05
QUICK_IN_FLIGHT: Final = 64
"""A quick run takes only the scenarios with so many in flight, which most targets are about."""
CONNECTIONS: Final = 8
"""Over how many connections the calls in flight are spread, at most."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """CPU per call or token at one number of calls in flight.

    `seconds`: how long calls begin; those that run are finished, and all of them count. `continues`: each call
    continues a stored conversation of CONVERSATION responses.
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
    kind: Kind = "chat"
    continues: bool = False

    @property
    def unit(self) -> str:
        """What the cost is per."""
        return "token" if self.stream else "call"


@dataclass(frozen=True, slots=True)
class Target:
    """`server` may cost at most `ratio` times what `base` costs in `base_scenario`, the same one by default."""

    scenario: str
    base: Server
    ratio: float
    server: Server = "ours"
    base_scenario: str = ""


@dataclass(frozen=True, slots=True)
class AddedTarget:
    """`server` may cost at most `added` CPU µs more a call than in `base_scenario`."""

    scenario: str
    base_scenario: str
    added: float
    server: Server


def _unary(in_flight: int) -> Scenario:
    servers: tuple[Server, ...] = ("floor", "sketch", *OURS)
    name = f"unary, {in_flight} in flight"
    return Scenario("unary", name, UNARY_MODEL, in_flight, servers, stream=False, seconds=1.5, quick_seconds=0.7)


def _burst(in_flight: int) -> Scenario:
    name = f"burst, {_streams(in_flight)}"
    return Scenario("burst", name, BURST_MODEL, in_flight, SERVERS, stream=True, seconds=1.2, quick_seconds=0.5)


def _paced(in_flight: int) -> Scenario:
    servers: tuple[Server, ...] = ("sketch", "merged", *OURS)
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


def _responses() -> tuple[Scenario, ...]:
    """Chat once more directly beside what is compared with it: a machine's speed changes within a run."""
    streams = (
        replace(like, group="responses", servers=OURS, kind=kind, name=f"{like.group} 64: {_told(kind)}")
        for like in (_burst(64), _paced(64))
        for kind in _KINDS
    )
    whole = (
        replace(like, group="responses", servers=OURS, kind=kind, name=f"unary {like.in_flight}: {_told(kind)}")
        for like in (_unary(16), _unary(64))
        for kind in _KINDS[1:]
    )
    longer = replace(
        _unary(64),
        group="responses",
        servers=OURS,
        kind="response",
        continues=True,
        name=f"unary 64: {_told('response')}, continues {CONVERSATION}",
    )
    return (*streams, *whole, longer)


def _dialects() -> tuple[Scenario, ...]:
    """The same whole answers and streams from providers of every dialect, side by side."""
    return tuple(
        replace(
            like,
            group="dialects",
            servers=("ours",),
            name=_spoken(like, dialect),
            model=name_of(dialect, like.model),
        )
        for like in (_unary(64), _burst(64))
        for dialect in DIALECTS
    )


def _spoken(like: Scenario, dialect: str) -> str:
    return f"{like.group} 64: {dialect}"


def _told(kind: Kind) -> str:
    told = {"chat": "chat", "response": "responses, store false", "stored response": "responses, store true"}
    return told[kind]


def _streams(count: int) -> str:
    return "1 stream" if count == 1 else f"{count} streams"


CONVERSATION: Final = 50
"""Stored responses before the one that continues them."""
_KINDS: Final[tuple[Kind, ...]] = ("chat", "response", "stored response")

SCENARIOS: Final = (
    *(_unary(count) for count in (16, 64)),
    *(_burst(count) for count in (1, 16, 64)),
    *(_paced(count) for count in (1, 16, 64)),
    *_responses(),
    *_dialects(),
)

TARGETS: Final = (
    Target("unary, 16 in flight", "sketch", 1.5),
    Target("unary, 64 in flight", "sketch", 1.5),
    Target("burst, 64 streams", "merged", 1.3),
    Target("paced 5 ms, 64 streams", "sketch", 0.6),
    *(
        Target(f"{how} 64: {_told(kind)}", server, 1.5, server, f"{how} 64: chat")
        for how in ("burst", "paced")
        for kind in _KINDS[1:]
        for server in OURS
    ),
    *(
        Target(_spoken(like, dialect), "ours", 1.5, "ours", _spoken(like, "openai_chat"))
        for like in (_unary(64), _burst(64))
        for dialect in DIALECTS
        if dialect != "openai_chat"
    ),
)
STORE_TARGETS: Final = tuple(
    AddedTarget(f"unary {count}: {_told('stored response')}", f"unary {count}: {_told('response')}", 300.0, server)
    for count in (16, 64)
    for server in OURS
)

FIRST_TOKEN_STREAMS: Final = 16
FIRST_TOKEN_TARGETS: Final = {"p50": 0.005, "p99": 0.010}
PROCESS_CONNECTIONS: Final = 64
PROCESS_COST_TARGET: Final = 0.10
PROCESS_SHARE_TARGET: Final = 0.30
MEMORY_STREAMS: Final = 5000
MEMORY_GROWTH_TARGET: Final = 0.05
"""How much more memory a process may hold after all streams than after the first fifth of them."""
