"""Records become jobs, or dead letters with a reason: one or the other, and it is stored when `accept` returns.

A record may be read again after it was stored. Its identity makes it the job that it is; where it would be refused
by now, because its time is over, its model is gone or the settings are others, it is looked up before it becomes a
dead letter, as far as its identity can be told. What is done about a database that is away is the caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from service.domain.consuming import Record
from service.domain.dead_letters import Redriven
from service.domain.idempotency import Conflict, Idempotency, IdempotencyKeys, Repeated, Running
from service.domain.intake import BatchOutcome, TryLaterError
from service.domain.job_store import Accepted, JobStore, NewJob, Unstorable
from service.domain.outbox import Outbox
from service.domain.stored import StoreError
from service.domain.tracing import Tracer
from service.edge.kafka import names
from service.edge.kafka.batch_lines import Api
from service.edge.kafka.dead_letters import MOST_BYTES, dead_letter
from service.edge.kafka.judging import JobApi, Judge, Refused, log_crash, place_of, refusal
from service.edge.kafka.record_spans import RecordSpans
from service.edge.kafka.records import IntakeRules
from service.edge.kafka.rejections import RejectedRecordError, Rejection

RECORD_REJECTED: Final = "record_rejected"

_LONGEST: Final = 0.01
_LARGE: Final = 64 * 1024
"""For so many seconds records are judged before others of this process have their turn; after one whose value has
more bytes than this they have it in any case."""

_MOST_WAIT: Final = 300.0
"""Seconds from the start of a process for which a model that nobody knows may be one of a server that did not say
yet which it has."""

_MOST_LATER: Final = 3
"""Records that meet a failing database before the rest of a batch is not tried any more."""


class RecordAcceptance:
    """An Acceptance, and a Redrive. One per process; `apis` are all that records may name.

    `group` is the one that reads the records. `clock` is that of deadlines, `wall_clock` gives Unix seconds. A
    letter of more than `most_bytes` goes without its value. `count` is told the reason of every dead letter.
    `complete`: whether the catalogue knows the models of all servers that are asked for theirs. With a `tracer`
    records have spans.
    """

    def __init__(
        self,
        rules: Callable[[], IntakeRules],
        apis: Mapping[Api, JobApi],
        jobs: JobStore,
        keys: IdempotencyKeys,
        outbox: Outbox,
        *,
        group: str,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        accept_seconds: float = 10.0,
        most_bytes: int = MOST_BYTES,
        count: Callable[[str], object] = lambda _reason: None,
        complete: Callable[[], bool] = lambda: True,
        tracer: Tracer | None = None,
    ) -> None:
        self._rules = rules
        self._judge = Judge(apis, clock, wall_clock, accept_seconds)
        self._jobs = jobs
        self._keys = keys
        self._outbox = outbox
        self._group = group
        self._most_bytes = most_bytes
        self._count = count
        self._clock = clock
        self._complete = complete
        self._tracer = tracer
        self._began = clock()

    async def accept(self, records: Sequence[Record]) -> BatchOutcome:
        """Jobs first, then dead letters: what is tried again later makes no letter twice.

        Raises:
            TryLaterError: some of them could not be judged or stored; all may be handed in again.
        """
        spans = RecordSpans(self._tracer, self._group)
        try:
            return await self._accept(records, spans)
        finally:
            spans.close()

    async def _accept(self, records: Sequence[Record], spans: RecordSpans) -> BatchOutcome:
        rules = self._rules()
        new, refused, whole = await self._judge_all(records, rules, spans)
        accepted = repeated = 0
        for (record, job), outcome in zip(new, await self._store(new), strict=True):
            accepted += isinstance(outcome, Accepted)
            repeated += isinstance(outcome, Repeated)
            if isinstance(outcome, Accepted | Repeated):
                spans.accepted(record, job.response.id, repeated=isinstance(outcome, Repeated))
            if (why := refusal(job, outcome)) is not None:
                refused.append(Refused(record, why))
        if not whole:
            raise TryLaterError("the database is away")
        dead, later, turns = [], [], _Turns(self._clock)
        for one in refused:
            if (known := await self._job_of(one.record, rules)) is not None:
                repeated += 1
                spans.accepted(one.record, known, repeated=True)
            elif self._may_be_served_soon(one):
                later.append(one.record)
            else:
                dead.append(one)
            await turns.after(one.record)
        await self._bury(dead)
        for one in dead:
            spans.rejected(one.record, one.why.reason.value)
        return BatchOutcome(accepted, repeated, len(dead), tuple(later))

    async def redrive(self, record: Record, owner: str) -> Redriven:
        """Submits a record again, as it came, in the name of an owner that an operator vouches for.

        Raises:
            TryLaterError: the database is away.
        """
        rules = self._rules()
        # No span: the operator's own call has one.
        judged = await self._judge.judge(record, rules, RecordSpans(None, self._group), owner)
        if isinstance(judged, Refused):
            known = await self._job_of(record, rules, owner)
            return _told(judged.why) if known is None else Redriven(known, repeated=True)
        if judged.idempotency is not None:
            before = await self._find(owner, judged.idempotency)
            if isinstance(before, Repeated):
                return Redriven(before.response_id, repeated=True)
        (outcome,) = await self._store([(record, judged)])
        if (why := refusal(judged, outcome)) is not None:
            known = await self._job_of(record, rules, owner)
            return _told(why) if known is None else Redriven(known, repeated=True)
        if isinstance(outcome, Repeated):
            return Redriven(outcome.response_id, repeated=True)
        # The key of one that was deleted is kept, and nothing is made under it.
        return Redriven(judged.response.id, repeated=not await self._is_there(owner, judged.response.id))

    async def _judge_all(
        self, records: Sequence[Record], rules: IntakeRules, spans: RecordSpans
    ) -> tuple[list[tuple[Record, NewJob]], list[Refused], bool]:
        """Jobs to store, records that are none, and whether these are all."""
        turns = _Turns(self._clock)
        new: list[tuple[Record, NewJob]] = []
        refused: list[Refused] = []
        later = 0
        for record in records:
            try:
                judged = await self._judge.judge(record, rules, spans)
            except TryLaterError:
                later += 1
                if later == _MOST_LATER:
                    break
                continue
            if isinstance(judged, Refused):
                refused.append(judged)
            else:
                new.append((record, judged))
            await turns.after(record)
        return new, refused, not later

    async def _store(
        self, new: Sequence[tuple[Record, NewJob]]
    ) -> Sequence[Accepted | Repeated | Conflict | Unstorable | None]:
        """What became of each; None where a fault of ours is in the way of it alone."""
        if not new:
            return ()
        try:
            return await self._jobs.accept_many([job for _, job in new])
        except StoreError as error:
            raise TryLaterError(str(error)) from error
        except Exception as error:  # noqa: BLE001  each has its second try alone
            log_crash(new[0][0], error)
        return [await self._store_alone(record, job) for record, job in new]

    async def _store_alone(
        self, record: Record, job: NewJob
    ) -> Accepted | Repeated | Conflict | Unstorable | None:
        try:
            (outcome,) = await self._jobs.accept_many([job])
        except StoreError as error:
            raise TryLaterError(str(error)) from error
        except Exception as error:  # noqa: BLE001  whatever it is, its neighbours are not to suffer
            log_crash(record, error)
            return None
        return outcome

    async def _job_of(self, record: Record, rules: IntakeRules, vouched_owner: str | None = None) -> str | None:
        """The response that a refused record has become already; None: it has not."""
        claim = self._judge.claim(record, rules, vouched_owner)
        if claim is None:
            return None
        match await self._find(claim.owner, claim.idempotency, gone=True):
            case Repeated(response_id):
                return response_id
            case Conflict(response_id):
                # A key that was made of the record is no other's, whatever can be told of the request by now.
                return response_id if claim.own_key else None
            case _:
                return None

    def _may_be_served_soon(self, refused: Refused) -> bool:
        """Whether a record is refused only as servers did not say yet which models they have."""
        if refused.why.reason is not Rejection.UNKNOWN_MODEL or self._complete():
            return False
        return self._clock() - self._began < _MOST_WAIT

    async def _find(
        self, owner: str, idempotency: Idempotency, *, gone: bool = False
    ) -> Repeated | Conflict | Running | None:
        try:
            return await self._keys.find(owner, idempotency, gone=gone)
        except StoreError as error:
            raise TryLaterError(str(error)) from error

    async def _is_there(self, owner: str, response_id: str) -> bool:
        try:
            return await self._jobs.job(owner, response_id) is not None
        except StoreError as error:
            raise TryLaterError(str(error)) from error

    async def _bury(self, dead: Sequence[Refused]) -> None:
        """Dead letters, stored."""
        if not dead:
            return
        letters, turns = [], _Turns(self._clock)
        for one in dead:
            letters.append(dead_letter(one.record, one.why, self._group, self._most_bytes))
            await turns.after(one.record)
        try:
            await self._outbox.add(letters)
        except StoreError as error:
            raise TryLaterError(str(error)) from error
        alike: dict[tuple[str, str], list[Record]] = {}
        for one in dead:
            reason = one.why.reason.value
            self._count(reason)
            alike.setdefault((reason, one.record.topic), []).append(one.record)
        # A line for each would fill the log: each says where it stood in its letter.
        for (reason, _), records in alike.items():
            place = place_of(records[0])
            structlog.get_logger().warning(RECORD_REJECTED, reason=reason, records=len(records), **place)


class _Turns:
    """Gives others of this process their turn while records are judged."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = clock()

    async def after(self, record: Record) -> None:
        """To be waited for after each record."""
        if len(record.value or b"") > _LARGE or self._clock() - self._since > _LONGEST:
            await asyncio.sleep(0)
            self._since = self._clock()


def _told(why: RejectedRecordError) -> Redriven:
    message = why.message
    if why.reason is Rejection.EXPIRED:
        message = (
            f"{names.EXPIRES_AT} has passed, and a record is submitted again as it came: whoever sent it has to "
            "send it with a later one"
        )
    return Redriven(reason=why.reason.value, message=message)
