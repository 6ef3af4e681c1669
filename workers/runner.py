"""Runs one claimed job to its end: asks the model, logs events, stores the response. Knows no queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from eurouter.v1 import chat_pb2
from eurouter.v1 import response_events_pb2 as events_pb
from eurouter.v1 import response_object_pb2 as object_pb
from eurouter.v1 import responses_pb2 as pb
from google.protobuf.message import DecodeError

from service.api.opened import unwritable
from service.api.responses.history import filters_of, status_name
from service.api.responses.ids import id_of
from service.api.responses.include import ENCRYPTED
from service.api.responses.prepare import Asked, Preparer
from service.api.responses.writer import ResponseWriter
from service.coalesce import Coalescer
from service.domain.calls import CallContext, Principal
from service.domain.errors import Reason, ServiceError
from service.domain.job_store import ClaimedJob, DoomedJob, Usage
from service.domain.jobs import Ending, JobState
from service.domain.tracing import Tracer
from service.router import Router, Run
from workers.chat_run import ChatAnswer
from workers.flush import Flusher, JobLog
from workers.leases import Lease, LeaseLost
from workers.ports import Outcome, WorkerTelemetry
from workers.run_spans import END, RunSpan, run_span
from workers.verdict import Later, Never, doom, verdict

_OURS: Final = "a fault of ours; quote the response's id"
_UNREADABLE: Final = (
    "what is stored of the response can't be read, and so neither where its data may go: no provider was asked; "
    "send the request again"
)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """`longest` run in seconds: the deadline of its upstream calls together."""

    longest: float = 3600.0


class JobRunner:
    """Runs jobs of every API. One per process; safe for any number of jobs at a time.

    What a job makes is written as a response, whatever its API; a chat request gets its completion beside it. A
    job runs for its owner, under the filters on data and with what it may fetch as when it was accepted, its key's
    among them.
    `clock` is the router's, `window` as for a stream. With a `tracer` runs have spans.
    """

    def __init__(
        self,
        preparer: Preparer,
        router: Router,
        flusher: Flusher,
        telemetry: WorkerTelemetry,
        *,
        clock: Callable[[], float],
        settings: Callable[[], RunSettings] = RunSettings,
        window: Callable[[], float] = lambda: 0.0,
        tracer: Tracer | None = None,
    ) -> None:
        self._preparer = preparer
        self._router = router
        self._flusher = flusher
        self._telemetry = telemetry
        self._clock = clock
        self._settings = settings
        self._window = window
        self._tracer = tracer

    async def run(self, job: ClaimedJob, lease: Lease) -> Outcome:
        """Runs the job until it is over, waits for another time or is another's; cancelled, it leaves the job
        as it is.
        """
        with run_span(self._tracer, job) as span:
            return span.ended(await self._run(job, lease, span))

    async def _run(self, job: ClaimedJob, lease: Lease, span: RunSpan) -> Outcome:
        begun = self._clock()
        making = _Making(job, self._flusher.open(lease, job.sequence), self._preparer.wall_clock, span)
        try:
            try:
                await self._make(making)
            except ServiceError as failure:
                span.failed(failure)
                next_ = verdict(job, failure, logged=making.log.logged, elapsed=self._clock() - begun)
                if isinstance(next_, Later):
                    await making.log.put_off(next_.delay, failed=next_.failed)
                    return "retried" if next_.failed else "put_off"
                return await making.fail(next_)
            except LeaseLost:
                raise
            except Exception as error:  # noqa: BLE001  whatever it is, the caller is told and the worker lives
                self._telemetry.crashed(job.id, error)
                span.crashed(error)
                return await making.fail(Never("server_error", _OURS))
            return await making.end()
        except LeaseLost:
            return "fenced"
        finally:
            making.log.close()

    async def end(self, doomed: DoomedJob, lease: Lease) -> Outcome:
        """Fails a job for which no run may begin."""
        with run_span(self._tracer, doomed.job, END) as span:
            span.doomed(doomed.why)
            return span.ended(await self._end(doomed, lease, span))

    async def _end(self, doomed: DoomedJob, lease: Lease, span: RunSpan) -> Outcome:
        job = doomed.job
        making = _Making(job, self._flusher.open(lease, job.sequence), self._preparer.wall_clock, span)
        if job.restarted:
            # The object has none of the output that readers saw.
            making.told += _bytes(making.writer.resume(restarted=True))
        try:
            return await making.fail(doom(doomed.why))
        except LeaseLost:
            return "fenced"

    async def _make(self, making: _Making) -> None:
        """The run, up to the end of the model's answer.

        Raises:
            ServiceError: it failed.
            LeaseLost: the job is another's.
        """
        if making.unreadable:
            # The filters on data are lost with the rest, and without them it may go nowhere.
            raise ServiceError(Reason.INTERNAL, _UNREADABLE)
        writer, log = making.writer, making.log
        if begun := writer.resume(restarted=making.job.restarted):
            await log.put(_bytes(begun), output=False)
        run = await self._open(making)
        chat = making.chat
        source = Coalescer(run, self._window)
        try:
            events = await source.next()
            writer.response.model = run.endpoint.upstream_model
            while events:
                if chat is not None:
                    chat.add(events)
                made = writer.write(events)
                if made:
                    await log.put(_bytes(made), output=True)
                events = await source.next()
            if chat is not None:
                making.completion = chat.completion(run, writer.response)
            making.told += _bytes(writer.finish())
            making.model = run.decision.model_used
        except ValueError as error:
            raise unwritable(run.decision) from error
        finally:
            await source.aclose()

    async def _open(self, making: _Making) -> Run:
        job, lease = making.job, making.log.lease
        principal = Principal(job.owner, floor=making.filters, fetch_media=making.fetch_media)
        asked = await self._read(making, principal)
        context = CallContext(
            principal,
            # Unique to the run, so that an upstream's own log tells runs of one job apart.
            f"{job.id}.{job.epoch}",
            self._clock() + self._settings().longest,
            job.trace.get("traceparent", ""),
            job.trace.get("tracestate", ""),
            "job",
            lease.check,
            background=True,
            emulate=making.emulate,
        )
        return self._router.open(asked.generation, asked.needs, asked.selection, making.span.below(context))

    async def _read(self, making: _Making, principal: Principal) -> Asked:
        """What the router is asked for the job."""
        job = making.job
        if job.api == "chat":
            message = chat_pb2.CreateChatCompletionRequest.FromString(job.request)
            streaming = message.stream if message.HasField("stream") else job.log_deltas
            making.chat = ChatAnswer(message, self._preparer, principal, streaming=streaming)
            return making.chat.asked
        if job.api != "responses":
            raise ServiceError(Reason.INTERNAL, f"this version runs no jobs of the {job.api} API")
        request = pb.CreateResponseRequest.FromString(job.request)
        streaming = request.stream if request.HasField("stream") else job.log_deltas
        chosen = self._preparer.choose(request, principal, streaming=streaming)
        known = {id_of(item): item for item in making.items}
        return await making.log.lease.insist(
            lambda: self._preparer.converse(chosen, job.owner, known),
            lambda error: self._flusher.failed("read", error),
        )


class _Making:
    """One run of one job. `told` are last events for `end` or `fail`, `model` whom its tokens are charged to.

    Of a chat job `chat` gathers the answer, and `completion` is what it came to. One that is `unreadable` may only
    be ended.
    """

    __slots__ = (
        "_body",
        "chat",
        "completion",
        "emulate",
        "fetch_media",
        "filters",
        "items",
        "job",
        "log",
        "model",
        "span",
        "told",
        "unreadable",
        "writer",
    )

    def __init__(self, job: ClaimedJob, log: JobLog, wall_clock: Callable[[], float], span: RunSpan) -> None:
        self.job = job
        self.span = span
        self.log = log
        self.told: list[bytes] = []
        self.chat: ChatAnswer | None = None
        self.completion: chat_pb2.ChatCompletion | None = None
        stored = _stored(job)
        self.unreadable = stored is None
        body, own_input = stored or _nothing(job)
        self.items = own_input.items
        # The writer fills its response in; what else it holds stays.
        self._body = body
        self.filters = filters_of(body)
        self.emulate = body.emulate
        self.fetch_media = body.fetch_media
        self.model = body.response.model
        self.writer = ResponseWriter(
            body.response,
            first_position=len(self.items),
            clock=wall_clock,
            show_encrypted=ENCRYPTED in body.include,
            detail="all" if job.log_deltas else "items",
            first_number=job.sequence,
        )

    async def fail(self, never: Never) -> Outcome:
        """Ends the job as failed.

        Raises:
            LeaseLost: it is another's.
        """
        self.told += _bytes(self.writer.fail(never.code, never.message))
        return await self.end(never)

    async def end(self, never: Never | None = None) -> Outcome:
        """Ends the job as its response says.

        Raises:
            LeaseLost: it is another's.
        """
        response = self.writer.response
        terminal = self.writer.terminal()
        state = cast("Ending", JobState(status_name(response.status)))
        used = response.usage
        usage = Usage(self.model, used.input_tokens, used.output_tokens) if response.HasField("usage") else None
        if self.completion is not None and state is not JobState.FAILED:
            self._body.chat_completion.CopyFrom(self.completion)
        events = [*self.told, terminal.SerializeToString()]
        await self.log.finish(events, state, self._body.SerializeToString(), usage, never.why if never else None)
        return cast("Outcome", state.value)


def _stored(job: ClaimedJob) -> tuple[pb.StoredResponseBody, pb.StoredResponseInput] | None:
    """The response and its input as they were accepted; None when they can't be read."""
    try:
        body = pb.StoredResponseBody.FromString(job.response)
        own_input = pb.StoredResponseInput.FromString(job.input)
    except DecodeError:
        return None
    # Bytes that are cut where a field ends, or are none at all, can be decoded.
    return (body, own_input) if body.response.id == job.id else None


def _nothing(job: ClaimedJob) -> tuple[pb.StoredResponseBody, pb.StoredResponseInput]:
    """As little as a response may be that has to end."""
    response = object_pb.Response(id=job.id, object="response", background=True)
    return pb.StoredResponseBody(response=response), pb.StoredResponseInput()


def _bytes(events: Sequence[events_pb.ResponseStreamEvent]) -> list[bytes]:
    return [event.SerializeToString() for event in events]
