"""An intake on a real database: records in, jobs and dead letters out, judged by the real APIs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from service.api.chat.background import ChatJobs, chat_idempotency_of
from service.api.responses.background import BackgroundResponses
from service.api.responses.follow import Followers
from service.api.responses.idempotency import idempotency_of
from service.api.responses.prepare import Preparer
from service.api.responses.stored import StoredResponses
from service.domain.calls import CallContext, Principal
from service.domain.consuming import Record
from service.domain.dead_letters import DeadLetter
from service.domain.outbox import OutboxKind, OutboxRow
from service.domain.publishing import Message
from service.domain.tracing import Tracer
from service.edge.kafka.acceptance import RecordAcceptance
from service.edge.kafka.dead_letters import read_dead_letter
from service.edge.kafka.judging import JobApi
from service.edge.kafka.records import IntakeRules
from service.edge.kafka.results import OutTopics, Results
from service.router import Router
from tests.support.kafka_acceptance import GROUP
from tests.support.kafka_records import NOW, rules
from tests.support.outbox_worlds import OutboxWorld, outbox_world
from tests.support.upstreams import FakeUpstream, RecordingTelemetry
from tests.support.working import ALPHA, CalmHealth, MovableClock, one_endpoint

MODEL = "vendor/model"
TOPICS = OutTopics("eurouter.jobs.v1", "eurouter.results.v1", "eurouter.dlq.v1")


@dataclass
class IntakeWorld:
    """A database and the acceptance that writes to it. `now` is what the wall clock shows."""

    database: OutboxWorld
    now: float = NOW
    rules: IntakeRules = field(default_factory=rules)
    tracer: Tracer | None = None

    def __post_init__(self) -> None:
        router = Router(FakeUpstream(MovableClock(), {ALPHA: []}), CalmHealth(), RecordingTelemetry())
        catalog, parts = one_endpoint(), self.database.database
        preparer = Preparer(catalog, parts.responses, wall_clock=lambda: self.now, new_id=_no_id)
        self.stored = StoredResponses(parts.responses)
        self.responses = BackgroundResponses(
            preparer, router, self.stored, parts.jobs, parts.keys, cast("Followers", None)
        )
        self.chat = ChatJobs(catalog, router, wall_clock=lambda: self.now, new_id=_no_id)
        self.acceptance = RecordAcceptance(
            lambda: self.rules,
            {
                "responses": JobApi(self.responses.job, idempotency_of),
                "chat": JobApi(self.chat.job, chat_idempotency_of),
            },
            parts.jobs,
            parts.keys,
            parts.outbox,
            group=GROUP,
            clock=time.monotonic,
            wall_clock=lambda: self.now,
            tracer=self.tracer,
        )
        self.results = Results(TOPICS)

    def context(self, owner: str) -> CallContext:
        """A call of this owner's."""
        return CallContext(Principal(owner), "r", time.monotonic() + 60)

    async def rows(self, kind: OutboxKind) -> Sequence[OutboxRow]:
        """What waits in the outbox, of a kind."""
        return [row for row in await self.database.all() if row.record.kind is kind]

    async def letters(self) -> list[DeadLetter]:
        """The dead letters that wait, as whoever reads their topic sees them."""
        found = []
        for row in await self.rows(OutboxKind.DEAD_LETTER):
            letter = read_dead_letter(as_record(self.message(row)))
            assert letter is not None
            found.append(letter)
        return sorted(found, key=lambda letter: letter.original.offset)

    def message(self, row: OutboxRow) -> Message:
        """What is published of a row."""
        message = self.results.render(row, small=False)
        assert message is not None
        return message


def as_record(message: Message) -> Record:
    """A message as it is consumed; brokers' clients write an empty value where there is no key either."""
    value = b"" if message.key is None and message.value is None else message.value
    return Record(message.topic, 0, 0, 0, message.key, value, list(message.headers))


def _no_id() -> Any:
    raise AssertionError("the response of a record has the record's own id")


@asynccontextmanager
async def intake_world(url: str, tracer: Tracer | None = None) -> AsyncIterator[IntakeWorld]:
    """A world on an empty database."""
    async with outbox_world(url) as database:
        yield IntakeWorld(database, tracer=tracer)
