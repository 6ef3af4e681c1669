"""What the topics of a run hold in the end. Plain records, no judgement; bytes are text, a character for each.

The intake topics are the truth on what was submitted: a producer that got no answer doesn't know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Json: TypeAlias = Mapping[str, Any]
Place: TypeAlias = tuple[str, int, int]
"""Topic, partition, offset."""
Headers: TypeAlias = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Sent:
    """A record of an intake topic. `job` is the id that its response must have.

    `expected`: `job`, or the reason of the dead letter that it must become. `results`: the topic of its result,
    `correlation` what that must name it by, `protobuf` and `chat` how it must be written. `value` is a digest.
    """

    place: Place
    timestamp: int
    name: str
    job: str
    expected: str
    results: str
    correlation: str
    protobuf: bool
    chat: bool
    key: str | None
    value: str | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Published:
    """A record of a results topic. `value` None: a tombstone; what can't be read is {"unreadable": why}."""

    place: Place
    job: str
    value: Json | None
    headers: Headers

    @property
    def version(self) -> str:
        """With the job's id it tells repeats."""
        return self.header("eurouter-version") or "none"

    def header(self, name: str) -> str | None:
        """Its value; None without it."""
        return dict(self.headers).get(name)


@dataclass(frozen=True, slots=True)
class Letter:
    """A record of the dead letters' topic. `original` is where the record stood; `value` is a digest."""

    place: Place
    original: Place
    reason: str
    key: str | None
    value: str | None
    headers: Headers


@dataclass
class KafkaHistory:
    """All that the topics hold, in order within a partition.

    `unknown`: records whose producer does not know whether they were stored. `unsettled`: rows that still waited
    in the outbox when the time for that was over.
    """

    sent: list[Sent] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    unknown: int = 0
    unsettled: int = 0
