"""Jobs as a whole for every door: lists, statistics, and the cancel of many. Single jobs are their API's business.

Callers see their owner's jobs, admin keys everybody's.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Final, TypeAlias

import orjson
import structlog
from eurouter.v1 import jobs_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from service.api.problems import Problems
from service.api.responses.submission import MAX_GROUP
from service.domain.calls import CallContext, Principal
from service.domain.errors import Reason, ServiceError, Violation, invalid
from service.domain.job_queries import JobFilter, JobPlace, JobQueries, ListedJob, PriorityStats
from service.domain.job_store import Priority
from service.domain.jobs import TERMINAL, JobState
from service.domain.stored import RETRY_STORE_SECONDS, StoreError

_DEFAULT_PAGE: Final = 50
_MAX_PAGE: Final = 1000
_BATCH: Final = 1000
_MAX_OWNER: Final = 255
_LAST_SECOND: Final = 253402300799.0
"""Of the year 9999: no later time can be told, and none of a token is later."""

_STORE_FAILED: Final = "store_failed"
_STATES: Final[dict[int, JobState]] = {pb.JobState.Value(f"JOB_STATE_{state.name}"): state for state in JobState}
_STATE_NUMBERS: Final[dict[JobState, pb.JobState.ValueType]] = {
    state: pb.JobState.Value(f"JOB_STATE_{state.name}") for state in JobState
}
_PRIORITIES: Final[dict[Priority, pb.JobPriority.ValueType]] = {
    priority: pb.JobPriority.Value(f"JOB_PRIORITY_{priority.name}") for priority in Priority
}

_Filtered: TypeAlias = pb.ListJobsRequest | pb.CancelJobsRequest


class JobsHandler:
    """Over the store's queries. `clock` is the router's, in seconds."""

    def __init__(self, jobs: JobQueries, *, clock: Callable[[], float]) -> None:
        self._jobs = jobs
        self._clock = clock

    async def list_jobs(self, request: pb.ListJobsRequest, context: CallContext) -> pb.ListJobsResponse:
        """A page of jobs.

        Raises:
            ServiceError: INVALID_REQUEST, PERMISSION_DENIED for another's jobs, STORE_UNAVAILABLE.
        """
        which = _filter_of(request, context.principal)
        if not 0 <= request.page_size <= _MAX_PAGE:
            raise invalid(
                "page_size", f"must be 1 to {_MAX_PAGE}, or 0 for {_DEFAULT_PAGE}; got {request.page_size}"
            )
        size = request.page_size or _DEFAULT_PAGE
        after = _read_token(request.page_token, which) if request.page_token else None
        try:
            found = await self._jobs.list_jobs(which, size + 1, after)
            counted = JobFilter(which.owner, which.group)
            counts = await self._jobs.count_jobs(counted) if request.with_counts else {}
        except StoreError as error:
            raise _unavailable(error) from error
        page = pb.ListJobsResponse(jobs=map(_job, found[:size]))
        page.counts.extend(
            pb.JobCount(state=_STATE_NUMBERS[state], count=counts[state]) for state in JobState if counts
        )
        if len(found) > size:
            page.next_page_token = _make_token(found[size - 1].place, which)
        return page

    async def cancel_jobs(self, request: pb.CancelJobsRequest, context: CallContext) -> pb.CancelJobsResponse:
        """Cancels all jobs that pass and were accepted before the call.

        Raises:
            ServiceError: INVALID_REQUEST, PERMISSION_DENIED, and STORE_UNAVAILABLE or DEADLINE_EXCEEDED when some
                are left.
        """
        which = _filter_of(request, context.principal)
        _check_cancel(request, which)
        cancelled = 0
        try:
            # A moment on the store's clock: an age would count from when a statement gets its connection, and take
            # what is accepted until then.
            begin = await self._jobs.now()
            while self._clock() < context.deadline:
                ids = await self._jobs.cancel_where(which, _BATCH, begin)
                if not ids:
                    return pb.CancelJobsResponse(cancelled_count=cancelled)
                cancelled += len(ids)
        except StoreError as error:
            more = f"; {cancelled} jobs were cancelled before: send it again for the rest"
            raise _unavailable(error, more) from error
        message = f"the deadline passed when {cancelled} jobs were cancelled: send it again for the rest"
        raise ServiceError(Reason.DEADLINE_EXCEEDED, message)

    async def queue_stats(self, request: pb.GetQueueStatsRequest, context: CallContext) -> pb.QueueStats:
        """How many wait and run.

        Raises:
            ServiceError: INVALID_REQUEST, PERMISSION_DENIED, STORE_UNAVAILABLE.
        """
        problems = Problems()
        problems.unknown_fields(request, "")
        problems.raise_if_any()
        owner = _owner_of(request, context.principal)
        try:
            stats = await self._jobs.queue_stats(owner)
        except StoreError as error:
            raise _unavailable(error) from error
        answer = pb.QueueStats(
            priorities=[_stats(priority, stats[priority]) for priority in Priority],
            runnable=sum(each.runnable for each in stats.values()),
            waiting=sum(each.waiting for each in stats.values()),
            in_progress=sum(each.in_progress for each in stats.values()),
        )
        ages = [each.oldest_runnable for each in stats.values() if each.oldest_runnable is not None]
        if ages:
            answer.oldest_runnable_age.FromNanoseconds(_nanos(max(ages)))
        return answer


def _owner_of(request: _Filtered | pb.GetQueueStatsRequest, principal: Principal) -> str | None:
    """Whose jobs are meant; None: everybody's."""
    if not request.HasField("owner"):
        return None if principal.admin else principal.owner
    owner = request.owner
    if not (1 <= len(owner) <= _MAX_OWNER and owner.isprintable()):
        raise invalid("owner", f"must be an owner's name of 1 to {_MAX_OWNER} characters, or left out")
    if owner != principal.owner and not principal.admin:
        why = "is another owner than this key's: leave it out, or use an admin key"
        raise ServiceError(Reason.PERMISSION_DENIED, f"owner: {why}", violations=(Violation("owner", why),))
    return owner


