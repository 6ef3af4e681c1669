"""A stored response as the events of a stream that ends with it: what a repeated request is answered with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from eurouter.v1 import response_events_pb2 as events_pb
from eurouter.v1 import response_items_pb2 as items_pb
from eurouter.v1 import response_object_pb2 as pb

from service import wire
from service.api.responses.event_log import EventLog
from service.api.responses.history import status_name
from service.api.responses.output_calls import CustomCall, FunctionCall
from service.api.responses.output_item import IN_PROGRESS, OutputItem
from service.api.responses.output_message import OutputMessage, Said
from service.api.responses.output_reasoning import OutputReasoning
from service.domain.events import (
    OpaqueAnnotation,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    ToolCallStart,
    TopToken,
    UrlCitation,
)

Events = Sequence[events_pb.ResponseStreamEvent]

# What a response has only at its end.
_LATE: Final = ("output", "usage", "completed_at", "error", "incomplete_details", "moderation", "extra")


class Replay:
    """The events of a response that is over, as its caller sees it. Call `next` until it is empty."""

    def __init__(self, response: pb.Response) -> None:
        self._batches = _batches(response)

    async def next(self) -> Events:
        """The next events; empty after the terminal one."""
        return next(self._batches, ())

    async def aclose(self) -> None:
        """Nothing is open."""


def _batches(response: pb.Response) -> Iterator[Events]:
    number = 0
    for batch in _unnumbered(response):
        for event in batch:
            event.sequence_number = number
            number += 1
        yield batch


def _unnumbered(response: pb.Response) -> Iterator[Events]:
    begun = pb.Response()
    begun.CopyFrom(response)
    for name in _LATE:
        begun.ClearField(name)
    begun.status = pb.RESPONSE_STATUS_IN_PROGRESS
    yield [_state("created", begun), _state("in_progress", begun)]
    for index, item in enumerate(response.output):
        yield _item(index, item)
    yield [_state(status_name(response.status), response)]


def _state(arm: str, response: pb.Response) -> events_pb.ResponseStreamEvent:
    event = events_pb.ResponseStreamEvent()
    getattr(event, arm).response.CopyFrom(response)
    return event


def _item(index: int, item: items_pb.ResponseItem) -> Events:
    """An item as it is made: its texts in one delta each. One that can't be made so again is told as a whole."""
    log = EventLog()
    made = _made_again(log, index, item)
    if made is not None and made.item == item:
        return log.take()
    added, done = events_pb.ResponseStreamEvent(), events_pb.ResponseStreamEvent()
    for told in (added.output_item_added, done.output_item_done):
        told.output_index = index
        told.item.CopyFrom(item)
    _begin(added.output_item_added.item)
    return [added, done]


def _begin(item: items_pb.ResponseItem) -> None:
    kind = item.WhichOneof("item")
    body: Any = getattr(item, kind) if kind is not None else item
    if "status" in body.DESCRIPTOR.fields_by_name and body.status:
        body.status = IN_PROGRESS


def _made_again(log: EventLog, index: int, item: items_pb.ResponseItem) -> OutputItem | None:
    match item.WhichOneof("item"):
        case "message":
            return _message(log, index, item.message)
        case "reasoning":
            return _reasoning(log, index, item.reasoning)
        case "function_call":
            call = item.function_call
            start = ToolCallStart(index, call.call_id, call.name)
            return _call(FunctionCall(log, index, call.id, start), call.arguments, call.status)
        case "custom_tool_call":
            custom = item.custom_tool_call
            start = ToolCallStart(index, custom.call_id, custom.name, "custom")
            return _call(CustomCall(log, index, custom.id, start), custom.input, custom.status)
        case _:
            return None


def _call(call: FunctionCall | CustomCall, text: str, status: str) -> OutputItem:
    call.announce()
    if text:
        call.more(text)
    call.close("incomplete" if status == "incomplete" else "completed")
    return call


def _message(log: EventLog, index: int, stored: items_pb.ResponseMessage) -> OutputItem | None:
    phase = stored.phase if stored.HasField("phase") else None
    message = OutputMessage(log, index, stored.id, phase, Said())
    message.announce()
    for at, part in enumerate(stored.content):
        if part.HasField("refusal"):
            message.refusal(RefusalDelta(part.refusal.refusal))
            continue
        message.empty_text()
        if len(message.item.message.content) <= at:
            return None
        told = part.output_text
        if told.text or told.logprobs:
            message.text(TextDelta(told.text, logprobs=tuple(map(_logprob, told.logprobs))))
        for source in told.annotations:
            message.annotate(_source(source), at, 0)
    message.close("incomplete" if stored.status == "incomplete" else "completed")
    return message


def _logprob(told: items_pb.ResponseLogprob) -> TokenLogprob:
    top = tuple(TopToken(each.token, each.logprob, tuple(each.bytes) or None) for each in told.top_logprobs)
    return TokenLogprob(told.token, told.logprob, tuple(told.bytes) or None, top)


def _source(told: items_pb.ResponseAnnotation) -> UrlCitation | OpaqueAnnotation:
    cited = told.url_citation
    if told.HasField("url_citation"):
        return UrlCitation(cited.url, cited.title, cited.start_index, cited.end_index)
    return OpaqueAnnotation(told.WhichOneof("annotation") or "", wire.render_bytes(told).decode())


def _reasoning(log: EventLog, index: int, stored: items_pb.ResponseReasoningItem) -> OutputItem:
    shown = stored.HasField("encrypted_content")
    reasoning = OutputReasoning(log, index, stored.id, show_encrypted=shown)
    reasoning.announce()
    for at, part in enumerate(stored.content):
        reasoning.delta(ReasoningDelta(part.reasoning_text.text, kind="text", part=at))
    for at, part in enumerate(stored.summary):
        reasoning.delta(ReasoningDelta(part.summary_text.text, kind="summary", part=at))
    if shown:
        reasoning.item.reasoning.encrypted_content = stored.encrypted_content
    reasoning.close("incomplete" if stored.status == "incomplete" else "completed")
    return reasoning
