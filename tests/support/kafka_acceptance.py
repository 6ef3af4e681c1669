"""A store in memory that knows jobs by their identity and keeps dead letters, and APIs that answer as told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.api.chat.background import chat_idempotency_of
from service.api.responses.idempotency import idempotency_of
from service.api.responses.submission import Submission
from service.domain.calls import CallContext
from service.domain.errors import Reason, ServiceError, invalid
from service.domain.idempotency import Conflict, Idempotency, Repeated, Running
from service.domain.job_store import Accepted, JobOrigin, NewJob, Unstorable
from service.domain.jobs import JobState
from service.domain.outbox import OutboxRecord
from service.domain.stored import NewResponse, StoreError
from service.edge.kafka import names
from service.edge.kafka.acceptance import RecordAcceptance
from service.edge.kafka.judging import JobApi
from service.edge.kafka.records import IntakeRules
from tests.support.kafka_records import NOW, rules

GROUP = "eurouter.intake.v1"


@dataclass
class FakeApi:
    """Makes a job of every request, or fails as the request's model says."""

    api: Any
    idempotency: Callable[[str, Any], Idempotency]
    failures: dict[str, list[BaseException]] = field(default_factory=dict)
    calls: list[tuple[Any, Submission, CallContext, bool]] = field(default_factory=list)

    async def job(
        self,
        request: Any,
        submission: Submission,
        context: CallContext,
        *,
        streaming: bool,
        response_id: str,
        origin: JobOrigin,
    ) -> NewJob:
        self.calls.append((request, submission, context, streaming))
        failures = self.failures.get(request.model)
        if failures:
            raise failures.pop(0) if len(failures) > 1 else failures[0]
        response = NewResponse(response_id, context.principal.owner, None, "queued", b"body", b"input", 1000.0)
        assert submission.idempotency_key is not None
        key = self.idempotency(submission.idempotency_key, request)
        return NewJob(response, self.api, request.SerializeToString(), (), idempotency=key, origin=origin)


class FakeStore:
    """As much of JobStore, IdempotencyKeys and Outbox as acceptance needs, with their rules about identities.

    `down` makes so many of the next calls fail that its key names; `crash` are ids that no statement survives,
    `unstorable` those that are none to be stored.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, NewJob] = {}
        self.keys: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.letters: list[OutboxRecord] = []
        self.down: dict[str, int] = {}
        self.crash: set[str] = set()
        self.unstorable: set[str] = set()
        self.asked: list[str] = []

    async def accept_many(self, new: Sequence[NewJob]) -> Sequence[Accepted | Repeated | Conflict | Unstorable]:
        self._ask("accept_many")
        if self.crash & {job.response.id for job in new}:
            raise RuntimeError("a value that the driver chokes on")
        return [self._accept(job) for job in new]

    def _accept(self, job: NewJob) -> Accepted | Repeated | Conflict | Unstorable:
        response, key = job.response, job.idempotency
        assert key is not None
        if response.id in self.unstorable:
            return Unstorable()
        if (found := self.keys.get((response.owner, key.key))) is not None:
            digest, known = found
            if digest != key.digest:
                return Conflict(known)
            return Accepted() if known == response.id else Repeated(known)
        if response.id in self.jobs:
            return Conflict(response.id)
        self.jobs[response.id] = job
        self.keys[response.owner, key.key] = (key.digest, response.id)
        return Accepted()

    async def find(
        self, owner: str, idempotency: Idempotency, *, gone: bool = False
    ) -> Repeated | Conflict | Running | None:
        self._ask("find")
        found = self.keys.get((owner, idempotency.key))
        if found is None or (found[1] not in self.jobs and not gone):
            return None
        return Repeated(found[1]) if found[0] == idempotency.digest else Conflict(found[1])

    async def job(self, owner: str, job_id: str) -> tuple[JobState, int, int] | None:
        self._ask("job")
        return (JobState.QUEUED, 0, 0) if job_id in self.jobs else None

    async def add(self, records: Sequence[OutboxRecord]) -> None:
        self._ask("add")
        self.letters += records

    def reasons(self) -> list[str]:
        """Of the letters, in order."""
        return [dict(letter.headers)[names.DLQ_REASON].decode() for letter in self.letters]

    def offsets(self) -> list[int]:
        """Where the letters' records stood, in order."""
        return [int(dict(letter.headers)[names.DLQ_OFFSET]) for letter in self.letters]

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.down.get(what, 0):
            self.down[what] -= 1
            raise StoreError("the database is away")


class Intakes:
    """An acceptance with all that it needs. `now`, `clock` and `complete` may be moved, `rules` replaced."""

    def __init__(self, **changes: Any) -> None:
        self.store = FakeStore()
        self.responses = FakeApi("responses", idempotency_of)
        self.chat = FakeApi("chat", chat_idempotency_of)
        self.now = NOW
        self.clock: Callable[[], float] = lambda: 100.0
        self.complete = True
        self.rules: IntakeRules = rules(**changes)
        self.counted: list[str] = []
        store: Any = self.store
        self.acceptance = RecordAcceptance(
            lambda: self.rules,
            {
                "responses": JobApi(self.responses.job, lambda key, of: self.responses.idempotency(key, of)),
                "chat": JobApi(self.chat.job, lambda key, of: self.chat.idempotency(key, of)),
            },
            store,
            store,
            store,
            group=GROUP,
            clock=lambda: self.clock(),
            wall_clock=lambda: self.now,
            accept_seconds=7.0,
            count=self.counted.append,
            complete=lambda: self.complete,
        )


def no_such_model() -> ServiceError:
    return ServiceError(Reason.MODEL_NOT_FOUND, "no model here has this name: see GET /v1/models")


def wrong_field() -> ServiceError:
    return invalid("temperature", "must be 0 to 2; got 9")


def database_away() -> ServiceError:
    return ServiceError(Reason.STORE_UNAVAILABLE, "responses can't be read now")
