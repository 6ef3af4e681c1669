"""What will happen in a run: requests, what their callers do, and what befalls the processes. Seeded, pure.

A plan is the same for the same seed; the run isn't, because the machine has a say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Final, Literal

from tests.chaos.history import CALLS_ID

if TYPE_CHECKING:
    from tests.chaos.record_requests import RecordRequest

WORKERS: Final = 3
SERVICES: Final = 2
LEASE: Final = 3.0
"""Seconds: the shortest that the settings allow."""

CALM: Final = {"quick": 10, "steady": 40, "slow": 150}
"""Models whose endpoint is never busy, and the milliseconds between their tokens."""

_BUSY_ALIKE: Final = 6

BUSY: Final = {
    f"busy-{calls}-{seconds}-{at}": (calls, seconds)
    for calls in (1, 2)
    for seconds in (1, 2)
    for at in range(_BUSY_ALIKE)
}
"""Models that refuse each request so many times, with a Retry-After of so many seconds.

There are many, because an endpoint that was busy rests for all.
"""


_BLINK: Final = 1.4
_RETURN: Final = 2.3
"""Seconds: all workers stop, and go on."""

_SHORT: Final = 6.0

ROLLING_SECONDS: Final = 60.0
"""How long callers go on at least in a run in which all processes are replaced."""


class What(StrEnum):
    """What befalls a process or the database."""

    KILL = "kill"
    STOP = "stop"
    DRAIN = "drain"
    CRASH = "crash"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class Fault:
    """At `at` seconds it befalls `who` (worker-1, service-2, database, broker-1), back after `seconds`."""

    at: float
    who: str
    what: What
    seconds: float


Door = Literal["http", "grpc"]


@dataclass(frozen=True, slots=True)
class Follower:
    """Comes `after` seconds, by `door`. Goes after so many events, each time, and comes back elsewhere.

    `leaves`: after the last of them it goes for good.
    """

    after: float
    door: Door
    goes: tuple[int, ...]
    leaves: bool


@dataclass(frozen=True, slots=True)
class Request:
    """One background response. `streamed`: by `stream: true`, whose caller follows from the first event on.

    `repeats`: seconds after which the same request comes again under the same key; `other`: and after which
    another comes under it. `cancel`: seconds after which it is cancelled. `gives_up`: seconds after which its
    caller's first try ends, answer or not.
    """

    name: str
    at: float
    model: str
    words: int
    streamed: bool
    keyed: bool
    repeats: tuple[float, ...]
    other: float | None
    followers: tuple[Follower, ...]
    cancel: float | None
    gives_up: float | None = None

    @property
    def prompt(self) -> str:
        """Its text: unlike any other's; the provider's echo tells in three places which call it is of."""
        half = " ".join(f"{self.name}.{word}" for word in range(self.words // 2))
        return f"{CALLS_ID} {half} {CALLS_ID} {half} {CALLS_ID}"

    @property
    def key(self) -> str | None:
        """Its idempotency key."""
        return f"key-of-{self.name}" if self.keyed else None


@dataclass(frozen=True, slots=True)
class Plan:
    """A run. `seconds`: when the last request and the last fault have begun. `records`: what comes by Kafka."""

    seed: int
    seconds: float
    requests: tuple[Request, ...]
    faults: tuple[Fault, ...]
    records: tuple[RecordRequest, ...] = ()


def plan(seed: int, jobs: int, seconds: float | None = None) -> Plan:
    """The plan of this seed; `seconds`: until the last of it has begun, by default as many as the jobs need."""
    random = Random(seed)
    seconds = seconds or max(14.0, jobs * 0.15)
    requests = [request_of(random, f"job-{seed}-{number}", number, seconds) for number in range(jobs)]
    faults = sorted(
        (fault for fault in _faults(random, seconds) if fault.at < seconds), key=lambda fault: fault.at
    )
    return Plan(seed, seconds, tuple(sorted(requests, key=lambda request: request.at)), tuple(faults))


def rolling_plan(made: Plan) -> Plan:
    """The same requests, and nobody dies: what is replaced leaves in good order."""
    return replace(made, faults=())


def warm_up(seed: int) -> Sequence[Request]:
    """Requests to make before anything befalls anybody."""
    followers = (Follower(0.0, "http", (), leaves=False), Follower(0.0, "grpc", (), leaves=False))
    return [
        Request(f"warm-up-{seed}-{number}", 0.0, "quick", 10, number % 2 == 0, keyed=True, repeats=(), other=None,
                followers=followers, cancel=None)
        for number in range(4 * WORKERS)
    ]  # fmt: skip


def request_of(random: Random, name: str, number: int, seconds: float) -> Request:
    """A request at some time before `seconds`; by its `number` one that the opening of a run needs."""
    keyed = random.random() < 0.5
    if random.random() < 0.55:
        model, words = random.choice(sorted(BUSY)), random.randint(4, 60)
    else:
        # A slow answer outlives a short plan.
        model = random.choice(sorted(CALM) if seconds > _SHORT else ["quick", "steady"])
        words = random.randint(4, 80)
    request = Request(
        name=name,
        at=random.uniform(0.0, seconds),
        model=model,
        words=words,
        streamed=random.random() < 0.5,
        keyed=keyed,
        repeats=tuple(random.uniform(0.0, 8.0) for _ in range(random.choice((0, 1, 2)))) if keyed else (),
        other=random.uniform(0.0, 5.0) if keyed and random.random() < 0.2 else None,
        followers=tuple(_follower(random) for _ in range(random.choice((0, 0, 1, 1, 2)))),
        cancel=random.choice((0.0, random.uniform(0.1, 6.0))) if random.random() < 0.2 else None,
        gives_up=random.uniform(0.001, 0.02) if random.random() < 0.15 else None,
    )
    return _opening(random, number, request)


def _opening(random: Random, number: int, request: Request) -> Request:
    """The request as it is, or as one of those that the opening of the run needs: see `_opening_faults`."""
    match number % 9:
        case 0:
            return _cancelled(random, request, _BLINK - random.uniform(0.1, 0.6))
        case 3 | 5:
            model = f"busy-1-2-{number // 2 % _BUSY_ALIKE}"
            return replace(request, at=_RETURN + random.uniform(0.0, 0.3), model=model, cancel=None)
        case 6:
            return _cancelled(random, request, _BLINK + random.uniform(0.2, 0.6))
        case _:
            return request


def _cancelled(random: Random, request: Request, moment: float) -> Request:
    """A long stream that is cancelled at that moment of the run."""
    at = random.uniform(0.0, 0.4)
    return replace(request, at=at, model="steady", words=80, streamed=True, cancel=moment - at)


def _follower(random: Random) -> Follower:
    goes = tuple(random.randint(1, 20) for _ in range(random.choice((0, 0, 1, 2, 3))))
    after = random.choice((0.0, random.uniform(0.0, 6.0)))
    return Follower(after, random.choice(("http", "grpc")), goes, leaves=bool(goes) and random.random() < 0.15)


def _faults(random: Random, seconds: float) -> Iterator[Fault]:
    workers = random.sample(range(1, WORKERS + 1), WORKERS)
    yield from _opening_faults(random, workers)
    for worker, start in zip(workers, (10.0, 11.0, 5.0), strict=True):
        yield from _worker_faults(random, f"worker-{worker}", start, seconds)
    yield from _service_faults(random, seconds)
    yield from _database_faults(random, seconds)


def _opening_faults(random: Random, workers: Sequence[int]) -> Iterator[Fault]:
    """What shows a fence that has a hole, whatever the seed.

    Streams are cancelled while their workers write; then all workers stop for less than a lease, in which more
    are cancelled. Then two stop for more, while responses of theirs wait to ask a provider again that was busy.
    """
    for worker in workers:
        yield Fault(_BLINK, f"worker-{worker}", What.STOP, _RETURN - _BLINK)
    for at, worker in zip((_RETURN + 0.6, _RETURN + 1.2), workers[:2], strict=True):
        yield Fault(at, f"worker-{worker}", What.STOP, LEASE + random.uniform(2.0, 3.0))


def _worker_faults(random: Random, who: str, at: float, until: float) -> Iterator[Fault]:
    while at < until:
        what = random.choices((What.KILL, What.STOP, What.DRAIN), (4, 5, 1))[0]
        if what is What.STOP:
            away = random.choice((random.uniform(0.3, LEASE - 0.5), LEASE + random.uniform(0.5, 4.0)))
        else:
            away = random.uniform(0.0, 2.0)
        yield Fault(at, who, what, away)
        at += away + random.uniform(4.0, 12.0)


def _service_faults(random: Random, until: float) -> Iterator[Fault]:
    # One at a time: without any service nobody could tell what happens.
    at = random.uniform(3.0, 7.0)
    while at < until:
        yield Fault(at, f"service-{random.randint(1, SERVICES)}", What.KILL, random.uniform(0.0, 2.0))
        at += random.uniform(9.0, 14.0)


def _database_faults(random: Random, until: float) -> Iterator[Fault]:
    at = random.uniform(9.0, 12.0)
    while at < until:
        longest = random.choice((1.0, 1.0, LEASE + 1.0))
        yield Fault(at, "database", random.choice((What.CRASH, What.RESTART)), random.uniform(0.1, longest))
        at += random.uniform(13.0, 18.0)
