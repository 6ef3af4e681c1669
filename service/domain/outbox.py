"""What is to be published, kept in the transaction that it tells of, and who carries it out.

The database is an adapter, and so is whoever publishes. Rows are spread over a fixed number of shards by their
key, and one relay at a time owns a shard: rows of one key go out in the order in which they were written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, TypeAlias

from service.domain.jobs import JobState

SHARDS: Final = 16
"""Of every database; a key's shard never changes."""

MOST_COUNTED: Final = 100_000
"""Rows beyond these are not counted: whoever asks, asks often."""

Headers: TypeAlias = Sequence[tuple[str, bytes]]
"""Names and values; a name may come twice."""


class OutboxKind(StrEnum):
    """What a row says."""

    WAKE = "wake"
    """A job waits. A hint: the key alone."""
    RESULT = "result"
    """A job is over. What is published is read when it is sent: content stands in its response only."""
    TOMBSTONE = "tombstone"
    """A job was deleted or expired. It goes where its result went, and no result of it is sent after it."""
    DEAD_LETTER = "dead_letter"
    """A record that came in and was no job, as it came."""
    UNKNOWN = "unknown"
    """Something that a newer version wrote, and will publish. Never written as such."""


@dataclass(frozen=True, slots=True)
class OutboxRecord:
    """What is to be published. Of jobs `key` is the id in UTF-8.

    `topic` None: the usual one of its kind. `version` rises with every state of a job, so that id and version
    together tell repeats. `headers` of a result are the trace of its request, of a dead letter all that it has.
    """

    kind: OutboxKind
    key: bytes | None
    headers: Headers = ()
    value: bytes | None = None
    topic: str | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class FinishedJob:
    """A job that is over, as its result tells of it.

    `attempt` counts its runs that failed or were lost, and the last one. `response` is the body as stored, None
    when it is larger than was asked for. `origin` is JobOrigin's.
    """

    id: str
    owner: str
    api: str
    state: JobState
    epoch: int
    attempt: int
    response: bytes | None
    origin: bytes


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A record that waits, for `age` seconds already.

    `finished` is the job of a result, None when its response is gone: then there is nothing to send.
    """

    id: int
    shard: int
    record: OutboxRecord
    age: float
    finished: FinishedJob | None = None

    @property
    def destination(self) -> str:
        """Rows with the same one go to the same topic; results and their tombstones do."""
        return destination_of(self.record)


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """`depth` is MOST_COUNTED where there are more; `oldest` is the age of the oldest row in seconds, or None."""

    depth: int
    oldest: float | None


@dataclass(frozen=True, slots=True)
class ShardLease:
    """A shard as the store has it; `live`: its owner's lease runs."""

    shard: int
    owner: str | None
    epoch: int
    live: bool


@dataclass(frozen=True, slots=True)
class Shares:
    """What a relay does with shards: those it keeps, takes from nobody, and gives up for others to take."""

    keep: Sequence[int]
    take: Sequence[int]
    leave: Sequence[int]


class Outbox(Protocol):
    """Rows that wait, for relays. Every method is one transaction and may raise StoreError.

    `held` maps shards to epochs, as `hold` gave them; one that another relay has taken since has another epoch.
    """

    async def add(self, records: Sequence[OutboxRecord]) -> None:
        """Stores records; they survive this process when this returns."""
        ...

    async def hold(self, relay: str, lease: float) -> Mapping[int, int]:
        """Renews the leases of this relay for so many seconds and takes or leaves shards until each has its share.

        All shards that it has now, with their epochs. Call it several times within a lease. A relay counts as
        long as a lease after its last call.
        """
        ...

    async def leave(self, relay: str) -> None:
        """Gives all shards of this relay to others."""
        ...

    async def pending(
        self,
        held: Mapping[int, int],
        limit: int,
        *,
        most_bytes: int,
        most_body: int,
        without: Iterable[int] = (),
        resting: Iterable[str] = (),
    ) -> Sequence[OutboxRow]:
        """The oldest rows of these shards, oldest first: `limit` at most and about `most_bytes`, at least one.

        Without these ids and destinations. Responses above `most_body` bytes are left out of their rows.
        """
        ...

    async def sent(self, rows: Sequence[OutboxRow], held: Mapping[int, int]) -> frozenset[int]:
        """Deletes rows that were published; the shards of them that are another's now, whose rows stay."""
        ...

    async def again(self, rows: Sequence[OutboxRow]) -> None:
        """Has the newest state of these rows' jobs sent once more, by whoever owns their shards now.

        For what may have been published too late, after its shard was another's. Rows of no result change nothing.
        """
        ...

    async def stats(self) -> OutboxStats:
        """How many rows wait, in all shards, and for how long."""
        ...


def shard_of(key: bytes) -> int:
    """The shard of a key: the first byte of its SHA-256, modulo their number."""
    return hashlib.sha256(key).digest()[0] % SHARDS


def destination_of(record: OutboxRecord) -> str:
    """As OutboxRow's."""
    kind = OutboxKind.RESULT if record.kind is OutboxKind.TOMBSTONE else record.kind
    return f"{kind.value}:{record.topic or ''}"


def share_out(shards: Sequence[ShardLease], relay: str, relays: int) -> Shares:
    """What `relay`, one of so many, does so that each comes to its share. Never touches what another holds.

    One that has more than its share leaves the rest, and others find them free at their next turn.
    """
    share = -(-len(shards) // max(1, relays))
    mine = [one.shard for one in shards if one.live and one.owner == relay]
    free = [one.shard for one in shards if not one.live]
    return Shares(mine[:share], free[: max(0, share - len(mine))], mine[share:])
