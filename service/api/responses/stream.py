"""One streamed response: events from the model's first output to the terminal one, with the store between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from eurouter.v1 import response_events_pb2 as pb

from service.api.opened import Opened, unwritable
from service.api.responses.keeping import Keeper
from service.api.responses.wording import reworded
from service.api.responses.writer import ResponseWriter
from service.domain.errors import Reason, ServiceError
from service.domain.events import Event, Start
from service.domain.money import Cost
from service.domain.routing import Decision

Events = Sequence[pb.ResponseStreamEvent]

_SERVER_ERROR: Final = "server_error"

# What agents decide by; OpenAI's document lists the first two and others that concern images only.
_CODES: Final = {"rate_limit_exceeded", "invalid_prompt", "context_length_exceeded", "insufficient_quota"}


class ResponseStream:
    """Call `start`, then `next` until it is empty, and `aclose` in any case.

    A failure after the first event is told twice: as the last events, and by `next` raising after them. Not
    safe for concurrent use.
    """

    __slots__ = ("_failure", "_keeper", "_make_writer", "_opened", "_over", "_told", "_writer")

    def __init__(self, opened: Opened, make_writer: Callable[[str], ResponseWriter], keeper: Keeper) -> None:
        self._opened = opened
        self._make_writer = make_writer
        self._keeper = keeper
        self._writer: ResponseWriter | None = None
        self._failure: ServiceError | None = None
        self._over = False
        self._told = False

    @property
    def decision(self) -> Decision:
        """As far as it is made: final once the model's output has begun."""
        return self._opened.decision

    @property
    def cost(self) -> Cost | None:
        """What the response costs: known at its clean end, if its usage is."""
        return self._opened.cost

    async def start(self) -> Decision:
        """Waits for the first output, at most `commit_wait` seconds; the decision then.

        Raises:
            ServiceError: every attempt failed before there was any output.
        """
        try:
            return await self._opened.start()
        except ServiceError as error:
            raise reworded(error) from error

    async def next(self) -> Events:
        """The next events; empty only after a terminal one.

        Raises:
            ServiceError: the response failed; the events that say so were given before.
        """
        if self._failure is not None:
            raise self._failure
        if self._writer is None and self._opened.waiting:
            return self._begin("")[1]
        while not self._over:
            try:
                made = await self._more()
            except ServiceError as failure:
                # `start` told no failure, so the headers are out: this one is told as events, too.
                writer, begun = (self._writer, ()) if self._writer is not None else self._begin("")
                return [*begun, *await self._fail(writer, failure)]
            if made:
                return made
        return ()

    def error(self, failure: ServiceError) -> pb.ResponseStreamEvent | None:
        """What ends the stream when the call is ended from outside; None when a terminal event was given."""
        if self._told or self._writer is None:
            return None
        self._over = self._told = True
        return self._writer.error(failure.spec.openai_code or _SERVER_ERROR, failure.message)

    async def aclose(self) -> None:
        """Ends the upstream call now, if it is not over; what is not whole is not stored. Idempotent."""
        self._over = True
        reservation = self._keeper.reservation
        if reservation is None:
            await self._opened.aclose()
            return
        try:
            await self._opened.aclose()
        finally:
            await reservation.release()

    async def _more(self) -> Events:
        events = await self._opened.next()
        writer = self._writer
        try:
            if writer is None:
                writer, begun = self._begin(_model(events))
                return [*begun, *writer.write(events)] if events else begun
            return writer.write(events) if events else await self._end(writer)
        except ValueError as error:
            await self._opened.aclose()
            raise unwritable(self.decision) from error

    def _begin(self, model: str) -> tuple[ResponseWriter, Events]:
        writer = self._writer = self._make_writer(model or self._opened.endpoint.upstream_model)
        return writer, writer.begin()

    async def _end(self, writer: ResponseWriter) -> Events:
        """The last events; the response can be read by its id before the terminal one is given."""
        closing = writer.finish()
        return [*closing, await self._settle(writer)]

    async def _fail(self, writer: ResponseWriter, failure: ServiceError) -> Events:
        self._failure = failure
        closing = writer.fail(code_of(failure), failure.message)
        return [*closing, await self._settle(writer)]

    async def _settle(self, writer: ResponseWriter) -> pb.ResponseStreamEvent:
        try:
            await self._keeper.keep(writer.response)
        except ServiceError as failure:
            self._failure = self._failure or failure
            self._over = self._told = True
            return writer.error(failure.spec.openai_code or _SERVER_ERROR, failure.message)
        self._over = self._told = True
        return writer.terminal()


def code_of(failure: ServiceError) -> str:
    """OpenAI's word for a failure inside a response; what is no word of its own there is a server_error."""
    if failure.reason is Reason.CONTENT_POLICY:
        return "invalid_prompt"
    code = failure.spec.openai_code
    return code if code in _CODES else _SERVER_ERROR


def _model(events: Sequence[Event]) -> str:
    return next((event.model for event in events if isinstance(event, Start)), "")
