"""Background responses: accepted as jobs, followed, cancelled. Workers make them; see workers/.

Nothing is asked of a provider here. A response is accepted when it is stored, and then it reaches an end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from eurouter.v1 import response_events_pb2 as events_pb
from eurouter.v1 import response_object_pb2 as object_pb
from eurouter.v1 import responses_pb2 as pb

from service.api.responses.follow import Follower, Followers, GoneError
from service.api.responses.history import response_of, unavailable
from service.api.responses.idempotency import idempotency_of, made_before
from service.api.responses.include import ENCRYPTED
from service.api.responses.new_jobs import AcceptedRequest, NewJobs, wanted_model
from service.api.responses.prepare import Preparer
from service.api.responses.stored import StoredResponses, as_it_is, not_background
from service.api.responses.submission import Submission
from service.api.responses.writer import ResponseWriter, shown
from service.domain.calls import CallContext, permitted
from service.domain.errors import Reason, ServiceError, invalid
from service.domain.idempotency import Idempotency, IdempotencyKeys, Repeated
from service.domain.job_store import Accepted, JobOrigin, JobStore, LoggedEvent, NewJob
from service.domain.jobs import TERMINAL
from service.domain.stored import StoredResponse, StoreError
from service.router import Router

Events = Sequence[events_pb.ResponseStreamEvent]

_CANCEL_TRIES: Final = 20
_ACCEPT_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Submitted:
    """A background response as its caller sees it; `repeated`: the same request came before, under its key."""

    response: object_pb.Response
    repeated: bool = False


class BackgroundResponses:
    """The owner's background responses. One per process.

    `restart_on_loss` and `results_topic` are NewJobs'; a topic needs a store that has results published.
    """

    def __init__(
        self,
        preparer: Preparer,
        router: Router,
        stored: StoredResponses,
        jobs: JobStore,
        keys: IdempotencyKeys,
        followers: Followers,
        *,
        restart_on_loss: Callable[[str], bool] = lambda _owner: True,
        results_topic: Callable[[str], str | None] = lambda _owner: None,
    ) -> None:
        self._preparer = preparer
        self._new_jobs = NewJobs(router, restart_on_loss, results_topic)
        self._stored = stored
        self._jobs = jobs
        self._keys = keys
        self._followers = followers

    async def job(
        self,
        request: pb.CreateResponseRequest,
        submission: Submission,
        context: CallContext,
        *,
        streaming: bool,
        response_id: str | None = None,
        origin: JobOrigin | None = None,
    ) -> NewJob:
        """The job that a request is, which says `background`; nothing is stored.

        `response_id`: its response has this one, not one of ours.

        Raises:
            ServiceError: the request is wrong, nobody may serve it, or STORE_UNAVAILABLE when what it continues
                can't be read now.
        """
        new, _ = await self._make(request, submission, context, streaming, response_id, origin)
        return new

    async def accept(
        self, request: pb.CreateResponseRequest, submission: Submission, context: CallContext, *, streaming: bool
    ) -> Submitted:
        """Stores the request as a job; the response as it waits, or as it is when the same came before.

        Raises:
            ServiceError: the request is wrong, nobody may serve it, the idempotency key was used for another
                request, or it could not be stored.
        """
        try:
            new, writer = await self._make(request, submission, context, streaming)
        except ServiceError:
            # What could be accepted once may be refused by now, and is given again all the same.
            asked = _idempotency(submission, request)
            earlier = None if asked is None else await made_before(self._keys, context.principal.owner, asked)
            if earlier is None:
                raise
            return await self._repeated(earlier, context)
        earlier = await self._store(new)
        return Submitted(writer.shown()) if earlier is None else await self._repeated(earlier, context)

    async def _make(
        self,
        request: pb.CreateResponseRequest,
        submission: Submission,
        context: CallContext,
        streaming: bool,
        response_id: str | None = None,
        origin: JobOrigin | None = None,
    ) -> tuple[NewJob, ResponseWriter]:
        ready = await self._preparer.prepare(request, context, streaming=streaming, response_id=response_id)
        owner, keeping = context.principal.owner, ready.keeping
        needs = permitted(ready.needs, context)
        self._new_jobs.check(submission, keeping.retention, needs, ready.selection, owner)
        writer = self._preparer.writer(ready, wanted_model(ready.selection))
        accepted = AcceptedRequest(
            api="responses",
            request=request.SerializeToString(deterministic=True),
            service_tier=request.service_tier,
            writer=writer,
            items=ready.items,
            keeping=keeping,
            include=ready.call.include,
            previous_id=ready.call.previous_response_id,
            idempotency=_idempotency(submission, request),
        )
        return self._new_jobs.make(accepted, submission, context, streaming=streaming, origin=origin), writer

    async def _store(self, new: NewJob) -> Repeated | None:
        """Stores a job; what the same request made before, when its response is still there.

        Raises:
            ServiceError: IDEMPOTENCY_CONFLICT, STORE_UNAVAILABLE.
        """
        owner = new.response.owner
        for _ in range(_ACCEPT_TRIES):
            try:
                outcome = await self._jobs.accept(new)
                if isinstance(outcome, Accepted) or new.idempotency is None:
                    return None
                earlier = await made_before(self._keys, owner, new.idempotency)
                if earlier is not None:
                    return earlier
                await self._keys.free(owner, new.idempotency.key, outcome.response_id)
            except StoreError as error:
                # Without a key a second accept would be a second job: the first may be stored.
                raise unavailable(error, again=new.idempotency is not None) from error
        raise ServiceError(Reason.STORE_UNAVAILABLE, "the idempotency key changes all the time: try again")

    async def _repeated(self, earlier: Repeated, context: CallContext) -> Submitted:
        return Submitted(as_it_is(await self._stored.row(earlier.response_id, context)), repeated=True)

    async def follow(
        self, response_id: str, after: int, include: Sequence[str], context: CallContext
    ) -> Following:
        """The events of a background response, from the one after number `after` on (-1: all).

        Raises:
            ServiceError: RESPONSE_NOT_FOUND, WRONG_STATE for one that is no background response,
                INVALID_REQUEST, STORE_UNAVAILABLE.
        """
        body = response_of(await self._stored.row(response_id, context))
        if not body.response.background:
            raise not_background("its events were not kept: read the response without stream")
        if ENCRYPTED in include and ENCRYPTED not in body.include:
            raise invalid("include", f"{ENCRYPTED} must stand in the request itself: events are kept as it asks")
        follower = self._followers.follow(context.principal.owner, response_id, after)
        return Following(follower, lambda: self._stored.row(response_id, context))

    async def cancel(self, response_id: str, context: CallContext) -> object_pb.Response:
        """Cancels a background response; one that is over stays what it is.

        Raises:
            ServiceError: RESPONSE_NOT_FOUND, WRONG_STATE for one that is no background response,
                STORE_UNAVAILABLE.
        """
        owner = context.principal.owner
        for _ in range(_CANCEL_TRIES):
            try:
                # Before the response: one whose job is over is then read as it ended.
                job = await self._jobs.job(owner, response_id)
                row = await self._stored.row(response_id, context)
                body = response_of(row)
                if not body.response.background:
                    raise not_background("it is over: to stop one under way, close the call that makes it")
                if job is None or job[0] in TERMINAL:
                    return as_it_is(row)
                body.response.status = object_pb.RESPONSE_STATUS_CANCELLED
                told = shown(body.response, body.include)
                event = events_pb.ResponseStreamEvent()
                event.cancelled.response.CopyFrom(told)
                done = await self._jobs.cancel(
                    owner, response_id, job[1], body.SerializeToString(), event.SerializeToString()
                )
            except StoreError as error:
                raise unavailable(error) from error
            if done:
                return told
        raise ServiceError(Reason.STORE_UNAVAILABLE, "the response moves too fast to be cancelled: try again")


def _idempotency(submission: Submission, request: pb.CreateResponseRequest) -> Idempotency | None:
    key = submission.idempotency_key
    return None if key is None else idempotency_of(key, request)


class Following:
    """A followed response. Call `next` until it is empty, and `aclose` in any case."""

    def __init__(self, follower: Follower, row: Callable[[], Awaitable[StoredResponse]]) -> None:
        self._follower = follower
        self._row = row

    async def next(self) -> Events:
        """The next events; empty after the terminal one.

        Raises:
            ServiceError: the response was deleted, or the database is away.
        """
        try:
            logged = await self._follower.next()
        except GoneError:
            raise ServiceError(Reason.RESPONSE_NOT_FOUND, "the response was deleted") from None
        except StoreError as error:
            raise unavailable(error) from error
        events = [_event(each) for each in logged]
        if logged and not logged[-1].body:
            # Cancelled among many, without a look at the object of each.
            events[-1].cancelled.response.CopyFrom(as_it_is(await self._row()))
        return events

    async def aclose(self) -> None:
        """Leaves; the response goes on."""
        self._follower.aclose()


def _event(logged: LoggedEvent) -> events_pb.ResponseStreamEvent:
    event = events_pb.ResponseStreamEvent.FromString(logged.body)
    # Where an event stands in the log is its number: whoever wrote it may not have known.
    event.sequence_number = logged.sequence
    return event