def _filter_of(request: _Filtered, principal: Principal) -> JobFilter:
    problems = Problems()
    problems.unknown_fields(request, "")
    for place, number in enumerate(request.states):
        if number not in _STATES:
            known = ", ".join(state.value for state in JobState)
            problems.add(f"states[{place}]", f"must be one of {known}")
    group = request.group if request.HasField("group") else None
    if group is not None and not (1 <= len(group) <= MAX_GROUP and group.isprintable()):
        problems.add("group", f"must be 1 to {MAX_GROUP} characters, or left out")
    problems.raise_if_any()
    owner = _owner_of(request, principal)
    return JobFilter(owner, group, frozenset(_STATES[number] for number in request.states))


def _check_cancel(request: pb.CancelJobsRequest, which: JobFilter) -> None:
    for place, number in enumerate(request.states):
        if _STATES[number] in TERMINAL:
            raise invalid(
                f"states[{place}]", "a job that is over can't be cancelled: use queued, in_progress or both"
            )
    named = bool(which.states) or which.group is not None
    if request.all and named:
        raise invalid("all", "says the opposite of states and group: leave it out, or leave them out")
    if not request.all and not named:
        raise invalid("all", "must be true to cancel every job; or say which by states or group")


def _job(job: ListedJob) -> pb.Job:
    return pb.Job(
        id=job.id,
        owner=job.owner,
        api=job.api,
        state=_STATE_NUMBERS[job.state],
        priority=_PRIORITIES[job.priority],
        group=job.group,
        create_time=_time(job.created_at),
        not_before_time=_time(job.not_before),
        expire_time=None if job.start_before is None else _time(job.start_before),
        # The epoch rises with every claim, and once more with a cancel, which is no attempt. A job that may only
        # end now and is handed back rises as well: that counts as one.
        attempts=job.epoch - (job.state is JobState.CANCELLED),
        failed_attempts=job.failed_attempts,
        losses=job.losses,
        events=job.events,
    )


def _stats(priority: Priority, stats: PriorityStats) -> pb.PriorityStats:
    shown = pb.PriorityStats(
        priority=_PRIORITIES[priority],
        runnable=stats.runnable,
        waiting=stats.waiting,
        in_progress=stats.in_progress,
    )
    if stats.oldest_runnable is not None:
        shown.oldest_runnable_age.FromNanoseconds(_nanos(stats.oldest_runnable))
    return shown


def _nanos(seconds: float) -> int:
    """Whole milliseconds: nobody waits more exactly."""
    return round(max(0.0, seconds) * 1e3) * 1_000_000


def _time(seconds: float) -> Timestamp:
    """The nearest that can be told: some jobs were accepted for times after the calendar's end."""
    shown = Timestamp()
    shown.FromMicroseconds(round(min(max(0.0, seconds), _LAST_SECOND) * 1e6))
    return shown


def _digest(which: JobFilter) -> str:
    filters = [which.owner, which.group, sorted(which.states)]
    return hashlib.sha256(orjson.dumps(filters)).hexdigest()[:16]


def _make_token(place: JobPlace, which: JobFilter) -> str:
    values = [_digest(which), place.owner, place.created_at, place.id]
    return base64.urlsafe_b64encode(orjson.dumps(values)).decode()


def _read_token(token: str, which: JobFilter) -> JobPlace:
    try:
        value = orjson.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
    except ValueError:
        value = None
    match value:
        case [str(digest), str(owner), float(at), str(job_id)] if _may_be_place(owner, at, job_id):
            if digest != _digest(which) or which.owner not in (None, owner):
                raise invalid("page_token", "belongs to other filters: send those of the page before")
            return JobPlace(owner, at, job_id)
        case _:
            raise invalid("page_token", "must be the next_page_token of the page before, or empty")


def _may_be_place(owner: str, at: float, job_id: str) -> bool:
    return 0.0 <= at <= _LAST_SECOND and owner.isprintable() and job_id.isprintable()


def _unavailable(error: StoreError, more: str = "") -> ServiceError:
    structlog.get_logger().warning(_STORE_FAILED, error=str(error))
    why = "jobs can't be read or moved now: the database failed, and the service's log says why"
    return ServiceError(Reason.STORE_UNAVAILABLE, why + more, retry_after=RETRY_STORE_SECONDS)
