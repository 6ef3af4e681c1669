"""Neutral events -> the events of a response and the response itself. How single items are made stands beside.

Extra fields of a choice or a message (such as a word for its end that no table knows) have no place in this
API; those of the answer stand in the response.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, assert_never

from eurouter.v1 import response_events_pb2 as events_pb
from eurouter.v1 import response_object_pb2 as pb

from service.api.responses.event_log import Detail, EventLog
from service.api.responses.include import ENCRYPTED
from service.api.responses.output import Output
from service.api.responses.output_item import Ending
from service.api.responses.pieces import put_audio, put_extra, usage
from service.api.responses.sealed import show_proof
from service.domain.events import (
    AudioDelta,
    Event,
    Extra,
    Finish,
    FinishReason,
    MessageStart,
    OpaqueAnnotation,
    OpaqueItem,
    OpaqueProgress,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    Start,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    UrlCitation,
    Usage,
)

_LIMITS: Final = {
    FinishReason.LENGTH: "max_output_tokens",
    FinishReason.CONTENT_FILTER: "content_filter",
}
_ACCEPTED: Final = ("created", "queued")
_FAILED: Final = ("server_error", "the provider ended the answer with an error")


class ResponseWriter:
    """Writes one response: `begin`, `write` as events come, `finish` or `fail`, then `terminal`.

    One that waits for a worker is `accepted` by one writer and made by others, each of which begins with
    `resume`. Takes `response` over (see echo) and fills it: when it is over it holds everything, what providers
    want back included. Its items get their positions from `first_position` on, its events their numbers from
    `first_number` on. `clock` gives Unix seconds. `detail` says which events are made.
    """

    def __init__(
        self,
        response: pb.Response,
        *,
        first_position: int,
        clock: Callable[[], float],
        show_encrypted: bool,
        detail: Detail = "all",
        first_number: int = 0,
    ) -> None:
        self.response = response
        self._clock = clock
        self._show_encrypted = show_encrypted
        self._resumed = first_number > len(_ACCEPTED)
        self._log = EventLog(detail, first=first_number)
        self._output = Output(self._log, response.id, first_position, show_encrypted=show_encrypted)
        self._started = False
        self._ended: FinishReason | None = None
        self._usage: pb.ResponseUsage | None = None

    def begin(self) -> list[events_pb.ResponseStreamEvent]:
        """The response exists, and work on it has begun."""
        return self._told("created", "in_progress")

    def accepted(self) -> list[events_pb.ResponseStreamEvent]:
        """The response exists, and waits for a worker."""
        self.response.status = pb.RESPONSE_STATUS_QUEUED
        return self._told(*_ACCEPTED)

    def resume(self, *, restarted: bool) -> list[events_pb.ResponseStreamEvent]:
        """A worker begins; `restarted`: output of an earlier one was seen and is to be forgotten.

        That work is in progress is told once: a job that waits for a busy provider, again and again, must not
        fill its log with that.
        """
        self.response.status = pb.RESPONSE_STATUS_IN_PROGRESS
        if self._resumed and not restarted:
            return []
        return self._told("restarted", "in_progress") if restarted else self._told("in_progress")

    def write(self, events: Sequence[Event]) -> list[events_pb.ResponseStreamEvent]:
        """The events for a batch; none when it holds nothing that an event tells.

        Raises:
            ValueError: a value that the contract has no room for, or a second choice. `fail` is still possible.
        """
        if len(events) == 1:
            event = events[0]
            if type(event) is TextDelta and event.text and not event.logprobs and not event.choice:
                message = self._output.message
                template = None if message is None else message.template
                if message is not None and template is not None:
                    return [message.plain_text(template, event.text)]
        self.apply(events)
        return self._log.take()

    def finish(self) -> list[events_pb.ResponseStreamEvent]:
        """Closes what is open and settles the response's status, at the clean end.

        Raises:
            ValueError: as `write`.
        """
        ended = self._ended
        cut = ended is FinishReason.ERROR or ended in _LIMITS
        self._settle("incomplete" if cut else "completed")
        response = self.response
        if ended is FinishReason.ERROR:
            self._set_error(*_FAILED)
        elif ended in _LIMITS:
            response.status = pb.RESPONSE_STATUS_INCOMPLETE
            response.incomplete_details.reason = _LIMITS[ended]
        else:
            response.status = pb.RESPONSE_STATUS_COMPLETED
            response.completed_at = int(self._clock())
        return self._log.take()

    def fail(self, code: str, message: str) -> list[events_pb.ResponseStreamEvent]:
        """Closes what is open as incomplete; the response has failed, for OpenAI's `code` and a sentence.

        Gives also what was left over when `write` or `finish` raised.
        """
        self._settle("incomplete")
        self._set_error(code, message)
        return self._log.take()

    def shown(self) -> pb.Response:
        """The response as its caller sees it."""
        return shown(self.response, (ENCRYPTED,) if self._show_encrypted else ())

    def terminal(self) -> events_pb.ResponseStreamEvent:
        """The last event, after `finish` or `fail`: the response as its caller sees it."""
        arm = pb.ResponseStatus.Name(self.response.status).removeprefix("RESPONSE_STATUS_").lower()
        event = events_pb.ResponseStreamEvent(sequence_number=self._log.number())
        getattr(event, arm).response.CopyFrom(self.shown())
        return event

    def error(self, code: str, message: str, param: str | None = None) -> events_pb.ResponseStreamEvent:
        """The last event where there is no response to show."""
        told = events_pb.ResponseErrorEvent(code=code, message=message, param=param)
        return events_pb.ResponseStreamEvent(sequence_number=self._log.number(), error=told)

    def apply(self, events: Iterable[Event]) -> None:  # noqa: C901  one arm per kind of event
        """Takes events in; `write` without the made ones.

        Raises:
            ValueError: as `write`.
        """
        output = self._output
        for event in events:
            if not isinstance(event, Start | Usage) and event.choice:
                raise ValueError(f"choice {event.choice}, where a response has one")
            match event:
                case TextDelta():
                    output.text(event)
                case ReasoningDelta():
                    output.reasoning(event)
                case ToolCallStart():
                    output.call(event)
                case ToolCallDelta():
                    output.arguments(event)
                case ReasoningSeal():
                    output.seal(event)
                case MessageStart():
                    output.begin_message(event.phase)
                case RefusalDelta():
                    output.refusal(event)
                case UrlCitation() | OpaqueAnnotation():
                    output.annotate(event)
                case OpaqueItem():
                    output.provided(event)
                case OpaqueProgress():
                    output.progress(event)
                case AudioDelta():
                    output.audio(event)
                case Finish():
                    self._ended = event.reason
                case Usage():
                    self._usage = usage(event)
                case Extra():
                    if event.scope == "answer":
                        put_extra(self.response, event.fields)
                case Start():
                    self._start(event)
                case _:
                    assert_never(event)

    def _told(self, *arms: str) -> list[events_pb.ResponseStreamEvent]:
        for arm in arms:
            event = events_pb.ResponseStreamEvent()
            getattr(event, arm).response.CopyFrom(self.response)
            self._log.add(event)
        return self._log.take()

    def _start(self, start: Start) -> None:
        if not self._started:
            self._started = True
            if start.model:
                self.response.model = start.model
            if start.service_tier:
                self.response.service_tier = start.service_tier

    def _settle(self, ending: Ending) -> None:
        response = self.response
        items = self._output.close(ending)
        if items and not response.output:
            response.output.extend(items)
        if self._usage is not None:
            response.usage.CopyFrom(self._usage)
        if self._output.heard is not None:
            put_audio(response, self._output.heard)

    def _set_error(self, code: str, message: str) -> None:
        response = self.response
        response.status = pb.RESPONSE_STATUS_FAILED
        response.error.code = code
        response.error.message = message
        response.ClearField("completed_at")
        response.ClearField("incomplete_details")


def whole(
    events: Iterable[Event], response: pb.Response, *, first_position: int, clock: Callable[[], float]
) -> pb.Response:
    """`response`, filled with a whole answer: what a stream of the same events would end with.

    Raises:
        ValueError: as `ResponseWriter.write`.
    """
    writer = ResponseWriter(
        response, first_position=first_position, clock=clock, show_encrypted=True, detail="nothing"
    )
    writer.apply(events)
    writer.finish()
    return response


def shown(response: pb.Response, include: Collection[str]) -> pb.Response:
    """The response as its caller sees it, itself or a copy: reasoning as providers want it back goes only to
    those whose `include` names it.
    """
    show = ENCRYPTED in include
    if not any(
        item.HasField("reasoning") and (show or item.reasoning.encrypted_content) for item in response.output
    ):
        return response
    copy = pb.Response()
    copy.CopyFrom(response)
    for item in copy.output:
        if item.HasField("reasoning"):
            show_proof(item.reasoning, show=show)
    return copy
