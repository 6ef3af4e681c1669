"""What is the same for jobs of every API: checks on acceptance, and the job with its response as they are stored.

How a request is read and what its response echoes is its API's business. Nothing is stored here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from eurouter.v1 import response_items_pb2 as items_pb
from eurouter.v1 import responses_pb2 as pb

from service.api.responses.history import status_name
from service.api.responses.keeping import Keeping, body_for
from service.api.responses.submission import Submission
from service.api.responses.writer import ResponseWriter
from service.domain.calls import CallContext
from service.domain.errors import Reason, invalid
from service.domain.idempotency import Idempotency
from service.domain.job_store import JobOrigin, NewJob
from service.domain.plan import no_endpoint_error
from service.domain.routing import Needs
from service.domain.selection import Selection
from service.domain.stored import NewResponse
from service.router import Router


@dataclass(frozen=True, slots=True)
class AcceptedRequest:
    """A request that may become a job. `writer` has its response, `items` are its input as it is kept.

    `request` is its message, serialized; `idempotency` None when it has no key.
    """

    api: Literal["responses", "chat"]
    request: bytes
    service_tier: str
    writer: ResponseWriter
    items: Sequence[items_pb.ResponseItem]
    keeping: Keeping
    include: Collection[str] = ()
    previous_id: str | None = None
    idempotency: Idempotency | None = None


class NewJobs:
    """Makes jobs of requests. One per API.

    `restart_on_loss` says of an owner whether a run may follow one that was lost after output could be seen,
    `results_topic` where the owner's results go, None: where everybody's do.
    """

    def __init__(
        self,
        router: Router,
        restart_on_loss: Callable[[str], bool],
        results_topic: Callable[[str], str | None],
    ) -> None:
        self._router = router
        self._restart_on_loss = restart_on_loss
        self._results_topic = results_topic

    def check(
        self, submission: Submission, retention: float, needs: Needs, selection: Selection, owner: str
    ) -> None:
        """Refuses times that can't be kept to, and what no endpoint may or can serve; `retention` in seconds.

        Endpoints that only rest now will be back.

        Raises:
            ServiceError: INVALID_REQUEST, NO_ENDPOINT_ALLOWED, UNSUPPORTED_FIELD or UNKNOWN_FIELD.
        """
        if submission.start_within is not None and submission.start_within <= 0:
            raise invalid("eurouter-expires-at", "must be later than now")
        if (submission.delay or 0.0) >= retention:
            days = retention / 86400
            raise invalid("eurouter-run-at", f"must lie within the {days:g} days for which the response is kept")
        plan = self._router.plan(needs, selection, owner)
        if not plan.attempts:
            error = no_endpoint_error(plan, needs, 0.0)
            if error.reason is not Reason.NO_ENDPOINT_AVAILABLE:
                raise error

    def make(
        self,
        accepted: AcceptedRequest,
        submission: Submission,
        context: CallContext,
        *,
        streaming: bool,
        origin: JobOrigin | None,
    ) -> NewJob:
        """The job. Its result goes to the topic of `origin`, else to its owner's."""
        owner, writer = context.principal.owner, accepted.writer
        events = writer.accepted()
        response = writer.response
        body = body_for(response, accepted.include, accepted.keeping)
        body.emulate = context.emulate
        body.fetch_media = context.principal.fetch_media
        stored = NewResponse(
            id=response.id,
            owner=owner,
            previous_id=accepted.previous_id,
            status=status_name(response.status),
            response=body.SerializeToString(),
            input=pb.StoredResponseInput(items=accepted.items).SerializeToString(),
            retention=accepted.keeping.retention,
        )
        return NewJob(
            response=stored,
            api=accepted.api,
            request=accepted.request,
            events=[event.SerializeToString() for event in events],
            priority=submission.priority_for(accepted.service_tier),
            delay=submission.delay or 0.0,
            start_within=submission.start_within,
            group=submission.group,
            log_deltas=streaming,
            restart_on_loss=self._restart_on_loss(owner),
            trace={"traceparent": context.traceparent, "tracestate": context.tracestate},
            idempotency=accepted.idempotency,
            origin=self._origin(owner, origin),
        )

    def _origin(self, owner: str, origin: JobOrigin | None) -> JobOrigin | None:
        if origin is not None and origin.topic is not None:
            return origin
        topic = self._results_topic(owner)
        if topic is None:
            return origin
        return JobOrigin(topic) if origin is None else replace(origin, topic=topic)


def wanted_model(selection: Selection) -> str:
    """The model as a response calls it until one answers."""
    return selection.wanted[0].model.id
