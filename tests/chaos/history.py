"""What outsiders saw of a run: answers, event logs, the provider's journal. Plain records, no judgement.

All times are seconds on the machine's monotonic clock, which callers and provider share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from tests.chaos.kafka_history import KafkaHistory

Json: TypeAlias = Mapping[str, Any]

TERMINAL_STATUS: Final = frozenset({"completed", "incomplete", "failed", "cancelled"})
TERMINAL_EVENTS: Final = frozenset({f"response.{status}" for status in TERMINAL_STATUS})
CALLS_ID: Final = "{x-request-id}"
"""What a request's text has in the places where the provider's echo names the call."""

FOREGROUND: Final = "foreground "
"""What the text of a call begins with whose caller waits for its answer."""


@dataclass
class Submission:
    """One request of a caller. `ids` are the responses that its tries were answered with, in order.

    `prompt` is unlike any other's, so that calls that carry it can be told. `key`: the idempotency key that all
    tries had.
    """

    name: str
    prompt: str
    key: str | None = None
    streamed: bool = False
    ids: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Segment:
    """What one connection showed of a response's events, asked for from the one after number `after` on.

    `over`: the stream ended by itself and well, after its last event.
    """

    replica: str
    after: int
    events: Sequence[Json]
    over: bool


@dataclass
class Follow:
    """A follower of one response, over all its connections. `left`: it went away for good before the end."""

    job: str
    segments: list[Segment] = field(default_factory=list)
    left: bool = False

    @property
    def last(self) -> int:
        """The number of the last event that it saw; -1 before the first."""
        seen = [segment.events[-1] for segment in self.segments if segment.events]
        return int(seen[-1]["sequence_number"]) if seen else -1


@dataclass(frozen=True, slots=True)
class Told:
    """Somebody was told at `at` that the response is over, with this `status`. `how`: cancel, read or delete.

    With `status` "deleted" there is no such response any more.
    """

    job: str
    at: float
    status: str
    how: str


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the provider's journal has it, by the process `process`. `closed` None: it never was.

    `whole`: the answer went out to its end.
    """

    job: str
    epoch: int
    process: str
    prompt: str
    began: float
    closed: float | None
    whole: bool


@dataclass(frozen=True, slots=True)
class Span:
    """Something was so from `begin` to `end`: a process was stopped, the database away."""

    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Ending:
    """A response as one replica has it in the end: the object (None: there is none) and all events."""

    replica: str
    response: Json | None
    events: Sequence[Json]


@dataclass
class History:
    """A whole run, over at `end`. `pauses` are by process, `outages` the database's, `endings` by response.

    `ended`: processes that ended though nobody wanted it, or not as they should, and how. `complaints`: answers
    that a caller may not get, by response or request. `lateness`: by how many seconds the machine woke who watched
    too late, at worst; what is timed may be as late. `deleted`: responses that somebody was told are deleted.
    `unanswered`: calls whose callers waited and got no answer or not the right one, and what they got.
    `kafka`: what its topics hold, None in a run without it.
    """

    submissions: list[Submission] = field(default_factory=list)
    follows: list[Follow] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    pauses: dict[str, list[Span]] = field(default_factory=dict)
    outages: list[Span] = field(default_factory=list)
    endings: dict[str, list[Ending]] = field(default_factory=dict)
    ended: list[tuple[str, str]] = field(default_factory=list)
    complaints: list[tuple[str, str]] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)
    unanswered: list[tuple[str, str]] = field(default_factory=list)
    kafka: KafkaHistory | None = None
    lateness: float = 0.0
    end: float = 0.0

    def jobs(self) -> list[str]:
        """Every response that somebody heard of: a caller by an answer or a record, or the provider by a call."""
        heard = [job for submission in self.submissions for job in submission.ids]
        return list(dict.fromkeys([*heard, *(call.job for call in self.calls)]))
