"""What comes by Kafka in a run, and what befalls its brokers. Seeded, pure; the rest of the plan: `schedule`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from tests.chaos.record_requests import Flaw, Form, RecordRequest
from tests.chaos.schedule import LEASE, WORKERS, Fault, Follower, Plan, Request, What, plan, request_of

MAX_BROKERS: Final = 3

_PER_JOB: Final = 0.2
"""Seconds: the processes share the machine with a broker."""
_LEAST: Final = 16.0
_CALM: Final = 4.0
"""Seconds between one broker's return and the next one's fault."""
_DELETED_SOON: Final = 12
_FLAWED: Final = 0.1
_OPENING: Final = 4.0
_LONG_RUN: Final = 40.0
_LONG: Final = 17.0
"""Seconds: longer than a relay's lease, so that others publish what it read."""
_PLAIN: Final = (Form.JSON, Form.BARE, Form.LINE, Form.PROTOBUF, Form.FRAMED)


def plan_with_kafka(seed: int, jobs: int, brokers: int = 1, seconds: float | None = None) -> Plan:
    """The plan of this seed with half of its jobs by Kafka, and some records more that are none.

    The other half, and what befalls services, workers and the database, are those of `plan`.
    """
    seconds = seconds or max(_LEAST, jobs * _PER_JOB)
    made = plan(seed, jobs // 2, seconds)
    random = Random(f"kafka {seed}")
    count = jobs - jobs // 2
    good = [_record(random, seed, number, seconds) for number in range(count)]
    flawed = [_flawed(random, record) for record in good[: max(len(Flaw), int(count * _FLAWED))]]
    records = sorted([*good, *flawed], key=lambda record: record.request.at)
    faults = [fault for fault in _faults(random, brokers, seconds) if fault.at < seconds]
    others = _with_kill(made.faults)
    faults += others if seconds < _LONG_RUN else _with_long_stop(random, others, seconds)
    return replace(made, records=tuple(records), faults=tuple(sorted(faults, key=lambda fault: fault.at)))


def warm_up_records(seed: int) -> Sequence[RecordRequest]:
    """Records to send before anything befalls anybody: one of each form."""
    random = Random(f"warm {seed}")
    return [
        RecordRequest(
            replace(
                _plain(request_of(random, f"warm-record-{seed}-{form}", 1, 0.0)),
                model="quick",
                words=10,
                keyed=True,
                repeats=(),
                followers=(Follower(0.0, "http", (), leaves=False),),
            ),
            form=form,
            signed=form is Form.PROTOBUF,
        )
        for form in _PLAIN
    ]


def _plain(request: Request) -> Request:
    return replace(request, followers=(), cancel=None, other=None, gives_up=None)


def _record(random: Random, seed: int, number: int, seconds: float) -> RecordRequest:
    request = request_of(random, f"record-{seed}-{number}", 1, seconds)
    delete = random.uniform(0.0, 3.0) if random.random() < 0.15 else None
    soon = number % _DELETED_SOON == 0
    if soon:
        # Its result is under way when its tombstone is written.
        request, delete = replace(request, model="quick", words=10), random.uniform(0.0, 0.8)
    if delete is not None:
        # Who follows or cancels what is deleted sees whatever the moment gives.
        request = replace(request, followers=(), cancel=None)
    return RecordRequest(
        request=request,
        api=random.choice(("responses", "responses", "chat")),
        form=random.choice(_PLAIN),
        chosen=random.random() < 0.3,
        # One that can't be asked for again has no identity that a copy could have.
        signed=request.keyed and random.random() < 0.25,
        reply=random.random() < 0.15,
        delete=delete,
        when_over=random.random() < 0.5 or soon,
    )


def _flawed(random: Random, like: RecordRequest) -> RecordRequest:
    """One that resembles a good record and is none. Each flaw comes in its turn."""
    number = int(like.request.name.rpartition("-")[2])
    flaw = list(Flaw)[number % len(Flaw)]
    request = replace(_plain(like.request), name=f"flawed-{like.request.name}", repeats=())
    json_only = flaw in (Flaw.FIELD, Flaw.LARGE)
    return replace(
        like,
        request=request,
        form=random.choice((Form.JSON, Form.LINE)) if json_only else random.choice((Form.JSON, Form.PROTOBUF)),
        flaw=flaw,
        signed=flaw in (Flaw.UNSIGNED, Flaw.FORGED),
        delete=None,
    )


def _with_kill(faults: Sequence[Fault]) -> list[Fault]:
    """The worker that did not stop for long at the beginning, and so reads most records, is killed first."""
    stopped = {
        fault.who for fault in faults if fault.what is What.STOP and fault.seconds > LEASE and fault.at < _OPENING
    }
    first = next(
        fault
        for fault in faults
        if fault.who.startswith("worker") and fault.who not in stopped and fault.seconds and fault.at >= _OPENING
    )
    return [replace(fault, what=What.KILL, seconds=1.0) if fault is first else fault for fault in faults]


def _with_long_stop(random: Random, faults: Sequence[Fault], seconds: float) -> list[Fault]:
    """One worker stops for so long that all that it holds is others'; nothing else befalls it meanwhile."""
    stop = Fault(random.uniform(0.3, 0.5) * seconds, f"worker-{random.randint(1, WORKERS)}", What.STOP, _LONG)
    kept = [
        fault
        for fault in faults
        if fault.who != stop.who
        or fault.at + fault.seconds + _CALM < stop.at
        or fault.at > stop.at + stop.seconds + _CALM
    ]
    return [*kept, stop]


def _faults(random: Random, brokers: int, until: float) -> Iterator[Fault]:
    """One broker after another: nothing befalls one while another is away."""
    at = random.uniform(5.0, 8.0)
    while at < until:
        who = f"broker-{random.randint(1, brokers)}"
        what = random.choices((What.KILL, What.RESTART, What.STOP), (3, 2, 3))[0]
        away = random.uniform(2.0, 8.0) if what is What.STOP else random.uniform(0.0, 3.0)
        yield Fault(at, who, what, away)
        at += away + _CALM + random.uniform(5.0, 10.0)
