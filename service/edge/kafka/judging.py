"""What one record is: a job to be stored, or refused with a reason. Nothing is stored or looked up here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from service.api.responses.submission import Submission
from service.domain.calls import CallContext
from service.domain.consuming import Record
from service.domain.crash import describe
from service.domain.errors import ServiceError
from service.domain.idempotency import Conflict, Idempotency, Repeated
from service.domain.intake import TryLaterError
from service.domain.job_store import Accepted, JobOrigin, NewJob, Unstorable
from service.domain.stored import StoreError
from service.edge.kafka import names
from service.edge.kafka.batch_lines import Api
from service.edge.kafka.ids import key_of
from service.edge.kafka.origins import origin_of
from service.edge.kafka.record_spans import RecordSpans
from service.edge.kafka.records import IntakeRules, OutdatedRecordError, identified, read_record
from service.edge.kafka.rejections import RejectedRecordError, Rejection, rejection_of

RECORD_CRASHED: Final = "record_crashed"


class MakeJob(Protocol):
    """Judges a request and makes a job of it, which is not stored yet."""

    def __call__(
        self,
        request: Any,
        submission: Submission,
        context: CallContext,
        /,
        *,
        streaming: bool,
        response_id: str,
        origin: JobOrigin,
    ) -> Awaitable[NewJob]:
        """The job.

        Raises:
            ServiceError: the request is wrong or nobody may serve it; or that can't be told now.
        """
        ...


@dataclass(frozen=True, slots=True)
class JobApi:
    """An API whose requests become jobs: `idempotency` of a key and a request is what `job` gives its job."""

    job: MakeJob
    idempotency: Callable[[str, Any], Idempotency]


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that is no job, unless it became one when it was read before."""

    record: Record
    why: RejectedRecordError


@dataclass(frozen=True, slots=True)
class Claim:
    """By what one finds the job that a record became. `own_key`: the key was made of this very record."""

    owner: str
    idempotency: Idempotency
    own_key: bool


class Judge:
    """Judges records by the `apis`, which are all that records may name. The clocks are RecordAcceptance's."""

    def __init__(
        self,
        apis: Mapping[Api, JobApi],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        accept_seconds: float,
    ) -> None:
        self._apis = apis
        self._clock = clock
        self._wall_clock = wall_clock
        self._accept_seconds = accept_seconds

    async def judge(
        self, record: Record, rules: IntakeRules, spans: RecordSpans, vouched_owner: str | None = None
    ) -> NewJob | Refused:
        """The job that a record asks for, or why it is none; `vouched_owner` as for `read_record`.

        A record that can be read begins its span among `spans`.

        Raises:
            TryLaterError: that can't be told now.
        """
        # A fault of ours may be one of the moment: whatever is none has a second try.
        for _ in range(2):
            try:
                return await self._make(record, rules, spans, vouched_owner)
            except TryLaterError:
                raise
            except Exception as error:  # noqa: BLE001  whatever it is, the record's neighbours are not to suffer
                log_crash(record, error)
        return Refused(record, _internal(vouched_owner or rules.identities.bound_owner(record.topic)))

    async def _make(
        self, record: Record, rules: IntakeRules, spans: RecordSpans, vouched_owner: str | None
    ) -> NewJob | Refused:
        try:
            intake = read_record(record, rules, self._wall_clock(), vouched_owner=vouched_owner)
        except RejectedRecordError as why:
            return Refused(record, why)
        context = intake.context(self._clock() + self._accept_seconds)
        try:
            return await self._apis[intake.api].job(
                intake.request,
                intake.submission,
                spans.begin(record, intake.caller, context),
                streaming=intake.stream,
                response_id=intake.response_id,
                origin=origin_of(intake),
            )
        except ServiceError as error:
            rejected = rejection_of(error, intake.principal.owner, intake.path_prefix)
            if rejected is None:
                raise TryLaterError(error.message) from error
            return Refused(record, rejected)
        except StoreError as error:
            raise TryLaterError(str(error)) from error

    def claim(self, record: Record, rules: IntakeRules, vouched_owner: str | None = None) -> Claim | None:
        """What a refused record may be, which is read once more for that; None: that can't be told."""
        try:
            try:
                intake = read_record(record, rules, self._wall_clock(), vouched_owner=vouched_owner)
            except OutdatedRecordError as outdated:
                intake = outdated.intake
            except RejectedRecordError:
                return _claim_of_unreadable(record, rules, vouched_owner)
            key = intake.submission.idempotency_key or ""
            idempotency = self._apis[intake.api].idempotency(key, intake.request)
            return Claim(intake.principal.owner, idempotency, intake.own_key)
        except Exception as error:  # noqa: BLE001  its neighbours are not to suffer
            log_crash(record, error)
            return None


def _claim_of_unreadable(record: Record, rules: IntakeRules, vouched_owner: str | None) -> Claim | None:
    try:
        headers, identity = identified(record, rules, vouched_owner)
    except RejectedRecordError:
        return None
    if names.IDEMPOTENCY_KEY in headers.text or record.unreadable:
        # The key alone doesn't tell whether the job asked for the same.
        return None
    key = key_of(record, identity.signed)
    return Claim(identity.principal.owner, Idempotency(key, b""), own_key=True)


def refusal(
    job: NewJob, outcome: Accepted | Repeated | Conflict | Unstorable | None
) -> RejectedRecordError | None:
    """Why a job that was not stored never will be."""
    owner = job.response.owner
    match outcome:
        case Accepted() | Repeated():
            return None
        case Conflict():
            message = (
                f"{names.IDEMPOTENCY_KEY} or {names.RESPONSE_ID} was used for another request: use a new one for "
                "a new request"
            )
            return RejectedRecordError(Rejection.IDENTITY_CONFLICT, message, owner=owner)
        case Unstorable():
            message = "a text in it can't be stored, such as one with a NUL character: remove that"
            return RejectedRecordError(Rejection.INVALID, message, owner=owner)
        case None:
            return _internal(owner)


def _internal(owner: str) -> RejectedRecordError:
    message = "a fault of ours: tell the operator which record it is, and submit it again when that is mended"
    return RejectedRecordError(Rejection.INTERNAL, message, owner=owner)


def place_of(record: Record) -> dict[str, object]:
    """Log fields that say which record it is."""
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}


def log_crash(record: Record, error: Exception) -> None:
    """Tells of a fault of ours, and nothing of what is in the record."""
    structlog.get_logger().error(RECORD_CRASHED, **place_of(record), **describe(error))
